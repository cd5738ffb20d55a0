import re

import pytest

from mmd_ddm.features.registry import weakness_of
from mmd_ddm.features.trained.quality import weakness
from mmd_ddm.features.trained.weights import DIGITS, PICTURES, Trained


def trained(name: str = "classifier", architecture: str = PICTURES, side: int = 16, **record: object) -> Trained:
    return Trained(name, architecture, (3, side, side), 48, 192, record)


@pytest.mark.parametrize(
    ("space", "told"),
    [
        # on the way from chance, 0.1, to 1: 0.7 of it is 0.73, 0.4 of it 0.46
        (trained(accuracy=0.72, classes=10), "only 72% of images not trained on are recognised, where 73% are needed"),
        (trained("contrastive", accuracy=0.45, classes=10), "only 45% .* where 46% are needed"),
        (trained(accuracy=0.97, classes=2), "only 2 classes apart"),
        (trained(architecture=DIGITS, accuracy=0.9), "made for drawings"),
        (trained("contrastive", updates=300, batch=256), "only 76800 images"),
        (trained("contrastive", updates=300, batch=256, accuracy=1.0, classes=2), "only 76800 images"),
        (trained(architecture=DIGITS, side=8, accuracy=0.6), "only 60%"),
    ],
)
def test_weak_spaces_are_told(space: Trained, told: str) -> None:
    sentence = weakness(space)
    assert sentence is not None
    assert sentence.startswith(f"Feature space '{space.name}' is too weak to be trusted alone")
    assert "\n" not in sentence
    assert re.search(told, sentence)


@pytest.mark.parametrize(
    "space",
    [
        trained(accuracy=0.74, classes=10),
        trained("contrastive", accuracy=0.47, classes=10, updates=2000, batch=256),
        trained("contrastive", accuracy=0.4, classes=2, updates=2000, batch=256),  # it was not trained to tell them
        trained("contrastive", updates=2000, batch=256),
        trained("contrastive", architecture=DIGITS, side=8, updates=1000, batch=256),
    ],
)
def test_others_are_not(space: Trained) -> None:
    assert weakness(space) is None


@pytest.mark.parametrize("name", ["classifier", "contrastive", "scattering", "inception"])
def test_shipped_untrained_and_published_spaces_are_not_weak(name: str) -> None:
    assert weakness_of(name, "digits") is None

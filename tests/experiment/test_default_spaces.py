from pathlib import Path
from types import SimpleNamespace

import pytest

from mmd_ddm.data.catalogue import dataset_spec
from mmd_ddm.experiment import default_spaces
from mmd_ddm.experiment.default_spaces import with_spaces
from mmd_ddm.experiment.presets import preset
from mmd_ddm.features.untrained.listing import UNTRAINED
from mmd_ddm.files import HOME
from tests.data.sources import pictures, write_folder


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(HOME, str(tmp_path / "home"))  # without networks that other tests have trained
    return str(write_folder(tmp_path / "photos", pictures(20)))


@pytest.fixture(params=[False, True], ids=["offline", "downloaded"])
def published(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the weights of inception and clip are on this machine."""
    monkeypatch.setattr(default_spaces, "weights_of", lambda name, dataset: SimpleNamespace(present=request.param))
    return request.param


def test_own_images_need_no_download(photos: str, published: bool) -> None:
    config = preset("best", "own", photos, 16)
    if published:
        assert (config.objective.features, config.scoring.score_features) == ("clip", None)
        return
    scored = config.scoring.spaces
    assert scored is not None
    assert set(scored) <= set(UNTRAINED)
    assert len(config.objective.spaces) > 1
    assert set(scored) - set(config.objective.spaces)  # something is held out
    assert preset("paper", "own", photos, 16).scoring == config.scoring  # trials are compared in the same spaces


@pytest.mark.parametrize("name", ["digits", "cifar10", "lsun_church"])
def test_a_known_data_set_keeps_its_own(name: str, published: bool) -> None:
    assert with_spaces(dataset_spec(name)) == dataset_spec(name)


def test_networks_trained_on_the_images_come_first(
    photos: str, monkeypatch: pytest.MonkeyPatch, published: bool
) -> None:
    names = ("classifier", "contrastive", "classifier_layers", "contrastive_layers", *UNTRAINED)
    monkeypatch.setattr(default_spaces, "available_feature_spaces", lambda dataset: names)
    found = with_spaces(dataset_spec("own", photos, 16))
    if not published:
        assert found.feature_spaces[:2] == ("classifier", "contrastive")
        assert found.loss_features is not None
        assert found.loss_features.startswith("contrastive_layers+")


def test_named_spaces_stand_alone(photos: str, published: bool) -> None:
    config = preset("best", "own", photos, 16, "pixels+patches")
    assert (config.objective.features, config.scoring.score_features) == ("patches", "pixels+patches")


def test_networks_as_pretrain_makes_them_get_the_rate_that_was_found_on_them(photos: str) -> None:
    own, digits, published = preset("best", "own", photos, 16), preset("best", "digits"), preset("best", "cifar10")
    assert own.optimization == digits.optimization
    assert published.optimization.learning_rate == preset("paper", "cifar10").optimization.learning_rate

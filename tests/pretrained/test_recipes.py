import pytest
import torch

from mmd_ddm.pretrained.recipes import PRECISIONS, settings_for
from mmd_ddm.training import Optimization, has_bfloat16

CPU = torch.device("cpu")


def test_digits_keep_the_defaults() -> None:
    assert settings_for(8, bfloat16=True) == {}


@pytest.mark.parametrize(("resolution", "levels"), [(12, 2), (16, 3), (24, 3), (32, 4), (64, 5), (256, 7)])
def test_pictures_are_halved_down_to_4_pixels(resolution: int, levels: int) -> None:
    channels = settings_for(resolution, bfloat16=False)["channels"]
    assert len(channels) == levels
    assert 4 <= resolution / 2 ** (levels - 1) < 8
    assert channels[:2] == (32, 64)


def test_they_are_a_recipe() -> None:
    found = settings_for(32, bfloat16=True, updates=3)  # fewer than the warm-up of a whole training
    Optimization(*(found[name] for name in ("updates", "learning_rate", "ema", "warmup", "clip", "precision")))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_precisions_are_those_of_the_training(precision: str) -> None:
    assert Optimization(1, 0.1, 0.0, precision=precision).precision == precision


@pytest.mark.parametrize(("capabilities", "expected"), [({"amx_bf16": True}, True), ({"avx512_bf16": False}, False)])
def test_bfloat16_needs_a_processor_that_has_it(
    capabilities: dict[str, bool], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert has_bfloat16(CPU) is expected

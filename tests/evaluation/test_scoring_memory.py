"""Scoring where memory runs out goes on in smaller pieces, from the same images, with the same features."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor, nn

from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.noise import NoiseSource
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.discrepancy.collective import SingleCollective
from mmd_ddm.errors import ResourceError
from mmd_ddm.evaluation import evaluator as evaluator_module
from mmd_ddm.evaluation.evaluator import Evaluator
from mmd_ddm.features.space import FeatureSpace
from tests.conftest import SHAPE


class Narrow(nn.Module):
    """A network with room for so many images."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nand more")
        return images.flatten(1)


def features(toy: Denoiser, room: int) -> Tensor:
    space = FeatureSpace("toy", Narrow(room), torch.ones(12), SHAPE)
    noise, place = NoiseSource(0, "evaluation"), (SingleCollective(), torch.device("cpu"))
    return Evaluator(toy, make_chain(toy.schedule, steps=2), {"toy": space}, {}, 21, noise, *place).features()["toy"]


def test_smaller_pieces_have_the_same_features(
    toy: Denoiser, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluator_module, "SAMPLING_BATCH", 8)
    expected = features(toy.float(), 8)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(features(toy, 3), expected)  # rounded to 256 levels on the way
    assert [record.args[1] for record in caplog.records] == [4, 2]


def test_one_image_that_does_not_fit_ends_in_a_sentence(toy: Denoiser) -> None:
    with pytest.raises(ResourceError, match=r"sampling one image doesn't fit.*2.00 GiB") as told:
        features(toy.float(), 0)
    assert "\n" not in str(told.value)

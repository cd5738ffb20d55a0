"""Updates whose first try runs out of memory, in the forward or the backward pass, have the gradient of all others."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mmd_ddm.discrepancy.collective import SingleCollective
from mmd_ddm.errors import ResourceError
from mmd_ddm.finetuning.fitting import fitting_gradient
from mmd_ddm.finetuning.gradient import Rollout
from mmd_ddm.finetuning.memory import Route
from mmd_ddm.finetuning.objective import Objective, ValueAndGradient
from tests.finetuning.test_gradient import BATCH, UPDATE, Setting, assert_same, flat_gradient

Room = Callable[[int], bool]  # whether there is room for so many images


class Tight(torch.autograd.Function):
    """The identity, which runs out of memory forwards, or backwards, as PyTorch does on a GPU."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, images: Tensor, forwards: Room, backwards: Room) -> Tensor:
        need(forwards, len(images))
        ctx.room = backwards  # type: ignore[attr-defined]
        return images.clone()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        need(ctx.room, len(gradient))  # type: ignore[attr-defined]
        return gradient, None, None


def need(room: Room, images: int) -> None:
    if not room(images):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nand more")


def ample(images: int) -> bool:
    return True


class Second:
    """Room for any images, but the second time not for more than two: when a part of the gradient is there."""

    times = 0

    def __call__(self, images: int) -> bool:
        self.times += 1
        return self.times != 2 or images <= 2


class Counted:
    """An objective that knows how often it was asked."""

    def __init__(self, objective: Objective) -> None:
        self.objective, self.asked = objective, 0

    def __call__(self, features: Tensor, update: int) -> ValueAndGradient:
        self.asked += 1
        return self.objective(features, update)


@pytest.mark.parametrize(
    ("route", "forwards", "backwards", "fitted"),
    [
        (Route("stored", BATCH), ample, ample, Route("stored", BATCH)),
        (Route("stored", BATCH), ample, lambda images: images <= 3, Route("replay", 3)),
        (Route("stored", BATCH), lambda images: images < BATCH, ample, Route("replay", BATCH // 2)),
        (Route("replay", 8), lambda images: images <= 2, lambda images: images <= 1, Route("replay", 1)),
        (Route("replay", 5), ample, Second(), Route("replay", 2)),
    ],
)
def test_smaller_pieces_give_the_same_gradient(
    route: Route, forwards: Room, backwards: Room, fitted: Route, caplog: pytest.LogCaptureFixture
) -> None:
    setting = Setting("cubic", "ddim eta 0", "bank", SingleCollective())
    objective = Counted(Objective(setting.kernel, setting.reference, setting.collective))

    def embed(images: Tensor) -> Tensor:
        features: Tensor = setting.space(Tight.apply(images, forwards, backwards))
        return features

    expected = setting.expected()
    setting.denoiser.zero_grad()
    with caplog.at_level(logging.WARNING):
        value, found = fitting_gradient(
            Rollout(setting.denoiser, setting.chain, embed), objective, route,
            lambda size: setting.start(range(BATCH)).split(size), UPDATE,
        )  # fmt: skip
    assert found == fitted
    assert_same((float(value), flat_gradient(setting.denoiser)), expected)
    assert objective.asked == 1
    assert ("from now on the chain is replayed" in caplog.text) == (found != route)


def test_one_image_that_does_not_fit_ends_in_a_sentence() -> None:
    setting = Setting("cubic", "ddim eta 0", "bank", SingleCollective())
    pipeline = Rollout(setting.denoiser, setting.chain, lambda images: Tight.apply(images, lambda n: False, ample))
    objective = Objective(setting.kernel, setting.reference, setting.collective)
    with pytest.raises(ResourceError, match=r"one image at a time doesn't fit.*2.00 GiB.*are free") as told:
        fitting_gradient(
            pipeline, objective, Route("replay", 4), lambda size: setting.start(range(4)).split(size), UPDATE
        )
    assert "\n" not in str(told.value)


def test_other_errors_pass() -> None:
    setting = Setting("cubic", "ddim eta 0", "bank", SingleCollective())

    def broken(images: Tensor) -> Tensor:
        raise RuntimeError("a bug")

    pipeline = Rollout(setting.denoiser, setting.chain, broken)
    with pytest.raises(RuntimeError, match="a bug"):
        fitting_gradient(
            pipeline, Objective(setting.kernel, setting.reference, setting.collective), Route("replay", 4),
            lambda size: [setting.start(range(4))], UPDATE,
        )  # fmt: skip

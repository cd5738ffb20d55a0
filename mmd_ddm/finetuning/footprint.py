"""What an update takes of the memory: measured on a few samples, not guessed from the number of parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from mmd_ddm.diffusion.chain import Start, State
from mmd_ddm.errors import out_of_memory
from mmd_ddm.finetuning.gradient import GRADIENTS, Rollout
from mmd_ddm.finetuning.names import REPLAY, STORED
from mmd_ddm.finetuning.objective import ValueAndGradient


class Need(NamedTuple):
    """Bytes that an update takes with n samples at a time: fixed + n each."""

    fixed: float
    each: float

    def bytes(self, samples: int) -> float:
        """With so many samples at a time."""
        return self.fixed + samples * self.each

    def fitting(self, room: float) -> int:
        """How many samples at a time fit into so many bytes."""
        return 0 if math.isinf(self.each) else max(0, int((room - self.fixed) / max(1.0, self.each)))


NeedOf = Callable[[str], Need]  # of a route
Peak = Callable[[Callable[[], None]], int]  # the bytes that some work takes at most, beyond what is there already


class SavedBytes:
    """Counts the distinct bytes that autograd keeps for backward while it is active, beside some tensors' own."""

    def __init__(self, aside: Iterable[Tensor] = ()) -> None:
        self.total = 0
        self._seen = {_place(tensor) for tensor in aside}

    def __enter__(self) -> SavedBytes:
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.__exit__(*error)

    def _pack(self, tensor: Tensor) -> Tensor:
        if (key := _place(tensor)) not in self._seen:
            self._seen.add(key)
            self.total += tensor.untyped_storage().nbytes()
        return tensor


def _place(tensor: Tensor) -> int:
    place: int = tensor.untyped_storage()._cdata  # and not its address: tensors on the meta device have none
    return place


class Footprint(NamedTuple):
    """Bytes that autograd keeps.

    Attributes:
        evaluation: of one step's network evaluations of one sample.
        features: of the features and the decoding of one sample.
        shared: of one step, for however many samples: what a network makes of its weights, such as normalised ones.
    """

    evaluation: float
    features: float
    shared: float

    def stored(self, steps: int) -> float:
        """Of the whole graph with `steps` evaluations."""
        return steps * self.evaluation + self.features

    @property
    def replayed(self) -> float:
        """Of the largest piece of the graph that is alive at a time when the chain is replayed."""
        return max(self.evaluation, self.features)


def footprint(pipeline: Rollout, start: Start) -> Footprint:
    """Measure with one evaluation and not a whole chain, whose graph might not fit.

    The trial run is of n samples, at least 2: what they keep more than one of them is theirs alone.
    """
    one, all_ = (_kept(pipeline, part) for part in (start.split(1)[0], start))
    evaluation, features = ((b - a) / (start.images - 1) for a, b in zip(one, all_, strict=True))
    # one sample alone may need fewer copies than each of several
    return Footprint(evaluation, features, max(0.0, one[0] - evaluation))


def _kept(pipeline: Rollout, start: Start) -> tuple[int, int]:
    with SavedBytes(pipeline.denoiser.parameters()) as evaluation:
        noise = start.noise[0].clone()  # what is kept of a part of a tensor would be counted as the whole of it
        image = pipeline.step(State(noise, labels=start.labels), 0, start.noise, (0, 0)).image
    with SavedBytes() as features:
        pipeline.features(State(image.detach().requires_grad_(), labels=start.labels))
    return evaluation.total, features.total


def counted(pipeline: Rollout, start: Start) -> NeedOf:
    """What a route needs by what autograd keeps of a few samples, see `footprint`; no device has to tell."""
    found, steps = footprint(pipeline, start), len(pipeline.chain.timesteps)
    return {
        STORED: Need(steps * found.shared, found.stored(steps)),
        REPLAY: Need(found.shared, found.replayed),
    }.__getitem__


def measured(pipeline: Rollout, start: Start, peak: Peak) -> NeedOf:
    """What a route needs by what a device says of whole passes, forward and backward, with half of the samples and all.

    So that the weights' gradient and what algorithms work in is counted; but nothing is compiled for these sizes, and
    the loss, of which every worker has its share, is left out.

    Args:
        pipeline: from noise to features; its denoiser's parameters have no gradient.
        start: of n samples, at least 2, for the trial run.
        peak: of the device.

    Returns:
        A function that runs such passes; without end is what needs more memory than there is for those n samples.
    """
    few, many = start.images // 2, start.images

    def need(route: str) -> Need:
        run = [partial(_pass, pipeline, start.split(n)[0], route) for n in (few, many)]
        try:
            run[0]()  # what stays from the first pass on is none of an update's need
            less, more = (peak(each) for each in run)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            return Need(math.inf, math.inf)
        each = (more - less) / (many - few)
        return Need(less - few * each, each)

    return need


def _pass(pipeline: Rollout, start: Start, route: str) -> None:
    try:
        GRADIENTS[route](pipeline, _no_loss, [start], 0)
    finally:
        for parameter in pipeline.denoiser.parameters():
            parameter.grad = None


def _no_loss(features: Tensor, update: int) -> ValueAndGradient:
    return ValueAndGradient(features.new_zeros((), dtype=torch.float64), torch.zeros_like(features))


def cuda_peak(device: torch.device, work: Callable[[], None]) -> int:
    """Return the bytes that some work takes at most on a GPU, beyond what this process has there already."""
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    work()
    return torch.cuda.max_memory_allocated(device) - before

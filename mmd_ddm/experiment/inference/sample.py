"""Images of a model, from the noise that diffusers would draw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from mmd_ddm.compilation import OFF, ON, batches_of
from mmd_ddm.diffusion.chain import Start
from mmd_ddm.diffusion.names import SAMPLERS
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.evaluator import Sampler
from mmd_ddm.experiment.build import default_device
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.config_groups import with_steps
from mmd_ddm.experiment.inputs import check_guidance
from mmd_ddm.experiment.room import check_images
from mmd_ddm.experiment.scoring.model_record import model_folder, read_record
from mmd_ddm.experiment.scoring.score import check_noise, make_sampler
from mmd_ddm.precision import FP32, use_tensor_cores
from mmd_ddm.pretrained.configs import class_names, classes_of, image_shape, scheduler_config, unet_config
from mmd_ddm.pretrained.load import load_denoiser
from mmd_ddm.pretrained.record import budget_folder

BATCH = 256  # images that pass the network together; a multiple of GRAIN
GRAIN = 16  # torch.randn computes so many numbers together, so only multiples can be drawn one after the other


def choose_sampler(
    folder: Path,
    *,
    steps: int | None,
    sampler: str | None,
    schedule: str | None,
    eta: float | None,
    variance: str | None = None,
    guidance_scale: float | None = None,
) -> Sampler:
    """Make the sampler of a model: the one it was finetuned with, changed as `sample` is asked; else a UserError."""
    own = read_record(folder).sampler
    noise, steps = own.eta if eta is None else eta, own.steps if steps is None else steps
    variance = own.variance if variance is None else variance
    how = replace(with_steps(own, steps), sampler=sampler or own.sampler, eta=noise, variance=variance)
    how = how if schedule is None else replace(how, schedule=schedule)
    how = how if guidance_scale is None else replace(how, guidance_scale=guidance_scale)
    check_guidance(how.guidance_scale, unet_config(folder))
    check_noise(eta, variance, how.sampler)
    if how.sampler not in SAMPLERS and schedule is not None:
        raise UserError(f"schedule is {schedule}, but sampler {sampler} has timesteps of its own; leave it out")
    return make_sampler(how, NoiseSchedule.from_scheduler_config(scheduler_config(folder)))


def sample(
    model: str | Path,
    images: int = 64,
    *,
    seed: int = 0,
    steps: int | None = None,
    sampler: str | None = None,
    schedule: str | None = None,
    eta: float | None = None,
    variance: str | None = None,
    guidance_scale: float | None = None,
    class_labels: Sequence[int] | None = None,
    precision: str = FP32,
    compile: str = OFF,
) -> Tensor:
    """Generate images from the same noise as diffusers, whatever their number.

    `DDIMPipeline.from_pretrained(model)(batch_size=images, generator=torch.manual_seed(seed), ...)` gives the same
    images, to rounding.

    Args:
        model: folder, hub id, MLflow address, or name of a shipped model.
        images: N, at least 1.
        seed: of the noise.
        steps: network evaluations an image; None: what the model was finetuned for, or 50.
        sampler: one of `SAMPLERS` or `BASELINES`; None: as finetuned, or ddim.
        schedule: of the timesteps, for `SAMPLERS`; None: linear, or trailing for one evaluation.
        eta: ddim's, 0 to 1; None: as finetuned, or 0.
        variance: ddpm's, as in the configuration; None: as finetuned, or the model's own.
        guidance_scale: of a DiT, as in the configuration; None: as finetuned, or none.
        class_labels: of a class-conditional model, one image after the other, and from the start again; None: all.
        precision: inside the network, as in the configuration.
        compile: `on` or `off`, as in the configuration.

    Returns:
        (N, C, H, W) in [-1, 1] but for what the sampler overshoots, float32 on the CPU.

    Raises:
        UserError: the model can't be had, or not be sampled so, or the images don't fit in memory.
    """
    folder = budget_folder(model_folder(str(model)), steps)
    chosen = choose_sampler(
        folder, steps=steps, sampler=sampler, schedule=schedule, eta=eta, variance=variance,
        guidance_scale=guidance_scale,
    )  # fmt: skip
    check_images(images, image_shape(folder))
    labels = choose_labels(folder, class_labels, images)
    return torch.cat(list(sample_batches(folder, chosen, images, seed, precision, compile, labels)))


def choose_labels(folder: Path, asked: Sequence[int] | None, images: int) -> Tensor | None:
    """The labels (N,) of some images, in turn those that are asked for; none of an unconditional model.

    Without them they are all classes, or those that have names, if some have.

    Raises:
        UserError: the model has no such class, or none at all.
    """
    if (classes := classes_of(unet_config(folder))) is None:
        if asked is not None:
            raise UserError("class_labels are for class-conditional models, and this one is not; leave them out")
        return None
    if asked is None:
        asked = sorted(map(int, class_names(folder) or range(classes)))
    labels = torch.tensor(list(asked), dtype=torch.int64)
    if not len(labels) or int(labels.min()) < 0 or int(labels.max()) >= classes:
        told = ",".join(map(str, labels.tolist())) or "empty"
        raise UserError(f"class_labels is {told}; the model's classes are 0 to {classes - 1}")
    return labels.repeat(-(-images // len(labels)))[:images]


@torch.no_grad()
def sample_batches(
    folder: Path,
    sampler: Sampler,
    images: int,
    seed: int,
    precision: str = FP32,
    compile: str = OFF,
    labels: Tensor | None = None,
) -> Iterator[Tensor]:
    """Yield the images of `sample` batch by batch, given their labels (N,) if the model is class-conditional."""
    if images < 1:
        raise UserError(f"images is {images}; it must be at least 1")
    if not 0 <= seed < 2**32:
        raise UserError(f"seed is {seed}; it must be a whole number from 0 to {2**32 - 1}")
    Config().replace(precision=precision, compile=compile)  # refuses what there is not
    use_tensor_cores(precision)
    denoiser = load_denoiser(folder, precision, compile == ON).to(device := default_device())
    most, done = max(batch_sizes(images)), 0
    for noise in seeded_batches(seed, sampler.draws, images, denoiser.image_shape):
        told, done = None if labels is None else labels[done : done + noise.shape[1]], done + noise.shape[1]
        with batches_of(most):
            sampled = sampler.sample(denoiser, *Start(noise, told).to(device)).cpu()
        yield sampled


def batch_sizes(images: int, size: int = BATCH) -> list[int]:
    """The sizes of the batches of `seeded_batches`."""
    whole, rest = divmod(images, size)
    sizes = [size] * whole + ([rest] if rest else [])
    if whole and 0 < rest < GRAIN:  # fewer than GRAIN numbers would be computed in another way
        sizes[-2:] = [size + rest]
    return sizes


def seeded_batches(seed: int, draws: int, images: int, shape: tuple[int, ...], size: int = BATCH) -> Iterator[Tensor]:
    """Yield the noise of some images batch by batch, each number as if each draw was made for all images at once.

    Equal along dimension 1 to torch.stack([torch.randn(images, *shape, generator=g) for _ in range(draws)]) with one
    CPU generator g, in the memory of one batch: the generator runs through all draws once to learn where each begins.
    Each is (draws, n, C, H, W) with n = size, a multiple of GRAIN; the last one may have up to GRAIN more.
    """
    sizes = batch_sizes(images, size)
    runner, generators = torch.Generator().manual_seed(seed), []
    for draw in range(draws):
        generators.append(torch.Generator().set_state(runner.get_state()))
        for n in sizes if draw < draws - 1 else ():
            torch.randn((n, *shape), generator=runner)
    for n in sizes:
        yield torch.stack([torch.randn((n, *shape), generator=generator) for generator in generators])

"""Pretraining of a small denoising diffusion model on an image set (arXiv 2301.07969, Sec. II-A).

The model that `digits` ships with is made by `pretrain` with its default arguments, `digits_conditional` with
`conditional` and 4000 updates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmd_ddm.data.images import ImageSet
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.labels import count_classes
from mmd_ddm.diffusion.names import is_flow_matching
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.errors import UserError
from mmd_ddm.pretrained.folder import INDEX, make_pipeline, write_pipeline
from mmd_ddm.pretrained.load import flow_network
from mmd_ddm.pretrained.prediction_loss import build_scheduler, make_loss
from mmd_ddm.pretrained.recipes import PREDICTIONS, TINY
from mmd_ddm.training import Inspection, Optimization, seeded, train
from mmd_ddm.training_state import Keeper

if TYPE_CHECKING:
    from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler, UNet2DModel

_GROUPS = 8  # of the group normalisation


def pretrain(
    dataset: ImageSet,
    folder: Path | str,
    *,
    updates: int = TINY["updates"],
    batch: int = TINY["batch"],
    learning_rate: float = TINY["learning_rate"],
    ema: float = TINY["ema"],
    warmup: int = TINY["warmup"],
    clip: float | None = TINY["clip"],
    precision: str = TINY["precision"],
    dropout: float = TINY["dropout"],
    channels: Sequence[int] = TINY["channels"],
    layers: int = TINY["layers"],
    prediction: str = TINY["prediction"],
    conditional: bool = False,
    seed: int = 0,
    device: str = "cpu",
    scorings: int = 0,
    score: Callable[[Denoiser, int], None] = lambda denoiser, update: None,
) -> float:
    """Train a diffusion model from nothing and save it as a diffusers pipeline folder.

    Minimises E ||eps - eps_theta(x_t, t)||^2 (arXiv 2301.07969, Eq. 5), or the same of v = sqrt(alpha_bar) eps - sqrt(1
    - alpha_bar) x_0 (Salimans & Ho 2022, Section 4), or of eps - x_0 by flow matching (`flow_loss`). The same seed
    gives the same weights on the same machine with the same number of threads. The state is kept beside the folder once
    a minute: the same call goes on where an earlier one was interrupted, and gives what it would have given.

    Args:
        dataset: Real images.
        folder: Where the pipeline goes; it appears when it is complete, in place of one that was there.
        updates: Optimizer updates, at least 1.
        batch: Images in each update, at least 1.
        learning_rate: Adam's, at its highest; falls to zero along half a cosine.
        ema: Decay of the moving average of the weights, in [0, 1); the average is what is saved.
        warmup: Updates over which the learning rate rises, linearly.
        clip: Largest norm of an update's gradient, above 0; None: any.
        precision: `fp32`, or `bf16` (the network's inside in bfloat16; up to twice as fast where the processor has it).
        dropout: Probability that a unit of a residual block is dropped in training, in [0, 1).
        channels: Width at each resolution, from the image's downwards, each half of the one before; multiples of 8.
        layers: Residual blocks at each resolution on the way down (one more on the way up), at least 1.
        prediction: What the network predicts, `epsilon`, `v_prediction` or `flow_prediction`.
        conditional: Whether the network is told the class of an image; the data set has to have labels.
        seed: Of weights, batches, timesteps, noise and dropout.
        device: Torch device to train on.
        scorings: How many times the model is scored on the way, evenly spread, the last at the end.
        score: Scores the model, which has the averaged weights then, after a number of updates.

    Returns:
        Running mean of the loss at the end, per pixel (about 1 at the start; of flow matching 1 + E x_0^2).

    Raises:
        UserError: If a setting is out of its range, or what was kept beside the folder is of another training.
        DivergenceError: If the loss stops being finite.
    """
    optimization = Optimization(updates, learning_rate, ema, warmup, clip, precision)
    shape = {"dropout": dropout, "channels": list(channels), "layers": layers, "prediction": prediction}
    settings = {**vars(optimization), "batch": batch, **shape, "seed": seed}
    for name, value, least in (("batch", batch, 1), ("layers", layers, 1), ("scorings", scorings, 0)):
        if value < least:
            raise UserError(f"{name} is {value}; it must be at least {least}.")
    if not 0 <= dropout < 1:
        raise UserError(f"dropout is {dropout}; it must be at least 0 and below 1.")
    if prediction not in PREDICTIONS:
        raise UserError(f"prediction is {prediction!r}; it must be one of {', '.join(PREDICTIONS)}.")
    labels = dataset.labels if conditional else None
    classes = _classes(dataset) if conditional else None
    folder = Path(folder)
    _check(dataset.image_shape, channels, folder)
    about = {"dataset": dataset.name, "fingerprint": dataset.fingerprint, **settings}
    if classes is not None:
        about["classes"] = classes
    keeper = Keeper(unfinished_folder(folder), about)
    scheduler = build_scheduler(prediction)
    with seeded(seed, device):
        network = _network(dataset.image_shape, channels, layers, dropout, classes).to(device).train()
        denoiser = _denoiser(network, scheduler, dataset.image_shape, classes)
        loss_of = make_loss(network, scheduler, prediction, device)

        def batch_loss() -> Tensor:
            chosen = torch.randint(len(dataset), (batch,))
            images, told = dataset.floats(chosen), None if labels is None else labels[chosen].to(device)
            if dataset.mirrored:
                images = torch.where(torch.rand(batch, 1, 1, 1) < 0.5, images.flip(-1), images)
            return loss_of(images.to(device), labels=told)

        inspection = Inspection(scorings, partial(score, denoiser))
        stage = f"Pretraining on {dataset.name}"
        loss = train(network, batch_loss, optimization, stage=stage, keeper=keeper, inspection=inspection)
    record = {**about, "loss": loss}
    write_pipeline(make_pipeline(network.cpu().eval(), scheduler), folder, {"pretraining.json": record})
    keeper.clear()
    return loss


def unfinished_folder(folder: Path) -> Path:
    """Return where the state of a pretraining is kept until its folder is complete."""
    return folder.with_name(f"{folder.name}.unfinished")


def _classes(dataset: ImageSet) -> int:
    if dataset.labels is None:
        told = "name images with labels (a folder for each class, or a column of Parquet files), or leave it out"
        raise UserError(f"conditional is asked for, but the images of {dataset.name} have no labels; {told}.")
    if (classes := len(count_classes(dataset.labels))) < 2:
        raise UserError(f"conditional is asked for, but all images of {dataset.name} are of one class; leave it out.")
    return classes


def _network(
    image_shape: tuple[int, int, int], channels: Sequence[int], layers: int, dropout: float, classes: int | None
) -> UNet2DModel:
    """Build an untrained U-Net for square images, with self-attention at its lowest resolution only."""
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=image_shape[1],
        in_channels=image_shape[0],
        out_channels=image_shape[0],
        block_out_channels=tuple(channels),
        down_block_types=("DownBlock2D",) * len(channels),
        up_block_types=("UpBlock2D",) * len(channels),
        layers_per_block=layers,
        attention_head_dim=None,  # one head
        norm_num_groups=_GROUPS,
        dropout=dropout,
        num_class_embeds=classes,
    )


def _denoiser(
    network: UNet2DModel,
    scheduler: DDPMScheduler | FlowMatchEulerDiscreteScheduler,
    image_shape: tuple[int, int, int],
    classes: int | None,
) -> Denoiser:
    """Make a denoiser of the network itself, which sees all that its training does to it."""
    config = {**scheduler.config, "_class_name": type(scheduler).__name__}  # as its file has it
    schedule = NoiseSchedule.from_scheduler_config(config)
    called = flow_network(network, schedule) if is_flow_matching(config) else network
    return Denoiser(called, schedule, image_shape, classes=classes)


def _check(image_shape: tuple[int, int, int], channels: Sequence[int], folder: Path | str) -> None:
    height, width = image_shape[1:]
    if not channels or any(each < 1 or each % _GROUPS for each in channels):
        raise UserError(f"channels is {tuple(channels)}; give one or more multiples of {_GROUPS}.")
    halvings = len(channels) - 1
    if height != width or height % 2**halvings:
        told = "give fewer channels, or square images"
        raise UserError(f"Images of {height} x {width} can't be halved {halvings} times; {told}.")
    if Path(folder).is_dir() and any(Path(folder).iterdir()) and not (Path(folder) / INDEX).exists():
        raise UserError(f"The folder {folder} holds something other than a pipeline; name another one.")

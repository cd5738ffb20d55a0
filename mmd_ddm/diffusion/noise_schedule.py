"""The forward process q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0, (1 - alpha_bar_t) I) (Ho et al. 2020, Equation 4).

Symbols: T the length of the process, t = 0 ... T-1 a timestep, alpha_bar_t the cumulative product of 1 - beta_t.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from mmd_ddm.diffusion.betas import betas
from mmd_ddm.diffusion.flow_matching import flow_alpha_bar
from mmd_ddm.diffusion.names import is_flow_matching
from mmd_ddm.diffusion.table import Table, read_table
from mmd_ddm.errors import UserError

PredictionType = Literal["epsilon", "sample", "v_prediction"]
PREDICTION_TYPES: tuple[PredictionType, ...] = get_args(PredictionType)


@dataclass(frozen=True)
class NoiseSchedule:
    """The noise levels of a diffusion model, what its network predicts, and the variance it is sampled with.

    Args:
        alpha_bar: (T,) float64, decreasing in (0, 1).
        prediction_type: `epsilon`, `sample` (x_0) or `v_prediction` (Salimans & Ho 2022), as diffusers names them.
        variance_type: of the model's own DDPM sampler, as diffusers names it (`fixed_small`, `fixed_large`,
            `learned_range` ...); none if its scheduler has no such thing (DDIM).
        table: of a model that lies beside a sampler of its own, which is no other than that.
    """

    alpha_bar: Tensor
    prediction_type: PredictionType = "epsilon"
    variance_type: str | None = "fixed_small"
    table: Table | None = None

    @property
    def length(self) -> int:
        """T, the number of timesteps of the original process."""
        return len(self.alpha_bar)

    @property
    def sigmas(self) -> Tensor:
        """(T,) float64, the noise in terms of the image: sqrt((1 - alpha_bar) / alpha_bar)."""
        return ((1 - self.alpha_bar) / self.alpha_bar).sqrt()

    @classmethod
    def from_scheduler_config(cls, config: Mapping[str, object]) -> NoiseSchedule:
        """Read the noise levels from the content of a diffusers `scheduler_config.json`.

        Nothing is guessed: an entry that fixes the process and is missing or not supported raises a UserError. A
        network that was trained by flow matching predicts v where it is given this process's images, see
        `flow_matching` and `pretrained.flow_unet`.
        """
        if is_flow_matching(config):
            return cls(flow_alpha_bar(config), "v_prediction", None)
        needed = ["num_train_timesteps", "prediction_type"]
        if config.get("trained_betas") is None:
            needed += ["beta_schedule", "beta_start", "beta_end"]
        if missing := [key for key in needed if config.get(key) is None]:
            raise UserError(
                f"the model's scheduler config says nothing about {', '.join(missing)}; "
                "add it to scheduler/scheduler_config.json of the base model"
            )
        predicted = next((kind for kind in PREDICTION_TYPES if kind == config["prediction_type"]), None)
        if predicted is None:
            raise UserError(
                f"prediction_type {config['prediction_type']!r} of the model's scheduler config is not supported; "
                f"supported are {', '.join(PREDICTION_TYPES)}"
            )
        _refuse_what_chains_cannot_do(config)
        alpha_bar = torch.cumprod(1 - betas(config), 0)
        variance = config.get("variance_type")
        return cls(alpha_bar, predicted, None if variance is None else str(variance), read_table(config))


def _refuse_what_chains_cannot_do(config: Mapping[str, object]) -> None:
    if config.get("rescale_betas_zero_snr"):
        # the last alpha_bar is 0: no image can be read off epsilon there
        raise UserError("the model's scheduler config has rescale_betas_zero_snr, which is not supported")
    if config.get("thresholding"):
        raise UserError("the model's scheduler config has thresholding, which is not supported: images are in [-1, 1]")
    clipped = config.get("clip_sample", True)  # diffusers' default
    if clipped and (bound := config.get("clip_sample_range")) not in (None, 1):
        raise UserError(
            f"clip_sample_range of the model's scheduler config is {bound!r}; "
            "only models of images in [-1, 1] are supported"
        )

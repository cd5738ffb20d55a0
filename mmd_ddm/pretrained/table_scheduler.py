"""A deterministic sampler as a table of coefficients, for models that no scheduler of diffusers samples alike.

This file needs torch and diffusers alone and lies beside the config of every model that uses it, so that
`DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)` loads the model without any other package.
"""

from typing import Any

import torch
from diffusers import ConfigMixin, SchedulerMixin
from diffusers.configuration_utils import register_to_config
from diffusers.schedulers.scheduling_utils import SchedulerOutput


class TableScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]  # diffusers has no types
    """A sampler of one budget whose next image is a sum of images and predictions, with the table's coefficients.

    Args:
        num_train_timesteps: T.
        trained_betas: of the process.
        prediction_type: what the network predicts, `epsilon`, `sample` or `v_prediction`.
        clip_sample: never; for those who read the config.
        alpha_bar: T values, in more digits than float32 betas give.
        rows: one for each network evaluation: its timestep, and the coefficients of the next image and of the next
            base as pairs of what they are of and their value: 0 the image, 1 the base, 2 this evaluation's prediction,
            3 the one before, and so on.
        predicts: what the table combines, predictions of `epsilon` or of the `sample`.
    """

    order = 1
    init_noise_sigma = 1.0

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        trained_betas: Any = None,
        prediction_type: str = "epsilon",
        clip_sample: bool = False,
        alpha_bar: Any = (),
        rows: Any = (),
        predicts: str = "epsilon",
    ) -> None:
        self.set_timesteps(len(rows))

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Begin anew; the number of network evaluations is the table's."""
        rows = self.config.rows
        if num_inference_steps != len(rows):
            raise ValueError(
                f"this sampler makes {len(rows)} network evaluations; pass num_inference_steps={len(rows)}"
            )
        self.num_inference_steps = num_inference_steps
        self.timesteps = torch.tensor([row[0] for row in rows], device=device, dtype=torch.int64)
        self._done, self._base = 0, None
        self._history: list[torch.Tensor] = []

    def scale_model_input(self, sample: torch.Tensor, timestep: Any = None) -> torch.Tensor:
        """Give the network the image as it is."""
        return sample

    def step(
        self, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor, generator: Any = None,
        return_dict: bool = True, **settings: Any,
    ) -> Any:  # fmt: skip
        """Go one step down; no random number is drawn."""
        level, image, base = self.config.rows[self._done]
        predicted = self._predicted(model_output, sample, self.config.alpha_bar[level])
        seen = [sample, sample if self._base is None else self._base, predicted, *self._history]
        self._done, self._history = self._done + 1, seen[2:]
        self._base = sum(factor * seen[i] for i, factor in base) if base else None
        after = sum(factor * seen[i] for i, factor in image)
        return SchedulerOutput(prev_sample=after) if return_dict else (after,)

    def _predicted(self, output: torch.Tensor, sample: torch.Tensor, alpha_bar: float) -> torch.Tensor:
        alpha, sigma, kind = alpha_bar**0.5, (1 - alpha_bar) ** 0.5, self.config.prediction_type
        if kind == "v_prediction":
            epsilon = alpha * output + sigma * sample
        elif kind == "sample":
            epsilon = (sample - alpha * output) / sigma
        else:
            epsilon = output
        found: torch.Tensor = epsilon if self.config.predicts == "epsilon" else (sample - sigma * epsilon) / alpha
        return found

    def __len__(self) -> int:
        return int(self.config.num_train_timesteps)

"""The network as a predictor of the noise, whatever it was trained to predict."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mmd_ddm.compilation import Compiled
from mmd_ddm.diffusion.budgets import is_guided
from mmd_ddm.diffusion.continuous_time import tell_between
from mmd_ddm.diffusion.decoder import ImageDecoder
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.errors import UserError
from mmd_ddm.precision import FP32, inside_network


class Prediction(NamedTuple):
    """What a network says of noisy images: the noise and, where it has learned that, the variance, (N, C, H, W) each.

    The variance is v (Nichol & Dhariwal 2021, Equation 15), in [-1, 1] where the network keeps to its range.
    """

    epsilon: Tensor
    variance: Tensor | None = None


class Denoiser(nn.Module):
    """epsilon_theta(x_t, t) of a pretrained network (Ho et al. 2020, Equation 11); parametrisations end here.

    With a = alpha_bar_t: x_t = sqrt(a) x_0 + sqrt(1-a) epsilon and v = sqrt(a) epsilon - sqrt(1-a) x_0
    (Salimans & Ho 2022, Section 4).

    Args:
        network: called as network(x, t), returns an object with `.sample` of x's shape (a diffusers `UNet2DModel`), or
            of twice its channels where the variance is learned too: that is the second half.
        schedule: noise levels and prediction type.
        image_shape: (C, H, W) of the images it was trained on: of a latent model, of the latents.
        precision: one of `PRECISIONS`, in which the network calculates inside; what it predicts has the images' dtype.
        compiled: whether the network is compiled within `batches_of`; its parameters keep their names.
        classes: how many classes a class-conditional network knows, called as network(x, t, class_labels=labels) with
            labels from 0 to classes - 1; none: it is unconditional.
        null_class: the label that stands for none, which a network that can be guided knows beside its classes.
        decoder: of a latent model, from its latents to images; none: it makes images itself.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: NoiseSchedule,
        image_shape: tuple[int, int, int],
        precision: str = FP32,
        compiled: bool = False,
        classes: int | None = None,
        null_class: int | None = None,
        decoder: ImageDecoder | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.decoder = decoder
        self.schedule = schedule
        self.image_shape = image_shape
        self.precision = precision
        self.classes = classes
        self.null_class = null_class
        evaluate = partial(_evaluate, network)
        self._evaluate = Compiled(evaluate) if compiled else evaluate
        self.learned: nn.Module | None = None  # parameters of its sampler, where that is finetuned too
        tell_between(network)

    def learn(self, sampler: nn.Module) -> None:
        """Make a sampler's parameters part of these."""
        self.learned = sampler

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """Those of the network and its sampler: the decoder's are never finetuned, averaged or kept."""
        frozen = set() if self.decoder is None else set(self.decoder.parameters())
        named = super().named_parameters(prefix, recurse, remove_duplicate)
        return ((name, parameter) for name, parameter in named if parameter not in frozen)

    def decode(self, image: Tensor) -> Tensor:
        """Images (N, C, H, W) of what the chain ends with: of a latent model decoded, of another as they are."""
        return image if self.decoder is None else self.decoder(image)

    def forward(
        self,
        image: Float[Tensor, "N C H W"],
        timestep: int,
        labels: Int[Tensor, " N"] | None = None,
        guidance_scale: float | None = None,
    ) -> Float[Tensor, "N C H W"]:
        """Predict the noise in images at noise level t, 0 to T-1."""
        return self.predict(image, timestep, labels=labels, guidance_scale=guidance_scale).epsilon

    def predict(
        self,
        image: Float[Tensor, "N C H W"],
        timestep: float | Tensor,
        level: float | Tensor | None = None,
        labels: Int[Tensor, " N"] | None = None,
        guidance_scale: float | None = None,
    ) -> Prediction:
        """Predict the noise in images at noise level t, 0 to T-1, and, where it is learned, the variance.

        A time between timesteps, which may be a scalar tensor, needs `level`, the alpha_bar that the images then have.
        The labels are the images' classes, for a class-conditional network and for no other.

        With a guidance scale w, neither none nor 1, the network is evaluated a second time without labels, and what it
        says is u + w (c - u) of that, u, and of the first, c (Ho & Salimans 2022, Equation 6, with their w + 1 for w).
        """
        if (labels is None) != (self.classes is None):
            raise ValueError(f"labels are {'given' if self.classes is None else 'missing'}: classes is {self.classes}")
        if isinstance(timestep, Tensor):
            times = timestep.to(image).expand(len(image))
        else:
            # a tensor, since torch.compile specialises on each Python int
            dtype = torch.int64 if isinstance(timestep, int) else image.dtype
            times = torch.full((len(image),), timestep, device=image.device, dtype=dtype)
        if level is None:
            assert isinstance(timestep, int)
            level = float(self.schedule.alpha_bar[timestep])
        output, channels = self._outputs(image, times, labels), image.shape[1]
        said, variance = output[:, :channels], output[:, channels:] if output.shape[1] > channels else None
        if guidance_scale is not None and is_guided(guidance_scale):
            free = self._outputs(image, times, self._no_labels(len(image), image.device))[:, :channels]
            said = free + guidance_scale * (said - free)
        return Prediction(self._epsilon(image, said, level), variance)

    def _outputs(self, image: Tensor, times: Tensor, labels: Tensor | None) -> Tensor:
        with inside_network(self.precision, image.device.type):
            return self._evaluate(image, times, *(() if labels is None else (labels,))).to(image.dtype)

    def _no_labels(self, count: int, device: torch.device) -> Tensor:
        if self.null_class is None:
            raise UserError(
                "guidance_scale is for class-conditional models that know images without a label too, and this one "
                "doesn't; leave it out"
            )
        return torch.full((count,), self.null_class, device=device)

    def _epsilon(self, image: Tensor, output: Tensor, alpha_bar: float | Tensor) -> Tensor:
        if self.schedule.prediction_type == "epsilon":
            return output
        signal, noise = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
        if self.schedule.prediction_type == "sample":
            return (image - signal * output) / noise
        return signal * output + noise * image


def _evaluate(network: nn.Module, image: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
    output: Tensor = (network(image, times) if labels is None else network(image, times, class_labels=labels)).sample
    return output

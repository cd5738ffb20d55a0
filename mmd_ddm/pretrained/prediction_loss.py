"""What a diffusion model is trained to predict: the process of a pretraining, and the loss of a batch of images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmd_ddm.pretrained.recipes import FLOW

if TYPE_CHECKING:
    from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler, UNet2DModel

LENGTH = 1000  # T, the length of the diffusion


def build_scheduler(prediction: str = "epsilon") -> DDPMScheduler | FlowMatchEulerDiscreteScheduler:
    """Build the process of every pretraining: T = 1000, beta linear in 1e-4..0.02; for flow matching without shift."""
    from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler

    if prediction == FLOW:
        return FlowMatchEulerDiscreteScheduler(num_train_timesteps=LENGTH, shift=1.0)
    betas = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
    return DDPMScheduler(num_train_timesteps=LENGTH, prediction_type=prediction, clip_sample=False, **betas)


def make_loss(
    network: UNet2DModel, scheduler: DDPMScheduler | FlowMatchEulerDiscreteScheduler, prediction: str, device: str
) -> Callable[..., Tensor]:
    """Make the loss of a batch of images, called with their `labels` where there are some."""
    if prediction == FLOW:
        return partial(flow_loss, network)
    return partial(noise_loss, network, alpha_bar=scheduler.alphas_cumprod.to(device), prediction=prediction)


def noise_loss(
    network: nn.Module, images: Tensor, alpha_bar: Tensor, prediction: str = "epsilon", labels: Tensor | None = None
) -> Tensor:
    """Return the mean over images and pixels of (eps - eps_theta(x_t, t))^2 (arXiv 2301.07969, Eq. 5), or that of v.

    The t are stratified: each is uniform on its own part of 0..T-1, so the mean is that of independent t
    and its variance is smaller. Noise and t are drawn from torch's global generator.

    Args:
        network: Predicts noise or v: called as `network(x_t, t).sample`, with `class_labels=` if there are labels.
        images: N x C x H x W, in [-1, 1].
        alpha_bar: Cumulative products, T numbers.
        prediction: `epsilon` or `v_prediction`.
        labels: Classes of the images (N,), int64, if the network is class-conditional.
    """
    length = len(alpha_bar)
    t = (_strata(len(images)) * length).long().clamp(max=length - 1).to(images.device)  # rand may round up to 1
    noise = torch.randn(images.shape).to(images.device)
    signal = alpha_bar[t].view(-1, 1, 1, 1)
    noisy = signal.sqrt() * images + (1 - signal).sqrt() * noise
    predicted: Tensor = network(noisy, t, **_told(labels)).sample
    target = noise if prediction == "epsilon" else signal.sqrt() * noise - (1 - signal).sqrt() * images
    return nn.functional.mse_loss(predicted.float(), target)


def flow_loss(network: nn.Module, images: Tensor, labels: Tensor | None = None) -> Tensor:
    """Return the mean over images and pixels of (eps - x_0 - f_theta(x_t, T t))^2, x_t = (1 - t) x_0 + t eps.

    Lipman et al. 2023, Equation 23; Liu et al. 2023, Equation 1, in diffusers' direction and with its T = 1000. The t
    are uniform on (0, 1), stratified as in `noise_loss`.

    Args:
        network: Predicts eps - x_0: called as `network(x_t, T t).sample`.
        images: N x C x H x W, in [-1, 1].
        labels: Classes of the images (N,), int64, if the network is class-conditional.
    """
    t = _strata(len(images)).to(images.device)
    noise, share = torch.randn(images.shape).to(images.device), t.view(-1, 1, 1, 1)
    noisy = (1 - share) * images + share * noise
    predicted: Tensor = network(noisy, LENGTH * t, **_told(labels)).sample
    return nn.functional.mse_loss(predicted.float(), noise - images)


def _strata(count: int) -> Tensor:
    return (torch.arange(count) + torch.rand(count)) / count


def _told(labels: Tensor | None) -> dict[str, Tensor]:
    """What a network is called with beside images and times."""
    return {} if labels is None else {"class_labels": labels}

"""The way from a latent diffusion model's latents to images (Rombach et al. 2022)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor, nn

from mmd_ddm.compilation import Compiled
from mmd_ddm.precision import FP32, inside_network

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, VQModel


class ImageDecoder(nn.Module):
    """x = D(z / s): the decoder of an autoencoder, frozen and always in eval mode (Rombach et al. 2022, Section 3.1).

    The gradient passes through it to z; its weights have none. A decoder with a codebook (`VQModel`) replaces each
    vector of z / s by the nearest one of the codebook. That function is constant almost everywhere, so its derivative
    is taken to be the identity, as in the autoencoder's own training (straight-through, van den Oord et al. 2017,
    Section 3.2): the gradient is exactly D's at the replaced vectors, and no finite difference equals it.

    Args:
        autoencoder: whose `decode(z)` returns an object with `.sample`.
        scaling_factor: s, by which the autoencoder's latents were multiplied to have unit variance (Section D.1).
        precision: one of `PRECISIONS`, in which it calculates inside; the images have the latents' dtype.
        compiled: whether it is compiled within `batches_of`.
    """

    def __init__(
        self,
        autoencoder: AutoencoderKL | VQModel,
        scaling_factor: float,
        precision: str = FP32,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.autoencoder = autoencoder.requires_grad_(False)
        self.scaling_factor = scaling_factor
        self.precision = precision
        decode = partial(_decode, autoencoder)
        self._decode = Compiled(decode) if compiled else decode
        self.eval()

    def forward(self, latents: Float[Tensor, "N c h w"]) -> Float[Tensor, "N C H W"]:
        """Decode latents, of unit variance, into images, nominally in [-1, 1], not clamped."""
        with inside_network(self.precision, latents.device.type):
            return self._decode(latents / self.scaling_factor).to(latents.dtype)

    def train(self, mode: bool = True) -> ImageDecoder:
        """Stay in eval mode, whatever the network is in."""
        return super().train(False)


def _decode(autoencoder: AutoencoderKL | VQModel, latents: Tensor) -> Tensor:
    image: Tensor = autoencoder.decode(latents).sample
    return image

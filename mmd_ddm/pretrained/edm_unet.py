"""The U-Net of Karras et al. 2022 (EDM), which knows noise levels sigma, called like a `UNet2DModel`.

EDM's images are x_0 + sigma epsilon; here they are sqrt(a) x_0 + sqrt(1 - a) epsilon with a = 1 / (1 + sigma^2), the
same but for a factor, and timesteps are rows of a table of sigma. So any sampler of such networks takes this one. This
file needs torch and diffusers alone and lies beside the weights of every model that uses it, so that
`DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)` loads the model without any other package.
"""

from __future__ import annotations

import math

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn
from torch.nn import functional

_HALF = math.sqrt(0.5)  # keeps the variance of a sum of two
_FILTERS = ((1, 1), (1, 3, 3, 1))


class _Halve(nn.Module):
    """Halves images with the filter (1, 1), once or, for (1, 3, 3, 1), three times in each direction."""

    def __init__(self, taps: int) -> None:
        super().__init__()
        self.margin = taps // 2 - 1

    def forward(self, x: Tensor, padded: bool = False) -> Tensor:
        """Halve images that have zeros around them, or have got them already."""
        return functional.avg_pool2d(_smooth(x if padded else _pad(x, self.margin), self.margin), 2)


class _Double(nn.Module):
    """Doubles images with a filter, as `_Halve` has it."""

    def __init__(self, taps: int) -> None:
        super().__init__()
        self.margin = taps // 2 - 1

    def forward(self, x: Tensor) -> Tensor:
        """Double images that have zeros around them."""
        return _smooth(_pad(functional.interpolate(x, scale_factor=2.0), self.margin), self.margin)


def _pad(x: Tensor, margin: int) -> Tensor:
    return functional.pad(x, [margin] * 4) if margin else x


def _smooth(x: Tensor, margin: int) -> Tensor:
    for _ in range(2 * margin):
        x = functional.avg_pool2d(x, 2, stride=1)
    return x


def _normalisation(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(32, channels // 4), channels, eps=1e-6)


class _Block(nn.Module):
    """A residual block, which may halve or double, and one head of attention after it (Song et al. 2021, Appendix H).

    Args:
        inputs: channels.
        outputs: channels.
        embedding: channels of the noise level's.
        dropout: before the second convolution.
        resample: halves or doubles; none: neither.
        attention: whether there is any.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        embedding: int,
        dropout: float,
        resample: nn.Module | None = None,
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.resample = nn.Identity() if resample is None else resample
        self.norm0, self.norm1 = _normalisation(inputs), _normalisation(outputs)
        self.conv0 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.affine = nn.Linear(embedding, outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv1 = nn.Conv2d(outputs, outputs, 3, padding=1)
        is_same = resample is None and inputs == outputs
        self.skip = nn.Identity() if is_same else nn.Conv2d(inputs, outputs, 1)
        self.has_attention = attention
        if attention:
            self.norm2 = _normalisation(outputs)
            self.qkv, self.proj = nn.Conv2d(outputs, 3 * outputs, 1), nn.Conv2d(outputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h: Tensor = self.conv0(self.resample(functional.silu(self.norm0(x))))
        h = functional.silu(self.norm1(h + self.affine(embedding)[:, :, None, None]))
        h = (self.conv1(self.dropout(h)) + self.skip(self.resample(x))) * _HALF
        if self.has_attention:
            h = (self._attended(h) + h) * _HALF
        return h

    def _attended(self, x: Tensor) -> Tensor:
        joint = self.qkv(self.norm2(x)).unflatten(1, (-1, 3)).flatten(3)  # each channel's query, key and value
        q, k, v = (part.transpose(1, 2).unsqueeze(1) for part in joint.unbind(2))
        mixed = functional.scaled_dot_product_attention(q, k, v)
        made: Tensor = self.proj(mixed.squeeze(1).transpose(1, 2).reshape(x.shape))
        return made


class _Frequencies(nn.Module):
    """Sines and cosines of a number: 1 ... 1/10000 as Ho et al. 2020, or random ones (Song et al. 2021, NCSN++)."""

    freqs: Tensor | None

    def __init__(self, channels: int, kind: str) -> None:
        super().__init__()
        self.count = channels // 2
        self.register_buffer("freqs", 16 * torch.randn(self.count) if kind == "fourier" else None)

    def forward(self, x: Tensor) -> Tensor:
        if self.freqs is None:
            places = torch.arange(self.count, dtype=torch.float32, device=x.device)
            each = (1 / 10000) ** (places / (self.count - 1))
        else:
            each = 2 * math.pi * self.freqs
        angles = x[:, None] * each.to(x.dtype)
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class EDMUNet2DModel(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers has no types
    """DDPM++ or NCSN++ (Song et al. 2021) within the preconditioning of Karras et al. 2022, Table 1.

    With the preconditioning edm it predicts v = sqrt(a) epsilon - sqrt(1 - a) x_0, with vp and ve epsilon: what the
    network within gives without a difference of large numbers, at every noise level. The names of its tensors are
    those of NVlabs' files; the embedding of augmentations, which are all 0 where images are sampled, is left out.

    Args:
        sample_size: side of the images.
        in_channels: of the images.
        out_channels: as many.
        stem_channels: of the first convolution.
        block_out_channels: of the levels, from the images' resolution downwards.
        layers_per_block: residual blocks of a level on the way down; one more on the way up.
        attention_resolutions: sides of the levels that have attention.
        dropout: in training, 0 to below 1.
        embedding: of the noise level, `positional` (DDPM++) or `fourier` (NCSN++).
        noise_channels: of its sines and cosines.
        embedding_channels: of the embedding.
        residual_encoder: whether the image itself is taken along, halved (NCSN++).
        skip_decoder: whether each level makes an image, and their sum is the result.
        resample_filter: (1, 1) (DDPM++) or (1, 3, 3, 1) (NCSN++).
        preconditioning: `edm`, `vp` or `ve`.
        sigma_data: standard deviation of the images (edm).
        beta_d: of the noise levels' schedule (vp).
        beta_min: of the noise levels' schedule (vp).
        noise_steps: timesteps that the network was trained with, M (vp).
        num_train_timesteps: T, rows of the table of sigma.
        num_class_embeds: how many classes there are, none if it is unconditional.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        sample_size: int = 32,
        in_channels: int = 3,
        out_channels: int = 3,
        stem_channels: int = 128,
        block_out_channels: tuple[int, ...] = (256, 256, 256),
        layers_per_block: int = 4,
        attention_resolutions: tuple[int, ...] = (16,),
        dropout: float = 0.0,
        embedding: str = "positional",
        noise_channels: int = 128,
        embedding_channels: int = 512,
        residual_encoder: bool = False,
        skip_decoder: bool = False,
        resample_filter: tuple[int, ...] = (1, 1),
        preconditioning: str = "edm",
        sigma_data: float = 0.5,
        beta_d: float = 19.9,
        beta_min: float = 0.1,
        noise_steps: int = 1000,
        num_train_timesteps: int = 1000,
        num_class_embeds: int | None = None,
    ) -> None:
        super().__init__()
        self._check()
        self.register_buffer("sigmas", torch.logspace(-2, 2, num_train_timesteps))
        self.halving, self.doubling = _Halve(len(resample_filter)), _Double(len(resample_filter))
        self.sides = [sample_size >> level for level in range(len(block_out_channels))]
        self.map_noise = _Frequencies(noise_channels, embedding)
        self.map_label = None if num_class_embeds is None else nn.Linear(num_class_embeds, noise_channels)
        self.map_layer0 = nn.Linear(noise_channels, embedding_channels)
        self.map_layer1 = nn.Linear(embedding_channels, embedding_channels)
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        self._add_decoder(self._add_encoder())

    def _check(self) -> None:
        config = self.config
        if config.out_channels != config.in_channels:
            raise ValueError(f"out_channels is {config.out_channels}, but images have {config.in_channels}")
        for name, allowed in (
            ("embedding", ("positional", "fourier")),
            ("preconditioning", ("edm", "vp", "ve")),
            ("resample_filter", _FILTERS),
        ):
            value = config[name]
            if (tuple(value) if isinstance(value, list) else value) not in allowed:
                raise ValueError(f"{name} is {value!r}; it must be one of {allowed}")

    def _block(
        self, inputs: int, outputs: int, resample: nn.Module | None = None, attention: bool = False
    ) -> nn.Module:
        return _Block(inputs, outputs, self.config.embedding_channels, self.config.dropout, resample, attention)

    def _add_encoder(self) -> list[int]:
        """Add the way down and return the channels of all that the way up is given."""
        config = self.config
        now, taken = config.stem_channels, config.in_channels
        self.enc[f"{self.sides[0]}x{self.sides[0]}_conv"] = nn.Conv2d(taken, now, 3, padding=1)
        skips = [now]
        for level, (side, width) in enumerate(zip(self.sides, config.block_out_channels, strict=True)):
            if level:
                self.enc[f"{side}x{side}_down"] = self._block(now, now, self.halving)
                skips.append(now)
                if config.residual_encoder:  # its padding holds the filter's too
                    padding = 1 + self.halving.margin
                    self.enc[f"{side}x{side}_aux_residual"] = nn.Conv2d(taken, now, 3, padding=padding)
                    taken = now
            for n in range(config.layers_per_block):
                has_attention = side in config.attention_resolutions
                self.enc[f"{side}x{side}_block{n}"] = self._block(now, width, attention=has_attention)
                now = width
                skips.append(now)
        return skips

    def _add_decoder(self, skips: list[int]) -> None:
        config = self.config
        now = config.block_out_channels[-1]
        for level in reversed(range(len(self.sides))):
            side, width = self.sides[level], config.block_out_channels[level]
            if level == len(self.sides) - 1:
                self.dec[f"{side}x{side}_in0"] = self._block(now, now, attention=True)
                self.dec[f"{side}x{side}_in1"] = self._block(now, now)
            else:
                self.dec[f"{side}x{side}_up"] = self._block(now, now, self.doubling)
            for n in range(config.layers_per_block + 1):
                has_attention = n == config.layers_per_block and side in config.attention_resolutions
                self.dec[f"{side}x{side}_block{n}"] = self._block(now + skips.pop(), width, attention=has_attention)
                now = width
            if config.skip_decoder or level == 0:
                self.dec[f"{side}x{side}_aux_norm"] = _normalisation(now)
                self.dec[f"{side}x{side}_aux_conv"] = nn.Conv2d(now, config.out_channels, 3, padding=1)

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        class_labels: Tensor | None = None,
        return_dict: bool = True,
    ) -> UNet2DOutput | tuple[Tensor]:
        """Predict v or epsilon of images.

        Args:
            sample: (N, C, H, W), sqrt(a) x_0 + sqrt(1 - a) epsilon.
            timestep: 0 to T-1, one or N; log sigma is linear between whole ones.
            class_labels: (N,) int64, for a class-conditional network.
            return_dict: whether to return it as `.sample` or in a tuple.
        """
        skip, out, inner, noise = self.coefficients(self.log_sigma(timestep).expand(len(sample)))
        skip, out, inner = (each.to(sample.dtype).view(-1, 1, 1, 1) for each in (skip, out, inner))
        embedding = self.map_noise(noise).to(sample.dtype)
        if self.map_label is not None:
            if class_labels is None:
                raise ValueError("the network is class-conditional: class_labels are missing")
            classes = self.map_label.in_features
            told = functional.one_hot(class_labels, classes).to(embedding) * math.sqrt(classes)
            embedding = embedding + self.map_label(told)
        embedding = functional.silu(self.map_layer1(functional.silu(self.map_layer0(embedding))))
        made = skip * sample + out * self._decode(*self._encode(inner * sample, embedding), embedding)
        return UNet2DOutput(sample=made) if return_dict else (made,)

    @property
    def predicts(self) -> str:
        """What it predicts, as diffusers names it."""
        return "v_prediction" if self.config.preconditioning == "edm" else "epsilon"

    def log_sigma(self, timestep: Tensor | float) -> Tensor:
        """The logarithm of the noise level at timesteps, which may be fractions."""
        # the dtype of the weights, but no less than float32's digits
        logs = self.sigmas.to(torch.promote_types(self.sigmas.dtype, torch.float32)).log()
        time = torch.as_tensor(timestep, device=logs.device)
        low, high = (each.long() for each in (time.floor(), time.ceil()))
        return torch.lerp(logs[low], logs[high], (time - low).to(logs.dtype))

    def coefficients(self, log_sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return c_skip and c_out of the prediction, c_in of the image, and c_noise, all (N,).

        Karras et al. 2022, Table 1, for images sqrt(a) x_0 + sqrt(1 - a) epsilon and v or epsilon in place of x_0:
        with s = sigma and d = sigma_data, edm's c_skip is s (1 - d^2) / (s^2 + d^2), and c_out is -d c_in.
        """
        config, sigma = self.config, log_sigma.exp()
        zero, one = torch.zeros_like(sigma), torch.ones_like(sigma)
        if config.preconditioning == "edm":
            data = config.sigma_data
            inner = ((1 + sigma**2) / (sigma**2 + data**2)).sqrt()
            return sigma * (1 - data**2) / (sigma**2 + data**2), -data * inner, inner, log_sigma / 4
        if config.preconditioning == "ve":
            return zero, -one, (1 + sigma**2).sqrt(), log_sigma - math.log(2)
        grown = (config.beta_min**2 + 2 * config.beta_d * torch.log1p(sigma**2)).sqrt()
        return zero, one, one, (config.noise_steps - 1) * (grown - config.beta_min) / config.beta_d

    def _encode(self, x: Tensor, embedding: Tensor) -> tuple[Tensor, list[Tensor]]:
        image, skips = x, []
        for level, side in enumerate(self.sides):
            if level:
                x = self.enc[f"{side}x{side}_down"](x, embedding)
                if self.config.residual_encoder:
                    image = self.halving(self.enc[f"{side}x{side}_aux_residual"](image), padded=True)
                    x = image = (x + image) * _HALF
            else:
                x = self.enc[f"{side}x{side}_conv"](x)
            skips.append(x)
            for n in range(self.config.layers_per_block):
                x = self.enc[f"{side}x{side}_block{n}"](x, embedding)
                skips.append(x)
        return x, skips

    def _decode(self, x: Tensor, skips: list[Tensor], embedding: Tensor) -> Tensor:
        image: Tensor | None = None
        for level in reversed(range(len(self.sides))):
            at = f"{self.sides[level]}x{self.sides[level]}"
            for name in ("in0", "in1") if level == len(self.sides) - 1 else ("up",):
                x = self.dec[f"{at}_{name}"](x, embedding)
            for n in range(self.config.layers_per_block + 1):
                x = self.dec[f"{at}_block{n}"](torch.cat([x, skips.pop()], dim=1), embedding)
            if self.config.skip_decoder or level == 0:
                made: Tensor = self.dec[f"{at}_aux_conv"](functional.silu(self.dec[f"{at}_aux_norm"](x)))
                image = made if image is None else made + self.doubling(image)
        assert image is not None
        return image

"""The U-Net of Karras et al. 2024 (EDM2), which knows noise levels sigma, called like a `UNet2DModel`.

EDM2's images are x_0 + sigma epsilon; here they are sqrt(a) x_0 + sqrt(1 - a) epsilon with a = 1 / (1 + sigma^2), the
same but for a factor, and timesteps are rows of a table of sigma. So any sampler of networks that predict v takes this
one. This file needs torch and diffusers alone and lies beside the weights of every model that uses it, so that
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

_EPSILON = 1e-4  # of a normalisation, of a magnitude of 1
_SILU = 0.596  # magnitude of SiLU of a standard normal number (Equation 81)


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _normalised(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Divide by the root of the mean square over some dimensions (Equation 30)."""
    length = torch.linalg.vector_norm(_at_least_float32(x), dim=dims, keepdim=True)  # has a gradient at 0 as well
    divided: Tensor = x / (length * math.sqrt(length.numel() / x.numel()) + _EPSILON).to(x.dtype)
    return divided


def _silu(x: Tensor) -> Tensor:
    return functional.silu(x) / _SILU


def _mixed(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Sum of which b has a share, of the magnitude that both have (Equation 88)."""
    return ((1 - share) * a + share * b) / math.hypot(1 - share, share)


def _joined(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Channels of both, to the magnitude of which b contributes a share (Equation 103)."""
    scale = math.sqrt(a.shape[1] + b.shape[1]) / math.hypot(1 - share, share)
    of_a, of_b = (1 - share) / math.sqrt(a.shape[1]), share / math.sqrt(b.shape[1])
    return torch.cat([scale * of_a * a, scale * of_b * b], dim=1)


class _Layer(nn.Module):
    """A convolution or linear layer whose outputs each have a weight of length 1 (Equation 47).

    The weights are normalised in every evaluation, in training as well. That the original also overwrites them with
    their normalised values in each training step (Equation 66) is left out: gradients are those of the function.

    Args:
        inputs: channels.
        outputs: channels.
        kernel: side of a convolution's; none: linear.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, *([] if kernel is None else [kernel, kernel])))

    def forward(self, x: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        """Multiply by the weights, scaled by a gain."""
        weight = _normalised(_at_least_float32(self.weight), tuple(range(1, self.weight.dim())))
        weight = (weight * (gain / math.sqrt(weight[0].numel()))).to(x.dtype)
        if weight.dim() == 2:
            return functional.linear(x, weight)
        return functional.conv2d(x, weight, padding=weight.shape[-1] // 2)


class _Frequencies(nn.Module):
    """Cosines of a number, of random frequencies and phases (Equation 75)."""

    freqs: Tensor
    phases: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("freqs", 2 * math.pi * torch.randn(channels))
        self.register_buffer("phases", 2 * math.pi * torch.rand(channels))

    def forward(self, x: Tensor) -> Tensor:
        return math.sqrt(2) * (x[:, None] * self.freqs.to(x.dtype) + self.phases.to(x.dtype)).cos()


class _Block(nn.Module):
    """A residual block and attention after it (Figure 21).

    Args:
        inputs: channels.
        outputs: channels.
        embedding: channels of the noise level's and class's.
        resample: `up`, `down` or none.
        heads: of attention; 0: there is none.
        dropout: before the second convolution, 0 to below 1.
        shares: of the residual branch, and of attention.
        limit: of the magnitude of what comes out; none: there is none.
    """

    is_encoder = False

    def __init__(
        self,
        inputs: int,
        outputs: int,
        embedding: int,
        *,
        resample: str | None,
        heads: int,
        dropout: float,
        shares: tuple[float, float],
        limit: float | None,
    ) -> None:
        super().__init__()
        self.resample, self.heads, self.shares, self.limit = resample, heads, shares, limit
        self.dropout = nn.Dropout(dropout)
        self.emb_gain = nn.Parameter(torch.zeros([]))
        self.conv_res0 = _Layer(outputs if self.is_encoder else inputs, outputs, 3)
        self.emb_linear = _Layer(embedding, outputs)
        self.conv_res1 = _Layer(outputs, outputs, 3)
        self.conv_skip = None if inputs == outputs else _Layer(inputs, outputs, 1)
        if heads:
            self.attn_qkv, self.attn_proj = _Layer(outputs, 3 * outputs, 1), _Layer(outputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        if self.resample == "down":
            x = functional.avg_pool2d(x, 2)
        elif self.resample == "up":
            x = functional.interpolate(x, scale_factor=2.0)
        if self.is_encoder:
            x = _normalised(self._skipped(x), (1,))
        scale = self.emb_linear(embedding, self.emb_gain) + 1
        h = _silu(self.conv_res0(_silu(x)) * scale[:, :, None, None].to(x.dtype))
        h = self.conv_res1(self.dropout(h))
        x = _mixed(x if self.is_encoder else self._skipped(x), h, self.shares[0])
        if self.heads:
            x = _mixed(x, self._attended(x), self.shares[1])
        return x if self.limit is None else x.clamp(-self.limit, self.limit)

    def _skipped(self, x: Tensor) -> Tensor:
        return x if self.conv_skip is None else self.conv_skip(x)

    def _attended(self, x: Tensor) -> Tensor:
        joint = self.attn_qkv(x).flatten(2).unflatten(1, (self.heads, -1, 3))  # each channel's query, key and value
        q, k, v = (part.transpose(2, 3) for part in _normalised(joint, (2,)).unbind(3))
        mixed = functional.scaled_dot_product_attention(q, k, v)
        made: Tensor = self.attn_proj(mixed.transpose(2, 3).reshape(x.shape))
        return made


class _EncoderBlock(_Block):
    """One that takes what it adds to in unit length at each pixel, with its own number of channels."""

    is_encoder = True


class EDM2UNet2DModel(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers has no types
    """The magnitude-preserving U-Net of Karras et al. 2024 within the preconditioning of Karras et al. 2022.

    It predicts v = sqrt(a) epsilon - sqrt(1 - a) x_0: what the network within gives without a difference of large
    numbers, at every noise level. The names of its tensors are those of NVlabs' files; the estimate of the loss at a
    noise level, which only training has a use for, is left out. Weights are normalised in every evaluation, and never
    overwritten with normalised ones as the original's training does (see `_Layer`).

    Args:
        sample_size: side of the images.
        in_channels: of the images.
        out_channels: as many.
        block_out_channels: of the levels, from the images' resolution downwards.
        layers_per_block: residual blocks of a level on the way down; one more on the way up.
        attention_resolutions: sides of the levels that have attention.
        attention_head_dim: channels of a head.
        dropout: in training, 0 to below 1.
        noise_channels: of the noise level's cosines.
        embedding_channels: of the embedding.
        label_balance: share of the class in the embedding, 0 to 1.
        concat_balance: share of what comes from the way down, 0 to 1.
        res_balance: share of a block's residual branch, 0 to 1.
        attn_balance: share of attention, 0 to 1.
        clip_act: largest magnitude of what a block gives; none: any.
        sigma_data: standard deviation of the images.
        num_train_timesteps: T, rows of the table of sigma.
        num_class_embeds: how many classes there are, none if it is unconditional.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        sample_size: int = 64,
        in_channels: int = 3,
        out_channels: int = 3,
        block_out_channels: tuple[int, ...] = (192, 384, 576, 768),
        layers_per_block: int = 3,
        attention_resolutions: tuple[int, ...] = (16, 8),
        attention_head_dim: int = 64,
        dropout: float = 0.0,
        noise_channels: int = 192,
        embedding_channels: int = 768,
        label_balance: float = 0.5,
        concat_balance: float = 0.5,
        res_balance: float = 0.3,
        attn_balance: float = 0.3,
        clip_act: float | None = 256.0,
        sigma_data: float = 0.5,
        num_train_timesteps: int = 1000,
        num_class_embeds: int | None = None,
    ) -> None:
        super().__init__()
        if out_channels != in_channels:
            raise ValueError(f"out_channels is {out_channels}, but images have {in_channels}")
        self.register_buffer("sigmas", torch.logspace(-2, 2, num_train_timesteps))
        self.sides = [sample_size >> level for level in range(len(block_out_channels))]
        self.emb_fourier = _Frequencies(noise_channels)
        self.emb_noise = _Layer(noise_channels, embedding_channels)
        self.emb_label = None if num_class_embeds is None else _Layer(num_class_embeds, embedding_channels)
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        self._add_decoder(self._add_encoder())
        self.out_conv = _Layer(block_out_channels[0], out_channels, 3)
        self.out_gain = nn.Parameter(torch.zeros([]))

    def _block(
        self, kind: type[_Block], inputs: int, outputs: int, *, resample: str | None = None, attention: bool = False
    ) -> _Block:
        config = self.config
        heads, rest = divmod(outputs, config.attention_head_dim) if attention else (0, 0)
        if rest or (attention and not heads):
            raise ValueError(f"attention_head_dim is {config.attention_head_dim}, which does not divide {outputs}")
        shares = config.res_balance, config.attn_balance
        return kind(inputs, outputs, config.embedding_channels, resample=resample, heads=heads,
                    dropout=config.dropout, shares=shares, limit=config.clip_act)  # fmt: skip

    def _add_encoder(self) -> list[int]:
        """Add the way down and return the channels of all that the way up is given."""
        config = self.config
        now = config.block_out_channels[0]
        self.enc[f"{self.sides[0]}x{self.sides[0]}_conv"] = _Layer(config.in_channels + 1, now, 3)
        skips = [now]
        for level, (side, width) in enumerate(zip(self.sides, config.block_out_channels, strict=True)):
            if level:
                self.enc[f"{side}x{side}_down"] = self._block(_EncoderBlock, now, now, resample="down")
                skips.append(now)
            for n in range(config.layers_per_block):
                has_attention = side in config.attention_resolutions
                self.enc[f"{side}x{side}_block{n}"] = self._block(_EncoderBlock, now, width, attention=has_attention)
                now = width
                skips.append(now)
        return skips

    def _add_decoder(self, skips: list[int]) -> None:
        config = self.config
        now = config.block_out_channels[-1]
        for level in reversed(range(len(self.sides))):
            side, width = self.sides[level], config.block_out_channels[level]
            if level == len(self.sides) - 1:
                self.dec[f"{side}x{side}_in0"] = self._block(_Block, now, now, attention=True)
                self.dec[f"{side}x{side}_in1"] = self._block(_Block, now, now)
            else:
                self.dec[f"{side}x{side}_up"] = self._block(_Block, now, now, resample="up")
            for n in range(config.layers_per_block + 1):
                has_attention = side in config.attention_resolutions
                block = self._block(_Block, now + skips.pop(), width, attention=has_attention)
                self.dec[f"{side}x{side}_block{n}"] = block
                now = width

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        class_labels: Tensor | None = None,
        return_dict: bool = True,
    ) -> UNet2DOutput | tuple[Tensor]:
        """Predict v of images.

        Args:
            sample: (N, C, H, W), sqrt(a) x_0 + sqrt(1 - a) epsilon.
            timestep: 0 to T-1, one or N; log sigma is linear between whole ones.
            class_labels: (N,) int64, for a class-conditional network.
            return_dict: whether to return it as `.sample` or in a tuple.
        """
        skip, out, inner, noise = self.coefficients(self.log_sigma(timestep).expand(len(sample)))
        skip, out, inner = (each.to(sample.dtype).view(-1, 1, 1, 1) for each in (skip, out, inner))
        embedding = self._embedding(noise, class_labels, sample.dtype)
        x = torch.cat([inner * sample, torch.ones_like(sample[:, :1])], dim=1)
        skips = []
        for name, block in self.enc.items():
            x = block(x) if name.endswith("_conv") else block(x, embedding)
            skips.append(x)
        for name, block in self.dec.items():
            if "_block" in name:
                x = _joined(x, skips.pop(), self.config.concat_balance)
            x = block(x, embedding)
        made = skip * sample + out * self.out_conv(x, self.out_gain)
        return UNet2DOutput(sample=made) if return_dict else (made,)

    def _embedding(self, noise: Tensor, class_labels: Tensor | None, dtype: torch.dtype) -> Tensor:
        made = self.emb_noise(self.emb_fourier(noise).to(dtype))
        if self.emb_label is not None:
            if class_labels is None:
                raise ValueError("the network is class-conditional: class_labels are missing")
            classes = self.config.num_class_embeds
            told = functional.one_hot(class_labels, classes).to(made) * math.sqrt(classes)
            made = _mixed(made, self.emb_label(told), self.config.label_balance)
        return _silu(made)

    @property
    def predicts(self) -> str:
        """What it predicts, as diffusers names it."""
        return "v_prediction"

    def log_sigma(self, timestep: Tensor | float) -> Tensor:
        """The logarithm of the noise level at timesteps, which may be fractions."""
        logs = _at_least_float32(self.sigmas).log()  # the dtype of the weights, but no less than float32's digits
        time = torch.as_tensor(timestep, device=logs.device)
        low, high = (each.long() for each in (time.floor(), time.ceil()))
        return torch.lerp(logs[low], logs[high], (time - low).to(logs.dtype))

    def coefficients(self, log_sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return c_skip and c_out of the prediction, c_in of the image, and c_noise, all (N,).

        Karras et al. 2022, Table 1, for images sqrt(a) x_0 + sqrt(1 - a) epsilon and v in place of x_0: with s = sigma
        and d = sigma_data, c_skip is s (1 - d^2) / (s^2 + d^2), and c_out is -d c_in.
        """
        sigma, data = log_sigma.exp(), self.config.sigma_data
        inner = ((1 + sigma**2) / (sigma**2 + data**2)).sqrt()
        return sigma * (1 - data**2) / (sigma**2 + data**2), -data * inner, inner, log_sigma / 4

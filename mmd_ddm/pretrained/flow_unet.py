"""A `UNet2DModel` that was trained by flow matching, called like one that predicts v.

Flow matching's images are (1 - t) x_0 + t epsilon, and its network predicts epsilon - x_0; here they are
sqrt(a) x_0 + sqrt(1 - a) epsilon, the same but for a factor, and timesteps are rows of a table of sigma =
sqrt((1 - a) / a) = t / (1 - t). So any sampler of networks that predict v takes this one. This file needs torch and
diffusers alone and lies beside the weights of every model that uses it, so that
`DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)` loads the model without any other package.
"""

from __future__ import annotations

import inspect

import torch
from diffusers import UNet2DModel
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor


class FlowUNet2DModel(UNet2DModel):  # type: ignore[misc]  # diffusers has no types
    """`UNet2DModel` within the change of variables from flow matching to v; its weights have the names of that.

    Args:
        flow_timesteps: T of flow matching: the network within is told t T.
        num_train_timesteps: rows of the table of sigma.
        config: of `UNet2DModel`.
    """

    def __init__(self, flow_timesteps: int = 1000, num_train_timesteps: int = 1000, **config: object) -> None:
        super().__init__(**{**config, "num_train_timesteps": num_train_timesteps})
        self.register_to_config(flow_timesteps=flow_timesteps)
        self.register_buffer("sigmas", torch.logspace(-3, 3, num_train_timesteps))

    @classmethod
    def of(cls, network: UNet2DModel, sigmas: Tensor, flow_timesteps: int) -> FlowUNet2DModel:
        """Make one of a network's own modules, which both then have."""
        config = {name: value for name, value in network.config.items() if not name.startswith("_")}
        with torch.device("meta"):
            made = cls(**{**config, "flow_timesteps": flow_timesteps, "num_train_timesteps": len(sigmas)})
        for name, module in network.named_children():
            setattr(made, name, module)
        made.sigmas = sigmas.to(next(network.parameters()))
        made.training = network.training
        return made

    @property
    def predicts(self) -> str:
        """What it predicts, as diffusers names it."""
        return "v_prediction"

    def log_sigma(self, timestep: Tensor | float) -> Tensor:
        """The logarithm of the noise level at timesteps, which may be fractions."""
        # the dtype of the weights, but no less than float32's digits
        logs = self.sigmas.to(torch.promote_types(self.sigmas.dtype, torch.float32)).log()
        time = torch.as_tensor(timestep, device=logs.device)
        low, high = (each.long() for each in (time.floor(), time.ceil()))
        return torch.lerp(logs[low], logs[high], (time - low).to(logs.dtype))

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        class_labels: Tensor | None = None,
        return_dict: bool = True,
    ) -> UNet2DOutput | tuple[Tensor]:
        """Predict v of images.

        With s = sqrt((1 - t)^2 + t^2) the network is given s x = (1 - t) x_0 + t epsilon, and of its f = epsilon - x_0
        becomes v = ((1 - t) epsilon - t x_0) / s = (1 - 2 t) x + s f.

        Args:
            sample: (N, C, H, W), x = sqrt(a) x_0 + sqrt(1 - a) epsilon.
            timestep: 0 to the last row of the table, one or N; log sigma is linear between whole ones.
            class_labels: (N,), of a network that has classes.
            return_dict: whether to return it as `.sample` or in a tuple.
        """
        log_sigma = self.log_sigma(timestep).expand(len(sample))
        t, rest = log_sigma.sigmoid(), (-log_sigma).sigmoid()
        keep, scale = (each.to(sample.dtype).view(-1, 1, 1, 1) for each in (rest - t, torch.hypot(rest, t)))
        flow = UNet2DModel.forward(self, scale * sample, self.config.flow_timesteps * t, class_labels).sample
        made = keep * sample + scale * flow
        return UNet2DOutput(sample=made) if return_dict else (made,)


# diffusers reads a model's settings off the signature of its constructor
_inherited, _own = (inspect.signature(kind.__init__).parameters for kind in (UNet2DModel, FlowUNet2DModel))
FlowUNet2DModel.__init__.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [each.replace(kind=each.POSITIONAL_OR_KEYWORD) for each in {**_inherited, **_own}.values() if each.name != "config"]
)

"""A DiT of a respaced process (Nichol & Dhariwal 2021, Section 4; Peebles & Xie 2023): it is told other times.

A `UNet2DModel` keeps such times as a table of embeddings; `DiTTransformer2DModel` has no place for one. This file needs
torch and diffusers alone and lies beside the weights of every model that uses it, so that
`DiTPipeline.from_pretrained(folder, trust_remote_code=True)` loads the model without any other package.
"""

import inspect
from typing import Any

import torch
from diffusers import DiTTransformer2DModel


class RespacedDiTTransformer2DModel(DiTTransformer2DModel):  # type: ignore[misc]  # diffusers has no types
    """`DiTTransformer2DModel` for timesteps 0 ... S-1, each of which stands for a time of the process of its training.

    Args:
        num_train_timesteps: S; the times are among the weights.
        config: of `DiTTransformer2DModel`.
    """

    def __init__(self, num_train_timesteps: int = 1000, **config: object) -> None:
        super().__init__(**config)
        self.register_to_config(num_train_timesteps=num_train_timesteps)
        self.register_buffer("times", torch.arange(num_train_timesteps, dtype=torch.float32))

    def forward(self, hidden_states: torch.Tensor, timestep: torch.Tensor, *inputs: Any, **settings: Any) -> Any:
        """Evaluate the network at the times that timesteps stand for."""
        return super().forward(hidden_states, self.times_of(timestep), *inputs, **settings)

    def times_of(self, timestep: torch.Tensor) -> torch.Tensor:
        """Look up the times that timesteps stand for, with straight lines between them."""
        last = len(self.times) - 1
        below = timestep.detach().float().floor().clamp(0, max(0, last - 1)).long()
        above = (below + 1).clamp(max=last)
        share = timestep.to(self.times.dtype) - below
        return torch.lerp(self.times[below], self.times[above], share.clamp(0, 1))


# diffusers reads a model's settings off the signature of its constructor
_own, _inherited = (
    inspect.signature(kind.__init__).parameters for kind in (RespacedDiTTransformer2DModel, DiTTransformer2DModel)
)
RespacedDiTTransformer2DModel.__init__.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [each.replace(kind=each.POSITIONAL_OR_KEYWORD) for each in {**_own, **_inherited}.values() if each.name != "config"]
)

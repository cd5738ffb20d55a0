"""A U-Net whose attention has the same number of heads at every width (as in Nichol & Dhariwal 2021, Section 3).

diffusers' `UNet2DModel` knows one width of a head for all levels. This file needs torch and diffusers alone and lies
beside the weights of every model that uses it, so that `DiffusionPipeline.from_pretrained(folder,
trust_remote_code=True)` loads the model without any other package.
"""

import inspect

from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention


class MultiHeadUNet2DModel(UNet2DModel):  # type: ignore[misc]  # diffusers has no types
    """`UNet2DModel` with `num_attention_heads` heads in each attention layer.

    Args:
        num_attention_heads: divides the width of every level that has attention.
        config: of `UNet2DModel`; its `attention_head_dim` is of no use here. It is saved as 0, which `UNet2DModel`
            itself cannot be built from: read as one, the weights are refused and not taken for another function.
    """

    def __init__(self, num_attention_heads: int = 1, **config: object) -> None:
        super().__init__(**{**config, "attention_head_dim": None})
        self.register_to_config(num_attention_heads=num_attention_heads, attention_head_dim=0)
        for module in self.modules():
            if isinstance(module, Attention):
                if module.inner_dim % num_attention_heads:
                    raise ValueError(f"{num_attention_heads} heads do not divide a width of {module.inner_dim}")
                module.heads = module.sliceable_head_dim = num_attention_heads
                module.scale = (module.inner_dim // num_attention_heads) ** -0.5


# diffusers reads a model's settings off the signature of its constructor
_own, _inherited = (inspect.signature(kind.__init__).parameters for kind in (MultiHeadUNet2DModel, UNet2DModel))
MultiHeadUNet2DModel.__init__.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [each.replace(kind=each.POSITIONAL_OR_KEYWORD) for each in {**_own, **_inherited}.values() if each.name != "config"]
)

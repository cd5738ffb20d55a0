"""The Inception network of the FID as torch-fidelity has it, three of its layers, differentiable in the image.

Its weights are TensorFlow's of 2015-12-05. The layers:
* `pool`, 2048: after the last average pooling; FID and KID.
* `spatial`, 17 x 17 x 7 = 2023: the first 7 channels of TensorFlow's `mixed_6/conv`, height by width by channel as in
  ADM's evaluator (Dhariwal & Nichol 2021), for the sFID. torch-fidelity's conversion of the weights maps that tensor to
  the 1 x 1 branch of Mixed_6d, after batch normalisation and ReLU, which is where Mixed_6d's output begins.
* `logits`, 1008: the last layer without its bias (torch-fidelity's `logits_unbiased`); Inception Score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from mmd_ddm.features.published.prepared import Prepared

DIMS = {"pool": 2048, "spatial": 17 * 17 * 7, "logits": 1008}
_TO_SPATIAL = (
    "Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "MaxPool_2",
    "Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d",
)  # fmt: skip
_TO_POOL = ("Mixed_6e", "Mixed_7a", "Mixed_7b", "Mixed_7c", "AvgPool")


class InceptionLayers(nn.Module):
    """One pass through torch-fidelity's network that gives some of its layers, named in `DIMS`.

    Its own `forward` takes uint8 only; here its parts are called in its order.
    """

    def __init__(self, backbone: nn.Module, layers: Sequence[str]) -> None:
        super().__init__()
        self.backbone, self.layers = backbone, tuple(layers)

    def forward(self, images: Tensor) -> Tensor:
        """Return the layers side by side, N x D in the order of `layers`, for N x 3 x 299 x 299 preprocessed images."""
        hidden = self._through(_TO_SPATIAL, images)
        found = {"spatial": hidden[:, :7].permute(0, 2, 3, 1).flatten(1)}
        if set(self.layers) != {"spatial"}:
            found["pool"] = self._through(_TO_POOL, hidden).flatten(1)
        if "logits" in self.layers:
            found["logits"] = found["pool"] @ self.backbone.get_parameter("fc.weight").T
        return torch.cat([found[layer] for layer in self.layers], dim=1)

    def _through(self, names: Sequence[str], images: Tensor) -> Tensor:
        for name in names:
            images = self.backbone.get_submodule(name)(images)
        return images


def inception_network(file: Path) -> nn.Module:
    """Build torch-fidelity's network from weights-inception-2015-12-05-6726825d.pth, or from equal tensors."""
    import io

    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    # its constructor unpickles whatever it is given: it gets what was read safely, written again
    safe = io.BytesIO()
    torch.save(torch.load(file, map_location="cpu", weights_only=True), safe)
    safe.seek(0)
    build: Callable[..., nn.Module] = FeatureExtractorInceptionV3
    return build("inception-v3-compat", ["2048"], feature_extractor_weights_path=safe)


def in_one_pass(networks: Sequence[nn.Module]) -> nn.Module | None:
    """Join networks that are layers of one Inception network behind one preprocessing; None if they are not."""
    prepared = [network for network in networks if isinstance(network, Prepared)]
    parts = [(each.how, each.body) for each in prepared if isinstance(each.body, InceptionLayers)]
    if len(parts) < len(networks) or len({(how, body.backbone) for how, body in parts}) > 1:
        return None
    how, first = parts[0]
    return Prepared(how, InceptionLayers(first.backbone, [layer for _, body in parts for layer in body.layers]))

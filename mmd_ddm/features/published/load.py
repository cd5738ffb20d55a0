"""Feature spaces made of networks that others published, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from weakref import WeakValueDictionary

import torch
from torch import nn

from mmd_ddm.errors import UserError, first_line
from mmd_ddm.features.published import clip, inception, listing, vision, weights
from mmd_ddm.features.published.listing import INCEPTION_LAYERS, TIMM
from mmd_ddm.features.published.prepared import Prepared, prepare
from mmd_ddm.features.published.preprocessing import EVALUATION, Preprocessing, preprocessing_of
from mmd_ddm.features.published.transforms import of_open_clip, of_timm
from mmd_ddm.features.space import FeatureSpace

_networks: WeakValueDictionary[tuple[str, str, int, int], nn.Module] = WeakValueDictionary()


def load_published(name: str, way: str = EVALUATION) -> FeatureSpace:
    """Load a published network as a feature space, on the CPU, or where a space of the same network is.

    Spaces of one network share it in memory: moving one to a device moves all.

    Raises:
        UserError: If the name is unknown, the weights are missing or not the published ones, or there is no such
            preprocessing for it.
    """
    listing.check_published(name)
    how = preprocessing_of(name, way)
    body = _network(name, weights.obtain(listing.published_weights(name), name))
    if how is None:
        how = of_timm(body, name) if name.startswith(TIMM) else of_open_clip(body, name)
    ones = torch.ones(_dim(name, body, how), device=next(body.parameters()).device)
    return FeatureSpace(name, Prepared(how, body), ones, None, preprocessing=repr(how))


def _network(name: str, file: Path) -> nn.Module:
    if name in INCEPTION_LAYERS:
        backbone = _shared("inception", file, lambda: inception.inception_network(file))
        return inception.InceptionLayers(backbone, [INCEPTION_LAYERS[name]])
    if name == "dinov2":
        return _shared(name, file, lambda: vision.dinov2_network(file))
    if name.startswith(TIMM):
        return _shared(name, file, lambda: vision.pooled_network(name.removeprefix(TIMM), file))
    listed = f"{listing.OPEN_CLIP}ViT-B-32/openai" if name == "clip" else name
    return _shared(listed, file, lambda: clip.image_tower(*listing.model_and_tag(listed), file))


def _shared(network: str, file: Path, build: Callable[[], nn.Module]) -> nn.Module:
    """Return the network built from a file, the one already in memory if some space still has it."""
    stat = file.stat()
    key = (network, str(file.resolve()), stat.st_mtime_ns, stat.st_size)
    found = _networks.get(key)
    if found is None:
        try:
            with torch.random.fork_rng(devices=[]):  # fresh weights would be drawn from the caller's generator
                found = build()
        except Exception as error:  # damaged pickles, archives and state dicts raise what they like
            said = first_line(error)
            raise UserError(f"{file} doesn't hold the weights of {network!r} ({said}); get it again.") from error
        _networks[key] = found
    return found.requires_grad_(False).eval()


@torch.no_grad()
def _dim(name: str, body: nn.Module, how: Preprocessing) -> int:
    if name in INCEPTION_LAYERS:
        return inception.DIMS[INCEPTION_LAYERS[name]]
    weight = next(body.parameters())
    black = torch.zeros(1, 3, how.crop or how.size, how.crop or how.size, dtype=weight.dtype, device=weight.device)
    found = body(prepare(black, how))
    if not (isinstance(found, torch.Tensor) and found.ndim == 2):
        raise UserError(f"{name!r} doesn't give one vector an image; choose another model.")
    return found.shape[1]

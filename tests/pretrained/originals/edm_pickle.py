"""How NVlabs' code writes a network: `torch_utils.persistence`, pickled like any object but with its source code."""

from __future__ import annotations

import pickle
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tests.pretrained.originals.edm import EDMStructure
from tests.pretrained.originals.structure import Weights

_SOURCE = "raise SystemExit('the source code in the file was run')"


def _reconstruct_persistent_obj(meta: dict[str, object]) -> object:
    raise AssertionError("the file was unpickled")


class EasyDict(dict):
    """A dictionary of `dnnlib.util`."""


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
EasyDict.__module__ = "dnnlib.util"


@contextmanager
def nvlabs_modules() -> Iterator[None]:
    """Let pickle find the names that it writes."""
    made = {
        name: types.ModuleType(name) for name in ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util")
    }
    made["torch_utils.persistence"]._reconstruct_persistent_obj = _reconstruct_persistent_obj
    made["dnnlib.util"].EasyDict = EasyDict
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            del sys.modules[name]


class Persistent(nn.Module):
    """An object of a class that was decorated with `persistent_class`."""

    def __init__(self, kind: str, settings: dict[str, object], **attributes: object) -> None:
        super().__init__()
        self.__dict__.update(attributes, _kind=kind, _init_args=(), _init_kwargs=settings)

    def __reduce__(self) -> tuple[object, ...]:
        state = {name: value for name, value in self.__dict__.items() if name != "_kind"}
        meta = {"type": "class", "version": 6, "module_src": _SOURCE, "class_name": self._kind, "state": state}
        return _reconstruct_persistent_obj, (meta,), None


def edm_module(s: EDMStructure, weights: Weights) -> Persistent:
    """The network of some weights as a tree of such objects."""
    outer = Persistent(s.preconditioning, {"img_resolution": s.side, "img_channels": 3}, **s.attributes())
    outer.model = Persistent("SongUNet", s.settings(), label_dropout=0)
    outer.model.enc, outer.model.dec = nn.ModuleDict(), nn.ModuleDict()
    if not s.classes:
        outer.model.map_label = None
    for name, tensor in weights.items():
        *path, leaf = name.split(".")
        module: nn.Module = outer
        for part in path:
            if part not in module._modules:
                block = {"skip_scale": np.sqrt(0.5), "init": {"init_mode": "xavier_uniform"}}  # NumPy's own number
                module.add_module(part, Persistent("UNetBlock", block, skip_scale=np.sqrt(0.5), resample_proj=True))
            module = module._modules[part]
        _set(module, leaf, tensor)
    return outer.eval().requires_grad_(False)


def _set(module: nn.Module, name: str, tensor: Tensor) -> None:
    if name in ("weight", "bias"):
        module.register_parameter(name, nn.Parameter(tensor.clone()))
        module.register_buffer("resample_filter", module._buffers.get("resample_filter"))
    else:
        module.register_buffer(name, tensor.clone())


def edm_content(s: EDMStructure, weights: Weights) -> dict[str, object]:
    """What a published file holds."""
    return {
        "ema": edm_module(s, weights),
        "loss_fn": Persistent("EDMLoss", {}, P_mean=-1.2, P_std=1.2, sigma_data=0.5),
        "augment_pipe": Persistent("AugmentPipe", {"p": 0.12}, p=0.12, scale_std=np.float64(0.2)),
        "dataset_kwargs": EasyDict(path="cifar10.zip", use_labels=False, xflip=False),
    }


def write_edm(path: Path, content: object, protocol: int = 4) -> Path:
    """Pickle it as NVlabs' training loop does."""
    with nvlabs_modules():
        path.write_bytes(pickle.dumps(content, protocol))
    return path


def write_network(path: Path, s: EDMStructure, weights: Weights, protocol: int = 4) -> Path:
    """Write a file as published."""
    assert all(isinstance(value, torch.Tensor) for value in weights.values())
    return write_edm(path, edm_content(s, weights), protocol)

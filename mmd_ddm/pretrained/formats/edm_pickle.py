"""Reading NVlabs' published pickles of EDM networks (Karras et al. 2022, 2024): tensors by name and settings, no code.

Such a file is a dictionary whose entry `ema` is the network: an object of NVlabs' "persistent" classes, which carry the
source code of their module along. Each is a call of one function with a dictionary of the class's name, that source
code (which is never looked at), and the object's state, in which a PyTorch module has its parameters, buffers and
modules. A tensor is a call too, and its numbers are what `torch.save` makes of a storage.
"""

from __future__ import annotations

import io
import math
import mmap
import pickle
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmd_ddm.errors import UserError
from mmd_ddm.pretrained.formats.inert_pickle import Made, read_inert
from mmd_ddm.records import size_of

_SIGN = b"_reconstruct_persistent_obj"
_PERSISTENT = f"torch_utils.persistence.{_SIGN.decode()}"
_PARAMETER, _TENSOR, _STORAGE = (
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_tensor_v2",
    "torch.storage._load_from_bytes",
)
_DICTIONARIES = ("collections.OrderedDict", "dnnlib.util.EasyDict")
_SCALARS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
_ARRAYS = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct", "numpy.ndarray")  # of encoders
_ENCODE = "_codecs.encode"
_KNOWN = {
    _PERSISTENT, _PARAMETER, _TENSOR, _STORAGE, *_DICTIONARIES, *_SCALARS, *_ARRAYS, "numpy.dtype",
    "builtins.set", "__builtin__.set", _ENCODE,
}  # fmt: skip
_MODULES = "torch.nn.modules."  # PyTorch's own, such as its dictionary of modules
_DEEPEST = 16  # modules within modules; these networks have 4
_UNREADABLE = (
    RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError, MemoryError, AssertionError, OSError,
    struct.error, pickle.UnpicklingError,
)  # fmt: skip


@dataclass(frozen=True)
class Persistent:
    """An object of a persistent class.

    Args:
        kind: name of its class.
        settings: its constructor was called with, by name.
        state: its attributes.
    """

    kind: str
    settings: Mapping[str, object]
    state: Mapping[str, object]


@dataclass(frozen=True)
class Published:
    """What a published pickle has that images are made with.

    Args:
        network: with the moving average of the weights.
        encoder: what images are decoded by; none: there is none, and the network makes pixels.
    """

    network: Persistent
    encoder: Persistent | None


def holds(path: Path, *names: str) -> bool:
    """Whether a file is a plain pickle with an object of NVlabs' classes, and names some others as well."""
    if size_of(path) < len(_SIGN):
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        signs = (_SIGN, *(name.encode() for name in names))
        return content[:1] == b"\x80" and all(content.find(sign) >= 0 for sign in signs)


def read_published(path: Path) -> Published:
    """Read a published pickle.

    Raises:
        UserError: the file names anything that such files don't have, is damaged, or has no network.
    """
    size_of(path)  # a pipe would be waited for
    try:
        content = _entries(read_inert(path.read_bytes(), lambda name: name in _KNOWN or name.startswith(_MODULES)))
        encoder = content.get("encoder")
        decodes = None if encoder is None else _persistent(encoder, "encoder")
        return Published(_persistent(content.get("ema"), "ema"), decodes)
    except UserError as error:
        raise UserError(f"{path} cannot be read as an EDM network: {error}") from None


def read_network(path: Path) -> Persistent:
    """Read the network of a published pickle; errors as of `read_published`."""
    return read_published(path).network


def submodule(module: Persistent, name: str) -> Persistent:
    """A module within, of a persistent class.

    Raises:
        UserError: there is none.
    """
    return _persistent(_entries(module.state.get("_modules")).get(name), name)


def _persistent(found: object, place: str) -> Persistent:
    kind, state = _kind_and_state(found, place)
    if state.get("_init_args") not in (None, (), []):
        raise UserError(f"its {place} was made from settings without names")
    return Persistent(kind, _entries(state.get("_init_kwargs")), state)


def _kind_and_state(found: object, place: str) -> tuple[str, Mapping[str, object]]:
    if not isinstance(found, Made) or found.name != _PERSISTENT or len(found.arguments) != 1:
        raise UserError(f"its {place} is no persistent object")
    meta = _entries(found.arguments[0])
    kind = meta.get("class_name")
    if meta.get("type") != "class" or not isinstance(kind, str):
        raise UserError(f"its {place} is a persistent object of another kind than is known")
    return kind, _entries(meta.get("state"))


def tensors_of(module: Persistent) -> dict[str, Tensor]:
    """The parameters and buffers of a module and all modules within, by PyTorch's names.

    Raises:
        UserError: one cannot be read.
    """
    return dict(_walk(module.state, "", set()))


def number(value: object) -> object:
    """A number of NumPy as Python's own; anything else as it is."""
    if isinstance(value, Made) and value.name in _SCALARS and len(value.arguments) == 2:
        kind, content = value.arguments[0], _bytes(value.arguments[1])
        if isinstance(kind, Made) and kind.arguments[:1] == ("f8",) and content is not None and len(content) == 8:
            return float(struct.unpack("<d", content)[0])
    return value


def numbers(value: object) -> tuple[float, ...] | None:
    """The numbers of a one-dimensional float32 array of NumPy; none: it is something else."""
    if not isinstance(value, Made) or value.name not in _ARRAYS or not isinstance(value.state, tuple):
        return None
    match value.state:  # NumPy's version of it, shape, kind of number, whether columns come first, content
        case (_, (int(count),), Made(arguments=("f4", *_), state=(_, "<", *_)), _, written):
            content = _bytes(written)
            return struct.unpack(f"<{count}f", content) if content is not None and len(content) == 4 * count else None
    return None


def _bytes(value: object) -> bytes | None:
    if isinstance(value, Made) and value.name == _ENCODE and value.arguments[1:] == ("latin1",):  # before protocol 3
        text = value.arguments[0]
        return text.encode("latin1", "replace") if isinstance(text, str) else None
    return value if isinstance(value, bytes) else None


def _entries(value: object) -> Mapping[str, object]:
    if isinstance(value, Made) and value.name in _DICTIONARIES:
        value = value.items
    if not isinstance(value, dict):
        raise UserError("it has something else in place of a dictionary")
    return {str(key): each for key, each in value.items()}


def _walk(state: Mapping[str, object], before: str, met: set[int]) -> Iterator[tuple[str, Tensor]]:
    if before.count(".") > _DEEPEST:
        raise UserError(f"its modules are nested too deeply, down to {before[:60]}...")
    for kind in ("_parameters", "_buffers"):
        for name, value in _entries(state.get(kind)).items():
            if value is not None:
                yield before + name, _tensor(value, before + name)
    for name, module in _entries(state.get("_modules")).items():
        if module is None:
            continue
        if id(module) in met:  # few modules within one another many times would never end
            raise UserError(f"its module {before}{name} occurs more than once")
        met.add(id(module))
        if isinstance(module, Made) and module.name.startswith(_MODULES):
            inner = _entries(module.state)
        else:
            inner = _kind_and_state(module, before + name)[1]
        yield from _walk(inner, f"{before}{name}.", met)


def _tensor(value: object, name: str) -> Tensor:
    if isinstance(value, Made) and value.name == _PARAMETER and value.arguments:
        value = value.arguments[0]
    if not isinstance(value, Made) or value.name != _TENSOR or len(value.arguments) < 4:
        raise UserError(f"its {name} is no tensor")
    numbers = _storage(value.arguments[0], name)
    offset, size, stride = _wholes((value.arguments[1],)), _wholes(value.arguments[2]), _wholes(value.arguments[3])
    if not (offset and size is not None and stride is not None and len(size) == len(stride)):
        raise UserError(f"the size of its tensor {name} is damaged")
    end = offset[0] + 1 + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    if not 0 < math.prod(size) <= len(numbers) or end > len(numbers):
        raise UserError(f"its tensor {name} of shape {size} has {len(numbers)} numbers")
    return numbers.as_strided(size, stride, offset[0])


def _wholes(values: object) -> tuple[int, ...] | None:
    if isinstance(values, tuple) and all(type(value) is int and 0 <= value < 2**40 for value in values):
        return values
    return None


def _storage(value: object, name: str) -> Tensor:
    content = None
    if isinstance(value, Made) and value.name == _STORAGE and value.arguments:
        content = _bytes(value.arguments[0])
    if content is None:
        raise UserError(f"the numbers of its tensor {name} are missing")
    try:
        storage = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        assert isinstance(storage, torch.TypedStorage)
        return torch.empty(0, dtype=storage.dtype).set_(storage)
    except _UNREADABLE as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"name {named[1]}, which no numbers do" if named else "are damaged"
        raise UserError(f"the numbers of its tensor {name} {reason}") from None

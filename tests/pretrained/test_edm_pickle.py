"""Nothing in a pickle is run: what is not known is refused by name, what is damaged in one sentence."""

from __future__ import annotations

import builtins
import collections
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mmd_ddm.errors import UserError
from mmd_ddm.pretrained.formats import edm
from mmd_ddm.pretrained.formats.edm_pickle import number, read_network, submodule, tensors_of
from mmd_ddm.pretrained.formats.inert_pickle import Made, Name, read_inert
from tests.pretrained.originals.edm import EDMStructure, edm_weights
from tests.pretrained.originals.edm_pickle import edm_content, write_edm, write_network

SMALL = EDMStructure(16, (1,), 1, 8, ())
WEIGHTS = edm_weights(SMALL)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_tensors_and_settings_are_read(protocol: int, tmp_path: Path) -> None:
    file = write_network(tmp_path / "edm.pkl", SMALL, WEIGHTS, protocol)
    found = read_network(file)
    assert found.kind == "EDMPrecond"
    assert {name: number(found.state[name]) for name in SMALL.attributes()} == SMALL.attributes()
    assert submodule(found, "model").settings == SMALL.settings()
    tensors = tensors_of(found)
    assert tensors.keys() == WEIGHTS.keys()
    assert all(torch.equal(tensors[name], value) for name, value in WEIGHTS.items())
    assert edm.recognises(file)


def test_values_are_those_of_pickle() -> None:
    value = {
        "numbers": [0, 1, 300, -70000, 2**80, 1.5, True, False, None],
        "texts": ("", "a", "ü" * 300, b"x", b"y" * 300, bytearray(b"z")),
        "nested": [[], {}, (), (1,), (1, 2, 3, 4), {"a": {1: "b"}}],
    }
    value["again"] = value["nested"]
    for protocol in range(2, 6):
        pickled = pickle.dumps(value, protocol)
        found = read_inert(
            pickled, lambda name: name in ("_codecs.encode", "builtins.bytearray", "__builtin__.bytearray")
        )
        assert found["numbers"] == value["numbers"]
        assert found["nested"] == value["nested"]
        assert found["again"] is found["nested"]
        if protocol == 5:
            assert found["texts"] == value["texts"]


def test_what_would_be_called_is_written_down() -> None:
    ordered = collections.OrderedDict(a=1, b=[2])
    found = read_inert(pickle.dumps([ordered, np.float64(0.25), {"x", "y"}, len], 4), lambda name: True)
    assert found[0] == Made("collections.OrderedDict", (), None, {"a": 1, "b": [2]})
    assert number(found[1]) == 0.25
    assert sorted(found[2]) == ["x", "y"]
    assert found[3] == Name("builtins.len")


class Harmful:
    def __init__(self, call: Callable[..., object], argument: str) -> None:
        self.call, self.argument = call, argument

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return self.call, (self.argument,)


HARMS = {
    r"(posix|nt)\.system": Harmful(os.system, "touch harm"),
    r"builtins\.eval": Harmful(builtins.eval, "open('harm', 'w')"),
    r"(posix|nt)\.mkdir": Harmful(os.mkdir, "harm"),
}


class Numbers:
    """Pickled as the numbers of a tensor, with something else in them."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __reduce__(self) -> tuple[object, tuple[bytes]]:
        return torch.storage._load_from_bytes, (self.content,)


class TensorOf:
    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return torch._utils._rebuild_tensor_v2, self.arguments


def saved(value: object) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def in_place_of_a_weight(content: dict[str, Any], value: object) -> None:
    parameters = content["ema"].model.enc["8x8_conv"].__dict__["_parameters"]
    parameters["weight"] = value


PLACES: dict[str, Callable[[dict[str, Any], object], object]] = {
    "beside": lambda content, harm: content.update(extra=harm),
    "state": lambda content, harm: content["ema"].__dict__.update(note=harm),
    "settings": lambda content, harm: content["ema"].model._init_kwargs.update(dropout=harm),
    "module": lambda content, harm: content["ema"]._modules.update(model=harm),
    "tensor": in_place_of_a_weight,
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", HARMS)
def test_hostile_names_are_refused_and_nothing_runs(name: str, place: str, tmp_path: Path) -> None:
    content = edm_content(SMALL, WEIGHTS)
    PLACES[place](content, HARMS[name])
    with pytest.raises(UserError, match=rf"edm\.pkl cannot be read as an EDM network: the pickle names {name}, which"):
        edm.convert(write_edm(tmp_path / "edm.pkl", content))
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("name", HARMS)
def test_hostile_names_within_the_numbers_of_a_tensor_are_refused(name: str, tmp_path: Path) -> None:
    content = edm_content(SMALL, WEIGHTS)
    in_place_of_a_weight(content, TensorOf(Numbers(saved(HARMS[name])), 0, (1,), (1,), False, {}))
    bare = name.replace(r"builtins\.", "")  # PyTorch's words
    with pytest.raises(UserError, match=rf"numbers of its tensor model\.enc\.8x8_conv\.weight name {bare}"):
        edm.convert(write_edm(tmp_path / "edm.pkl", content))
    assert not (tmp_path / "harm").exists()


STORAGE = torch.arange(6.0).untyped_storage()
TYPED = torch.arange(6.0).__reduce_ex__(4)[1][0]


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (3, "is no tensor"),
        (TensorOf(TYPED, 0, (2, 3)), "is no tensor"),
        (TensorOf(TYPED, 0, (2, 4), (4, 1), False, {}), r"shape \(2, 4\) has 6 numbers"),
        (TensorOf(TYPED, 0, (10**9,), (0,), False, {}), "has 6 numbers"),  # would fill the memory later
        (TensorOf(TYPED, 1, (6,), (1,), False, {}), "has 6 numbers"),
        (TensorOf(TYPED, -1, (2,), (1,), False, {}), "size of its tensor .* is damaged"),
        (TensorOf(TYPED, 0, (2,), (1, 1), False, {}), "size of its tensor .* is damaged"),
        (TensorOf(TYPED, 0, ("2",), (1,), False, {}), "size of its tensor .* is damaged"),
        (TensorOf(7, 0, (2,), (1,), False, {}), "numbers of its tensor .* are missing"),
        (TensorOf(Numbers(b""), 0, (2,), (1,), False, {}), "numbers of its tensor .* are damaged"),
        (TensorOf(Numbers(saved([1])), 0, (2,), (1,), False, {}), "numbers of its tensor .* are damaged"),
        (
            TensorOf(Numbers(saved(torch.ones(2))[:-3]), 0, (2,), (1,), False, {}),
            "numbers of its tensor .* are damaged",
        ),
    ],
)
def test_tensors_that_are_none_are_refused(tensor: object, message: str, tmp_path: Path) -> None:
    content = edm_content(SMALL, WEIGHTS)
    in_place_of_a_weight(content, tensor)
    with pytest.raises(UserError, match=message):
        edm.convert(write_edm(tmp_path / "edm.pkl", content))


def test_half_of_a_file_is_damaged_wherever_it_is_cut(tmp_path: Path) -> None:
    whole = write_network(tmp_path / "edm.pkl", SMALL, WEIGHTS).read_bytes()
    for end in [*range(0, 60, 3), *range(60, len(whole), len(whole) // 40), len(whole) - 1]:
        (tmp_path / "half.pkl").write_bytes(whole[:end])
        with pytest.raises(UserError, match=r"half\.pkl cannot be read as an EDM network: the pickle is damaged"):
            edm.convert(tmp_path / "half.pkl")


def test_modules_within_themselves_and_nests_of_modules_are_refused(tmp_path: Path) -> None:
    content = edm_content(SMALL, {})
    enc = content["ema"].model.enc
    enc._modules["again"] = enc
    with pytest.raises(UserError, match=r"its module model\.enc\.again occurs more than once"):
        tensors_of(read_network(write_edm(tmp_path / "edm.pkl", content)))
    del enc._modules["again"]
    for _ in range(20):
        enc._modules["in"] = enc = torch.nn.ModuleDict()
    with pytest.raises(UserError, match=r"nested too deeply, down to model\.enc\.in\.in"):
        tensors_of(read_network(write_edm(tmp_path / "edm.pkl", content)))


@pytest.mark.filterwarnings("ignore")  # PyTorch's, of protocols
def test_changed_bytes_give_a_network_or_one_sentence(tmp_path: Path) -> None:
    whole = write_network(
        tmp_path / "edm.pkl", SMALL, {name: each[:1] for name, each in [*WEIGHTS.items()][:9]}
    ).read_bytes()
    generator = torch.Generator().manual_seed(0)
    for place in torch.randint(0, len(whole), (100,), generator=generator).tolist():
        (tmp_path / "hit.pkl").write_bytes(whole[:place] + bytes([whole[place] ^ 21]) + whole[place + 1 :])
        try:
            tensors_of(read_network(tmp_path / "hit.pkl"))
        except UserError:
            continue


@pytest.mark.parametrize(
    "pickled",
    [
        b"cposix\nsystem\n.", b"\x80\x02(iposix\nsystem\n.", b"\x80\x02\x82\x01.", b"Pname\n.", b"\x80\x04Q.", b"0.",
        b".",
        b"\x80\x02}(NNu", b"\x80\x02]K\x01s.", b"\x80\x02K\x01)R.", b"\x80\x02K\x01Nb.", b"\x80\x02}))s.", b"h\x05.",
        b"(" * 2_000, b"\x85" * 5, b"",
    ],
)  # fmt: skip
def test_instructions_out_of_place_are_refused(pickled: bytes) -> None:
    with pytest.raises(UserError, match=r"the pickle (names|is damaged|has an instruction)"):
        read_inert(pickled, lambda name: False)


def test_files_of_another_kind_are_not_recognised(tmp_path: Path) -> None:
    tensor: Tensor = torch.zeros(2)
    for name, value in (("plain", pickle.dumps({"a": 1}, 4)), ("empty", b""), ("text", b"_reconstruct_persistent_obj")):
        (tmp_path / name).write_bytes(value)
        assert not edm.recognises(tmp_path / name)
    torch.save({"weight": tensor}, tmp_path / "weights")
    assert not edm.recognises(tmp_path / "weights")
    (tmp_path / "none.pkl").write_bytes(pickle.dumps({"ema": None}, 4))
    with pytest.raises(UserError, match="its ema is no persistent object"):
        edm.convert(tmp_path / "none.pkl")

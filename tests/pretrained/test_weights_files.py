"""A model folder whose weights are not just those of its network is refused by the tensor's name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmd_ddm.cli.main import main
from mmd_ddm.errors import UserError
from mmd_ddm.pretrained.load import load_denoiser, load_network
from mmd_ddm.pretrained.locate import SHIPPED

SAFE, BIN = "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"
NAME = "mid_block.resnets.0.conv1.weight"
Weights = dict[str, Tensor]


def with_value(value: float) -> Callable[[Weights], Weights]:
    def change(weights: Weights) -> Weights:
        weights[NAME] = weights[NAME].clone()
        weights[NAME][3, 5, 1, 1] = value
        return weights

    return change


REFUSED: dict[str, tuple[Callable[[Weights], Weights], str]] = {
    "missing": (lambda w: {k: v for k, v in w.items() if k != NAME}, f"has no tensor {NAME}"),
    "left over": (lambda w: {**w, "conv_in.gain": torch.ones(1)}, "its tensor conv_in.gain is none of"),
    "shape": (lambda w: {**w, NAME: w[NAME][:8]}, rf"its tensor {NAME} has shape \(8, 48, 3, 3\)"),
    "nan": (with_value(float("nan")), f"its tensor {NAME} holds NaN or infinity"),
    "infinite": (with_value(float("inf")), f"its tensor {NAME} holds NaN or infinity"),
    "too large": (lambda w: {**w, NAME: w[NAME].double() * 1e300}, f"its tensor {NAME} holds NaN or infinity"),
    "whole": (lambda w: {**w, NAME: w[NAME].to(torch.int32)}, f"its tensor {NAME} is of type int32"),
    "complex": (lambda w: {**w, NAME: w[NAME].to(torch.complex64)}, f"its tensor {NAME} is of type complex64"),
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED / "digits", tmp_path / "model"))


def rewrite(model: Path, change: Callable[[Weights], Weights], safe: bool = True) -> None:
    weights = change(load_file(model / "unet" / SAFE))
    if safe:
        save_file(weights, model / "unet" / SAFE, metadata={"format": "pt"})
    else:
        (model / "unet" / SAFE).unlink()
        torch.save(weights, model / "unet" / BIN)


@pytest.mark.parametrize("how", REFUSED)
@pytest.mark.parametrize("safe", [True, False])
def test_weights_that_are_not_the_networks_are_refused(how: str, safe: bool, model: Path) -> None:
    change, message = REFUSED[how]
    rewrite(model, change, safe)
    with pytest.raises(UserError, match=message):
        load_denoiser(model)


def test_commands_say_so_and_draw_nothing(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(model, REFUSED["missing"][0])
    output = tmp_path / "drawn"
    assert main(["sample", "--model", str(model), "--images", "2", "--output", str(output)]) == 2
    assert f"has no tensor {NAME}" in capsys.readouterr().err
    assert not output.exists()


def test_halves_and_doubles_become_float32(model: Path) -> None:
    whole = load_network(model).state_dict()
    rewrite(model, lambda w: {name: value.double() for name, value in w.items()})
    assert all(torch.equal(value, whole[name]) for name, value in load_network(model).state_dict().items())
    rewrite(model, lambda w: {name: value.half() for name, value in w.items()})
    assert all(
        torch.equal(value, whole[name].half().float()) for name, value in load_network(model).state_dict().items()
    )


def test_weights_in_several_files_are_one_network(model: Path) -> None:
    whole, unet = load_network(model).state_dict(), model / "unet"
    weights = load_file(unet / SAFE)
    parts = {"a.safetensors": list(weights)[::2], "b.safetensors": list(weights)[1::2]}
    for part, names in parts.items():
        save_file({name: weights[name] for name in names}, unet / part, metadata={"format": "pt"})
    place = {name: part for part, names in parts.items() for name in names}
    (unet / SAFE).unlink()
    (unet / f"{SAFE}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": place}))
    assert all(torch.equal(value, whole[name]) for name, value in load_network(model).state_dict().items())
    (unet / "b.safetensors").unlink()
    with pytest.raises(UserError, match=r"b\.safetensors cannot be read"):
        load_network(model)
    (unet / f"{SAFE}.index.json").write_text(json.dumps({"weight_map": [1]}))
    with pytest.raises(UserError, match=r"index\.json is damaged"):
        load_network(model)

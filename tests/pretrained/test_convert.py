"""Checkpoint files: what they may be wrapped in, what is refused, and what `mmd-ddm import` makes of them."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DDIMPipeline, DiffusionPipeline, UNet2DModel
from safetensors.torch import save_file
from torch import Tensor

from mmd_ddm.cli import import_model
from mmd_ddm.errors import UserError
from mmd_ddm.files import HOME
from mmd_ddm.pretrained.formats.checkpoint import read_checkpoint
from mmd_ddm.pretrained.load import load_denoiser
from mmd_ddm.pretrained.locate import find_local, locate
from tests.pretrained.originals.ddim import ddim_network, ddim_shapes
from tests.pretrained.originals.numbered import numbered_network, numbered_shapes
from tests.pretrained.originals.structure import Structure, draw
from tests.pretrained.test_formats import HEADED_GUIDED, LABELLED_GUIDED, SMALL_DDIM, SMALL_GUIDED, SMALL_IMPROVED

WEIGHTS = draw(ddim_shapes(SMALL_DDIM))


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME, str(tmp_path / "home"))


def run(*arguments: str) -> None:
    parser = argparse.ArgumentParser()
    import_model.add_options(parser)
    import_model.execute(parser.parse_args(arguments))


def prefixed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"module.{name}": value for name, value in weights.items()}


RAW = {name: torch.zeros_like(value) for name, value in WEIGHTS.items()}
WRAPPED = {
    "plain": WEIGHTS,
    "parallel": prefixed(WEIGHTS),
    "training state": [prefixed(RAW), {"state": {}, "param_groups": [{"lr": 2e-4}]}, 3, 5000, WEIGHTS],
    "training state, averages prefixed": [prefixed(RAW), {"state": {}}, 3, 5000, prefixed(WEIGHTS)],
    "training state without averages": [prefixed(WEIGHTS), {"state": {}}, 3, 5000],
    "named": {"state_dict": WEIGHTS, "epoch": 7},
    "averages beside raw": {"model": RAW, "ema": WEIGHTS, "step": 1},
    "wrapped twice": {"ema": {"decay": 0.9999, "state_dict": prefixed(WEIGHTS)}},
}


@pytest.mark.parametrize("how", WRAPPED)
def test_wrapped_files_give_the_averaged_weights(how: str, tmp_path: Path) -> None:
    torch.save(WRAPPED[how], tmp_path / "model.ckpt")
    found = read_checkpoint(tmp_path / "model.ckpt")
    assert found.keys() == WEIGHTS.keys()
    assert all(torch.equal(found[name], value) for name, value in WEIGHTS.items())


def test_safetensors_are_read_too(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    assert read_checkpoint(tmp_path / "model.safetensors").keys() == WEIGHTS.keys()


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("harm",)


@pytest.mark.parametrize("content", [{"a": Harmful()}, [1, 2, 3, 4, 5], {"lr": 0.1}, {}], ids=str)
def test_code_and_files_without_weights_are_refused(
    content: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, "model.pt")
    with pytest.raises(UserError, match=r"model\.pt (cannot be read|holds no weights)"):
        read_checkpoint(Path("model.pt"))
    assert not Path("harm").exists()


@pytest.mark.parametrize("junk", [b"", b"not a checkpoint", b"PK\x03\x04 half a file"])
def test_damaged_files_get_one_sentence(junk: bytes, tmp_path: Path) -> None:
    for name in ("model.pt", "model.safetensors"):
        (tmp_path / name).write_bytes(junk)
        with pytest.raises(UserError, match="cannot be read as a checkpoint"):
            read_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensor: tensor * float("nan"), "conv_in.weight holds NaN or infinity"),
        (lambda tensor: tensor.to(torch.complex64), "conv_in.weight is of type complex64"),
        (lambda tensor: tensor.to(torch.int64), "conv_in.weight is of type int64"),
    ],
)
def test_weights_that_are_no_finite_real_numbers_are_not_imported(
    change: Callable[[Tensor], Tensor], message: str, tmp_path: Path
) -> None:
    torch.save({**WEIGHTS, "conv_in.weight": change(WEIGHTS["conv_in.weight"])}, tmp_path / "model.ckpt")
    with pytest.raises(UserError, match=message):
        run(str(tmp_path / "model.ckpt"), "--output", str(tmp_path / "model"))
    assert not (tmp_path / "model").exists()


@torch.no_grad()
def test_import_writes_a_folder_that_computes_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(WRAPPED["training state"], tmp_path / "celeba.ckpt")
    folder = tmp_path / "home/models/small"
    run(str(tmp_path / "celeba.ckpt"), "--output", str(folder))
    told = capsys.readouterr().out
    assert f"parameters: {SMALL_DDIM.parameters():,}".replace(",", " ") in told
    assert "images: 3 x 32 x 32" in told
    assert "linear, 1000 timesteps, predicts epsilon, variance fixed_large" in told
    denoiser = load_denoiser(locate("small"))  # by its name alone
    image = torch.randn(2, 3, 32, 32)
    expected = ddim_network(SMALL_DDIM, WEIGHTS)(image, torch.tensor([5, 5]))
    assert float((denoiser(image, 5) - expected).abs().max() / expected.std()) < 1e-5
    record = json.loads((folder / "imported.json").read_text())
    assert (record["source"], record["format"], len(record["sha256"])) == ("celeba.ckpt", "ddim", 64)
    assert sorted(each.name for each in folder.parent.iterdir()) == ["small"]
    DDIMPipeline.from_pretrained(folder)


@torch.no_grad()
def test_heads_travel_with_the_model_and_diffusers_refuses_to_forget_them(tmp_path: Path, remote_code: None) -> None:
    weights = draw(numbered_shapes(SMALL_IMPROVED))
    torch.save(weights, tmp_path / "imagenet.pt")
    run(str(tmp_path / "imagenet.pt"), "--output", str(tmp_path / "model"), "--dropout", "0.2")
    image, t = torch.randn(2, 3, 16, 16), torch.tensor([1234, 1234])
    expected = numbered_network(SMALL_IMPROVED, weights)(image, t)
    denoiser = load_denoiser(tmp_path / "model")
    assert denoiser.network.config.dropout == 0.2
    assert [name for name, p in denoiser.named_parameters() if not p.requires_grad] == ["network.time_proj.weight"]
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "model", trust_remote_code=True)
    assert type(pipeline.unet).__module__.startswith("diffusers_modules")
    for found in (torch.cat(denoiser.predict(image, 1234), dim=1), pipeline.unet(image, t).sample):
        assert float((found - expected).abs().max() / expected.std()) < 1e-5
    with pytest.raises(ValueError, match="trust_remote_code"):
        DiffusionPipeline.from_pretrained(tmp_path / "model")
    with pytest.raises(ZeroDivisionError):
        UNet2DModel.from_pretrained(tmp_path / "model/unet")


@torch.no_grad()
@pytest.mark.parametrize(
    ("structure", "options"),
    [
        (SMALL_GUIDED, ("--head-width", "16", "--qkv-order", "parts_first")),
        (HEADED_GUIDED, ("--heads", "4")),
        (LABELLED_GUIDED, ("--head-width", "16", "--qkv-order", "parts_first")),
    ],
)
def test_blocks_that_resample_tell_the_format(structure: Structure, options: tuple[str, ...], tmp_path: Path) -> None:
    weights = draw(numbered_shapes(structure))
    torch.save(weights, tmp_path / "lsun.pt")
    run(str(tmp_path / "lsun.pt"), "--output", str(tmp_path / "model"), "--resolution", "64", *options)
    assert json.loads((tmp_path / "model/imported.json").read_text())["format"] == "guided-diffusion"
    denoiser, image = load_denoiser(tmp_path / "model"), torch.randn(2, 3, 16, 16)
    labels = torch.tensor([7, 2]) if structure.classes else None
    assert denoiser.classes == (structure.classes or None)
    expected = numbered_network(structure, weights)(image, torch.tensor([123, 123]), labels)
    found = torch.cat(denoiser.predict(image, 123, labels=labels), dim=1)
    assert float((found - expected).abs().max() / expected.std()) < 1e-5
    assert denoiser.schedule.variance_type == "learned_range"


def test_a_file_is_a_base_model_and_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.pt"
    torch.save(WEIGHTS, file)
    folder = find_local(str(file))
    assert folder is not None
    assert folder.parent == tmp_path / "home/models"
    monkeypatch.setattr("mmd_ddm.pretrained.convert.convert_file", lambda *_: pytest.fail("converted again"))
    assert locate(str(file)) == folder
    os.utime(file, (1, 1))  # looks changed: hashed again, and found to be the same
    assert locate(str(file)) == folder
    assert [each for each in folder.parent.iterdir() if each.is_dir()] == [folder]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format", "improved-diffusion"), "no improved-diffusion checkpoint: it has no tensor"),
        (("--heads", "4"), "heads is 4; attention in format ddim has one"),
        (("--heads", "4", "--head-width", "8"), "heads and head_width are both given"),
        (("--head-width", "8"), "attention in format ddim has one"),
        (("--resolution", "33"), "resolution is 33"),
        (("--dropout", "1"), "--dropout"),
        (("--length", "0"), "--length"),
        (("--format", "diffusers"), "a model of format diffusers is a folder or hub id, not a file"),
    ],
)
def test_wrong_options_leave_nothing_behind(options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "model.pt")
    with pytest.raises(UserError, match=message):
        run(str(tmp_path / "model.pt"), "--output", str(tmp_path / "model"), *options)
    assert [each.name for each in tmp_path.iterdir()] == ["model.pt"]


def test_what_is_there_is_not_replaced(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "model.pt")
    (tmp_path / "model").mkdir()
    with pytest.raises(UserError, match="exists already"):
        run(str(tmp_path / "model.pt"), "--output", str(tmp_path / "model"))


def test_a_crash_while_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(WEIGHTS, tmp_path / "model.pt")
    monkeypatch.setattr("mmd_ddm.pretrained.folder.json.dumps", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(str(tmp_path / "model.pt"), "--output", str(tmp_path / "model"))
    assert [each.name for each in tmp_path.iterdir()] == ["model.pt"]


def test_unknown_formats_are_named(tmp_path: Path) -> None:
    torch.save({"blocks.0.weight": torch.zeros(3)}, tmp_path / "model.pt")
    with pytest.raises(
        UserError, match=r"no known format \(ddim, improved-diffusion, guided-diffusion, edm, edm2\).*blocks\.0\.weight"
    ):
        locate(str(tmp_path / "model.pt"))
    torch.save({"time_embedding.linear_1.weight": torch.zeros(3)}, tmp_path / "weights.bin")
    with pytest.raises(UserError, match="give the folder with its configs"):
        locate(str(tmp_path / "weights.bin"))


def test_the_commands_formats_are_the_ones_there_are() -> None:
    from mmd_ddm.pretrained.convert import FORMATS

    assert ("diffusers", *FORMATS) == import_model.FORMATS

"""Where base models come from: the hub, old layouts, names; and what is refused when network and configs disagree."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from safetensors.torch import load_file, save_file

from mmd_ddm.cli import import_model
from mmd_ddm.errors import UserError
from mmd_ddm.files import HOME
from mmd_ddm.pretrained.catalogue import LEFT_OUT, hub_id
from mmd_ddm.pretrained.configs import scheduler_config
from mmd_ddm.pretrained.load import load_denoiser
from mmd_ddm.pretrained.locate import SHIPPED, find_local, locate

WEIGHTS = "diffusion_pytorch_model.safetensors"
OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def build(**changes: Any) -> UNet2DModel:
    torch.manual_seed(0)
    config: dict[str, Any] = {
        "sample_size": 8, "in_channels": 3, "out_channels": 3, "block_out_channels": (8, 16), "layers_per_block": 1,
        "norm_num_groups": 4, "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }  # fmt: skip
    return UNet2DModel(**{**config, **changes}).eval()


@pytest.fixture(scope="module")
def modern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("modern")
    DDPMPipeline(build(), DDPMScheduler(variance_type="fixed_large")).save_pretrained(folder)
    return folder


def make_old(modern: Path, folder: Path, safe: bool) -> Path:
    """The layout of 2022: all in the root, attention by its old names, no prediction type, settings left out."""
    folder.mkdir(parents=True)
    config = json.loads((modern / "unet/config.json").read_text())
    for key in ("num_train_timesteps", "attn_norm_num_groups", "dropout", "num_class_embeds"):
        del config[key]
    (folder / "config.json").write_text(json.dumps(config))
    scheduler = json.loads((modern / "scheduler/scheduler_config.json").read_text())
    del scheduler["prediction_type"]
    (folder / "scheduler_config.json").write_text(json.dumps(scheduler))
    weights = {}
    for name, value in load_file(modern / "unet" / WEIGHTS).items():
        for new, old in OLD_NAMES.items():
            name = name.replace(f".{new}.", f".{old}.") if ".attentions." in name else name
        weights[name] = value
    assert any(".proj_attn." in name for name in weights)
    if safe:
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    else:
        torch.save(weights, folder / "diffusion_pytorch_model.bin")
    return folder


def hub_folder(root: Path, name: str) -> Path:
    return root / f"models--{name.replace('/', '--')}" / "snapshots" / "0f1e2d"


@pytest.mark.parametrize("safe", [True, False])
@torch.no_grad()
def test_old_layout_of_a_known_hub_model_loads(safe: bool, modern: Path, tmp_path: Path) -> None:
    folder = make_old(modern, hub_folder(tmp_path, "google/ddpm-cifar10-32"), safe)
    old, new = load_denoiser(folder), load_denoiser(modern)
    image = torch.randn(2, 3, 8, 8)
    assert torch.equal(old(image, 3), new(image, 3))
    assert (old.schedule.prediction_type, old.schedule.variance_type) == ("epsilon", "fixed_large")


def test_unknown_models_that_leave_something_out_are_refused_by_name(modern: Path, tmp_path: Path) -> None:
    for folder in (hub_folder(tmp_path, "someone/ddpm-cifar10-32"), tmp_path / "google/ddpm-cifar10-32"):
        with pytest.raises(UserError, match="says nothing about prediction_type"):
            load_denoiser(make_old(modern, folder, safe=True))


def test_catalogue_adds_nothing_to_what_a_config_says(modern: Path, tmp_path: Path) -> None:
    folder = hub_folder(tmp_path, "google/ddpm-church-256")
    shutil.copytree(modern, folder)
    written = json.loads((folder / "scheduler/scheduler_config.json").read_text())
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps({**written, "prediction_type": "sample"}))
    assert scheduler_config(folder)["prediction_type"] == "sample"
    assert hub_id(folder) == "google/ddpm-church-256"
    assert hub_id(modern) is None
    assert {"google/ddpm-cifar10-32", "google/ddpm-church-256", "google/ddpm-ema-church-256"} <= LEFT_OUT.keys()


class Hub:
    """Stands for the hub: copies what matches the patterns of a repository, and notes what it was asked for."""

    def __init__(self, repository: Path, cache: Path) -> None:
        self.repository, self.cache = repository, cache
        self.asked: list[tuple[str, str | None]] = []

    def __call__(self, name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        self.asked.append((name, revision))
        folder = hub_folder(self.cache, name)
        for file in self.repository.rglob("*"):
            place = file.relative_to(self.repository)
            if file.is_file() and any(place.match(pattern) for pattern in allow_patterns):
                (folder / place).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, folder / place)
        return str(folder)


def test_hub_models_with_and_without_safetensors(modern: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(modern, tmp_path / "new")
    (tmp_path / "new/training.bin").write_bytes(b"not wanted")
    hub = Hub(tmp_path / "new", tmp_path / "a")
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub)
    load_denoiser(locate("someone/new"))
    old = Hub(make_old(modern, tmp_path / "old", safe=False), tmp_path / "b")
    monkeypatch.setattr("huggingface_hub.snapshot_download", old)
    folder = locate("google/ddpm-cifar10-32@refs/pr/3")
    load_denoiser(folder)
    assert hub.asked == [("someone/new", None)]
    assert set(old.asked) == {("google/ddpm-cifar10-32", "refs/pr/3")}
    found = {file.name for file in (tmp_path / "a").rglob("*.*")}
    assert WEIGHTS in found
    assert "training.bin" not in found


def test_bin_files_are_not_trusted(modern: Path, tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "harm",)

    folder = make_old(modern, hub_folder(tmp_path, "google/ddpm-cifar10-32"), safe=False)
    torch.save({"conv_in.weight": Harmful()}, folder / "diffusion_pytorch_model.bin")
    with pytest.raises(UserError, match="cannot be loaded"):
        load_denoiser(folder)
    assert not (tmp_path / "harm").exists()


def test_names_and_what_is_said_when_nothing_has_them(
    modern: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HOME, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert find_local("digits") == SHIPPED / "digits"
    assert find_local(str(modern)) == modern
    assert find_local("owner/name") is None
    assert find_local("owner/name@main") is None
    origin = "download it from its authors and run `mmd-ddm import FILE --output DIR`"
    for seek in (find_local, locate):
        with pytest.raises(UserError, match=r"'celeba64-ddim' is not on this machine: .*mmd-ddm import FILE"):
            seek("celeba64-ddim", origin)
        with pytest.raises(UserError, match="'celeba64-ddim' is not a folder or file, and a hub id has the form"):
            seek("celeba64-ddim")
    shutil.copytree(modern, tmp_path / "models/celeba64-ddim")
    assert locate("celeba64-ddim", origin) == tmp_path / "models/celeba64-ddim"


def rewrite(file: Path, **entries: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: rewrite(m / "scheduler/scheduler_config.json", variance_type="learned_range"), "must be 6"),
        (lambda m: rewrite(m / "scheduler/scheduler_config.json", rescale_betas_zero_snr=True), "rescale_betas"),
        (lambda m: rewrite(m / "scheduler/scheduler_config.json", clip_sample_range=2.0), "clip_sample_range"),
        (lambda m: build(out_channels=6).save_pretrained(m / "unet"), "variance_type fixed_large .* must be 3"),
        (lambda m: build(class_embed_type="timestep").save_pretrained(m / "unet"), "class_embed_type 'timestep'"),
        (lambda m: rewrite(m / "unet/config.json", attention_head_dim=0), "cannot be loaded"),
        (lambda m: rewrite(m / "unet/config.json", _class_name="UNet2DConditionModel"), "only UNet2DModel"),
    ],
)
def test_contradictions_get_one_sentence(
    change: Callable[[Path], None], message: str, modern: Path, tmp_path: Path
) -> None:
    shutil.copytree(modern, tmp_path / "model")
    change(tmp_path / "model")
    with pytest.raises(UserError, match=message):
        load_denoiser(tmp_path / "model")


def test_import_completes_a_diffusers_model(modern: Path, tmp_path: Path) -> None:
    old = make_old(modern, tmp_path / "old", safe=False)
    parser = argparse.ArgumentParser()
    import_model.add_options(parser)

    def run(*options: str) -> None:
        import_model.execute(parser.parse_args([str(old), "--output", str(tmp_path / "new"), *options]))

    with pytest.raises(UserError, match="says nothing about prediction_type"):
        run()
    with pytest.raises(UserError, match="--heads is of no use with --format diffusers"):
        run("--prediction-type", "epsilon", "--heads", "2")
    assert not (tmp_path / "new").exists()
    run("--prediction-type", "v_prediction")
    made, before = load_denoiser(tmp_path / "new"), load_denoiser(modern)
    assert (made.schedule.prediction_type, made.schedule.variance_type) == ("v_prediction", "fixed_large")
    assert all(torch.equal(a, b) for a, b in zip(made.parameters(), before.parameters(), strict=True))
    assert (tmp_path / "new/unet" / WEIGHTS).exists()


def test_without_a_network_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(*args: object, **kwargs: object) -> str:
        raise OSError("no network.\nIn many more words")

    monkeypatch.setattr("huggingface_hub.snapshot_download", cut_off)
    with pytest.raises(UserError, match=r"hub: no network; .* hf download a/b --revision v1 .* DIR .* --base-model$"):
        locate("a/b@v1")

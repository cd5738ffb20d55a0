"""Networks of the published sizes with random weights, in the file formats that their publishers use."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.inception import photos, random_inception

CLIP_FILE = "ViT-B-32.pt"
DINOV2_FILE = "dinov2_vitb14_pretrain.pth"


@pytest.fixture(autouse=True)
def _on_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, no weights of this machine."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("MMD_DDM_WEIGHTS", raising=False)
    monkeypatch.delenv("MMD_DDM_UNVERIFIED_WEIGHTS", raising=False)


@pytest.fixture
def own_weights(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """The folder of random weights, accepted under the published names."""
    monkeypatch.setenv("MMD_DDM_WEIGHTS", str(folder))
    monkeypatch.setenv("MMD_DDM_UNVERIFIED_WEIGHTS", "1")
    return folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty folder that the fixtures below write their files to; emptied at the end, as they are large."""
    made = tmp_path_factory.mktemp("weights")
    yield made
    for file in made.iterdir():
        file.unlink()


@pytest.fixture(scope="session", name="photos")
def _photos() -> Tensor:
    return photos()


@pytest.fixture(scope="session")
def inception_file(folder: Path) -> Path:
    """A random Inception network's file in the folder."""
    return random_inception(folder)


@pytest.fixture(scope="session")
def clip_model() -> nn.Module:
    """OpenAI's ViT-B/32 as open_clip has it, with QuickGELU and random weights."""
    import open_clip

    torch.manual_seed(2)
    model = open_clip.create_model("ViT-B-32-quickgelu", pretrained=None)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def clip_file(folder: Path, clip_model: nn.Module) -> Path:
    """Its image tower and some of the rest as a TorchScript archive of 16-bit numbers, as OpenAI's file is."""
    file = folder / CLIP_FILE
    with torch.no_grad():
        for parameter in clip_model.visual.parameters():
            parameter.copy_(parameter.half())
    archive = nn.Module()
    state = {f"visual.{key}": value for key, value in clip_model.visual.state_dict().items()}
    for key, value in {**state, "logit_scale": torch.tensor(4.6), "input_resolution": torch.tensor(224)}.items():
        *path, last = key.split(".")
        holder = archive
        for part in path:
            if part not in dict(holder.named_children()):
                holder.add_module(part, nn.Module())
            holder = holder.get_submodule(part)
        holder.register_buffer(last, value.half() if value.is_floating_point() else value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.script(archive).save(str(file))
    return file


@pytest.fixture(scope="session")
def dinov2_state() -> dict[str, Tensor]:
    """Random weights under the names of the authors' file; layer scales of order 1, so that all layers matter."""
    import timm

    torch.manual_seed(3)
    model = timm.create_model("vit_base_patch14_dinov2.lvd142m", pretrained=False)
    state = model.state_dict()
    for key, value in state.items():
        if key.endswith(("ls1.gamma", "ls2.gamma")):
            value.fill_(0.5)
        if key.endswith("bias"):
            value.normal_(std=0.02)
    state["pos_embed"].normal_(std=0.2)
    state["mask_token"] = torch.zeros(1, 768)
    return {key: value.half().float() for key, value in state.items()}


@pytest.fixture(scope="session")
def dinov2_file(folder: Path, dinov2_state: dict[str, Tensor]) -> Path:
    file = folder / DINOV2_FILE
    torch.save({key: value.half() for key, value in dinov2_state.items()}, file)
    return file


@pytest.fixture(scope="session")
def timm_model() -> nn.Module:
    """A small model of timm with random weights, its last layer's too."""
    import timm

    torch.manual_seed(4)
    model = timm.create_model("test_vit.r160_in1k", pretrained=False)
    nn.init.normal_(model.head.weight)
    return model.eval()


@pytest.fixture(scope="session")
def timm_file(folder: Path, timm_model: nn.Module) -> Path:
    from safetensors.torch import save_file

    file = folder / "test_vit.r160_in1k.safetensors"
    save_file(timm_model.state_dict(), file)
    return file

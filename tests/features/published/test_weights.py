"""Where weights are looked for, and what is refused."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest
import torch

from mmd_ddm.errors import UserError
from mmd_ddm.features.load import load_feature_space
from mmd_ddm.features.published import weights
from mmd_ddm.features.published.listing import published_weights
from mmd_ddm.features.published.weights import PublishedWeights, digest_in_address, find, obtain
from mmd_ddm.features.registry import check_feature_space, weights_of

INCEPTION = "weights-inception-2015-12-05-6726825d.pth"


@pytest.mark.parametrize(
    ("name", "file", "source"),
    [
        ("inception", INCEPTION, "https://github.com/toshas/torch-fidelity/releases/.*6726825d.pth"),
        ("inception_logits", INCEPTION, "https://github.com/toshas/torch-fidelity/releases/.*6726825d.pth"),
        ("clip", "ViT-B-32.pt", "https://openaipublic.*/ViT-B-32.pt"),
        ("dinov2", "dinov2_vitb14_pretrain.pth", "https://dl.fbaipublicfiles.com/dinov2/.*pth"),
        ("open_clip:ViT-B-16/laion2b_s34b_b88k", "ViT-B-16.laion2b_s34b_b88k.safetensors", "the hub's laion/CLIP-ViT"),
        ("timm:resnet50.a1_in1k", "resnet50.a1_in1k.safetensors", "the hub's timm/resnet50.a1_in1k"),
    ],
)
def test_missing_weights_are_named_with_their_source(name: str, file: str, source: str) -> None:
    with pytest.raises(
        UserError, match=rf"weights of '{name}'.* put {file} \(from .*{source}.*MMD_DDM_WEIGHTS"
    ) as told:
        load_feature_space(name, "digits")
    assert str(told.value).count("\n") == 0
    said = weights_of(name, "digits")
    assert (said.file, said.present) == (None, False)
    assert said.source in str(told.value)


def test_no_answer_from_the_network_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    nowhere = PublishedWeights(("x.pth",), "there", url="file:///nowhere/x.pth")
    with pytest.raises(UserError, match=r"'x'.* put x.pth \(from there\).*can't be downloaded \(.*nowhere"):
        obtain(nowhere, "x")

    def refuse(*asked: object, **how: object) -> str:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    with pytest.raises(UserError, match=r"'clip'.*can't be downloaded \(no route\)\.$"):
        obtain(weights.CLIP, "clip")


def test_download_is_kept_if_it_is_what_it_should_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    there = tmp_path / "x.pth"
    there.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    right = PublishedWeights(("x.pth",), "there", {"x.pth": digest}, url=there.as_uri())
    wrong = PublishedWeights(("x.pth",), "there", {"x.pth": "0" * 64}, url=there.as_uri())
    with pytest.raises(UserError, match=r"can't be downloaded .*invalid hash"):
        obtain(wrong, "x")
    assert find(right) is None
    got = obtain(right, "x")
    assert got.read_bytes() == b"weights"
    there.unlink()
    assert obtain(right, "x") == got  # the next time from torch.hub's folder


def test_other_contents_are_refused_unless_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMD_DDM_WEIGHTS", str(tmp_path))
    for name, file in (("inception", INCEPTION), ("clip", "ViT-B-32.pt"), ("dinov2", "dinov2_vitb14_pretrain.pth")):
        (tmp_path / file).write_bytes(b"something else")
        said = weights_of(name, "digits")
        assert said[:2] == (tmp_path / file, True)
        assert said.bytes == 14
        found = hashlib.sha256(b"something else").hexdigest()[:16]
        with pytest.raises(UserError, match=rf"{file} isn't.*{name}.*{found}.*MMD_DDM_UNVERIFIED_WEIGHTS=1"):
            load_feature_space(name, "digits")
    monkeypatch.setenv("MMD_DDM_UNVERIFIED_WEIGHTS", "1")
    for name in ("inception", "clip", "dinov2"):
        with pytest.raises(UserError, match=r"doesn't hold the weights of '.*get it again"):
            load_feature_space(name, "digits")


def test_pickled_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    monkeypatch.setenv("MMD_DDM_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("MMD_DDM_UNVERIFIED_WEIGHTS", "1")
    files = {"inception": INCEPTION, "clip": "ViT-B-32.pt", "timm:test_vit.r160_in1k": "test_vit.r160_in1k.pth"}
    for name, file in files.items():
        torch.save({"x": Trap()}, tmp_path / file)
        with pytest.raises(UserError, match="doesn't hold"):
            load_feature_space(name, "digits")
        (tmp_path / file).write_bytes(pickle.dumps(Trap()))
        with pytest.raises(UserError, match="doesn't hold"):
            load_feature_space(name, "digits")
    assert not (tmp_path / "sprung").exists()


def test_weights_that_lack_a_tensor_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    monkeypatch.setenv("MMD_DDM_WEIGHTS", str(tmp_path))
    state = timm.create_model("test_vit.r160_in1k", pretrained=False).state_dict()
    del state["blocks.0.norm1.weight"]
    torch.save(state, tmp_path / "test_vit.r160_in1k.pth")
    with pytest.raises(UserError, match=r"test_vit.r160_in1k.pth doesn't hold"):
        load_feature_space("timm:test_vit.r160_in1k", "digits")


def test_the_hubs_cache_is_used_and_checked(tmp_path: Path) -> None:
    # as huggingface_hub lays it out: a link in the revision's folder to a blob that is named by its SHA-256
    repo = tmp_path / "hub" / "models--timm--test_vit.r160_in1k"
    for folder in ("blobs", "refs", "snapshots/abc"):
        (repo / folder).mkdir(parents=True)
    (repo / "refs" / "main").write_text("abc")
    blob = repo / "blobs" / hashlib.sha256(b"right").hexdigest()
    blob.write_bytes(b"right")
    link = repo / "snapshots" / "abc" / "model.safetensors"
    link.symlink_to(blob)
    wanted = published_weights("timm:test_vit.r160_in1k")
    assert obtain(wanted, "x") == link
    assert weights_of("timm:test_vit.r160_in1k", "digits")[:2] == (link, True)
    blob.write_bytes(b"wrong")
    with pytest.raises(UserError, match=r"model.safetensors isn't the published file"):
        obtain(wanted, "x")


def test_digests_that_addresses_name() -> None:
    for published, digest in ((weights.CLIP.source, "40d365715913c9da"), (weights.INCEPTION.source, "6726825d")):
        found = digest_in_address(published)
        assert found is not None
        assert found.startswith(digest)
    for known, prefix in ((weights.INCEPTION, "6726825d"), (weights.CLIP, "40d36571"), (weights.DINOV2, "0b8b82f8")):
        assert [len(digest) for digest in known.digests.values()] == [64]
        assert known.digests[known.files[0]].startswith(prefix)
    assert digest_in_address("https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth") is None
    assert digest_in_address("https://x/vit_b_16-laion400m_e32-55e67d44.pt") == "55e67d44"


def test_folder_that_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MMD_DDM_WEIGHTS", str(tmp_path / "absent"))
    with pytest.raises(UserError, match=r"MMD_DDM_WEIGHTS is '.*absent', which is no folder"):
        weights_of("inception", "digits")


def test_open_clip_needs_a_tag() -> None:
    with pytest.raises(UserError, match=r"'open_clip:ViT-B-16' .*open_clip:MODEL/TAG with a TAG such as .*openai"):
        check_feature_space("open_clip:ViT-B-16", "digits")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("open_clip:ViT-B-17/openai", "ViT-B-16"),
        ("open_clip:ViT-B-16/laion2b_s34b_b88", "laion2b_s34b_b88k"),
        ("timm:resnet50.a1_in2k", "resnet50.a1_in1k"),
        ("timm:resnit50", "resnet50"),
        ("Inception", "inception"),
        ("", "inception"),
    ],
)
def test_unknown_names_are_refused_with_near_ones(name: str, near: str) -> None:
    with pytest.raises(UserError, match=rf"There is no .*{near}"):
        check_feature_space(name, "digits")


def test_open_clip_weights_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMD_DDM_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError, match="'mine'"):
        check_feature_space("open_clip:ViT-B-16/mine", "digits")
    (tmp_path / "ViT-B-16.mine.pt").write_bytes(b"")
    check_feature_space("open_clip:ViT-B-16/mine", "digits")
    assert weights_of("open_clip:ViT-B-16/mine", "digits")[:3] == (
        tmp_path / "ViT-B-16.mine.pt",
        True,
        "your own training",
    )


@pytest.mark.parametrize("classes", [7, 0])
def test_a_network_of_ones_own_has_a_tag_of_ones_own(
    classes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm

    with pytest.raises(UserError, match=r"no 'test_vit.mine' for the feature space"):
        check_feature_space("timm:test_vit.mine", "digits")
    monkeypatch.setenv("MMD_DDM_WEIGHTS", str(tmp_path))
    model = timm.create_model("test_vit", pretrained=False, num_classes=classes).eval()
    state = model.state_dict()
    torch.save(state, tmp_path / "test_vit.mine.pth")
    space = load_feature_space("timm:test_vit.mine", "digits")
    model.reset_classifier(0)
    seen: list[torch.Tensor] = []
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    space.network.body.register_forward_pre_hook(lambda network, given: seen.append(given[0]))
    found = space(images)
    torch.testing.assert_close(found, model(seen[0]), rtol=0, atol=0)
    del state["blocks.0.norm1.weight"]
    torch.save(state, tmp_path / "test_vit.mine.pth")
    with pytest.raises(UserError, match=r"test_vit.mine.pth doesn't hold"):
        load_feature_space("timm:test_vit.mine", "digits")

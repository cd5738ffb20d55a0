"""Class-conditional networks: loaded, refused where they need more than labels, and exported for diffusers alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler, DiffusionPipeline, UNet2DModel
from torch import Tensor, nn

from mmd_ddm.data.catalogue import dataset_spec
from mmd_ddm.data.images import ImageSet
from mmd_ddm.data.load import load_dataset
from mmd_ddm.diffusion.samplers import make_chain, make_learned_chain
from mmd_ddm.errors import UserError
from mmd_ddm.pretrained import class_conditional_pipeline
from mmd_ddm.pretrained.configs import scheduler_config
from mmd_ddm.pretrained.export import save_pipeline
from mmd_ddm.pretrained.folder import make_pipeline, write_pipeline
from mmd_ddm.pretrained.load import load_denoiser
from mmd_ddm.pretrained.locate import SHIPPED, locate
from mmd_ddm.pretrained.multi_head_unet import MultiHeadUNet2DModel
from mmd_ddm.pretrained.prediction_loss import noise_loss
from mmd_ddm.pretrained.pretrain import pretrain
from mmd_ddm.pretrained.record import sampling_settings

CLASSES = 4
LABELS = torch.tensor([3, 0, 3, 1, 2])


def network_of(**settings: object) -> UNet2DModel:
    torch.manual_seed(0)
    kind = MultiHeadUNet2DModel if "num_attention_heads" in settings else UNet2DModel
    network = kind(
        sample_size=8, in_channels=3, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("AttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "AttnUpBlock2D"),
        **{"num_class_embeds": CLASSES, "out_channels": 3, **settings},
    )  # fmt: skip
    if network.class_embedding is not None:
        torch.nn.init.normal_(network.class_embedding.weight, std=5)  # so that classes differ in what they look like
    return network


@pytest.mark.usefixtures("remote_code")
@pytest.mark.parametrize(
    ("sampler", "schedule", "settings"),
    [
        ("ddim", "linear", {}),
        ("ddim", "quadratic", {"num_attention_heads": 2}),
        ("ddpm", "linear", {"out_channels": 6}),
        ("dpm-solver++-2m", "logsnr", {}),
        ("unipc-3", "linear", {}),
        ("learned", "logsnr", {}),
    ],
)
@pytest.mark.filterwarnings("ignore:__array__")  # NumPy 2 of DPMSolverMultistepScheduler
def test_diffusers_alone_gives_our_images_of_each_class(
    tmp_path: Path, sampler: str, schedule: str, settings: dict[str, int]
) -> None:
    variance = "learned_range" if sampler == "ddpm" else "model"
    kind = variance if sampler == "ddpm" else "fixed_large"
    base = make_pipeline(network_of(**settings), DDPMScheduler(variance_type=kind))
    denoiser = load_denoiser(write_pipeline(base, tmp_path / "base", {}))
    assert denoiser.classes == CLASSES
    how = {"steps": 5, "schedule": schedule, "eta": 0.0, "variance": variance}
    if sampler == "learned":
        chain = make_learned_chain(denoiser.schedule, sampler="deis-3", **how)
        denoiser.learn(chain.learned)
        for parameter in chain.learned.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
    else:
        chain = make_chain(denoiser.schedule, sampler=sampler, **how)
    save_pipeline(
        denoiser, scheduler_config(tmp_path / "base"), tmp_path / "model",
        sampler=sampler, chain=chain, eta=0.0, variance=variance, record={},
    )  # fmt: skip
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "model", trust_remote_code=True)
    for part in (pipeline, pipeline.scheduler):
        assert not type(part).__module__.startswith("mmd_ddm")
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        LABELS.tolist(), generator=torch.Generator().manual_seed(5), num_inference_steps=5, output_type="np"
    ).images
    generator = torch.Generator().manual_seed(5)
    noise = torch.stack([torch.randn((len(LABELS), 3, 8, 8), generator=generator) for _ in range(chain.draws)])
    loaded = load_denoiser(tmp_path / "model")
    again = make_chain(loaded.schedule, **{"schedule": "linear", **sampling_settings(tmp_path / "model")})
    with torch.no_grad():
        for model, each in ((denoiser, chain), (loaded, again)):
            ours = (each.sample(model, noise, LABELS) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
            # float32 betas of the respaced process: alpha_bar to 1e-6, carried through the chain
            torch.testing.assert_close(torch.from_numpy(theirs), ours, rtol=0, atol=2e-5)
        other = (chain.sample(denoiser, noise, 0 * LABELS) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    changed = (other - ours).abs().amax((1, 2, 3)) > 1e-3
    assert changed.tolist() == [label != 0 for label in LABELS.tolist()]
    for wrong in ([CLASSES], [-1]):
        with pytest.raises(ValueError, match="class_labels are"):
            pipeline(wrong, num_inference_steps=5)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"class_embed_type": "timestep", "num_class_embeds": None}, "class_embed_type 'timestep'"),
        ({"class_embed_type": "identity", "num_class_embeds": None}, "class_embed_type 'identity'"),
        ({"num_class_embeds": 0}, "num_class_embeds of the network is 0"),
        ({"num_class_embeds": 10**12}, "num_class_embeds of the network is 1000000000000"),
        ({"num_class_embeds": "ten"}, "num_class_embeds of the network is 'ten'"),
    ],
)
def test_networks_that_need_more_than_labels_are_refused(tmp_path: Path, changes: dict[str, object], told: str) -> None:
    folder = write_pipeline(make_pipeline(network_of(), DDPMScheduler()), tmp_path / "base", {})
    file = folder / "unet" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    with pytest.raises(UserError, match=told):
        load_denoiser(folder)


def test_labels_are_for_networks_that_know_classes_and_for_no_others(tmp_path: Path) -> None:
    noise = torch.randn(1, 5, 3, 8, 8)
    for classes, labels in ((CLASSES, None), (None, LABELS)):
        pipeline = make_pipeline(network_of(num_class_embeds=classes), DDPMScheduler())
        denoiser = load_denoiser(write_pipeline(pipeline, tmp_path / f"{classes}", {}))
        with pytest.raises(ValueError, match="labels are"):
            make_chain(denoiser.schedule, steps=2).sample(denoiser, noise, labels)


def test_pretraining_tells_the_network_the_class_of_each_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.tensor([10, 120, 250]).repeat(4).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous()
    dataset = ImageSet("three", images, torch.arange(12) % 3, mirrored=True)
    seen: list[Tensor] = []

    def loss(network: nn.Module, batch: Tensor, alpha_bar: Tensor, prediction: str, labels: Tensor) -> Tensor:
        assert torch.equal(batch[:, 0, 0, 0] > 0, labels == 2)
        assert torch.equal(batch[:, 0, 0, 0] < -0.5, labels == 0)
        seen.append(labels)
        return noise_loss(network, batch, alpha_bar, prediction, labels)

    monkeypatch.setattr("mmd_ddm.pretrained.prediction_loss.noise_loss", loss)
    small = {"updates": 2, "batch": 30, "channels": (8, 8), "conditional": True}
    pretrain(dataset, tmp_path / "base", **small)
    assert torch.cat(seen).unique().tolist() == [0, 1, 2]
    assert load_denoiser(tmp_path / "base").classes == 3
    assert json.loads((tmp_path / "base/pretraining.json").read_text())["classes"] == 3
    for labels, told in ((None, "have no labels"), (torch.zeros(12, dtype=torch.int64), "of one class")):
        with pytest.raises(UserError, match=told):
            pretrain(ImageSet("three", images, labels, mirrored=True), tmp_path / "other", **small)


SHIPPED_MODEL = SHIPPED / "digits_conditional"


def test_shipped_model_is_small_and_of_all_digits() -> None:
    assert sum(file.stat().st_size for file in SHIPPED_MODEL.rglob("*")) <= 2_000_000
    # what diffusers runs is the project's own code
    copy = SHIPPED_MODEL / "class_conditional_pipeline.py"
    assert copy.read_text() == Path(class_conditional_pipeline.__file__).read_text()
    digits, record = load_dataset(dataset_spec("digits")), json.loads((SHIPPED_MODEL / "pretraining.json").read_text())
    assert (record["fingerprint"], record["classes"]) == (digits.fingerprint, 10)
    assert load_denoiser(locate("digits_conditional")).classes == 10


@torch.no_grad()
def test_shipped_model_draws_the_digit_that_it_is_told() -> None:
    """Of 20 images of each digit with 20 evaluations, by the means of the real ones: 0.2 would be far above chance."""
    denoiser, digits = load_denoiser(SHIPPED_MODEL), load_dataset(dataset_spec("digits"))
    labels, real = torch.arange(200) % 10, digits.floats().flatten(1)
    assert digits.labels is not None
    means = torch.stack([real[digits.labels == label].mean(0) for label in range(10)])
    chain = make_chain(denoiser.schedule, steps=20)
    images = chain.sample(denoiser, torch.randn(1, 200, 1, 8, 8), labels).flatten(1)
    of_real = (torch.cdist(real, means).argmin(1) == digits.labels).float().mean()
    found = (torch.cdist(images, means).argmin(1) == labels).float().mean()
    # the nearest mean tells 90 % of real digits; of 200 images one in 1000 has that share 7 points lower
    assert float(of_real) == pytest.approx(0.9, abs=0.02)
    assert float(found) > float(of_real) - 0.07

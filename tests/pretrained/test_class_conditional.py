"""Class-conditional networks: loaded, refused where they need more than labels, and exported for diffusers alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler, DiffusionPipeline, UNet2DModel

from mmd_ddm.diffusion.samplers import make_chain, make_learned_chain
from mmd_ddm.errors import UserError
from mmd_ddm.pretrained.configs import scheduler_config
from mmd_ddm.pretrained.export import save_pipeline
from mmd_ddm.pretrained.folder import make_pipeline, write_pipeline
from mmd_ddm.pretrained.load import load_denoiser
from mmd_ddm.pretrained.multi_head_unet import MultiHeadUNet2DModel
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


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffusers.utils.dynamic_modules_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))


@pytest.mark.usefixtures("modules")
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

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mmd_ddm.data.catalogue import dataset_spec
from mmd_ddm.data.images import ImageSet
from mmd_ddm.data.load import load_dataset
from mmd_ddm.discrepancy.mmd import MMD
from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.measures.kid import kid
from mmd_ddm.features.load import load_feature_space
from mmd_ddm.pretrained.prediction_loss import LENGTH, build_scheduler, noise_loss
from mmd_ddm.pretrained.pretrain import pretrain, unfinished_folder

SHIPPED = Path(__file__).parents[2] / "mmd_ddm" / "pretrained" / "weights" / "digits"
SMALL = {"updates": 3, "batch": 4, "channels": (8, 8)}


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load_dataset(dataset_spec("digits"))


@dataclass
class Answer:
    sample: Tensor


class Stub(nn.Module):
    """Answers what a function of (x_t, t) says, in the form of a U-Net's answer."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor, t: Tensor) -> Answer:
        return Answer(self.function(images, t))


def test_scheduler_is_the_papers() -> None:
    scheduler = build_scheduler()
    assert len(scheduler.betas) == LENGTH == 1000
    assert scheduler.betas[[0, -1]].tolist() == pytest.approx([1e-4, 0.02])
    assert scheduler.betas.diff().std() < 1e-8  # evenly spaced
    assert scheduler.config["prediction_type"] == "epsilon"
    assert scheduler.config["clip_sample"] is False


def test_loss_of_knowing_nothing_is_one_and_of_knowing_all_is_zero() -> None:
    torch.manual_seed(0)
    alpha_bar = build_scheduler().alphas_cumprod
    images = torch.full((500, 1, 8, 8), 0.3)
    nothing = noise_loss(Stub(lambda x, t: torch.zeros_like(x)), images, alpha_bar)
    # mean of 32 000 squares of normal numbers, each of variance 2
    assert nothing.item() == pytest.approx(1, abs=4 * (2 / 32000) ** 0.5)

    def known(x: Tensor, t: Tensor) -> Tensor:
        signal = alpha_bar[t].view(-1, 1, 1, 1)
        return (x - signal.sqrt() * 0.3) / (1 - signal).sqrt()

    # 1 - alpha_bar is 1e-4 at t = 0, so a rounding error of 6e-8 grows to 6e-6 there
    assert noise_loss(Stub(known), images, alpha_bar).item() < (6e-6) ** 2


def test_v_is_what_turns_noisy_images_into_noise_and_clean_ones() -> None:
    # sqrt(a) v + sqrt(1 - a) x_t = eps and sqrt(a) x_t - sqrt(1 - a) v = x_0: both hold of the target alone
    torch.manual_seed(0)
    alpha_bar, images = build_scheduler().alphas_cumprod, torch.full((40, 1, 8, 8), 0.3)

    def of_clean(x: Tensor, t: Tensor) -> Tensor:
        signal = alpha_bar[t].view(-1, 1, 1, 1)
        return (signal.sqrt() * x - 0.3) / (1 - signal).sqrt()

    assert noise_loss(Stub(of_clean), images, alpha_bar, "v_prediction").item() < (6e-6) ** 2


def test_timesteps_cover_the_diffusion_evenly() -> None:
    torch.manual_seed(0)
    seen: list[Tensor] = []

    def note(x: Tensor, t: Tensor) -> Tensor:
        seen.append(t)
        return x

    noise_loss(Stub(note), torch.zeros(LENGTH, 1, 1, 1), torch.full((LENGTH,), 0.5))
    assert seen[0].tolist() == list(range(LENGTH))  # one in each of 1000 strata
    for _ in range(200):
        noise_loss(Stub(note), torch.zeros(10, 1, 1, 1), torch.full((LENGTH,), 0.5))
    drawn = torch.cat(seen[1:]).double()
    assert (drawn.min(), drawn.max()) <= (20, 999)
    # uniform within each tenth: mean of 2000 numbers of deviation 100 / sqrt(12)
    assert drawn.mean().item() == pytest.approx(499.5, abs=4 * 100 / 12**0.5 / 2000**0.5)


def test_a_short_run_learns_and_can_be_repeated(digits: ImageSet, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    short = {"updates": 80, "batch": 32, "channels": (16, 16), "learning_rate": 4e-3}
    loss = pretrain(digits, tmp_path / "a", **short, seed=1)
    assert loss < 0.8  # knowing nothing: 1
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(5)
    assert pretrain(digits, tmp_path / "b", **short, seed=1) == loss
    assert weights(tmp_path / "a").read_bytes() == weights(tmp_path / "b").read_bytes()


def test_another_seed_is_another_model(digits: ImageSet, tmp_path: Path) -> None:
    for seed in (1, 2):
        pretrain(digits, tmp_path / str(seed), updates=2, batch=32, channels=(16, 16), seed=seed)
    assert weights(tmp_path / "1").read_bytes() != weights(tmp_path / "2").read_bytes()


def weights(folder: Path) -> Path:
    return folder / "unet" / "diffusion_pytorch_model.safetensors"


def test_result_is_a_diffusers_pipeline(digits: ImageSet, tmp_path: Path) -> None:
    from diffusers import DDPMPipeline

    folder = tmp_path / "model"
    loss = pretrain(digits, folder, **SMALL, dropout=0.25)
    pipeline = DDPMPipeline.from_pretrained(folder)
    assert pipeline.unet.config["dropout"] == 0.25
    assert pipeline.unet.config["block_out_channels"] == [8, 8]
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    assert config["prediction_type"] == "epsilon"
    record = json.loads((folder / "pretraining.json").read_text())
    assert record["fingerprint"] == digits.fingerprint
    assert record["loss"] == loss
    pretrain(digits, folder, **SMALL, seed=9)  # takes the place of the first
    assert json.loads((folder / "pretraining.json").read_text())["seed"] == 9
    assert [each.name for each in tmp_path.iterdir()] == ["model"]


def test_colour_and_mirrors(tmp_path: Path) -> None:
    images = torch.randint(256, (9, 3, 16, 16), dtype=torch.uint8)
    made = [
        pretrain(ImageSet("x", images, None, mirrored), tmp_path / f"{mirrored}", **SMALL) for mirrored in (False, True)
    ]
    assert made[0] != made[1]
    unet = json.loads((tmp_path / "True" / "unet" / "config.json").read_text())
    assert (unet["in_channels"], unet["out_channels"], unet["sample_size"]) == (3, 3, 16)


@pytest.mark.parametrize(
    "setting",
    [{"updates": 0}, {"batch": 0}, {"layers": 0}, {"dropout": 1.0}, {"channels": (8, 12)}, {"channels": ()},
     {"learning_rate": 0.0}, {"ema": 1.5}, {"warmup": 9}, {"clip": 0.0}, {"precision": "fp8"}, {"prediction": "x"},
     {"scorings": -1}],
)  # fmt: skip
def test_wrong_settings_are_named(setting: dict[str, object], digits: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=next(iter(setting))):
        pretrain(digits, tmp_path / "x", **{**SMALL, **setting})
    assert not list(tmp_path.iterdir())


def test_what_was_predicted_is_what_the_pipeline_says(digits: ImageSet, tmp_path: Path) -> None:
    pretrain(digits, tmp_path / "v", **SMALL, prediction="v_prediction", precision="bf16")
    config = json.loads((tmp_path / "v" / "scheduler" / "scheduler_config.json").read_text())
    assert config["prediction_type"] == "v_prediction"
    assert not unfinished_folder(tmp_path / "v").exists()


def test_too_many_halvings_and_foreign_folders_are_refused(digits: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="halved 4 times"):
        pretrain(digits, tmp_path / "x", channels=(8,) * 5)
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="another"):
        pretrain(digits, tmp_path, **SMALL)
    assert (tmp_path / "thesis.tex").exists()


def test_shipped_model_is_small() -> None:
    assert sum(file.stat().st_size for file in SHIPPED.rglob("*")) <= 2_000_000
    assert not [file for file in SHIPPED.rglob("*") if file.suffix not in ("", ".json", ".safetensors")]
    record = json.loads((SHIPPED / "pretraining.json").read_text())
    assert record["fingerprint"] == load_dataset(dataset_spec("digits")).fingerprint


@pytest.fixture(scope="module")
def shipped():
    from diffusers import DDPMPipeline

    return DDPMPipeline.from_pretrained(SHIPPED)


def test_shipped_model_has_the_parameters_it_is_said_to_have(shipped) -> None:
    assert sum(parameter.numel() for parameter in shipped.unet.parameters()) == 434_737
    assert shipped.scheduler.config["prediction_type"] == "epsilon"
    assert len(shipped.scheduler.betas) == 1000


@torch.no_grad()
def test_shipped_model_beats_the_best_linear_denoiser(shipped, digits: ImageSet) -> None:
    torch.manual_seed(0)
    alpha_bar = shipped.scheduler.alphas_cumprod
    # for data of covariance eigenvalues v the best linear guess of eps leaves a v / (a v + 1 - a) a dimension
    spread = torch.linalg.eigvalsh(torch.cov(digits.floats().flatten(1).double().T)).clamp(min=0)
    a = alpha_bar.double().unsqueeze(1)
    linear = (a * spread / (a * spread + 1 - a)).mean().item()
    found = noise_loss(shipped.unet, digits.floats(slice(0, 1000)), alpha_bar).item()
    assert found < 0.8 * linear


@torch.no_grad()
def test_fewer_steps_sample_worse(shipped, digits: ImageSet) -> None:
    from diffusers import DDIMScheduler

    space = load_feature_space("contrastive", "digits")
    real = space(digits.floats())
    scores: dict[int, MMD] = {}
    for steps in (5, 25):
        scheduler = DDIMScheduler.from_config(shipped.scheduler.config)
        scheduler.set_timesteps(steps)
        images = torch.randn(512, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        for t in scheduler.timesteps:
            images = scheduler.step(shipped.unet(images, t).sample, t, images).prev_sample
        scores[steps] = kid(space(images), real)
    assert scores[5].mmd2 > 4 * max(scores[25].mmd2, scores[25].standard_error)

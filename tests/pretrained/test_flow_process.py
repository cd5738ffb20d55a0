"""A model of flow matching among the samplers: Euler in t, export, learned samplers, finetuning, pretraining."""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMPipeline, DiffusionPipeline, FlowMatchEulerDiscreteScheduler, UNet2DModel
from torch import Tensor, nn

from mmd_ddm.cli import finetune as finetune_command
from mmd_ddm.cli import import_model
from mmd_ddm.data.catalogue import dataset_spec
from mmd_ddm.data.load import load_dataset
from mmd_ddm.diffusion.chain import Chain
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.names import MULTISTEP
from mmd_ddm.diffusion.samplers import make_chain, make_learned_chain
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.inference.sample import choose_sampler
from mmd_ddm.experiment.inputs import suited
from mmd_ddm.experiment.obtain import obtain
from mmd_ddm.experiment.presets import preset
from mmd_ddm.experiment.run import finetune
from mmd_ddm.pretrained.load import load_denoiser, load_network
from mmd_ddm.pretrained.prediction_loss import LENGTH, flow_loss
from mmd_ddm.pretrained.pretrain import pretrain
from mmd_ddm.pretrained.record import sampling_settings
from tests.conftest import Output
from tests.pretrained.exported import export, images_by_diffusers, images_of
from tests.pretrained.routes import check_routes
from tune import search
from tune.commands.search_settings import plan
from tune.space.dimension import Choice


def build(channels: int = 3, **changes: Any) -> UNet2DModel:
    torch.manual_seed(0)
    config: dict[str, Any] = {
        "sample_size": 8, "in_channels": channels, "out_channels": channels, "block_out_channels": (8, 16),
        "layers_per_block": 1, "norm_num_groups": 4, "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }  # fmt: skip
    return UNet2DModel(**{**config, **changes}).eval()


def saved(folder: Path, network: UNet2DModel, **settings: Any) -> Path:
    DDPMPipeline(network, FlowMatchEulerDiscreteScheduler(**settings)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("flow"), build(), shift=1.5)


def times_of(chain: Chain, denoiser: Denoiser) -> list[float]:
    """t of each level: t / (1 - t) = sqrt((1 - alpha_bar) / alpha_bar)."""
    levels = chain.levels or denoiser.schedule.alpha_bar[list(chain.timesteps)].tolist()
    ratios = [((1 - alpha_bar) / alpha_bar) ** 0.5 for alpha_bar in levels]
    return [ratio / (1 + ratio) for ratio in ratios]


def first_image(noise: Tensor, time: float) -> Tensor:
    return noise[0] * (time**2 + (1 - time) ** 2) ** 0.5


@pytest.mark.parametrize(
    ("steps", "schedule"), [(5, "trailing"), (4, "logsnr"), (1, "trailing"), (6, "linear"), (5, "karras")]
)
@torch.no_grad()
def test_ddim_is_euler_in_t(steps: int, schedule: str, base: Path) -> None:
    """For dx / dt = f(x, t T), from images (1 - t) x_0 + t epsilon of the first level's scale."""
    denoiser, plain = load_denoiser(base), load_network(base).double()
    denoiser.network.double()
    denoiser.network.sigmas = denoiser.schedule.sigmas  # float64, in place of the table's float32
    chain = make_chain(denoiser.schedule, steps=steps, schedule=schedule)
    noise = torch.randn(1, 2, 3, 8, 8, dtype=torch.float64)
    times = times_of(chain, denoiser)
    image = first_image(noise, times[0])
    for t, after in pairwise([*times, 0.0]):
        told = torch.full((2,), 1000 * t, dtype=torch.float64)
        image = image + (after - t) * plain(image, told).sample
    torch.testing.assert_close(chain.sample(denoiser, noise), image, rtol=0, atol=1e-10)


@torch.no_grad()
def test_diffusers_own_scheduler_gives_our_images(base: Path) -> None:
    denoiser, plain = load_denoiser(base), load_network(base)
    chain = make_chain(denoiser.schedule, steps=5, schedule="trailing")
    noise, times = torch.randn(1, 2, 3, 8, 8), times_of(chain, denoiser)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)  # the times are shifted already
    scheduler.set_timesteps(sigmas=times)
    image = first_image(noise, times[0])
    for t in scheduler.timesteps:
        image = scheduler.step(plain(image, t).sample, t, image).prev_sample
    # the first step divides by a signal of 1 / 2000 in float32
    torch.testing.assert_close(chain.sample(denoiser, noise), image, rtol=0, atol=2e-3)


@pytest.mark.usefixtures("remote_code")
@pytest.mark.filterwarnings("ignore:__array__")  # NumPy 2 of DPMSolverMultistepScheduler
@pytest.mark.parametrize(
    ("sampler", "steps", "schedule"),
    [("ddim", 5, "trailing"), ("ddim", 5, "linear"), ("ddim", 4, "karras"), ("deis-3", 5, "trailing"),
     ("dpm-solver++-2m", 5, "trailing"), ("heun-2", 5, "logsnr")],
)  # fmt: skip
def test_an_exported_model_gives_our_images_in_diffusers(
    sampler: str, steps: int, schedule: str, base: Path, tmp_path: Path
) -> None:
    denoiser = load_denoiser(base)
    chain = make_chain(denoiser.schedule, sampler=sampler, steps=steps, schedule=schedule)
    export(denoiser, chain, sampler, base, tmp_path / "model")
    loaded = load_denoiser(tmp_path / "model")
    again = make_chain(loaded.schedule, **{"schedule": "linear", **sampling_settings(tmp_path / "model")})
    ours = images_of(denoiser, chain)
    assert float(ours.std()) > 0.05  # not all clamped
    for found in (images_by_diffusers(tmp_path / "model", steps), images_of(loaded, again)):
        # the first step divides by a signal of 1 / 2000 in float32, and diffusers' alpha_bar is float32 too
        torch.testing.assert_close(found, ours, rtol=0, atol=1e-3)


@pytest.mark.usefixtures("remote_code")
def test_a_learned_sampler_of_it_gives_our_images_in_diffusers(base: Path, tmp_path: Path) -> None:
    denoiser = load_denoiser(base)
    chain = make_learned_chain(
        denoiser.schedule, sampler="deis-3", steps=4, schedule="trailing", eta=0, variance="model"
    )
    denoiser.learn(chain.learned)
    plain = images_of(denoiser, make_chain(denoiser.schedule, sampler="deis-3", steps=4, schedule="trailing"))
    torch.testing.assert_close(images_of(denoiser, chain), plain, rtol=0, atol=1e-3)  # as it begins
    for parameter in chain.learned.parameters():
        nn.init.normal_(parameter, std=0.05)
    export(denoiser, chain, "deis-3", base, tmp_path / "model")
    ours = images_of(denoiser, chain)
    assert float((ours - plain).abs().max()) > 0.01
    torch.testing.assert_close(images_by_diffusers(tmp_path / "model", 4), ours, rtol=0, atol=1e-3)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", *MULTISTEP])
@pytest.mark.parametrize("schedule", ["linear", "quadratic", "trailing", "logsnr", "karras"])
def test_every_sampler_and_schedule_takes_it(sampler: str, schedule: str, base: Path) -> None:
    denoiser = load_denoiser(base)
    chain = make_chain(denoiser.schedule, sampler=sampler, steps=3, schedule=schedule, variance="fixed_small")
    with torch.no_grad():
        images = chain.sample(denoiser, torch.randn(chain.draws, 1, 3, 8, 8))
    assert torch.isfinite(images).all()


def test_routes_give_one_gradient(base: Path) -> None:
    denoiser = load_denoiser(base)
    check_routes(denoiser, make_chain(denoiser.schedule, sampler="deis-3", steps=3, schedule="trailing"))


@pytest.mark.usefixtures("remote_code")
def test_a_run_finetunes_and_exports_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = saved(tmp_path / "base", build(1))
    config = preset("paper", "digits").replace(
        base_model=str(folder), updates=2, batch=4, scorings=1, score_images=8, steps=2, schedule="trailing"
    )
    outcome = finetune(config, tmp_path / "run", report=lambda metrics, checkpoint: None)
    assert outcome.model is not None
    before, after = load_denoiser(folder).network, load_denoiser(outcome.model).network
    assert not torch.equal(before.conv_in.weight, after.conv_in.weight)
    assert list(load_network(folder).state_dict()) == [name for name in after.state_dict() if name != "sigmas"]
    assert torch.equal(before.sigmas[[499, 999]], after.sigmas)
    assert "schedule" not in caplog.text
    pipeline = DiffusionPipeline.from_pretrained(outcome.model, trust_remote_code=True)
    assert type(pipeline.unet).__name__ == "FlowUNet2DModel"


def test_a_schedule_that_begins_within_the_image_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = saved(tmp_path / "base", build(1))
    for schedule, warned in (("linear", True), ("trailing", False)):
        caplog.clear()
        obtain(preset("paper", "digits").replace(base_model=str(folder), schedule=schedule))
        assert ("begins at t = 0.801, where the image is 20 % there" in caplog.text) == warned
    caplog.clear()
    obtain(preset("paper", "digits"))
    assert "begins" not in caplog.text


def test_the_base_model_is_sampled_from_its_end(base: Path) -> None:
    chain = choose_sampler(base, steps=4, sampler=None, schedule=None, eta=None)
    assert chain.timesteps == (999, 749, 499, 249)


def test_commands_begin_at_the_end_of_its_process_unless_told_otherwise(tmp_path: Path) -> None:
    folder = str(saved(tmp_path / "base", build(1)))
    parser = argparse.ArgumentParser()
    finetune_command.add_options(parser)
    for given, expected in (((), "trailing"), (("--schedule", "linear"), "linear")):
        options = parser.parse_args(["--base-model", folder, "--output", str(tmp_path / "run"), *given])
        assert finetune_command._config(options, tmp_path / "run").sampler.schedule == expected
    assert suited(None) == suited("digits") == suited("google/ddpm-cifar10-32") == {}
    study = plan(search.parser().parse_args(["--dataset", "digits", "--base-model", folder]))
    assert study.config.sampler.schedule == study.first.sampler.schedule == "trailing"
    assert study.space.dimensions["schedule"] == Choice(("trailing", "logsnr"))


def run_import(*arguments: str) -> None:
    parser = argparse.ArgumentParser()
    import_model.add_options(parser)
    import_model.execute(parser.parse_args(arguments))


def test_import_leaves_it_what_it_is(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_import(str(base), "--output", str(tmp_path / "copy"))
    assert "schedule: flow matching, 1000 timesteps" in capsys.readouterr().out
    pipeline = DDPMPipeline.from_pretrained(tmp_path / "copy")
    assert (type(pipeline.scheduler), pipeline.scheduler.config.shift) == (FlowMatchEulerDiscreteScheduler, 1.5)
    assert type(pipeline.unet) is UNet2DModel
    with pytest.raises(UserError, match="--prediction-type is of no use with a model of flow matching"):
        run_import(str(base), "--output", str(tmp_path / "other"), "--prediction-type", "epsilon")


def test_tables_of_time_embeddings_are_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "base", build(time_embedding_type="learned", num_train_timesteps=1000))
    with pytest.raises(UserError, match="UNet2DModel with time embeddings learned; only a UNet2DModel whose time"):
        load_denoiser(folder)


class Velocity(nn.Module):
    """What is known of noise and images that are all c: E[epsilon - x_0 | x_t] = (x_t - c) / t."""

    def __init__(self, constant: float) -> None:
        super().__init__()
        self.constant, self.seen = constant, list[Tensor]()

    def forward(self, image: Tensor, time: Tensor) -> Output:
        self.seen.append(time)
        return Output((image - self.constant) / (time / LENGTH).view(-1, 1, 1, 1))


def test_the_loss_of_knowing_all_is_zero_and_its_times_are_uniform() -> None:
    images, network = torch.full((500, 1, 2, 2), 0.3), Velocity(0.3)
    # the noise is x_t less its signal over t: float32 rounding over the smallest t, about 1 / 500
    assert flow_loss(network, images).item() < (6e-8 * 5000) ** 2
    nothing = flow_loss(lambda image, time: Output(torch.zeros_like(image)), images)  # type: ignore[arg-type]
    # mean of 2 000 squares of N(-0.3, 1): deviation sqrt(2 + 4 * 0.09) each
    assert nothing.item() == pytest.approx(1 + 0.3**2, abs=4 * (2.36 / 2000) ** 0.5)
    times = network.seen[0] / LENGTH
    assert [int(500 * t) for t in times.tolist()] == list(range(500))  # one in each of 500 strata


def test_pretraining_makes_a_model_that_diffusers_samples(tmp_path: Path) -> None:
    digits, scored = load_dataset(dataset_spec("digits")), list[tuple[str, float]]()

    def score(denoiser: Denoiser, update: int) -> None:
        image = torch.randn(2, 1, 8, 8)
        with torch.no_grad():
            scored.append((type(denoiser.network).__name__, float(denoiser(image, 500).std())))

    loss = pretrain(
        digits, tmp_path / "flow", prediction="flow_prediction", updates=60, batch=16, channels=(8, 8),
        learning_rate=8e-3, scorings=1, score=score,
    )  # fmt: skip
    assert loss < 0.9 * (1 + float(digits.floats().square().mean()))  # of knowing nothing
    assert scored[0][0] == "FlowUNet2DModel"
    pipeline = DDPMPipeline.from_pretrained(tmp_path / "flow")
    pipeline.set_progress_bar_config(disable=True)
    assert type(pipeline.unet) is UNet2DModel
    images = pipeline(batch_size=1, num_inference_steps=3, output_type="np").images
    assert images.shape == (1, 8, 8, 1)
    config = json.loads((tmp_path / "flow/scheduler/scheduler_config.json").read_text())
    assert (config["_class_name"], config["shift"]) == ("FlowMatchEulerDiscreteScheduler", 1.0)
    torch.manual_seed(0)
    denoiser = load_denoiser(tmp_path / "flow")
    assert torch.isfinite(denoiser(torch.randn(1, 1, 8, 8), 999)).all()


def test_classes_are_told_to_it(tmp_path: Path) -> None:
    """v = (1 - 2 t) x + s f(s x, t T, label), s = sqrt((1 - t)^2 + t^2), here at t = 1/2."""
    folder = saved(tmp_path / "base", build(num_class_embeds=10), shift=1.0)
    denoiser, plain = load_denoiser(folder), load_network(folder)
    assert denoiser.classes == 10
    image, labels = torch.randn(2, 3, 8, 8), torch.tensor([3, 7])
    with torch.no_grad():
        flow = plain(0.5**0.5 * image, torch.full((2,), 500.0), class_labels=labels).sample
        expected = 0.5**0.5 * (0.5**0.5 * flow) + 0.5**0.5 * image  # epsilon = (v + x) / sqrt(2)
        torch.testing.assert_close(denoiser(image, 499, labels), expected, rtol=0, atol=1e-5)
        assert not torch.allclose(denoiser(image, 499, labels.flip(0)), expected, atol=1e-3)

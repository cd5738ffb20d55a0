"""An exported pipeline samples with diffusers alone, and gives our images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DDIMPipeline, DDPMPipeline, DDPMScheduler, DiffusionPipeline, UNet2DModel

from mmd_ddm.diffusion.names import MULTISTEP
from mmd_ddm.diffusion.samplers import make_chain, make_learned_chain
from mmd_ddm.errors import UserError
from mmd_ddm.pretrained.configs import check_fits, scheduler_config
from mmd_ddm.pretrained.export import save_pipeline
from mmd_ddm.pretrained.folder import write_pipeline
from mmd_ddm.pretrained.load import load_denoiser
from mmd_ddm.pretrained.locate import locate
from mmd_ddm.pretrained.multi_head_unet import MultiHeadUNet2DModel
from mmd_ddm.pretrained.record import STOCK, sampling_settings
from mmd_ddm.pretrained.respacing import is_leading


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = UNet2DModel(
        sample_size=8, in_channels=3, out_channels=3, block_out_channels=(8, 16), layers_per_block=1,
        norm_num_groups=4, down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("base")
    DDPMPipeline(network, DDPMScheduler(clip_sample=True)).save_pretrained(folder)
    return folder


def export(
    base: Path, folder: Path, sampler: str, steps: int, schedule: str, eta: float = 0.0, variance: str = "fixed_small"
):
    denoiser = load_denoiser(base)
    chain = make_chain(denoiser.schedule, sampler=sampler, steps=steps, schedule=schedule, eta=eta, variance=variance)
    save_pipeline(
        denoiser, scheduler_config(base), folder,
        sampler=sampler, chain=chain, eta=eta, variance=variance, record={"weights": "raw"},
    )  # fmt: skip
    return denoiser, chain


@pytest.mark.parametrize(
    ("sampler", "steps", "schedule", "eta", "variance"),
    [
        ("ddim", 5, "linear", 0.0, "fixed_small"),
        ("ddim", 5, "quadratic", 0.0, "fixed_small"),
        ("ddim", 15, "linear", 0.0, "fixed_small"),
        ("ddim", 15, "stride", 0.0, "fixed_small"),
        ("ddim", 7, "quadratic", 0.6, "fixed_small"),
        ("ddpm", 5, "linear", 0.0, "fixed_large"),
        ("ddpm", 6, "quadratic", 0.0, "fixed_small"),
        ("ddpm", 6, "quadratic", 0.0, "fixed_large"),
        ("ddim", 3, "trailing", 0.0, "fixed_small"),
        ("ddim", 4, "karras", 0.3, "fixed_small"),
        ("ddpm", 4, "karras", 0.0, "fixed_large"),
        ("heun-2", 5, "karras", 0.0, "fixed_small"),
        *((name, 5, "linear", 0.0, "fixed_small") for name in MULTISTEP),
        *((name, 3, "logsnr", 0.0, "fixed_small") for name in MULTISTEP),
        ("dpm-solver++-3m", 16, "quadratic", 0.0, "fixed_small"),
        ("unipc-3", 1, "trailing", 0.0, "fixed_small"),
    ],
)
@pytest.mark.filterwarnings("ignore:__array__")  # NumPy 2 of DPMSolverMultistepScheduler
def test_diffusers_alone_gives_our_images(
    base: Path, tmp_path: Path, remote_code: None,
    sampler: str, steps: int, schedule: str, eta: float, variance: str,
) -> None:  # fmt: skip
    denoiser, chain = export(base, tmp_path / "model", sampler, steps, schedule, eta, variance)
    evaluations = len(chain.timesteps)
    kind = {"ddim": DDIMPipeline}.get(sampler, DDPMPipeline if sampler in STOCK else DiffusionPipeline)
    trust = {} if sampler in STOCK else {"trust_remote_code": True}
    pipeline = kind.from_pretrained(tmp_path / "model", **trust)
    assert not type(pipeline.scheduler).__module__.startswith("mmd_ddm")
    seen: list[int] = []
    pipeline.unet.register_forward_pre_hook(lambda module, inputs: seen.append(1))
    pipeline.set_progress_bar_config(disable=True)
    settings = {"eta": eta} if sampler == "ddim" else {}
    theirs = pipeline(
        batch_size=3, generator=torch.Generator().manual_seed(5), num_inference_steps=evaluations,
        output_type="np", **settings,
    ).images  # fmt: skip
    assert len(seen) == evaluations
    generator = torch.Generator().manual_seed(5)
    noise = torch.stack([torch.randn((3, 3, 8, 8), generator=generator) for _ in range(chain.draws)])
    for model in (denoiser, load_denoiser(tmp_path / "model")):
        if model is not denoiser:  # the export is a model like any other: sampled by its own record
            settings = sampling_settings(tmp_path / "model")
            assert settings["steps"] == evaluations
            chain = make_chain(model.schedule, schedule="linear", **settings)
        with torch.no_grad():
            ours = (chain.sample(model, noise) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
        # float32 betas of the respaced process: alpha_bar to 1e-6, carried through the chain
        torch.testing.assert_close(torch.from_numpy(theirs), ours, rtol=0, atol=2e-5)


@pytest.mark.parametrize("embedding", ["positional", "learned"])
@pytest.mark.parametrize(
    ("sampler", "prediction"), [("ddim", "epsilon"), ("unipc-3", "v_prediction"), ("heun-2", "sample")]
)
def test_diffusers_alone_gives_our_images_of_a_learned_sampler(
    embedding: str, sampler: str, prediction: str, tmp_path: Path, remote_code: None
) -> None:
    """Levels between timesteps, changed coefficients, told times: all lies in the folder, the weights as they were."""
    table = {"time_embedding_type": "learned", "num_train_timesteps": 400} if embedding == "learned" else {}
    network = UNet2DModel(
        sample_size=8, in_channels=3, out_channels=3, block_out_channels=(8, 16), layers_per_block=1,
        norm_num_groups=4, down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
        **table,
    )  # fmt: skip
    write_pipeline(DDPMPipeline(network, DDPMScheduler(400, prediction_type=prediction)), tmp_path / "base", {})
    denoiser = load_denoiser(tmp_path / "base")
    chain = make_learned_chain(denoiser.schedule, sampler=sampler, steps=5, schedule="logsnr", eta=0, variance="model")
    denoiser.learn(chain.learned)
    for parameter in chain.learned.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    save_pipeline(
        denoiser, scheduler_config(tmp_path / "base"), tmp_path / "model",
        sampler=sampler, chain=chain, eta=0.0, variance="model", record={},
    )  # fmt: skip
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "model", trust_remote_code=True)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        batch_size=3, generator=torch.Generator().manual_seed(5), num_inference_steps=5, output_type="np"
    ).images
    noise = torch.randn((1, 3, 3, 8, 8), generator=torch.Generator().manual_seed(5))
    loaded, settings = load_denoiser(tmp_path / "model"), sampling_settings(tmp_path / "model")
    assert settings["sampler"] == "learned"
    again = make_chain(loaded.schedule, schedule="linear", **settings)
    plain = make_chain(denoiser.schedule, sampler=sampler, steps=5, schedule="logsnr")
    with torch.no_grad():
        other = (plain.sample(denoiser, noise) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
        for model, how in ((denoiser, chain), (loaded, again)):
            ours = (how.sample(model, noise) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
            torch.testing.assert_close(torch.from_numpy(theirs), ours, rtol=0, atol=1e-5)
            assert float((ours - other).abs().max()) > 1e-3
    kept = loaded.network.state_dict()
    assert all(
        torch.equal(value, kept[name]) for name, value in network.state_dict().items() if "time_proj" not in name
    )
    with pytest.raises(UserError, match="makes 5 network evaluations; choose 5"):
        make_chain(loaded.schedule, sampler="learned", steps=3)
    with pytest.raises(UserError, match="was finetuned with a model, which this model has not"):
        make_chain(denoiser.schedule, sampler="learned", steps=5)


@pytest.mark.parametrize("heads", [None, 2])
@pytest.mark.parametrize("schedule", ["linear", "quadratic"])
@pytest.mark.parametrize(
    ("sampler", "variance"), [("ddim", "model"), ("ddpm", "model"), ("ddpm", "learned_range"), ("ddpm", "fixed_large")]
)
def test_diffusers_alone_gives_our_images_of_a_learned_variance(
    heads: int | None, schedule: str, sampler: str, variance: str, tmp_path: Path, remote_code: None
) -> None:
    """A table of fractional times, several heads at two widths, twice the channels: all at once, as ImageNet 64 has."""
    learned = DDPMScheduler(400, beta_schedule="squaredcos_cap_v2", variance_type="learned_range")
    kind = UNet2DModel if heads is None else MultiHeadUNet2DModel
    network = kind(
        sample_size=8, in_channels=3, out_channels=6, block_out_channels=(8, 16), layers_per_block=1,
        norm_num_groups=4, down_block_types=("AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D"), time_embedding_type="learned", num_train_timesteps=400,
        **({"num_attention_heads": heads} if heads else {}),
    )  # fmt: skip
    write_pipeline(DDPMPipeline(network, learned), tmp_path / "base", {})
    denoiser, chain = export(tmp_path / "base", tmp_path / "model", sampler, 5, schedule, variance=variance)
    pipeline = (DDIMPipeline if sampler == "ddim" else DDPMPipeline).from_pretrained(
        tmp_path / "model", trust_remote_code=heads is not None
    )
    whole = sampler == "ddpm" and variance != "fixed_large"
    assert pipeline.unet.config.out_channels == (6 if whole else 3)
    if sampler == "ddpm":
        assert pipeline.scheduler.config.variance_type == ("learned_range" if whole else "fixed_large")
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        batch_size=3, generator=torch.Generator().manual_seed(5), num_inference_steps=5, output_type="np"
    ).images
    generator = torch.Generator().manual_seed(5)
    noise = torch.stack([torch.randn((3, 3, 8, 8), generator=generator) for _ in range(chain.draws)])
    loaded = load_denoiser(tmp_path / "model")
    again = make_chain(loaded.schedule, schedule="linear", **sampling_settings(tmp_path / "model"))
    for model, how in ((denoiser, chain), (loaded, again)):
        with torch.no_grad():
            ours = (how.sample(model, noise) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
        assert float(ours.std()) > 0.1  # not all clamped
        # as above: float32 betas of the respaced process
        torch.testing.assert_close(torch.from_numpy(theirs), ours, rtol=0, atol=2e-5)


def test_a_config_that_leaves_settings_out_is_exported_too(base: Path, tmp_path: Path) -> None:
    """Configs of old hub models name no `num_train_timesteps`, which a table of time embeddings needs."""
    shutil.copytree(base, tmp_path / "old")
    config = json.loads((tmp_path / "old/unet/config.json").read_text())
    del config["num_train_timesteps"], config["time_embedding_type"]
    (tmp_path / "old/unet/config.json").write_text(json.dumps(config))
    export(tmp_path / "old", tmp_path / "model", "ddim", 5, "quadratic")
    assert load_denoiser(tmp_path / "model").network.time_proj.weight.shape == (5, 8)


def test_record_and_scheduler_tell_the_budget(base: Path, tmp_path: Path) -> None:
    export(base, tmp_path / "model", "ddim", 5, "quadratic")
    record = json.loads((tmp_path / "model/mmd_ddm.json").read_text())
    assert record["timesteps"] == [0, 50, 200, 450, 800]
    assert record["weights"] == "raw"
    config = scheduler_config(tmp_path / "model")
    assert config["num_train_timesteps"] == 5
    assert not config["clip_sample"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]


def test_leading_timesteps_keep_the_original_process(base: Path, tmp_path: Path) -> None:
    export(base, tmp_path / "model", "ddim", 5, "linear")
    assert scheduler_config(tmp_path / "model")["num_train_timesteps"] == 1000
    theirs, ours = (UNet2DModel.from_pretrained(f / "unet").state_dict() for f in (base, tmp_path / "model"))
    assert all(torch.equal(theirs[name], value) for name, value in ours.items())
    assert is_leading((0, 200, 400, 600, 800), 1000)
    assert not is_leading((0, 66, 133), 200)


def test_damaged_and_foreign_folders_get_one_sentence(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere.*not a folder.*owner/name"):
        locate(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="not a diffusers pipeline"):
        load_denoiser(tmp_path / "empty")
    damaged = tmp_path / "damaged"
    shutil.copytree(base, damaged)
    weights = damaged / "unet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be loaded"):
        load_denoiser(damaged)
    (damaged / "scheduler/scheduler_config.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        load_denoiser(damaged)


def test_model_of_another_shape_is_refused(base: Path) -> None:
    from mmd_ddm.data.catalogue import dataset_spec

    with pytest.raises(UserError, match=r"\(3, 8, 8\).*digits has \(1, 8, 8\)"):
        check_fits(base, dataset_spec("digits"))

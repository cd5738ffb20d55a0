"""Folders of latent diffusion models: what is loaded, refused, told apart and exported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, LDMPipeline
from safetensors.torch import load_file

from mmd_ddm.data.catalogue import dataset_spec
from mmd_ddm.diffusion.baselines import make_baseline
from mmd_ddm.diffusion.chain import Chain
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.samplers import make_chain, make_learned_chain
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.cost import memory_estimate
from mmd_ddm.experiment.inference.sample import sample
from mmd_ddm.pretrained.autoencoder import build_decoder
from mmd_ddm.pretrained.autoencoder_config import find_autoencoder
from mmd_ddm.pretrained.configs import check_fits, image_shape, scheduler_config, unet_config
from mmd_ddm.pretrained.export import save_pipeline
from mmd_ddm.pretrained.fingerprint import model_fingerprint
from mmd_ddm.pretrained.formats.architecture import build_unet
from mmd_ddm.pretrained.importing import import_model
from mmd_ddm.pretrained.known_unets import known_autoencoder_config, known_unet_config
from mmd_ddm.pretrained.load import load_denoiser
from mmd_ddm.pretrained.record import STOCK, loading_lines
from tests.latent_models import AUTOENCODERS, IMAGE, KL, latent_folder


@pytest.fixture(scope="module", params=AUTOENCODERS)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return latent_folder(tmp_path_factory.mktemp("base"), request.param)


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "copy"))


def rewrite(file: Path, **changes: object) -> None:
    """Change entries of a JSON file; None takes one out."""
    entries = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({key: value for key, value in entries.items() if value is not None}))


def by_diffusers(folder: Path, images: int, steps: int, **call: object) -> torch.Tensor:
    """Images in [-1, 1] of noise that a seed gives, by diffusers alone."""
    pipeline = LDMPipeline.from_pretrained(folder, trust_remote_code=True)
    pipeline.set_progress_bar_config(disable=True)
    torch.manual_seed(5)  # the pipeline hands no generator to its scheduler
    made = pipeline(batch_size=images, num_inference_steps=steps, output_type="np", **call).images
    return torch.from_numpy(made).permute(0, 3, 1, 2) * 2 - 1


def test_base_model_samples_as_ldm_pipeline_does(base: Path) -> None:
    assert image_shape(base) == IMAGE
    check_fits(base, dataset_spec("digits"))
    ours = sample(base, 3, seed=5, steps=4)
    assert ours.shape == (3, *IMAGE)
    torch.testing.assert_close(ours.clamp(-1, 1), by_diffusers(base, 3, 4), rtol=0, atol=1e-5)
    with pytest.raises(UserError, match=r"\(1, 8, 8\), data set cifar10_small has \(3, 16, 16\)"):
        check_fits(base, dataset_spec("cifar10_small"))


def test_published_samplers_decode(base: Path) -> None:
    denoiser = load_denoiser(base)
    plms = make_baseline("plms", denoiser.schedule, 4)
    noise = torch.randn(plms.draws, 2, *denoiser.image_shape)
    images = plms.sample(denoiser, noise)
    denoiser.decoder, decode = None, denoiser.decoder
    assert decode is not None
    assert torch.equal(images, decode(plms.sample(denoiser, noise)))


def variance_of(sampler: str) -> str:
    return "fixed_small" if sampler == "ddpm" else "model"


def exported(denoiser: Denoiser, chain: Chain, base: Path, folder: Path, sampler: str, eta: float) -> Path:
    return save_pipeline(
        denoiser, scheduler_config(base), folder,
        sampler=sampler, chain=chain, eta=eta, variance=variance_of(sampler), record={"weights": "raw"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sampler", "steps", "schedule", "eta"),
    [
        ("ddim", 5, "linear", 0.0),
        ("ddim", 4, "quadratic", 0.6),
        ("ddpm", 4, "linear", 0.0),
        ("dpm-solver++-2m", 4, "linear", 0.0),
        ("heun-2", 3, "logsnr", 0.0),
        ("learned deis-3", 4, "linear", 0.0),
    ],
)
@pytest.mark.filterwarnings("ignore:__array__")  # NumPy 2 of DPMSolverMultistepScheduler
def test_diffusers_alone_gives_our_images(
    base: Path, tmp_path: Path, remote_code: None, sampler: str, steps: int, schedule: str, eta: float
) -> None:
    denoiser, name = load_denoiser(base), sampler.removeprefix("learned ")
    settings = {"sampler": name, "steps": steps, "schedule": schedule, "eta": eta, "variance": variance_of(name)}
    if name == sampler:
        chain: Chain = make_chain(denoiser.schedule, **settings)
    else:
        chain = make_learned_chain(denoiser.schedule, **settings)
        denoiser.learn(chain.learned)
    folder = exported(denoiser, chain, base, tmp_path / "out", name, eta)
    torch.manual_seed(5)
    noise = torch.stack([torch.randn(3, *denoiser.image_shape) for _ in range(chain.draws)])
    with torch.no_grad():
        ours = chain.sample(denoiser, noise)
    theirs = by_diffusers(folder, 3, steps, **({"eta": eta} if eta else {}))
    # float32 betas of the respaced process: alpha_bar to 1e-6, carried through chain and decoder
    torch.testing.assert_close(ours.clamp(-1, 1), theirs, rtol=0, atol=1e-4)
    torch.testing.assert_close(ours, sample(folder, 3, seed=5), rtol=0, atol=1e-4)
    lines = loading_lines(str(folder), name, steps, eta, pipeline="LDMPipeline")
    assert lines[0] == "from diffusers import LDMPipeline"
    assert ("trust_remote_code" in lines[2]) == (name not in STOCK)


@pytest.mark.parametrize("kind", AUTOENCODERS)
def test_networks_with_classes_bring_their_pipeline(kind: str, tmp_path: Path, remote_code: None) -> None:
    base = latent_folder(tmp_path / "base", kind, num_class_embeds=3)
    denoiser = load_denoiser(base)
    chain = make_chain(denoiser.schedule, sampler="ddim", steps=4, schedule="quadratic")
    folder = exported(denoiser, chain, base, tmp_path / "out", "ddim", 0.0)
    pipeline = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
    pipeline.set_progress_bar_config(disable=True)
    told = {"generator": torch.Generator().manual_seed(5), "num_inference_steps": 4, "output_type": "np"}
    theirs = torch.from_numpy(pipeline([2, 0], **told).images).permute(0, 3, 1, 2) * 2 - 1
    ours = sample(folder, 2, seed=5, class_labels=[2, 0])
    # float32 betas of the respaced process: alpha_bar to 1e-6, carried through chain and decoder
    torch.testing.assert_close(ours.clamp(-1, 1), theirs, rtol=0, atol=1e-4)
    assert not torch.equal(ours, sample(folder, 2, seed=5, class_labels=[1, 1]))


def test_autoencoder_is_exported_unchanged(base: Path, tmp_path: Path) -> None:
    import_model(str(base), tmp_path / "out", None, {})
    kind = "diffusion_pytorch_model.safetensors"
    before, after = (load_file(folder / "vqvae" / kind) for folder in (base, tmp_path / "out"))
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_weights_of_every_published_form_are_read(base: Path, copy: Path) -> None:
    # a vae by another name, and pickled tensors by the names that attention layers had
    (copy / "vqvae").rename(copy / "vae")
    rewrite(copy / "model_index.json", vqvae=None, vae=["diffusers", "AutoencoderKL"])
    file = copy / "vae" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    renamed = {}
    for name, tensor in load_file(file).items():
        for new, former in old.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{former}.")
        renamed[name] = tensor
    assert any("proj_attn" in name for name in renamed)
    torch.save(renamed, file.with_suffix(".bin"))
    file.unlink()
    assert torch.equal(sample(copy, 2, steps=2), sample(base, 2, steps=2))


def test_fingerprint_knows_the_autoencoder(base: Path, copy: Path) -> None:
    assert model_fingerprint(base) == model_fingerprint(copy)
    rewrite(copy / "vqvae" / "config.json", scaling_factor=0.8)
    other = model_fingerprint(copy)
    rewrite(copy / "vqvae" / "config.json", scaling_factor=0.7)
    (copy / "vqvae" / "diffusion_pytorch_model.safetensors").write_bytes(b"others")
    assert len({model_fingerprint(base), other, model_fingerprint(copy)}) == 3


def test_scaling_factor_that_is_left_out(base: Path, copy: Path, tmp_path: Path) -> None:
    rewrite(copy / "vqvae" / "config.json", scaling_factor=None)
    kind = json.loads((copy / "vqvae" / "config.json").read_text())["_class_name"]
    if kind == KL:  # never another one
        assert load_denoiser(copy).decoder.scaling_factor == 0.18215
        return
    with pytest.raises(UserError, match="has no scaling_factor"):
        load_denoiser(copy)
    known = tmp_path / "models--CompVis--ldm-celebahq-256" / "snapshots" / "0"
    shutil.copytree(copy, known)
    assert load_denoiser(known).decoder.scaling_factor == 1.0
    import_model(str(known), tmp_path / "out", None, {})
    assert LDMPipeline.from_pretrained(tmp_path / "out").vqvae.config.scaling_factor == 1.0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"_class_name": "AutoencoderTiny"}, "is a AutoencoderTiny; supported are AutoencoderKL and VQModel"),
        ({"shift_factor": 0.1}, "has shift_factor"),
        ({"scaling_factor": 0}, "must be above 0"),
        ({"scaling_factor": "x"}, "scaling_factor"),
        ({"latent_channels": 3, "vq_embed_dim": 3}, "cannot be loaded"),
        ({"block_out_channels": [8] * 40}, "a list of 1 to 16"),
        ({"num_vq_embeddings": 2**40}, "a whole number from 1"),
    ],
)
def test_wrong_autoencoders_are_refused(copy: Path, changes: dict[str, object], told: str) -> None:
    rewrite(copy / "vqvae" / "config.json", **changes)
    with pytest.raises(UserError, match=told):
        load_denoiser(copy)


def test_missing_parts_are_refused(copy: Path, tmp_path: Path) -> None:
    other = latent_folder(tmp_path / "other", KL, in_channels=3, out_channels=3)
    with pytest.raises(UserError, match=r"in_channels in .* is 3, but the autoencoder beside it decodes 2"):
        load_denoiser(other)
    weights = copy / "vqvae" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    with pytest.raises(UserError, match=r"the autoencoder in .* cannot be loaded: it has no"):
        load_denoiser(copy)
    shutil.rmtree(copy / "vqvae")
    with pytest.raises(UserError, match=r"it has no vqvae, which its model_index\.json names"):
        image_shape(copy)


def test_memory_estimate_counts_the_decoder(base: Path) -> None:
    found = find_autoencoder(base)
    assert found is not None
    plain, latent = (memory_estimate(Config(), unet_config(base), 1, each) for each in (None, found.config))
    frozen = sum(value.numel() for value in load_file(base / "vqvae" / "diffusion_pytorch_model.safetensors").values())
    assert latent.weights == plain.weights + 4 * frozen
    assert (latent.evaluation, plain.decoding) == (plain.evaluation, 0)
    assert latent.graph(2, 5) == plain.graph(2, 5) + 2 * latent.decoding > plain.graph(2, 5)
    assert latent.replayed == max(latent.evaluation, latent.decoding)


def test_published_sizes() -> None:
    """As many weights as Rombach et al. 2022 have in Table 12: 274 M; and the autoencoders' 55 M and 84 M."""
    with torch.device("meta"):
        unet = build_unet(known_unet_config("CompVis/ldm-celebahq-256"))
        decoder = build_decoder(known_autoencoder_config("CompVis/ldm-celebahq-256"))
        churches = AutoencoderKL(  # lsun_churches: f = 8
            block_out_channels=(128, 256, 512, 512), layers_per_block=2, down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
        )  # fmt: skip
    sizes = [round(sum(p.numel() for p in each.parameters()) / 1e6) for each in (unet, decoder, churches)]
    assert sizes == [274, 55, 84]

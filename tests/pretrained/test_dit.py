"""DiT models: sampled, guided, differentiated and exported as diffusers' own pipeline has them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DiTPipeline, DiTTransformer2DModel
from torch import nn

from mmd_ddm.diffusion.chain import Chain, Start
from mmd_ddm.diffusion.samplers import make_chain, make_learned_chain
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.cost import memory_estimate
from mmd_ddm.experiment.inference.sample import sample
from mmd_ddm.experiment.inputs import check
from mmd_ddm.finetuning.gradient import GRADIENTS, Rollout
from mmd_ddm.finetuning.objective import ValueAndGradient
from mmd_ddm.pretrained.configs import (
    class_names,
    classes_of,
    image_shape,
    null_class_of,
    scheduler_config,
    unet_config,
)
from mmd_ddm.pretrained.export import save_pipeline
from mmd_ddm.pretrained.fingerprint import model_fingerprint
from mmd_ddm.pretrained.formats.architecture import build_unet
from mmd_ddm.pretrained.importing import import_model
from mmd_ddm.pretrained.known_unets import known_unet_config
from mmd_ddm.pretrained.load import load_denoiser
from mmd_ddm.pretrained.record import STOCK, loading_lines
from tests.latent_models import IMAGE, dit_folder

LABELS = [3, 0, 999]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return dit_folder(tmp_path_factory.mktemp("base"))


def by_diffusers(folder: Path, steps: int, guidance_scale: float) -> torch.Tensor:
    """Images in [-1, 1] by diffusers alone."""
    pipeline = DiTPipeline.from_pretrained(folder, trust_remote_code=True)
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(
        LABELS, guidance_scale=guidance_scale, num_inference_steps=steps, generator=torch.manual_seed(5),
        output_type="pt",
    ).images  # fmt: skip
    return torch.as_tensor(made) * 2 - 1


def test_base_model_samples_as_dit_pipeline_does(base: Path) -> None:
    assert image_shape(base) == IMAGE
    assert classes_of(unet_config(base)) == null_class_of(unet_config(base)) == 1000
    ours = sample(base, 3, seed=5, steps=4, class_labels=LABELS)
    torch.testing.assert_close(ours.clamp(-1, 1), by_diffusers(base, 4, 1.0), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("sampler", "steps", "schedule", "guidance_scale"),
    [
        ("ddim", 5, "linear", None),
        ("ddim", 8, "linear", 4.0),
        ("ddim", 6, "quadratic", 1.5),
        ("dpm-solver++-2m", 4, "linear", 1.5),
        ("heun-2", 6, "logsnr", 1.5),
        ("learned deis-3", 4, "linear", None),
        ("learned deis-3", 6, "linear", 1.5),
    ],
)
@pytest.mark.filterwarnings("ignore:__array__")  # NumPy 2 of DPMSolverMultistepScheduler
def test_diffusers_alone_gives_our_images(
    base: Path, tmp_path: Path, remote_code: None, sampler: str, steps: int, schedule: str,
    guidance_scale: float | None,
) -> None:  # fmt: skip
    denoiser, name = load_denoiser(base), sampler.removeprefix("learned ")
    how = {"sampler": name, "steps": steps, "schedule": schedule, "guidance_scale": guidance_scale}
    if name == sampler:
        chain: Chain = make_chain(denoiser.schedule, **how)
    else:
        chain = make_learned_chain(denoiser.schedule, **how, eta=0.0, variance="model")
        with torch.no_grad():
            chain.learned.offsets.fill_(0.3)
        denoiser.learn(chain.learned)
    folder = save_pipeline(
        denoiser, scheduler_config(base), tmp_path / "out",
        sampler=name, chain=chain, eta=0.0, variance="model", record={"weights": "raw"},
    )  # fmt: skip
    noise = torch.randn(1, 3, *denoiser.image_shape, generator=torch.manual_seed(5))
    with torch.no_grad():
        ours = chain.sample(denoiser, noise, torch.tensor(LABELS))
    predictions = steps // 2 if guidance_scale else steps
    theirs = by_diffusers(folder, predictions, guidance_scale or 1.0)
    # float32 betas of a respaced process: alpha_bar to 1e-6, carried through chain and decoder
    torch.testing.assert_close(ours.clamp(-1, 1), theirs, rtol=0, atol=1e-4)
    torch.testing.assert_close(ours, sample(folder, 3, seed=5, class_labels=LABELS), rtol=0, atol=1e-4)
    said = loading_lines(
        str(folder), name, steps, own_network=schedule != "linear", conditional=True, pipeline="DiTPipeline",
        guidance_scale=guidance_scale,
    )  # fmt: skip
    assert f"guidance_scale={guidance_scale or 1:g}" in said[3]
    assert f"num_inference_steps={predictions}" in said[3]
    assert ("trust_remote_code" in said[2]) == (name not in STOCK or schedule != "linear")


def test_exported_model_is_finetuned_and_exported_again(base: Path, tmp_path: Path) -> None:
    """A respaced network's timesteps are looked up: twice respaced is once respaced to the times of both."""
    denoiser = load_denoiser(base)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder, steps in zip(folders, (6, 3), strict=True):
        chain = make_chain(denoiser.schedule, steps=steps, schedule="quadratic" if steps == 6 else "trailing")
        save_pipeline(
            denoiser, scheduler_config(base), folder,
            sampler="ddim", chain=chain, eta=0.0, variance="model", record={"weights": "raw"},
        )  # fmt: skip
        denoiser, before = load_denoiser(folder), denoiser
    noise, labels = torch.randn(1, 3, *denoiser.image_shape), torch.tensor(LABELS)
    with torch.no_grad():
        expected = chain.sample(before, noise, labels)
        found = make_chain(denoiser.schedule, steps=3).sample(denoiser, noise, labels)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("guidance_scale", [None, 1.5])
def test_all_routes_give_one_gradient(base: Path, guidance_scale: float | None) -> None:
    denoiser = load_denoiser(base).double()
    chain = make_chain(denoiser.schedule, steps=4, guidance_scale=guidance_scale)
    rollout = Rollout(denoiser, chain, nn.Flatten())
    start = Start(torch.randn(1, 3, *denoiser.image_shape).double(), torch.tensor(LABELS))

    def loss(features: torch.Tensor, update: int) -> ValueAndGradient:
        return ValueAndGradient(features.square().mean(), 2 * features / features.numel())

    found = []
    for route, sizes in (("stored", [3]), ("replay", [3]), ("replay", [1, 2])):
        denoiser.zero_grad()
        GRADIENTS[route](rollout, loss, start.split(sizes), 0)
        found.append(torch.cat([p.grad.flatten() for p in denoiser.parameters() if p.grad is not None]))
    for other in found[1:]:
        assert (other - found[0]).norm() < 1e-10 * found[0].norm()
    # what stands for no label is learned where predictions are guided, and there alone
    table = denoiser.network.transformer_blocks[0].norm1.emb.class_embedder.embedding_table.weight.grad
    assert bool(table[1000].any()) == (guidance_scale is not None)
    assert bool(table[LABELS].any(dim=1).all())


def test_labels_are_dropped_in_train_mode_alone(base: Path) -> None:
    denoiser = load_denoiser(base)
    image, labels = torch.randn(64, *denoiser.image_shape), torch.zeros(64, dtype=torch.int64)
    with torch.no_grad():
        assert torch.equal(denoiser(image, 5, labels), denoiser(image, 5, labels))
        denoiser.train()
        assert not torch.equal(denoiser(image, 5, labels), denoiser(image, 5, labels))


def test_names_of_classes_go_along(base: Path, tmp_path: Path) -> None:
    folder, index = Path(shutil.copytree(base, tmp_path / "base")), tmp_path / "base/model_index.json"
    published = json.loads(index.read_text())
    index.write_text(json.dumps({**published, "id2label": {"0": "tench, Tinca tinca", "999": "toilet tissue"}}))
    denoiser = load_denoiser(folder)
    save_pipeline(
        denoiser, scheduler_config(folder), tmp_path / "finetuned",
        sampler="ddim", chain=make_chain(denoiser.schedule, steps=2), eta=0.0, variance="model", record={},
        id2label=class_names(folder),
    )  # fmt: skip
    import_model(str(tmp_path / "finetuned"), tmp_path / "imported", None, {})
    for exported in (tmp_path / "finetuned", tmp_path / "imported"):
        pipeline = DiTPipeline.from_pretrained(exported)
        assert pipeline.get_label_ids(["toilet tissue", "Tinca tinca"]) == [999, 0]
    assert class_names(base) is None
    for damaged in ({"one": "tench"}, {"1": 1}, "tench"):
        index.write_text(json.dumps({**published, "id2label": damaged}))
        with pytest.raises(UserError, match="id2label"):
            class_names(folder)


def test_as_it_is_published(base: Path, tmp_path: Path) -> None:
    """The authors' config has the class's former name and entries of other transformers, the weights a pickle."""
    folder = dit_folder(tmp_path / "model")
    config = folder / "transformer" / "config.json"
    entries = {**json.loads(config.read_text()), "_class_name": "Transformer2DModel", "cross_attention_dim": None}
    config.write_text(json.dumps({**entries, "num_vector_embeds": None, "use_linear_projection": False}))
    network = load_denoiser(folder).network
    weights = config.with_name("diffusion_pytorch_model.safetensors")
    torch.save(network.state_dict(), weights.with_suffix(".bin"))
    weights.unlink()
    assert model_fingerprint(folder) != model_fingerprint(base)
    again = load_denoiser(folder).network
    assert isinstance(again, DiTTransformer2DModel)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in network.state_dict().items())


def test_what_dit_pipeline_cannot_do_is_refused(base: Path, tmp_path: Path) -> None:
    few = dit_folder(tmp_path / "few", classes=10)
    config = Config().replace(base_model=str(few), steps=4)
    check(config)
    with pytest.raises(UserError, match="DiT models of 1000 classes"):
        check(config.replace(guidance_scale=2))
    check(config.replace(guidance_scale=1))
    with pytest.raises(UserError, match="DiTPipeline, as which a DiT is exported, knows none"):
        check(config.replace(eta=0.5))
    with pytest.raises(UserError, match="choose 4 or 6"):
        check(config.replace(base_model=str(base), steps=5, guidance_scale=2))
    with pytest.raises(UserError, match="says nothing about variance_type"):
        make_chain(load_denoiser(few).schedule, sampler="ddpm")
    shutil.copytree(few, tmp_path / "alone")
    shutil.rmtree(tmp_path / "alone" / "vae")
    (tmp_path / "alone" / "model_index.json").unlink()
    with pytest.raises(UserError, match="beside its transformer there is no vae"):
        load_denoiser(tmp_path / "alone")
    guided = make_chain(load_denoiser(few).schedule, steps=4, guidance_scale=2)
    with pytest.raises(UserError, match="guidance_scale is for class-conditional"):
        guided.sample(load_denoiser(few), torch.randn(1, 1, 2, 4, 4), torch.tensor([1]))


def test_memory_of_a_guided_step_is_of_two_evaluations(base: Path) -> None:
    plain, guided = (
        memory_estimate(Config().replace(steps=4, guidance_scale=scale), unet_config(base), 1) for scale in (None, 2)
    )
    # the two evaluations keep the latents that both start from once
    assert guided.evaluation == pytest.approx(plain.evaluation, rel=0.05)
    assert guided.replayed == 2 * guided.evaluation + guided.shared


def test_published_size() -> None:
    """DiT-XL/2 has 675 M weights (Peebles & Xie 2023, Table 4); diffusers gives each of its 28 blocks embeddings."""
    with torch.device("meta"):
        network = build_unet(known_unet_config("facebook/DiT-XL-2-256"))
        defaults = DiTTransformer2DModel(out_channels=8)
    assert {**network.config, "_use_default_values": None} == {**defaults.config, "_use_default_values": None}
    emb = network.transformer_blocks[0].norm1.emb
    shared = sum(p.numel() for p in emb.parameters())
    assert round((sum(p.numel() for p in network.parameters()) - 27 * shared) / 1e6) == 675

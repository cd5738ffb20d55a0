"""Where a learned sampler's noise levels were and are is read off what lies beside the model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.multistep.learned import LearnedChain
from mmd_ddm.diffusion.samplers import make_chain, make_learned_chain
from mmd_ddm.evaluation.figures.noise_levels import save_noise_levels
from mmd_ddm.experiment.build import Parts
from mmd_ddm.experiment.inference.drawing import models_to_compare
from mmd_ddm.experiment.inference.learned_levels import learned_levels
from mmd_ddm.experiment.presets import preset
from mmd_ddm.experiment.scoring.model_record import read_record
from mmd_ddm.pretrained.configs import scheduler_config
from mmd_ddm.pretrained.export import save_pipeline
from mmd_ddm.pretrained.load import load_denoiser
from mmd_ddm.pretrained.locate import SHIPPED

BASE = SHIPPED / "digits"
HOW = {"sampler": "deis-3", "steps": 4, "schedule": "logsnr"}


def export(folder: Path, moved: bool) -> tuple[Denoiser, LearnedChain]:
    """Write a model with a learned sampler, which may still be what it began as."""
    denoiser = load_denoiser(BASE)
    chain = make_learned_chain(denoiser.schedule, **HOW, eta=0.0, variance="model")  # type: ignore[arg-type]
    denoiser.learn(chain.learned)
    if moved:
        for parameter in chain.learned.parameters():
            nn.init.normal_(parameter, std=0.1)
    config = preset("best", "digits").replace(**HOW, learn="sampler").flat()
    save_pipeline(
        denoiser, scheduler_config(BASE), folder,
        sampler="deis-3", chain=chain, eta=0.0, variance="model", record={"config": config},
    )  # fmt: skip
    return denoiser, chain


@pytest.mark.parametrize("moved", [False, True])
def test_levels_are_read_off_the_model(moved: bool, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    denoiser, chain = export(folder, moved)
    found = learned_levels(folder, read_record(folder), BASE)
    assert found is not None
    begun, learned, told = (torch.tensor(each, dtype=torch.float64) for each in found.values())
    known = torch.logit(denoiser.schedule.alpha_bar) / 2
    torch.testing.assert_close(begun, known[list(chain.timesteps)], rtol=0, atol=1e-12)
    with torch.no_grad():
        solver, times = chain.learned.stage()
    below = times.floor().long()
    between = torch.lerp(known[below], known[(below + 1).clamp(max=len(known) - 1)], times - below)
    torch.testing.assert_close(learned, torch.logit(solver.alpha_bar) / 2, rtol=0, atol=1e-5)  # betas of float32
    torch.testing.assert_close(told, between, rtol=0, atol=1e-9)
    assert bool((learned - begun).abs().max() > 1e-2) == bool((told - learned).abs().max() > 1e-3) == moved
    assert save_noise_levels(found, tmp_path / "levels.png").stat().st_size > 1000


def test_its_base_model_is_sampled_as_it_began(tmp_path: Path) -> None:
    export(tmp_path / "model", True)
    parts = Parts(preset("paper", "digits").replace(base_model=str(tmp_path / "model"), steps=1))
    record = read_record(tmp_path / "model")
    base, model, larger = models_to_compare(parts, record, base=BASE, steps=None, large=10, images=4)
    assert (base.evaluator.nfe, model.evaluator.nfe, larger.evaluator.nfe) == (4, 4, 10)
    plain = make_chain(base.evaluator.denoiser.schedule, **HOW)  # type: ignore[arg-type]
    noise = base.evaluator.noise.draw(0, range(2), 1, (1, 8, 8))
    with torch.no_grad():
        assert torch.equal(base.evaluator.sample(range(2)), plain.sample(base.evaluator.denoiser, noise))


def test_other_models_have_none() -> None:
    assert learned_levels(BASE, read_record(BASE), BASE) is None

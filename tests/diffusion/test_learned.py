"""A learned sampler begins as the method that it learns from, and whatever it learns stays a sampler."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmd_ddm.diffusion.chain import Start
from mmd_ddm.diffusion.continuous_time import InterpolatedEmbedding, tell_between, time_of
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.multistep.learned import LearnedChain, LearnedSampler, Stage
from mmd_ddm.diffusion.multistep.methods import LEARNABLE
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain, make_learned_chain
from mmd_ddm.errors import UserError
from mmd_ddm.finetuning.gradient import Rollout
from tests.conftest import SHAPE, ToyNetwork
from tests.diffusion.cases import PREDICTIONS, cosine, evaluations_of


def learned_chain(process: NoiseSchedule, sampler: str, steps: int, schedule: str) -> LearnedChain:
    return make_learned_chain(process, sampler=sampler, steps=steps, schedule=schedule, eta=0.0, variance="model")


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", LEARNABLE)
def test_update_zero_is_the_method_itself(name: str, prediction: str, noise_schedule: NoiseSchedule) -> None:
    """The levels go through logarithms and back: rounding of float64 remains, which networks of x_0 multiply."""
    process = NoiseSchedule(noise_schedule.alpha_bar, prediction)  # type: ignore[arg-type]
    denoiser = Denoiser(ToyNetwork().double().eval(), process, SHAPE)
    for steps, schedule in ((1, "trailing"), (3, "linear"), (5, "logsnr"), (7, "karras"), (11, "quadratic")):
        learned = learned_chain(process, name, steps, schedule)
        plain = make_chain(process, sampler=name, steps=steps, schedule=schedule)
        noise = torch.randn(1, 3, *SHAPE, dtype=torch.float64)
        with torch.no_grad():
            ours, expected = learned.sample(denoiser, noise), plain.sample(denoiser, noise)
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))
        assert learned.timesteps == plain.timesteps


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_levels_and_told_times_keep_their_order(steps: int, noise_schedule: NoiseSchedule) -> None:
    for process in (noise_schedule, cosine()):
        chain = learned_chain(process, "unipc-3", steps, "trailing")
        for scale in (0.1, 1.0, 3.0):
            for parameter in chain.learned.parameters():
                nn.init.normal_(parameter, std=scale)
            solver, times = chain.learned.stage()
            assert (solver.alpha_bar.diff() > 0).all()
            assert (times.diff() <= 0).all()
            assert 0 <= float(times[-1].detach()) <= float(times[0].detach()) <= process.length - 1


def test_as_many_parameters_as_levels_twice_and_coefficients(noise_schedule: NoiseSchedule) -> None:
    """DDIM's coefficients are two a step; the last step of DPM-Solver++ has one, since it goes to the predicted x_0."""
    chain = learned_chain(noise_schedule, "ddim", 5, "linear")
    assert sum(parameter.numel() for parameter in chain.learned.parameters()) == 6 + 5 + 10
    chain = learned_chain(noise_schedule, "dpm-solver++-2m", 5, "linear")
    assert sum(parameter.numel() for parameter in chain.learned.parameters()) == 6 + 5 + (2 + 3 * 3 + 1)


def test_the_network_is_told_the_learned_times(toy: Denoiser) -> None:
    chain = learned_chain(toy.schedule, "heun-2", 5, "trailing")
    nn.init.constant_(chain.learned.offsets, 0.5)
    nn.init.normal_(chain.learned.levels, std=0.1)
    seen = evaluations_of(toy, float)
    chain.sample(toy, torch.randn(1, 2, *SHAPE, dtype=torch.float64))
    a, b, c = chain.learned.stage().times.tolist()
    assert seen == pytest.approx([a, b, b, c, c])
    assert b != round(b)


def test_time_of_a_level_is_the_inverse_of_the_process(noise_schedule: NoiseSchedule) -> None:
    lam = torch.logit(noise_schedule.alpha_bar) / 2
    whole = torch.arange(1000, dtype=torch.float64)
    assert torch.equal(time_of(lam, noise_schedule.alpha_bar), whole)
    between = time_of((lam[1:] + lam[:-1]) / 2, noise_schedule.alpha_bar)
    torch.testing.assert_close(between, whole[:-1] + 0.5)
    ends = torch.tensor([-50.0, 50.0], dtype=torch.float64)
    assert time_of(ends, noise_schedule.alpha_bar).tolist() == [999, 0]


def test_a_table_of_time_embeddings_has_straight_lines_between_its_rows() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.time_proj = nn.Embedding(4, 3).requires_grad_(False)

    network = Network()
    weight = network.time_proj.weight.clone()
    names = list(network.state_dict())
    tell_between(network)
    assert isinstance(network.time_proj, InterpolatedEmbedding)
    assert list(network.state_dict()) == names
    assert not network.time_proj.weight.requires_grad
    torch.testing.assert_close(network.time_proj(torch.tensor([0.0, 1.25, 3.0])), torch.stack(
        [weight[0], 0.75 * weight[1] + 0.25 * weight[2], weight[3]]
    ))  # fmt: skip
    assert torch.equal(network.time_proj(torch.tensor([0, 3])), weight[[0, 3]])
    tell_between(plain := ToyNetwork())
    assert not hasattr(plain, "time_proj")


@pytest.mark.parametrize(("name", "eta", "said"), [("ddpm", 0.0, "ddpm draws"), ("ddim", 0.5, "ddim with eta 0.5")])
def test_samplers_with_noise_are_refused(name: str, eta: float, said: str, noise_schedule: NoiseSchedule) -> None:
    with pytest.raises(UserError, match=f"{said}.*choose from ddim, ipndm"):
        make_learned_chain(noise_schedule, sampler=name, steps=5, schedule="linear", eta=eta, variance="model")


TABLE = {
    "_class_name": "TableScheduler", "num_train_timesteps": 2, "trained_betas": [0.1, 0.9],
    "prediction_type": "epsilon",
    "rows": [[1, [[0, 0.5], [2, 0.1]], []], [0, [[0, 2.0], [2, -1.0], [3, 0.5]], []]], "predicts": "epsilon",
}  # fmt: skip


def test_a_table_beside_a_model_is_a_chain() -> None:
    chain = make_chain(NoiseSchedule.from_scheduler_config(TABLE), sampler="learned", steps=2)
    assert chain.timesteps == (1, 0)
    denoiser = Denoiser(ToyNetwork().double().eval(), NoiseSchedule.from_scheduler_config(TABLE), SHAPE)
    noise = torch.randn(1, 2, *SHAPE, dtype=torch.float64)
    first = denoiser(noise[0], 1)
    image = 0.5 * noise[0] + 0.1 * first
    expected = 2 * image - denoiser(image, 0) + 0.5 * first
    torch.testing.assert_close(chain.sample(denoiser, noise), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rows": []}, {"rows": None}, {"predicts": "v"}, {"rows": [[2, [[0, 1.0]], []]]}, {"rows": [[0, [], []]]},
        {"rows": [[0, [[3, 1.0]], []]]}, {"rows": [[0, [[0, float("nan")]], []]]}, {"rows": [[0, [[0, "1"]], []]]},
        {"rows": [[0, [[0, 1.0]]]]}, {"rows": [0]}, {"rows": [[0, 1, []]]},
    ],
)  # fmt: skip
def test_a_damaged_table_is_one_sentence(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"table of the model's sampler .* is damaged"):
        NoiseSchedule.from_scheduler_config({**TABLE, **wrong})


def test_its_stage_is_worked_out_once_where_no_gradient_is_kept(toy: Denoiser, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same images bit for bit; as often as there are steps where a gradient is kept."""
    chain = learned_chain(toy.schedule, "deis-3", 7, "logsnr")
    for parameter in chain.learned.parameters():
        nn.init.normal_(parameter, std=0.1)
    stages, work_out = [], LearnedSampler.stage

    def counted(learned: LearnedSampler) -> Stage:
        stages.append(learned)
        return work_out(learned)

    monkeypatch.setattr(LearnedSampler, "stage", counted)
    rollout, noise = Rollout(toy, chain, nn.Flatten()), torch.randn(1, 2, *SHAPE, dtype=torch.float64)
    found, counts = [], []
    for keep in (False, True):
        for images in (lambda: chain.sample(toy, noise), lambda: rollout.trajectory(Start(noise), (0, 0))[-1].image):
            stages.clear()
            with torch.set_grad_enabled(keep):
                found.append(images().detach())
            counts.append(len(stages))
    assert counts == [1, 1, 7, 7]
    assert all(torch.equal(each, found[0]) for each in found)
    with torch.no_grad():  # and anew for the next one, since its parameters have moved
        chain.learned.levels.add_(0.5)
        assert not torch.equal(chain.sample(toy, noise), found[0])

"""The laws of a sampler, on every one that there is: chains that are finetuned through and published samplers."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from mmd_ddm.diffusion.baselines import Baseline
from mmd_ddm.diffusion.chain import Chain, State
from mmd_ddm.diffusion.denoiser import Denoiser, Prediction
from mmd_ddm.diffusion.multistep.linear_multistep import LinearMultistep
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.errors import UserError
from tests.conftest import SHAPE, Output, ToyNetwork
from tests.diffusion.cases import (
    CHAINS,
    DOCUMENTED,
    LEARNED,
    PREDICTIONS,
    SAMPLERS,
    STOCHASTIC,
    TABLES,
    OnLevels,
    cosine,
    evaluations_of,
    make,
    network_for,
    rollout,
    scheduler_of,
    scheduler_of_table,
    suited,
)

BUDGETS = (*range(1, 26), 50)


def feasible(name: str, schedule: NoiseSchedule, evaluations: int) -> Chain | Baseline | None:
    try:
        return make(name, suited(name, schedule), evaluations)
    except UserError:
        return None


class Reparametrised(nn.Module):
    """A network that says the same as another in other terms, with a second half that is none of the sampler's."""

    def __init__(self, network: nn.Module, schedule: NoiseSchedule, prediction: str) -> None:
        super().__init__()
        self.network, self.schedule, self.prediction = network, schedule, prediction

    def forward(self, image: Tensor, timestep: Tensor) -> Output:
        a = self.schedule.alpha_bar[timestep][:, None, None, None]
        epsilon, variance = self.network(image, timestep).sample.tensor_split([SHAPE[0]], dim=1)
        clean = (image - (1 - a).sqrt() * epsilon) / a.sqrt()
        terms = {"sample": clean, "v_prediction": a.sqrt() * epsilon - (1 - a).sqrt() * clean, "learned": epsilon}
        return Output(torch.cat([terms[self.prediction], clean if self.prediction == "learned" else variance], dim=1))


@pytest.mark.parametrize("name", SAMPLERS)
class TestEverySampler:
    def test_every_budget_is_met_at_the_network_or_refused_with_the_nearest(
        self, name: str, noise_schedule: NoiseSchedule
    ) -> None:
        schedule = suited(name, noise_schedule)
        denoiser = Denoiser(network_for(name), schedule, SHAPE)
        seen = evaluations_of(denoiser)
        possible = [budget for budget in range(1, 53) if feasible(name, schedule, budget)]
        for budget in BUDGETS:
            if budget in possible:
                sampler = make(name, schedule, budget)
                assert sampler.draws == (budget if name in STOCHASTIC else 1)
                seen.clear()
                images = sampler.sample(denoiser, torch.randn(sampler.draws, 2, *SHAPE))
                assert len(seen) == budget == len(sampler.timesteps)
                assert tuple(seen) == sampler.timesteps
                assert images.shape == (2, *SHAPE)
                assert torch.isfinite(images).all()
            else:
                with pytest.raises(UserError) as caught:
                    make(name, schedule, budget)
                asked, _, proposed = str(caught.value).rpartition("choose")
                near = [max((b for b in possible if b < budget), default=None), min(b for b in possible if b > budget)]
                assert re.search(rf"\b{budget}\b", asked)
                assert [int(number) for number in re.findall(r"\d+", proposed)] == [b for b in near if b is not None]

    def test_images_depend_on_the_noise_alone(self, name: str, noise_schedule: NoiseSchedule) -> None:
        """No state is left from one call to the next, no other random number is drawn, and samples do not mix."""
        schedule = suited(name, noise_schedule)
        denoiser, sampler = Denoiser(network_for(name).double(), schedule, SHAPE), make(name, schedule, 15)
        noise = torch.randn(sampler.draws, 3, *SHAPE, dtype=torch.float64)
        before, given = torch.get_rng_state(), noise.clone()
        images = sampler.sample(denoiser, noise)
        assert torch.equal(before, torch.get_rng_state())
        assert torch.equal(given, noise)
        assert images.requires_grad == (name in CHAINS)
        images = images.detach()
        assert torch.equal(images, sampler.sample(denoiser, noise))
        one = sampler.sample(denoiser, noise[:, 1:2])
        torch.testing.assert_close(one, images[1:2], rtol=0, atol=1e-6 * float(images.abs().max()))
        for k in range(sampler.draws):
            changed = noise.clone()
            changed[k] += 1
            assert not torch.allclose(sampler.sample(denoiser, changed), images), k


OTHERS = [(name, kind) for name in SAMPLERS for kind in ("sample", "v_prediction", "learned")]


@pytest.mark.parametrize(("name", "prediction"), [each for each in OTHERS if each != (LEARNED, "learned")])
def test_networks_of_other_predictions_sample_alike(name: str, prediction: str, noise_schedule: NoiseSchedule) -> None:
    schedule, network = suited(name, noise_schedule), network_for(name).double()
    kind, variance = ("epsilon", "learned_range") if prediction == "learned" else (prediction, schedule.variance_type)
    other = NoiseSchedule(schedule.alpha_bar, kind, variance)  # type: ignore[arg-type]
    samplers = make(name, schedule, 15), make(name, other, 15)
    noise = torch.randn(samplers[0].draws, 2, *SHAPE, dtype=torch.float64)
    with torch.no_grad():
        images = samplers[0].sample(Denoiser(network, schedule, SHAPE), noise)
        found = samplers[1].sample(Denoiser(Reparametrised(network, other, prediction), other, SHAPE), noise)
    # schedulers round to float32, and the first step divides by sqrt(alpha_bar) > 0.006
    tolerance = 1e-9 if name in CHAINS else 2e-5
    torch.testing.assert_close(found, images, rtol=0, atol=tolerance * float(images.abs().max()))


# a published sampler is given epsilon, whatever the network predicts
EQUAL = [(name, kind) for name in DOCUMENTED for kind in (PREDICTIONS if name in CHAINS else ("epsilon",))]


@pytest.mark.parametrize(("name", "prediction"), EQUAL)
def test_equals_the_loop_of_diffusers(name: str, prediction: str, noise_schedule: NoiseSchedule) -> None:
    budgets = {"heun": (1, 5, 7, 21), "pndm": (13, 14, 20, 21)}.get(name, (5, 7, 20, 21))
    processes, network, documented = [noise_schedule], network_for(name), DOCUMENTED[name]
    if name in CHAINS:  # others leave out what is noisiest in a cosine schedule, or space timesteps in another way
        budgets, processes = (5, 20), [noise_schedule, cosine()]
    for process, evaluations in itertools.product(processes, budgets):
        schedule = suited(name, process, prediction)
        scheduler = scheduler_of(name, schedule, evaluations)
        if name in CHAINS:
            schedule = NoiseSchedule.from_scheduler_config(scheduler.config)
            schedule = replace(schedule, alpha_bar=scheduler.alphas_cumprod.double())  # as diffusers has rounded it
        sampler = make(name, schedule, evaluations)
        assert tuple(scheduler.timesteps.int().tolist()) == sampler.timesteps
        noise = torch.randn(sampler.draws, 4, *SHAPE)
        with torch.no_grad():
            ours = sampler.sample(Denoiser(network, schedule, SHAPE), noise)
        theirs = rollout(network, scheduler, noise, **documented.extra)
        # float32 rounding, carried on by a chain whose first division is by sqrt(alpha_bar)
        tolerance = 1e-6 if documented.exact else 1e-5
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * float(theirs.abs().max()))


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("schedule", ["quadratic", "trailing", "logsnr"])
def test_tables_equal_the_schedulers_of_diffusers(name: str, schedule: str, noise_schedule: NoiseSchedule) -> None:
    """Over whole chains, on any timesteps, to rounding in float64 where diffusers can be brought to calculate in it."""
    network, exact = ToyNetwork().double().eval(), TABLES[name].exact
    denoiser = Denoiser(network, noise_schedule, SHAPE)
    for steps in (1, 2, 3, 4, 5, 9, 10, 14, 15, 20):
        if schedule == "quadratic" and steps == 1:
            continue
        evaluations = 2 * steps - 1 if name == "heun-2" else steps
        chain = make_chain(noise_schedule, sampler=name, steps=evaluations, schedule=schedule)
        times = sorted(set(chain.timesteps))
        assert len(times) == steps
        assert len(chain.timesteps) == evaluations
        scheduler = scheduler_of_table(name, noise_schedule.alpha_bar[times])
        noise = torch.randn(1, 3, *SHAPE, dtype=torch.float64)
        theirs = rollout(OnLevels(network, noise_schedule, times, v=name == "ipndm"), scheduler, noise)
        with torch.no_grad():
            ours = chain.sample(denoiser, noise)
        # the multistep DPM-Solver rounds images to float32
        tolerance = 1e-10 if exact else 1e-6
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * float(theirs.abs().max()), check_dtype=exact)


@pytest.mark.parametrize("name", CHAINS)
class TestEveryChain:
    """What finetuning needs beyond that."""

    def arguments(self, name: str) -> tuple[Tensor, ...]:
        """Of two samples: epsilon, v and noise, the image, and up to four images and predictions from before."""
        return tuple(torch.randn(2, *SHAPE, dtype=torch.float64, requires_grad=True) for _ in range(8))

    def state(self, solver: object, k: int, image: Tensor, *former: Tensor) -> State:
        """The state before the k-th step, as the solver would have made it."""
        if k == 0 or not isinstance(solver, LinearMultistep):
            return State(image)
        based, kept = solver.remembered[k - 1]
        return State(image, former[0] if based else None, former[1 : 1 + kept])

    def test_a_step_is_pure(self, name: str, noise_schedule: NoiseSchedule) -> None:
        solver, given = make(name, suited(name, noise_schedule), 5).solver, self.arguments(name)
        epsilon, v, noise, *seen = given
        before = [each.detach().clone() for each in given]
        for k in range(5):
            used = noise if solver.stochastic and k < 4 else None
            state = self.state(solver, k, *seen)
            found = solver.step(state, Prediction(epsilon, v), k, used).tensors
            again = solver.step(state, Prediction(epsilon, v), k, used).tensors
            assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
            assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))
            second, part = Prediction(epsilon[1:], v[1:]), state.map(lambda each: each[1:])
            alone = solver.step(part, second, k, None if used is None else used[1:]).tensors
            assert all(torch.equal(a, b[1:]) for a, b in zip(alone, found, strict=True))

    def test_gradient_of_a_step_by_finite_differences(self, name: str, noise_schedule: NoiseSchedule) -> None:
        solver = make(name, suited(name, noise_schedule), 5).solver

        def step(k: int, epsilon: Tensor, v: Tensor, noise: Tensor, *seen: Tensor) -> tuple[Tensor, ...]:
            used = noise if solver.stochastic and k < 4 else None
            return solver.step(self.state(solver, k, *seen), Prediction(epsilon, v), k, used).tensors

        for k in range(5):
            assert torch.autograd.gradcheck(partial(step, k), self.arguments(name), fast_mode=True)

    def test_gradient_of_a_chain_by_finite_differences(self, name: str, noise_schedule: NoiseSchedule) -> None:
        schedule = suited(name, noise_schedule)
        chain, network = make(name, schedule, 3), network_for(name).double()
        denoiser = Denoiser(network, schedule, SHAPE)
        noise = torch.randn(chain.draws, 1, *SHAPE, dtype=torch.float64, requires_grad=True)
        weights = list(network.parameters())
        assert torch.autograd.gradcheck(
            lambda noise, *weights: chain.sample(denoiser, noise), (noise, *weights), fast_mode=True
        )

    def test_perfect_denoiser_of_a_point_gives_the_point(self, name: str, noise_schedule: NoiseSchedule) -> None:
        """Data that is one point c has epsilon = (x - sqrt(a) c) / sqrt(1 - a), and the last step gives c."""
        point = torch.linspace(-1, 1, 12, dtype=torch.float64).view(SHAPE)

        class Perfect(nn.Module):
            def forward(self, image: Tensor, timestep: Tensor) -> Output:
                a = noise_schedule.alpha_bar[timestep][:, None, None, None]
                epsilon = (image - a.sqrt() * point) / (1 - a).sqrt()
                return Output(torch.cat([epsilon, torch.zeros_like(epsilon)], dim=1) if name == LEARNED else epsilon)

        schedule = suited(name, noise_schedule)
        for steps in (1, 3, 11):
            chain = make(name, schedule, steps)
            noise = torch.randn(chain.draws, 2, *SHAPE, dtype=torch.float64)
            images = chain.sample(Denoiser(Perfect(), schedule, SHAPE), noise)
            torch.testing.assert_close(images, point.expand(2, *SHAPE), rtol=0, atol=1e-10)

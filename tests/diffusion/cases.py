"""Every sampler that there is, with the scheduler of diffusers that it must equal, and networks to run it on."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple
from unittest import mock

import diffusers
import torch
from torch import Tensor, nn

from mmd_ddm.diffusion.baselines import Baseline, make_baseline
from mmd_ddm.diffusion.chain import Chain
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.names import BASELINES, MULTISTEP
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain
from tests.conftest import Output, ToyNetwork

PREDICTIONS = ("epsilon", "sample", "v_prediction")
LEARNED = "chain ddpm learned_range"
# samplers that can be finetuned through, by the settings of `make_chain`
CHAINS: dict[str, dict[str, Any]] = {
    "chain ddim eta 0": {"sampler": "ddim", "eta": 0.0},
    "chain ddim eta 0.5": {"sampler": "ddim", "eta": 0.5},
    "chain ddim eta 1": {"sampler": "ddim", "eta": 1.0},
    "chain ddpm fixed_small": {"sampler": "ddpm", "variance": "fixed_small"},
    "chain ddpm fixed_large": {"sampler": "ddpm", "variance": "fixed_large"},
    LEARNED: {"sampler": "ddpm", "variance": "learned_range"},
    **{f"chain {name}": {"sampler": name} for name in MULTISTEP},
}
SAMPLERS = (*CHAINS, *BASELINES)
STOCHASTIC = (*list(CHAINS)[1:6], "ddpm")


def make(name: str, schedule: NoiseSchedule, evaluations: int) -> Chain | Baseline:
    """A sampler by its name in `SAMPLERS`."""
    if name not in CHAINS:
        return make_baseline(name, schedule, evaluations)
    return make_chain(schedule, steps=evaluations, **CHAINS[name])


def cosine(length: int = 1000) -> NoiseSchedule:
    """Nichol & Dhariwal 2021; the last alpha_bar of 400 or 1000 is 2e-9."""
    settings = {"num_train_timesteps": length, "beta_schedule": "squaredcos_cap_v2"}
    return NoiseSchedule.from_scheduler_config(diffusers.DDPMScheduler(**settings).config)


class LearnedNetwork(nn.Module):
    """Two toys side by side: epsilon, and v of the size of a well trained network's, mostly in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.epsilon, self.variance = ToyNetwork(), ToyNetwork()

    def forward(self, image: Tensor, timestep: Tensor) -> Output:
        halves = (self.epsilon(image, timestep).sample, self.variance(image, timestep).sample)
        return Output(torch.cat(halves, dim=1))


def network_for(name: str) -> nn.Module:
    """A toy that gives a sampler all that it needs."""
    return (LearnedNetwork() if name == LEARNED else ToyNetwork()).eval()


def suited(name: str, schedule: NoiseSchedule, prediction: str = "epsilon") -> NoiseSchedule:
    """The schedule as a model's whose network predicts what the sampler needs."""
    variance = "learned_range" if name == LEARNED else "fixed_small"
    return NoiseSchedule(schedule.alpha_bar, prediction, variance)  # type: ignore[arg-type]


class Gaussian(nn.Module):
    """The exact epsilon of data N(mean, spread^2): sqrt(1-a) (x - sqrt(a) mean) / (a spread^2 + 1 - a).

    Args:
        schedule: noise levels.
        v: of a learned variance, the same for all pixels.
    """

    mean, spread = 0.4, 0.3

    def __init__(self, schedule: NoiseSchedule, v: float | None = None) -> None:
        super().__init__()
        self.alpha_bar, self.v = schedule.alpha_bar, v

    def forward(self, image: Tensor, timestep: Tensor) -> Output:
        a = self.alpha_bar[timestep][:, None, None, None]
        epsilon = (1 - a).sqrt() * (image - a.sqrt() * self.mean) / (a * self.spread**2 + 1 - a)
        return Output(epsilon if self.v is None else torch.cat([epsilon, torch.full_like(epsilon, self.v)], dim=1))

    def flow(self, image: Tensor, start: float, end: float) -> Tensor:
        """Along the probability flow x_t keeps its number of standard deviations from the mean of q(x_t)."""
        deviations = [math.sqrt(a * self.spread**2 + 1 - a) for a in (start, end)]
        return math.sqrt(end) * self.mean + (image - math.sqrt(start) * self.mean) / deviations[0] * deviations[1]


class Documented(NamedTuple):
    """A scheduler as its documentation has it; the arguments that the process fixes are added by `scheduler_of`."""

    kind: str
    settings: Mapping[str, object]
    extra: Mapping[str, float] = {}
    exact: bool = True  # the same operations in the same order, to float32 rounding


_DDIM = Documented("DDIMScheduler", {"clip_sample": False})
DOCUMENTED: dict[str, Documented] = {
    **{name: _DDIM._replace(extra={"eta": s["eta"]}, exact=False) for name, s in CHAINS.items() if "eta" in s},
    **{
        name: Documented("DDPMScheduler", {"clip_sample": False, "variance_type": s["variance"]}, exact=False)
        for name, s in CHAINS.items()
        if "variance" in s
    },
    "ddpm": Documented("DDPMScheduler", {"clip_sample": False, "variance_type": "fixed_small"}, exact=False),
    "ddim": _DDIM,
    "pndm": Documented("PNDMScheduler", {"set_alpha_to_one": True}),
    "plms": Documented("PNDMScheduler", {"set_alpha_to_one": True, "skip_prk_steps": True}),
    "dpm-solver-1": Documented(
        "DPMSolverMultistepScheduler",  # another class of theirs for the same formula
        {"algorithm_type": "dpmsolver", "solver_order": 1, "final_sigmas_type": "sigma_min"},
        exact=False,
    ),
    "dpm-solver-2": Documented(
        "DPMSolverSinglestepScheduler",
        {"algorithm_type": "dpmsolver", "solver_order": 2, "final_sigmas_type": "sigma_min"},
    ),
    "dpm-solver++": Documented("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "unipc": Documented(
        "UniPCMultistepScheduler", {"solver_order": 3, "solver_type": "bh2", "final_sigmas_type": "sigma_min"}
    ),
    "deis": Documented("DEISMultistepScheduler", {"solver_order": 3}),
    "heun": Documented("HeunDiscreteScheduler", {"timestep_spacing": "trailing"}),
}


def scheduler_of(name: str, schedule: NoiseSchedule, evaluations: int, timesteps: list[int] | None = None) -> Any:
    """The scheduler of `DOCUMENTED` for a budget, or for timesteps of its own, set."""
    steps = {"heun": (evaluations + 1) // 2, "pndm": evaluations - 9, "plms": evaluations - 1}.get(name, evaluations)
    kind, settings = DOCUMENTED[name].kind, dict(DOCUMENTED[name].settings)
    alpha_bar = [1.0, *schedule.alpha_bar.tolist()]
    betas = [1 - after / before for before, after in pairwise(alpha_bar)]
    if name == "unipc" and steps < 10:
        settings["solver_type"] = "bh1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a deprecated algorithm type, and NumPy's of torch
        scheduler = getattr(diffusers, kind)(
            **settings, trained_betas=betas, num_train_timesteps=len(betas), prediction_type=schedule.prediction_type
        )
        if timesteps is None:
            scheduler.set_timesteps(steps)
        else:
            scheduler.set_timesteps(timesteps=timesteps)
    return scheduler


_ZERO = 1e-30  # the end has no noise, which some formulas of diffusers reach in the limit alone
_PP = {"algorithm_type": "dpmsolver++"}
_NOISE = {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}
TABLES: dict[str, Documented] = {
    "ipndm": Documented("IPNDMScheduler", {}),
    "dpm-solver++-2m": Documented("DPMSolverMultistepScheduler", {**_PP, "solver_order": 2}, exact=False),
    "dpm-solver++-3m": Documented("DPMSolverMultistepScheduler", {**_PP, "solver_order": 3}, exact=False),
    "dpm-solver++-2s": Documented("DPMSolverSinglestepScheduler", {**_PP, "lower_order_final": True}),
    "dpm-solver-2s": Documented("DPMSolverSinglestepScheduler", {**_NOISE, "lower_order_final": True}),
    "unipc-2": Documented("UniPCMultistepScheduler", {"timestep_spacing": "trailing", "solver_order": 2}),
    "unipc-3": Documented("UniPCMultistepScheduler", {"timestep_spacing": "trailing", "solver_order": 3}),
    "deis-2": Documented("DEISMultistepScheduler", {"timestep_spacing": "trailing", "solver_order": 2}),
    "deis-3": Documented("DEISMultistepScheduler", {"timestep_spacing": "trailing", "solver_order": 3}),
    "heun-2": Documented("HeunDiscreteScheduler", {"timestep_spacing": "leading"}),
}


def scheduler_of_table(name: str, levels: Tensor) -> Any:
    """The scheduler of `TABLES` on the process of just a chain's levels, (L,) decreasing alpha_bar, set; in float64.

    Its timesteps L-1 ... 0 are the levels from the noisiest on.
    """
    settings, order = dict(TABLES[name].settings), list(range(len(levels) - 1, -1, -1))
    sigma = ((1 - levels) / levels).sqrt()
    if name == "ipndm":  # it takes noise levels for betas
        settings = {"trained_betas": [*(1 - levels).sqrt().flip(0).tolist(), 0.0]}
    else:
        settings["trained_betas"] = (1 - levels / torch.cat([levels.new_ones(1), levels[:-1]])).tolist()
    if name.startswith("unipc"):
        settings["solver_type"] = "bh1" if len(levels) < 10 else "bh2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = getattr(diffusers, TABLES[name].kind)(num_train_timesteps=len(levels), **settings)
        if name.startswith("dpm"):
            scheduler.set_timesteps(timesteps=order)
        else:
            scheduler.set_timesteps(len(levels))
    if name == "ipndm":
        scheduler.betas = torch.tensor(settings["trained_betas"], dtype=torch.float64)
        scheduler.alphas = (1 - scheduler.betas**2).sqrt()
        scheduler.timesteps = torch.tensor(order)
    elif name == "heun-2":
        double = torch.cat([sigma.flip(0), sigma.new_zeros(1)])
        scheduler.sigmas = torch.cat([double[:1], double[1:-1].repeat_interleave(2), double[-1:]])
        scheduler.timesteps = scheduler.timesteps.long()
    else:
        scheduler.sigmas = torch.cat([sigma.flip(0), sigma.new_tensor([_ZERO if TABLES[name].exact else 0.0])])
    return scheduler


class OnLevels(nn.Module):
    """A network on the process of some timesteps of its own alone; for iPNDM's scheduler it predicts v."""

    def __init__(self, network: nn.Module, schedule: NoiseSchedule, timesteps: list[int], v: bool) -> None:
        super().__init__()
        self.network, self.alpha_bar, self.timesteps, self.v = network, schedule.alpha_bar, timesteps, v

    def forward(self, image: Tensor, timestep: Tensor) -> Output:
        times = torch.tensor(self.timesteps)[timestep]
        epsilon = self.network(image, times).sample
        a = self.alpha_bar[times][:, None, None, None]
        v = (epsilon - (1 - a).sqrt() * image) / a.sqrt()
        return Output(v if self.v else epsilon)


def rollout(network: nn.Module, scheduler: Any, noise: Tensor, **extra: float) -> Tensor:
    """The loop of diffusers' pipelines, with given noise."""
    queue = iter(noise[1:])

    def draw(*arguments: object, **settings: object) -> Tensor:
        return next(queue, torch.zeros(()))

    image = noise[0] * scheduler.init_noise_sigma
    module = type(scheduler).__module__
    with torch.no_grad(), warnings.catch_warnings(), mock.patch(f"{module}.randn_tensor", draw, create=True):
        warnings.simplefilter("ignore")  # NumPy's of torch
        for t in scheduler.timesteps:
            output = network(scheduler.scale_model_input(image, t), t.expand(len(image))).sample
            image = scheduler.step(output, t, image, **extra).prev_sample
    return image


def evaluations_of(denoiser: Denoiser, kind: type[float] = int) -> list[Any]:
    """A list that gets the timestep of every evaluation of the network from now on."""
    seen: list[Any] = []
    denoiser.network.register_forward_pre_hook(lambda module, inputs: seen.append(kind(inputs[1][0].detach())))
    return seen

"""The process of a chain's levels alone, and the network of it (Nichol & Dhariwal 2021, Section 4).

The respaced process has the length S and its alpha_bar_i is the original's at tau_i. Its network is the original one
but for what it is told at step i: a row of a table, which is the original embedding of tau_i, the noise level of a
network that knows those, or the time itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from mmd_ddm.diffusion.chain import Chain, Solver
from mmd_ddm.diffusion.multistep.learned import LearnedChain
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.pretrained.network_classes import knows_sigma

if TYPE_CHECKING:
    from diffusers import UNet2DModel


class Levels(NamedTuple):
    """What a chain goes through.

    Attributes:
        solver: its steps, those of a learned sampler as they are now.
        times: what its network is told, increasing.
        alpha_bar: values of alpha_bar at them, decreasing.
        is_learned: whether a level and what is told of it may differ.
    """

    solver: Solver
    times: tuple[float, ...]
    alpha_bar: Tensor
    is_learned: bool


def levels_of(chain: Chain, schedule: NoiseSchedule) -> Levels:
    """Return the levels of a chain, without gradient."""
    if isinstance(chain, LearnedChain):
        with torch.no_grad():
            solver, told = chain.learned.stage()
        return Levels(solver, tuple(told.flip(0).tolist()), solver.alpha_bar.flip(0), True)
    times = tuple[float, ...](sorted(set(chain.timesteps)))
    if chain.levels is None:
        alpha_bar = schedule.alpha_bar[sorted({int(t) for t in chain.timesteps})]
    else:
        alpha_bar = torch.tensor(sorted(set(chain.levels), reverse=True), dtype=torch.float64)
    return Levels(chain.solver, times, alpha_bar, False)


def is_leading(timesteps: tuple[float, ...], length: int) -> bool:
    """Whether diffusers' `leading` spacing gives just these timesteps, in increasing order."""
    ratio = length // len(timesteps)
    return timesteps == tuple(i * ratio for i in range(len(timesteps)))


def respaced(network: UNet2DModel, levels: Levels) -> UNet2DModel:
    """Return a network of the process that has these levels alone; it shares the other weights."""
    from diffusers import DiTTransformer2DModel

    from mmd_ddm.pretrained.respaced_dit import RespacedDiTTransformer2DModel

    config: dict[str, object] = {"num_train_timesteps": len(levels.times)}
    told = torch.tensor(levels.times, device=network.device)
    if knows_sigma(network):
        sigmas = ((1 - levels.alpha_bar) / levels.alpha_bar).sqrt().to(network.sigmas)
        return _rebuilt(network, config, {"sigmas": network.log_sigma(told).exp() if levels.is_learned else sigmas})
    if isinstance(network, DiTTransformer2DModel):
        kind = RespacedDiTTransformer2DModel
        times = network.times_of(told) if isinstance(network, kind) else told
        return _rebuilt(network, config, {"times": times}, kind)
    table = {"time_proj.weight": network.time_proj(told).detach()}
    return _rebuilt(network, {**config, "time_embedding_type": "learned"}, table)


def without_variance(network: UNet2DModel, channels: int) -> UNet2DModel:
    """Return a network whose output is the first `channels` of its outputs alone, the prediction of epsilon."""
    head = network.get_submodule("conv_out").state_dict()
    cut = {f"conv_out.{name}": value[:channels] for name, value in head.items()}
    return _rebuilt(network, {"out_channels": channels}, cut)


def _rebuilt(
    network: UNet2DModel,
    changes: Mapping[str, object],
    weights: Mapping[str, Tensor],
    kind: type[UNet2DModel] | None = None,
) -> UNet2DModel:
    """A network with another config and, where one is named, class, and with some other weights; the rest is shared."""
    # not `from_config`: it drops a change of what the config had left out, which a private entry lists
    config = {key: value for key, value in network.config.items() if not key.startswith("_")}
    with torch.device("meta"):
        rebuilt = (kind or type(network))(**{**config, **changes})
    replaced = {name: value.to(network.dtype) for name, value in weights.items()}
    rebuilt.load_state_dict({**network.state_dict(), **replaced}, assign=True)
    if hasattr(network, "pos_embed"):
        rebuilt.pos_embed = network.pos_embed  # has numbers that are neither weights nor in the config
    return rebuilt.eval()

"""Networks of the hub that are known before they are there, at their true size."""

from __future__ import annotations

import pytest
import torch

from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.cost import memory_estimate
from mmd_ddm.pretrained.catalogue import LEFT_OUT
from mmd_ddm.pretrained.formats.architecture import build_unet, unet_shapes
from mmd_ddm.pretrained.known_unets import known_unet_config
from mmd_ddm.pretrained.load import flow_network

GOOGLE = [name for name in LEFT_OUT if name.startswith("google/")]


@pytest.mark.parametrize("name", GOOGLE)
def test_those_of_ho_et_al_have_their_published_sizes(name: str) -> None:
    """Ho et al. 2020, Appendix B: 35.7 million weights for CIFAR-10, 114 million at 256 x 256."""
    config = known_unet_config(name)
    assert config is not None
    resolution, millions = (32, 35.7) if "cifar10" in name else (256, 113.7)
    assert config["sample_size"] == resolution
    count = sum(torch.Size(shape).numel() for shape in unet_shapes(config).values())
    assert round(count / 1e6, 1) == millions


def test_a_true_size_of_flow_matching_goes_through_the_chain_and_is_estimated() -> None:
    config = known_unet_config("google/ddpm-cifar10-32")
    assert config is not None
    process = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 1.0}
    schedule = NoiseSchedule.from_scheduler_config(process)
    with torch.device("meta"):
        network = flow_network(build_unet(config), schedule)
        chain = make_chain(schedule, sampler="deis-3", steps=3, schedule="trailing")
        images = chain.sample(Denoiser(network, schedule, (3, 32, 32)), torch.empty(1, 2, 3, 32, 32))
    assert images.shape == (2, 3, 32, 32)
    exported = memory_estimate(Config().replace(batch=4, schedule="trailing"), network.config, 1)
    assert exported.parameters == memory_estimate(Config().replace(batch=4), config, 1).parameters == 35_746_307

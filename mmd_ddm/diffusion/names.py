"""The samplers and processes by name, apart from what they compute; their schedules are in `timesteps`."""

from __future__ import annotations

from collections.abc import Mapping

MULTISTEP = (  # deterministic ones that are tables, see `multistep.methods.METHODS`
    "ipndm", "dpm-solver++-2m", "dpm-solver++-3m", "dpm-solver++-2s", "dpm-solver-2s", "unipc-2", "unipc-3", "deis-2",
    "deis-3", "heun-2",
)  # fmt: skip
LEARNED = "learned"  # the one that lies beside a model whose sampler was finetuned too
SAMPLERS = ("ddim", "ddpm", LEARNED, *MULTISTEP)  # those that finetuning goes through
TWICE = ("heun-2",)  # those that evaluate all timesteps but the first twice, and so an odd number of times
VARIANCES = ("model", "fixed_small", "fixed_large", "learned_range")  # of ddpm
BASELINES = (  # to compare with, see `published_samplers.PUBLISHED`
    "ddpm", "ddim", "pndm", "plms", "dpm-solver-1", "dpm-solver-2", "dpm-solver-2-logsnr", "dpm-solver++",
    "dpm-solver++-logsnr", "unipc", "deis", "heun",
)  # fmt: skip
FLOW_SCHEDULE = "trailing"  # from the end of flow matching on: elsewhere too much of an image is there
FLOW_MATCHING = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")  # classes of diffusers


def is_flow_matching(config: Mapping[str, object]) -> bool:
    """Whether the content of a `scheduler_config.json` is that of a model that was trained by flow matching."""
    return config.get("_class_name") in FLOW_MATCHING

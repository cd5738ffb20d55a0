"""The samplers by name, apart from what they compute; their schedules are in `timesteps`."""

from __future__ import annotations

SAMPLERS = ("ddim", "ddpm")  # those that finetuning goes through
VARIANCES = ("model", "fixed_small", "fixed_large", "learned_range")  # of ddpm
BASELINES = (  # to compare with, see `published_samplers.PUBLISHED`
    "ddpm", "ddim", "pndm", "plms", "dpm-solver-1", "dpm-solver-2", "dpm-solver-2-logsnr", "dpm-solver++",
    "dpm-solver++-logsnr", "unipc", "deis", "heun",
)  # fmt: skip

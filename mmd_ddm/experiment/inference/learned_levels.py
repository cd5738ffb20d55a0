"""Where a learned sampler has moved its noise levels to, and what it tells the network of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmd_ddm.diffusion.names import LEARNED
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.experiment.scoring.model_record import ModelRecord
from mmd_ddm.pretrained.configs import scheduler_config
from mmd_ddm.pretrained.record import RECORD
from mmd_ddm.records import read_record


def learned_levels(folder: Path, record: ModelRecord, base: Path | None) -> dict[str, list[float]] | None:
    """Half the log-SNR of each level, the noisiest first: as it began, as it was learned, and as the network is told.

    Args:
        folder: of the model.
        record: of the same.
        base: folder of the model that it was finetuned from, or none.

    Returns:
        By what they are; None if its sampler was not learned, or its base model isn't there.
    """
    if record.sampler.sampler != LEARNED or record.config is None or base is None:
        return None
    of_base, how = NoiseSchedule.from_scheduler_config(scheduler_config(base)), record.config.sampler
    begun = sorted(set(make_chain(of_base, **vars(how)).timesteps), reverse=True)
    now = NoiseSchedule.from_scheduler_config(scheduler_config(folder)).alpha_bar.flip(0)
    times = read_record(folder / RECORD, "export the model again").reals("timesteps")
    known = _half_log_snr(of_base.alpha_bar).numpy()
    first, told = (np.interp(each, range(len(known)), known).tolist() for each in (begun, times[::-1]))
    return {
        f"{how.sampler}, {how.schedule}": first,
        "learned": _half_log_snr(now).tolist(),
        "told to the network": told,
    }


def _half_log_snr(alpha_bar: Tensor) -> Tensor:
    return torch.logit(alpha_bar) / 2

"""How long a study will take, told before it begins."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import torch

from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.pace import Pace, measure_pace
from mmd_ddm.experiment.scoring.scored_model import LARGER
from mmd_ddm.experiment.tracking.store import shown_line
from tune.study.format import duration
from tune.study.settings import Machines, SearchSettings

_log = logging.getLogger(__name__)


def forecast_search(settings: SearchSettings, trials: int, at_once: int) -> str | None:
    """Measure how fast the machine is, and say how long some trials, so many at once, and the final scores will take.

    None where it can't be measured: that is no reason not to try.
    """
    pace = _pace(settings.widest, settings.machines)
    if pace is None:
        return None
    run, final = pace.run(settings.widest, settings.machines.processes), _final_seconds(settings, pace) / at_once
    whole = math.ceil(trials / at_once) * run + final
    return (
        f"at most about {duration(whole)}: {duration(run)} a whole trial, {at_once} at once, and {duration(final)} the "
        "final scores; less as bad trials are stopped"
    )


def forecast_cells(configs: Sequence[Config], machines: Machines, at_once: int) -> str | None:
    """Say how long the runs of an ablation will take, before their final scores; None where it can't be measured."""
    if not configs or (pace := _pace(configs[0], machines)) is None:
        return None
    seconds = [pace.run(config, machines.processes) for config in configs]
    return (
        f"about {duration(max(max(seconds), sum(seconds) / at_once))} before the final scores, {at_once} runs at once"
    )


def _final_seconds(settings: SearchSettings, pace: Pace) -> float:
    """Those of the winner, and of the base model at its budget, at that of the first trial, and at larger ones."""
    steps = settings.widest.sampler.steps
    budgets = [steps, steps, steps, *(larger for larger in LARGER if larger > steps)]
    return sum(pace.scored(settings.final_images, nfe) for nfe in budgets)


def _pace(config: Config, machines: Machines) -> Pace | None:
    """Measured where trials will run: this process has no GPU of its own."""
    import ray

    try:
        if not machines.gpus:
            return measure_pace(config, machines.cpus, torch.device("cpu"))
        task = ray.remote(num_cpus=machines.cpus, num_gpus=machines.gpus)(measure_pace)
        found: Pace = ray.get(task.remote(config, machines.cpus))
        return found
    except Exception as error:  # of memory, of Ray: the trials will tell it
        _log.warning("How long the study will take is not known (%s)", shown_line(error))
        return None

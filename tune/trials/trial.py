"""One trial, as Ray Tune runs it: a run of Ray Train, with workers or in Tune's own process.

In Tune's own process (no workers: Ray Train's local mode) a stopped trial ends inside its report, where Ray raises
SystemExit, and the process with everything it has imported takes the next trial. With workers Ray kills the processes.
"""

from __future__ import annotations

import fcntl
import json
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmd_ddm.experiment.distributed.train import Job, fit
from mmd_ddm.experiment.run_folder import write_json
from tune.study.folder import Study

STUDY = "study"  # key of the folder in what Tune hands to a trial
FAILURE = "failure.txt"


def run_trial(settings: dict[str, Any]) -> None:
    """Run the trial `settings["number"]` of the study in the folder `settings["study"]`; Ray Tune's trainable."""
    study, number = Study.open(Path(settings[STUDY]), kind=None), int(settings["number"])
    failure = study.trial_folder(number) / FAILURE
    failure.unlink(missing_ok=True)
    try:
        _fit(study, number)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        failure.write_text(f"{reason}\n\n{traceback.format_exc()}")
        raise


def _fit(study: Study, number: int) -> None:
    from ray.tune.integration.ray_train import TuneReportCallback

    settings = study.settings
    job = Job(
        study.trial_config(number),
        str(study.trial_folder(number)),
        threads=settings.cpus,
        baseline=Baseline(*study.baseline(number)),
    )
    fit(job, workers=settings.workers, gpus_per_worker=settings.gpus, callbacks=[TuneReportCallback])


class Baseline:
    """The base model's scores, measured by the first trial that asks and shared by all that divide by them.

    Args:
        file: Where they are kept.
        config: Leaves of the configuration with which they are measured.
    """

    def __init__(self, file: Path, config: Mapping[str, Any]) -> None:
        self._file, self._config = file, dict(config)

    def __call__(self) -> dict[str, float]:
        """Read the scores, or measure them while the other trials wait."""
        file = self._file
        file.parent.mkdir(exist_ok=True)
        with file.with_name(f".{file.stem}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # released by the system if this process dies
            if not file.exists():
                write_json(file, _measure(self._config))
            found: dict[str, float] = json.loads(file.read_text())
        return found


def _measure(leaves: Mapping[str, Any]) -> dict[str, float]:
    import torch

    from mmd_ddm.discrepancy.collective import SingleCollective
    from mmd_ddm.experiment.build import Parts
    from mmd_ddm.experiment.config import Config

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    parts = Parts(Config.from_flat(leaves), device, SingleCollective())
    return parts.evaluator(parts.denoiser.eval())

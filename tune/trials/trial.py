"""One trial, as Ray Tune runs it: a run of Ray Train, with workers or in Tune's own process.

In Tune's own process (no workers: Ray Train's local mode) a stopped trial ends inside its report, where Ray raises
SystemExit, and the process with everything it has imported takes the next trial. With workers Ray kills the processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from mmd_ddm.evaluation.metrics import Metrics, flat, read_metrics
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.distributed.shared_storage import await_folder
from mmd_ddm.experiment.distributed.train import Job, fit
from mmd_ddm.experiment.interruption import asked_to_stop
from mmd_ddm.experiment.run_folder import read_scorings
from mmd_ddm.files import locked, write_json
from mmd_ddm.records import read_record
from tune.study.folder import AnyStudy, open_any
from tune.trials.ending import begin, leave_interrupted, leave_word


class TrialSettings(TypedDict):
    """What Tune hands to a trial: the study's folder, the trial's number, and its budget, for early stopping."""

    study: str
    number: int
    steps: int


def run_trial(settings: TrialSettings) -> None:
    """Run a trial; Ray Tune's trainable.

    An error is left in the trial's folder and not raised: what Tune sees fail is a process that died.
    """
    await_folder(Path(settings["study"]))
    study, number = open_any(Path(settings["study"])), settings["number"]
    folder = study.trial_folder(number)
    begin(folder)
    try:
        _fit(study, number)
    except Exception as error:
        leave_word(folder, error)
        return
    scorings = read_scorings(folder)
    if asked_to_stop(study.folder) and (not scorings or scorings[-1].update < study.trial(number).planned):
        leave_interrupted(folder)


def _fit(study: AnyStudy, number: int) -> None:
    from ray.tune.integration.ray_train import TuneReportCallback

    machines, config = study.settings.machines, study.trial(number).config
    baseline = Baseline(*study.baseline(config))
    folder, asked = str(study.trial_folder(number)), str(study.folder)
    job = Job(config, folder, threads=machines.cpus, baseline=baseline, asked=asked)
    fit(job, workers=machines.workers, gpus_per_worker=machines.gpus, callbacks=[TuneReportCallback])


@dataclass(frozen=True)
class Baseline:
    """The base model's scores, measured by the first trial that asks and shared by all that are relative to them."""

    file: Path  # where they are kept
    config: Config  # how they are measured

    def __call__(self) -> Metrics:
        """Read the scores, or measure them while the other trials wait."""
        from mmd_ddm.experiment.build import Parts
        from mmd_ddm.experiment.scoring.score import open_model, score
        from mmd_ddm.experiment.scoring.scored_model import ADVICE, BASE, ScoredModel

        with locked(self.file.with_name(f".{self.file.stem}.lock")):
            if not self.file.exists():
                model, images = ScoredModel(BASE, self.config.sampler), self.config.scoring.score_images
                write_json(self.file, flat(score(open_model(Parts(self.config), model, images=images), model).metrics))
            return read_metrics(read_record(self.file, ADVICE).numbers())

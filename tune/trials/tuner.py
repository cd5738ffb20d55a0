"""Trials run by Ray Tune, for the search and for ablations alike."""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Sequence

import ray
import ray.tune

from mmd_ddm.experiment.distributed.train import RAY_FOLDER
from tune.study.folder import AnyStudy
from tune.study.settings import Machines
from tune.trials.asha import Halving
from tune.trials.callback import Recorder
from tune.trials.optuna_searcher import StudySearcher
from tune.trials.trial import run_trial


def fitting(machines: Machines) -> int:
    """Return how many trials fit on the machines at once, at least 1."""
    there = ray.cluster_resources()
    return max(1, min(int(there.get(name, 0) / amount) for name, amount in machines.of_a_trial.items() if amount))


def run_search_trials(
    study: AnyStudy, recorder: Recorder, concurrent: int, searcher: StudySearcher, stopping: Halving, trials: int
) -> None:
    """Run so many trials that a searcher suggests, some at once; bad ones are stopped early."""
    config = ray.tune.TuneConfig(search_alg=searcher, scheduler=stopping, num_samples=trials)
    _run(study, recorder, concurrent, config, {})


def run_given_trials(study: AnyStudy, recorder: Recorder, concurrent: int, numbers: Sequence[int]) -> None:
    """Run trials that are written down already, in their order, each to its end."""
    _run(study, recorder, concurrent, ray.tune.TuneConfig(), {"number": ray.tune.grid_search(list(numbers))})


def _run(
    study: AnyStudy, recorder: Recorder, concurrent: int, config: ray.tune.TuneConfig, given: dict[str, object]
) -> None:
    """Run trials until none is left; a failed one is recorded and doesn't stop the others."""
    machines = study.settings.machines
    # a trial that only drives workers must ask for something, and a share of a CPU would keep a worker out
    own = {"CPU": machines.cpus, "GPU": machines.gpus} if machines.workers == 0 else {"memory": 2**20}
    config.max_concurrent_trials = concurrent
    # a new process costs as much as a short trial; Ray Train's processes can't be used twice
    config.reuse_actors = machines.workers == 0
    config.trial_dirname_creator = lambda trial: str(trial.trial_id)
    tuner = ray.tune.Tuner(
        ray.tune.with_resources(run_trial, {name: amount for name, amount in own.items() if amount}),
        param_space={"study": str(study.folder), **given},
        tune_config=config,
        run_config=ray.tune.RunConfig(  # of a new name: Tune's own memory is not used, see optuna_searcher.py
            name=uuid.uuid4().hex, storage_path=str(study.folder / RAY_FOLDER), callbacks=[recorder], verbose=0
        ),
    )
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a failed trial is told in one line, its folder has all
    tuner.fit()
    shutil.rmtree(study.folder / RAY_FOLDER, ignore_errors=True)

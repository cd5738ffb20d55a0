"""Trials run by Ray Tune, for the search and for ablations alike."""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Callable
from typing import Any

from mmd_ddm.experiment.distributed.train import RAY_FOLDER
from tune.study.folder import Settings, Study
from tune.trials.callback import Recorder
from tune.trials.trial import STUDY


def needed(settings: Settings) -> dict[str, float]:
    """Return the CPUs and GPUs that one trial takes."""
    processes = max(1, settings.workers)
    return {"CPU": processes * settings.cpus, "GPU": processes * settings.gpus}


def fitting(settings: Settings) -> int:
    """Return how many trials fit on the machines at once, at least 1."""
    import ray

    there = ray.cluster_resources()
    return max(1, min(int(there.get(name, 0) / amount) for name, amount in needed(settings).items() if amount))


def run_trials(
    trainable: Callable[[dict[str, Any]], None],
    study: Study,
    recorder: Recorder,
    concurrent: int,
    *,
    given: dict[str, Any] | None = None,
    **tune_config: Any,
) -> None:
    """Run trials until none is left; a failed one is recorded and doesn't stop the others.

    Args:
        trainable: Runs one trial: `tune.trials.trial.run_trial`.
        study: Whose.
        recorder: Told what happens.
        concurrent: Trials at once.
        given: What each trial is handed, beside the study's folder and what a searcher suggests.
        tune_config: Further arguments of `ray.tune.TuneConfig`.
    """
    import ray.tune

    settings = study.settings
    # a trial that only drives workers must ask for something, and a share of a CPU would keep a worker out
    own = {"CPU": settings.cpus, "GPU": settings.gpus} if settings.workers == 0 else {"memory": 2**20}
    tuner = ray.tune.Tuner(
        ray.tune.with_resources(trainable, {name: amount for name, amount in own.items() if amount}),
        param_space={STUDY: str(study.folder), **(given or {})},
        tune_config=ray.tune.TuneConfig(
            max_concurrent_trials=concurrent,
            # a new process costs as much as a short trial; Ray Train's processes can't be used twice
            reuse_actors=settings.workers == 0,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
            **tune_config,
        ),
        run_config=ray.tune.RunConfig(
            name=uuid.uuid4().hex,  # Tune's own memory is not used, see tune/trials/optuna_searcher.py
            storage_path=str(study.folder / RAY_FOLDER),
            callbacks=[recorder],
            verbose=0,
        ),
    )
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a failed trial is told in one line, its folder has all
    tuner.fit()
    shutil.rmtree(study.folder / RAY_FOLDER, ignore_errors=True)

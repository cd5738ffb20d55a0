"""Trials run by Ray Tune, for the search and for ablations alike."""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Callable, Sequence

import ray.tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.basic_variant import BasicVariantGenerator

from mmd_ddm.experiment.distributed.nodes import NODE_ID, own_node
from mmd_ddm.experiment.distributed.retry import RETRIES
from mmd_ddm.experiment.distributed.train import RAY_FOLDER
from tune.study.folder import AnyStudy
from tune.study.needed import needed_files
from tune.trials.asha import Halving
from tune.trials.callback import Recorder
from tune.trials.concurrency import Concurrency, FollowNodes
from tune.trials.nodes import StudyNodes
from tune.trials.optuna_searcher import StudySearcher
from tune.trials.trial import run_trial


def run_search_trials(
    study: AnyStudy,
    recorder: Recorder,
    concurrency: Concurrency,
    searcher: StudySearcher,
    stopping: Halving,
    trials: int,
) -> None:
    """Run so many trials that a searcher suggests, some at once; bad ones are stopped early."""
    proposer = ConcurrencyLimiter(searcher, max_concurrent=concurrency.now())
    config = ray.tune.TuneConfig(search_alg=proposer, scheduler=stopping, num_samples=trials)
    _run(study, [recorder, _follow_nodes(study, recorder, proposer, concurrency)], config, {})


def run_given_trials(
    study: AnyStudy, recorder: Recorder, concurrency: Concurrency, numbers: Sequence[int], asked: Callable[[], bool]
) -> None:
    """Run trials that are written down already, in their order, each to its end, until `asked` to begin no more."""
    proposer = BasicVariantGenerator(max_concurrent=concurrency.now())
    given = {"number": ray.tune.grid_search(list(numbers))}
    callbacks = [recorder, _follow_nodes(study, recorder, proposer, concurrency), _BeginNoMore(proposer, asked)]
    _run(study, callbacks, ray.tune.TuneConfig(search_alg=proposer), given)


def _follow_nodes(
    study: AnyStudy, recorder: Recorder, proposer: ConcurrencyLimiter | BasicVariantGenerator, concurrency: Concurrency
) -> FollowNodes:
    needed = list(needed_files(study.settings.config))
    nodes = StudyNodes(study.folder, study.settings.machines, recorder.console.say, needed)
    return FollowNodes(proposer, concurrency, nodes)


class _BeginNoMore(ray.tune.Callback):  # type: ignore[misc]  # Ray is not typed
    """Has no further trial begun once that is asked for."""

    def __init__(self, proposer: BasicVariantGenerator, asked: Callable[[], bool]) -> None:
        self._proposer, self._asked = proposer, asked

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (ray.tune.Callback, ())

    def on_step_begin(self, iteration: int, trials: list[TuneTrial], **info: object) -> None:
        if self._asked():
            self._proposer.set_finished()


def _run(
    study: AnyStudy, callbacks: list[ray.tune.Callback], config: ray.tune.TuneConfig, given: dict[str, object]
) -> None:
    """Run trials until none is left; a failed one is recorded and doesn't stop the others."""
    machines = study.settings.machines
    if machines.workers == 0:
        own = ray.tune.PlacementGroupFactory([machines.process])
    else:
        # it only drives workers, but must ask for something, of which a share of a CPU would keep a worker out; here,
        # where no other node takes it along that leaves
        own = ray.tune.PlacementGroupFactory([{"memory": 2**20}], bundle_label_selector=[{NODE_ID: own_node()}])
    # a new process costs as much as a short trial; Ray Train's processes can't be used twice
    config.reuse_actors = machines.workers == 0
    config.trial_dirname_creator = lambda trial: str(trial.trial_id)
    tuner = ray.tune.Tuner(
        ray.tune.with_resources(run_trial, own),
        param_space={"study": str(study.folder), **given},
        tune_config=config,
        run_config=ray.tune.RunConfig(  # of a new name: Tune's own memory is not used, see optuna_searcher.py
            name=uuid.uuid4().hex,
            storage_path=str(study.folder / RAY_FOLDER),
            callbacks=callbacks,
            verbose=0,
            failure_config=ray.tune.FailureConfig(max_failures=RETRIES),
        ),
    )
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a failed trial is told in one line, its folder has all
    tuner.fit()
    shutil.rmtree(study.folder / RAY_FOLDER, ignore_errors=True)

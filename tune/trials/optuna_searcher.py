"""Optuna behind Ray Tune: what is tried next, and what is remembered of it.

Everything is kept in the study's SQLite file (which optuna-dashboard can open), so that a study goes on after its
driver died. Ray's own OptunaSearch is not used: it tells a stopped trial as a complete one, leaves a diverged one
running for ever, and after a restart draws its random suggestions a second time.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import optuna
from optuna.trial import Trial, TrialState
from ray.tune.search import Searcher

from mmd_ddm.experiment.setting import Scalar
from tune.space.space import Space
from tune.trials.ending import Ending

METRIC = "kept_score"  # of the state that is kept so far, which is what a trial is worth
UPDATE = "update"
STARTUP_TRIALS = 4  # random ones before the model is asked; a study has about ten trials
NAME = "mmd-ddm"
OPTUNA_FILE = "optuna.db"

optuna.logging.set_verbosity(optuna.logging.WARNING)


def open_optuna(file: Path, budgets: bool = False) -> optuna.Study:
    """Open the study in an SQLite file, made if it is not there; with budgets, their size is minimised as well."""
    names = [METRIC, "network evaluations"] if budgets else [METRIC]
    where, directions = f"sqlite:///{file.resolve()}", ["minimize"] * len(names)
    study = optuna.create_study(storage=where, study_name=NAME, load_if_exists=True, directions=directions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(names)  # which optuna-dashboard shows
    return study


class StudySearcher(Searcher):  # type: ignore[misc]  # Ray is not typed
    """Suggests points of a space: the first ones given, the others by Optuna's TPE.

    Args:
        study: Where trials are drawn from and told to; with two objectives if the space holds several budgets.
        space: What is searched.
        first: The point of trial 0, whether it lies in the space or not.
        second: The point of trial 1; its values outside of the space are drawn by the sampler instead.
        trials: How many trials the study has in all.
        updates: Updates of a whole trial; one that ends before was stopped.
        seed: Trial k draws from (seed, k) alone, so that a continued study does not repeat itself.
        begin: Given a trial's number and point before it starts; returns its number of network evaluations.
        end: Given a trial's number and whether its process is gone, says how it ended.
        asked: Whether no further trial is to begin.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        *,
        first: Mapping[str, Scalar],
        second: Mapping[str, Scalar],
        trials: int,
        updates: int,
        seed: int,
        begin: Callable[[int, Mapping[str, Scalar]], int],
        end: Callable[[int, bool], Ending],
        asked: Callable[[], bool],
    ) -> None:
        super().__init__(metric=METRIC, mode="min")
        self._study, self._space = study, space
        self._first = {name: first[name] for name in space.dimensions}
        self._second = {name: second[name] for name in space.dimensions if second[name] in space.dimensions[name]}
        self._trials, self._updates, self._seed = trials, updates, seed
        self._begin, self._end, self._asked = begin, end, asked
        self._running: dict[str, Trial] = {}
        self._steps: dict[str, int] = {}
        self._interrupted = [t for t in study.get_trials(deepcopy=False) if t.state is TrialState.RUNNING]

    def suggest(self, trial_id: str) -> dict[str, int] | str:
        """Draw the next trial; those that a former driver left unfinished come first, with the values they had."""
        if self._asked():
            return str(Searcher.FINISHED)
        if self._interrupted:
            frozen = self._interrupted.pop(0)
            trial = Trial(self._study, frozen._trial_id)
        elif len(self._study.get_trials(deepcopy=False)) >= self._trials:
            return str(Searcher.FINISHED)
        else:
            trial = self._ask()
        # drawing again returns what the trial already has
        point = self._space.suggest(trial, self._first if trial.number == 0 else None)
        self._running[trial_id] = trial
        self._steps[trial_id] = self._begin(trial.number, point)
        return {"number": trial.number, "steps": self._steps[trial_id]}

    def _ask(self) -> Trial:
        number = len(self._study.get_trials(deepcopy=False))
        if number == 0:
            inside = {name: value for name, value in self._first.items() if value in self._space.dimensions[name]}
            self._study.enqueue_trial(inside)
        elif number == 1:
            self._study.enqueue_trial(self._second)
        self._study.sampler = sampler(self._seed, number)
        return self._study.ask()

    def on_trial_result(self, trial_id: str, result: Mapping[str, float]) -> None:
        """Remember a scoring."""
        if trial_id in self._running:
            self._report(self._running[trial_id], result)

    def _report(self, trial: Trial, result: Mapping[str, float]) -> None:
        if self._space.searches_budgets:
            return  # Optuna knows no intermediate values of two objectives
        value, known = result.get(METRIC), self._study.get_trials(deepcopy=False)[trial.number].intermediate_values
        if value is not None and math.isfinite(value) and int(result[UPDATE]) not in known:
            trial.report(value, int(result[UPDATE]))

    def on_trial_complete(self, trial_id: str, result: Mapping[str, float] | None = None, error: bool = False) -> None:
        """Tell Optuna how a trial ended: failed, stopped on the way (pruned), or complete with its score.

        One whose process died or that was interrupted is left as running.
        """
        trial = self._running.pop(trial_id, None)
        if trial is None:
            return
        value, end = (result or {}).get(METRIC), self._end(trial.number, error)
        if result is not None:
            self._report(trial, result)  # Tune hands the result that stopped a trial here alone
        if end.goes_on:  # Optuna takes up what it knows as running
            return
        if end is Ending.FAILED or result is None or value is None or not math.isfinite(value):
            self._study.tell(trial, state=TrialState.FAIL)
        elif result[UPDATE] < self._updates:
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, [value, self._steps[trial_id]] if self._space.searches_budgets else value)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the SQLite file holds all there is."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing, likewise."""


def sampler(seed: int, number: int) -> optuna.samplers.BaseSampler:
    """Return TPE with the random numbers of trial `number`; trials that are still running count as bad ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=(seed * 1_000_003 + number) % 2**32, n_startup_trials=STARTUP_TRIALS, multivariate=True, group=True,
            constant_liar=True,
        )  # fmt: skip

"""Which trials end early: asynchronous successive halving (Li et al. 2020), counted in optimizer updates."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from tune.study.folder import TrialRecord
from tune.trials.optuna_searcher import METRIC, NUMBER, STEPS, TIME


class Halving(ASHAScheduler):
    """Stops a trial that is worse than half of the others were after as many updates, but never trial 0.

    Trial 0 is the preset `paper`, with which every study compares. Where the number of network evaluations is searched,
    a trial is compared with those of its own only: it is no reason to stop one of 5 that one of 20 scores better.

    Args:
        updates: Updates of a whole trial.
        evaluations: How often a trial is evaluated, evenly spread; the first evaluation may already stop it.
        former: Trials of the same study that an earlier driver ran; new ones are compared with them too.
    """

    def __init__(self, updates: int, evaluations: int, former: Sequence[TrialRecord] = ()) -> None:
        super().__init__(
            time_attr=TIME,
            metric=METRIC,
            mode="min",
            grace_period=max(1, updates // evaluations),
            max_t=max(2, updates - 1),  # whoever reaches the last evaluation ends by itself
            reduction_factor=2,
            stop_last_trials=False,
        )
        self._empty: Any = deepcopy(self._brackets[0])
        self._of_steps: dict[Any, Any] = {}
        for trial in former:
            for row in trial.curve:
                record = SimpleNamespace(trial_id=f"former-{trial.number}")
                self._bracket(trial.point.get(STEPS)).on_result(record, row[TIME], -row[METRIC])

    def _bracket(self, steps: Any) -> Any:
        """The scores by which trials of a number of network evaluations are stopped."""
        if steps not in self._of_steps:
            self._of_steps[steps] = deepcopy(self._empty)
            self._brackets: list[Any] = list(self._of_steps.values())
        return self._of_steps[steps]

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Put a trial beside those of its budget."""
        self._trial_info[trial.trial_id] = self._bracket(trial.config.get(STEPS))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide whether a trial goes on."""
        decision: str = super().on_trial_result(tune_controller, trial, result)
        return TrialScheduler.CONTINUE if trial.config[NUMBER] == 0 else decision

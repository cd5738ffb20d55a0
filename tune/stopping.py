"""Which trials end early: asynchronous successive halving (Li et al. 2020), counted in optimizer updates."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from tune.searcher import METRIC, NUMBER, TIME
from tune.study import TrialRecord


class Halving(ASHAScheduler):
    """Stops a trial that is worse than half of the others were after as many updates, but never trial 0.

    Trial 0 is the preset `paper`, with which every study compares.

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
        for trial in former:
            for row in trial.curve:
                record = SimpleNamespace(trial_id=f"former-{trial.number}")
                self._brackets[0].on_result(record, row[TIME], -row[METRIC])

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide whether a trial goes on."""
        decision: str = super().on_trial_result(tune_controller, trial, result)
        return TrialScheduler.CONTINUE if trial.config[NUMBER] == 0 else decision

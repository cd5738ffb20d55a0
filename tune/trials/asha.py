"""Which trials end early: asynchronous successive halving (Li et al. 2020), counted in optimizer updates."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from tune.study.folder import Trial
from tune.trials.optuna_searcher import METRIC, UPDATE

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial as TuneTrial


class Halving(FIFOScheduler):  # type: ignore[misc]  # Ray is not typed
    """Stops a trial that is worse than half of the others were after as many updates, but never trial 0.

    Trial 0 is the preset `paper`, with which every study compares. Each number of network evaluations has a scheduler
    of Ray's to itself: it is no reason to stop a trial of 5 evaluations that one of 20 scores better.

    Args:
        updates: Updates of a whole trial.
        scorings: How often it is scored, evenly spread; the first time may already stop it.
        former: Trials of the same study that an earlier driver ran; new ones are compared with them too.
    """

    def __init__(self, updates: int, scorings: int, former: Sequence[Trial] = ()) -> None:
        super().__init__()
        self._updates, self._scorings = updates, scorings
        self._schedulers: dict[int, ASHAScheduler] = {}
        for trial in former:
            scheduler = self._scheduler(trial.steps)
            record = SimpleNamespace(trial_id=f"former-{trial.number}")
            scheduler.on_trial_add(None, record)
            for scoring in trial.curve:
                scheduler.on_trial_result(
                    None, record, {UPDATE: scoring.update, METRIC: trial.score_after(scoring.update)}
                )

    @property
    def metric(self) -> str:
        """What Tune has to find in each result."""
        return METRIC

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: object) -> bool:
        """Refuse another metric than its own."""
        return metric is None

    def _scheduler(self, steps: int) -> ASHAScheduler:
        """The scheduler that compares the trials of a number of network evaluations."""
        if steps not in self._schedulers:
            first, last = max(1, self._updates // self._scorings), max(2, self._updates - 1)
            # whoever reaches the last scoring ends by itself
            self._schedulers[steps] = ASHAScheduler(
                UPDATE, METRIC, "min", max_t=last, grace_period=min(first, last), reduction_factor=2,
                stop_last_trials=False,
            )  # fmt: skip
        return self._schedulers[steps]

    def on_trial_add(self, tune_controller: TuneController, trial: TuneTrial) -> None:
        """Put a trial beside those of its budget."""
        self._scheduler(trial.config["steps"]).on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: TuneController, trial: TuneTrial, result: dict[str, float]) -> str:
        """Decide whether a trial goes on."""
        decision = self._scheduler(trial.config["steps"]).on_trial_result(tune_controller, trial, result)
        ends = trial.config["number"] == 0 or result[UPDATE] >= self._updates
        return TrialScheduler.CONTINUE if ends else str(decision)

    def on_trial_complete(self, tune_controller: TuneController, trial: TuneTrial, result: dict[str, float]) -> None:
        """Remember a trial that came to its end."""
        self._scheduler(trial.config["steps"]).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: TuneController, trial: TuneTrial) -> None:
        """Forget a trial that was taken back before it ran."""
        self._scheduler(trial.config["steps"]).on_trial_remove(tune_controller, trial)

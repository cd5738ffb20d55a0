"""Which searched settings mattered: PED-ANOVA (Watanabe, Bansal & Hutter 2023), in its conditional form of Optuna.

fANOVA would have to leave out every setting that some complete trial lacks: bandwidth, and whatever the paper's trial
has outside of the space.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from tune.trials.optuna_searcher import NAME

ENOUGH = 8  # complete trials, so that the best third has at least two
ROUGH = 30
GOOD = 1 / 3


@dataclass(frozen=True)
class Importance:
    """What is known of the settings.

    Args:
        trials: From how many complete trials.
        shares: Of each setting, the largest first, adding to 1; empty where the trials are too few or all alike.
    """

    trials: int
    shares: dict[str, float]

    @property
    def bars(self) -> list[tuple[str, str, str]]:
        """Of each setting its name, its share and a bar as long as that, the largest of 12 characters."""
        largest = max(self.shares.values())
        return [(name, f"{100 * v:.0f} %", "█" * round(12 * v / largest)) for name, v in self.shares.items()]


def importance(file: Path) -> Importance:
    """Measure how much each setting decided whether a trial's score was among the best third.

    Args:
        file: Optuna's, of the study.
    """
    if not file.is_file():
        return Importance(0, {})
    study = optuna.load_study(study_name=NAME, storage=f"sqlite:///{file.resolve()}")
    count = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
    if count < ENOUGH:
        return Importance(count, {})
    evaluator = PedAnovaImportanceEvaluator(target_quantile=GOOD)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that low values are the good ones
        shares = get_param_importances(study, evaluator=evaluator, target=lambda trial: trial.values[0])
    return Importance(count, dict(shares) if sum(shares.values()) > 0 else {})

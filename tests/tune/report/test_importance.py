import random

import optuna
import pytest

from tune.report.importance import ENOUGH, importance
from tune.trials.optuna_searcher import open_optuna


def filled(file, count, objective, budgets=False):
    study, draw = open_optuna(file, budgets), random.Random(0)
    study.sampler = optuna.samplers.RandomSampler(seed=0)
    for _ in range(count):
        trial = study.ask()
        values = {
            "decisive": trial.suggest_float("decisive", 0, 1),
            "idle": trial.suggest_float("idle", 0, 1),
        }
        if values["decisive"] > 0.5:
            trial.suggest_categorical("conditional", ["a", "b"])
        score = objective(values, draw)
        study.tell(trial, [score, draw.choice([3, 5])] if budgets else score)
    return file


def _limited(values, _):
    """Among the good scores all is decided by one setting, among the bad ones by the other."""
    return values["decisive"] if values["decisive"] < 0.34 else 1 + values["idle"]


@pytest.mark.parametrize("budgets", [False, True])
def test_the_setting_that_decides_comes_first(tmp_path, budgets):
    found = importance(filled(tmp_path / "optuna.db", 40, _limited, budgets))
    assert found.trials == 40
    assert next(iter(found.shares)) == "decisive"
    assert found.shares["decisive"] > 2 * found.shares["idle"]
    assert sum(found.shares.values()) == pytest.approx(1)
    assert "conditional" in found.shares
    name, share, bar = found.bars[0]
    assert (name, share, len(bar)) == ("decisive", f"{100 * found.shares['decisive']:.0f} %", 12)


def test_few_trials_say_nothing(tmp_path):
    found = importance(filled(tmp_path / "optuna.db", ENOUGH - 1, lambda values, _: values["decisive"]))
    assert (found.trials, found.shares) == (ENOUGH - 1, {})
    assert importance(tmp_path / "absent.db").shares == {}


def test_as_many_as_it_takes_do(tmp_path):
    assert importance(filled(tmp_path / "optuna.db", ENOUGH, lambda values, _: values["decisive"])).shares

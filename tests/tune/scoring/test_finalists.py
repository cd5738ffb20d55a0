"""What is scored at the end, and in which order, with measurements that are made up and Ray's tasks done in place."""

from types import SimpleNamespace

import pytest
import ray

import tune.scoring.engine
from mmd_ddm.evaluation.metrics import read_metrics
from mmd_ddm.experiment.config_groups import SamplerConfig
from mmd_ddm.experiment.scoring.scored_model import BASE, FINETUNED, Scored, ScoredModel
from tests.tune.made_study import Folder, kids
from tune.scoring.final_scores import read_final_scores
from tune.scoring.finalists import find_winner, score_finalists

BASE_KIDS = {3: 0.2, 5: 0.1, 10: 0.06, 20: 0.03, 50: 0.001}


@pytest.fixture
def asked(monkeypatch):
    """Models in the order in which they were measured; None are the real images."""
    asked = []

    def measure(folder, model, images):
        asked.append(model)
        if model is None:
            return Scored(None, read_metrics(kids(0.0, 0.001)), 898)
        steps = model.sampler.steps
        kid = BASE_KIDS.get(steps, 0.0) if model.role == BASE else 0.01 * (model.trial or 0)
        return Scored(model, read_metrics(kids(kid, 0.001)), images, steps)

    def task(function):
        return SimpleNamespace(remote=lambda *arguments: lambda: function(*arguments))

    monkeypatch.setattr(tune.scoring.engine, "measure", measure)
    monkeypatch.setattr(ray, "remote", lambda **resources: task)
    monkeypatch.setattr(ray, "wait", lambda pending: (pending[:1], pending[1:]))
    monkeypatch.setattr(ray, "get", lambda thunk: thunk())
    return asked


def base(steps, schedule="linear"):
    return ScoredModel(BASE, SamplerConfig(steps=steps, schedule=schedule))


def finetuned(trial, schedule="linear"):
    return ScoredModel(FINETUNED, SamplerConfig(steps=5, schedule=schedule), trial)


def measured(made):
    return {row.model for row in read_final_scores(made.study)}


def test_the_winners_timesteps_are_scored_on_the_base_model_once_it_is_known(tmp_path, asked):
    made = Folder(tmp_path)
    made.trial(0, 0.09, schedule="linear")
    made.trial(2, 0.0100, schedule="quadratic")
    made.trial(1, 0.0101, schedule="quadratic")  # wins on fresh noise
    said = []
    score_finalists(made.study, said.append)
    assert asked[:3] == [base(50), base(20), base(5)]  # the longest first
    assert asked[3:5] == [finetuned(2, "quadratic"), finetuned(1, "quadratic")]
    assert asked[-1] == base(5, "quadratic")
    assert len(asked) == len(set(asked)) == 7
    assert measured(made) == set(asked)
    assert find_winner(made.study).number == 1
    assert said[0].startswith("scoring trials 002, 001 and the base model")


def test_only_what_is_missing_is_measured_again(tmp_path, asked):
    made = Folder(tmp_path)
    made.trial(0, 0.09, schedule="linear")
    made.trial(2, 0.0100, schedule="quadratic")
    score_finalists(made.study, lambda text: None)
    first = list(asked)
    asked.clear()
    score_finalists(made.study, lambda text: None)
    assert asked == []
    made.trial(7, 0.0010, schedule="linear")  # of a continued study: the only finalist now
    score_finalists(made.study, lambda text: None)
    assert asked == [finetuned(7)]
    assert measured(made) == {*asked, *(what for what in first if what is None or what.sampler.schedule == "linear")}


def test_each_budget_of_a_front_is_scored_beside_its_base_model(tmp_path, asked):
    made = Folder(tmp_path, "steps=3,5,10")
    made.trial(0, 0.09, steps=5)
    made.trial(1, 0.01, steps=10)
    made.trial(2, 0.05, steps=3)
    score_finalists(made.study, lambda text: None)
    assert [what.sampler.steps for what in asked if what and what.role == BASE] == [50, 20, 10, 3, 5]
    assert {(what.sampler.steps, what.trial) for what in asked if what and what.role == FINETUNED} == {(10, 1), (3, 2)}


def test_the_timesteps_of_a_former_winner_are_dropped(tmp_path, asked):
    made = Folder(tmp_path)
    made.trial(0, 0.09, schedule="linear")
    made.trial(2, 0.0100, schedule="quadratic")
    score_finalists(made.study, lambda text: None)
    counterpart = base(5, "quadratic")
    assert counterpart in measured(made)
    made.trial(1, 0.0101, schedule="linear")  # tied, and better on fresh noise
    score_finalists(made.study, lambda text: None)
    assert find_winner(made.study).number == 1
    assert counterpart not in measured(made)

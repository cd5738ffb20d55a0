import math

import pytest
from optuna.trial import TrialState

from mmd_ddm.experiment.presets import preset
from tune.searcher import StudySearcher, open_optuna
from tune.space import Choice, Space, default_space

SPACE = default_space(preset("best", "digits"))
FIRST = {name: preset("paper", "digits").flat()[name] for name in SPACE.dimensions}
SECOND = {name: preset("best", "digits").flat()[name] for name in SPACE.dimensions}
UPDATES = 100


class Searching:
    def __init__(self, file, trials=20, seed=3, space=SPACE):
        self.points = {}
        self.optuna = open_optuna(file)
        self.searcher = StudySearcher(
            self.optuna,
            space,
            first=FIRST,
            second=SECOND,
            trials=trials,
            updates=UPDATES,
            seed=seed,
            on_suggest=self.points.__setitem__,
        )

    def run(self, name, score, update=UPDATES, error=False):
        config = self.searcher.suggest(name)
        if not isinstance(config, dict):
            return config
        result = {"update": update, "score": score}
        self.searcher.on_trial_result(name, result)
        self.searcher.on_trial_complete(name, None if error else result, error)
        return config["number"]

    def state(self, number):
        return self.optuna.get_trials()[number]


@pytest.fixture
def searching(tmp_path):
    return Searching(tmp_path / "optuna.db")


def test_the_first_two_trials_are_the_ones_given(searching):
    for name in "abc":
        searching.run(name, 0.5)
    assert searching.points[0] == FIRST
    assert searching.points[1] == SECOND
    assert searching.points[2] not in (FIRST, SECOND)


def test_the_second_trial_stays_in_a_space_that_users_narrowed(tmp_path):
    narrow = Space({**SPACE.dimensions, "kernel": Choice(("cubic", "rbf"))})
    searching = Searching(tmp_path / "narrow.db", space=narrow)
    searching.run("a", 0.5)
    searching.run("b", 0.5)
    assert searching.points[1]["kernel"] in ("cubic", "rbf")
    assert searching.points[1]["learning_rate"] == SECOND["learning_rate"]


def test_ends_are_told_as_what_they_are(searching):
    searching.run("whole", 0.5)
    searching.run("stopped", 0.9, update=25)
    searching.run("error", 0.9, error=True)
    searching.run("nan", math.nan)
    states = [trial.state for trial in searching.optuna.get_trials()]
    assert states == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.FAIL]
    assert searching.state(0).value == 0.5
    assert searching.state(1).intermediate_values == {25: 0.9}


def test_a_result_without_a_score_is_not_reported(searching):
    searching.searcher.suggest("a")
    searching.searcher.on_trial_result("a", {"update": 1})
    searching.searcher.on_trial_complete("a", {"update": 100})
    assert searching.state(0).state is TrialState.FAIL


def test_it_ends_after_the_last_trial(tmp_path):
    searching = Searching(tmp_path / "optuna.db", trials=2)
    assert [searching.run(name, 1.0) for name in "abc"] == [0, 1, "FINISHED"]


def test_a_continued_study_suggests_what_an_uninterrupted_one_would(tmp_path):
    whole = Searching(tmp_path / "whole.db")
    parts = Searching(tmp_path / "parts.db")
    for name in "abcdef":
        whole.run(name, 0.1 * len(whole.points))
    for name in "abc":
        parts.run(name, 0.1 * len(parts.points))
    later = Searching(tmp_path / "parts.db")
    later.points.update(parts.points)
    for name in "def":
        later.run(name, 0.1 * len(later.points))
    assert later.points == whole.points
    assert len({str(point) for point in whole.points.values()}) == 6


def test_an_interrupted_trial_comes_first_with_its_values(tmp_path):
    former = Searching(tmp_path / "optuna.db")
    former.run("a", 0.5)
    former.searcher.suggest("b")
    later = Searching(tmp_path / "optuna.db")
    assert later.run("c", 0.4) == 1
    assert later.points[1] == former.points[1]
    assert later.run("d", 0.4) == 2


def test_seeds_differ(tmp_path):
    suggestions = []
    for seed in (1, 1, 2):
        searching = Searching(tmp_path / f"{len(suggestions)}.db", seed=seed)
        for name in "abc":
            searching.run(name, 0.5)
        suggestions.append(searching.points[2])
    assert suggestions[0] == suggestions[1] != suggestions[2]

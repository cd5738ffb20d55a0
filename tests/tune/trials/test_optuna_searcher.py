import math

import pytest
from optuna.trial import TrialState

from mmd_ddm.experiment.presets import preset
from tune.space.dimension import Choice
from tune.space.parse import read_space
from tune.space.space import Space, default_space
from tune.trials.ending import Ending
from tune.trials.optuna_searcher import StudySearcher, open_optuna

SPACE = default_space(preset("best", "digits"))
PAPER, BEST = (preset(name, "digits").flat() for name in ("paper", "best"))
FIRST = {name: PAPER[name] for name in SPACE.dimensions}
SECOND = {name: BEST[name] for name in SPACE.dimensions}
UPDATES = 100
CONDITIONAL = {"eta", "variance", "bandwidth"}


class Searching:
    def __init__(self, file, trials=20, seed=3, space=SPACE, budgets=False):
        self.points, self.endings, self.asked = {}, {}, False
        self.optuna = open_optuna(file, budgets)
        self.searcher = StudySearcher(
            self.optuna,
            space,
            first=PAPER,
            second=BEST,
            trials=trials,
            updates=UPDATES,
            seed=seed,
            begin=self.begin,
            end=lambda number, gone: self.endings.get(number, Ending.DIED if gone else Ending.ITSELF),
            asked=lambda: self.asked,
        )

    def begin(self, number, point):
        self.points[number] = point
        return point.get("steps") or 5

    def run(self, name, score, update=UPDATES, error=False):
        config = self.searcher.suggest(name)
        if not isinstance(config, dict):
            return config
        result = {"update": update, "kept_score": score}
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
    searching.endings[2] = Ending.FAILED
    searching.run("error", 0.9)
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


@pytest.mark.parametrize("end", [Ending.DIED, Ending.INTERRUPTED])
def test_a_trial_that_died_of_its_process_or_was_interrupted_comes_again_after_a_restart_alone(tmp_path, end):
    former = Searching(tmp_path / "optuna.db", trials=3)
    former.endings[1] = end
    assert [former.run(name, 0.5, error=end is Ending.DIED and name == "b") for name in "abcd"] == [0, 1, 2, "FINISHED"]
    states = [trial.state for trial in former.optuna.get_trials()]
    assert states == [TrialState.COMPLETE, TrialState.RUNNING, TrialState.COMPLETE]
    later = Searching(tmp_path / "optuna.db", trials=3)
    assert [later.run(name, 0.4) for name in "ef"] == [1, "FINISHED"]
    assert later.points[1] == former.points[1]


def test_nothing_begins_once_the_study_is_to_end(tmp_path):
    searching = Searching(tmp_path / "optuna.db")
    searching.run("a", 0.5)
    searching.asked = True
    assert searching.run("b", 0.5) == "FINISHED"
    assert len(searching.optuna.get_trials()) == 1


def test_seeds_differ(tmp_path):
    suggestions = []
    for seed in (1, 1, 2):
        searching = Searching(tmp_path / f"{len(suggestions)}.db", seed=seed)
        for name in "abc":
            searching.run(name, 0.5)
        suggestions.append(searching.points[2])
    assert suggestions[0] == suggestions[1] != suggestions[2]


def test_what_means_nothing_is_not_told_to_optuna(tmp_path):
    texts = ["sampler=ddim,ddpm", "eta=0..1", "variance=fixed_small,fixed_large", "kernel=cubic,rbf"]
    space = read_space(SPACE, texts, preset("best", "digits"))
    searching = Searching(tmp_path / "optuna.db", space=space)
    for number in range(14):
        searching.run(str(number), 0.5)
    seen = set()
    for number, point in searching.points.items():
        told = set(searching.state(number).params)
        ddim, wide = point["sampler"] == "ddim", point["kernel"] == "rbf"
        assert (point["eta"] is not None, point["variance"] is not None) == (ddim, not ddim)
        assert (point["bandwidth"] is not None) == wide
        assert CONDITIONAL & told == {name for name in CONDITIONAL if point[name] is not None}
        seen.add((ddim, wide))
    assert len(seen) == 4


def test_two_objectives_are_told_and_kept(tmp_path):
    space = Space({"steps": Choice((3, 5, 10)), "schedule": Choice(("linear", "quadratic"))})
    searching = Searching(tmp_path / "optuna.db", space=space, budgets=True)
    searching.run("a", 0.5)
    searching.run("b", 0.9, update=25)
    searching.run("c", math.nan)
    later = Searching(tmp_path / "optuna.db", space=space, budgets=True)
    for name in "defgh":
        later.run(name, 0.1)
    trials = later.optuna.get_trials()
    assert [trial.state for trial in trials[:3]] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    assert trials[0].values == [0.5, 5]  # the preset's budget
    for number in range(3, 8):
        assert trials[number].values == [0.1, later.points[number]["steps"]]
    assert later.searcher.suggest("i")["steps"] in (3, 5, 10)  # for early stopping

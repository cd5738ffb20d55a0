import random
from pathlib import Path

import pytest

from mmd_ddm.experiment.run_folder import Scoring
from tests.tune.made_study import BEST
from tune.report.pareto import draw_front
from tune.scoring.estimate import Estimate
from tune.scoring.ranking import front
from tune.study.folder import Outcome, Study, Trial


def trial(number, steps, score, outcome=Outcome.COMPLETED):
    config = BEST.replace(steps=steps)
    return Trial(number, Path(), config, {"steps": steps}, outcome, "", 1.0, [Scoring(1, score, ())])


@pytest.mark.parametrize("seed", range(5))
def test_the_front_is_what_nothing_dominates(seed):
    draw = random.Random(seed)
    trials = [trial(n, draw.choice([2, 3, 5, 10, 20]), draw.random()) for n in range(12)]
    trials += [trial(12, 1, 0.0, Outcome.STOPPED), trial(13, 1, 0.0, Outcome.FAILED), trial(14, 1, float("nan"))]
    whole = trials[:12]
    expected = {one.number for one in whole if not any(o.steps <= one.steps and o.score < one.score for o in whole)}
    found = front(trials)
    assert {each.number for each in found} == expected
    assert [each.steps for each in found] == sorted(each.steps for each in found)


def test_two_equal_trials_are_one_point_of_the_front():
    assert [each.number for each in front([trial(4, 5, 0.5), trial(2, 5, 0.5)])] == [2]


@pytest.mark.parametrize("base", [[], [(5, Estimate((1.0,), (0.1,))), (50, Estimate((0.2,), (0.1,)))]])
def test_the_front_is_drawn(tmp_path, base):
    trials = [trial(0, 5, 0.9), trial(1, 5, 0.3), trial(2, 10, 0.1), trial(3, 3, 0.7, Outcome.STOPPED)]
    scores = {each.number: Estimate((each.score,), (0.05,)) for each in trials[:3]}
    file = draw_front(Study(tmp_path, None), trials, scores, base)
    assert file is not None
    assert file.stat().st_size > 10_000
    assert draw_front(Study(tmp_path, None), trials[3:], {}, base) is None

from types import SimpleNamespace

import pytest

from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.run_folder import Scoring
from tune.study.folder import Outcome, Trial
from tune.trials.asha import Halving

UPDATES, SCORINGS = 80, 4


def former(number, steps, *curve):
    scorings = [Scoring(update, score, ()) for update, score in curve]
    return Trial(number, None, Config().replace(steps=steps), {}, Outcome.COMPLETED, "", 1.0, scorings)


def report(halving, number, update, score, steps=5):
    trial = SimpleNamespace(trial_id=f"t{number}", config={"number": number, "steps": steps})
    added = halving.__dict__.setdefault("added", set())
    if number not in added:
        added.add(number)
        halving.on_trial_add(None, trial)
    return halving.on_trial_result(None, trial, {"update": update, "kept_score": score})


def test_the_worse_half_is_stopped_at_the_first_evaluation():
    halving = Halving(UPDATES, SCORINGS)
    assert report(halving, 1, 20, 0.5) == "CONTINUE"
    assert report(halving, 2, 20, 0.9) == "STOP"
    assert report(halving, 3, 20, 0.3) == "CONTINUE"


def test_trial_0_is_never_stopped():
    halving = Halving(UPDATES, SCORINGS)
    assert report(halving, 1, 20, 0.5) == "CONTINUE"
    assert report(halving, 0, 20, 0.9) == "CONTINUE"


def test_the_last_evaluation_stops_nobody_so_that_whole_trials_end_by_themselves():
    halving = Halving(UPDATES, SCORINGS)
    for number, score in ((1, 0.1), (2, 0.09), (3, 0.08)):
        for update in (20, 40, 60):
            assert report(halving, number, update, score - update / 1000) == "CONTINUE"
        assert report(halving, number, UPDATES, score) == "CONTINUE"


def test_trials_of_an_earlier_driver_count():
    earlier = former(1, 5, *((update, 0.5) for update in (20, 40, 60, 80)))
    worse, better = (Halving(UPDATES, SCORINGS, [earlier]) for _ in range(2))
    assert report(worse, 2, 20, 0.6) == "STOP"
    assert report(better, 2, 20, 0.4) == "CONTINUE"


def test_a_single_update_can_be_searched_too():
    halving = Halving(1, 1)
    assert report(halving, 1, 1, 0.5) == "CONTINUE"


def test_trials_are_stopped_by_those_of_their_own_budget_alone():
    halving = Halving(UPDATES, SCORINGS, [former(9, 10, (20, 0.1))])
    assert report(halving, 1, 20, 0.5, steps=5) == "CONTINUE"  # 0.1 was of 10 steps
    assert report(halving, 2, 20, 0.2, steps=10) == "STOP"
    assert report(halving, 3, 20, 0.6, steps=5) == "STOP"
    assert report(halving, 4, 20, 0.9, steps=20) == "CONTINUE"  # the first of its budget


@pytest.mark.parametrize("updates", [1, 2, UPDATES])
def test_a_single_scoring_stops_nobody(updates):
    halving = Halving(updates, 1)
    for number, score in ((1, 0.1), (2, 0.9), (3, 0.5), (4, 0.95)):
        assert report(halving, number, updates, score) == "CONTINUE"

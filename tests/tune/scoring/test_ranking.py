import math
from dataclasses import replace

import pytest

from mmd_ddm.evaluation.metrics import read_metrics
from mmd_ddm.evaluation.verdict import Standing
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.run_folder import Scoring
from mmd_ddm.experiment.scoring.scored_model import relative_score
from tune.scoring.estimate import Estimate
from tune.scoring.ranking import (
    choose_finalists,
    choose_winner,
    probability_better,
    relative_estimate,
    tied_with_best,
)
from tune.study.folder import Outcome, Trial

BASELINE = read_metrics({"kid_a": 2.0, "kid_a_stderr": 0.1, "kid_b": 0.5, "kid_b_stderr": 0.5})


def trial(number, kid, outcome=Outcome.COMPLETED, steps=5):
    """A trial whose score is kid / 4 with an error of 0.04, of space b, in which the base model has 0.5."""
    metrics = read_metrics({"kid_a": 0.0, "kid_a_stderr": 0.0, "kid_b": kid / 4, "kid_b_stderr": 0.04})
    curve = [Scoring(1, relative_score(metrics, BASELINE), metrics)]
    return Trial(number, None, Config().replace(steps=steps), {}, outcome, "", 1.0, curve)


@pytest.mark.parametrize(("kid_b", "score", "error"), [(0.1, 0.6 / 2, 0.2 / 2), (0.4, 0.4 / 1, 0.3 / 1)])
def test_a_score_is_of_the_worst_space_with_the_error_there(kid_b, score, error):
    # b's base KID is not clear of zero, so twice its error, 1.0, stands in for it
    numbers = {"kid_a": 0.6, "kid_a_stderr": 0.2, "kid_b": kid_b, "kid_b_stderr": 0.3}
    found = relative_estimate(read_metrics(numbers), BASELINE)
    assert (found.mean, found.errors[0]) == pytest.approx((score, error))


@pytest.mark.parametrize("difference", [-3.0, -0.5, 0.0, 0.7, 2.0])
def test_the_chance_is_the_normal_one(difference):
    one, other = Estimate((1.0,), (0.6,)), Estimate((1.0 + difference,), (0.8,))
    assert probability_better(one, other) == pytest.approx(0.5 * (1 + math.erf(difference / math.sqrt(2))), abs=1e-12)
    assert probability_better(one, other) + probability_better(other, one) == pytest.approx(1)


def test_the_errors_that_are_said_are_never_too_small():
    """With shared noise, scores err together, and the truth is rather told apart than the chance says."""
    import torch

    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(20_000, generator=generator, dtype=torch.float64) * 0.9
    own = torch.randn(2, 20_000, generator=generator, dtype=torch.float64) * math.sqrt(1 - 0.81)
    one, other = shared + own[0], shared + own[1] + 0.5
    right = (one < other).double().mean().item()
    assert right > probability_better(Estimate((0.0,), (1.0,)), Estimate((0.5,), (1.0,))) + 0.1


def test_finalists_are_the_best_and_at_most_two_that_are_tied_with_it():
    # scores 0.25 kid; two errors of a difference are 1.96 sqrt(2) 0.04 = 0.111
    trials = [trial(0, 4), trial(1, 0.4), trial(2, 0.8), trial(3, 0.9), trial(4, 0.5, Outcome.STOPPED), trial(5, 0.6)]
    assert [each.number for each in tied_with_best(trials, BASELINE)] == [1, 5, 2]
    assert [each.number for each in choose_finalists([*trials, trial(6, 0.7)], BASELINE)] == [1, 5, 6]
    assert [each.number for each in choose_finalists(trials[:2], BASELINE)] == [1]
    assert choose_finalists([trial(4, 0.5, Outcome.STOPPED)], BASELINE) == []


def test_finalists_of_several_budgets_are_the_best_of_the_front():
    trials = [trial(0, 4, steps=5), trial(1, 2, steps=5), trial(2, 1, steps=10), trial(3, 3, steps=3),
              trial(4, 1.5, steps=20), trial(5, 3.9, steps=2)]  # fmt: skip
    assert [each.number for each in choose_finalists(trials, BASELINE, budgets=True)] == [2, 1, 3]


def test_a_loss_of_all_spaces_is_scored_beside_the_best_trial_that_has_a_held_out_one():
    def of_both(number, kid):
        found = trial(number, kid)
        return replace(found, config=found.config.replace(features="a+b"))

    graded_by_itself = [of_both(1, 0.1), of_both(2, 0.11), of_both(3, 0.12), of_both(4, 0.13)]
    trials = [*graded_by_itself, trial(5, 3), trial(6, 2)]
    assert [each.number for each in choose_finalists(trials, BASELINE)] == [1, 2, 6]
    assert [each.number for each in choose_finalists(graded_by_itself, BASELINE)] == [1, 2]
    assert [each.number for each in choose_finalists([trial(0, 0.1), *graded_by_itself], BASELINE)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("scores", "steps", "expected"),
    [
        ({1: 0.5, 2: 0.4}, {1: 5, 2: 5}, 2),
        ({1: 0.5, 2: 0.4}, {1: 3, 2: 5}, 1),  # tied (two errors: 0.28) and cheaper
        ({1: 0.8, 2: 0.4}, {1: 3, 2: 5}, 2),
        ({1: 0.5, 2: 0.4, 3: 0.45}, {1: 3, 2: 5, 3: 3}, 3),
    ],
)
def test_the_winner_is_the_best_or_as_good_for_less(scores, steps, expected):
    finals = {number: Estimate((mean,), (0.1,)) for number, mean in scores.items()}
    for same in (*Standing, None):
        assert choose_winner(finals, steps, dict.fromkeys(finals, same)) == expected


@pytest.mark.parametrize(
    ("standings", "expected"),
    [
        ((Standing.BEHIND, Standing.UNKNOWN, Standing.BEATS), 3),
        ((Standing.BEHIND, Standing.UNKNOWN, Standing.BEHIND), 2),
        ((Standing.BEHIND, Standing.BEATS, Standing.BEATS), 2),
        ((None, Standing.BEHIND, Standing.BEHIND), 1),
    ],
)
def test_a_finalist_that_is_known_to_beat_the_base_model_comes_first(standings, expected):
    finals = {1: Estimate((0.1,), (0.01,)), 2: Estimate((0.5,), (0.01,)), 3: Estimate((0.9,), (0.01,))}
    steps = dict.fromkeys(finals, 5)
    assert choose_winner(finals, steps, dict(zip(finals, standings, strict=True))) == expected

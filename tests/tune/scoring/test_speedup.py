import math

import pytest

from mmd_ddm.evaluation.metrics import read_metrics
from mmd_ddm.evaluation.verdict import Score
from mmd_ddm.experiment.config_groups import SamplerConfig
from mmd_ddm.experiment.scoring.scored_model import BASE, FINETUNED, Scored, ScoredModel
from tune.scoring.speedup import budget_rows, equivalent_budget, equivalent_budgets, faster

POINTS = [(5, Score(1.0)), (20, Score(0.3)), (50, Score(0.1))]


@pytest.mark.parametrize("steps", [5.0, 7.3, 20.0, 33.0, 50.0])
def test_a_kid_linear_in_the_logarithm_is_matched_exactly(steps):
    line = [(s, Score(3 - 0.5 * math.log(s))) for s in (50, 5, 20)]
    assert equivalent_budget(Score(3 - 0.5 * math.log(steps)), line).steps == pytest.approx(steps)


@pytest.mark.parametrize(("kid", "expected"), [(0.05, math.inf), (1.2, 0)])
def test_kids_outside_of_what_was_measured(kid, expected):
    assert equivalent_budget(Score(kid), POINTS).steps == expected


def test_the_first_crossing_counts():
    assert 5 < equivalent_budget(Score(0.5), [*POINTS[:2], (50, Score(0.9))]).steps < 20


def test_the_ends_are_two_errors_of_the_difference_away():
    line = [(s, Score(3 - 0.5 * math.log(s), 0.03)) for s in (5, 20, 50)]
    found = equivalent_budget(Score(3 - 0.5 * math.log(20), 0.04), line)
    shift = 2 * 0.05 / 0.5  # 2 sqrt(0.03^2 + 0.04^2) in KID, in the logarithm of the budget
    assert found.low == pytest.approx(20 * math.exp(-shift))
    assert found.high == pytest.approx(20 * math.exp(shift))


def rows(finetuned, **base):
    """Scores in several spaces: KID of trial 1 with 5 evaluations, and of the base model by budget."""
    models = [(ScoredModel(FINETUNED, SamplerConfig(steps=5), 1), finetuned)]
    models += [(ScoredModel(BASE, SamplerConfig(steps=int(steps[1:]))), kids) for steps, kids in base.items()]
    return [
        Scored(model, read_metrics({f"kid_{s}": kid for s, kid in kids.items()}), 9, model.sampler.steps)
        for model, kids in models
    ]


def test_the_space_that_gains_least_comes_first_and_decides():
    base = {"s5": {"a": 1.0, "b": 1.0}, "s20": {"a": 0.3, "b": 0.3}, "s50": {"a": 0.1, "b": 0.1}}
    found = equivalent_budgets(rows({"a": 0.05, "b": 0.3}, **base), 1)
    assert [(space, each.steps) for space, each in found.items()] == [("b", pytest.approx(20)), ("a", math.inf)]
    said = faster(found, 5, 50)
    assert "in b features, where it gains least, that of the base model with about 20 (interpolated; 20 to 20" in said
    assert "4 times fewer evaluations for the same KID, in every space" in said
    assert "10 times" not in said
    assert budget_rows(found, 50) == [("b", "20", "20 to 20"), ("a", "beyond 50", "beyond 50 to beyond 50")]


@pytest.mark.parametrize(
    ("kid", "words"),
    [
        (
            0.05,
            "better in every space than the base model's with 50, the largest budget that was measured: at least",
        ),
        (1.2, "In a features the base model has the better KID with its smallest budget"),
        (1.0, "finetuning made it no faster"),
    ],
)
def test_it_is_said_in_words(kid, words):
    assert words in faster({"a": equivalent_budget(Score(kid), POINTS)}, 5, 50)


def test_what_was_not_measured_is_not_claimed():
    assert "No larger budget" in faster({"a": equivalent_budget(Score(0.5), [(50, Score(1.0))])}, 50, 50)
    assert equivalent_budgets(rows({"a": 0.5}, s20={"a": 0.3}), 1) == {}  # not with equally many evaluations
    assert equivalent_budgets(rows({"a": 0.5}, s5={"a": 0.3}), 2) == {}

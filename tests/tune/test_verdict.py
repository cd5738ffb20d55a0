import pytest

from tune.scores import BASE, FINETUNED, REAL, Row, Subject, final_metrics, subjects
from tune.study import COMPLETED, STOPPED, TrialRecord
from tune.verdict import BETTER, EQUAL, WORSE, compare, tie, verdicts


def scores(**kids):
    """KIDs with a standard error of 3 or 4, so that of a difference is 5 between unlike spaces' rows."""
    return {
        key: value
        for name, (kid, error) in kids.items()
        for key, value in ((f"kid_{name}", kid), (f"kid_{name}_stderr", error))
    }


def rows(finetuned, base, larger=None):
    found = [Row(Subject(FINETUNED, 5, trial=1), 100, finetuned), Row(Subject(BASE, 5), 100, base)]
    return found + ([Row(Subject(BASE, 20), 100, larger)] if larger else [])


@pytest.mark.parametrize(("kid", "expected"), [(89.9, BETTER), (90.1, EQUAL), (109.9, EQUAL), (110.1, WORSE)])
def test_a_difference_counts_beyond_two_of_its_standard_errors(kid, expected):
    assert compare(scores(a=(kid, 3)), scores(a=(100, 4)), "a") == expected  # 2 sqrt(3^2 + 4^2) = 10


@pytest.mark.parametrize(
    ("trained", "held_out", "words"),
    [
        (1, 1, "improves in the trained space, a, and held out, in b"),
        (1, 9, "improves in the trained space only: a improved, but held out, b did not change"),
        (1, 20, "improves in the trained space only: a improved, but held out, b got worse"),
        (9, 1, "did not improve the space that it trained on: a did not change"),
    ],
)
def test_an_improvement_of_the_trained_space_alone_is_said_plainly(trained, held_out, words):
    base = scores(a=(9, 0.5), b=(9, 0.5))
    said = verdicts(rows(scores(a=(trained, 0.5), b=(held_out, 0.5)), base), "a")
    assert words in said[0]
    assert said[1].startswith("* a (trained on)")
    assert said[2].startswith("* b (held out)")


def test_larger_budgets_are_compared_with_and_what_errors_hide_is_said():
    found = rows(scores(a=(-0.1, 0.2)), scores(a=(9, 0.5)), scores(a=(3, 0.5)))
    (overall, line) = verdicts(found, "a")
    assert "nothing is known beyond it" in overall
    assert "better than the base model with 20" in line
    assert "can't be told from the real ones" in line
    assert verdicts(found[:1], "a") == []
    assert "trained on than new ones" in verdicts(rows(scores(a=(-0.5, 0.2)), scores(a=(9, 0.5))), "a")[1]


def test_a_trained_space_that_was_not_measured_is_said():
    said = verdicts(rows(scores(b=(1, 0.5)), scores(b=(9, 0.5))), "a")
    assert said[0] == "**The trained space, a, was not measured; held out, b improved.**"


def trial(number, score, outcome=COMPLETED):
    curve = [{"update": 1, "score": score, "kid_a": score, "kid_a_stderr": 0.03}]
    return TrialRecord(number, None, {}, outcome, "", 1.0, curve)


def test_a_tie_of_the_first_two_is_said():
    baseline = scores(a=(1, 0.1))
    # the error of the difference: sqrt(2) 0.03 = 0.042
    assert "is not known" in tie([trial(0, 0.50), trial(3, 0.54)], baseline)
    assert "is not known" not in tie([trial(0, 0.50), trial(3, 0.55)], baseline)
    assert tie([trial(0, 0.50), trial(3, 0.50, STOPPED)], baseline) == ""


CONFIG = {"steps": 5, "sampler": "ddim", "schedule": "quadratic", "eta": 0.0, "variance": "fixed_small"}


@pytest.mark.parametrize(
    ("steps", "length", "budgets"), [(5, 1000, [50, 20, 5]), (20, 1000, [50, 20]), (50, 1000, [50]), (5, 30, [20, 5])]
)
def test_the_base_model_is_scored_at_larger_budgets_that_it_has(steps, length, budgets):
    found = subjects({**CONFIG, "steps": steps, "schedule": "linear"}, 3, length)
    assert [each.steps for each in found if each.model == BASE] == budgets
    assert [each.model for each in found[len(budgets) :]] == [FINETUNED, REAL]


def test_other_timesteps_are_scored_on_the_base_model_too():
    names = [each.name for each in subjects(CONFIG, 3, 1000)]
    assert names == ["base_50", "base_20", "base_5", "base_alike", "finetuned", "real"]


def test_metrics_of_a_study_have_the_budget_as_their_step():
    found = rows(scores(a=(1, 0.5)), scores(a=(9, 0.5)), scores(a=(3, 0.5)))
    kids = [metric for metric in final_metrics(found) if not metric[0].endswith("stderr")]
    assert kids == [("finetuned_kid_a", 1, 5), ("base_kid_a", 9, 5), ("base_kid_a", 3, 20)]

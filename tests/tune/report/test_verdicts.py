from pathlib import Path

import pytest

from mmd_ddm.evaluation.metrics import kids, read_metrics
from mmd_ddm.evaluation.verdict import Score, Standing, standing
from mmd_ddm.experiment.config_groups import SamplerConfig
from mmd_ddm.experiment.run_folder import Scoring
from mmd_ddm.experiment.scoring.scored_model import BASE, FINETUNED, Scored, ScoredModel, base_counterpart
from tests.tune import made_study
from tests.tune.made_study import BEST, Folder
from tune.report.verdicts import sureness, verdicts
from tune.scoring.final_scores import wanted_models
from tune.scoring.finalists import final_metrics
from tune.scoring.ranking import relative_estimate
from tune.study.folder import Outcome, Trial


def scores(**kids):
    """KIDs with their standard errors."""
    return read_metrics(
        {
            key: value
            for name, (kid, error) in kids.items()
            for key, value in ((f"kid_{name}", kid), (f"kid_{name}_stderr", error))
        }
    )


def row(role, steps, metrics, trial=None):
    return Scored(ScoredModel(role, SamplerConfig(steps=steps), trial), metrics, 100, steps)


def rows(finetuned, base, larger=None):
    found = [row(FINETUNED, 5, finetuned, 1), row(BASE, 5, base)]
    return found + ([row(BASE, 20, larger)] if larger else [])


@pytest.mark.parametrize(
    ("trained", "held_out", "words"),
    [
        (1, 1, "It improves in both"),
        (1, 9, "The trained space, a (KID 9.00 ± 0.50 to 1.00 ± 0.50), improves, but the held-out space, b"),
        (1, 20, "gets worse"),
        (9, 1, "The trained space, a (KID 9.00 ± 0.50 to 9.00 ± 0.50), does not change by more than its error"),
    ],
)
def test_an_improvement_of_the_trained_space_alone_is_said_plainly(trained, held_out, words):
    base = scores(a=(9, 0.5), b=(9, 0.5))
    said = verdicts(rows(scores(a=(trained, 0.5), b=(held_out, 0.5)), base), 1, ["a"])
    assert words in said[0]
    assert said[1].startswith("a (trained on)")
    assert said[2].startswith("b (held out)")


def test_all_spaces_of_a_mixture_are_trained_on():
    base = scores(a=(9, 0.5), b=(9, 0.5), c=(9, 0.5))
    said = verdicts(rows(scores(a=(1, 0.5), b=(1, 0.5), c=(9, 0.5)), base), 1, ["c", "a"])
    assert [line.partition(":")[0] for line in said[1:]] == ["a (trained on)", "c (trained on)", "b (held out)"]


def test_larger_budgets_are_compared_with_and_what_errors_hide_is_said():
    found = rows(scores(a=(-0.1, 0.2)), scores(a=(9, 0.5)), scores(a=(3, 0.5)))
    (overall, line) = verdicts(found, 1, ["a"])
    assert "nothing is known beyond it" in overall
    assert "better than the base model with 20" in line
    assert "can't be told from the real ones" in line
    assert verdicts(found[:1], 1, ["a"]) == []
    assert verdicts(found, 2, ["a"]) == []  # another trial
    assert "trained on than new ones" in verdicts(rows(scores(a=(-0.5, 0.2)), scores(a=(9, 0.5))), 1, ["a"])[1]


def test_a_trained_space_that_was_not_measured_is_said():
    said = verdicts(rows(scores(b=(1, 0.5)), scores(b=(9, 0.5))), 1, ["a"])
    assert said[0].startswith("No trained space was measured")


def trial(number, score, outcome=Outcome.COMPLETED):
    return Trial(number, Path(), BEST, {}, outcome, "", 1.0, [Scoring(1, score, scores(a=(score, 0.03)))])


BASELINE = scores(a=(1, 0.1))


def test_how_sure_the_first_place_is():
    # the error of a difference: sqrt(2) 0.03 = 0.0424; Phi(0.05 / 0.0424) = Phi(1.179) = 0.881
    close = sureness([trial(0, 0.50), trial(3, 0.55), trial(4, 0.9)], BASELINE, {}, 0)
    assert "trial 000 leads trial 003 by 0.05" in close[0]
    assert "probability of 88 %" in close[0]
    assert "can't be told apart from trial 003 at" in close[1]
    clear = sureness([trial(0, 0.50), trial(3, 0.62)], BASELINE, {}, 0)
    assert "probability of 99.8 %" in clear[0]  # Phi(2.83)
    assert "No other complete trial is tied" in clear[1]
    assert sureness([trial(0, 0.50), trial(3, 0.50, Outcome.STOPPED)], BASELINE, {}, 0) == []


def test_the_winner_on_fresh_noise_is_said_with_its_chances():
    finals = {n: relative_estimate(scores(a=(kid, 0.03)), BASELINE) for n, kid in ((0, 0.55), (3, 0.50), (4, 0.9))}
    said = sureness([trial(0, 0.50), trial(3, 0.51), trial(4, 0.52)], BASELINE, finals, 3)
    assert "003 0.500 ± 0.030, 000 0.550 ± 0.030, 004 0.900 ± 0.030: trial 003 wins" in said[2]
    assert "better than trial 000 with a probability of 88 % and than trial 004 with over 99.9 %;" in said[2]
    assert "; trial 000 is tied with it" in said[2]


FIRST = SamplerConfig(steps=5)
QUADRATIC = SamplerConfig(steps=5, schedule="quadratic")


@pytest.mark.parametrize(
    ("steps", "length", "budgets"), [(5, 1000, [50, 20, 5]), (20, 1000, [50, 20]), (50, 1000, [50]), (5, 30, [20, 5])]
)
def test_the_base_model_is_scored_at_larger_budgets_that_it_has(steps, length, budgets):
    how = SamplerConfig(steps=steps)
    found = wanted_models(how, {3: how, 4: how}, length)
    assert found == [
        *(ScoredModel(BASE, SamplerConfig(steps=each)) for each in budgets),
        ScoredModel(FINETUNED, how, 3),
        ScoredModel(FINETUNED, how, 4),
        None,
    ]


def test_every_budget_of_the_finalists_and_the_first_trials_is_scored_on_the_base_model():
    found = wanted_models(FIRST, {3: SamplerConfig(steps=3), 7: SamplerConfig(steps=10)}, 1000)
    assert [each.sampler.steps for each in found if each and each.role == BASE] == [50, 20, 10, 3, 5]


def test_other_timesteps_are_scored_on_the_base_model_too():
    names = ["real" if each is None else each.name for each in wanted_models(FIRST, {3: QUADRATIC}, 1000)]
    assert names == ["base_50", "base_20", "base_5", "finetuned_003", "real"]
    assert base_counterpart(QUADRATIC).name == "base_counterpart"
    assert base_counterpart(FIRST).name == "base_5"  # which is there already


def test_metrics_of_a_study_have_the_budget_as_their_step():
    found = rows(scores(a=(1, 0.5)), scores(a=(9, 0.5)), scores(a=(3, 0.5)))
    found.append(row(FINETUNED, 10, scores(a=(2, 0.5)), 2))
    kids = [m for m in final_metrics(found, trial(1, 0.5)) if not m[0].endswith("stderr")]
    own = [("finetuned_kid_a", 1, 5), ("base_kid_a", 9, 5)]
    assert kids == [*own, ("finetuned_002_kid_a", 2, 10), ("base_kid_a", 3, 20)]


def test_a_space_whose_frechet_distance_was_the_loss_decides_nothing(tmp_path):
    """Its FID is the loss itself, and its KID follows; the trial gains there and nowhere else."""
    made = Folder(tmp_path)
    made.trial(1, {"contrastive": 0.01, "classifier": 0.1}, loss="frechet", features="contrastive")
    trial = made.study.trial(1)
    assert trial.config.objective.loss == "frechet"
    assert trial.held_out == {"classifier"}
    base, after = (
        {space: Score(kid.value, kid.stderr) for space, kid in kids(each).items()}
        for each in (made_study.BASELINE, trial.kept.metrics)
    )
    assert standing(base, after, trial.config.objective.spaces) is Standing.BEHIND

"""Reports of study folders that were written by hand: no Ray, no models, no figures but those that are drawn."""

import json
import shlex

import pytest

from mmd_ddm.cli.main import build_parser
from tests.tune.made_study import Folder
from tests.tune.report.test_render import Reader
from tune.scoring.finalists import find_finalists, find_winner
from tune.scoring.ranking import complete
from tune.study.folder import Outcome

REASON = "loss <nan> & <script>alert(1)</script> | *x* **y** [a](b) `c`"


@pytest.fixture
def made(tmp_path):
    """Trials 1 and 2 are tied, 1 ahead; 3 was stopped, 4 failed."""
    made = Folder(tmp_path)
    made.trial(0, 0.095, 0.09)
    made.trial(1, 0.05, 0.010)
    made.trial(2, 0.06, 0.011)
    made.trial(3, 0.07, outcome=Outcome.STOPPED)
    made.trial(4, outcome=Outcome.FAILED, reason=REASON)
    return made


def test_a_finished_study(made):
    # fresh noise turns the order round: 2 is 10 errors of 0.14 better
    made.final({5: 0.1, 20: 0.03, 50: 0.005}, t1=0.04, t2=0.02)
    assert [each.number for each in find_finalists(made.study)] == [1, 2]
    said, text, page = made.report()
    assert json.loads((made.study.folder / "best" / "mmd_ddm.json").read_text())["number"] == 2
    assert said[0] == "Trial 002 beats the base model with 5 evaluations, judged by the held-out space classifier."
    assert text.split("\n\n")[2:4] == [f"**{said[0]}**", said[1]]
    assert "**trial 002** the winner of 5 trials" in text
    # between 20 evaluations, 0.03, and 50, 0.005: two fifths of the way in the logarithm
    assert f"with about {20 * 2.5**0.4:.0f} (interpolated" in text
    assert f"**about {20 * 2.5**0.4 / 5:.2g}** times fewer evaluations" in text
    command = text.split("```\n")[1].replace("\\\n", "")
    options = build_parser().parse_args(shlex.split(command)[1:])
    assert (options.kernel, float(options.learning_rate)) == ("cubic", 1e-4)
    assert "Trial 003 after 10 of 20 updates, with a score of 0.7: by now 2 of 3 other trials were better" in text
    read = Reader(page)
    assert read.texts("li")[-1].startswith(f"Trial 004: {REASON} (kernel=cubic")
    assert not {"script", "em", "a"} & read.tags
    assert read.texts("h1") == read.texts("title") == ["study"]
    assert "too few to say which settings mattered" in text
    assert page.count("data:image/png;base64,") == 1  # the curves; no sheets were drawn
    assert not (made.study.folder / "pareto.png").exists()


def test_the_winner_is_found_on_fresh_noise_only_once_all_finalists_were_scored(made):
    assert find_winner(made.study).number == 1
    made.final({5: 0.1}, t2=0.02)
    assert find_winner(made.study).number == 1
    made.final({5: 0.1}, t1=0.04, t2=0.02)
    assert find_winner(made.study).number == 2
    made.final({50: 0.1}, t1=0.04, t2=0.02)  # relative to what?
    assert find_winner(made.study).number == 1


def test_a_study_on_its_way(made):
    made.trial(5, 0.08, outcome=Outcome.RUNNING)
    said, text, _ = made.report()
    assert said == [
        "Whether trial 001, the best so far, beats the base model is not known: its final scores are missing, so there "
        "is no best/ yet."
    ]
    assert not (made.study.folder / "best").exists()
    assert "How much faster" not in text
    assert "its score on the noise of the trials" in text
    assert "trials/001/model" in text.split("```python")[1]
    assert "## Unfinished\n\n* Trial 005" in text


def test_a_study_without_a_complete_trial(tmp_path):
    made = Folder(tmp_path)
    made.trial(0, outcome=Outcome.FAILED, reason=REASON)
    said, text, page = made.report()
    assert said == ["No trial was completed, so there is no winner."]
    assert "there is no winner" in text
    assert REASON in Reader(page).text
    assert not (made.study.folder / "best").exists()


def test_several_budgets_have_a_front(tmp_path):
    made = Folder(tmp_path, "steps=3,5,10")
    made.trial(0, 0.09, 0.09, steps=5)
    made.trial(1, 0.04, 0.03, steps=5)
    made.trial(2, 0.04, 0.01, steps=10)
    made.trial(3, 0.04, 0.04, steps=10)
    made.trial(4, 0.06, 0.05, steps=3)
    made.trial(5, 0.07, outcome=Outcome.STOPPED, steps=3)
    made.final({3: 0.2, 5: 0.1, 10: 0.06, 20: 0.03, 50: 0.001}, t1=0.0105, t2=0.01, t4=0.05)
    assert [each.number for each in find_finalists(made.study)] == [2, 1, 4]
    assert find_winner(made.study).number == 1  # tied with 2, with half of the evaluations
    _, text, page = made.report()
    front = text.split("## Score against network evaluations (NFE)")[1].split("##")[0]
    rows = [line.split(" | ")[:2] for line in front.splitlines() if line.startswith("| ")][1:]
    assert rows == [["| 3", "004"], ["| 5", "001"], ["| 10", "002"]]
    assert page.count("data:image/png;base64,") == 2
    assert "by now 1 of 1 other trials with 3 evaluations were better" in text


def test_a_model_that_gains_nothing_in_one_space_is_not_faster(tmp_path):
    made = Folder(tmp_path)
    made.trial(0, 0.09, 0.09)
    made.trial(1, 0.05, 0.05)
    made.final({5: 0.1, 20: 0.03}, t1={"classifier": 0.03, "contrastive": 0.1})
    said, text, _ = made.report()
    assert said[0].startswith("Trial 001 beats the base model")  # the held-out space says so
    assert "* **not faster** than the base model, which has the same KID in contrastive features" in text
    assert "finetuning made it no faster." in text
    assert "times fewer" not in text


@pytest.mark.parametrize(
    ("kids", "words"),
    [
        ({"classifier": 0.15, "contrastive": 0.001}, "the held-out space, classifier (KID 0.1000 ± 0.0010 to 0.1500"),
        ({"classifier": 0.101, "contrastive": 0.001}, "does not change by more than its error"),
        ({"classifier": 0.05, "contrastive": 0.2}, "The trained space, contrastive (KID 0.1000 ± 0.0010 to 0.2000"),
    ],
)
def test_a_study_that_does_not_beat_the_base_model_says_so_first_and_leaves_no_best(made, kids, words):
    made.final({5: 0.1, 20: 0.03}, t1=0.01, t2=0.02)
    made.report()
    assert (made.study.folder / "best").exists()
    # scored anew, as in a study that goes on
    made.final({5: 0.1, 20: 0.03}, t1=kids, t2=kids)
    said, text, page = made.report()
    assert said[0] == (
        "No trial beats the base model with 5 evaluations. The best of them, trial 001, is kept in trials/001/model "
        "alone: there is no best/, and nothing is registered."
    )
    assert words in said[1]
    assert text.split("\n\n")[2:4] == [f"**{said[0]}**", said[1]]
    assert not (made.study.folder / "best").exists()
    assert "trials/001/model" in text.split("```python")[1]
    for claim in ("times fewer", "How much faster", "the winner of 5 trials, "):
        assert claim not in text
    assert Reader(page).texts("p")[1] == said[0]


def test_without_a_held_out_space_no_speed_up_is_claimed_and_the_score_carries_its_space(tmp_path):
    made = Folder(tmp_path, "features=contrastive,classifier,classifier+contrastive")
    made.trial(0, 0.09, 0.09, features="classifier+contrastive")
    made.trial(1, 0.05, 0.01, features="classifier+contrastive")
    made.final({5: 0.1, 20: 0.03}, t1=0.001)
    said, text, _ = made.report()
    assert said[0].startswith("Trial 001 improves on the base model with 5 evaluations, judged by the trained spaces")
    assert "nothing is known beyond" in said[0]
    assert (made.study.folder / "best").exists()
    assert "times fewer" not in text
    assert "How much faster" not in text
    assert "in the space where it is worst (classifier, trained on)" in text


def test_the_best_scored_state_of_a_trial_counts(tmp_path):
    made = Folder(tmp_path)
    made.trial(0, 0.095, 0.09)
    made.trial(1, 0.01, 0.15)
    made.trial(2, 0.03, 0.02)
    (first, *_) = complete(made.study.trials())
    assert (first.number, first.score, first.kept.update, first.updates) == (1, pytest.approx(0.1), 10, 20)
    _, text, _ = made.report()
    assert "Of its states that were scored the best is kept (update 10 of 20), with the averaged weights (EMA)." in text
    row = (made.study.folder / "leaderboard.csv").read_text().splitlines()[1].split(",")
    assert row[:5] == ["1", "1", "completed", "0.1", "0.01"]
    assert row[-4:-2] == ["20", "10"]

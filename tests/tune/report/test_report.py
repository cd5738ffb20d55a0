"""Reports of study folders that were written by hand: no Ray, no models, no figures but those that are drawn."""

import json
import shlex

import pytest

from mmd_ddm.cli.main import build_parser
from tests.tune.made_study import Folder
from tests.tune.report.test_render import Reader
from tune.scoring.finalists import find_finalists, find_winner
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
    assert said[0] in text
    assert "**trial 002** the winner of 5 trials" in text
    # between 20 evaluations, 0.03, and 50, 0.005: two fifths of the way in the logarithm
    assert f"with about {20 * 2.5**0.4:.0f} (interpolated" in text
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
    assert said == []
    assert "How much faster" not in text
    assert "its score on the noise of the trials" in text
    assert "## Unfinished\n\n* Trial 005" in text


def test_a_study_without_a_complete_trial(tmp_path):
    made = Folder(tmp_path)
    made.trial(0, outcome=Outcome.FAILED, reason=REASON)
    said, text, page = made.report()
    assert said == []
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


def test_a_model_that_is_no_faster_is_said_to_be_none(tmp_path):
    made = Folder(tmp_path, "steps=5,10")
    made.trial(0, 0.09, 0.09, steps=5)
    made.trial(1, 0.05, 0.05, steps=10)
    made.final({5: 0.1, 10: 0.04, 20: 0.03}, t0=0.15, t1=0.06)
    _, text, _ = made.report()
    assert "* **not faster** than the base model" in text
    # two thirds of the way from 5 evaluations, 0.1, to 10, 0.04
    assert f"with about {5 * 2 ** (2 / 3):.0f} (interpolated" in text
    assert "by the errors): finetuning made it no faster." in text

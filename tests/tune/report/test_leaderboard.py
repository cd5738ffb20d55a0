import io
from pathlib import Path

import pytest
from rich.console import Console

from tune.report.blocks import table
from tune.report.curves import draw_curves
from tune.report.leaderboard import trial_table, write_table
from tune.scoring.final_scores import BASE, Row, Subject
from tune.study.console import plus_minus
from tune.study.folder import COMPLETED, FAILED, STOPPED, Study, TrialRecord

POINT = {"features": "contrastive", "kernel": "rational_quadratic", "learning_rate": 4.7e-05, "schedule": "quadratic"}


def trial(number, outcome, *scores):
    curve = [
        {
            "update": 30 * (i + 1),
            "score": score,
            **{
                f"kid_{s}{e}": v for s in ("classifier", "contrastive") for e, v in (("", score / 9), ("_stderr", 0.01))
            },
        }
        for i, score in enumerate(scores)
    ]
    reason = "update 9 has loss nan: the run diverged" if outcome == FAILED else ""
    return TrialRecord(number, Path(), POINT, outcome, reason, 12.3, curve)


TRIALS = [trial(0, COMPLETED, 0.8, 0.5), trial(1, STOPPED, 0.9), trial(2, COMPLETED, 0.2, -0.01), trial(3, FAILED)]


@pytest.mark.parametrize("width", [80, 160])
def test_the_table_fits_the_terminal_and_loses_nothing(width):
    console = Console(file=io.StringIO(), width=width, soft_wrap=True, highlight=False)
    write_table(console, TRIALS)
    text = console.file.getvalue()
    lines = text.splitlines()
    table = lines[: 1 + len(TRIALS)]
    assert max(map(len, table)) <= width
    assert [line.split()[1] for line in table] == ["trial", "002", "000", "001", "003"]
    assert "-0.001 ± 0.010" in table[1]
    for words in ("the run diverged", "kernel=rational_quadratic"):
        assert words in " ".join(text.split())


def test_the_markdown_table_has_as_many_cells_in_every_row():
    shown = trial_table(TRIALS, {"kid_classifier": 0.1, "kid_classifier_stderr": 0.01}, {2: "best", 0: "tie"})
    lines = table(shown).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) == 2 + len(TRIALS) + 1
    place = shown.head.index("against the best")
    assert [row[place] for row in shown.rows] == ["best", "tie", "", "", ""]


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(0.08647, 0.0334, "0.086 ± 0.033"), (-0.0012, 0.00051, "-0.00120 ± 0.00051"), (0.5, None, "0.5"), (3, 0, "3")],
)
def test_numbers_have_two_digits_of_their_error(value, error, text):
    assert plus_minus(value, error) == text


@pytest.mark.parametrize("trials", [TRIALS, TRIALS[:2], TRIALS[3:]])
def test_the_figure_survives_negative_estimates_and_trials_without_any(tmp_path, trials):
    class Settings:
        first = {"steps": 5}  # noqa: RUF012

    base = {"kid_classifier": 0.1, "kid_contrastive": 0.2}
    rows = [Row(Subject(BASE, steps), 10, base) for steps in (5, 20, 50)]
    file = draw_curves(Study(tmp_path, Settings()), trials, base, rows)
    assert (file is None) == (len(trials) == 1)
    assert file is None or file.stat().st_size > 10_000

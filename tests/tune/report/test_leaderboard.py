import io
from pathlib import Path

import pytest
from rich.console import Console

from mmd_ddm.evaluation.metrics import read_metrics
from mmd_ddm.experiment.config_groups import SamplerConfig
from mmd_ddm.experiment.run_folder import Scoring
from mmd_ddm.experiment.scoring.scored_model import BASE, Scored, ScoredModel
from tests.tune.made_study import BEST, PAPER, kids
from tune.report.curves import draw_curves
from tune.report.leaderboard import trial_table, write_table
from tune.report.render import show
from tune.space.space import default_space
from tune.study.folder import Outcome, Study, Trial
from tune.study.format import plus_minus
from tune.study.settings import Machines, SearchSettings

POINT = {"features": "contrastive", "kernel": "rational_quadratic", "learning_rate": 4.7e-05, "schedule": "quadratic"}


def trial(number, outcome, *scores):
    curve = [Scoring(30 * i, score, read_metrics(kids(score / 9, 0.01))) for i, score in enumerate(scores, 1)]
    reason = "update 9 has loss nan: the run diverged" if outcome is Outcome.FAILED else ""
    return Trial(number, Path(), BEST.replace(**POINT), POINT, outcome, reason, 12.3, curve)


TRIALS = [
    trial(0, Outcome.COMPLETED, 0.8, 0.5),
    trial(1, Outcome.STOPPED, 0.9),
    trial(2, Outcome.COMPLETED, 0.2, -0.01),
    trial(3, Outcome.FAILED),
]


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
    baseline = read_metrics({"kid_classifier": 0.1, "kid_classifier_stderr": 0.01})
    shown = trial_table(TRIALS, baseline, {2: "best", 0: "tie"})
    lines = show(shown).splitlines()
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
    settings = SearchSettings(BEST, PAPER, default_space(BEST), 9, 0, 10, Machines(0, 0.0, 1))
    base = read_metrics({"kid_classifier": 0.1, "kid_contrastive": 0.2})
    rows = [Scored(ScoredModel(BASE, SamplerConfig(steps=steps)), base, 10, steps) for steps in (5, 20, 50)]
    file = draw_curves(Study(tmp_path, settings), trials, base, rows)
    assert (file is None) == (len(trials) == 1)
    assert file is None or file.stat().st_size > 10_000

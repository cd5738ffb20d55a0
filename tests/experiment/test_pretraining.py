from pathlib import Path

import pytest

from mmd_ddm.cli.main import main
from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.metrics import Metric
from mmd_ddm.experiment.pretraining import BUDGETS, advice, open_scores

FEW, MANY = BUDGETS


def at(space: str, few: float, many: float, error: float = 0.01) -> dict[int, dict[str, Metric]]:
    found = zip(BUDGETS, (few, many), strict=True)
    return {steps: {space: Metric("kid", value, space, stderr=error)} for steps, value in found}


def test_a_model_that_still_improves_wants_more_training() -> None:
    gap, progress = advice({50: at("a", 0.9, 0.5), 100: at("a", 0.8, 0.3)})
    assert "something for finetuning to win" in gap
    assert "more updates would help" in progress


def test_differences_within_the_error_are_none() -> None:
    # two standard errors of a difference of two: 2 sqrt(2) 0.01 = 0.028
    gap, progress = advice({50: at("a", 0.9, 0.325), 100: at("a", 0.325, 0.3)})
    assert "In a, 50 evaluations score no better than 5" in gap
    assert "hardly help" in progress


def test_nothing_is_said_of_nothing() -> None:
    assert advice({}) == []
    assert len(advice({9: at("a", 0.9, 0.1)})) == 1  # one scoring shows no progress


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="score_images is 3"):
        open_scores("digits", None, None, tmp_path / "x", images=3)


def test_the_command_scores_on_its_way_and_keeps_the_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ["--updates", "2", "--batch", "4", "--channels", "8,8", "--scorings", "2", "--score-images", "8"]
    assert main(["pretrain", *short, "--score-features", "contrastive", "--output", str(tmp_path / "x")]) == 0
    told = capsys.readouterr().out
    assert [f"update {update}: KID with {steps}" in told for update in (1, 2) for steps in BUDGETS] == [True] * 4
    assert (tmp_path / "x/scores.json").is_file()
    assert [each.name for each in tmp_path.iterdir()] == ["x"]

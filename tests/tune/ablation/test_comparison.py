"""What is written of a grid whose scores are given: Markdown and its page, CSV and the figure."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import pytest

from mmd_ddm.experiment.presets import preset
from mmd_ddm.experiment.scoring.scored_model import BASE
from mmd_ddm.files import write_json
from tests.tune.report.test_render import NASTY, Reader
from tune.ablation.cell_scores import missing_scores, scores_file, trial_numbers
from tune.ablation.comparison import Column, compare
from tune.ablation.figure import draw_grid
from tune.ablation.make_grid import table_grid
from tune.ablation.paper_tables import TABLES
from tune.ablation.report import headline, report_text, write_csv, write_report
from tune.commands.run_ablation import begin_cells
from tune.study.folder import Outcome, Study
from tune.study.settings import AblationSettings, Machines

LINEAR, QUADRATIC, BASE_LINEAR, BASE_QUADRATIC = 2, 3, 0, 1  # rows of table VII


def ablation(folder, name="VII", dataset="digits", seeds=3, images=5000):
    table = TABLES[name]
    grid = table_grid(table, preset("paper", dataset), steps=(5, 10), seeds=seeds, images=images, preset="paper")
    study = Study.create(folder / "a", AblationSettings(grid.config, Machines(0, 0.0, 1)))
    begin_cells(study, [grid])
    return study, grid


def give(study, grid, kids, *, failed=(), reason="loss is nan"):
    """Complete all cells; KID of a row, budget and seed in all spaces, and 100 times that as FID."""
    numbers = trial_numbers(study)
    for cell in grid.cells():
        finetuned = grid.rows[cell.row].finetuned
        number = numbers.get(cell.config)
        if finetuned:
            wrong = (cell.row, cell.steps, cell.seed) in failed
            study.end_trial(number, Outcome.FAILED if wrong else Outcome.COMPLETED, reason if wrong else "", 1.0)
            if wrong:
                continue
        kid = kids[cell.row, cell.steps][cell.seed]
        scores = {}
        for space in grid.spaces:
            scores |= {f"kid_{space}": kid, f"kid_{space}_stderr": 0.01, f"fid_{space}_{grid.images}": 100 * kid}
        file = scores_file(study, grid, cell, numbers)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, scores)


# at 5: 0.10 +- 0.01 against 0.11 +- 0.01: t = 1.22, a tie; at 10: 0.10 against 0.20: t = 12, behind
KIDS = {
    (BASE_LINEAR, 5): (0.9, 0.91, 0.92),
    (BASE_QUADRATIC, 5): (1.9, 1.91, 1.92),
    (LINEAR, 5): (0.10, 0.11, 0.12),
    (QUADRATIC, 5): (0.09, 0.10, 0.11),
    (BASE_LINEAR, 10): (0.5, 0.51, 0.52),
    (BASE_QUADRATIC, 10): (0.6, 0.61, 0.62),
    (LINEAR, 10): (0.09, 0.10, 0.11),
    (QUADRATIC, 10): (0.19, 0.20, 0.21),
}


def lines_of(text, heading):
    section = text.split(f"## {heading}\n\n")[1].split("\n\n")[0]
    return {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in section.splitlines()
    }


def test_markdown_marks_the_best_ties_and_the_trained_space(tmp_path):
    study, grid = ablation(tmp_path)
    give(study, grid, KIDS)
    compared = compare(study, grid)
    text = report_text(compared)
    trained = lines_of(text, "KID in classifier features, trained on")
    # 95 % of three seeds: 4.303 x 0.01 / sqrt(3) = 0.0248
    assert trained["linear"] == ["0.110 ± 0.025 ≈ †", "**0.100 ± 0.025** †"]
    assert trained["quadratic"] == ["**0.100 ± 0.025** †", "0.200 ± 0.025 †"]
    assert trained["base model (DDIM)"] == ["0.910 ± 0.025", "0.510 ± 0.025"]
    held_out = lines_of(text, "KID in contrastive features, held out")
    assert held_out["quadratic"] == ["**0.100 ± 0.025**", "0.200 ± 0.025"]
    assert lines_of(text, "FID in contrastive features, held out")["linear"] == ["11.0 ± 2.5 ≈", "**10.0 ± 2.5**"]
    assert headline(compared)[:2] == [
        "Best KID in classifier with 5 evaluations: quadratic; tied with linear.",
        "Best KID in classifier with 10 evaluations: linear; no other is tied with it.",
    ]
    assert "Table VII is not on digits; its numbers are left out" in text
    assert "Welch" in text
    assert text.startswith(f"# {grid.title}\n\nData set digits; ")
    assert "* **quadratic** has the best KID in classifier features with 5 evaluations; tied with linear\n" in text


def test_the_page_shows_the_same_with_the_figure_and_labels_and_reasons_as_they_are(tmp_path):
    study, grid = ablation(tmp_path)
    grid = replace(grid, rows=tuple(replace(row, label=f"{row.label} {NASTY}") for row in grid.rows))
    give(study, grid, KIDS, failed=[(LINEAR, 5, 1)], reason=NASTY)
    files = write_report(study.folder, compare(study, grid))
    assert [file.name for file in files] == [f"table-VII.{kind}" for kind in ("md", "html", "csv", "png")]
    assert f"![{grid.title}](table-VII.png)" in files[0].read_text()
    page = files[1].read_text()
    read = Reader(page)
    assert read.texts("title") == read.texts("h1") == [grid.title]
    assert f"quadratic {NASTY}" in read.texts("strong")  # the first facts
    assert [text for text in read.texts("td") if text.startswith("linear")] == [f"linear {NASTY}"] * 4
    (gap,) = (text for text in read.texts("li") if "seed 1" in text)
    assert gap.startswith(f"linear {NASTY}, 5 evaluations")
    assert gap.endswith(f"failed ({NASTY}); --resume tries it again")
    assert not {"script", "em", "a"} & read.tags
    assert page.count("data:image/png;base64,") == 1


def test_csv_has_a_line_for_each_row_budget_and_metric(tmp_path):
    study, grid = ablation(tmp_path)
    give(study, grid, KIDS)
    with write_csv(study.folder, compare(study, grid)).open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 4 * 2 * 4
    by_key = {(row["row"], row["steps"], row["metric"], row["space"]): row for row in rows}
    one = by_key["quadratic", "5", "kid", "classifier"]
    assert (one["mean"], one["spread"], one["seeds"], one["verdict"]) == ("0.1", "0.0248", "3", "best")
    assert {row["role"] for row in rows if row["space"] == "classifier"} == {"base model", "trained"}
    assert {row["role"] for row in rows if row["space"] == "contrastive"} == {"base model", "held out"}


def test_one_seed_is_said_to_be_blind_to_training(tmp_path):
    study, grid = ablation(tmp_path, seeds=1)
    give(study, grid, KIDS)
    text = report_text(compare(study, grid))
    # a difference of 0.01 has the error 0.014
    assert lines_of(text, "KID in contrastive features, held out")["linear"][0] == "0.100 ± 0.010 ≈"
    assert lines_of(text, "FID in contrastive features, held out")["linear"][0] == "10"
    assert "blind to the noise of training" in text


def test_a_failed_cell_is_told_and_the_rest_compared(tmp_path):
    study, grid = ablation(tmp_path)
    give(study, grid, KIDS, failed=[(LINEAR, 5, 1), *((QUADRATIC, 10, seed) for seed in range(3))])
    text = report_text(compare(study, grid))
    cells = lines_of(text, "KID in classifier features, trained on")
    assert cells["linear"][0].endswith("(2 of 3 seeds)")
    assert cells["quadratic"][1] == "failed"
    missing = text.split("## Missing")[1]
    assert "linear, 5 evaluations, seed 1" in missing
    assert "failed (loss is nan)" in missing
    assert missing.count("* ") == 4


def test_the_papers_numbers_stand_beside_and_apart(tmp_path):
    study, grid = ablation(tmp_path, "I", "cifar10", seeds=1, images=50_000)
    kids = {(row, steps): (0.1 if grid.rows[row].finetuned else 0.2,) for row in range(4) for steps in (5, 10)}
    give(study, grid, kids)
    text = report_text(compare(study, grid))
    fid = lines_of(text, "FID in inception features")
    assert fid["finetuned in inception"] == ["**10** † (paper 5.48)", "**10** † (paper 3.80)"]
    assert fid["finetuned in clip"] == ["10 (paper 6.79)", "10 (paper 4.87)"]
    assert fid["base model (DDPM)"] == ["20 (paper 76.3)", "20 (paper 42.1)"]
    assert "| GENIE | FID_inception_50k | 13.9 | 5.97 | 4.49 | 3.94 |" in text
    with (write_csv(study.folder, compare(study, grid))).open() as stream:
        rows = list(csv.DictReader(stream))
    apart = [row for row in rows if row["status"] == "not run"]
    assert {"GENIE", "PNDM"} < {row["row"] for row in apart}
    assert all(not row["mean"] for row in apart)


def test_table_v_tells_changes_against_the_base_model(tmp_path):
    study, grid = ablation(tmp_path, "V", "cifar10", seeds=1, images=50_000)
    kids = {(row, steps): (0.327 if row == 0 else 0.0654,) for row in range(3) for steps in (5, 10)}
    give(study, grid, kids)
    text = report_text(compare(study, grid))
    # 0.0654 twice is a tie, and the first of them stands for both
    assert headline(compare(study, grid))[0] == (
        "Best KID in inception with 5 and 10 evaluations: finetuned in inception; tied with finetuned in clip."
    )
    section = text.split("## Change of FID against the base model")[1]
    # (6.54 - 32.7) / 32.7; the paper's own: (5.48 - 32.7) / 32.7
    assert "| finetuned in inception | -80.0 % (paper -83.2 %) | -80.0 % (paper -72.1 %) |" in section
    assert "| base model (DDIM) |  |  |" in section


def test_the_figure_is_drawn(tmp_path):
    study, grid = ablation(tmp_path)
    assert draw_grid(study.folder, compare(study, grid)) is None
    give(study, grid, {**KIDS, (LINEAR, 5): (-0.01, 0.0, 0.01)})
    from matplotlib.image import imread

    file = draw_grid(study.folder, compare(study, grid))
    assert file.name == "table-VII.png"
    assert imread(file).std() > 0.05


def test_cells_are_known_by_their_configuration(tmp_path):
    study, grid = ablation(tmp_path)
    give(study, grid, KIDS, failed=[(LINEAR, 10, 0)])
    failed = trial_numbers(study)[next(c.config for c in grid.cells() if (c.row, c.steps, c.seed) == (LINEAR, 10, 0))]
    assert begin_cells(study, [grid]) == [failed]  # of its own cells only what failed is left
    table = TABLES["VIII"]
    other = table_grid(table, preset("paper", "digits"), steps=(5, 20), seeds=3, images=5000, preset="paper")
    new = begin_cells(study, [other])
    # DDIM at 5 is the row `linear` of table VII; at 20, and DDPM, are new
    finetuned = [cell for cell in other.cells() if other.rows[cell.row].finetuned]
    assert len(finetuned) == 12
    assert len(new) == 9
    assert [study.trial(number).steps for number in new] == sorted(
        (study.trial(number).steps for number in new), reverse=True
    )
    more = table_grid(TABLES["VII"], preset("paper", "digits"), steps=(5,), seeds=3, images=60, preset="paper")
    assert len(begin_cells(study, [replace(more, config=grid.config)])) == 0
    assert {task.file.name.split("_")[-1] for task in missing_scores(study, replace(more, config=grid.config))} == {
        "60.json"
    }


def test_what_was_scored_is_not_scored_again(tmp_path):
    study, grid = ablation(tmp_path)
    assert {task.model.role for task in missing_scores(study, grid)} == {BASE}  # no cell is complete yet
    give(study, grid, KIDS)
    assert missing_scores(study, grid) == []
    wider = replace(grid, rows=(*grid.rows, replace(grid.rows[-1], settings={"features": "pixels+classifier"})))
    assert wider.spaces == ("classifier", "contrastive", "pixels")


def test_precision_and_recall_stand_in_table_ix_and_the_largest_is_best(tmp_path):
    study, grid = ablation(tmp_path, "IX", seeds=1)
    give(study, grid, {(row, steps): (0.1 * (row + 1),) for row in range(3) for steps in (5, 10)})
    assert len(missing_scores(study, grid)) == 6  # KID and FID alone are not all
    numbers = trial_numbers(study)
    for cell in grid.cells():
        file = scores_file(study, grid, cell, numbers)
        more = {f"{kind}_{space}": 0.1 * (cell.row + 1) for kind in ("precision", "recall") for space in grid.spaces}
        write_json(file, {**json.loads(file.read_text()), **more})
    assert missing_scores(study, grid) == []
    compared = compare(study, grid)
    assert compared.verdicts(Column("kid", "classifier"), 5)[0] == "best"
    assert compared.verdicts(Column("recall", "classifier"), 5) == ["", "", "best"]
    text = report_text(compared)
    assert lines_of(text, "Recall in contrastive features")["finetuned in contrastive"] == ["**0.3** †", "**0.3** †"]
    assert draw_grid(study.folder, compared) is not None


@pytest.mark.parametrize("kind", [Outcome.COMPLETED, Outcome.FAILED])
def test_a_cell_that_is_begun_again_is_running(tmp_path, kind):
    study, grid = ablation(tmp_path)
    study.end_trial(0, kind, "", 1.0)
    cell = next(cell for cell in grid.cells() if grid.rows[cell.row].finetuned)
    study.begin_trial(0, cell.config, {})
    assert study.trial(0).outcome is Outcome.RUNNING

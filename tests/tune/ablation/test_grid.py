"""Grids: those of the paper's tables against what is printed there, and one's own."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from mmd_ddm.errors import UserError
from mmd_ddm.experiment.presets import preset
from tune.ablation.comparison import PAPER_METRICS, Comparison
from tune.ablation.grid import check_grid, read_grids, save_grid
from tune.ablation.make_grid import key_grid, table_grid
from tune.ablation.paper_tables import DATASETS, NUMBERS, TABLES
from tune.ablation.report import _left_out

PRINTED = list(csv.DictReader(line for line in NUMBERS.read_text().splitlines() if not line.startswith("#")))
METRICS = {
    "fid_inception": "FID_inception_50k",
    "fid_clip": "FID_CLIP",
    "is": "inception_score",
    "sfid": "sFID",
    "precision_inception": "precision",
    "recall_inception": "recall",
}
COLUMNS = {column.name: column for column in PAPER_METRICS}


def grid_of(name, dataset=None, steps=None, seeds=1, which="paper"):
    table = TABLES[name]
    config = preset(which, dataset or table.dataset)
    return table_grid(table, config, steps=steps or table.steps, seeds=seeds, images=5000, preset=which)


def own(*texts, dataset="digits", steps=(5,), seeds=1):
    return key_grid(texts, preset("best", dataset), steps=steps, seeds=seeds, images=100, preset="best")


def row(grid, label):
    return next(number for number, each in enumerate(grid.rows) if each.label == label)


@pytest.mark.parametrize(
    ("table", "label", "metric", "steps", "value"),
    [  # read from the paper
        ("I", "base model (DDIM)", "fid_inception", 15, "9.31"),
        ("I", "base model (DDPM)", "fid_inception", 5, "76.3"),
        ("I", "finetuned in inception", "fid_inception", 10, "3.80"),
        ("I", "finetuned in clip", "fid_inception", 20, "4.52"),
        ("II", "finetuned in inception", "fid_inception", 15, "2.13"),
        ("III", "base model (DDIM)", "fid_inception", 5, "131.5"),
        ("IV", "finetuned in clip", "fid_inception", 5, "14.2"),
        ("V", "finetuned in inception", "fid_clip", 10, "2.01"),
        ("V", "base model (DDIM)", "fid_clip", 5, "13.7"),
        ("VI", "linear", "fid_inception", 20, "4.06"),
        ("VI", "Gaussian RBF, sigma^2 = d/2", "fid_inception", 5, "5.89"),
        ("VI", "cubic", "fid_inception", 10, "3.80"),
        ("VII", "quadratic", "fid_inception", 5, "5.19"),
        ("VII", "linear", "fid_inception", 20, "3.55"),
        ("VIII", "base model (DDPM)", "fid_inception", 10, "42.1"),
        ("VIII", "DDPM, finetuned", "fid_inception", 20, "4.48"),
        ("VIII", "DDIM, finetuned", "fid_inception", 5, "5.48"),
        ("VI", "base model (DDIM)", "fid_inception", 10, "13.6"),  # printed in Table I
        ("IX", "finetuned in clip", "is", 15, "9.52"),
        ("IX", "base model (DDIM)", "sfid", 10, "10.73"),
        ("IX", "finetuned in inception", "precision_inception", 5, "0.63"),
        ("IX", "finetuned in clip", "recall_inception", 20, "0.57"),
    ],
)
def test_the_papers_number_stands_beside_its_cell(table, label, metric, steps, value):
    grid = grid_of(table)
    assert Comparison(grid, {}, {}).paper(COLUMNS[metric], row(grid, label), steps) == value


@pytest.mark.parametrize("name", TABLES)
def test_each_number_of_a_table_stands_beside_one_cell_or_in_the_list_of_what_is_not_run(name):
    table = TABLES[name]
    compared = Comparison(grid_of(name), {}, {})
    rows = [each for each in PRINTED if (each["table"], each["dataset"]) == (name, DATASETS[table.dataset])]
    there = {(each["method"], each["metric"]) for each in rows}  # what it lacks of the base model is in other tables
    beside = [
        (metric, steps, value)
        for number, each in enumerate(compared.grid.rows)
        for ours, metric in METRICS.items()
        for steps in table.steps
        if (each.paper.get("method"), metric) in there and (value := compared.paper(COLUMNS[ours], number, steps))
    ]
    apart = [(each.metric, each.steps, each.value) for each in _left_out(compared)]
    printed = [
        (each["metric"], int(each["steps"]), each["value"])
        for each in rows
        if not each["metric"].endswith("change_pct")
    ]
    assert sorted(beside + apart) == sorted(printed)


def test_other_papers_methods_are_not_run():
    methods = {number.method for number in _left_out(Comparison(grid_of("I"), {}, {}))}
    assert methods == {"GENIE", "PNDM", "FastDPM", "Learned Sampler", "Analytic DDIM", "DPM-Solver(Type-1)",
                       "DPM-Solver(Type-2)"}  # fmt: skip
    assert _left_out(Comparison(grid_of("I", "digits"), {}, {})) == []


def test_the_settings_of_the_ablations_are_the_papers():
    common = {"features": "inception", "kernel": "cubic", "bandwidth": None, "schedule": "linear", "sampler": "ddim",
              "eta": 0.0, "learning_rate": 5e-6, "updates": 500, "batch": 128}  # fmt: skip
    expected = {
        "VI": [{"kernel": "linear"}, {"kernel": "rbf", "bandwidth": "dim"}, {}],
        "VII": [{}, {"schedule": "quadratic"}],
        "VIII": [{"sampler": "ddpm"}, {}],
        "V": [{}, {"features": "clip"}],
    }
    for name, rows in expected.items():
        grid = grid_of(name)
        cells = [cell for cell in grid.cells() if grid.rows[cell.row].finetuned]
        found = [{key: cell.config.flat()[key] for key in common} | {"steps": cell.steps} for cell in cells]
        assert found == [{**common, **each, "steps": steps} for each in rows for steps in TABLES[name].steps]


def test_the_base_model_stands_in_every_table_with_each_sampler_and_schedule():
    labels = {name: [each.label for each in grid_of(name).rows if not each.finetuned] for name in TABLES}
    ddim, ddpm = "base model (DDIM)", "base model (DDPM)"
    both = {"I": [ddpm, ddim], "VII": [ddim, "base model (DDIM, quadratic)"], "VIII": [ddpm, ddim]}
    assert labels == {name: both.get(name, [ddim]) for name in TABLES}


def test_on_digits_the_data_sets_own_spaces_stand_in_and_are_named():
    grid = grid_of("V", "digits", which="best")
    assert grid.spaces == ("classifier", "contrastive")
    finetuned = [each for each in grid.rows if each.finetuned]
    assert [each.label for each in finetuned] == ["finetuned in classifier", "finetuned in contrastive"]
    assert [grid.trained(each) for each in finetuned] == [("classifier",), ("contrastive",)]
    assert any("classifier stands in for the paper's Inception-V3" in note for note in grid.notes)
    cell = next(iter(grid_of("VII", "digits", which="best").cells())).config
    assert (cell.objective.kernel, cell.objective.bandwidth, cell.objective.features) == ("cubic", None, "classifier")
    assert (cell.optimization.learning_rate, cell.optimization.updates) == (2e-4, 120)


def test_measures_of_inception_are_left_out_where_it_is_not():
    assert grid_of("IX").measures == ("kid", "fid", "precision_recall", "is", "sfid")
    assert grid_of("IX").networks == "inception+clip+inception_logits+inception_spatial"
    assert grid_of("IX", "digits").measures == ("kid", "fid", "precision_recall")
    assert grid_of("IX", "digits").networks == "classifier+contrastive"


def test_a_grid_of_ones_own_has_all_combinations_that_mean_something():
    grid = own("kernel=cubic,rbf", "bandwidth=dim,median", "steps=3,5", seeds=2)
    settings = [each.settings for each in grid.rows if each.finetuned]
    assert settings == [  # cubic has no bandwidth, so it is there once
        {"kernel": "cubic"},
        {"kernel": "rbf", "bandwidth": "dim"},
        {"kernel": "rbf", "bandwidth": "median"},
    ]
    assert grid.steps == (3, 5)
    assert grid.seeds == (0, 1)
    cells = [cell for cell in grid.cells() if grid.rows[cell.row].finetuned]
    assert len({str(cell.config.flat()) for cell in cells}) == len(cells) == 3 * 2 * 2
    assert cells[0].config.objective.bandwidth is None  # that of the preset is put aside


def test_samplers_of_ones_own_grid_put_aside_what_belongs_to_the_other():
    grid = own("sampler=ddim,ddpm", "eta=0,0.5")
    assert [each.settings for each in grid.rows if each.finetuned] == [
        {"sampler": "ddim", "eta": 0.0},
        {"sampler": "ddim", "eta": 0.5},
        {"sampler": "ddpm"},
    ]
    base = [each.label for each in grid.rows if not each.finetuned]
    assert base == ["base model (DDIM)", "base model (DDIM, eta 0.5)", "base model (DDPM)"]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["kernel"], "'kernel' is not key=values"),
        (["kernel=cubic,,rbf"], "is not key=values"),
        (["nope=1"], "'nope' can't be compared"),
        (["seed=1,2"], "for seeds there is --seeds"),
        (["kernel=cubic", "kernel=rbf"], "names a setting twice"),
        (["kernel=cubic,foo"], "kernel term 'foo' is not known"),
        (["learning_rate=1e-4,2"], "learning_rate is 2.0; it must be"),
        (["updates=1.5"], "updates is '1.5'; it must be"),
        (["features=classifier,nope"], "nope"),
        (["steps=5,2000"], "a budget is 1 to 1000"),
        (["kernel=cubic", "bandwidth=dim"], ""),
    ],
)
def test_a_wrong_grid_is_said_in_one_sentence(texts, words):
    if not words:
        assert len(own(*texts).rows) == 2
        return
    with pytest.raises(UserError, match=r"^[^\n]+$") as raised:
        check_grid(own(*texts))
    assert words in str(raised.value)


def test_grids_are_kept_and_two_of_a_name_side_by_side(tmp_path: Path):
    one, other = grid_of("VII", "digits"), grid_of("VII", "digits", steps=(5,))
    assert save_grid(tmp_path, one) == one
    assert save_grid(tmp_path, one) == one
    assert save_grid(tmp_path, other).name == "table-VII-2"
    assert save_grid(tmp_path, other).name == "table-VII-2"
    assert [each.steps for each in read_grids(tmp_path)] == [other.steps, one.steps]
    assert one in read_grids(tmp_path)
    (tmp_path / "grids" / "table-VII.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        read_grids(tmp_path)

"""Every file that a later command believes: whatever is wrong with it ends in one sentence with its name."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from mmd_ddm.cli.finetune import _config
from mmd_ddm.cli.main import build_parser
from mmd_ddm.data.names import MANIFEST
from mmd_ddm.data.store import Rows, RowWriter
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.metrics import read_metrics
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.config_groups import SamplerConfig
from mmd_ddm.experiment.inference.sample_folder import RECORD as DRAWN
from mmd_ddm.experiment.inference.sample_folder import own_files
from mmd_ddm.experiment.run_folder import CONFIG, METRICS, read_scorings
from mmd_ddm.experiment.scoring.model_record import read_record
from mmd_ddm.experiment.scoring.scored_model import BASE, Scored, ScoredModel, read_scored, write_scored
from mmd_ddm.experiment.tracking.tracked_run import STATE, SyncState
from mmd_ddm.files import write_json
from mmd_ddm.pretrained.configs import scheduler_config
from mmd_ddm.pretrained.load import load_network
from mmd_ddm.pretrained.locate import SHIPPED
from mmd_ddm.pretrained.record import RECORD
from tests.tune.made_study import Folder
from tune.ablation.grid import Grid, read_grids, save_grid
from tune.ablation.grid import Row as GridRow
from tune.study.folder import Study
from tune.study.settings import FILE, SearchSettings

Read = Callable[[], object]
WRONG: tuple[object, ...] = (None, -1, 1e300, 10**400, float("nan"), "x", True, [], [[]], {}, {"x": []}, [1, "x"])
BROKEN = ("", "{", "[1]", "null", "7", '"x"', "[" * 200_000, '{"a":' * 200_000, "\x00\x01")


def model_record(folder: Path) -> tuple[Path, Read]:
    how = {"sampler": "ddim", "steps": 5, "eta": 0.0, "variance": "model", "config": Config().flat()}
    write_json(folder / RECORD, how)
    return folder / RECORD, lambda: read_record(folder)


def metrics(folder: Path) -> tuple[Path, Read]:
    row = {"time": 1.0, "update": 3, "score": 0.5, "kid_classifier": 0.1, "kid_classifier_stderr": 0.01}
    (folder / METRICS).write_text(json.dumps(row) + "\n")
    return folder / METRICS, lambda: read_scorings(folder)


def run_config(folder: Path) -> tuple[Path, Read]:
    write_json(folder / CONFIG, Config().flat())
    options = build_parser().parse_args(["finetune", "--resume", "--output", str(folder)])
    return folder / CONFIG, lambda: _config(options, folder)


def manifest(folder: Path) -> tuple[Path, Read]:
    writer = RowWriter(folder / "rows", dtype=torch.uint8, shape=(2, 3), parts=1, key={})
    writer.write(0, torch.zeros(4, 2, 3, dtype=torch.uint8))
    writer.finish({})
    return folder / "rows" / MANIFEST, lambda: Rows(folder / "rows")[:]


def scores(folder: Path) -> tuple[Path, Read]:
    found = read_metrics({"kid_classifier": 0.1})
    write_scored(folder / "scores.json", [Scored(ScoredModel(BASE, SamplerConfig()), found, 10, 5)])
    return folder / "scores.json", lambda: read_scored(folder / "scores.json")


def sync_state(folder: Path) -> tuple[Path, Read]:
    write_json(folder / STATE, vars(SyncState("abc", "1", ["a"], {"t": "x"}, {"kid": 3}, {"f": 1.0}, [3], ["model"])))
    return folder / STATE, lambda: SyncState.read(folder)


def study(folder: Path) -> tuple[Path, Read]:
    made = Folder(folder).study
    return made.folder / FILE, lambda: Study.open(made.folder, SearchSettings)


def trial(folder: Path) -> tuple[Path, Read]:
    made = Folder(folder)
    made.trial(1, 0.1)
    return made.study.trial_folder(1) / "trial.json", made.study.trials


def outcome(folder: Path) -> tuple[Path, Read]:
    made = Folder(folder)
    made.trial(1, 0.1)
    return made.study.trial_folder(1) / "outcome.json", made.study.trials


def grid(folder: Path) -> tuple[Path, Read]:
    made = Grid("g", "G", Config(), (GridRow("base", {}, False),), (5,), (0,), 10)
    save_grid(folder, made)
    return folder / "grids/g.json", lambda: read_grids(folder)


def drawn(folder: Path) -> tuple[Path, Read]:
    write_json(folder / DRAWN, {"images": 3})
    return folder / DRAWN, lambda: own_files(folder)


def scheduler(folder: Path) -> tuple[Path, Read]:
    shutil.copytree(SHIPPED / "digits", folder / "model")
    file = folder / "model/scheduler/scheduler_config.json"
    return file, lambda: NoiseSchedule.from_scheduler_config(scheduler_config(folder / "model"))


FILES = (
    model_record, metrics, run_config, manifest, scores, sync_state, study, trial, outcome, grid, drawn, scheduler,
)  # fmt: skip


def damages(whole: str) -> list[str]:
    """Broken texts, and the content with entries, of the objects within too, missing or of another type."""
    typed = list(_mistyped(whole))
    return [*BROKEN, whole[: len(whole) // 2], *typed[:: len(typed) // 60 + 1]]  # more take long and tell nothing new


def _mistyped(whole: str) -> Iterator[str]:
    content = json.loads(whole)
    for owner in list(_owners(content)):
        keys = list(owner) if isinstance(owner, dict) else range(len(owner))
        for key in keys:
            former = owner[key]
            for value in WRONG:
                owner[key] = value
                yield json.dumps(content)
            owner[key] = former
        for key in keys if isinstance(owner, dict) else ():
            former = owner.pop(key)
            yield json.dumps(content)
            owner[key] = former


def _owners(content: object) -> Iterator[dict[str, object] | list[object]]:
    if isinstance(content, (dict, list)):
        yield content
        for value in content.values() if isinstance(content, dict) else content:
            yield from _owners(value)


@pytest.mark.parametrize("make", FILES)
def test_damage_is_one_sentence_that_names_the_file(make: Callable[[Path], tuple[Path, Read]], tmp_path: Path) -> None:
    file, read = make(tmp_path)
    whole, refused = file.read_text(), 0
    assert read() is not None
    for text in damages(whole):
        file.write_text(text + "\n" * (make is metrics))
        try:
            read()
        except UserError as error:
            refused += 1
            told = str(error)
            assert str(file.parent) in told or make is scheduler, told
            assert len(told) < 1000
            assert "\n" not in told
    assert refused > 20
    file.write_text(whole)
    read()


@pytest.mark.parametrize("make", FILES)
def test_a_pipe_in_place_of_the_file_is_not_waited_for(
    make: Callable[[Path], tuple[Path, Read]], tmp_path: Path
) -> None:
    file, read = make(tmp_path)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(UserError, match="no regular file"):
        read()


def test_network_config_of_another_type_is_refused(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / "digits", tmp_path / "model")
    file = tmp_path / "model/unet/config.json"
    whole = file.read_text()
    for text in BROKEN:
        file.write_text(text)
        with pytest.raises(UserError, match=r"config\.json"):
            load_network(tmp_path / "model")
    file.write_text(whole)

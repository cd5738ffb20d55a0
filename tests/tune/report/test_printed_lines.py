"""Every command line that a report prints does what it says, for one's own images too."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mmd_ddm.cli.main import main
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.origins import Origins
from mmd_ddm.experiment.run_folder import BASELINE, METRICS, MODEL
from mmd_ddm.records import read_record
from tests.own_data import TINY, OwnData
from tune.report.write import write_report
from tune.space.space import default_space
from tune.study.folder import Outcome, Study
from tune.study.settings import Machines, SearchSettings


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OwnData:
    return OwnData(tmp_path, monkeypatch)


def study_of(run: Path) -> Study[SearchSettings]:
    """A study whose one trial is a run that was made by itself."""
    config = Config.from_flat(read_record(run / "config.json").entries)
    settings = SearchSettings(config, config, default_space(config), 1, 0, 4, Machines(0, 0, 1))
    study = Study.create(Path("s"), settings)
    study.begin_trial(0, config, {})
    shutil.copy(run / METRICS, study.trial_folder(0))
    shutil.copytree(run / MODEL, study.trial_folder(0) / MODEL)
    study.end_trial(0, Outcome.COMPLETED)
    base, _ = study.baseline(config)
    base.parent.mkdir()
    shutil.copy(run / BASELINE, base)
    Origins.read(run).write(study.folder)
    return study


def blocks(study: Study[SearchSettings]) -> list[tuple[str, str]]:
    """The blocks of a report that are to be copied, each with its language."""
    return re.findall(r"^```(\w*)\n(.*?)^```", (study.folder / "report.md").read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("images", ["own", "digits"])
def test_the_blocks_of_a_report_run_as_they_are(images: str, own: OwnData, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = [word for name, value in TINY.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert main(["finetune", *(own.options if images == "own" else settings), "--output", "run"]) == 0
    study = study_of(Path("run"))
    write_report(study)
    monkeypatch.delenv("MMD_DDM_WEIGHTS", raising=False)
    found = blocks(study)
    assert [language for language, _ in found] == ["", "python"]
    (_, command), (_, code) = found
    words = shlex.split(command.replace("\\\n", ""))  # as a shell joins lines
    assert words.pop(0) == "mmd-ddm"
    assert main(words) == 0
    made = Path(words[words.index("--output") + 1])
    weights = [load_file(each / MODEL / "unet" / "diffusion_pytorch_model.safetensors") for each in (Path("run"), made)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    names: dict[str, object] = {}
    exec(code, names)
    assert len(names["images"]) == 16  # type: ignore[arg-type]

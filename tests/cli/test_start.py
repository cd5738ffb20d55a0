"""What is imported before it is known that a command has anything to do: nothing that takes seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = ("prepare", "import", "pretrain", "finetune", "evaluate", "sample", "figures", "doctor", "cache")
SECONDS = ("torch", "diffusers", "ray", "mlflow", "optuna", "scipy", "sklearn", "pyarrow", "matplotlib")
TENTHS = ("numpy", "PIL")
# all in one interpreter, which is what takes the time: what one case imports is found in those after it too
RUN = """
import contextlib, importlib, io, json, sys
module, cases, slow = sys.argv[1], *map(json.loads, sys.argv[2:])
main, ended = importlib.import_module(module).main, []
for words in cases:
    with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            status = main(words)
        except SystemExit as end:
            status = end.code
    ended.append([status, out.getvalue() + err.getvalue(), sorted(set(slow) & set(sys.modules))])
print(json.dumps(ended))
"""


class Ended(NamedTuple):
    status: int
    said: str
    imported: list[str]


def run(module: str, cases: list[list[str]], slow: tuple[str, ...], folder: Path) -> list[Ended]:
    arguments = [sys.executable, "-c", RUN, module, json.dumps(cases), json.dumps(slow)]
    where = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(arguments, cwd=folder, env=where, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return [Ended(*each) for each in json.loads(ended.stdout)]


@pytest.mark.parametrize("module", ["mmd_ddm.cli.main", "tune.search", "tune.ablate"])
def test_help(module: str, tmp_path: Path) -> None:
    cases = [["--help"], *([name, "--help"] for name in COMMANDS if module == "mmd_ddm.cli.main")]
    for words, ended in zip(cases, run(module, cases, (*SECONDS, *TENTHS), tmp_path), strict=True):
        assert (ended.status, ended.imported) == (0, []), words
        assert "usage: " in ended.said


@pytest.mark.parametrize(
    ("module", "refused"),
    [
        (
            "mmd_ddm.cli.main",
            {
                "nonsense": "invalid choice: 'nonsense'",
                "finetune --nonsense": "unrecognized arguments",
                "evaluate --nonsense": "unrecognized arguments",
                "sample --nonsense": "unrecognized arguments",
                "figures --nonsense": "unrecognized arguments",
                "pretrain --nonsense": "unrecognized arguments",
                "finetune --dataset nonsense": "There is no data set 'nonsense'",
                "finetune --preset nonsense": "preset is 'nonsense'",
                "finetune --learning-rate -1": "learning_rate is -1.0",
                "finetune --kernel quartic": "kernel term 'quartic'",
                "finetune --features nonsense": "There is no feature space 'nonsense'",
                "finetune --steps 0": "steps is 0",
                "finetune --steps 5000": "a budget is 1 to 1000",
                "finetune --workers -1": "--workers is -1",
                "finetune --output held": "already holds a run",
                "finetune --resume --output none": "holds no run to resume",
                "finetune --data nowhere --resolution 16": "is not there",
                "finetune --base-model ./none": "base model './none' is not",
                "evaluate --model ./none": "base model './none' is not",
                "evaluate --dataset nonsense": "There is no data set 'nonsense'",
                "evaluate --features nonsense": "There is no feature space 'nonsense'",
                "evaluate --measures nonsense": "measure 'nonsense' is not known",
                "evaluate --steps a": "--steps is 'a'",
                "sample --model ./none": "base model './none' is not",
                "figures --model ./none": "base model './none' is not",
                "figures --dataset nonsense": "There is no data set 'nonsense'",
                "pretrain --dataset nonsense": "There is no data set 'nonsense'",
                "pretrain --width 8": "--width has no meaning for --what base",
                "prepare --dataset nonsense": "There is no data set 'nonsense'",
                "prepare --data nowhere --resolution 16": "is not there",
            },
        ),
        (
            "tune.search",
            {
                "": "--dataset is missing",
                "--nonsense": "unrecognized arguments",
                "--dataset nonsense": "There is no data set 'nonsense'",
                "--dataset digits --space kernel=quartic": "kernel term 'quartic'",
                "--dataset digits --space nonsense=1": "'nonsense' can't be searched",
                "--dataset digits --steps 5000": "a budget is 1 to 1000",
                "--dataset digits --score-features nonsense": "There is no feature space 'nonsense'",
                "--dataset digits --base-model ./none": "base model './none' is not",
                "--dataset digits --output held": "already holds a study",
                "--resume none": "none",
            },
        ),
        (
            "tune.ablate",
            {
                "--dataset digits": "name one of --table",
                "--table X --dataset digits": "invalid choice: 'X'",
                "--table VII --dataset nonsense": "There is no data set 'nonsense'",
                "--table VII --dataset digits --preset nonsense": "preset is 'nonsense'",
                "--grid kernel=quartic --dataset digits": "kernel term 'quartic'",
            },
        ),
    ],
)
def test_the_commonest_refusals(module: str, refused: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "held").mkdir()
    for name in ("config.json", "study.json"):
        (tmp_path / "held" / name).write_text("{}")
    found = run(module, [words.split() for words in refused], SECONDS, tmp_path)
    for (words, told), ended in zip(refused.items(), found, strict=True):
        assert (ended.status, ended.imported) == (2, []), words
        assert told in ended.said, words
    assert os.listdir(tmp_path) == ["held"]

"""The README is the manual: it knows every setting, preset, command and option."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mmd_ddm.cli.main import build_parser
from mmd_ddm.experiment.config import settings
from mmd_ddm.experiment.presets import preset
from tune.ablate import parser as ablate_parser
from tune.search import parser as search_parser

README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.mark.parametrize("item", settings(), ids=lambda item: item.name)
def test_settings_are_listed_with_their_help(item) -> None:
    best = preset("best", "digits").flat()[item.name]
    shown = "none" if best is None else f"{best:g}" if isinstance(best, float) else str(best)
    assert f"| `{item.name}` | {shown} | {item.metadata['help']} |" in README


def test_presets_are_listed_where_they_differ() -> None:
    flats = [preset(name, "digits").flat() for name in ("paper", "published", "best")]
    for name in flats[0]:
        values = [
            "none" if flat[name] is None else f"{flat[name]:g}" if isinstance(flat[name], float) else str(flat[name])
            for flat in flats
        ]
        assert (f"| `{name}` | {' | '.join(values)} |" in README) == (len(set(values)) > 1), name


@pytest.mark.parametrize("parser", [search_parser, ablate_parser])
def test_options_of_the_search_and_the_ablations_are_named(parser) -> None:
    options = [text for action in parser()._actions for text in action.option_strings if text.startswith("--")]
    assert set(options) - {"--help"} <= set(re.findall(r"--[a-z-]+", README))


def test_commands_are_named() -> None:
    text = build_parser().format_help()
    commands = re.findall(r"^    (\w+) ", text, re.MULTILINE)
    assert commands == ["prepare", "import", "pretrain", "finetune", "evaluate", "sample", "figures", "doctor", "cache"]
    assert all(f"mmd-ddm {command}" in README for command in commands)


def test_linked_files_exist() -> None:
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (Path(__file__).parents[1] / target).exists(), target


def test_the_python_interface_runs_as_written(tmp_path: Path) -> None:
    """In a process of its own, which then knows whether Ray or MLflow were imported."""
    (code,) = re.findall(r"```python\n(import mmd_ddm\n.*?)```", README, re.DOTALL)
    code = code.replace("updates=20, score_images=500", "updates=2, score_images=40").replace("images=500", "images=40")
    code += '\nassert images.shape == (16, 1, 8, 8)\nassert before[0].kind == "kid"\n'
    code += 'assert (outcome.model / "unet").is_dir()\n'
    code += 'import sys\nassert not {"ray", "mlflow", "optuna"} & set(sys.modules)\n'
    root = str(Path(__file__).parents[1])
    command, variables = [sys.executable, "-c", code], {**os.environ, "PYTHONPATH": root}
    ended = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "| finetuned | ddim    | 5   |" in ended.stdout
    assert (tmp_path / "digits.png").is_file()

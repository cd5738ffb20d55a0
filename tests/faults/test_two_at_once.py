"""Two studies at once, in one working directory: neither harms the other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from mmd_ddm.errors import UserError
from tests.tune.made_study import BEST, PAPER
from tune.space.space import default_space
from tune.study.folder import Study, check_folder
from tune.study.settings import Machines, SearchSettings

SETTINGS = SearchSettings(BEST, PAPER, default_space(BEST), 9, 0, 500, Machines(0, 0.0, 1))
AT_ONCE, TIMES = 8, 30


def test_studies_that_begin_together_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    parent, together = tmp_path / "studies", Barrier(AT_ONCE)

    def begin(number: int) -> None:
        for _ in range(TIMES):
            together.wait()
            check_folder(parent / str(number))
            Study.create(parent / str(number), SETTINGS)
            together.wait()
            if number == 0:
                shutil.rmtree(parent)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(begin, range(AT_ONCE)))


def test_of_studies_with_one_name_one_begins_and_unnamed_ones_get_another(tmp_path: Path) -> None:
    together = Barrier(AT_ONCE)

    def begin(named: bool) -> str:
        together.wait()
        try:
            return Study.create(tmp_path / "s", SETTINGS, named=named).name
        except UserError as error:
            return "held" if "already holds a study" in str(error) else str(error)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        named = sorted(pool.map(begin, [True] * AT_ONCE))
        assert named == ["held"] * (AT_ONCE - 1) + ["s"]
        unnamed = sorted(pool.map(begin, [False] * AT_ONCE), key=lambda name: int(name[2:]))
        assert unnamed == [f"s-{number}" for number in range(2, AT_ONCE + 2)]


def test_one_process_works_on_a_study(tmp_path: Path) -> None:
    study = Study.create(tmp_path / "s", SETTINGS)
    with study.claimed(), pytest.raises(UserError, match="another process works on"), study.claimed():
        pass
    with study.claimed():
        pass


CONNECT = """
import sys
from mmd_ddm.experiment.tracking.store import connect
from mlflow import MlflowClient
print("ready", flush=True)
sys.stdin.readline()
print(connect("sqlite:///mlflow.db", "mmd-ddm digits")[1])
"""


@pytest.mark.slow
def test_commands_that_make_the_mlflow_store_at_once_get_the_same_experiment(tmp_path: Path) -> None:
    kept = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "MMD_DDM_HOME": str(tmp_path / "cache")}
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", CONNECT]
    started = [
        subprocess.Popen(command, cwd=tmp_path, env=kept, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        for _ in range(3)
    ]
    for each in started:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in started:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    told = [each.communicate() for each in started]
    assert [said for said, _ in told] == ["1\n"] * 3, told

"""`ray up clusters/a6000.yaml` on three hosts, a study by `ray job submit`, and the cluster taken down again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters.cluster import JOBS, ROOT, said, started_cluster
from tests.clusters.hosts import ADDRESSES, Hosts, obstacle

STUDY = ["--dataset", "digits", "--trials", "2", "--steps", "2", "--updates", "4", "--scorings", "2", "--score-images",
         "64", "--final-images", "64", "--workers-per-trial", "2", "--concurrent", "1"]  # fmt: skip
RAY = "ps -eo args= | grep -cE '[s]ite-packages/ray/|[r]ay::' || true"

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(bool(obstacle()), reason=obstacle() or "-")]


@pytest.fixture
def cluster() -> Iterator[tuple[Hosts, Path]]:
    with started_cluster() as made:
        yield made


def on_one_machine(folder: Path) -> Path:
    """The same study with Ray on this machine."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_", "MMD_DDM_"))
    }
    command = [sys.executable, str(ROOT / "tune" / "search.py"), *STUDY, "--output", str(folder / "here")]
    subprocess.run(command, cwd=folder, env=environment, check=True)
    return folder / "here"


def trial_numbers(study: Path) -> dict[str, object]:
    """What each trial recorded, update by update."""
    return {
        str(file.relative_to(study)): [
            {key: value for key, value in json.loads(line).items() if key != "time"}
            for line in file.read_text().splitlines()
        ]
        for file in sorted(study.glob("trials/*/metrics.jsonl"))
    }


def final_numbers(study: Path) -> dict[str, float]:
    """The final scores by model and measure: they are measured side by side, and listed as they come."""
    listed = json.loads((study / "scores.json").read_text())
    return {
        f"{json.dumps(each['model'], sort_keys=True)} {each['nfe']} {each['seed']} {name}": value
        for each in listed
        for name, value in each["scores"].items()
    }


def test_a_study_on_three_machines_gives_the_numbers_of_one(cluster: tuple[Hosts, Path], tmp_path: Path) -> None:
    hosts, file = cluster
    shared = hosts.shared
    printed = said(hosts, "op", f"ray exec {file} 'mmd-ddm doctor --cluster'")
    assert "gloo between 3 nodes" in printed
    assert "doctor: nothing is wrong" in printed

    said(hosts, "op", f"! RAY_AUTH_MODE=disabled ray job list --address {JOBS}")  # without the token
    command = ["python", "tune/search.py", *STUDY, "--output", f"{shared}/studies/there"]
    said(hosts, "op", f"ray job submit --address {JOBS} --working-dir . -- {' '.join(command)}")
    printed = said(hosts, "head", "ray list actors --limit 1000 --format json 2>/dev/null")
    actors = json.loads(printed[printed.index("[") : printed.rindex("]") + 1])
    workers = [actor["node_id"] for actor in actors if actor["class_name"] == "RayTrainWorker"]
    assert len(workers) >= 4, actors  # two of each trial
    assert len(set(workers)) > 1, actors

    there, here = shared / "studies" / "there", on_one_machine(tmp_path)
    assert trial_numbers(there) == trial_numbers(here)
    # final scores use the cores of the machine that has them, and float64 sums have other orders with other threads
    assert final_numbers(there) == pytest.approx(final_numbers(here), rel=1e-9, abs=1e-9)
    assert (shared / "mlflow.db").is_file()

    said(hosts, "op", f"bash clusters/down.sh {file}")
    assert {name: hosts.run(name, RAY).stdout.split()[-1] for name in ADDRESSES} == dict.fromkeys(ADDRESSES, "0")

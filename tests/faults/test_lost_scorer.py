"""A node leaves while scores are measured: those that are left measure the same scores."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from mmd_ddm.experiment.scoring.scored_model import Scored, read_scored
from tests.faults.running import Running, title
from tests.faults.test_lost_worker import cluster, power_off, workers

__all__ = ["cluster"]  # a fixture
pytestmark = [pytest.mark.slow, pytest.mark.faults]
EVALUATE = (
    "-m", "mmd_ddm", "evaluate", "--images", 2000, "--features", "classifier", "--steps", "20,50", "--json", "scores",
)  # fmt: skip


def evaluated(folder: Path, *options: object, **variables: str) -> tuple[Running, Path]:
    folder.mkdir()
    return Running(folder, *EVALUATE, *options, **variables), folder / "scores"


def rows(file: Path) -> list[Scored]:
    return read_scored(file) if file.is_file() else []


def test_fewer_go_on_to_the_same_scores(tmp_path: Path, cluster: Cluster) -> None:
    alone, expected = evaluated(tmp_path / "alone")
    assert alone.ended() == 0, alone.errors
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    shared, found = evaluated(tmp_path / "shared", "--workers", 2, RAY_ADDRESS=cluster.address)
    shared.wait_until(lambda: len(rows(found)) == 1)  # of three
    assert all(any("RayTrainWorker" in title(each) for each in workers(node)) for node in nodes)
    power_off(nodes[1])
    assert shared.ended() == 0, shared.errors
    assert "Starting again" in shared.errors
    assert rows(found) == rows(expected)
    assert len(rows(found)) == 3

"""Nodes that join a study late: one without the study's storage is named and not used, one that has it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from tests.faults.running import Running
from tests.faults.test_lost_worker import cluster, power_off
from tests.faults.test_study import FAKE, at_checkpoint, leaderboard, starts

__all__ = ["cluster"]  # a fixture
pytestmark = [
    pytest.mark.slow,
    pytest.mark.faults,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs a mount of its own: root"),
]
STUDY = ("--dataset", "digits", "--output", "s", "--trials", 1, "--updates", 20, "--scorings", 4, "--concurrent", 1)


@pytest.fixture
def node_without(cluster: Cluster, tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Nodes that don't see this test's folder; they end with the test."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for each in started:
        os.killpg(each.pid, signal.SIGTERM)
        each.wait()


def start_without(folder: Path, cluster: Cluster) -> subprocess.Popen[bytes]:
    """Start a node of one CPU with an empty disk where a folder is."""
    ray = f"{sys.executable} -m ray.scripts.scripts start --address={cluster.address} --num-cpus=1 --block"
    line = f"mount -t tmpfs nothing {folder} && cd / && exec {ray}"
    return subprocess.Popen(["unshare", "--mount", "bash", "-c", line], start_new_session=True)


def test_a_node_without_the_storage_is_named_and_waited_beside(
    tmp_path: Path, cluster: Cluster, node_without: list[subprocess.Popen[bytes]]
) -> None:
    first = cluster.add_node(num_cpus=1)
    study = Running(tmp_path, FAKE, *STUDY, FAKE_PAUSE="5", RAY_ADDRESS=cluster.address)
    study.wait_until(lambda: "trial 000 (preset paper) starts" in study.said)
    node_without.append(start_without(tmp_path, cluster))
    study.wait_until(lambda: "has joined, but is not used" in study.said)
    assert f"is not used: the folder {tmp_path / 's'} isn't visible there; choose an --output on storage" in study.said
    study.wait_until(lambda: at_checkpoint(tmp_path, 0, 5))
    power_off(first)
    study.wait_until(lambda: "the study waits until some join" in study.said)  # it has room, but not for this study
    cluster.add_node(num_cpus=1)
    assert study.ended() == 0, study.said + study.errors
    (row,) = leaderboard(tmp_path)
    assert row["outcome"] == "completed"
    (_, (begun, _)) = starts(tmp_path, 0)
    assert begun in (5, 10, 15)  # its last checkpoint

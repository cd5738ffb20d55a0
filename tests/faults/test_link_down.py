"""Links of a cluster's hosts go down in the middle of a trial: it goes on elsewhere, or as soon as one is back."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from safetensors.torch import load_file

from tests.clusters.cluster import JOBS, said, started_cluster
from tests.clusters.hosts import Hosts, obstacle
from tests.faults.test_lost_worker import INTERVAL, STUDY, TRIAL, WEIGHTS, Weights, assert_little_was_lost, undisturbed
from tests.faults.updates import Updates

__all__ = ["undisturbed"]  # a fixture
pytestmark = [
    pytest.mark.slow,
    pytest.mark.faults,
    pytest.mark.skipif(bool(obstacle()), reason=obstacle() or "-"),
]


def told(hosts: Hosts) -> str:
    """What the study has said so far."""
    logs = (hosts.folder / "head" / "tmp" / "ray").glob("session_2*/logs/job-driver-*.log")
    return "".join(log.read_text() for log in logs)


def wait_until(hosts: Hosts, there: Callable[[], bool], patience: float = 900) -> None:
    deadline = time.monotonic() + patience
    while not there():
        assert time.monotonic() < deadline, told(hosts)
        time.sleep(0.02)


def cut_a_worker_off(hosts: Hosts, left: list[str]) -> str:
    """Take the link of a host on which a worker runs, of those that are left."""
    has = "ps -eo args= | grep -c '[r]ay::RayTrainWorker' || true"
    lost = next(name for name in left if hosts.run(name, has).stdout.split()[-1] != "0")
    hosts.link(lost, "down")
    return lost


def test_a_trial_goes_on_without_a_host_or_waits_for_one(undisturbed: Weights) -> None:
    with started_cluster() as (hosts, _):
        folder, others = hosts.shared / "s", ["w1", "w2"]
        command = ["python", "tune/search.py", *map(str, STUDY[1:-1]), str(folder)]
        updates = Updates(hosts.shared / TRIAL)
        with updates.followed():
            submit = f"ray job submit --address {JOBS} --no-wait --working-dir . -- {' '.join(command)}"
            said(hosts, "op", submit)

            wait_until(hosts, lambda: INTERVAL + 2 in updates.made)
            first = cut_a_worker_off(hosts, others)
            wait_until(hosts, lambda: len(updates.starts()) == 1)
            assert "has left; trials go on from their checkpoints elsewhere" in told(hosts)

            wait_until(hosts, lambda: 2 * INTERVAL + 2 in updates.made)
            cut_a_worker_off(hosts, [name for name in others if name != first])
            wait_until(hosts, lambda: "the study waits until some join" in told(hosts))
            hosts.link(first, "up")  # the head starts Ray there again
            wait_until(hosts, lambda: "the study goes on" in told(hosts))
            wait_until(hosts, (folder / "report.html").is_file)
        assert_little_was_lost(updates, 2, load_file(hosts.shared / WEIGHTS), undisturbed)

"""A trial loses a worker, or the node that its workers run on: it goes on from its checkpoint to the same weights."""

from __future__ import annotations

import gc
import os
import signal
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from ray._private.node import Node
from ray.cluster_utils import Cluster
from safetensors.torch import load_file

from tests.faults.running import ROOT, Running, title
from tests.faults.updates import Updates

pytestmark = [pytest.mark.slow, pytest.mark.faults]
UPDATES, INTERVAL, WORKERS = 24, 8, 2
STUDY = (
    ROOT / "tune" / "search.py", "--dataset", "digits", "--trials", 1, "--steps", 2, "--updates", UPDATES,
    "--scorings", UPDATES // INTERVAL, "--score-images", 64, "--final-images", 64, "--workers-per-trial", WORKERS,
    "--output", "s",
)  # fmt: skip
TRIAL = Path("s") / "trials" / "000"
WEIGHTS = TRIAL / "model" / "unet" / "diffusion_pytorch_model.safetensors"
Weights = dict[str, torch.Tensor]
Disturb = Callable[[Running, Updates], None]


def studied(folder: Path, disturb: Disturb, **variables: str) -> tuple[Running, Updates, Weights]:
    """Run a study to its end while something is done to it; returns the trial's updates and weights too."""
    study, updates = Running(folder, *STUDY, **variables), Updates(folder / TRIAL)
    with updates.followed():
        disturb(study, updates)
        assert study.ended(1200) in (0, 3), study.said + study.errors  # its winner may not beat the base model
    return study, updates, load_file(folder / WEIGHTS)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    _, updates, weights = studied(tmp_path_factory.mktemp("undisturbed"), lambda study, updates: None)
    assert updates.made == list(range(1, UPDATES + 1))
    return weights


def assert_little_was_lost(updates: Updates, deaths: int, weights: Weights, undisturbed: Weights) -> None:
    starts = updates.starts()
    print(f"went on from update, with so many made again: {starts}")
    assert len(starts) == deaths
    assert all(begun > 0 and begun % INTERVAL == 0 and again <= INTERVAL for begun, again in starts)
    assert len(updates.made) == UPDATES + sum(again for _, again in starts)
    assert weights.keys() == undisturbed.keys()
    assert all(torch.equal(weights[name], value) for name, value in undisturbed.items())


def test_a_killed_worker_is_replaced(tmp_path: Path, undisturbed: Weights) -> None:
    def kill(study: Running, updates: Updates) -> None:
        study.wait_until(lambda: INTERVAL + 2 in updates.made)
        study.kill("RayTrainWorker")

    _, updates, weights = studied(tmp_path, kill)
    assert_little_was_lost(updates, 1, weights, undisturbed)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster of one node that has no room for anything: the driver's."""
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "180")  # however busy the machine is
    with socket.socket() as free:  # for the dashboard, which Ray Train asks what a stopped trial held
        free.bind(("127.0.0.1", 0))
        head = {"num_cpus": 0, "include_dashboard": True, "dashboard_port": free.getsockname()[1]}
    made = Cluster(initialize_head=True, head_node_args=head)
    yield made
    made.shutdown()
    with warnings.catch_warnings():  # Ray leaves a socket open
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def raylet(node: Node) -> int:
    """The number of a node's process, without which the node is gone."""
    (process,) = node.all_processes["raylet"]
    return int(process.process.pid)


def workers(node: Node) -> list[int]:
    """The numbers of the other processes of a node."""
    return list(map(int, Path(f"/proc/{raylet(node)}/task/{raylet(node)}/children").read_text().split()))


def power_off(node: Node) -> None:
    """End all that runs on a node at once."""
    for number in (raylet(node), *workers(node)):
        with suppress(ProcessLookupError):  # without their raylet the others end by themselves
            os.kill(number, signal.SIGKILL)


def test_nodes_that_disappear_are_done_without_or_waited_for(
    tmp_path: Path, undisturbed: Weights, cluster: Cluster
) -> None:
    nodes = [cluster.add_node(num_cpus=WORKERS) for _ in range(2)]

    def lose(after: int, study: Running, updates: Updates) -> None:
        study.wait_until(lambda: after in updates.made)
        (lost,) = (node for node in nodes if any("RayTrainWorker" in title(each) for each in workers(node)))
        nodes.remove(lost)
        power_off(lost)

    def lose_both(study: Running, updates: Updates) -> None:
        lose(INTERVAL + 2, study, updates)
        study.wait_until(lambda: len(updates.starts()) == 1)  # on the other
        assert "has left; trials go on from their checkpoints elsewhere" in study.said
        assert "waits" not in study.said
        lose(2 * INTERVAL + 2, study, updates)
        study.wait_until(lambda: "the study waits until some join" in study.said)
        cluster.add_node(num_cpus=WORKERS)
        study.wait_until(lambda: "the study goes on" in study.said)

    _, updates, weights = studied(tmp_path, lose_both, RAY_ADDRESS=cluster.address)
    assert_little_was_lost(updates, 2, weights, undisturbed)

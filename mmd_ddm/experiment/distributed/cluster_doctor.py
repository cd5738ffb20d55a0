"""The doctor on every node of the running cluster, and the ways between the nodes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from mmd_ddm.experiment.distributed.cluster import start_ray
from mmd_ddm.experiment.distributed.nodes import Node, living_nodes, on_each, own_node
from mmd_ddm.experiment.distributed.shared_storage import unshared
from mmd_ddm.experiment.machine.finding import Finding, Verdict, fault, ok

LAUNCHED = Path("~/ray_bootstrap_config.yaml")  # on the head: what `ray up` was given, as JSON
_LOGS = "/tmp/ray/session_latest/logs/monitor.out"
_JOIN = 120  # seconds in which processes on all nodes find each other
_EXAMINED = 600.0  # seconds in which a node is examined, in which an all-reduce may hang
_HIDDEN = "CUDA_VISIBLE_DEVICES"  # emptied by Ray for tasks without a GPU


def examine_cluster(shared: Path | None, gpus: int | None) -> Iterator[tuple[str, Finding]]:
    """Examine each node of the cluster that RAY_ADDRESS names, or that runs on this machine.

    Args:
        shared: The folder that all machines share.
        gpus: GPUs that each node should have; None: as many as there are.

    Yields:
        A node's name and a finding.
    """
    import ray

    os.environ.setdefault("RAY_ADDRESS", "auto")
    start_ray(workers=1)
    try:
        nodes = living_nodes()
        yield from _absent(nodes)
        asked = ["--gpus", str(gpus)] if gpus is not None else []
        options = [*asked, *(["--shared", str(shared)] if shared else [])]
        told = on_each(nodes, _examine, options, own_node(), patience=_EXAMINED)
        for node in nodes:
            answer = told[node.id]
            if isinstance(answer, Exception):
                yield node.name, fault("doctor", f"did not run ({answer or 'no answer'})")
            else:
                yield from ((node.name, finding) for finding in map(_read, answer.splitlines()))
        yield from _between(nodes, shared)
    finally:
        ray.shutdown()


def _read(line: str) -> Finding:
    record = json.loads(line)
    return Finding(record["what"], Verdict(record["verdict"]), record["said"])


def _absent(nodes: list[Node]) -> Iterator[tuple[str, Finding]]:
    """Name the machines of `ray up` that have not joined: it ends before they do, and with status 0 if none does."""
    file = LAUNCHED.expanduser()
    if file.is_file():
        there = {node.address for node in nodes}
        for address in json.loads(file.read_text()).get("provider", {}).get("worker_ips", []):
            if address not in there:
                said = f"has not joined: wait a minute after ray up, then look for its address in {_LOGS} on the head"
                yield address, fault("Ray", said)


def _examine(options: list[str], head: str) -> str:
    """Run the doctor on a node, in a process of its own; returns its findings as lines of JSON."""
    role = "--head" if own_node() == head else "--worker"
    seen = {name: value for name, value in os.environ.items() if name != _HIDDEN}
    command = [sys.executable, "-m", "mmd_ddm", "doctor", "--json", role, *options]
    ended = subprocess.run(command, env=seen, capture_output=True, text=True, check=False)
    if not ended.stdout:
        raise RuntimeError((ended.stderr.strip().splitlines() or ["it said nothing"])[-1])
    return ended.stdout


def _between(nodes: list[Node], shared: Path | None) -> Iterator[tuple[str, Finding]]:
    others = [node for node in nodes if node.id != own_node()]
    if not others:
        return
    if shared is not None and shared.is_dir():
        for node, reason in unshared(shared, others).items():
            yield node.name, fault("shared folder", reason)
    first, *rest = sorted(nodes, key=lambda node: node.id != own_node())
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    ranks = {node.id: rank for rank, node in enumerate([first, *rest])}
    told = on_each(nodes, _meet, ranks, first.address, port, patience=2 * _JOIN)
    failures = {node: answer for node in nodes if isinstance(answer := told[node.id], Exception)}
    advice = "open all TCP ports between the nodes; on each, GLOO_SOCKET_IFNAME must name the interface to the others"
    for node, error in failures.items():
        yield node.name, fault("connection", f"can't sum with the other nodes ({error or 'no answer'}); {advice}")
    if not failures:
        yield first.name, ok("connection", f"gloo between {len(nodes)} nodes: {', '.join(n.title for n in nodes)}")


def _meet(ranks: dict[str, int], address: str, port: int) -> None:
    """Sum a number over all nodes."""
    import torch
    import torch.distributed as dist

    rank, limit = ranks[own_node()], timedelta(seconds=_JOIN)
    where = f"tcp://{address}:{port}"
    dist.init_process_group("gloo", init_method=where, rank=rank, world_size=len(ranks), timeout=limit)
    try:
        tensor = torch.ones(1)
        dist.all_reduce(tensor)
        if int(tensor) != len(ranks):
            raise RuntimeError("the sum is wrong")
    finally:
        dist.destroy_process_group()

"""Whether the nodes of a cluster see the same storage, found out before a run needs it.

A lock is one of the operating system on an open file (flock, by filelock), which ends with its process however that
ends. NFS carries it to the server since Linux 2.6.12, so that it holds between machines, except where the mount says
`nolock` or `local_lock`: then each machine has locks of its own, and that is what is found out here. A rename is one
request to the server: nobody ever sees half of a file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mmd_ddm.errors import ResourceError, UserError
from mmd_ddm.experiment.distributed.nodes import PATIENCE, Node, living_nodes, on_each, own_node
from mmd_ddm.files import absent, locked, remove, remove_empty, write_whole

MOUNTED = 60.0  # seconds in which a node that joins mounts its storage, and is refused if it has none


def check_storage(folder: Path, process: Mapping[str, float], needed: Sequence[Path] = ()) -> None:
    """Refuse a folder that is not the same on every node that could run a process, or whose locks don't hold there.

    Args:
        folder: Of a study or a run; made if it is not there, and removed again if it is refused.
        process: CPUs and GPUs that a process of it takes.
        needed: What else must be there on each node.

    Raises:
        UserError: Says which node, what is wrong there, and what to do.
    """
    nodes = [node for node in living_nodes() if node.places(process) and node.id != own_node()]
    if not nodes:
        return
    missing = absent(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for node, reason in unshared(folder, nodes, needed).items():
            raise UserError(f"Node {node.title} can't run trials: {reason}.")
    except BaseException:
        remove_empty(missing)
        raise


def await_folder(folder: Path) -> None:
    """Wait for a folder that is there elsewhere to be seen here, on a node that may have joined just now.

    Raises:
        ResourceError: If it isn't after `MOUNTED` seconds.
    """
    deadline = time.monotonic() + MOUNTED
    while not folder.is_dir():
        if time.monotonic() >= deadline:
            here = os.uname().nodename
            raise ResourceError(f"The folder {folder} isn't visible on {here}; choose one that all machines share.")
        time.sleep(0.5)


def unshared(folder: Path, nodes: list[Node], needed: Sequence[Path] = ()) -> dict[Node, str]:
    """Return the nodes that don't share a folder of this machine, each with what is wrong and what to do."""
    token = os.urandom(8).hex()
    mark = folder.absolute() / f".shared-{token}"
    lock = mark.with_name(f"{mark.name}.lock")
    try:
        write_whole(mark, token)
        with locked(lock):
            told = on_each(nodes, _look, str(mark), token, [str(each.absolute()) for each in needed])
            return {node: reason for node in nodes if (reason := _judge(mark, node, told[node.id]))}
    finally:
        for file in (lock, *mark.parent.glob(f"{mark.name}*")):
            remove(file)


def _judge(mark: Path, node: Node, told: str | Exception) -> str:
    folder = mark.parent
    if isinstance(told, TimeoutError):
        return (
            f"it did not answer within {PATIENCE:.0f} s; look whether its mount of {folder} hangs, or restart its Ray"
        )
    if isinstance(told, Exception):
        return f"a task failed there ({told})"
    if told:
        return told
    if not answer_of(mark, node.id).is_file():
        return f"what it writes to {folder} is not seen on {os.uname().nodename}; mount the same storage on both"
    return ""


def answer_of(mark: Path, id: str) -> Path:
    """Return the file that a node leaves beside a mark."""
    return mark.with_name(f"{mark.name}.{id}")


def _look(mark: str, token: str, needed: Iterable[str]) -> str:
    """Look for a mark on a node, answer it, and try its lock; returns what is wrong, or nothing."""
    file, folder = Path(mark), Path(mark).parent
    advice = "choose an --output on storage that all nodes share, or mount it there at the same path"
    if not file.is_file():
        return f"the folder {folder} isn't visible there; {advice}"
    try:
        if file.read_text() != token:
            return f"the folder {folder} is another one there; {advice}"
        write_whole(answer_of(file, own_node()), token)
        with locked(file.with_name(f"{file.name}.lock"), wait=False) as held:
            if held:
                return f"locks in {folder} don't hold between machines; mount it without nolock and local_lock"
    except OSError as error:
        return f"the folder {folder} can't be written there ({error.strerror}); let its user write to it"
    absent = next((each for each in needed if not Path(each).exists()), None)
    return f"{absent} isn't there; put it on storage that all nodes share" if absent else ""

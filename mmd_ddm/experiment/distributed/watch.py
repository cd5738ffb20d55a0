"""Whether Ray itself is alive: without its control process it would wait for a minute, and then abort with a stack."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mmd_ddm.experiment.distributed.background import beside

if TYPE_CHECKING:
    from ray._private.node import Node

PAUSE = 1.0  # seconds between two looks
REFUSALS = 3  # in a row, of a machine that answers: nothing listens there any more


def watched(lost: Callable[[str], None]) -> AbstractContextManager[None]:
    """Look after the processes of Ray that this one needs, in a thread.

    Args:
        lost: Called there, once, with a sentence's beginning that says which of them ended.
    """
    import ray

    address = str(ray.get_runtime_context().gcs_address)

    def look(done: threading.Event) -> None:
        refusals = 0
        while not done.wait(PAUSE):
            refusals = refusals + 1 if _refuses(address) else 0
            if refusals == REFUSALS:
                what = f"Ray's control process (gcs_server) at {address} has ended"
            elif _raylet_ended():
                what = "Ray's process of this machine (raylet) has ended"
            else:
                continue
            lost(what)
            return

    return beside(look)


def end_at_once(who: str, advice: str, what: str) -> None:
    """Say what is lost and end: whatever asks Ray for anything from now on, and be it to end, waits for a minute."""
    print(f"{who}: {what}; {advice}", file=sys.stderr, flush=True)
    with suppress(Exception):  # what is read of them may end meanwhile
        _end_workers()
    os._exit(1)


def _end_workers() -> None:
    """End the workers of the Ray that this process started.

    Without a gcs_server they would go on for a minute, and write into the folder of a run that may be resumed by then.
    """
    if (node := _own_node()) is None:
        return
    from ray._private import ray_constants

    for each in node.all_processes.get(ray_constants.PROCESS_TYPE_RAYLET, []):
        number = each.process.pid
        children = [file.read_text() for file in Path(f"/proc/{number}/task").glob("*/children")]
        for one in (number, *map(int, " ".join(children).split())):  # the first would replace the others
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)


def _own_node() -> Node | None:
    """What this process started of Ray; nothing of a cluster that it joined."""
    from ray._private import worker

    return worker._global_node


def _refuses(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PAUSE).close()
    except ConnectionRefusedError:
        return True
    except OSError:  # a slow network, which Ray waits for
        return False
    return False


def _raylet_ended() -> bool:
    """Whether the raylet that this process started has; that of a cluster is its node's."""
    from ray._private import ray_constants

    dead = [] if (node := _own_node()) is None else node.dead_processes()
    return any(kind == ray_constants.PROCESS_TYPE_RAYLET for kind, _ in dead)

"""The nodes that a study uses, as they join and leave a cluster: what is said of them, and which are refused.

Ray puts processes on whatever node has room. One that joined late and lacks the study's storage is kept from that by
reservations of all that a trial could take there, which end with the study.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from mmd_ddm.errors import first_line
from mmd_ddm.experiment.distributed.cluster import places, reserve
from mmd_ddm.experiment.distributed.nodes import Node, living_nodes
from mmd_ddm.experiment.distributed.shared_storage import unshared
from tune.study.settings import Machines


class StudyNodes:
    """The nodes of a study; those that are there when it begins were looked at before.

    Args:
        folder: The study's.
        machines: What a trial takes.
        say: Tells the user something.
        needed: What else must be there on each node.
    """

    def __init__(
        self, folder: Path, machines: Machines, say: Callable[[str], None], needed: Sequence[Path] = ()
    ) -> None:
        self._folder, self._machines, self._say, self._needed = folder, machines, say, needed
        self._known = {node.id: node for node in living_nodes()}
        self._used = set(self._known)
        self._verdicts: queue.Queue[tuple[Node, str]] = queue.Queue()
        self._waiting = False

    def look(self) -> list[Node]:
        """Return the nodes that are used now, and say which have joined or left, and whether trials wait."""
        living = {node.id: node for node in living_nodes()}
        left = [self._known.pop(id) for id in set(self._known) - set(living)]
        for node in living.values():
            if node.id not in self._known:
                self._known[node.id] = node
                self._examine(node)
        while not self._verdicts.empty():
            self._judge(*self._verdicts.get())
        used = [node for node in living.values() if node.id in self._used]
        for node in left:
            goes_on = "; trials go on from their checkpoints elsewhere" if node.id in self._used else ""
            self._say(f"node {node.title} has left{goes_on}")
        self._tell_of_room(used)
        return used

    def _tell_of_room(self, used: list[Node]) -> None:
        waits = places(self._machines.process, used) < self._machines.processes
        if waits and not self._waiting:
            each = " and ".join(f"{amount:g} {name}s" for name, amount in self._machines.process.items() if amount)
            self._say(
                f"no nodes have room for a trial, which takes {self._machines.processes} x {each}: the study waits "
                "until some join"
            )
        elif self._waiting and not waits:
            self._say("there is room again: the study goes on")
        self._waiting = waits

    def _examine(self, node: Node) -> None:
        """Find out in a thread, since an unhealthy node may take long, whether a node has the study's storage."""
        if not node.places(self._machines.process):
            return

        def ask() -> None:
            try:
                reason = unshared(self._folder, [node], self._needed).get(node, "")
            except Exception as error:  # of Ray, which may have ended, or of a disk
                reason = f"it could not be looked at ({first_line(error)})"
            self._verdicts.put((node, reason))

        threading.Thread(target=ask, daemon=True).start()

    def _judge(self, node: Node, reason: str) -> None:
        if node.id not in self._known:  # it has left in the meantime
            return
        if reason:
            self._say(f"node {node.title} has joined, but is not used: {reason}; then restart Ray there")
            reserve(node, self._machines.process)
        else:
            self._say(f"node {node.title} has joined")
            self._used.add(node.id)

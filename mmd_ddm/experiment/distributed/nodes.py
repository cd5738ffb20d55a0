"""The machines of a Ray cluster: what each has, and the same function called on each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from mmd_ddm.errors import first_line

NODE_ID = "ray.io/node-id"  # the label by which Ray puts something on a certain node
PATIENCE = 120.0  # seconds in which a node answers: a first task imports the package from a cold disk
T = TypeVar("T")


@dataclass(frozen=True)
class Node:
    """A living machine of the cluster."""

    id: str
    name: str
    address: str
    resources: Mapping[str, float] = field(compare=False)

    @property
    def title(self) -> str:
        """How it is spoken of."""
        return self.name if self.name == self.address else f"{self.name} ({self.address})"

    def places(self, process: Mapping[str, float]) -> int:
        """Return how many processes that need some resources each have room on the machine."""
        return min((int(self.resources.get(name, 0) / amount) for name, amount in process.items() if amount), default=0)


def living_nodes() -> list[Node]:
    """Return the nodes that take part now."""
    import ray

    return [
        Node(node["NodeID"], node["NodeManagerHostname"], node["NodeManagerAddress"], node["Resources"])
        for node in ray.nodes()
        if node["Alive"]
    ]


def own_node() -> str:
    """Return the id of the node that this process runs on."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def on_each(
    nodes: list[Node], function: Callable[..., T], *arguments: object, patience: float = PATIENCE
) -> dict[str, T | Exception]:
    """Call a function on each of some nodes at once, whatever runs there.

    Args:
        nodes: Where.
        function: Importable there by its name.
        arguments: Of each call.
        patience: Seconds to wait.

    Returns:
        By a node's id what was returned, what was raised, or TimeoutError if nothing came in time.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(function)
    calls = {}
    for node in nodes:
        strategy = NodeAffinitySchedulingStrategy(node.id, soft=False)
        calls[node.id] = task.options(num_cpus=0, max_retries=0, scheduling_strategy=strategy).remote(*arguments)
    done, _ = ray.wait(list(calls.values()), num_returns=len(calls), timeout=patience)
    return {id: _result(call) if call in done else TimeoutError() for id, call in calls.items()}


def _result(call: object) -> T | Exception:
    import ray

    try:
        return ray.get(call)  # type: ignore[no-any-return]
    except ray.exceptions.RayTaskError as error:
        return Exception(first_line(error.cause))
    except ray.exceptions.RayError as error:
        return Exception(first_line(error))

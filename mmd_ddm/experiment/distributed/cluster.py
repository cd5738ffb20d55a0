"""Where Ray runs: on this machine, or on the cluster that RAY_ADDRESS names."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import mmd_ddm
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.distributed.nodes import NODE_ID, Node, living_nodes

_ROOT = Path(mmd_ddm.__file__).resolve().parents[1]
PATIENCE = 3.0  # seconds that a cluster may take to answer
_RESERVED = "reserved on "  # the name of such a placement group begins so
_NOT_UPLOADED = [".git", "studies", "runs", "mlruns", "*.db", "tests", "**/__pycache__"]


def environment() -> dict[str, str]:
    """Return the environment variables that every Ray process of ours needs."""
    paths = [str(_ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "RAY_TRAIN_V2_ENABLED": "1",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # the default, 2 s, is also what each report may cost
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # one process less for each trial; a death is retried anyway
        "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the program has its own
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that fails before its first scoring reports none
        "RAY_AIR_NEW_OUTPUT": "0",
        **{name: value for name, value in os.environ.items() if name.startswith("MMD_DDM_")},
    }


def check_address() -> None:
    """Raise a UserError at once if RAY_ADDRESS is none, or nothing answers there; Ray itself would try for a minute."""
    given = os.environ.get("RAY_ADDRESS", "")
    address = _running_here() if given == "auto" else given
    host, colon, port = address.rpartition("://")[2].partition("/")[0].rpartition(":")
    if not colon or not port.isdecimal():
        if address in ("", "local") or "://" in address:  # a scheme that Ray may know
            return
        known = "write auto, HOST:PORT or ray://HOST:PORT, or unset RAY_ADDRESS"
        raise UserError(f"RAY_ADDRESS is {given!r}, which is no address of a Ray cluster; {known}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()
    except (OSError, OverflowError, ValueError):  # a number that is no port, a name that no host has
        raise _unanswered(given) from None


def _running_here() -> str:
    """The address of the cluster that this machine belongs to, which Ray calls `auto`."""
    from ray._private.services import get_ray_address_from_environment

    try:
        return str(get_ray_address_from_environment("auto", None))
    except ConnectionError:
        raise _unanswered("auto") from None


def _unanswered(address: str) -> UserError:
    return UserError(f"No Ray cluster answers at RAY_ADDRESS={address}; start it or unset RAY_ADDRESS.")


def start_ray(*, workers: int) -> None:
    """Start Ray on this machine, or join the cluster that RAY_ADDRESS names; raises UserError if that doesn't answer.

    Args:
        workers: Ray Train workers a run; with none, Ray's dashboard is left out, which halves the start-up time.
    """
    check_address()
    variables = environment()
    os.environ.update(variables)
    import ray

    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        # Ray Train frees a stopped run's resources through the dashboard's state API, so it is needed with workers.
        ray.init("local", include_dashboard=workers > 0, runtime_env={"env_vars": variables}, **quiet)
        return
    try:
        ray.init(address, runtime_env=_remote_environment(variables), **quiet)
    except (ConnectionError, RuntimeError, OSError, ValueError, ImportError) as error:
        raise _unanswered(address) from error


def _remote_environment(variables: Mapping[str, str]) -> dict[str, object]:
    # PYTHONPATH is a path of this machine
    needed: dict[str, object] = {"env_vars": {k: v for k, v in variables.items() if k != "PYTHONPATH"}}
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:  # `ray job submit` has brought the working directory already
        return needed
    if (_ROOT / "tune").is_dir():
        return {**needed, "working_dir": str(_ROOT), "excludes": _NOT_UPLOADED}
    return {**needed, "py_modules": [str(_ROOT / "mmd_ddm")]}


def check_room(processes: int, process: Mapping[str, float]) -> None:
    """Refuse, as a UserError, a run whose processes don't all have room on the nodes that are there.

    Args:
        processes: Of the run; Ray puts them on one node where they fit, else on as few as it can.
        process: CPUs and GPUs of each; one process never gets parts of two nodes.
    """
    nodes = living_nodes()
    if (there := places(process, nodes)) >= processes:
        return
    each = " and ".join(f"{amount:g} {name}s" for name, amount in process.items() if amount)
    have = ", ".join(
        f"{node.name} has {node.resources.get('CPU', 0):g} CPUs and {node.resources.get('GPU', 0):g} GPUs"
        for node in nodes
    )
    late = "" if os.environ.get("RAY_ADDRESS") is None else ", or wait until all nodes have joined (ray status)"
    raise UserError(
        f"A run needs {processes} x {each} at once, but there is room for {there} ({have}); ask for fewer workers, or "
        f"for less of each{late}."
    )


def places(process: Mapping[str, float], nodes: Sequence[Node] | None = None) -> int:
    """Return how many processes that need some resources each have room on all nodes together."""
    return sum(node.places(process) for node in (living_nodes() if nodes is None else nodes))


def reserve(node: Node, process: Mapping[str, float]) -> None:
    """Keep a node's room for processes that need some resources from all use, until this program ends."""
    from ray.util import placement_group

    bundle = {name: float(amount) for name, amount in process.items() if amount}
    for count in range(node.places(process)):  # one by one: some of it may be taken now
        placement_group([bundle], name=f"{_RESERVED}{node.id} {count}", bundle_label_selector=[{NODE_ID: node.id}])


def usable_nodes() -> list[Node]:
    """Return the living nodes of which nothing is reserved."""
    from ray.util import placement_group_table

    names = [str(group["name"]) for group in placement_group_table().values() if group["state"] != "REMOVED"]
    reserved = {name.removeprefix(_RESERVED).split()[0] for name in names if name.startswith(_RESERVED)}
    return [node for node in living_nodes() if node.id not in reserved]


@contextmanager
def findable_cluster() -> Iterator[None]:
    """Name the cluster in RAY_ADDRESS, where alone Ray Train's helper looks that frees a stopped run's CPUs."""
    import ray
    from ray.train.v2._internal import constants

    constants.ENV_VARS_TO_PROPAGATE.add("RAY_ADDRESS")
    former = os.environ.get("RAY_ADDRESS")
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    try:
        yield
    finally:
        del os.environ["RAY_ADDRESS"]
        if former is not None:
            os.environ["RAY_ADDRESS"] = former

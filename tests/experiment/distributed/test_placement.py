"""Where Ray puts a run's workers, and the look at other nodes, on several nodes of one machine: real raylets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mmd_ddm.experiment.distributed.cluster import environment, places
from mmd_ddm.experiment.distributed.nodes import living_nodes, on_each
from mmd_ddm.experiment.distributed.shared_storage import check_storage

CPUS = (1, 1, 2)


@pytest.fixture
def _cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": CPUS[0], "include_dashboard": False})
    try:
        for cpus in CPUS[1:]:
            cluster.add_node(num_cpus=cpus)
        cluster.wait_for_nodes()
        ray.init(cluster.address, runtime_env={"env_vars": environment()}, log_to_driver=False)
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


def node_id() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())


def fails() -> None:
    raise ValueError("first line\nsecond line")


@pytest.mark.slow
@pytest.mark.usefixtures("_cluster")
def test_nodes_are_asked_and_workers_are_packed(tmp_path: Path) -> None:
    import ray
    from ray.train import ScalingConfig
    from ray.util.placement_group import placement_group_table

    nodes = living_nodes()
    assert sorted(node.resources["CPU"] for node in nodes) == sorted(CPUS)
    assert on_each(nodes, node_id) == {node.id: node.id for node in nodes}
    assert {str(error) for error in on_each(nodes, fails).values()} == {"first line"}
    check_storage(tmp_path / "study", {"CPU": 1})  # all on one disk
    assert list((tmp_path / "study").iterdir()) == []
    assert places({"CPU": 1}) == 4
    assert places({"CPU": 2}) == 1

    (two,) = (node for node in nodes if node.resources["CPU"] == 2)
    for workers, fits in ((2, True), (3, False)):  # as Ray Train asks for a run's workers
        strategy = ScalingConfig(num_workers=workers, resources_per_worker={"CPU": 1}).placement_strategy
        group = ray.util.placement_group([{"CPU": 1}] * workers, strategy=strategy)
        ray.get(group.ready(), timeout=60)
        where = set(placement_group_table(group)["bundles_to_node_id"].values())
        assert (where == {two.id}) == fits
        ray.util.remove_placement_group(group)

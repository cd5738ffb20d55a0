"""Work spread over the nodes of a cluster gives what one process does: real raylets on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mmd_ddm.cli.main import main
from mmd_ddm.experiment.scoring.scored_model import Scored, read_scored


@pytest.fixture
def _two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from ray.cluster_utils import Cluster

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        yield
    finally:
        cluster.shutdown()


def evaluated(file: Path, *options: str) -> list[Scored]:
    few = ("--images", "260", "--features", "classifier", "--steps", "2")
    assert main(["evaluate", *few, "--json", str(file), *options]) == 0
    return read_scored(file)


@pytest.mark.slow
@pytest.mark.usefixtures("_two_nodes")
def test_two_nodes_score_as_one_process_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MMD_DDM_HOME", str(tmp_path / "cache"))
    alone = evaluated(tmp_path / "one.json")
    assert evaluated(tmp_path / "two.json", "--workers", "2") == alone
    assert [each.nfe for each in alone] == [2, 0]
    shown = capsys.readouterr().err.splitlines()
    assert [line for line in shown if line.startswith(("base", "real"))] == 2 * shown[:2]  # told as they came
    assert main(["evaluate", "--workers", "3"]) == 2
    assert "there is room for 2" in capsys.readouterr().err

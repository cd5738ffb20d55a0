"""Final scores by all nodes of a cluster together are those of a process for each model: real raylets, one machine."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mmd_ddm.experiment.config_groups import SamplerConfig
from mmd_ddm.experiment.scoring.scored_model import BASE, Scored, ScoredModel
from tests.tune.made_study import BEST, PAPER
from tune.scoring import engine
from tune.scoring.engine import measured, side_by_side
from tune.space.space import default_space
from tune.study.folder import Study
from tune.study.settings import Machines, SearchSettings

ONE_CPU = Machines(workers=0, gpus=0.0, cpus=1)
SETTINGS = SearchSettings(BEST, PAPER, default_space(BEST), 1, 0, 260, ONE_CPU)
MODELS = [ScoredModel(BASE, SamplerConfig(steps=2)), None]


@pytest.fixture
def _two_nodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    import ray
    from ray.cluster_utils import Cluster

    from mmd_ddm.experiment.distributed.cluster import start_ray

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("MMD_DDM_HOME", str(tmp_path / "cache"))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        start_ray(workers=0)
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()
        with warnings.catch_warnings():  # Ray leaves a socket open, which another test would be blamed for
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


def by_model(rows: Iterator[Scored]) -> dict[ScoredModel | None, Scored]:
    return {row.model: row for row in rows}


@pytest.mark.slow
@pytest.mark.usefixtures("_two_nodes")
def test_all_nodes_together_give_the_same_numbers(tmp_path: Path) -> None:
    study = Study.create(tmp_path / "s", SETTINGS)
    together = by_model(measured(study, MODELS, SETTINGS.final_images))
    sheets = {file.name: file.read_bytes() for file in (study.folder / "samples").iterdir()}
    assert len(sheets) == len(MODELS)
    assert together == by_model(side_by_side(study.folder, ONE_CPU, MODELS, SETTINGS.final_images))
    assert sheets == {file.name: file.read_bytes() for file in (study.folder / "samples").iterdir()}


@pytest.mark.parametrize(
    ("address", "places", "free", "images", "workers"),
    [
        ("", 9, 9, 5000, 1),
        ("head:6379", 1, 1, 5000, 1),
        ("head:6379", 8, 8, 8 * 128, 8),
        ("head:6379", 8, 8, 8 * 128 - 1, 1),
        ("head:6379", 8, 7, 5000, 7),  # others have the rest
    ],
)
def test_a_model_is_shared_where_each_process_gets_a_batch(
    address: str, places: int, free: int, images: int, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(engine, "usable_nodes", list)
    monkeypatch.setattr(engine, "places", lambda process, nodes: places)
    monkeypatch.setattr(engine, "_free", lambda process: free)
    monkeypatch.setattr(engine, "side_by_side", lambda *arguments: 1)
    monkeypatch.setattr(engine, "together", lambda study, models, images, workers: workers)
    study = Study.create(tmp_path / "s", replace(SETTINGS, final_images=images))
    assert measured(study, MODELS, images) == workers

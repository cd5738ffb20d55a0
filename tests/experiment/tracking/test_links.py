"""Addresses of MLflow's pages."""

from __future__ import annotations

import json
from urllib.parse import parse_qs

import pytest

from mmd_ddm.experiment.tracking.links import links


@pytest.mark.parametrize(
    ("uri", "start"),
    [
        ("", "http://127.0.0.1:5000"),
        ("sqlite:////data/mlflow.db", "http://127.0.0.1:5000"),
        ("http://head:5001/", "http://head:5001"),
        ("http://me:secret@head:5001", "http://head:5001"),
        ("https://runs.example.org/mlflow", "https://runs.example.org/mlflow"),
    ],
)
def test_pages_of_each_kind_of_store(uri: str, start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    pages = links("7", ["ab", "cd"])
    assert pages.runs == f"{start}/#/experiments/7/runs?workflowType=machine_learning"
    assert pages.comparison is not None
    route, _, query = pages.comparison.partition("?")
    assert route == f"{start}/#/compare-runs"
    chosen = {name: json.loads(value) for name, (value,) in parse_qs(query, strict_parsing=True).items()}
    assert chosen == {"runs": ["ab", "cd"], "experiments": ["7"]}


def test_a_single_run_is_not_compared() -> None:
    assert links("7", ["ab"]).comparison is None

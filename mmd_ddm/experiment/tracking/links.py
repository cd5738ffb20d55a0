"""Pages of MLflow's UI, whose own start page shows nothing of runs."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote

from mmd_ddm.experiment.tracking.store import tracking_uri

LOCAL = "http://127.0.0.1:5000"  # where `mlflow ui` shows a local store


class Links(NamedTuple):
    """Addresses of pages."""

    runs: str  # all runs of the experiment, in a table
    comparison: str | None  # some runs beside each other: parallel coordinates, scatter plots; None for fewer than two


def links(experiment: str, compared: Sequence[str]) -> Links:
    """Return the pages of an experiment, and of some of its runs, by MLflow's ids."""
    uri = re.sub("://[^/@]*@", "://", tracking_uri())  # without a name and a password
    start = f"{uri.rstrip('/') if uri.startswith(('http://', 'https://')) else LOCAL}/#"
    ids = [quote(json.dumps(each, separators=(",", ":")), safe="[],") for each in (list(compared), [experiment])]
    comparison = f"{start}/compare-runs?runs={ids[0]}&experiments={ids[1]}" if len(compared) > 1 else None
    return Links(f"{start}/experiments/{quote(experiment)}/runs?workflowType=machine_learning", comparison)

"""Where a study is found in MLflow's UI."""

from __future__ import annotations

from mmd_ddm.experiment.tracking.links import Links, links
from mmd_ddm.experiment.tracking.tracked_run import SyncState
from tune.study.folder import AnyStudy


def mlflow_pages(study: AnyStudy) -> Links | None:
    """Return the pages of a study's runs, and of its scored trials beside each other; None if it is not recorded."""
    own = SyncState.read(study.folder)
    if own.experiment is None:
        return None
    # a metric that not all runs have is not offered
    sent = [SyncState.read(trial.folder).run_id for trial in study.trials() if trial.curve]
    return links(own.experiment, [run_id for run_id in sent if run_id is not None])

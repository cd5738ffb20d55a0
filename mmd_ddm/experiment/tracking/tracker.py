"""Runs in MLflow: parameters, metrics, sample sheets and models, sent by the driving process from the runs' folders.

A run's folder is the spool: an outage of the server delays what is sent from it, and loses nothing. Workers do not
import mlflow. All requests are made by one background thread, which never stops the run that it records.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.run_folder import MODEL
from mmd_ddm.experiment.tracking.registry import Candidate, register
from mmd_ddm.experiment.tracking.store import connect, shown_line, tracking_uri
from mmd_ddm.experiment.tracking.tracked_run import About, Requests, SyncState, TrackedRun

if TYPE_CHECKING:
    from mlflow import MlflowClient

PAUSE = 30.0  # seconds without attempts after a failed one
PATIENCE = 90.0  # seconds that a store may take to come back at the end
_RETRY = 3.0  # seconds between two attempts then
_TAGGED = ("kernel", "features", "schedule", "sampler", "steps")
_log = logging.getLogger(__name__)


class Tracker:
    """The connection to an MLflow store (None: `tracking_uri()`) and an experiment, made if there is none."""

    def __init__(self, experiment: str, uri: str | None = None) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlflow")
        self._not_before, self._quiet = 0.0, False
        self._connection = self._thread.submit(connect, uri or tracking_uri(), experiment)
        self._runs: list[TrackedRun] = []
        self._candidates: dict[Path, Candidate] = {}

    def check(self) -> None:
        """Wait until the store has answered; raise a UserError if it does not or can't be used."""
        self._connection.result()

    def follow(self, folder: Path, **about: Unpack[About]) -> TrackedRun:
        """Record the run in a folder; one that was recorded before goes on under its own MLflow run."""
        run = TrackedRun(self._queue, folder, about)
        self._runs.append(run)
        run.send()
        return run

    def register(self, folder: Path, candidate: Candidate) -> None:
        """Make the model of the run in a folder a version of its registered model, when the store next takes it.

        It is registered once, however often this is asked; see `tracking.registry`.
        """
        self._candidates[folder] = candidate
        self._register(folder)

    def _register(self, folder: Path) -> Future[bool]:
        def action(client: MlflowClient, experiment: str) -> None:
            if folder in self._candidates:  # not yet taken by an earlier attempt
                register(client, str(SyncState.read(folder).run_id), self._candidates[folder])
                del self._candidates[folder]

        return self._queue(action)

    def close(self, patience: float | None = None) -> list[Path]:
        """Send what is left, and wait for a store that is away; return the folders of runs that were not sent.

        Args:
            patience: Seconds to wait; None: `PATIENCE`.
        """
        patience = PATIENCE if patience is None else patience
        deadline, left = time.monotonic() + patience, self._send(self._runs)
        if left and patience:
            _log.warning("Waiting for MLflow, up to %.0f s", patience)
            self._quiet = True
        while left and time.monotonic() < deadline:
            time.sleep(_RETRY)
            left = self._send([run for run in self._runs if run.behind])
        self._thread.shutdown(wait=True)
        return left

    def _send(self, runs: Sequence[TrackedRun]) -> list[Path]:
        """Try now to send some runs and all candidates; return the folders of what is left."""
        self._not_before = 0.0
        requests = [run.send() for run in runs] + [self._register(folder) for folder in self._candidates]
        wait(requests)
        return list(dict.fromkeys([*(run.folder for run in self._runs if run.behind), *self._candidates]))

    def _queue(self, requests: Requests) -> Future[bool]:
        """Leave requests to the background thread; the result says whether they succeeded."""
        return self._thread.submit(self._attempt, requests)

    def _attempt(self, requests: Requests) -> bool:
        if time.monotonic() < self._not_before:
            return False
        try:
            requests(*self._connection.result())
        except Exception as error:  # an outage takes many forms; none of them may stop the run
            self._not_before = time.monotonic() + PAUSE
            if not self._quiet:
                _log.warning("MLflow did not take a record, it will be sent later: %s", shown_line(error))
            return False
        return True


def tags(config: Config) -> dict[str, str]:
    """Return the settings by which runs are found and grouped in MLflow, as tags."""
    values = config.flat()
    return {name: str(values[name]) for name in _TAGGED}


def model_artifact(folder: Path) -> list[tuple[Path, str]]:
    """Return a run's diffusers pipeline as an artifact for `TrackedRun.close`."""
    return [(folder / MODEL, MODEL)]

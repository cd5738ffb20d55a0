"""Runs in MLflow: parameters, metrics, sample sheets and models, sent by the driving process from the runs' folders.

A run's folder is the spool. What has been sent is remembered beside it in `mlflow.json`, so an outage of the server
delays, a second sending changes nothing, and a run that was interrupted goes on under its own MLflow run. Workers do
not import mlflow. All requests are made by one background thread, which never stops the run that it records.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.run_folder import METRICS, MODEL, Row, read_rows, sample_sheets
from mmd_ddm.experiment.tracking.description import NOTE, ending
from mmd_ddm.experiment.tracking.registry import Candidate, register
from mmd_ddm.experiment.tracking.store import connect, first_line, tracking_uri
from mmd_ddm.experiment.tracking.sync_state import SyncState

if TYPE_CHECKING:
    from mlflow import MlflowClient

PAUSE = 30.0  # seconds without attempts after a failed one
BATCH = 1000  # metrics a request, the limit of older servers
_AT_THE_END = ("score_raw", "score_ema")  # of complete runs alone: as metrics they would be missing of all others
_NOT_METRICS = ("update", "time", *_AT_THE_END)
_TAGGED = ("kernel", "features", "schedule", "sampler", "steps")
_log = logging.getLogger(__name__)


class Tracker:
    """The connection to an MLflow store.

    Args:
        experiment: Name of the MLflow experiment; made if there is none.
        uri: The store; None: `tracking_uri()`.
    """

    def __init__(self, experiment: str, uri: str | None = None) -> None:
        self.uri = uri or tracking_uri()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlflow")
        self._not_before = 0.0
        self._connection: Future[tuple[MlflowClient, str]] = self._thread.submit(connect, self.uri, experiment)
        self._runs: list[TrackedRun] = []
        self._candidates: dict[Path, Candidate] = {}

    def check(self) -> None:
        """Wait until the store has answered.

        Raises:
            UserError: If it does not answer or can't be used.
        """
        self._connection.result()

    def follow(
        self,
        folder: Path,
        *,
        name: str,
        description: str,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        parent: TrackedRun | None = None,
    ) -> TrackedRun:
        """Record the run in `folder`; one that was recorded before goes on under its own MLflow run.

        Args:
            folder: The run's folder.
            name: What the run is called in MLflow.
            description: What it is, as Markdown; empty for nothing.
            params: Its settings; an absent value is recorded as "none".
            tags: Further words about it.
            parent: The run that it is shown under.
        """
        run = TrackedRun(self, folder, name, description, params, tags, parent)
        self._runs.append(run)
        run.send()
        return run

    def register(self, folder: Path, candidate: Candidate) -> None:
        """Make the model of a recorded run a version of its registered model, when the store next takes it.

        The run's model is registered once, however often this is asked; see `tracking.registry`.

        Args:
            folder: The run's folder.
            candidate: What the version says of itself.
        """
        self._candidates[folder] = candidate
        self._register(folder)

    def _register(self, folder: Path) -> None:
        def action(client: MlflowClient, experiment: str) -> None:
            if folder in self._candidates:  # not yet taken by an earlier attempt
                register(client, str(SyncState.read(folder).run_id), self._candidates[folder])
                del self._candidates[folder]

        self.attempt(action)

    def close(self) -> list[Path]:
        """Make a last attempt to send everything; return the folders of runs that could not be sent."""
        self._not_before = 0.0
        for run in self._runs:
            run.send()
        for folder in list(self._candidates):
            self._register(folder)
        self._thread.shutdown(wait=True)
        behind = [run.folder for run in self._runs if run.behind]
        return [*behind, *(folder for folder in self._candidates if folder not in behind)]

    def attempt(self, action: Callable[[MlflowClient, str], None]) -> Future[bool]:
        """Queue requests for the background thread; the result says whether they succeeded."""
        return self._thread.submit(self._attempt, action)

    def _attempt(self, action: Callable[[MlflowClient, str], None]) -> bool:
        if time.monotonic() < self._not_before:
            return False
        try:
            action(*self._connection.result())
        except Exception as error:  # an outage takes many forms; none of them may stop the run
            self._not_before = time.monotonic() + PAUSE
            _log.warning("MLflow did not take a record, it will be sent later: %s", first_line(error))
            return False
        return True


class TrackedRun:
    """One MLflow run and the folder that it is filled from; made by `Tracker.follow`."""

    def __init__(
        self,
        tracker: Tracker,
        folder: Path,
        name: str,
        description: str,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        parent: TrackedRun | None,
    ) -> None:
        self.folder = folder
        self._tracker, self._name, self._description, self._parent = tracker, name, description, parent
        self._params = {key: "none" if value is None else str(value) for key, value in params.items()}
        self._tags = {**({NOTE: description} if description else {}), **tags}
        self._status: str | None = None
        self._artifacts: list[tuple[Path, str]] = []
        self._final: list[tuple[str, float, int]] = []
        self._sent = SyncState.read(folder)
        self._sent.closed = False
        self.behind = True

    @property
    def run_id(self) -> str | None:
        """MLflow's name of the run; None until the store has made it."""
        return self._sent.run_id

    def send(self) -> Future[bool]:
        """Send what the folder holds and the store doesn't; failures are left for the next time."""
        self.behind = True
        return self._tracker.attempt(self._send)

    def close(
        self,
        status: str,
        tags: Mapping[str, str] | None = None,
        artifacts: Sequence[tuple[Path, str]] = (),
        metrics: Sequence[tuple[str, float, int]] = (),
    ) -> Future[bool]:
        """End the run.

        Args:
            status: FINISHED, FAILED or KILLED.
            tags: Further words, such as the reason of a failure; a description is added to what the run is.
            artifacts: Files or folders to keep, each with its folder in MLflow ("" for the top).
            metrics: What is known only now, each with its step; not of the folder's metrics file.
        """
        self._status = status
        self._tags.update(tags or {})
        if said := "\n\n".join(filter(None, (self._description, ending(tags or {}), (tags or {}).get(NOTE)))):
            self._tags[NOTE] = said
        self._artifacts, self._final = list(artifacts), list(metrics)
        return self.send()

    def _send(self, client: MlflowClient, experiment: str) -> None:
        run_id = self._sent.run_id or self._create(client, experiment)
        rows, _ = read_rows(self.folder / METRICS)
        self._send_words(client, run_id, {**self._tags, **_at_the_end(rows)})
        self._send_metrics(client, run_id, rows)
        self._send_sheets(client, run_id)
        self._send_artifacts(client, run_id)
        if self._status is not None and not self._sent.closed:
            client.set_terminated(run_id, self._status)
            self._sent.closed = True
            self._sent.write(self.folder)
        self.behind = False

    def _create(self, client: MlflowClient, experiment: str) -> str:
        tags = {"mlflow.runName": self._name}
        if self._parent is not None:
            tags["mlflow.parentRunId"] = self._parent.run_id or self._parent._create(client, experiment)
        run_id: str = client.create_run(experiment, tags=tags, run_name=self._name).info.run_id
        self._sent = SyncState(run_id)
        self._sent.write(self.folder)
        return run_id

    def _send_words(self, client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import Param, RunTag

        params = {key: value for key, value in self._params.items() if key not in self._sent.params}
        tags = {key: value for key, value in tags.items() if self._sent.tags.get(key) != value}
        if params or tags:
            client.log_batch(
                run_id,
                params=[Param(key, value) for key, value in params.items()],
                tags=[RunTag(key, value) for key, value in tags.items()],
            )
            self._sent.params += params
            self._sent.tags |= tags
            self._sent.write(self.folder)

    def _send_metrics(self, client: MlflowClient, run_id: str, rows: Sequence[Row]) -> None:
        from mlflow.entities import Metric

        latest, metrics = dict(self._sent.latest), []
        for key, value, step, when in _values(rows):
            if step > latest.get(key, -1):  # a resumed run repeats what it did after its last checkpoint
                metrics.append(Metric(key, value, when, step))
                latest[key] = step
        known, now = self._sent.final, int(1000 * time.time())
        metrics += [Metric(k, v, now, step) for k, v, step in self._final if known.get(f"{k} {step}") != v]
        for start in range(0, len(metrics), BATCH):
            client.log_batch(run_id, metrics=metrics[start : start + BATCH])
        self._sent.latest = latest
        self._sent.final |= {f"{key} {step}": value for key, value, step in self._final}
        self._sent.write(self.folder)

    def _send_sheets(self, client: MlflowClient, run_id: str) -> None:
        from PIL import Image

        for update, file in sample_sheets(self.folder).items():
            if update not in self._sent.sheets:
                with Image.open(file) as sheet:
                    client.log_image(run_id, sheet.convert("RGB"), key="samples", step=update)
                self._sent.sheets.append(update)
                self._sent.write(self.folder)

    def _send_artifacts(self, client: MlflowClient, run_id: str) -> None:
        for path, place in self._artifacts:
            if not path.exists():
                continue
            name = f"{place}/{path.name} {path.stat().st_mtime_ns}"  # a continued study writes its report anew
            if name in self._sent.artifacts:
                continue
            log = client.log_artifacts if path.is_dir() else client.log_artifact
            log(run_id, str(path), place or None)
            self._sent.artifacts.append(name)
            self._sent.write(self.folder)


def tags(config: Config) -> dict[str, str]:
    """Return the settings by which runs are found and grouped in MLflow, as tags."""
    values = config.flat()
    return {name: str(values[name]) for name in _TAGGED}


def model_artifact(folder: Path) -> list[tuple[Path, str]]:
    """Return a run's diffusers pipeline as an artifact for `TrackedRun.close`."""
    return [(folder / MODEL, MODEL)]


def _at_the_end(rows: Sequence[Row]) -> dict[str, str]:
    return {key: f"{row[key]:.6g}" for row in rows for key in _AT_THE_END if key in row}


def _values(rows: Sequence[Row]) -> Iterator[tuple[str, float, int, int]]:
    for row in rows:
        when = int(1000 * row.get("time", time.time()))
        for key, value in row.items():
            if key not in _NOT_METRICS and isinstance(value, (int, float)) and math.isfinite(value):
                yield key, float(value), int(row["update"]), when

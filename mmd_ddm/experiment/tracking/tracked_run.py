"""One MLflow run and the folder that it is filled from.

What has been sent is remembered beside the run in `mlflow.json`, so an outage of the server delays, a second sending
changes nothing, and a run that was interrupted goes on under its own MLflow run, by whichever process.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict

from mmd_ddm.experiment.run_folder import METRICS, Row, read_rows, sample_sheets
from mmd_ddm.experiment.tracking.description import NOTE, ending
from mmd_ddm.files import write_json
from mmd_ddm.records import read_record

if TYPE_CHECKING:
    from mlflow import MlflowClient

STATE = "mlflow.json"
BATCH = 1000  # metrics a request, the limit of older servers
FIRST = "score"  # the metric that MLflow's comparison of runs draws where none is chosen is the first one it was sent
_AT_THE_END = ("score_raw", "score_ema")  # of complete runs alone: as metrics they would be missing of all others
_NOT_METRICS = ("update", "time", *_AT_THE_END)

Requests = Callable[["MlflowClient", str], None]  # given the client and the experiment's id


@dataclass
class SyncState:
    """What has been sent of a run."""

    run_id: str | None = None  # MLflow's name of the run; None until the store has made it
    experiment: str | None = None  # MLflow's id of its experiment
    params: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    latest: dict[str, int] = field(default_factory=dict)  # the last update of each metric
    final: dict[str, float] = field(default_factory=dict)  # what was known only at the end, by name and step
    sheets: list[int] = field(default_factory=list)
    artifacts: list[str] = field(default_factory=list)
    closed: bool = False

    @classmethod
    def read(cls, folder: Path) -> SyncState:
        """Read what is known of the run in a folder; nothing if it was never recorded."""
        file = folder / STATE
        if not file.exists():
            return cls()
        record = read_record(file, "delete it: the run is then recorded anew")
        latest, final, tags = (record.record(name) for name in ("latest", "final", "tags"))
        return cls(
            record.text("run_id") if "run_id" in record else None,
            record.text("experiment") if "experiment" in record else None, record.texts("params"),
            {name: tags.text(name) for name in tags}, {name: latest.whole(name) for name in latest}, final.numbers(),
            record.wholes("sheets"), record.texts("artifacts"), record.flag("closed"),
        )  # fmt: skip


class About(TypedDict):
    """What an MLflow run says of itself."""

    name: str
    description: str  # Markdown; empty for nothing
    params: Mapping[str, object]  # its settings; an absent value is recorded as "none"
    tags: Mapping[str, str]
    parent: NotRequired[TrackedRun]  # the run that it is shown under


class TrackedRun:
    """A run in its folder; made by `Tracker.follow`, which also gives it the way to have requests made."""

    def __init__(self, queue: Callable[[Requests], Future[bool]], folder: Path, about: About) -> None:
        self.folder = folder
        self._queue, self._about = queue, about
        self._params = {key: "none" if value is None else str(value) for key, value in about["params"].items()}
        self._tags = {**({NOTE: about["description"]} if about["description"] else {}), **about["tags"]}
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
        return self._queue(self._send)

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
        self._status, tags = status, tags or {}
        self._tags.update(tags)
        if said := "\n\n".join(filter(None, (self._about["description"], ending(tags), tags.get(NOTE)))):
            self._tags[NOTE] = said
        self._artifacts, self._final = list(artifacts), list(metrics)
        return self.send()

    def _send(self, client: MlflowClient, experiment: str) -> None:
        run_id = self._sent.run_id or self._create(client, experiment)
        rows, _ = read_rows(self.folder / METRICS)
        self._send_words(client, run_id, rows)
        self._send_metrics(client, run_id, rows)
        self._send_sheets(client, run_id)
        self._send_artifacts(client, run_id)
        if self._status is not None and not self._sent.closed:
            client.set_terminated(run_id, self._status)
            self._sent.closed = True
            self._remember()
        self.behind = False

    def _remember(self) -> None:
        write_json(self.folder / STATE, asdict(self._sent))

    def _create(self, client: MlflowClient, experiment: str) -> str:
        name, parent = self._about["name"], self._about.get("parent")
        tags = {"mlflow.runName": name}
        if parent is not None:
            tags["mlflow.parentRunId"] = parent.run_id or parent._create(client, experiment)
        run_id: str = client.create_run(experiment, tags=tags, run_name=name).info.run_id
        self._sent = SyncState(run_id, experiment)
        self._remember()
        return run_id

    def _send_words(self, client: MlflowClient, run_id: str, rows: Sequence[Row]) -> None:
        from mlflow.entities import Param, RunTag

        ends = {key: f"{row[key]:.6g}" for row in rows for key in _AT_THE_END if key in row}
        params = {key: value for key, value in self._params.items() if key not in self._sent.params}
        tags = {key: value for key, value in {**self._tags, **ends}.items() if self._sent.tags.get(key) != value}
        if params or tags:
            named, tagged = [Param(*item) for item in params.items()], [RunTag(*item) for item in tags.items()]
            client.log_batch(run_id, params=named, tags=tagged)
            self._sent.params += params
            self._sent.tags |= tags
            self._remember()

    def _send_metrics(self, client: MlflowClient, run_id: str, rows: Sequence[Row]) -> None:
        from mlflow.entities import Metric

        latest, metrics = dict(self._sent.latest), []
        for key, value, step, when in _values(rows):
            if step > latest.get(key, -1):  # a resumed run repeats what it did after its last checkpoint
                metrics.append(Metric(key, value, when, step))
                latest[key] = step
        metrics.sort(key=lambda metric: metric.key != FIRST)
        known, now = self._sent.final, int(1000 * time.time())
        metrics += [Metric(k, v, now, step) for k, v, step in self._final if known.get(f"{k} {step}") != v]
        for start in range(0, len(metrics), BATCH):
            client.log_batch(run_id, metrics=metrics[start : start + BATCH])
        self._sent.latest = latest
        self._sent.final |= {f"{key} {step}": value for key, value, step in self._final}
        self._remember()

    def _send_sheets(self, client: MlflowClient, run_id: str) -> None:
        from PIL import Image

        for update, file in sample_sheets(self.folder).items():
            if update not in self._sent.sheets:
                with Image.open(file) as sheet:
                    client.log_image(run_id, sheet.convert("RGB"), key="samples", step=update)
                self._sent.sheets.append(update)
                self._remember()

    def _send_artifacts(self, client: MlflowClient, run_id: str) -> None:
        for path, place in self._artifacts:
            if not path.exists():
                continue
            name = f"{place}/{path.name} {path.stat().st_mtime_ns}"  # a continued study writes its report anew
            if name not in self._sent.artifacts:
                log = client.log_artifacts if path.is_dir() else client.log_artifact
                log(run_id, str(path), place or None)
                self._sent.artifacts.append(name)
                self._remember()


def _values(rows: Sequence[Row]) -> Iterator[tuple[str, float, int, int]]:
    """Metrics by name, value, update and time in ms; MLflow allows no @, which names one of several budgets."""
    for row in rows:
        when = int(1000 * row.get("time", time.time()))
        for key, value in row.items():
            if key not in _NOT_METRICS and isinstance(value, (int, float)) and math.isfinite(value):
                yield key.replace("@", "/"), float(value), int(row["update"]), when

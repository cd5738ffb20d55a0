"""What a run leaves in its folder, and how others read it while the run goes on.

config.json          the configuration
origins.json         fingerprints of images, base model and feature weights, and where the latter were
baseline.json        the base model's scores
metrics.jsonl        one JSON object a line: `update`, `time` and metrics
samples_<update>.png sample sheets
checkpoint/          the latest state, to go on from
model/               the finetuned diffusers pipeline: of the states that were scored so far the one that is kept
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import NamedTuple

from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.metrics import Metrics, read_metrics
from mmd_ddm.files import former_of, write_whole
from mmd_ddm.records import as_record, number, parse_json, size_of

CONFIG, BASELINE, METRICS, CHECKPOINT, MODEL = "config.json", "baseline.json", "metrics.jsonl", "checkpoint", "model"
BEST, LAST = "best", "last"  # which of a run's scored states is exported
Row = dict[str, float]  # a line of metrics.jsonl


class Scoring(NamedTuple):
    """A run as it was scored after an update: `score` is relative to the base model's, see `relative_score`."""

    update: int
    score: float
    metrics: Metrics

    @classmethod
    def of(cls, row: Mapping[str, float]) -> Scoring:
        """Read a row that has a score."""
        return cls(int(row["update"]), float(row["score"]), read_metrics(row))

    @property
    def worth(self) -> float:
        """The score; infinite where it is no number."""
        return self.score if math.isfinite(self.score) else math.inf


def kept_scoring(curve: Sequence[Scoring], keep: str) -> Scoring:
    """Return how the state was scored that is exported.

    Args:
        curve: All scorings of a run, at least one, by update.
        keep: `best`: the smallest score, the earliest among equals; `last`.
    """
    return curve[-1] if keep == LAST else min(curve, key=lambda scoring: scoring.worth)


def append_row(folder: Path, row: Mapping[str, float]) -> None:
    """Add a row to a run's metrics, with the time."""
    with (folder / METRICS).open("a") as file:
        file.write(json.dumps({"time": time.time(), **row}) + "\n")


def truncate_rows(folder: Path, update: int) -> None:
    """Drop the rows after an update, and lines that a crash left damaged: they are computed again."""
    rows, _ = read_rows(folder / METRICS)
    kept = [json.dumps(row) + "\n" for row in rows if row.get("update", math.inf) <= update]
    write_whole(folder / METRICS, "".join(kept))


def read_rows(file: Path, position: int = 0, *, strict: bool = False) -> tuple[list[Row], int]:
    """Read the whole lines of a metrics file, if there is one, and where, in bytes, the last of them ends.

    It is read from a position on, or from its beginning if it has become shorter. A line that is no row, as a worker
    leaves that is killed while it writes, is left out, as is what is no number in a row; if `strict`, a UserError.
    """
    if not file.exists():
        return [], 0
    rows, size = list[Row](), size_of(file)  # a pipe would be waited for
    with file.open("rb") as stream:
        stream.seek(position if position <= size else 0)
        position = stream.tell()
        for line in stream:
            if not line.endswith(b"\n"):  # being written
                break
            position += len(line)
            with nullcontext() if strict else suppress(UserError):
                rows.append(_read_row(line, f"{file}, the line that ends at byte {position},", strict))
    return rows, position


def _read_row(line: bytes, place: str, strict: bool) -> Row:
    advice = "resume the run, which computes it again"
    row = as_record(parse_json(line.decode(errors="replace"), place, advice), place, advice)
    if "update" in row or "score" in row:
        row.whole("update")
    if strict:
        return row.numbers()
    return {name: value for name, each in row.entries.items() if (value := number(each)) is not None}


def read_scorings(folder: Path) -> list[Scoring]:
    """Return how a run was scored, by update; where a resumed run repeats an update, the later counts.

    Raises:
        UserError: The metrics are damaged.
    """
    rows, _ = read_rows(folder / METRICS, strict=True)
    by_update = {row["update"]: Scoring.of(row) for row in rows if "score" in row}
    return [by_update[update] for update in sorted(by_update)]


def sample_sheets(folder: Path) -> dict[int, Path]:
    """Return a run's sample sheets by update."""
    found = ((re.fullmatch(r"samples_(\d+)\.png", file.name), file) for file in folder.glob("samples_*.png"))
    return dict(sorted((int(match[1]), file) for match, file in found if match))


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the folder's latest whole checkpoint, or None."""
    latest = folder / CHECKPOINT
    return next((each for each in (latest, former_of(latest)) if each.is_dir()), None)

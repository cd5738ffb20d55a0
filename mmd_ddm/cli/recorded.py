"""What a command makes, as a run in MLflow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Unpack

from mmd_ddm.experiment.tracking.store import ui_command
from mmd_ddm.experiment.tracking.tracked_run import About


class Results(NamedTuple):
    """What a run's end is recorded with: files or folders with their place in MLflow, and metrics with their steps."""

    artifacts: list[tuple[Path, str]]
    metrics: list[tuple[str, float, int]]


@contextmanager
def recorded(wanted: bool, folder: Path, dataset: str, unsent: str, **about: Unpack[About]) -> Iterator[Results]:
    """Record what the block does, whatever its end, if that is wanted; `unsent` says how to send what was not taken."""
    results = Results([], [])
    if not wanted:
        yield results
        return
    from mmd_ddm.experiment.tracking.tracker import Tracker

    tracker = Tracker(f"mmd-ddm {dataset}")
    tracker.check()
    run = tracker.follow(folder, **about)
    try:
        yield results
        run.close("FINISHED", artifacts=results.artifacts, metrics=results.metrics)
    except KeyboardInterrupt:
        run.close("KILLED")
        raise
    except BaseException as error:
        run.close("FAILED", {"reason": str(error)})
        raise
    finally:
        if tracker.close():
            print(f"MLflow has not taken all records; {unsent}")
        print(f"compare runs with: {ui_command()}")

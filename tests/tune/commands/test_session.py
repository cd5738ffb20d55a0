"""What a study leaves in MLflow when something ends it that nobody foresaw."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from mmd_ddm.experiment.tracking.tracked_run import TrackedRun
from mmd_ddm.experiment.tracking.tracker import Tracker
from tests.tune.made_study import Folder
from tune.commands.session import recorded_to_the_end
from tune.study.console import StudyConsole
from tune.study.folder import Outcome
from tune.trials.callback import Recorder


@pytest.mark.parametrize(
    ("error", "status", "tags"),
    [
        (RuntimeError("a bug\nin detail"), "FAILED", {"reason": "a bug"}),
        (KeyboardInterrupt(), "KILLED", {}),
    ],
)
def test_no_run_is_left_running(
    error: BaseException, status: str, tags: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'none.db'}")
    closed: dict[str, tuple[str, Mapping[str, str]]] = {}
    ended: list[Tracker] = []

    def close(run: TrackedRun, how: str, words: Mapping[str, str] | None = None, *rest: object) -> None:
        closed[run.folder.name] = how, words or {}

    monkeypatch.setattr(TrackedRun, "close", close)
    monkeypatch.setattr(TrackedRun, "send", lambda run: None)
    monkeypatch.setattr("mmd_ddm.experiment.tracking.tracker.connect", lambda uri, experiment: (None, ""))
    monkeypatch.setattr(Tracker, "close", lambda tracker, patience: ended.append(tracker))
    made = Folder(tmp_path)
    made.trial(0, 0.5)
    made.trial(1, 0.5, outcome=Outcome.RUNNING)
    tracker = Tracker("any")
    own = tracker.follow(made.study.folder, name="s", description="", params={}, tags={})
    recorder = Recorder(made.study, tracker, own, StudyConsole(0.0))
    recorder.run(0)
    recorder.run(1)
    with pytest.raises(type(error)), recorded_to_the_end(tracker, own, recorder):
        raise error
    assert closed == {made.study.folder.name: (status, tags), "001": ("KILLED", {})}  # trial 0 ended by itself
    assert ended == [tracker]

"""What a study says of its trials between two of their scorings."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmd_ddm.experiment.run_folder import append_row
from mmd_ddm.experiment.tracking.tracker import Tracker
from tests.tune.made_study import Folder
from tune.study import console as module
from tune.study.console import QUIET, StudyConsole
from tune.study.folder import Outcome
from tune.trials import callback
from tune.trials.callback import Recorder


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for each in (module, callback):
        monkeypatch.setattr(each, "time", clock)
    return clock


def test_a_study_that_was_quiet_says_how_far_it_is(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Folder(tmp_path)
    for number in (0, 1):
        made.trial(number, 0.5, outcome=Outcome.RUNNING)  # of 20 updates each
    console = StudyConsole(clock.now)
    with console.progress(40):
        for number, update in ((0, 0), (1, 4)):  # the second goes on from its checkpoint
            console.started(made.study.trial(number))
            console.reached(number, update)
        capsys.readouterr()
        clock.now += QUIET - 1
        console.reached(0, 5)
        assert capsys.readouterr().out == ""
        clock.now += 1
        console.reached(1, 9)  # 10 updates in 30 s, so that the 26 that are left take 78 s
        said = capsys.readouterr().out
        assert "trial 001     9/20  26 updates of all to do, about 1 min left for them" in said
        console.reached(0, 6)
        assert capsys.readouterr().out == ""


def test_the_driver_reads_how_far_trials_are(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmd_ddm.experiment.tracking.tracker.connect", lambda uri, experiment: (None, ""))
    made, heard = Folder(tmp_path), list[tuple[int, int]]()
    made.trial(0, outcome=Outcome.RUNNING)
    tracker, console = Tracker("any"), StudyConsole(clock.now)
    own = tracker.follow(made.study.folder, name="s", description="", params={}, tags={})
    recorder = Recorder(made.study, tracker, own, console)
    monkeypatch.setattr(StudyConsole, "reached", lambda console, *what: heard.append(what))
    recorder.on_trial_start(0, [], type("Trial", (), {"config": {"number": 0}}))
    for update in (1, 2, 3):
        append_row(made.study.trial_folder(0), {"update": update, "mmd2": 0.1})
        clock.now += 1.5  # looks every 2 s
        recorder.on_step_begin(0, [])
    assert heard == [(0, 1), (0, 3)]
    clock.now += 10
    recorder.on_step_begin(0, [])
    assert len(heard) == 2  # nothing new

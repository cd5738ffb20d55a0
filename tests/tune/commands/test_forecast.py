"""The estimate of a study's time, from a speed that is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmd_ddm.experiment.pace import Pace
from tests.tune.made_study import BEST, IMAGES, Folder
from tune.commands import forecast
from tune.commands.forecast import forecast_cells, forecast_search
from tune.study.settings import Machines

PACE = Pace(gradient=1e-3, evaluation=2e-4, features=1e-4)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "measure_pace", lambda config, threads, device: PACE)


@pytest.mark.usefixtures("known")
def test_a_search_takes_its_trials_in_turns_and_the_final_scores(tmp_path: Path) -> None:
    settings = Folder(tmp_path).study.settings
    run = PACE.run(settings.widest, 1)
    # of the winner, the base model like the winner and like the first trial, and with 20 and 50 evaluations
    final = sum(IMAGES * (nfe * 2e-4 + 1e-4) for nfe in (5, 5, 5, 20, 50)) / 2
    whole = 4 * run + final  # seven trials, two at once
    told = forecast_search(settings, 7, 2)
    assert told is not None
    assert told.startswith(
        f"at most about {whole / 60:.0f} min: {run:.0f} s a whole trial, 2 at once, and {final:.0f} s"
    )


@pytest.mark.usefixtures("known")
def test_cells_take_no_less_than_the_longest() -> None:
    configs = [BEST, BEST, BEST.replace(updates=2000)]
    longest = PACE.run(configs[-1], 1)
    told = forecast_cells(configs, Machines(0, 0.0, 1), 3)
    assert told == f"about {longest / 60:.0f} min before the final scores, 3 runs at once"
    assert forecast_cells([], Machines(0, 0.0, 1), 3) is None


def test_what_cannot_be_measured_is_no_reason_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(config: object, threads: int, device: object) -> Pace:
        raise MemoryError("no room for it")

    monkeypatch.setattr(forecast, "measure_pace", fail)
    assert forecast_search(Folder(tmp_path).study.settings, 7, 2) is None
    assert "no room for it" in caplog.text

"""The driving process of an ablation: its cells run by Ray Tune, scored, compared and recorded in MLflow.

An ablation's folder is a study's (tune/study/folder.py), whose trials are the finetuned cells; in addition it has
grids/<name>.json      what was asked for, one or several
trials/007/final_*.json, bases/*/final_*.json   final scores of the cells and of the base model
<name>.md, <name>.csv, <name>.png   the comparison
A cell is known by its configuration, so that grids of one folder share what they have in common.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from mmd_ddm.experiment.distributed.cluster import check_resources, start_ray
from mmd_ddm.experiment.tracking.store import first_line, ui_command
from mmd_ddm.experiment.tracking.tracker import TrackedRun, Tracker
from tune.ablation.cell_scores import identity, read_scores, score_cells, scores_file, trial_numbers
from tune.ablation.comparison import Comparison, compare
from tune.ablation.figure import draw_grid
from tune.ablation.grid import Grid, save_grid
from tune.ablation.report import caption, headline, write_csv, write_markdown
from tune.study.console import Screen
from tune.study.folder import COMPLETED, FAILED, RUNNING, Settings, Study
from tune.trials.callback import Recorder, close_trial
from tune.trials.optuna_searcher import NUMBER
from tune.trials.trial import run_trial
from tune.trials.tuner import fitting, needed, run_trials

_log = logging.getLogger(__name__)


def open_ablation(folder: Path, settings: Settings) -> Study:
    """Begin an ablation in a folder, or go on with the one that is there.

    Raises:
        UserError: The folder holds a search, or can't be written.
    """
    if (folder / "study.json").exists():
        return Study.open(folder, kind=settings.kind).changed(settings)
    return Study.create(folder, settings)


def begin_cells(study: Study, grids: Sequence[Grid]) -> list[int]:
    """Write down the cells of some grids that are not complete, and return their numbers, the longest first."""
    numbers, left = trial_numbers(study), {}
    for grid in grids:
        for cell in grid.cells():
            if not grid.rows[cell.row].finetuned:
                continue
            known = identity(cell.config.flat())
            number = numbers.setdefault(known, max(numbers.values(), default=-1) + 1)
            if number in left or study.is_complete(number):
                continue
            study.begin_trial(number, cell.config, grid.point(cell))
            left[number] = cell.steps * cell.config.optimization.updates * cell.config.optimization.batch
    return sorted(left, key=lambda number: (-left[number], number))


def drive(
    settings: Settings, folder: Path, grids: Sequence[Grid], *, concurrent: int | None = None, started: float
) -> int:
    """Run what some grids lack, and write their comparisons.

    Args:
        settings: What was asked for.
        folder: The ablation's, made if it is not there.
        grids: One to add, or those that the folder has.
        concurrent: Runs at once; None: as many as fit.
        started: When the command began (time.monotonic).

    Returns:
        The exit status: 0 if a cell was completed, 1 if none.

    Raises:
        UserError: Ray or MLflow don't answer, the machines don't suffice, or the folder can't be written.
    """
    import ray
    import ray.tune

    tracker = Tracker(f"mmd-ddm {settings.config['dataset']}")  # connects while Ray starts
    try:
        start_ray(workers=settings.workers)
        check_resources(needed(settings))
        tracker.check()
        study = open_ablation(folder, settings)
        grids = [save_grid(study.folder, grid) for grid in grids]
        left = begin_cells(study, grids)
        screen = Screen(sum(study.trial(number).planned for number in left), started)
        parent = _follow(tracker, study, grids)
        recorder = Recorder(study, tracker, parent, screen)
        screen.say(f"ablation {study.folder}: {len(left)} cells to run, {_done(study, grids)} are there already")
        with screen:
            if left:
                given = {NUMBER: ray.tune.grid_search(left)}
                run_trials(run_trial, study, recorder, concurrent or fitting(settings), given=given)
            _score(study, grids, screen)
    finally:
        ray.shutdown()
    return _conclude(study, grids, tracker, recorder, screen)


def _follow(tracker: Tracker, study: Study, grids: Sequence[Grid]) -> TrackedRun:
    tags = {"study": study.name, "dataset": str(study.settings.config["dataset"])}
    params = {f"grid.{grid.name}": f"{grid.title}; steps {grid.steps}, {len(grid.seeds)} seeds" for grid in grids}
    return tracker.follow(study.folder, name=study.name, params={**study.settings.config, **params}, tags=tags)


def _numbers(study: Study, grids: Sequence[Grid]) -> list[int]:
    numbers = trial_numbers(study)
    found = (numbers.get(identity(cell.config.flat())) for grid in grids for cell in grid.cells())
    return sorted({number for number in found if number is not None})


def _done(study: Study, grids: Sequence[Grid]) -> int:
    return sum(study.is_complete(number) for number in _numbers(study, grids))


def _score(study: Study, grids: Sequence[Grid], screen: Screen) -> None:
    if any(study.trial(number).outcome == RUNNING for number in _numbers(study, grids)):
        return  # interrupted
    for grid in grids:
        try:
            score_cells(study, grid, screen.say)
        except (Exception, KeyboardInterrupt) as error:  # of Ray, of the disk: the runs stand
            _log.warning("Scores are missing (%s); --resume %s measures them", first_line(error), study.folder)


def _conclude(study: Study, grids: Sequence[Grid], tracker: Tracker, recorder: Recorder, screen: Screen) -> int:
    began = time.monotonic()
    compared = [compare(study, grid) for grid in grids]
    files = [file for each in compared for file in _write(study.folder, each)]
    _close_cells(study, grids, recorder)
    trials = [study.trial(number) for number in _numbers(study, grids)]
    complete = [trial for trial in trials if trial.outcome == COMPLETED]
    unfinished = [trial for trial in trials if trial.outcome == RUNNING]
    status = "KILLED" if unfinished else "FINISHED" if complete else "FAILED"
    note = "\n\n".join(text for each in compared for text in (caption(each), *headline(each)))
    recorder.parent.close(status, {"mlflow.note.content": note}, [(file, "") for file in files])
    unsent = tracker.close()
    if unsent:
        _log.warning("MLflow did not take the records of %d runs; --resume %s sends them", len(unsent), study.folder)
    for trial in trials:
        if trial.outcome == FAILED:
            screen.say(f"trial {trial.number:03d} failed: {trial.reason}; --resume {study.folder} tries it again")
    if unfinished:
        screen.say(f"{len(unfinished)} cells are unfinished; continue with --resume {study.folder}")
    screen.say(f"tables, figures and records took {time.monotonic() - began:.0f} s")
    for each in compared:
        screen.say(f"{each.grid.title}: {study.folder / each.grid.name}.md")
        for line in headline(each):
            screen.say(line)
    if not complete:
        screen.say("no cell was completed")
        return 1
    screen.say(f"compare the runs: {ui_command()}")
    return 0


def _write(folder: Path, compared: Comparison) -> list[Path]:
    files = [write_markdown(folder, compared), write_csv(folder, compared), draw_grid(folder, compared)]
    return [file for file in files if file is not None]


def _close_cells(study: Study, grids: Sequence[Grid], recorder: Recorder) -> None:
    """Send each cell's final scores, and whatever an earlier driver had no time for."""
    numbers, final = trial_numbers(study), dict[int, list[tuple[str, float, int]]]()
    for grid in grids:
        for cell in grid.cells():
            number = numbers.get(identity(cell.config.flat()))
            if number is None:
                continue
            scores = read_scores(scores_file(study, grid, cell, numbers), grid) or {}
            updates = cell.config.optimization.updates
            final.setdefault(number, []).extend((f"final_{name}", value, updates) for name, value in scores.items())
    for number, metrics in final.items():
        if study.trial(number).outcome != RUNNING:
            close_trial(recorder.run(number), study, number, metrics)

"""The course of an ablation: the cells of its grids run to their end, scored, compared and recorded in MLflow.

A cell is known by its configuration, so that grids of one folder share what they have in common.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mmd_ddm.evaluation.metrics import flat
from mmd_ddm.experiment.origins import Origins
from mmd_ddm.experiment.setting import Scalar
from mmd_ddm.experiment.tracking.description import describe_ablation
from tune.ablation.cell_scores import read_cell_scores, score_cells, scores_file, trial_numbers
from tune.ablation.comparison import compare
from tune.ablation.grid import Grid, save_grid
from tune.ablation.report import caption, headline, write_report
from tune.commands.forecast import forecast_cells
from tune.commands.session import Session, elapsed, interruptible, session
from tune.commands.shared_study import check_shared
from tune.report.render import escape
from tune.study.folder import Outcome, Study
from tune.study.settings import FILE, AblationSettings
from tune.trials.concurrency import Concurrency
from tune.trials.tuner import run_given_trials

COMMAND = "python tune/ablate.py"


def open_ablation(folder: Path, settings: AblationSettings, origins: Origins) -> Study[AblationSettings]:
    """Begin an ablation in a folder, or go on with the one that is there, and write down what it is made of.

    Raises:
        UserError: The folder holds a search, or is not the same on all nodes of a cluster.
    """
    check_shared(folder, settings)
    there = (folder / FILE).exists()
    study = Study.open(folder, AblationSettings).changed(settings) if there else Study.create(folder, settings)
    origins.beside(Origins.read(folder)).write(folder)
    return study


def begin_cells(study: Study[AblationSettings], grids: Sequence[Grid]) -> list[int]:
    """Write down the cells of some grids that are not complete, and return their numbers, the longest first."""
    numbers, left = trial_numbers(study), dict[int, int]()
    for grid in grids:
        for cell in grid.cells():
            if not grid.rows[cell.row].finetuned:
                continue
            number = numbers.setdefault(cell.config, max(numbers.values(), default=-1) + 1)
            if number in left or study.is_complete(number):
                continue
            study.begin_trial(number, cell.config, grid.point(cell))
            left[number] = cell.steps * cell.config.optimization.updates * cell.config.optimization.batch
    return sorted(left, key=lambda number: (-left[number], number))


def run_ablation(
    settings: AblationSettings, folder: Path, grids: Sequence[Grid], origins: Origins, *, started: float
) -> int:
    """Run what some grids lack, write their comparisons, and return the exit status: 0 if a cell was completed, else 1.

    Args:
        settings: What the grids share.
        folder: The ablation's, made if it is not there.
        grids: One to add, or those that the folder has.
        origins: What they are made of, written down in the folder.
        started: When the command began (time.monotonic).

    Raises:
        UserError: Ray or MLflow don't answer, the machines don't suffice, or the folder can't be written.
    """

    def describe(study: Study[AblationSettings]) -> tuple[str, dict[str, Scalar | str]]:
        about = {grid.name: f"{grid.title}; steps {grid.steps}, {len(grid.seeds)} seeds" for grid in grids}
        further: dict[str, Scalar | str] = {f"grid.{name}": text for name, text in about.items()}
        return describe_ablation(study.name, settings.config, about.values()), further

    with session(
        settings, lambda: open_ablation(folder, settings, origins), command=COMMAND, started=started, describe=describe
    ) as current:
        study, console = current.study, current.console
        grids = [save_grid(study.folder, grid) for grid in grids]
        left = begin_cells(study, grids)
        done = sum(study.is_complete(number) for number in _numbers(study, grids))
        console.say(f"ablation {study.folder}: {len(left)} cells to run, {done} are there already")
        at_once = Concurrency(settings.machines, settings.concurrent)
        configs = [study.trial(number).config for number in left]
        if (told := forecast_cells(configs, settings.machines, at_once.now())) is not None:
            console.say(told)
        with console.progress(sum(study.trial(number).planned for number in left)):
            if left:
                with current.stopping_gently():
                    run_given_trials(study, current.recorder, at_once, left, current.asked)
            if not current.asked() and not any(
                study.trial(number).outcome is Outcome.RUNNING for number in _numbers(study, grids)
            ):
                for grid in grids:
                    current.attempt_scores(partial(score_cells, study, grid, console.say))
    with interruptible(current.interruption, current.resume):
        return _conclude(current, grids)


def _numbers(study: Study[AblationSettings], grids: Sequence[Grid]) -> list[int]:
    numbers = trial_numbers(study)
    found = (numbers.get(cell.config) for grid in grids for cell in grid.cells())
    return sorted({number for number in found if number is not None})


def _conclude(current: Session[AblationSettings], grids: Sequence[Grid]) -> int:
    began, study, console = time.monotonic(), current.study, current.console
    compared = [compare(study, grid) for grid in grids]
    files = [file for each in compared for file in write_report(study.folder, each)]
    _close_cells(current, grids)
    trials = [study.trial(number) for number in _numbers(study, grids)]
    note = "\n\n".join(text for each in compared for text in map(escape, (caption(each), *headline(each))))
    complete = current.finish(trials, note, files)
    for trial in trials:
        if trial.outcome is Outcome.FAILED:
            console.say(f"trial {trial.number:03d} failed: {trial.reason}; {current.resume} tries it again")
    console.say(f"tables, figures and records took {elapsed(began)}")
    for each in compared:
        console.say(f"{each.grid.title}: {study.folder / each.grid.name}.md")
        for line in headline(each):
            console.say(line)
    return current.farewell(complete, "cell")


def _close_cells(current: Session[AblationSettings], grids: Sequence[Grid]) -> None:
    """Send each cell's final scores, and whatever an earlier driver had no time for."""
    study = current.study
    numbers, final = trial_numbers(study), dict[int, list[tuple[str, float, int]]]()
    for grid in grids:
        for cell in grid.cells():
            number = numbers.get(cell.config)
            if number is None:
                continue
            scores = read_cell_scores(scores_file(study, grid, cell, numbers), grid) or ()
            updates = cell.config.optimization.updates
            told = ((f"final_{name}", value, updates) for name, value in flat(scores).items())
            final.setdefault(number, []).extend(told)
    for number, metrics in final.items():
        if study.trial(number).outcome is not Outcome.RUNNING:
            current.recorder.close(number, metrics)

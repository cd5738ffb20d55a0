"""The final scores of an ablation's cells: each model as exported, with noise that no model was trained or chosen by.

The noise is that of the seed's stream `final`: all cells of a seed, and the base model, start from the same, and every
seed has its own, so that the spread over seeds holds what training and images leave to chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mmd_ddm.evaluation.metrics import Metrics, flat, read_metrics
from mmd_ddm.evaluation.names import KINDS, OWN_SPACE
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.run_folder import MODEL
from mmd_ddm.experiment.scoring.scored_model import ADVICE, BASE, FINETUNED, ScoredModel
from mmd_ddm.experiment.tracking.store import shown_line
from mmd_ddm.files import write_json
from mmd_ddm.records import read_record
from tune.ablation.grid import Cell, Grid
from tune.scoring.final_scores import make_parts, open_exported
from tune.scoring.remaining import Remaining
from tune.study.folder import BASES, Outcome, Study, base_key
from tune.study.settings import AblationSettings


@dataclass(frozen=True)
class CellTask:
    """A cell that is to be scored."""

    model: ScoredModel
    exported: Path | None  # the trial's pipeline; None: the base model
    file: Path  # where the scores go
    seed: int  # of the noise


def scores_file(study: Study[AblationSettings], grid: Grid, cell: Cell, numbers: Mapping[Config, int]) -> Path | None:
    """Return where a cell's final scores are kept, given the `trial_numbers`; None if it was never begun."""
    name = f"final_{grid.images}.json"
    if not grid.rows[cell.row].finetuned:
        return study.folder / BASES / base_key(cell.config) / name
    number = numbers.get(cell.config)
    return None if number is None else study.trial_folder(number) / name


def trial_numbers(study: Study[AblationSettings]) -> dict[Config, int]:
    """Return the trials of a study by configuration, which is what a cell is known by."""
    return {trial.config: trial.number for trial in study.trials()}


def read_cell_scores(file: Path | None, grid: Grid) -> Metrics | None:
    """Return final scores, if there are all that a grid compares."""
    if file is None or not file.is_file():
        return None
    metrics = read_metrics(read_record(file, ADVICE).numbers())
    there = {(metric.kind, metric.space) for metric in metrics}
    wanted = {
        (kind, None if measure in OWN_SPACE else space)
        for measure in grid.measures
        for kind in KINDS.get(measure, (measure,))
        for space in grid.spaces
    }
    return metrics if wanted <= there else None


def score_cells(study: Study[AblationSettings], grid: Grid, say: Callable[[str], None]) -> None:
    """Measure in Ray's processes what final scores a grid lacks; each is kept as it comes."""
    import ray

    tasks = missing_scores(study, grid)
    if not tasks:
        return
    say(f"{grid.name}: {len(tasks)} scores with fresh noise, {grid.images} images each")
    machines, config = study.settings.machines, grid.config.replace(score_features=grid.networks)
    remote = ray.remote(num_cpus=machines.cpus, num_gpus=machines.gpus)(score_cell)
    left = {remote.remote(task, config, grid.images, grid.measures, machines.cpus): task for task in tasks}
    remaining = Remaining(say, [task.model for task in tasks])
    with remaining.telling():
        while left:
            (done,), _ = ray.wait(list(left))
            task = left.pop(done)
            try:
                ray.get(done)
            except Exception as error:  # of Ray, of memory, of the disk: the other scores stand
                remaining.ended(task.model, f"{task.model.label} could not be scored: {shown_line(error)}")
            else:
                remaining.ended(task.model, f"scored {task.model.label}, seed {task.seed}")


def missing_scores(study: Study[AblationSettings], grid: Grid) -> list[CellTask]:
    """List the scores that can be measured and are not there, the longest to measure first."""
    numbers, tasks = trial_numbers(study), {}
    for cell in grid.cells():
        file, sampler = scores_file(study, grid, cell, numbers), cell.config.sampler
        if file is None or read_cell_scores(file, grid) is not None:
            continue
        if not grid.rows[cell.row].finetuned:
            tasks[file] = CellTask(ScoredModel(BASE, sampler), None, file, cell.seed)
            continue
        number = numbers[cell.config]
        if study.trial(number).outcome is Outcome.COMPLETED:
            exported = study.trial_folder(number) / MODEL
            tasks[file] = CellTask(ScoredModel(FINETUNED, sampler, number), exported, file, cell.seed)
    return sorted(tasks.values(), key=lambda task: -task.model.sampler.steps)


def score_cell(task: CellTask, config: Config, images: int, measures: tuple[str, ...], threads: int) -> None:
    """Score one model on so many images and write its scores; runs in a process of Ray."""
    from mmd_ddm.experiment.scoring.score import score

    parts = make_parts(config, threads)
    evaluator = open_exported(parts, task.model, task.exported, images, task.seed)
    scores = flat(score(evaluator, task.model, measures).metrics)
    task.file.parent.mkdir(parents=True, exist_ok=True)
    former = read_record(task.file, ADVICE).numbers() if task.file.is_file() else {}  # of a grid of other measures
    write_json(task.file, {**former, **scores})

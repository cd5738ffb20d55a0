"""The final scores of an ablation's cells: each model as exported, with noise that no model was trained or chosen by.

The noise is that of the seed's stream `final`: all cells of a seed, and the base model, start from the same, and every
seed has its own, so that the spread over seeds holds what training and images leave to chance.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mmd_ddm.evaluation.metrics import OWN_SPACE
from mmd_ddm.experiment.run_folder import MODEL, write_json
from mmd_ddm.experiment.tracking.store import first_line
from tune.ablation.grid import Cell, Grid
from tune.scoring.final_scores import BASE, FINETUNED, STREAM, Subject, load_model, make_parts
from tune.study.folder import BASES, COMPLETED, Study, base_key

_SUBJECT = ("steps", "sampler", "schedule", "eta", "variance")


@dataclass(frozen=True)
class Task:
    """One score to be measured.

    Args:
        subject: What, as a dictionary.
        folder: The trial's, with its exported model; of the base model that in which scores are kept.
        file: Where the scores go.
        seed: Of the noise.
    """

    subject: dict[str, Any]
    folder: str
    file: str
    seed: int


def scores_file(study: Study, grid: Grid, cell: Cell, numbers: Mapping[str, int]) -> Path | None:
    """Return where a cell's final scores are kept; None if it was never begun.

    Args:
        study: The ablation's folder.
        grid: Which the cell is of.
        cell: Finetuned, or the base model.
        numbers: Trials by configuration, see `trial_numbers`.
    """
    name = f"final_{grid.images}.json"
    if not grid.rows[cell.row].finetuned:
        return study.folder / BASES / base_key(cell.config.flat()) / name
    number = numbers.get(identity(cell.config.flat()))
    return None if number is None else study.trial_folder(number) / name


def identity(config: Mapping[str, Any]) -> str:
    """Return what a run is known by: its whole configuration."""
    return json.dumps(dict(sorted(config.items())))


def trial_numbers(study: Study) -> dict[str, int]:
    """Return the trials of a study by configuration."""
    return {identity(study.trial_config(trial.number)): trial.number for trial in study.trials()}


def read_scores(file: Path | None, grid: Grid) -> dict[str, float] | None:
    """Return final scores, if there are all that a grid compares."""
    if file is None or not file.is_file():
        return None
    scores: dict[str, float] = json.loads(file.read_text())
    kinds = ["precision" if measure == "precision_recall" else measure for measure in grid.measures]
    names = [name.rpartition("_")[0] if name.rpartition("_")[2].isdecimal() else name for name in scores]
    wanted = [[kind] if kind in OWN_SPACE else [f"{kind}_{space}" for space in grid.spaces] for kind in kinds]
    return scores if all(name in names for each in wanted for name in each) else None


def score_cells(study: Study, grid: Grid, say: Callable[[str], None]) -> None:
    """Measure in Ray's processes what final scores a grid lacks; each is kept as it comes.

    Args:
        study: The ablation's folder.
        grid: Which.
        say: Given a line of progress.
    """
    import ray

    tasks = list(missing_scores(study, grid))
    if not tasks:
        return
    say(f"{grid.name}: {len(tasks)} scores with fresh noise, {grid.images} images each")
    settings = study.settings
    remote = ray.remote(num_cpus=settings.cpus, num_gpus=settings.gpus)(score)
    leaves = {**grid.config, "evaluation_features": grid.networks}
    what = (leaves, grid.images, grid.measures, settings.cpus)
    left = {remote.remote(asdict(task), *what): task for task in tasks}
    while left:
        (done,), _ = ray.wait(list(left))
        task = left.pop(done)
        try:
            ray.get(done)
        except Exception as error:  # of Ray, of memory, of the disk: the other scores stand
            say(f"{task.subject['model']} in {task.folder} could not be scored: {first_line(error)}")
        else:
            subject = Subject(**task.subject)
            trial = "" if subject.trial is None else f" (trial {subject.trial:03d})"
            say(f"scored {subject.title}, seed {task.seed}{trial}")


def missing_scores(study: Study, grid: Grid) -> list[Task]:
    """List the scores that can be measured and are not there, the longest to measure first."""
    numbers, tasks = trial_numbers(study), {}
    for cell in grid.cells():
        file, flat = scores_file(study, grid, cell, numbers), cell.config.flat()
        if file is None or read_scores(file, grid) is not None:
            continue
        how = {name: flat[name] for name in _SUBJECT}
        subject, folder = Subject(BASE, **how), file.parent  # type: ignore[arg-type]
        if grid.rows[cell.row].finetuned:
            number = numbers[identity(flat)]
            if study.trial(number).outcome != COMPLETED:
                continue
            subject = replace(subject, model=FINETUNED, trial=number)
        tasks[str(file)] = Task(asdict(subject), str(folder), str(file), cell.seed)
    return sorted(tasks.values(), key=lambda task: -task.subject["steps"])


def score(task: dict[str, Any], leaves: dict[str, Any], images: int, measures: tuple[str, ...], threads: int) -> None:
    """Score one model and write its scores; runs in a process of Ray.

    Args:
        task: A `Task`, as a dictionary.
        leaves: Configuration of data set, base model and feature spaces.
        images: How many to generate.
        measures: What is measured.
        threads: CPU threads.
    """
    from mmd_ddm.diffusion.noise import NoiseSource
    from mmd_ddm.evaluation.metrics import measure

    what = Task(**task)
    parts = make_parts(json.dumps(leaves), threads)
    denoiser, chain = load_model(parts, Subject(**what.subject), Path(what.folder) / MODEL)
    noise = NoiseSource(what.seed, STREAM)
    evaluator = replace(parts.evaluator, chain=chain, images=images, noise=noise)
    scores = measure(evaluator.features(denoiser), parts.real, measures)
    file = Path(what.file)
    file.parent.mkdir(parents=True, exist_ok=True)
    former = json.loads(file.read_text()) if file.is_file() else {}  # of a grid that compares something else
    write_json(file, {**former, **scores})

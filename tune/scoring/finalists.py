"""The end of a study: which trials are scored again on fresh noise, and which of them wins."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tune.scoring.estimate import Estimate
from tune.scoring.final_scores import (
    BASE,
    FINETUNED,
    REAL,
    Row,
    Subject,
    alike,
    how,
    measure,
    read_scores,
    subjects,
    write_scores,
)
from tune.scoring.ranking import complete, estimate, finalists, read_baseline, winner
from tune.space.space import searches_budgets
from tune.study.folder import Study, TrialRecord


def final_metrics(rows: Sequence[Row], best: TrialRecord | None) -> list[tuple[str, float, int]]:
    """Return the final scores as metrics of the study's run in MLflow: name, value, network evaluations as the step.

    Args:
        rows: The final scores.
        best: The winner; the other finalists' have their number in their name.
    """
    return [
        (f"{_metric(row.subject, best)}_{name}", value, row.subject.steps)
        for row in sorted(rows, key=lambda row: row.subject.steps)
        for name, value in row.scores.items()
    ]


def _metric(what: Subject, best: TrialRecord | None) -> str:
    if best is not None and what.trial == best.number:
        return FINETUNED
    return what.name.removesuffix(f"_{what.steps}")


def final_estimates(study: Study, rows: Sequence[Row]) -> tuple[dict[int, Estimate], list[tuple[int, Estimate]]]:
    """Return the scores on fresh noise of the finalists by trial, and of the base model by budget.

    They are relative to the base model as the first trial samples it, and empty without its scores.
    """
    relative = next((row for row in rows if row.subject == Subject(BASE, **how(study.settings.first))), None)
    if relative is None:
        return {}, []
    found = {row.subject: estimate(row.scores, relative.scores) for row in rows if row.subject.model != REAL}
    finals = {what.trial: each for what, each in found.items() if what.trial is not None}
    base = [(what.steps, each) for what, each in found.items() if what == Subject(BASE, what.steps)]
    return finals, sorted(base, key=lambda point: point[0])


def find_finalists(study: Study) -> list[TrialRecord]:
    """Return the trials that are to be scored again."""
    return finalists(study.trials(), read_baseline(study), searches_budgets(study.settings.space))


def find_winner(study: Study) -> TrialRecord | None:
    """Return the winner: by the finalists' scores on fresh noise once all have them, until then by the trials' own."""
    chosen = {trial.number: trial for trial in find_finalists(study)}
    finals, _ = final_estimates(study, read_scores(study))
    if chosen and set(chosen) <= set(finals):
        steps = {number: int(study.trial_config(number)["steps"]) for number in chosen}
        return chosen[winner({number: finals[number] for number in chosen}, steps)]
    return next(iter(complete(study.trials())), None)


def score_finalists(study: Study, say: Callable[[str], None]) -> None:
    """Measure in Ray's processes what scores.json lacks; each score is kept as it comes.

    Args:
        study: Whose; one with a complete trial.
        say: Given a line of progress.
    """
    import ray

    from mmd_ddm.experiment.build import base_folder
    from mmd_ddm.experiment.config import Config
    from mmd_ddm.pretrained.load import scheduler_config

    settings = study.settings
    length = scheduler_config(base_folder(Config.from_flat(settings.config)))["num_train_timesteps"]
    assert isinstance(length, int)
    chosen = {trial.number: study.trial_config(trial.number) for trial in find_finalists(study)}
    wanted, images = subjects(settings.first, chosen, length), settings.final_images
    possible = {*wanted, *map(alike, chosen.values())}
    rows = [row for row in read_scores(study) if row.subject in possible and row.images in (images, _floor_size(row))]
    write_scores(study, rows)
    asked = {row.subject for row in rows}
    if not asked.issuperset(wanted):
        say(f"scoring {_and_trials(chosen)} and the base model with fresh noise, {images} images each")
    task = ray.remote(num_cpus=settings.cpus, num_gpus=settings.gpus)(measure)
    pending: list[Any] = []
    while True:
        due = [each for each in (*wanted, *_alike_winner(study, chosen, rows)) if each not in asked]
        asked |= set(due)
        pending += [task.remote(str(study.folder), asdict(each), images) for each in due]
        if not pending:
            break
        (done,), pending = ray.wait(pending)
        row = ray.get(done)
        rows.append(Row(Subject(**row["subject"]), row["images"], row["scores"]))
        write_scores(study, rows)
        say(f"scored {rows[-1].subject.label}")
    kept = {*wanted, *_alike_winner(study, chosen, rows)}  # a resumed study may have another winner
    write_scores(study, [row for row in rows if row.subject in kept])


def _alike_winner(study: Study, chosen: Mapping[int, Mapping[str, Any]], rows: Sequence[Row]) -> list[Subject]:
    finals, _ = final_estimates(study, rows)
    best = find_winner(study) if set(chosen) <= set(finals) else None
    return [] if best is None else [alike(chosen[best.number])]


def _and_trials(numbers: Collection[int]) -> str:
    return ("trial " if len(numbers) == 1 else "trials ") + ", ".join(f"{number:03d}" for number in numbers)


def _floor_size(row: Row) -> int | None:
    return row.images if row.subject.model == REAL else None

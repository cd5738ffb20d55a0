"""The end of a study: which trials are scored again on fresh noise, and which of them wins."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from mmd_ddm.evaluation.metrics import flat
from mmd_ddm.evaluation.verdict import Standing, standing
from mmd_ddm.experiment.inputs import base_folder
from mmd_ddm.experiment.scoring.scored_model import BASE, FINETUNED, Scored, ScoredModel, base_counterpart, write_scored
from mmd_ddm.pretrained.configs import scheduler_config
from tune.scoring.engine import measured
from tune.scoring.estimate import Estimate
from tune.scoring.final_scores import (
    SCORES,
    beside_base,
    kid_scores,
    plain_base,
    read_final_scores,
    wanted_models,
)
from tune.scoring.ranking import choose_finalists, choose_winner, complete, read_baseline, relative_estimate
from tune.scoring.remaining import Remaining
from tune.study.folder import Study, Trial
from tune.study.settings import SearchSettings


def final_metrics(rows: Sequence[Scored], best: Trial | None) -> list[tuple[str, float, int]]:
    """Return the final scores as metrics of the study's run in MLflow: name, value, network evaluations as the step.

    Those of the finalists but for the best have the trial's number in their name.
    """
    return [
        (f"{_metric(row, best)}_{name}", value, row.nfe)
        for row in sorted(rows, key=lambda row: row.nfe)
        for name, value in flat(row.metrics).items()
    ]


def _metric(row: Scored, best: Trial | None) -> str:
    if row.model is None:
        return "real"
    if best is not None and row.model.trial == best.number:
        return FINETUNED
    return row.model.name.removesuffix(f"_{row.model.sampler.steps}")


def final_estimates(
    study: Study[SearchSettings], rows: Sequence[Scored]
) -> tuple[dict[int, Estimate], list[tuple[int, Estimate]]]:
    """Return the scores on fresh noise of the finalists by trial, and of the base model by budget.

    They are relative to the base model as the first trial samples it, and empty without its scores.
    """
    first = ScoredModel(BASE, study.settings.first.sampler)
    relative = next((row.metrics for row in rows if row.model == first), None)
    if relative is None:
        return {}, []
    finals = {
        row.model.trial: relative_estimate(row.metrics, relative)
        for row in rows
        if row.model is not None and row.model.trial is not None
    }
    return finals, [(nfe, relative_estimate(row.metrics, relative)) for nfe, row in plain_base(rows).items()]


def find_finalists(study: Study[SearchSettings]) -> list[Trial]:
    """Return the trials that are to be scored again."""
    return choose_finalists(study.trials(), read_baseline(study), study.settings.space.searches_budgets)


def find_winner(study: Study[SearchSettings]) -> Trial | None:
    """Return the winner: by the finalists' scores on fresh noise once all have them, until then by the trials' own."""
    winner, _ = judge(study)
    return winner


def judge(study: Study[SearchSettings]) -> tuple[Trial | None, Standing | None]:
    """Return the winner, and whether it beats the base model: None until fresh noise has told."""
    rows, chosen = read_final_scores(study), {trial.number: trial for trial in find_finalists(study)}
    finals, _ = final_estimates(study, rows)
    if not chosen or not set(chosen) <= set(finals):
        return next(iter(complete(study.trials())), None), None
    steps = {number: trial.steps for number, trial in chosen.items()}
    standings = {number: trial_standing(rows, trial) for number, trial in chosen.items()}
    number = choose_winner({number: finals[number] for number in chosen}, steps, standings)
    return chosen[number], standings[number]


def trial_standing(rows: Sequence[Scored], trial: Trial) -> Standing | None:
    """Say whether a trial beats the base model, from their final scores with equally many network evaluations."""
    if (pair := beside_base(rows, trial.number)) is None:
        return None
    base, finetuned = (kid_scores(row) for row in pair)
    return standing(base, finetuned, trial.config.objective.spaces)


def score_finalists(study: Study[SearchSettings], say: Callable[[str], None]) -> None:
    """Measure in Ray's processes what scores.json lacks, with a complete trial; each score is kept as it comes."""
    settings, images = study.settings, study.settings.final_images
    length = scheduler_config(base_folder(settings.config))["num_train_timesteps"]
    assert isinstance(length, int)
    finalists = {trial.number: trial.config.sampler for trial in find_finalists(study)}
    wanted = wanted_models(settings.first.sampler, finalists, length)
    possible = {*wanted, *(base_counterpart(sampler) for sampler in finalists.values())}
    former = (row for row in read_final_scores(study) if row.model is None or row.images == images)
    rows = [row for row in former if row.model in possible]
    write_scored(study.folder / SCORES, rows)
    asked = {row.model for row in rows}
    if not asked.issuperset(wanted):
        trials = ("trial " if len(finalists) == 1 else "trials ") + ", ".join(f"{number:03d}" for number in finalists)
        say(f"scoring {trials} and the base model with fresh noise, {images} images each")
    while due := [each for each in (*wanted, *_counterpart_of_winner(study, rows, finalists)) if each not in asked]:
        asked |= set(due)
        remaining = Remaining(say, due)
        with remaining.telling():
            for row in measured(study, due, images):
                rows.append(row)
                write_scored(study.folder / SCORES, rows)
                remaining.ended(row.model, f"scored {row.label}")
    # a resumed study may have another winner
    kept = {*wanted, *_counterpart_of_winner(study, rows, finalists)}
    write_scored(study.folder / SCORES, [row for row in rows if row.model in kept])


def _counterpart_of_winner(
    study: Study[SearchSettings], rows: Sequence[Scored], finalists: Collection[int]
) -> list[ScoredModel]:
    finals, _ = final_estimates(study, rows)
    best = find_winner(study) if set(finalists) <= set(finals) else None
    return [] if best is None else [base_counterpart(best.config.sampler)]

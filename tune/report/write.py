"""What is left when a study ends: leaderboard.csv, report.md, report.html, figures, and the winner in best/."""

from __future__ import annotations

import shutil

from mmd_ddm.experiment.run_folder import MODEL
from mmd_ddm.experiment.scoring.scored_model import Scored
from tune.report.blocks import Block, Figure, Heading, Paragraph, Table, markdown
from tune.report.curves import CURVES, draw_curves
from tune.report.leaderboard import LEADERBOARD, write_leaderboard
from tune.report.page import page
from tune.report.pareto import PARETO
from tune.report.samples import SAMPLES, draw_samples
from tune.report.summary import StudySummary, summarise
from tune.report.trials import importance_section, scores_section, trials_section
from tune.report.winner import BEST, front_section, speed_section, sure_section, winner_section
from tune.scoring.final_scores import SCORES
from tune.study.folder import Outcome, Study, Trial
from tune.study.format import short
from tune.study.settings import SearchSettings

REPORT, PAGE = "report.md", "report.html"
ARTIFACTS = (LEADERBOARD, REPORT, PAGE, CURVES, SAMPLES, PARETO, SCORES)


def write_report(study: Study[SearchSettings]) -> list[str]:
    """Write the reports, leaderboard.csv and figures from the study's folder alone, and copy the winner to best/.

    Returns:
        What is to be said of the winner: the verdicts, none if it was not scored.
    """
    found = summarise(study)
    if found.best is not None:
        _keep_best(study, found.best)
    write_leaderboard(study, found.trials)
    blocks = list(_blocks(found))
    (study.folder / REPORT).write_text(markdown(blocks))
    (study.folder / PAGE).write_text(page(study.name, blocks))
    return found.said


def _keep_best(study: Study[SearchSettings], best: Trial) -> None:
    """Copy the winner's diffusers pipeline to best/."""
    target, fresh = study.folder / BEST, study.folder / f".{BEST}"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(best.folder / MODEL, fresh)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)


def _blocks(found: StudySummary) -> list[Block]:
    study = found.study
    blocks: list[Block] = [Heading(study.name, 1), Paragraph(_asked(found))]
    if found.best is None:
        blocks.append(Paragraph("No trial was completed, so there is no winner."))
    else:
        blocks += [*winner_section(found, found.best), *speed_section(found), *sure_section(found, found.best)]
    if found.budgets:
        blocks += front_section(found)
    if found.rows:
        blocks += scores_section(found)
        if (samples := draw_samples(study, _shown(found))) is not None:
            blocks += [Heading("Samples from the same noise"), Figure(samples, "Samples")]
    if (curves := draw_curves(study, found.trials, found.baseline, found.rows)) is not None:
        blocks += [Heading("KID over updates"), Figure(curves, "KID over updates")]
    blocks += [*importance_section(found.importance), *trials_section(found)]
    if found.best is not None:
        blocks += _settings(found.best)
    return blocks


def _asked(found: StudySummary) -> str:
    settings, config = found.study.settings, found.study.settings.config
    outcomes = [trial.outcome for trial in found.trials]
    counts = ", ".join(f"{outcomes.count(o)} {o}" for o in Outcome if o in outcomes)
    budget = f"{config.sampler.steps} network evaluations an image"
    if found.budgets:
        budget = f"{settings.space.dimensions['steps']} network evaluations an image"
    hours = sum(trial.seconds for trial in found.trials) / 3600
    time = f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.0f} minutes"
    return (
        f"Data set {config.dataset}, {budget}, {settings.updates} updates of a trial; {len(outcomes)} trials "
        f"({counts or 'none begun'}), together {time}."
    )


def _shown(found: StudySummary) -> list[Scored]:
    """The rows of which samples are shown: of finetuned models only the winner."""
    best = None if found.best is None else found.best.number
    return [row for row in found.rows if row.model is None or row.model.trial in (None, best)]


def _settings(best: Trial) -> list[Block]:
    rows = tuple((name, "none" if value is None else short(value)) for name, value in best.config.flat().items())
    return [Heading("All settings of the winner"), Table(("setting", "value"), rows, ("setting", "value"))]

"""What is left when a study ends: leaderboard.csv, report.md, report.html, figures, and the winner in best/."""

from __future__ import annotations

import shutil

from mmd_ddm.experiment.run_folder import MODEL
from mmd_ddm.experiment.scoring.scored_model import Scored
from mmd_ddm.experiment.tracking.store import ui_command
from tune.report.curves import CURVES, draw_curves
from tune.report.headline import KEPT
from tune.report.importance import ENOUGH, ROUGH
from tune.report.leaderboard import LEADERBOARD, trial_table, write_leaderboard
from tune.report.pareto import PARETO
from tune.report.render import markdown, write_both
from tune.report.samples import SAMPLES, draw_samples
from tune.report.summary import StudySummary, summarise
from tune.report.trials import endings, final_table, standings
from tune.report.winner import BEST, front_rows, winner_values
from tune.scoring.final_scores import SCORES
from tune.study.folder import Outcome, Study, Trial
from tune.study.format import duration
from tune.study.mlflow_pages import mlflow_pages
from tune.study.settings import SearchSettings

REPORT = "report"
PAGE = f"{REPORT}.html"
ARTIFACTS = (LEADERBOARD, f"{REPORT}.md", PAGE, CURVES, SAMPLES, PARETO, SCORES)


def write_report(study: Study[SearchSettings]) -> list[str]:
    """Write the reports, leaderboard.csv and figures from the study's folder alone, and copy the winner to best/.

    It is not copied if it does not beat the base model, or if its final scores are not there yet to tell.

    Returns:
        What is to be said of the study: the headline, and the verdicts on the winner if it was scored.
    """
    found = summarise(study)
    _keep_best(study, found.best if found.standing in KEPT else None)
    write_leaderboard(study, found.trials)
    write_both(study.folder / REPORT, markdown("search.md.jinja", _values(found)), study.name)
    return found.said


def _keep_best(study: Study[SearchSettings], best: Trial | None) -> None:
    """Copy the winner's diffusers pipeline to best/; without one nothing is left there of a former winner."""
    target, fresh = study.folder / BEST, study.folder / f".{BEST}"
    shutil.rmtree(fresh, ignore_errors=True)
    if best is not None:
        shutil.copytree(best.folder / MODEL, fresh)
    shutil.rmtree(target, ignore_errors=True)
    if best is not None:
        fresh.rename(target)


def _values(found: StudySummary) -> dict[str, object]:
    study, outcomes = found.study, [trial.outcome for trial in found.trials]
    return {
        "study": study,
        "found": found,
        "budget": study.settings.space.dimensions["steps"] if found.budgets else study.settings.config.sampler.steps,
        "counts": ", ".join(f"{outcomes.count(o)} {o}" for o in Outcome if o in outcomes),
        "time": duration(sum(trial.seconds for trial in found.trials)),
        "best": found.best,
        **({} if found.best is None else winner_values(found, found.best)),
        "front": front_rows(found) if found.budgets else [],
        "counterpart": any(row.model is not None and row.model.name == "base_counterpart" for row in found.rows),
        "scores": final_table(found) if found.rows else None,
        "samples": draw_samples(study, _shown(found)),
        "curves": draw_curves(study, found.trials, found.baseline, found.rows),
        "pages": mlflow_pages(study),
        "ui": ui_command(),
        "ENOUGH": ENOUGH,
        "ROUGH": ROUGH,
        "trials": trial_table(found.trials, found.baseline, standings(found)),
        "endings": endings(found),
        "unfinished": [trial.number for trial in found.trials if trial.outcome is Outcome.RUNNING],
    }


def _shown(found: StudySummary) -> list[Scored]:
    """The rows of which samples are shown: of finetuned models only the winner."""
    best = None if found.best is None else found.best.number
    return [row for row in found.rows if row.model is None or row.model.trial in (None, best)]

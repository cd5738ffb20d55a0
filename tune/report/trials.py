"""What a report says of all trials: final scores, the ranking, what was stopped or failed and why."""

from __future__ import annotations

from mmd_ddm.evaluation.metrics import find, kids
from tune.report.render import Table, plural
from tune.report.summary import StudySummary
from tune.scoring.ranking import complete, tied_with_best
from tune.study.folder import Outcome, Trial
from tune.study.format import point_text, with_error


def final_table(found: StudySummary) -> Table:
    """Return the final scores of all that was measured, the winner's standing out."""
    names = list(kids(found.rows[0].metrics))
    rows = []
    for row in found.rows:
        cells = [row.label if row.model is not None else f"{row.label}, random halves"]
        for name in names:
            fid = find(row.metrics, "fid", name)
            cells += [with_error(find(row.metrics, "kid", name)), "" if fid is None else f"{fid.value:.3f}"]
        rows.append((*cells, str(row.images)))
    best = -1 if found.best is None else found.best.number
    strong = [place for place, row in enumerate(found.rows) if row.model is not None and row.model.trial == best]
    head = ("", *(f"{kind} {name}" for name in names for kind in ("KID", "FID")), "images")
    return Table(head, rows, ("",), strong)


def standings(found: StudySummary) -> dict[int, str]:
    """Say of each complete trial, by number, whether it is the best, tied with it or behind."""
    if not found.baseline:
        return {}
    tied = [trial.number for trial in tied_with_best(found.trials, found.baseline)]
    behind = {trial.number: "behind" for trial in complete(found.trials)}
    return behind | dict.fromkeys(tied[1:], "tie") | dict.fromkeys(tied[:1], "best")


def endings(found: StudySummary) -> dict[str, list[str]]:
    """Say of the trials that were stopped, and of those that failed, why."""
    stopped = [_why_stopped(trial, found) for trial in found.trials if trial.outcome is Outcome.STOPPED]
    failed = [trial for trial in found.trials if trial.outcome is Outcome.FAILED]
    reasons = [f"Trial {trial.number:03d}: {trial.reason} ({point_text(trial.point)})." for trial in failed]
    return {"Stopped early": stopped, "Failed": reasons}


def _why_stopped(trial: Trial, found: StudySummary) -> str:
    rivals = [
        other.score_after(trial.updates)
        for other in found.trials
        if other.number != trial.number and other.steps == trial.steps
        if any(scoring.update == trial.updates for scoring in other.curve)
    ]
    better = sum(score < trial.score for score in rivals)
    whose = f" with {plural(trial.steps, 'evaluation')}" if found.budgets else ""
    return (
        f"Trial {trial.number:03d} after {trial.updates} of {trial.planned} updates, with a score of {trial.score:.3g}"
        f": by now {better} of {len(rivals)} other trials{whose} were better after as many ({point_text(trial.point)})."
    )

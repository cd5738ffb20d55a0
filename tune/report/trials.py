"""What a report says of all trials: final scores, what mattered, the ranking, what was stopped or failed and why."""

from __future__ import annotations

from mmd_ddm.evaluation.metrics import find, kids
from tune.report.blocks import Block, Bullets, Heading, Paragraph, Table
from tune.report.importance import ENOUGH, ROUGH, Importance
from tune.report.leaderboard import trial_table
from tune.report.summary import StudySummary
from tune.scoring.ranking import complete, tied_with_best
from tune.study.folder import Outcome, Trial
from tune.study.format import point_text, with_error


def scores_section(found: StudySummary) -> list[Block]:
    """The final scores of all that was measured."""
    names = list(kids(found.rows[0].metrics))
    head = ("", *(f"{kind} {name}" for name in names for kind in ("KID", "FID")), "images")
    rows = []
    for row in found.rows:
        several = len(found.finals) > 1 and row.model is not None
        cells = [row.label if several or row.model is None else row.model.title]
        cells[0] += ", random halves" if row.model is None else ""
        for name in names:
            fid = find(row.metrics, "fid", name)
            cells += [with_error(find(row.metrics, "kid", name)), "" if fid is None else f"{fid.value:.3f}"]
        rows.append((*cells, str(row.images)))
    words = (
        f"Measured on the exported models with noise that no trial was chosen by, {found.study.settings.final_images} "
        "images each, ± one standard error (for the halves: the deviation over splits). FID grows as its number of "
        "images falls, so that of the halves is a floor for their number only. A KID below zero, or within its error "
        "of it, can't be told from that of real images."
    )
    if any(row.model is not None and row.model.name == "base_counterpart" for row in found.rows):
        words += " The base model on the finetuned one's timesteps shows what these alone are worth."
    best = -1 if found.best is None else found.best.number
    strong = tuple(
        i for i, row in enumerate(found.rows) if best is not None and row.model is not None and row.model.trial == best
    )
    return [Heading("Scores with fresh noise"), Paragraph(words), Table(head, tuple(rows), ("",), strong)]


def importance_section(known: Importance) -> list[Block]:
    """Which settings mattered."""
    heading = Heading("What mattered")
    if known.trials < ENOUGH:
        text = f"{known.trials} complete trials are too few to say which settings mattered; it takes {ENOUGH}."
        return [heading, Paragraph(text)]
    if not known.shares:
        return [heading, Paragraph(f"No setting told the best of {known.trials} complete trials from the others.")]
    largest = max(known.shares.values())
    rows = tuple((n, f"{100 * v:.0f} %", "█" * round(20 * v / largest)) for n, v in known.shares.items())
    rough = f" With fewer than {ROUGH} trials this is rough: a tenth more or less means nothing." * (
        known.trials < ROUGH
    )
    text = (
        f"How much each setting tells the best third of {known.trials} complete trials from the others (PED-ANOVA, "
        f"shares of the sum); stopped trials are left out.{rough}"
    )
    return [heading, Paragraph(text), Table(("setting", "share", " "), rows, ("setting", " "))]


def trials_section(found: StudySummary) -> list[Block]:
    """All trials, and why some did not come to their end."""
    against: dict[int, str] = {}
    if found.baseline:
        tied = [trial.number for trial in tied_with_best(found.trials, found.baseline)]
        against = {trial.number: "behind" for trial in complete(found.trials)}
        against |= dict.fromkeys(tied[1:], "tie") | dict.fromkeys(tied[:1], "best")
    steps = found.first_steps
    words = (
        f"Ranked on the same noise, {found.study.settings.config.scoring.score_images} images each, by the mean over "
        f"feature spaces of KID relative to the base model's with {steps} evaluations. Trial 000 is the paper's own "
        "setting."
    )
    blocks: list[Block] = [Heading("Trials"), Paragraph(words), trial_table(found.trials, found.baseline, against)]
    for outcome, heading in (
        (Outcome.STOPPED, "Stopped early"),
        (Outcome.FAILED, "Failed"),
        (Outcome.RUNNING, "Unfinished"),
    ):
        if ended := [trial for trial in found.trials if trial.outcome == outcome]:
            blocks += [Heading(heading), Bullets(tuple(_end(trial, found) for trial in ended))]
    return blocks


def _end(trial: Trial, found: StudySummary) -> str:
    name = f"Trial {trial.number:03d}"
    if trial.outcome is Outcome.FAILED:
        return f"{name}: {trial.reason} ({point_text(trial.point)})."
    if trial.outcome is Outcome.RUNNING:
        return f"{name}: `--resume` goes on with it."
    rivals = _rivals(trial, found)
    better = sum(score < trial.score for score in rivals)
    whose = f" with {trial.steps} evaluations" if found.budgets else ""
    return (
        f"{name} after {trial.updates} of {trial.planned} updates, with a score of {trial.score:.3g}: by now {better} "
        f"of {len(rivals)} other trials{whose} were better after as many ({point_text(trial.point)})."
    )


def _rivals(trial: Trial, found: StudySummary) -> list[float]:
    """Scores of the other trials of the same budget after as many updates."""
    same = (each for each in found.trials if each.number != trial.number)
    return [
        scoring.score
        for each in same
        if each.steps == trial.steps
        for scoring in each.curve
        if scoring.update == trial.updates
    ]

"""What is left when a study ends: leaderboard.csv, report.md with its figures, and the best trial's model in best/."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence

from mmd_ddm.experiment.record import BASELINE, MODEL
from tune.curves import CURVES, draw_curves
from tune.leaderboard import LEADERBOARD, best_trial, markdown_table, write_leaderboard
from tune.progress import plus_minus, point_text
from tune.recipe import command_line, loading_code
from tune.samples import SAMPLES, draw_samples
from tune.scores import REAL, SCORES, Row, read_scores
from tune.study import COMPLETED, FAILED, RUNNING, STOPPED, Study, TrialRecord
from tune.verdict import spaces, tie, verdicts

REPORT, BEST = "report.md", "best"
ARTIFACTS = (LEADERBOARD, REPORT, CURVES, SAMPLES, SCORES)


def keep_best(study: Study, best: TrialRecord) -> None:
    """Copy the best trial's diffusers pipeline to best/."""
    target, fresh = study.folder / BEST, study.folder / f".{BEST}"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(best.folder / MODEL, fresh)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)


def read_baseline(study: Study) -> dict[str, float]:
    """Return the base model's scores on the noise of the trials; none before the first trial has measured them."""
    file = study.folder / BASELINE
    found: dict[str, float] = json.loads(file.read_text()) if file.is_file() else {}
    return found


def write_report(study: Study) -> list[str]:
    """Write report.md, leaderboard.csv and the figures, from the study's folder alone.

    Returns:
        What is to be said of the best model: the verdicts, none if it was not scored.
    """
    trials, rows, baseline = study.trials(), read_scores(study), read_baseline(study)
    best = best_trial(trials)
    write_leaderboard(study, trials)
    draw_curves(study, trials, baseline, rows)
    draw_samples(study, rows)
    said = [] if best is None else verdicts(rows, str(study.trial_config(best.number)["features"]))
    parts = [_head(study, trials), *([_best(best, said)] if best is not None else [])]
    if rows:
        parts += [_scores(rows, study), f"## Samples\n\n![Samples]({SAMPLES})"]
    if any(trial.curve for trial in trials):
        parts.append(f"## KID over updates\n\n![KID over updates]({CURVES})")
    parts.append(_trials(trials, baseline))
    if best is not None:
        parts.append(_recipe(study, best))
    (study.folder / REPORT).write_text("\n\n".join(parts) + "\n")
    return said


def _head(study: Study, trials: Sequence[TrialRecord]) -> str:
    config = study.settings.config
    counts = {outcome: sum(t.outcome == outcome for t in trials) for outcome in (COMPLETED, STOPPED, FAILED, RUNNING)}
    return (
        f"# {study.name}\n\n"
        f"Data set {config['dataset']}, {config['steps']} network evaluations an image, {study.settings.updates} "
        f"updates of {config['batch']} images a trial; "
        + ", ".join(f"{count} trials {outcome}" for outcome, count in counts.items() if count)
        + ".\n\nThe score that trials are ranked by is the mean over feature spaces of KID relative to the base "
        "model's at the same budget: 1 is the base model, 0 is the real images' distribution. Trial 000 is the paper's "
        "own setting."
    )


def _best(best: TrialRecord, said: Sequence[str]) -> str:
    text = f"## Best: trial {best.number:03d}\n\nScore {best.score:.4g}: {point_text(best.point)}."
    return "\n\n".join([text, *said[:1], *(["\n".join(said[1:])] if said else [])])


def _scores(rows: Sequence[Row], study: Study) -> str:
    names = spaces(rows[0].scores)
    head = ["", *(f"KID {name} | FID {name}" for name in names), "images"]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|--:" * (2 * len(names) + 1) + "|"]
    for row in rows:
        cells = [row.subject.title + (", random halves" if row.subject.model == REAL else "")]
        for name in names:
            kid, error = row.scores[f"kid_{name}"], row.scores[f"kid_{name}_stderr"]
            cells += [plus_minus(kid, error), f"{row.scores[f'fid_{name}_{row.images}']:.3f}"]
        lines.append("| " + " | ".join([*cells, str(row.images)]) + " |")
    words = (
        f"Measured on the exported model with noise that no trial was chosen by, {study.settings.final_images} images "
        "each, ± one standard error (for the halves: the deviation over splits). FID grows as its number of images "
        "falls, so that of the halves is a floor for their number only. A KID below zero, or within its error of it, "
        "can't be told from that of real images."
    )
    if any(row.subject.name == "base_alike" for row in rows):
        words += " The base model on the finetuned one's timesteps shows what these alone are worth."
    return "\n".join(["## Scores with fresh noise", "", words, "", *lines])


def _trials(trials: Sequence[TrialRecord], baseline: dict[str, float]) -> str:
    parts = ["## Trials", markdown_table(trials, baseline)]
    if baseline and (words := tie(trials, baseline)):
        parts.append(words)
    ends = [_end(trial) for trial in trials if trial.outcome != COMPLETED]
    if ends:
        parts.append("\n".join(ends))
    return "\n\n".join(parts)


def _end(trial: TrialRecord) -> str:
    reasons = {
        STOPPED: f"stopped after {trial.updates} updates: half of the trials or more had a better score than its "
        f"{trial.score:.3g} after as many",
        FAILED: f"failed: {trial.reason}",
        RUNNING: "unfinished; `--resume` goes on with it",
    }
    return f"* Trial {trial.number:03d} {reasons[trial.outcome]}."


def _recipe(study: Study, best: TrialRecord) -> str:
    config = study.trial_config(best.number)
    settings = "\n".join(f"| {name} | {'none' if value is None else value} |" for name, value in config.items())
    command = command_line(config, f"runs/{study.name}-best")
    return (
        "## The best model\n\nIt is a diffusers pipeline, in `best/`:\n\n"
        f"```python\n{loading_code(study.folder / BEST)}\n```\n\n"
        f"The same run without a search (to rounding, which depends on the number of threads and workers):\n\n"
        f"```\n{command}\n```\n\n| setting | value |\n|---|---|\n{settings}"
    )

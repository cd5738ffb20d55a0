"""What is left when a study ends: leaderboard.csv, report.md with its figures, and the best trial's model in best/."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence

from mmd_ddm.experiment.record import MODEL, sample_sheets
from tune.curves import CURVES, draw_curves
from tune.leaderboard import LEADERBOARD, best_trial, metric_names, ranked, rounded, with_error, write_leaderboard
from tune.progress import point_text
from tune.study import Study, TrialRecord
from tune.trial import BASELINE

REPORT, BEST = "report.md", "best"
SHEETS = {"samples_real.png": "Real images", "samples_base.png": "Base model", "samples_best.png": "Best trial"}
ARTIFACTS = (LEADERBOARD, REPORT, CURVES, *SHEETS)


def keep_best(study: Study, best: TrialRecord) -> None:
    """Copy the best trial's diffusers pipeline to best/."""
    target, fresh = study.folder / BEST, study.folder / f".{BEST}"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(best.folder / MODEL, fresh)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)


def write_report(study: Study) -> TrialRecord | None:
    """Write all that a study leaves, from its folder alone.

    Args:
        study: One whose trials have ended.

    Returns:
        The best trial, or None if none was completed.
    """
    trials = study.trials()
    base_file = study.folder / BASELINE
    baseline: dict[str, float] = json.loads(base_file.read_text()) if base_file.is_file() else {}
    write_leaderboard(study, trials)
    draw_curves(study, trials, baseline)
    best = best_trial(trials)
    if best is not None:
        keep_best(study, best)
        sheets = sample_sheets(best.folder)
        if sheets:
            shutil.copyfile(sheets[max(sheets)], study.folder / "samples_best.png")
    (study.folder / REPORT).write_text("\n".join(_report_lines(study, trials, best, baseline)) + "\n")
    return best


def _report_lines(
    study: Study, trials: Sequence[TrialRecord], best: TrialRecord | None, baseline: dict[str, float]
) -> list[str]:
    config = study.settings.config
    counts = {outcome: sum(t.outcome == outcome for t in trials) for outcome in sorted({t.outcome for t in trials})}
    lines = [
        f"# {study.name}",
        "",
        f"Data set {config['dataset']}, {config['steps']} network evaluations an image, {study.settings.updates} "
        f"updates of {config['batch']} images a trial; "
        + ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        + ".",
        "",
        "The score is the mean over feature spaces of KID relative to the base model's at the same budget: 1 is the "
        "base model, 0 is the real images' distribution. Trial 000 is the paper's own setting.",
        "",
    ]
    if best is not None:
        lines += [f"**Best: trial {best.number:03d}**, score {best.score:.4g}: {point_text(best.point)}.", ""]
        lines += [*_verdicts(best, baseline), ""]
    lines += _table(trials, baseline)
    lines += ["", "## KID over updates", "", f"![KID over updates]({CURVES})", ""]
    present = [(file, title) for file, title in SHEETS.items() if (study.folder / file).is_file()]
    if present:
        lines += ["## Samples", "", "| " + " | ".join(title for _, title in present) + " |"]
        lines += ["|" + "---|" * len(present), "| " + " | ".join(f"![{t}]({f})" for f, t in present) + " |"]
    return lines


def _verdicts(best: TrialRecord, baseline: dict[str, float]) -> list[str]:
    """Say in words when the trained feature space improved and one that was held out did not."""
    last, sentences = best.curve[-1], []
    config = json.loads((best.folder / "trial.json").read_text())["config"]
    for name in metric_names([best]):
        if not name.startswith("kid_") or name.endswith("_stderr") or name not in baseline:
            continue
        space, change = name.removeprefix("kid_"), baseline[name] - last[name]
        error = math.hypot(baseline.get(f"{name}_stderr", 0), last.get(f"{name}_stderr", 0))
        role = "trained on" if space == config["features"] else "held out"
        verdict = "improved" if change > 2 * error else "got worse" if change < -2 * error else "did not change"
        sentences.append(f"* {space} ({role}) {verdict}: KID {baseline[name]:.4g} to {last[name]:.4g} (± {error:.1g}).")
    return sentences


def _table(trials: Sequence[TrialRecord], baseline: dict[str, float]) -> list[str]:
    names = [name for name in metric_names(trials) if not name.endswith("_stderr")]
    head = ["rank", "trial", "outcome", "score", *names, "setting", "updates", "seconds"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for rank, trial in enumerate(ranked(trials), 1):
        last = trial.curve[-1] if trial.curve else {}
        cells = [f"{rank}", f"{trial.number:03d}", trial.outcome, rounded(last.get("score"))]
        cells += [with_error(last, name) for name in names]
        setting = point_text(trial.point) + (f"; {trial.reason}" if trial.reason else "")
        lines.append("| " + " | ".join([*cells, setting, str(trial.updates), f"{trial.seconds:.0f}"]) + " |")
    if baseline:
        cells = ["", "base", "", "1", *(with_error(baseline, name) for name in names), "", "0", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return lines

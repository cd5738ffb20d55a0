"""What is said of a study before all else: whether its winner beats the base model, and where that is known."""

from __future__ import annotations

from collections.abc import Collection

from mmd_ddm.evaluation.verdict import Standing
from mmd_ddm.experiment.run_folder import MODEL
from tune.report.render import joined, plural
from tune.study.folder import Trial

KEPT = (Standing.BEATS, Standing.UNKNOWN)  # of such a winner is best/


def headline(best: Trial | None, standing: Standing | None) -> str:
    """Say in a sentence or two how a study ended.

    Args:
        best: The winner, or None without a complete trial.
        standing: Whether it beats the base model; None: its final scores are not there.
    """
    if best is None:
        return "No trial was completed, so there is no winner."
    name, steps = f"trial {best.number:03d}", plural(best.steps, "evaluation")
    inside = set(best.config.objective.spaces)
    if standing is Standing.BEATS:
        return f"{name.capitalize()} beats the base model with {steps}, judged by {_spaces(best.held_out, 'held-out')}."
    if standing is Standing.UNKNOWN:
        return (
            f"{name.capitalize()} improves on the base model with {steps}, judged by {_spaces(inside, 'trained')} "
            "alone: nothing is known beyond, so it is not registered and no speed-up is claimed."
        )
    if standing is Standing.BEHIND:
        return (
            f"No trial beats the base model with {steps}. The best of them, {name}, is kept in "
            f"trials/{best.number:03d}/{MODEL} alone: there is no best/, and nothing is registered."
        )
    return (
        f"Whether {name}, the best so far, beats the base model is not known: its final scores are missing, so there "
        "is no best/ yet."
    )


def _spaces(names: Collection[str], kind: str) -> str:
    return f"the {kind} space{'' if len(names) == 1 else 's'} {joined(sorted(names))}"

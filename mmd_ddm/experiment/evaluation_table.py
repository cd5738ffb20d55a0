"""The results of an evaluation as a table, as a curve's points and in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmd_ddm.evaluation.intervals import seed_interval
from mmd_ddm.evaluation.verdict import Score, verdict
from mmd_ddm.experiment.scoring import BASE, FINETUNED, REAL, Result
from mmd_ddm.features.mixture import parse_features

if TYPE_CHECKING:
    from mmd_ddm.evaluation.figures.curve import Point

_ERRORS = ("_stderr", "_deviation")
Group = list[Result]  # of one subject, a result a seed


def _groups(results: Sequence[Result]) -> list[Group]:
    found: dict[str, Group] = {}
    for result in results:
        found.setdefault(repr(result.subject), []).append(result)
    return list(found.values())


def table(results: Sequence[Result]) -> str:
    """A Markdown table, a row a subject; of real images last."""
    groups = _groups(results)
    columns = dict.fromkeys(_column(name) for group in groups for name in group[0].scores if not name.endswith(_ERRORS))
    rows = [["", "sampler", "evaluations", "images", *columns]]
    for group in groups:
        first = group[0]
        subject = first.subject
        named = [subject.model, subject.sampler, str(first.evaluations)] if subject else [REAL, "", ""]
        cells = {_column(name): _cell(group, name) for name in first.scores if not name.endswith(_ERRORS)}
        rows.append([*named, str(first.images), *(cells.get(column, "") for column in columns)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _column(name: str) -> str:
    """A score's name without the number of images, which has a column of its own."""
    stem, _, last = name.rpartition("_")
    return stem if last.isdecimal() and name.startswith(("fid_", "sfid_")) else name


def _cell(group: Group, name: str) -> str:
    values = [result.scores[name] for result in group]
    if len(values) > 1:
        interval = seed_interval(values)
        return _with_error(interval.mean, interval.high - interval.mean)
    errors = [group[0].scores[name + ending] for ending in _ERRORS if name + ending in group[0].scores]
    return _with_error(values[0], errors[0]) if errors else f"{values[0]:.4g}"


def _with_error(value: float, error: float) -> str:
    return f"{value:.5f} ± {error:.5f}" if abs(value) < 10 else f"{value:.4g} ± {error:.2g}"


def _kids(group: Group) -> dict[str, tuple[float, float]]:
    """KID and its error by feature space; over seeds the mean, and the mean error, whose real side all seeds share."""
    found = {}
    for name in group[0].scores:
        if name.startswith("kid_") and not name.endswith(_ERRORS):
            values, errors = ([each.scores[key] for each in group] for key in (name, f"{name}_stderr"))
            found[name.removeprefix("kid_")] = (sum(values) / len(values), sum(errors) / len(errors))
    return found


def curve_points(results: Sequence[Result]) -> list[Point]:
    """The points of a speed-quality curve."""
    from mmd_ddm.evaluation.figures.curve import Point

    points = []
    for group in _groups(results):
        subject = group[0].subject
        if subject is not None:
            label = subject.sampler if subject.model == BASE else f"{subject.model}, {subject.sampler}"
            points.append(Point(label, group[0].evaluations, _kids(group), subject.model == FINETUNED))
    return points


def floors(results: Sequence[Result]) -> dict[str, tuple[float, float]]:
    """KID of the real images and its deviation, by feature space."""
    return next((_kids([result]) for result in results if result.subject is None), {})


def verdicts(results: Sequence[Result], trained: str) -> list[str]:
    """In words, for each budget at which a finetuned model and its base model were scored alike.

    Args:
        results: of an evaluation.
        trained: feature spaces of the loss, as in the configuration.
    """
    own = [name for _, name in parse_features(trained)]
    scores: dict[tuple[str, int], dict[str, Score]] = {}
    for group in _groups(results):
        if group[0].subject is not None:
            key = (group[0].subject.model, group[0].evaluations)
            scores.setdefault(key, {space: Score(*found) for space, found in _kids(group).items()})
    return [
        f"With {steps} evaluations: {verdict(scores[BASE, steps], found, own)}"
        for (model, steps), found in scores.items()
        if model == FINETUNED and (BASE, steps) in scores
    ]

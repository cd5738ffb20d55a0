"""The results of an evaluation as a table, as a curve's points and in words."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby
from statistics import fmean
from typing import TYPE_CHECKING

from mmd_ddm.evaluation.intervals import seed_interval
from mmd_ddm.evaluation.metrics import Metric, kids
from mmd_ddm.evaluation.verdict import Score, verdict
from mmd_ddm.experiment.scoring.scored_model import BASE, FINETUNED, Scored

if TYPE_CHECKING:
    from mmd_ddm.evaluation.figures.curve import Point

Group = list[Scored]  # of one model, a result a seed


def _groups(results: Sequence[Scored]) -> list[Group]:
    return [list(group) for _, group in groupby(results, key=lambda result: result.model)]


def table(results: Sequence[Scored]) -> str:
    """A Markdown table, a row a model; of real images last."""
    groups = _groups(results)
    columns = dict.fromkeys(_column(metric) for group in groups for metric in group[0].metrics)
    rows = [["", "sampler", "NFE", "images", *columns]]
    for group in groups:
        model = group[0].model
        named = [model.role, model.sampler.sampler, str(group[0].nfe)] if model else ["real", "", ""]
        cells = {_column(metric): _cell(group, place) for place, metric in enumerate(group[0].metrics)}
        rows.append([*named, str(group[0].images), *(cells.get(column, "") for column in columns)])
    return _markdown(rows)


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"| {' | '.join(map(str.ljust, row, widths))} |" for row in rows]
    rule = f"|{'|'.join('-' * (width + 2) for width in widths)}|"
    return "\n".join([lines[0], rule, *lines[1:]])


def class_table(results: Sequence[Scored]) -> str | None:
    """A Markdown table of KID by class, a row a class and a column a model and space; none where there is none."""
    groups = [group for group in _groups(results) if group[0].by_class]
    if not groups:
        return None
    columns, head = list[list[str]](), ["class"]
    for group in groups:
        for space in (metric.space for metric in next(filter(None, group[0].by_class))):
            assert group[0].model is not None
            head.append(f"{group[0].model.role} {group[0].nfe}, {space}")
            columns.append([_of_class(group, label, space) for label in range(len(group[0].by_class))])
    labels = [str(label) for label in range(len(columns[0]))]
    return _markdown([head, *([label, *cells] for label, *cells in zip(labels, *columns, strict=True))])


def _of_class(group: Group, label: int, space: str | None) -> str:
    found = [kids(result.by_class[label]).get(space or "") for result in group]
    values = [metric.value for metric in found if metric is not None]
    if len(values) > 1:
        interval = seed_interval(values)
        return _with_error(interval.mean, interval.high - interval.mean)
    return _with_error(values[0], (found[0] and found[0].error) or 0.0) if values else ""


def _column(metric: Metric) -> str:
    """A metric's name without the number of images, which has a column of its own."""
    return metric._replace(images=None).name


def _cell(group: Group, place: int) -> str:
    values = [result.metrics[place].value for result in group]
    if len(values) > 1:
        interval = seed_interval(values)
        return _with_error(interval.mean, interval.high - interval.mean)
    error = group[0].metrics[place].error
    return f"{values[0]:.4g}" if error is None else _with_error(values[0], error)


def _with_error(value: float, error: float) -> str:
    return f"{value:.5f} ± {error:.5f}" if abs(value) < 10 else f"{value:.4g} ± {error:.2g}"


def _kids(group: Group) -> dict[str, Score]:
    """KID by feature space; over seeds the mean, and the mean error, whose real side all seeds share."""
    found = [kids(result.metrics) for result in group]
    return {
        space: Score(fmean(each[space].value for each in found), fmean(each[space].error or 0.0 for each in found))
        for space in found[0]
    }


def curve_points(results: Sequence[Scored]) -> list[Point]:
    """The points of a speed-quality curve."""
    from mmd_ddm.evaluation.figures.curve import Point

    points = []
    for group in _groups(results):
        if (model := group[0].model) is not None:
            label = model.sampler.sampler if model.role == BASE else f"{model.role}, {model.sampler.sampler}"
            scores = {space: (kid.value, kid.standard_error or 0.0) for space, kid in _kids(group).items()}
            points.append(Point(label, group[0].nfe, scores, model.role == FINETUNED))
    return points


def floors(results: Sequence[Scored]) -> dict[str, tuple[float, float]]:
    """KID of the real images and its deviation, by feature space."""
    real = next((result for result in results if result.model is None), None)
    return {} if real is None else {s: (kid.value, kid.error or 0.0) for s, kid in kids(real.metrics).items()}


def verdicts(results: Sequence[Scored], trained: Collection[str]) -> list[str]:
    """Compare a finetuned model with its base model, at each budget of both, given the feature spaces of the loss."""
    scores: dict[tuple[str, int], dict[str, Score]] = {}
    for group in _groups(results):
        if (model := group[0].model) is not None:
            scores.setdefault((model.role, group[0].nfe), _kids(group))
    return [
        f"With {nfe} evaluations: {verdict(scores[BASE, nfe], found, trained)}"
        for (role, nfe), found in scores.items()
        if role == FINETUNED and (BASE, nfe) in scores
    ]

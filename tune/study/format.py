"""Numbers and settings in a few characters, for lines, tables and figures."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mmd_ddm.evaluation.metrics import Metric
from mmd_ddm.experiment.setting import Scalar
from tune.study.folder import Trial


def plus_minus(value: float, error: float | None) -> str:
    """Return a number with its standard error, to two digits of the error."""
    if error is None or not (math.isfinite(error) and math.isfinite(value) and error > 0):
        return f"{value:.4g}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:z.{digits}f} ± {error:.{digits}f}"


def with_error(metric: Metric | None) -> str:
    """Return a metric with its error; nothing for one that was not measured."""
    return "" if metric is None else plus_minus(metric.value, metric.error)


def short(value: Scalar) -> str:
    """Return a setting's value in a few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def point_text(point: Mapping[str, Scalar]) -> str:
    """Return the values of a trial's searched settings as a few words."""
    return ", ".join(f"{name}={short(value)}" for name, value in point.items() if value is not None)


def kept_text(trial: Trial) -> str:
    """Return which of a trial's states is kept; nothing for one that was never scored."""
    return "" if trial.kept is None else f"(update {trial.kept.update} of {trial.planned})"


def duration(seconds: float) -> str:
    """Return a time in its largest unit."""
    hours, minutes = seconds / 3600, seconds / 60
    return f"{hours:.1f} h" if hours >= 1 else f"{minutes:.0f} min" if minutes >= 1 else f"{seconds:.0f} s"

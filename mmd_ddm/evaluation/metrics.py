"""A measured number with what it is, and its name in files and in MLflow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

WORDS = {
    "kid": "KID", "fid": "FID", "precision": "Precision", "recall": "Recall", "nn_auc": "Nearest-neighbour AUC",
    "is": "Inception Score", "sfid": "sFID",
}  # fmt: skip
MORE_IS_BETTER = ("is", "precision", "recall")
_NAME = re.compile(
    r"(?P<kind>kid|precision|recall|nn_auc)_(?P<space>.+)|(?P<fid>fid)_(?P<of>.+)_(?P<n>\d+)|(?P<sfid>sfid)_(?P<m>\d+)|is"
)


class Metric(NamedTuple):
    """A measured number."""

    kind: str  # one of `WORDS`
    value: float
    space: str | None = None  # of features; None for `is` and `sfid`, which belong to layers of Inception
    stderr: float | None = None  # over fresh images, where it is known
    deviation: float | None = None  # over splits of the images, where the number is a mean over them
    images: int | None = None  # how many were generated, for FID and sFID, which depend on it

    @property
    def name(self) -> str:
        """As in files and MLflow: `kid_clip`, `fid_clip_50000`, `is`."""
        return "_".join(str(part) for part in (self.kind, self.space, self.images) if part is not None)

    @property
    def error(self) -> float | None:
        """The standard error, or else the deviation."""
        return self.deviation if self.stderr is None else self.stderr


Metrics = tuple[Metric, ...]


def flat(metrics: Iterable[Metric]) -> dict[str, float]:
    """Write metrics as numbers by name: `kid_s`, `kid_s_stderr`, `fid_s_N`, `is_deviation` and so on."""
    found: dict[str, float] = {}
    for metric in metrics:
        found[metric.name] = metric.value
        for ending, error in (("stderr", metric.stderr), ("deviation", metric.deviation)):
            if error is not None:
                found[f"{metric.name}_{ending}"] = error
    return found


def read_metrics(numbers: Mapping[str, float]) -> Metrics:
    """Read metrics back from `flat`'s form; names that are no metric's are left out."""
    found = []
    for name, value in numbers.items():
        match = None if name.endswith(("_stderr", "_deviation")) else _NAME.fullmatch(name)
        if match:
            kind, images = match["kind"] or match["fid"] or match["sfid"] or "is", match["n"] or match["m"]
            errors = numbers.get(f"{name}_stderr"), numbers.get(f"{name}_deviation")
            found.append(Metric(kind, value, match["space"] or match["of"], *errors, int(images) if images else None))
    return tuple(found)


def at_budget(metrics: Iterable[Metric], steps: int) -> Metrics:
    """Name metrics of one budget of several, `kid_s@2`: each as if it was of a space of its own."""
    return tuple(metric._replace(space=f"{metric.space}@{steps}") for metric in metrics)


def kids(metrics: Iterable[Metric]) -> dict[str, Metric]:
    """Return the KIDs by feature space."""
    return {metric.space or "": metric for metric in metrics if metric.kind == "kid"}


def find(metrics: Iterable[Metric], kind: str, space: str | None = None) -> Metric | None:
    """Return the metric of a kind in a feature space, if it was measured."""
    return next((metric for metric in metrics if (metric.kind, metric.space) == (kind, space)), None)

"""Kernels as they are written, such as `0.1*cubic+rbf:median`: terms, weights and bandwidths."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from mmd_ddm.errors import UserError

Bandwidth = float | str


@dataclass(frozen=True)
class KernelTerm:
    """One term of a kernel's specification, before the features are known."""

    name: str
    bandwidth: Bandwidth | None = None
    weight: float = 1.0

    @property
    def is_open(self) -> bool:
        """Whether it takes a bandwidth and names none."""
        return self.name in BANDWIDTH_KERNELS and self.bandwidth is None


PLAIN_KERNELS = ("linear", "cubic", "energy")  # energy is homogeneous: a bandwidth would only scale it
BANDWIDTH_KERNELS = ("rbf", "rational_quadratic")
BANDWIDTH_UNITS = DIM, MEDIAN = ("dim", "median")


def parse_kernel(specification: str, bandwidth: Bandwidth | None = None) -> tuple[KernelTerm, ...]:
    """Read a kernel's specification, for example `cubic`, `rbf:median` or `0.1*cubic+rbf:0.5+rbf:2`.

    Terms are joined by `+`: `linear`, `cubic`, `energy`, `rbf` and `rational_quadratic`, the last two with `:BANDWIDTH`
    or without, each with `WEIGHT*` before it or without (1). `bandwidth` (see `parse_bandwidth`) is for those that do
    not name theirs; without it they get `median`.

    Raises:
        UserError: an unknown term, a bandwidth out of range, or one that no term uses.
    """
    terms = [_parse_term(text.strip()) for text in specification.split("+")]
    if bandwidth is not None and not any(t.is_open for t in terms):
        raise UserError(f"bandwidth is {bandwidth}, but kernel {specification!r} has no term that would use it")
    default = parse_bandwidth(bandwidth if bandwidth is not None else "median")
    return tuple(replace(t, bandwidth=default) if t.is_open else t for t in terms)


def leaves_bandwidth_open(specification: str) -> bool:
    """Whether a kernel as written has a term that takes the common bandwidth; UserError if there is no such kernel."""
    return any(_parse_term(text.strip()).is_open for text in specification.split("+"))


def _parse_term(text: str) -> KernelTerm:
    head, _, width = text.partition(":")
    written, star, name = head.rpartition("*")
    weight, name = _parse_weight(written, text) if star else 1.0, name.strip()
    if name in BANDWIDTH_KERNELS:
        return KernelTerm(name, parse_bandwidth(width) if width else None, weight)
    if name in PLAIN_KERNELS and not width:
        return KernelTerm(name, None, weight)
    raise UserError(
        f"kernel term {text!r} is not known; a kernel is a sum of {', '.join(PLAIN_KERNELS)}, "
        f"{' or '.join(f'{name}[:BANDWIDTH]' for name in BANDWIDTH_KERNELS)}, as in cubic+rbf:median or "
        "0.1*cubic+rbf"
    )


def _parse_weight(written: str, term: str) -> float:
    try:
        weight = float(written)
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight > 0):
        raise UserError(f"kernel term {term!r} has weight {written.strip()!r}; it must be a positive number")
    return weight


def parse_bandwidth(value: Bandwidth) -> Bandwidth:
    """A bandwidth as written: `dim`, `median`, a multiple such as `0.5*median`, a positive number; or a UserError."""
    factor, _, unit = str(value).rpartition("*")
    relative = unit in BANDWIDTH_UNITS
    try:
        number = float(factor or 1) if relative else float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise UserError(
            f"bandwidth is {value!r}; it must be dim, median, a multiple such as 0.5*median, or a positive number"
        )
    return str(value) if relative else number

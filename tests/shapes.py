"""Checks the shapes of tensors in annotations such as `Float[Tensor, "N C H W"]` at every call of the suite.

pytest's option --jaxtyping-packages (in pyproject.toml) puts `checked` around the functions of the packages it names.
"""

from __future__ import annotations

import typing
from collections.abc import Callable

from beartype import beartype
from jaxtyping import AbstractArray


def checked(function: Callable[..., object]) -> Callable[..., object]:
    """Check annotations that hold a shape; for all others there is mypy, and tests may hand over stand-ins."""
    found = function.__annotations__
    function.__annotations__ = {name: each for name, each in found.items() if _holds_a_shape(each)}
    return beartype(function)


def _holds_a_shape(annotation: object) -> bool:
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return issubclass(annotation, AbstractArray)
    return any(_holds_a_shape(each) for each in typing.get_args(annotation))

"""A search space as users write it.

`key=a,b,c` (choices) or `key=low..high` (a range, logarithmic for rates and lengths), or a YAML or JSON file of the
same: `learning_rate: 1e-6..1e-3`, `kernel: [cubic, rbf]`. A comma separates choices, + and * belong to one:
`features=inception,clip,inception+0.5*clip`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from mmd_ddm.discrepancy.specification import parse_kernel
from mmd_ddm.errors import UserError, first_line
from mmd_ddm.experiment.config import Config, settings
from mmd_ddm.experiment.setting import Scalar
from mmd_ddm.features.registry import check_feature_space
from mmd_ddm.features.specification import parse_features
from tune.space.dimension import Choice, Dimension, Range
from tune.space.space import CONDITIONS, Space, conditioning, takes_bandwidth

LOGARITHMIC = ("learning_rate", "sampler_learning_rate", "bandwidth", "clip")
FIXED = ("dataset", "data", "resolution", "base_model", "seed", "updates", "score_features", "score_images",
         "scorings", "other_steps")  # fmt: skip


def read_space(default: Space, texts: Iterable[str], base: Config) -> Space:
    """Change a space by what users wrote; a setting given a single value is no longer searched over.

    Each is `key=a,b,c`, `key=low..high` or the name of a YAML or JSON file; `base` has the settings' other values.

    Raises:
        UserError: An unknown setting, an empty or reversed range, or a value that is not allowed.
    """
    dimensions, named = dict(default.dimensions), []
    for text in texts:
        name, equals, value = text.partition("=")
        given = {name.strip().replace("-", "_"): value} if equals else _read_file(Path(text))
        for key, written in given.items():
            dimensions[key] = _dimension(key, written, base)
            named.append(key)
    space = Space(dimensions, conditioning(base))
    kernel = dimensions.get("kernel", Choice((base.objective.kernel,)))
    if "bandwidth" in dimensions and isinstance(kernel, Choice):
        for each in filter(takes_bandwidth, kernel.values):
            parse_kernel(str(each), "median")
    for key in named:
        if not space.reachable(key):
            condition = CONDITIONS[key]
            raise UserError(
                f"--space: {key} belongs to {condition.words}, which no trial would have; leave it out, or search "
                f"{condition.on} as well"
            )
    return space


def _read_file(file: Path) -> dict[str, object]:
    if not file.is_file():
        raise UserError(f"--space {str(file)!r} is neither key=values nor a file; write for example kernel=cubic,rbf")
    import yaml

    try:
        text = file.read_text()
        read = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, OSError) as error:
        raise UserError(f"the space file {file} can't be read: {first_line(error)}") from None
    if not isinstance(read, dict) or not read:
        raise UserError(f"the space file {file} must hold settings, as in `kernel: [cubic, rbf]`")
    return {str(key): value for key, value in read.items()}


def _dimension(key: str, written: object, base: Config) -> Dimension:
    known = [item.name for item in settings() if item.name not in FIXED]
    if key not in known:
        raise UserError(f"--space: {key!r} can't be searched; choose from {', '.join(known)}")
    if isinstance(written, str) and ".." in written:
        return _range(key, written, base)
    values = written.split(",") if isinstance(written, str) else written if isinstance(written, list) else [written]
    values = [value.strip() if isinstance(value, str) else value for value in values]
    if not values or "" in values:
        raise UserError(f"--space: {key} has an empty choice; write {key}=a,b,c")
    return Choice(tuple(dict.fromkeys(_value(key, value, base) for value in values)))


def _range(key: str, written: str, base: Config) -> Range:
    try:
        low, high = (float(part) for part in written.split(".."))
    except ValueError:
        raise UserError(f"--space: {key}={written} is not a range; write {key}=low..high with two numbers") from None
    if not low < high:
        raise UserError(f"--space: {key}={written} is empty; the first number must be smaller than the second")
    ends = [_value(key, end, base) for end in (low, high)]
    if not all(isinstance(end, (int, float)) for end in ends):
        raise UserError(f"--space: {key} is not a number; write its choices as {key}=a,b,c")
    return Range(low, high, logarithmic=key in LOGARITHMIC, whole=all(isinstance(end, int) for end in ends))


def _value(key: str, value: object, base: Config) -> Scalar:
    if key == "features":
        for _, name in parse_features(str(value)):
            check_feature_space(name, base.dataset)
    beside: dict[str, object] = {}  # what the value needs to mean anything
    if key in ("bandwidth", "kernel"):
        beside = {"kernel": "rbf", "bandwidth": None}
    elif key in ("loss", "reference"):
        beside = {"loss": "mmd", "reference": "bank"}
    elif key in ("eta", "variance", "sampler"):
        beside = {"eta": 0.0, "variance": "model", "sampler": "ddpm" if key == "variance" else "ddim"}
    found = base.replace(**{**beside, key: value})
    if found.budgets != (found.sampler.steps,):
        raise UserError(f"--space: steps is {value!r}; a trial has one budget, so write each as a choice of its own")
    return found.flat()[key]


def parse_space(written: Mapping[str, object], base: Config) -> Space:
    """Read a space back from `Space.as_text()`."""
    return Space({key: _dimension(key, value, base) for key, value in written.items()}, conditioning(base))

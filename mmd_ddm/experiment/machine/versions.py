"""Versions on which numbers depend, or on which machines must agree to understand each other."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from mmd_ddm.experiment.machine.finding import Finding, fault, ok

WHAT = "versions"
_PACKAGES = ("mmd-ddm", "ray", "torch", "torchvision", "diffusers", "numpy", "scipy", "scikit-learn", "pyarrow",
             "open_clip_torch", "timm", "torch-fidelity", "safetensors")  # fmt: skip


def versions() -> dict[str, str]:
    """Return the version of Python, to the patch, and of each package."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def compare(here: Mapping[str, str], head: Mapping[str, str]) -> Finding:
    """Compare a machine's versions with the head's."""
    other = [
        f"{name} {here.get(name, 'missing')} (head: {head[name]})" for name in head if here.get(name) != head[name]
    ]
    if other:
        return fault(WHAT, f"{', '.join(other)}; install the same on both, as clusters/install.sh does")
    return ok(WHAT, f"{told(here)}, as on the head")


def told(found: Mapping[str, str]) -> str:
    """Return the versions that matter most, in words."""
    return ", ".join(f"{name} {found[name]}" for name in ("mmd-ddm", "python", "ray", "torch"))

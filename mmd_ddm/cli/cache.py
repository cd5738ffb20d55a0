"""List what is kept for later runs, with its size, and remove what is not needed any more.

  mmd-ddm cache                                # list
  mmd-ddm cache --clear banks stores/own-64-0123456789abcdef
  mmd-ddm cache --clear all

stores    prepared images; made again from their source, which may have to be downloaded again
banks     features of all real images; computed again
models    base models that were imported or converted from checkpoint files
mlflow    models that were downloaded from MLflow
weights   of published feature networks, as far as torch.hub keeps them; downloaded again

Nothing may be running that uses what is removed. Files in a folder of yours (--weights), and what the Hugging Face hub
keeps for all programs (see hf cache --help), are left alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from mmd_ddm.errors import UserError
from mmd_ddm.files import cache_home, remove

KINDS = ("stores", "banks", "models", "mlflow")  # folders of the cache
WEIGHTS, ALL = "weights", "all"


class Entry(NamedTuple):
    """Something that is kept."""

    kind: str
    path: Path

    @property
    def name(self) -> str:
        """By which it is removed."""
        return f"{self.kind}/{self.path.name}"

    @property
    def files(self) -> list[Path]:
        """All of it."""
        return [file for file in (self.path, *self.path.rglob("*")) if file.is_file()]


def add_options(parser: argparse.ArgumentParser) -> None:
    """What to remove."""
    kinds = ", ".join((*KINDS, WEIGHTS, ALL))
    parser.add_argument("--clear", nargs="+", metavar="NAME", help=f"remove: {kinds}, or a name of the list")


def execute(options: argparse.Namespace) -> None:
    """List or remove."""
    from mmd_ddm.finetuning.memory import readable  # imports torch

    found = list(entries())
    asked = set(options.clear or ())
    if unknown := sorted(asked - {ALL, WEIGHTS, *KINDS, *(entry.name for entry in found)}):
        raise UserError(f"there is no {unknown[0]!r} in {cache_home()}; mmd-ddm cache lists what there is")
    chosen = [entry for entry in found if not asked or asked & {ALL, entry.kind, entry.name}]
    total = 0
    for entry in chosen:
        files = [file.stat() for file in entry.files]
        size, latest = sum(file.st_size for file in files), max((file.st_mtime for file in files), default=0.0)
        total += size
        if asked:
            remove(entry.path)
        print(f"{readable(size):>10}  {datetime.fromtimestamp(latest):%Y-%m-%d}  {entry.name}")
    print(f"{readable(total):>10}  {'removed' if asked else 'in all'}, {cache_home()}")


def entries() -> Iterator[Entry]:
    """All that is kept, by kind and name."""
    for kind in KINDS:
        folder = cache_home() / kind
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if not path.name.startswith("."):  # locks
                yield Entry(kind, path)
    yield from (Entry(WEIGHTS, file) for file in _weights())


def _weights() -> list[Path]:
    from mmd_ddm.features.published.listing import PUBLISHED_NAMES, published_weights
    from mmd_ddm.features.published.weights import in_torch_hub

    files = (in_torch_hub(published_weights(name)) for name in PUBLISHED_NAMES)
    return sorted({file for file in files if file is not None})

"""Prepare the images of a data set: decode, crop and resize them once into a store that every run then reads.

Other commands do this by themselves when they need to. A run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mmd_ddm.cli.options import add_image_options, image_options
from mmd_ddm.data.catalogue import dataset_spec
from mmd_ddm.data.names import OWN
from mmd_ddm.errors import UserError

if TYPE_CHECKING:
    from mmd_ddm.data.store import Rows

SHOWN = 20  # classes that are told with their counts


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which images, in which form, where to."""
    add_image_options(parser)
    add = parser.add_argument
    add("--channels", type=int, choices=(1, 3), metavar="C", help="1 (grey) or 3 [the data set's]")
    add("--output", type=Path, metavar="DIR", help="folder of the store [in the cache]")
    add("--processes", type=int, metavar="N", help="that decode [one a core]")
    labels = (
        "of folders: 1, 2 and so on, or -1 for the one that an image lies in; or a column of Parquet files; or none"
    )
    add("--labels", metavar="LEVEL|COLUMN", help=f"what the class of an image is: a level {labels} [what is found]")
    add("--skip-corrupt", action="store_true", help="leave out files that cannot be decoded, and record which")
    add("--skip-small", action="store_true", help="leave out images below the resolution, and record which")


def execute(options: argparse.Namespace) -> None:
    """Prepare and tell where the store is."""
    found = dataset_spec(*image_options(options))
    elsewhere = options.output is not None
    if options.channels not in (None, found.channels):
        if found.origin is None:
            raise UserError(f"{found.name} comes with the package, as it is; leave out --channels")
        found, elsewhere = replace(found, channels=options.channels), True
    if options.labels is not None:
        if found.origin is None:
            raise UserError(f"{found.name} comes with the package, as it is; leave out --labels")
        none = options.labels == "none"
        found, elsewhere = replace(found, labelled=not none, labels=None if none else options.labels), True
    from mmd_ddm.data.prepare import prepare, store_folder  # PyTorch

    folder = options.output.absolute() if options.output else store_folder(found)
    skip = {"skip_corrupt": options.skip_corrupt, "skip_small": options.skip_small}
    rows = prepare(found, folder, processes=options.processes, **skip)
    size = sum(file.stat().st_size for file in folder.iterdir())
    shape = " x ".join(map(str, rows.shape))
    print(f"store: {folder}")
    print(f"images: {len(rows)}, {shape}, skipped {rows.record['skipped']}")
    for name in cast("list[str]", rows.record["skipped names"]):
        print(f"skipped: {name}")
    print(f"classes: {_classes(rows)}")
    print(f"fingerprint: {rows.fingerprint}")
    print(f"size on disk: {size / 1e6:.1f} MB")
    if elsewhere:
        own = found.channels != dataset_spec(*image_options(options)).channels
        name = OWN if own else found.name
        print(f"use it with: --dataset {name} --data {folder} --resolution {found.resolution}")


def _classes(rows: Rows) -> str:
    """How many there are, what they are and how many images each has."""
    if rows.labels is None:
        return "none"
    counts = rows.labels.bincount().tolist()
    names = rows.record.get("classes")
    known = names if isinstance(names, list) and len(names) == len(counts) else range(len(counts))
    each = [f"{name} {count}" for name, count in zip(known, counts, strict=True)]
    more = f" and {len(each) - SHOWN} more" if len(each) > SHOWN else ""
    how = f", by {rows.record['class of']}" if rows.record.get("class of") else ""
    return f"{len(each)}{how}: {', '.join(each[:SHOWN])}{more}"

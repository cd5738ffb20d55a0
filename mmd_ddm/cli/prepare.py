"""Prepare the images of a data set: decode, crop and resize them once into a store that every run then reads.

Other commands do this by themselves when they need to. A run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import cast

from mmd_ddm.cli.options import add_image_options, image_options
from mmd_ddm.data.catalogue import OWN, dataset_spec
from mmd_ddm.data.prepare import prepare, store_folder
from mmd_ddm.errors import UserError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which images, in which form, where to."""
    add_image_options(parser)
    add = parser.add_argument
    add("--channels", type=int, choices=(1, 3), metavar="C", help="1 (grey) or 3 [the data set's]")
    add("--output", type=Path, metavar="DIR", help="folder of the store [in the cache]")
    add("--processes", type=int, metavar="N", help="that decode [one a core]")
    add("--skip-corrupt", action="store_true", help="leave out files that cannot be decoded, and record which")


def execute(options: argparse.Namespace) -> None:
    """Prepare and tell where the store is."""
    found = dataset_spec(*image_options(options))
    elsewhere = options.output is not None
    if options.channels not in (None, found.channels):
        if found.origin is None:
            raise UserError(f"{found.name} comes with the package, as it is; leave out --channels")
        found, elsewhere = replace(found, channels=options.channels), True
    folder = options.output.absolute() if options.output else store_folder(found)
    rows = prepare(found, folder, processes=options.processes, skip_corrupt=options.skip_corrupt)
    size = sum(file.stat().st_size for file in folder.iterdir())
    shape = " x ".join(map(str, rows.shape))
    print(f"store: {folder}")
    print(f"images: {len(rows)}, {shape}, skipped {rows.record['skipped']}")
    for name in cast("list[str]", rows.record["skipped names"]):
        print(f"skipped: {name}")
    print(f"fingerprint: {rows.fingerprint}")
    print(f"size on disk: {size / 1e6:.1f} MB")
    if elsewhere:
        own = found.channels != dataset_spec(*image_options(options)).channels
        name = OWN if own else found.name
        print(f"use it with: --dataset {name} --data {folder} --resolution {found.resolution}")

"""The options that name a data set, shared by the commands that read images."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mmd_ddm.errors import UserError


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """--dataset, --data and --resolution."""
    parser.add_argument("--dataset", metavar="NAME", help="data set; with --data alone one's own images [digits]")
    parser.add_argument(
        "--data", metavar="PATH", help="images in place of the data set's source: folder, Parquet, LMDB, archive, store"
    )
    parser.add_argument("--resolution", type=int, metavar="R", help="height and width in pixels; one's own need it")


def add_weights_option(parser: argparse._ActionsContainer) -> None:
    """--weights, which every command that loads feature spaces takes."""
    parser.add_argument(
        "--weights", type=Path, metavar="DIR", help="folder of weights of feature spaces [$MMD_DDM_WEIGHTS, downloads]"
    )


def use_weights(folder: Path | None) -> None:
    """Let this process and all that it starts look for weights in a folder; None changes nothing.

    Raises:
        UserError: If there is no such folder.
    """
    if folder is None:
        return
    if not folder.expanduser().is_dir():
        raise UserError(f"--weights is {folder}, which is no folder; name the one that holds the files of weights")
    os.environ["MMD_DDM_WEIGHTS"] = str(folder.expanduser().absolute())  # workers have another working directory


def image_options(options: argparse.Namespace) -> tuple[str, str | None, int | None]:
    """Name, path and resolution of the data set that the options ask for."""
    from mmd_ddm.data.catalogue import OWN

    return options.dataset or (OWN if options.data else "digits"), options.data, options.resolution

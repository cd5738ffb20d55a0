"""The folder that `mmd-ddm sample` writes its images to: which files are its own, and which a user's."""

from __future__ import annotations

import re
from pathlib import Path

from mmd_ddm.data.readers.folder import image_extensions
from mmd_ddm.errors import UserError
from mmd_ddm.records import read_record

SHEET, RECORD, NAME = "sheet.png", "sample.json", "{:06d}.png"
LABELS = "labels.csv"  # file and class label of each image of a class-conditional model
_OWN = re.compile(r"(\d{6,12})\.png")  # images by `NAME`


def check_folder(folder: Path) -> None:
    """Refuse a folder with images, or folders of them, that no earlier sample has written."""
    there = [each for each in folder.iterdir() if not each.name.startswith(".")] if folder.is_dir() else []
    images = {each.name for each in there if each.is_dir() or each.suffix.lower() in image_extensions()}
    if foreign := sorted(images - {file.name for file in own_files(folder)}):
        raise UserError(
            f"{folder} holds other images ({foreign[0]}, {len(foreign)} in all), and they would be mixed with the new "
            "ones; name another --output"
        )


def own_files(folder: Path) -> list[Path]:
    """The files of an earlier sample, as its record has them."""
    if not (folder / RECORD).exists():
        return []
    images = read_record(folder / RECORD, "remove the folder or name another --output").whole("images")
    there = (file for file in folder.glob("*.png") if (match := _OWN.fullmatch(file.name)) and int(match[1]) < images)
    return [folder / SHEET, folder / LABELS, *there]

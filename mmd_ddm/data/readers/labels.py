"""What the class of an image is, where a user says so: a level of folders, or a column of Parquet files."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence

from mmd_ddm.data.readers.folder import ImageFolder
from mmd_ddm.data.readers.hub import HubImages
from mmd_ddm.data.readers.parquet import ParquetImages
from mmd_ddm.data.readers.source import Item, Source
from mmd_ddm.errors import UserError


class Labelled:
    """The images of a source in other classes than its own: the values of all images in their order, numbered."""

    labelled = True

    def __init__(self, source: Source, chosen: str, class_of: str, values: Sequence[str | int]) -> None:
        known = sorted(set(values))
        numbers = {value: number for number, value in enumerate(known)}
        self.identity = {**source.identity, "labels": chosen}
        self.classes: tuple[str, ...] | None = tuple(map(str, known))
        self.class_of: str | None = class_of
        self._source, self._labels = source, [numbers[value] for value in values]

    def __len__(self) -> int:
        return len(self._source)

    def name(self, row: int) -> str:
        """What an error message calls an image."""
        return self._source.name(row)

    def read(self, start: int, stop: int) -> Generator[Item, None, None]:
        """Images `start` to `stop - 1`, with their class numbers."""
        for row, (content, _) in enumerate(self._source.read(start, stop), start):
            yield content, self._labels[row]


def with_labels(source: Source, chosen: str) -> Source:
    """Return a source with the classes that are asked for.

    Args:
        source: Of images.
        chosen: Of a folder, the level of folders below it that is the class, from 1 on, or -1 for the folder that an
            image lies in; of Parquet files, a column of text or whole numbers.

    Raises:
        UserError: There is no such level or column, not for every image, or the source has neither.
    """
    if isinstance(source, ImageFolder):
        return Labelled(source, chosen, f"level {chosen} of the folders", _of_folders(source, chosen))
    if isinstance(source, (ParquetImages, HubImages)):
        values = source.column(chosen)
        for row, value in enumerate(values):
            if not isinstance(value, (str, int)):
                raise UserError(f"{source.name(row)} has {value!r} in column {chosen!r}; a class is text or a number")
        return Labelled(source, chosen, f"column {chosen}", values)
    raise UserError("labels are chosen for folders of images and for Parquet files alone; leave out --labels")


def _of_folders(source: ImageFolder, chosen: str) -> list[str]:
    if not re.fullmatch(r"-1|[1-9]\d?", chosen):
        said = "write the level of folders that is the class: 1, 2 and so on, or -1 for the one that an image lies in"
        raise UserError(f"--labels is {chosen!r}, but the images lie in folders; {said}")
    level, found = int(chosen), list[str]()
    for row, file in enumerate(source.files):
        folders = file.split("/")[:-1]
        if len(folders) < abs(level):
            raise UserError(
                f"{source.name(row)} lies in {len(folders)} folders, so it has no class by --labels {level}"
            )
        found.append(folders[level if level < 0 else level - 1])
    return found

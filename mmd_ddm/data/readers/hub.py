"""A data set of the Hugging Face hub, kept there as Parquet files."""

from __future__ import annotations

import re
from collections.abc import Generator
from functools import cached_property
from pathlib import Path

from mmd_ddm.data.readers.parquet import ParquetImages
from mmd_ddm.data.readers.source import Item
from mmd_ddm.errors import UserError

PREFIX = "hub:"
_SPEC = re.compile(r"hub:(?P<repository>[\w.-]+/[\w.-]+)@(?P<revision>[^:\s]+):(?P<files>\S+\.parquet)")


class HubImages:
    """Parquet files of a repository; nothing is downloaded before the first image, or their number, is asked for.

    The spec is hub:OWNER/NAME@REVISION:FILES, where FILES may have wildcards; UserError if it is not.
    """

    def __init__(self, spec: str) -> None:
        found = _SPEC.fullmatch(spec)
        if not found:
            raise UserError(f"{spec!r} is no data set of the hub; write hub:OWNER/NAME@REVISION:FOLDER/*.parquet")
        self.spec = spec
        self._repository, self._revision, self._pattern = found.group("repository", "revision", "files")
        self.identity: dict[str, object] = {"kind": "hub", "spec": spec}

    @cached_property
    def _images(self) -> ParquetImages:
        from huggingface_hub import snapshot_download

        try:
            folder = snapshot_download(
                self._repository, repo_type="dataset", revision=self._revision, allow_patterns=[self._pattern]
            )
        except Exception as error:  # no network, no such data set, not permitted: the library has a class for each
            hint = f"get {self._pattern} of the data set {self._repository} on a machine with a network"
            said = f"{self.spec} cannot be downloaded ({type(error).__name__}); {hint}"
            raise UserError(f"{said}, and name its folder with --data PATH") from error
        files = sorted(Path(folder).glob(self._pattern))
        if not files:
            raise UserError(f"the data set {self._repository} has no file {self._pattern} at {self._revision}")
        return ParquetImages(Path(folder), files)

    @property
    def labelled(self) -> bool:
        """Whether there is a column of class numbers."""
        return self._images.labelled

    @property
    def classes(self) -> None:
        """None: only numbers are known."""
        return None

    @property
    def class_of(self) -> str | None:
        """The column of the class numbers."""
        return self._images.class_of

    def column(self, name: str) -> list[str | int]:
        """Values of a column, as `ParquetImages.column`."""
        return self._images.column(name)

    def __len__(self) -> int:
        return len(self._images)

    def name(self, row: int) -> str:
        """File of an image, and its row there."""
        return self._images.name(row)

    def read(self, start: int, stop: int) -> Generator[Item, None, None]:
        """Images `start` to `stop - 1`, with their class numbers."""
        return self._images.read(start, stop)

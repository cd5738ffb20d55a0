"""Tensors and a record of them in a folder, with a checksum: safetensors and JSON only, nothing is unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmd_ddm.errors import UserError
from mmd_ddm.files import replacing, sha256_of, write_json
from mmd_ddm.records import Record, read_record

RECORD, TENSORS = "state.json", "state.safetensors"


def save_state(folder: Path, tensors: Mapping[str, Tensor], record: Mapping[str, object]) -> None:
    """Write or replace a folder, complete or not at all.

    Args:
        folder: Where.
        tensors: By name.
        record: What JSON can hold; `sha256` is added, of the tensors' file.
    """
    with replacing(folder) as half:
        half.mkdir()
        save_file(dict(tensors), half / TENSORS)
        write_json(half / RECORD, {**record, "sha256": sha256_of(half / TENSORS)})


def load_state(folder: Path) -> tuple[Record, dict[str, Tensor]]:
    """Read the record and the tensors that `save_state` wrote, on the CPU.

    Raises:
        UserError: One of the files is missing or damaged, or the tensors are not those that were written.
    """
    try:
        record = read_record(folder / RECORD)
        if sha256_of(folder / TENSORS) != record.text("sha256"):
            raise UserError(f"{TENSORS} is not what was written: its checksum is another")
        return record, load_file(folder / TENSORS)
    except (OSError, SafetensorError) as error:
        raise UserError(str(error)) from None

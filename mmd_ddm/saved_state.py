"""Tensors and a record of them in a folder, with a checksum: safetensors and JSON only, nothing is unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmd_ddm.errors import UserError
from mmd_ddm.files import digest_of, replacing, sha256_of, write_json
from mmd_ddm.records import Record, read_record

RECORD, TENSORS = "state.json", "state.safetensors"
_DIGEST = "digest"


def save_state(folder: Path, tensors: Mapping[str, Tensor], record: Mapping[str, object]) -> None:
    """Write or replace a folder, complete or not at all.

    Args:
        folder: Where.
        tensors: By name.
        record: What JSON can hold; `sha256` is added, of the tensors' file, and a digest of the record.
    """
    with replacing(folder) as half:
        half.mkdir()
        save_file(dict(tensors), half / TENSORS)
        whole = {**record, "sha256": sha256_of(half / TENSORS)}
        write_json(half / RECORD, {**whole, _DIGEST: digest_of(whole)})


def load_state(folder: Path) -> tuple[Record, dict[str, Tensor]]:
    """Read the record and the tensors that `save_state` wrote, on the CPU.

    Raises:
        UserError: One of the files is missing or damaged, or the tensors are not those that were written.
    """
    try:
        record = read_record(folder / RECORD)
        whole, written = {key: value for key, value in record.entries.items() if key != _DIGEST}, record.text("sha256")
        if _DIGEST in record and digest_of(whole) != record.text(_DIGEST):
            raise UserError(f"{RECORD} is not what was written: its digest is another")
        if sha256_of(folder / TENSORS) != written:
            raise UserError(f"{TENSORS} is not what was written: its checksum is another")
        return record, load_file(folder / TENSORS)
    except (OSError, SafetensorError) as error:
        raise UserError(str(error)) from None

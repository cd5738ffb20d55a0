"""The folder that all machines share: each leaves a record there and reads those of the others."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from mmd_ddm.experiment.machine.finding import Finding, fault, ok
from mmd_ddm.experiment.machine.versions import WHAT as VERSIONS
from mmd_ddm.experiment.machine.versions import compare, told, versions
from mmd_ddm.files import locked, write_json

WHAT = "shared folder"
RECORDS = ".doctor"  # in the shared folder
_HEAD = "the-head.json"


class Role(StrEnum):
    """What a machine is."""

    ALONE = "alone"
    HEAD = "head"  # with which the others are compared
    WORKER = "worker"


def check_shared(folder: Path | None, role: Role) -> list[Finding]:
    """Write to the shared folder, lock a file there, read what others wrote, and compare versions with the head's.

    Args:
        folder: None: there is none.
        role: What this machine is.
    """
    here = versions()
    if folder is None:
        none = ok(WHAT, "none; one machine needs none")
        if role is not Role.ALONE:
            none = fault(WHAT, "none is named; name it with --shared or MMD_DDM_SHARED")
        return [none, ok(VERSIONS, told(here))]
    if not folder.is_dir():
        return [fault(WHAT, f"{folder} is no folder here; mount it, on every machine at the same path")]
    try:
        _leave_record(folder / RECORDS, here, role)
        found = _read_records(folder / RECORDS)
    except (OSError, NotImplementedError, ValueError) as error:
        return [fault(WHAT, f"{folder} can't be used ({error}); let this user write there, and mount NFS with locks")]
    return judge(folder, role, here, found)


def judge(folder: Path, role: Role, here: Mapping[str, str], found: Mapping[str, Mapping[str, str]]) -> list[Finding]:
    """Compare this machine's versions with those in the records, by file name, of the shared folder."""
    others = sorted(set(found) - {_own(), _HEAD})
    read = f"{folder}: written here" + (f", read from {', '.join(name[:-5] for name in others)}" if others else "")
    if role is not Role.WORKER:
        return [ok(WHAT, read), ok(VERSIONS, told(here))]
    if _HEAD not in found:
        said = f"{folder} holds nothing that the head wrote: another folder is mounted here, or no doctor ran there"
        return [fault(WHAT, f"{said}; mount the head's, or run mmd-ddm doctor --head there")]
    return [ok(WHAT, read), compare(here, found[_HEAD])]


def _own() -> str:
    return f"{os.uname().nodename}.json"


def _leave_record(records: Path, here: Mapping[str, str], role: Role) -> None:
    records.mkdir(exist_ok=True)
    with locked(records / ".lock"):
        write_json(records / _own(), dict(here))
        if role is Role.HEAD:
            write_json(records / _HEAD, dict(here))


def _read_records(records: Path) -> dict[str, dict[str, str]]:
    return {file.name: json.loads(file.read_text()) for file in records.glob("*.json")}

"""The same checkpoint for all workers of a run, although a network file system shows changes late.

A machine that looked into a run's folder before may for up to a minute see it as it was then (NFS keeps names and
attributes that long). Workers of several machines that begin at different updates would wait for each other for ever.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch

from mmd_ddm.discrepancy.collective import Collective
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.run_folder import latest_checkpoint
from mmd_ddm.records import read_record
from mmd_ddm.saved_state import RECORD

PATIENCE = 150.0  # seconds, above the longest that NFS keeps names by default
_PAUSE = 1.0
_NONE, _DAMAGED = -1, -2


def agreed_checkpoint(folder: Path, collective: Collective, device: torch.device | None) -> Path | None:
    """Return a run's latest checkpoint once this worker sees the one that rank 0 sees; None if there is none.

    Raises:
        UserError: If it doesn't appear.
    """
    mine = _update(folder)
    wanted = torch.tensor([mine if collective.rank == 0 else 0], dtype=torch.int64, device=device)
    leading = int(collective.sum_(wanted))
    deadline = time.monotonic() + PATIENCE
    while mine != leading:
        if time.monotonic() > deadline:
            raise UserError(
                f"On {os.uname().nodename} {folder} doesn't show the checkpoint that the first worker goes on from; "
                "choose a folder on storage that all machines share, or look at its mount."
            )
        time.sleep(_PAUSE)
        mine = _update(folder)
    return latest_checkpoint(folder)


def _update(folder: Path) -> int:
    """The update that the latest checkpoint was made after."""
    if (checkpoint := latest_checkpoint(folder)) is None:
        return _NONE
    try:
        return read_record(checkpoint / RECORD).whole("update")
    except (OSError, UserError):  # whoever loads it says what is wrong
        return _DAMAGED

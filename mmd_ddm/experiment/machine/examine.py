"""All that is looked at on one machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from mmd_ddm.errors import UserError
from mmd_ddm.experiment.machine.all_reduce import check_all_reduce
from mmd_ddm.experiment.machine.finding import Finding, Verdict, fault, note, ok
from mmd_ddm.experiment.machine.gpus import check_gpus
from mmd_ddm.experiment.machine.room import check_disks, check_shared_memory
from mmd_ddm.experiment.machine.shared_folder import Role, check_shared
from mmd_ddm.experiment.tracking.store import check_reachable, shown, tracking_uri


@dataclass(frozen=True)
class Examination:
    """What a machine is expected to be."""

    shared: Path | None = None  # the folder that all machines share
    role: Role = Role.ALONE
    gpus: int | None = None  # how many there should be; None: as many as there are
    exports: Path | None = None  # a shell file for the environment variables that mend what can be mended by them

    def run(self) -> Iterator[Finding]:
        """Look at one thing after the other."""
        yield from check_gpus(self.gpus)
        yield from self._all_reduce()
        yield check_shared_memory()
        yield from check_disks(self.shared)
        yield from check_shared(self.shared, self.role)
        yield check_mlflow(self.role)

    def _all_reduce(self) -> list[Finding]:
        findings, variables = check_all_reduce(torch.cuda.device_count() if torch.cuda.is_available() else 0)
        if self.exports is None:
            return findings
        self.exports.write_text("".join(f"export {name}={value}\n" for name, value in variables.items()))
        if not variables:
            return findings
        done = f"written to {self.exports}"
        return [note(each.what, f"{each.said}; {done}") if _mended(each) else each for each in findings]


def _mended(finding: Finding) -> bool:
    return finding.verdict is Verdict.FAULT


def check_mlflow(role: Role) -> Finding:
    """Ask the MLflow server that MLFLOW_TRACKING_URI names, if it is one; only the driver sends it anything."""
    what, uri = "MLflow", tracking_uri()
    try:
        check_reachable()
    except UserError as error:
        if role is Role.WORKER:
            return note(
                what, f"{shown(uri)} doesn't answer here; that is no harm, the search sends all records from the head"
            )
        return fault(what, str(error))
    return ok(what, uri)

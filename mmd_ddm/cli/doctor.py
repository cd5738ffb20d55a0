"""Find out whether a machine, or each machine of a cluster, can do the work; exit status 1 if something is wrong.

Looked at are GPUs and their driver, a small all-reduce among them with and without P2P (among two processes where
there is no GPU), shared memory, disks, the shared folder, versions, and the MLflow server. A fault comes with what
mends it.

  mmd-ddm doctor                                     # a workstation
  mmd-ddm doctor --gpus 4 --shared /mnt/mmd-ddm --head
  mmd-ddm doctor --gpus 4 --shared /mnt/mmd-ddm --worker --exports ~/.mmd-ddm_doctor
  mmd-ddm doctor --cluster                           # on the head: every node, and the way between them
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path

from mmd_ddm.files import shared_home


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the machine is, and what it should have."""
    add = parser.add_argument
    add("--shared", type=Path, metavar="DIR", help="folder that all machines share [$MMD_DDM_SHARED]")
    role = parser.add_mutually_exclusive_group()
    role.add_argument("--head", action="store_true", help="this is the head, with which others are compared")
    role.add_argument("--worker", action="store_true", help="this is another machine of a cluster")
    role.add_argument("--cluster", action="store_true", help="every node of the running Ray cluster")
    add("--gpus", type=int, metavar="N", help="GPUs that there should be [as many as the driver knows]")
    add("--exports", type=Path, metavar="FILE", help="write the variables that mend P2P to a shell file")
    add("--json", action="store_true", help="one JSON object a line")


def execute(options: argparse.Namespace) -> int:
    """Examine and print; returns the exit status: 1 if there is a fault."""
    from mmd_ddm.experiment.machine.finding import Finding, Verdict
    from mmd_ddm.experiment.machine.shared_folder import Role

    faults: dict[str, int] = {}

    def show(machine: str, finding: Finding) -> None:
        faults.setdefault(machine, 0)
        faults[machine] += finding.verdict is Verdict.FAULT
        # a worker's output reaches the operator through logs of the head, so that each line names its machine
        print(json.dumps(asdict(finding)) if options.json else f"{machine}  {finding}", flush=True)

    shared = options.shared or shared_home()
    if options.cluster:
        from mmd_ddm.experiment.distributed.cluster_doctor import examine_cluster

        for machine, finding in examine_cluster(shared, options.gpus):
            show(machine, finding)
    else:
        from mmd_ddm.experiment.machine.examine import Examination

        role = Role.HEAD if options.head else Role.WORKER if options.worker else Role.ALONE
        for finding in Examination(shared, role, options.gpus, options.exports).run():
            show(os.uname().nodename, finding)
    ill = {machine: count for machine, count in faults.items() if count}
    if not options.json:
        told = ", ".join(f"{machine} has {count} fault{'s' if count > 1 else ''}" for machine, count in ill.items())
        print(f"doctor: {told or 'nothing is wrong'}")
    return 1 if ill else 0

"""GPUs and their driver: whether PyTorch sees as many as there should be, and whether they calculate."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import torch

from mmd_ddm.errors import first_line
from mmd_ddm.experiment.machine.finding import Finding, fault, note, ok

WHAT = "GPU"
_QUERY = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
_SIZE = 256  # of the matrices that are multiplied as a test
_USED = 0.1  # share of a GPU's memory that others may use before it is told


def check_gpus(expected: int | None) -> list[Finding]:
    """Look at the driver and at each GPU.

    Args:
        expected: How many GPUs there should be; None: as many as the driver knows.
    """
    boards, complaint = _boards()
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    findings = [judge(boards, complaint, seen, expected, "" if seen else _why_none())]
    return [*findings, *_calculations(seen)]


def judge(boards: list[str], complaint: str, seen: int, expected: int | None, reason: str) -> Finding:
    """Compare the GPUs that the driver knows, those that PyTorch sees, and those that there should be.

    Args:
        boards: Name, driver and memory of each GPU, as nvidia-smi lists them.
        complaint: What nvidia-smi said in place of a list; empty if it is not there.
        seen: GPUs that PyTorch can use.
        expected: GPUs that there should be; None: not said.
        reason: Why PyTorch sees none.
    """
    if complaint:
        return fault(WHAT, f"nvidia-smi fails ({complaint}); install or reload NVIDIA's driver")
    wanted = len(boards) if expected is None else expected
    if seen < wanted and boards and not seen:
        built = f"this PyTorch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "it has no CUDA"
        advice = "CUDA 13 needs driver 580 or newer, CUDA 12 driver 525"
        return fault(WHAT, f"PyTorch can't use {boards[0]} ({reason}); {built}: {advice}")
    if seen < wanted:
        advice = "look at nvidia-smi, at CUDA_VISIBLE_DEVICES and at dmesg"
        return fault(WHAT, f"{seen} of {wanted} GPUs are there; {advice}")
    if not seen:
        return ok(WHAT, "none; work is done on the CPU")
    return ok(WHAT, "; ".join(f"{boards.count(board)} x {board}" for board in dict.fromkeys(boards)) or f"{seen} GPUs")


def _boards() -> tuple[list[str], str]:
    """The GPUs that nvidia-smi lists, or what it says instead."""
    if shutil.which(_QUERY[0]) is None:
        return [], "it is not installed" if Path("/proc/driver/nvidia/version").exists() else ""
    try:
        told = subprocess.run(_QUERY, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return [], "no answer within 60 s"
    lines = [line.strip() for line in told.stdout.splitlines() if line.strip()]
    if told.returncode:
        return [], next(iter(lines or told.stderr.splitlines()), f"status {told.returncode}")
    return lines, ""


def _why_none() -> str:
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return first_line(error)
    return "no device"


def _calculations(count: int) -> Iterator[Finding]:
    """Multiply two matrices on each GPU: powers of two, so that the product is exact in any precision."""
    whole = torch.arange(_SIZE * _SIZE).reshape(_SIZE, _SIZE).remainder(3).float()
    for index in range(count):
        try:
            product = (whole.to(f"cuda:{index}") @ whole.to(f"cuda:{index}")).cpu()
            free, total = torch.cuda.mem_get_info(index)
        except RuntimeError as error:
            yield fault(WHAT, f"number {index} fails ({first_line(error)}); look at dmesg for Xid")
            continue
        if not torch.equal(product, whole @ whole):
            yield fault(WHAT, f"number {index} multiplies wrongly; take it out and have it tested")
        elif free < (1 - _USED) * total:
            said = f"{(total - free) / 2**30:.0f} of {total / 2**30:.0f} GiB of number {index} are in use"
            yield note(WHAT, f"{said}: what runs beside needs them; nvidia-smi lists it")

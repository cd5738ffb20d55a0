"""The loss of a run, made from its configuration and its real features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmd_ddm.discrepancy.bank import Bank
from mmd_ddm.discrepancy.collective import Collective
from mmd_ddm.discrepancy.frechet import RealMoments
from mmd_ddm.discrepancy.kernels import Kernel
from mmd_ddm.discrepancy.labels import joint_kernel, label_column
from mmd_ddm.discrepancy.mixture import mixture_kernel
from mmd_ddm.discrepancy.specification import parse_kernel
from mmd_ddm.discrepancy.vectors import Beside
from mmd_ddm.experiment.config import Config
from mmd_ddm.finetuning.frechet import FrechetObjective
from mmd_ddm.finetuning.objective import BankReference, BatchReference, Objective


def make_frechet(
    config: Config, banks: Sequence[Bank], collective: Collective, device: torch.device
) -> FrechetObjective:
    """Make the Frechet distance to the moments of the banks, one for each feature space of the loss."""
    real = [RealMoments.of(bank.gaussian(device)) for bank in banks]
    return FrechetObjective(real, list(config.objective.spaces.values()), collective)


def make_mmd(
    config: Config,
    banks: Sequence[Bank],
    collective: Collective,
    device: torch.device,
    labels: tuple[Tensor, Sequence[int]] | None,
) -> Objective:
    """Make the MMD^2 to the banks, one for each feature space of the loss.

    Args:
        config: of the run.
        banks: the real features, of as many images each.
        collective: the workers.
        device: where generated features are.
        labels: if pairs of image and class label are compared: those of the banks' images, of which there may be
            several rounds (mirror images come after all others), and how many there are of each class.
    """
    c = config.objective
    features = [bank.features for bank in banks]
    kernel: Kernel = mixture_kernel(parse_kernel(c.kernel, c.bandwidth), features, list(c.spaces.values()))
    bank = banks[0] if len(banks) == 1 else Bank(Beside(features))
    if labels is not None:
        each, counts = labels
        kernel, like = joint_kernel(kernel, counts), bank.features[0:1]
        column = label_column(each.repeat(len(bank) // len(each)), like.dtype).to(like.device)
        bank = Bank(Beside([*features, column]), bank.memory)
    real = bank, kernel, collective, torch.empty(0, bank.features[0:1].shape[1], device=device)
    if c.reference == "batch":
        batches = BatchReference(*real, size=config.optimization.batch, seed=config.seed)
        return Objective(kernel, batches, collective)
    return Objective(kernel, BankReference(*real), collective)

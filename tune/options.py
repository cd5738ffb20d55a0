"""What the command lines of the search and of ablations share."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from mmd_ddm.cli.main import run_command
from mmd_ddm.cli.options import use_weights

if TYPE_CHECKING:
    from tune.study.settings import Machines


class Parser(argparse.ArgumentParser):
    """One that says what is wrong in one sentence, without its usage."""

    def __init__(self, prog: str, description: str | None, epilog: str) -> None:
        super().__init__(prog, None, description, epilog, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        """End with status 2."""
        self.exit(2, f"error: {message}; see --help\n")


def run(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    check: Callable[[argparse.Namespace], None],
    work: Callable[[argparse.Namespace, float], int],
) -> int:
    """Carry out a command line and return its exit status, after an error as `run_command` has it.

    Args:
        parser: Of the command; it has --weights.
        arguments: None: those of the process.
        check: Refuses options that contradict each other.
        work: Given the options and when the command began (time.monotonic); returns the exit status.
    """
    started = time.monotonic()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("mmd_ddm.progress").setLevel(logging.INFO)
    options = parser.parse_args(arguments)

    def checked() -> int:
        check(options)
        use_weights(options.weights)
        return work(options, started)

    return run_command(checked, "error", "--resume DIR goes on with a study")


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return int(text)


def add_data_options(group: argparse._ArgumentGroup) -> None:
    """Add --dataset, --data, --resolution, --name and --base-model."""
    group.add_argument("--dataset", metavar="NAME", help="data set; its base model is finetuned")
    group.add_argument("--data", metavar="PATH", help="images in place of the data set's source, or one's own data set")
    group.add_argument("--resolution", type=positive, metavar="R", help="of one's own images, in pixels")
    group.add_argument("--name", help="what one's own images are called in MLflow and its registry (default: as their "
                       "folder)")  # fmt: skip
    group.add_argument(
        "--base-model", metavar="MODEL", help="diffusers folder or hub id in place of the data set's own"
    )


def natural(text: str) -> int:
    """Read a whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 0")
    return int(text)


def add_machine_options(parser: argparse.ArgumentParser, runs: str) -> argparse._ArgumentGroup:
    """Add --workers-per-trial, --gpus-per-worker and --cpus-per-worker; `runs` is what a run is called."""
    machines = parser.add_argument_group("machines")
    machines.add_argument("--workers-per-trial", type=natural, metavar="W",
                          help=f"Ray Train workers of a {runs}; 0: the {runs} runs in Ray Tune's own process, which "
                          "starts faster (default: 1 with GPUs, else 0)")  # fmt: skip
    machines.add_argument("--gpus-per-worker", type=float, metavar="G", help="default: 1 where there are GPUs, else 0")
    machines.add_argument("--cpus-per-worker", type=positive, metavar="C", help="default: 4 with GPUs, else 1")
    return machines


def machines(options: argparse.Namespace) -> Machines:
    """Return what each run takes; UserError for a share of GPUs that workers can't use."""
    import torch

    from mmd_ddm.experiment.distributed.train import check_gpus
    from tune.study.settings import Machines

    there = torch.cuda.is_available()
    workers = options.workers_per_trial if options.workers_per_trial is not None else int(there)
    gpus = options.gpus_per_worker if options.gpus_per_worker is not None else float(there)
    check_gpus(max(1, workers), gpus)
    return Machines(workers, gpus, options.cpus_per_worker or (4 if gpus else 1))

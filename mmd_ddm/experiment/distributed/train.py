"""Finetuning with Ray Train: one worker function, whether it runs in several processes or in the one that is there.

A run's folder is its only memory: rank 0 keeps metrics, sample sheets, the latest checkpoint and the model there, so
that a run started again, here or on another machine that sees the folder, goes on where it was.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, TypeVar

import torch
import torch.distributed as dist

from mmd_ddm.discrepancy.collective import Collective, DistributedCollective, SingleCollective
from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.metrics import Metrics
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.distributed.agreement import agreed_checkpoint
from mmd_ddm.experiment.distributed.retry import run_retried
from mmd_ddm.experiment.distributed.shared_storage import await_folder
from mmd_ddm.experiment.interruption import asked_to_stop, leader_asked
from mmd_ddm.experiment.run import finetune
from mmd_ddm.finetuning.memory import keep_to_share

if TYPE_CHECKING:
    from ray.train import UserCallback
    from ray.train.torch import TorchTrainer

RAY_FOLDER = ".ray"  # in the run's folder: what Ray Train writes for itself

Report = Callable[[Mapping[str, float]], None]
T = TypeVar("T")


class _WorkerSettings(TypedDict):
    job: Job
    in_tune: bool


@dataclass(frozen=True)
class Job:
    """What a worker needs to know of a run."""

    config: Config
    folder: str  # absolute, the same for all workers
    threads: int = 1  # of the CPU, of each worker
    baseline: Callable[[], Metrics] | None = None  # on each worker, the base model's scores; None: measured anew
    asked: str | None = None  # the folder in which it may be asked to stop, see experiment.interruption; None: its own

    @property
    def where_asked(self) -> Path:
        """The folder in which it may be asked to stop."""
        return Path(self.asked or self.folder)


def run_job(job: Job, collective: Collective, report: Report, device: torch.device | None = None) -> None:
    """Run a job as one of the workers, from its folder's checkpoint where there is one; each reports each scoring.

    Where it is asked to stop it does so after an update, with a checkpoint.

    Raises:
        UserError: If the configuration doesn't fit.
        ResourceError: If the folder is not visible here.
        DivergenceError: If the loss stops being finite.
    """
    folder = Path(job.folder)
    await_folder(folder)
    torch.set_num_threads(job.threads)  # the order of sums, so the numbers, depends on it
    checkpoint = agreed_checkpoint(folder, collective, device)
    finetune(
        job.config, folder, report=lambda row, checkpoint: report(row), checkpoint=checkpoint, collective=collective,
        baseline=None if job.baseline is None else job.baseline(), device=device,
        should_stop=leader_asked(job.where_asked, collective),
    )  # fmt: skip


def fit(
    job: Job, *, workers: int, gpus_per_worker: float, callbacks: Sequence[Callable[[], UserCallback]] = ()
) -> None:
    """Run a job on `workers` Ray Train workers; those that die are replaced, an error is not retried.

    Args:
        job: What to run; `job.threads` CPUs are taken for each worker.
        workers: Number of worker processes; 0: Ray Train's local mode, in this process, which runs a trial of Ray Tune.
        gpus_per_worker: GPUs of each; 0: gloo on the CPU.
        callbacks: Make the Ray Train callbacks of an attempt.

    Raises:
        UserError, DivergenceError: As the worker raised it.
        ResourceError: If worker processes died more than `retry.RETRIES` times.
    """
    if workers == 0:
        # no controller and no worker is between: what is raised, SystemExit of a stopped trial too, comes out as it is
        _trainer(job, 0, 0, []).fit()
        return
    run_retried(
        lambda count: _trainer(job, count, gpus_per_worker, [make() for make in callbacks]),
        workers,
        {"CPU": job.threads, "GPU": gpus_per_worker},
        fewest=workers,  # another number rounds otherwise
        stopped=lambda: asked_to_stop(job.where_asked),
    )


def check_gpus(workers: int, gpus: float) -> None:
    """Refuse, as a UserError, more than one GPU a worker, or a part of one, which NCCL cannot connect with others."""
    if gpus not in (0, 1) and not (0 < gpus < 1 and workers == 1):
        raise UserError(
            f"gpus-per-worker is {gpus:g}; it must be 0 or 1, or between them for a single worker, which then shares "
            "its GPU with others"
        )


def _trainer(job: Job, workers: int, gpus: float, callbacks: list[UserCallback]) -> TorchTrainer:
    settings: _WorkerSettings = {"job": job, "in_tune": workers == 0}
    return make_trainer(_worker, settings, Path(job.folder), workers, gpus, job.threads, callbacks)


def make_trainer(
    work: Callable[[T], None], settings: T, folder: Path, workers: int, gpus: float, threads: int,
    callbacks: Sequence[UserCallback] = (),
) -> TorchTrainer:  # fmt: skip
    """Return a trainer of Ray Train that calls a function with its settings on each of some workers.

    Args:
        work: Importable by its name.
        settings: A dictionary.
        folder: Where Ray Train may write for itself.
        workers: Number of processes; 0: Ray Train's local mode.
        gpus: Of each.
        threads: CPUs of each.
        callbacks: Of Ray Train.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2._internal.callbacks import DatasetsCallback

    resources: dict[str, float] = {"CPU": threads, **({"GPU": gpus} if gpus else {})}
    trainer = TorchTrainer(
        work,
        train_loop_config=settings,
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=bool(gpus), resources_per_worker=resources),
        run_config=RunConfig(
            name=uuid.uuid4().hex,  # Ray Train's own memory is not used: a name it knew would bring it back
            storage_path=str(folder / RAY_FOLDER),
            callbacks=list(callbacks),
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=0),
        ),
    )
    default = trainer._create_default_callbacks
    # without the process that would feed Ray data sets, of which there are none: 4 CPU seconds a run
    trainer._create_default_callbacks = lambda: [each for each in default() if not isinstance(each, DatasetsCallback)]
    trainer._register_sigint_handler = lambda controller: None  # the program has its own
    return trainer


def _worker(settings: _WorkerSettings) -> None:
    import ray.train
    import ray.tune

    collective, device = own_place()
    # ray.train's own context and report refuse to work inside a trial of Ray Tune
    report = ray.tune.report if settings["in_tune"] else ray.train.report
    run_job(settings["job"], collective, report, device)


def own_place() -> tuple[Collective, torch.device]:
    """Return, in a worker of Ray Train, its place among the workers and its device, which becomes the current one."""
    import ray
    import ray.train.torch

    device: torch.device = ray.train.torch.get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
        if 0 < (share := ray.get_runtime_context().get_assigned_resources().get("GPU", 1)) < 1:
            keep_to_share(device, share)
    alone = not dist.is_initialized() or dist.get_world_size() == 1
    return (SingleCollective() if alone else DistributedCollective()), device

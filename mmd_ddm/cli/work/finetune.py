"""A finetuning run from its configuration to its model, in this process or under Ray Train."""

from __future__ import annotations

import argparse
import math
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from mmd_ddm.cli.recorded import recorded
from mmd_ddm.errors import DivergenceError, UserError
from mmd_ddm.evaluation.metrics import kids, read_metrics
from mmd_ddm.experiment.build import default_device
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.distributed.run import run_distributed
from mmd_ddm.experiment.distributed.train import RAY_FOLDER, check_gpus
from mmd_ddm.experiment.interruption import Interruption
from mmd_ddm.experiment.obtain import obtain
from mmd_ddm.experiment.origins import ORIGINS
from mmd_ddm.experiment.room import check_run
from mmd_ddm.experiment.run import finetune
from mmd_ddm.experiment.run_folder import BASELINE, CONFIG, METRICS, MODEL, latest_checkpoint
from mmd_ddm.experiment.tracking.description import describe_run
from mmd_ddm.experiment.tracking.tracker import tags
from mmd_ddm.files import absent, remove, remove_empty
from mmd_ddm.finetuning.names import FRECHET, MMD
from mmd_ddm.pretrained.record import RECORD
from mmd_ddm.progress import progress
from mmd_ddm.records import read_record

CPU = torch.device("cpu")


_LOSSES = {MMD: "MMD^2", FRECHET: "Frechet distance"}


def run(config: Config, folder: Path, options: argparse.Namespace) -> None:
    """Run in a folder, new or to be continued, and tell where the model is."""
    check_gpus(max(1, options.workers), options.gpus_per_worker)
    obtain(config)
    if not os.environ.get("RAY_ADDRESS"):  # other machines are Ray's to know
        check_run(config, default_device() if not options.workers or options.gpus_per_worker else CPU, options.workers)
    with recorded(
        options.mlflow, folder, config.images_name, "finetune --resume --mlflow sends them again", name=folder.name,
        description=describe_run(f"Run {folder.name}", config), params=config.flat(), tags=tags(config),
    ) as results:  # fmt: skip
        with _telling_how_to_resume(folder), _forgotten_unless_begun(folder):
            if options.workers:
                each = {"gpus_per_worker": options.gpus_per_worker, "cpus_per_worker": options.cpus_per_worker}
                run_distributed(config, folder, workers=options.workers, report=_show, **each)
            else:
                _in_process(config, folder, options.resume)
        results.artifacts.append((folder / MODEL, MODEL))
    record = read_record(folder / MODEL / RECORD)
    when = f"update {record.whole('update')} of {config.optimization.updates}"
    print(f"finetuned pipeline: {folder / MODEL} ({record.text('weights')} weights after {when})")


@contextmanager
def _telling_how_to_resume(folder: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"mmd-ddm finetune --resume --output {folder} goes on") from None


@contextmanager
def _forgotten_unless_begun(folder: Path) -> Iterator[None]:
    """Leave no run behind if it is refused, or diverges, before there is a checkpoint to go on from."""
    new, made = not (folder / CONFIG).exists(), absent(folder)
    try:
        yield
    except (UserError, DivergenceError):
        if new and latest_checkpoint(folder) is None:
            for name in (CONFIG, ORIGINS, BASELINE, METRICS, RAY_FOLDER):
                remove(folder / name)
            remove_empty(made)
        raise


def _in_process(config: Config, folder: Path, resume: bool) -> None:
    asked, loss = threading.Event(), _LOSSES[config.objective.loss]
    with (
        progress("finetuning", config.optimization.updates) as advance,
        Interruption().heard() as interruption,
        interruption.gently(asked.set),
    ):
        finetune(
            config,
            folder,
            report=lambda row, checkpoint: _show(row),
            on_update=lambda record: advance(f"update {record.update} {loss} {record.loss:.4f}"),
            should_stop=asked.is_set,
            checkpoint=latest_checkpoint(folder) if resume else None,
        )
    if asked.is_set():
        raise KeyboardInterrupt


def _show(row: Mapping[str, float]) -> None:
    found = kids(read_metrics(row)).values()
    scores = "  ".join(f"KID {kid.space} {kid.value:.5f} ± {kid.stderr or math.nan:.5f}" for kid in found)
    print(f"update {row['update']:>5.0f}  {scores}  relative to the base model {row['score']:.4f}", flush=True)

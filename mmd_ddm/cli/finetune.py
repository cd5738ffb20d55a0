"""Finetune a pretrained diffusion model to sample with a small budget.

Starts from a preset (best, paper or published), changed by the settings given, and leaves in the output folder the
finetuned diffusers pipeline (model/), of the state that scored best unless --keep last, the metrics of every update
(metrics.jsonl), sample sheets and a checkpoint.
"""

from __future__ import annotations

import argparse
import math
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from mmd_ddm.cli.options import add_weights_option
from mmd_ddm.cli.recorded import recorded
from mmd_ddm.data.catalogue import OWN
from mmd_ddm.errors import DivergenceError, UserError
from mmd_ddm.evaluation.metrics import kids, read_metrics
from mmd_ddm.experiment.build import check, default_device, obtain
from mmd_ddm.experiment.config import Config, setting_groups, settings
from mmd_ddm.experiment.distributed.run import run_distributed
from mmd_ddm.experiment.distributed.train import RAY_FOLDER, check_gpus
from mmd_ddm.experiment.interruption import Interruption
from mmd_ddm.experiment.machine.threads import use_threads
from mmd_ddm.experiment.origins import ORIGINS, Origins
from mmd_ddm.experiment.presets import DEPENDS, PRESETS, preset
from mmd_ddm.experiment.room import check_run
from mmd_ddm.experiment.run import finetune
from mmd_ddm.experiment.run_folder import BASELINE, CONFIG, METRICS, MODEL, latest_checkpoint
from mmd_ddm.experiment.tracking.description import describe_run
from mmd_ddm.experiment.tracking.model_uri import resolve
from mmd_ddm.experiment.tracking.tracker import tags
from mmd_ddm.files import absent, remove, remove_empty
from mmd_ddm.pretrained.export import RECORD
from mmd_ddm.progress import progress
from mmd_ddm.records import read_record

CPU = torch.device("cpu")


def add_options(parser: argparse.ArgumentParser) -> None:
    """All settings under their own names, and how to run."""
    add = parser.add_argument
    add("--preset", default="best", metavar="NAME", help=f"{', '.join(PRESETS)} [best]")
    add("--output", type=Path, default=Path("runs/finetuned"), help="folder of the run [%(default)s]")
    add("--resume", action="store_true", help="continue the run in the output folder, bit for bit")
    add("--workers", type=int, default=0, metavar="N", help="Ray Train workers; 0: this process [0]")
    add("--gpus-per-worker", type=float, default=0, metavar="G", help="GPUs of each worker [0]")
    add("--cpus-per-worker", type=int, default=1, metavar="C", help="CPU threads of each worker [1]")
    add("--mlflow", action="store_true", help="record in MLflow (MLFLOW_TRACKING_URI, or ./mlflow.db)")
    add_weights_option(parser)
    defaults = preset("best", "digits").flat()
    for name, group in setting_groups().items():
        section = parser.add_argument_group(f"{name} settings [default in preset best]")
        for item in group:
            shown = "none" if defaults[item.name] is None else defaults[item.name]
            text = f"{item.metadata['help']} [{shown}]".replace("%", "%%")
            metavar = item.name.rpartition("_")[2].upper()
            section.add_argument(f"--{item.name.replace('_', '-')}", metavar=metavar, help=text)


def execute(options: argparse.Namespace) -> None:
    """Run, in this process or under Ray Train."""
    if options.workers < 0:
        raise UserError(f"--workers is {options.workers}; it must be 0 or more")
    if options.cpus_per_worker < 1:
        raise UserError(f"--cpus-per-worker is {options.cpus_per_worker}; it must be 1 or more")
    if options.workers == 0 and options.gpus_per_worker:
        raise UserError("--gpus-per-worker is for --workers 1 or more; this process uses a GPU if there is one")
    check_gpus(max(1, options.workers), options.gpus_per_worker)
    folder: Path = options.output.resolve()
    config = _config(options, folder)
    check(config)
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


def _config(options: argparse.Namespace, folder: Path) -> Config:
    """The settings that are given, over those of the run that is resumed or of the preset."""
    given = {item.name: value for item in settings() if (value := getattr(options, item.name)) is not None}
    if given.get("base_model"):
        given["base_model"] = resolve(given["base_model"])
    held = folder / CONFIG
    if not options.resume:
        dataset = given.get("dataset", OWN if "data" in given else "digits")
        known = Config().replace(**{key: given[key] for key in DEPENDS if key in given})
        config = preset(options.preset, dataset, known.data, known.resolution, known.scoring.score_features)
        config = config.replace(**given)
        if held.exists():
            raise UserError(f"{folder} already holds a run; continue it with --resume, or name another --output")
        return config
    if not held.exists():
        raise UserError(f"{folder} holds no run to resume; leave --resume out")
    origins = Origins.read(folder)
    if options.weights is None:
        origins.use_weights()
    if options.threads is None and origins.threads is not None:
        use_threads(origins.threads)
    record = read_record(held, "start again with another --output")
    with record.reading():
        former = Config.from_flat(record.entries)
    return former.replace(**given)


def _in_process(config: Config, folder: Path, resume: bool) -> None:
    asked = threading.Event()
    with (
        progress("finetuning", config.optimization.updates) as advance,
        Interruption().heard() as interruption,
        interruption.gently(asked.set),
    ):
        finetune(
            config,
            folder,
            report=lambda row, checkpoint: _show(row),
            on_update=lambda record: advance(f"update {record.update} MMD^2 {record.mmd2:.4f}"),
            should_stop=asked.is_set,
            checkpoint=latest_checkpoint(folder) if resume else None,
        )
    if asked.is_set():
        raise KeyboardInterrupt


def _show(row: Mapping[str, float]) -> None:
    found = kids(read_metrics(row)).values()
    scores = "  ".join(f"KID {kid.space} {kid.value:.5f} ± {kid.stderr or math.nan:.5f}" for kid in found)
    print(f"update {row['update']:>5.0f}  {scores}  relative to the base model {row['score']:.4f}", flush=True)

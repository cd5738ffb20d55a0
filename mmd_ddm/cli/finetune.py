"""Finetune a pretrained diffusion model to sample with a small budget.

Starts from a preset (best, paper or published), changed by the settings given, and leaves in the output folder the
finetuned diffusers pipeline (model/), the metrics of every update (metrics.jsonl), sample sheets and a checkpoint.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mmd_ddm.cli.image_options import add_weights_option
from mmd_ddm.errors import DivergenceError, UserError

if TYPE_CHECKING:
    from mmd_ddm.experiment.config import Config


def add_options(parser: argparse.ArgumentParser) -> None:
    """All settings under their own names, and how to run."""
    from mmd_ddm.experiment.config import setting_groups
    from mmd_ddm.experiment.presets import PRESETS, preset

    parser.add_argument("--preset", default="best", metavar="NAME", help=f"{', '.join(PRESETS)} [best]")
    parser.add_argument("--output", type=Path, default=Path("runs/finetuned"), help="folder of the run [%(default)s]")
    parser.add_argument("--resume", action="store_true", help="continue the run in the output folder, bit for bit")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="Ray Train workers; 0: this process [0]")
    parser.add_argument("--gpus-per-worker", type=float, default=0, metavar="G", help="GPUs of each worker [0]")
    parser.add_argument("--cpus-per-worker", type=int, default=1, metavar="C", help="CPU threads of each worker [1]")
    parser.add_argument("--mlflow", action="store_true", help="record in MLflow (MLFLOW_TRACKING_URI, or ./mlflow.db)")
    add_weights_option(parser)
    defaults = preset("best", "digits").flat()
    for name, group in setting_groups().items():
        section = parser.add_argument_group(f"{name} settings [default in preset best]")
        for item in group:
            shown = "none" if defaults[item.name] is None else defaults[item.name]
            text = f"{item.metadata['help']} [{shown}]".replace("%", "%%")
            option = f"--{item.name.replace('_', '-')}"
            metavar = item.name.rpartition("_")[2].upper()
            section.add_argument(option, default=argparse.SUPPRESS, metavar=metavar, help=text)


def execute(options: argparse.Namespace) -> None:
    """Run, in this process or under Ray Train."""
    from mmd_ddm.data.catalogue import OWN
    from mmd_ddm.experiment.build import check, obtain
    from mmd_ddm.experiment.config import Config, settings
    from mmd_ddm.experiment.distributed.train import check_gpus
    from mmd_ddm.experiment.presets import DEPENDS, preset
    from mmd_ddm.experiment.tracking.model_uri import resolve

    given = {item.name: getattr(options, item.name) for item in settings() if hasattr(options, item.name)}
    if given.get("base_model"):
        given["base_model"] = resolve(given["base_model"])
    folder: Path = options.output.resolve()
    if options.workers < 0:
        raise UserError(f"--workers is {options.workers}; it must be 0 or more")
    if options.cpus_per_worker < 1:
        raise UserError(f"--cpus-per-worker is {options.cpus_per_worker}; it must be 1 or more")
    if options.workers == 0 and options.gpus_per_worker:
        raise UserError("--gpus-per-worker is for --workers 1 or more; this process uses a GPU if there is one")
    check_gpus(max(1, options.workers), options.gpus_per_worker)
    if options.resume:
        config = _held(folder).replace(**given)
    else:
        dataset = given.get("dataset", OWN if "data" in given else "digits")
        known = Config().replace(**{key: given[key] for key in DEPENDS if key in given})
        asked = (known.data, known.resolution, known.scoring.score_features)
        config = preset(options.preset, dataset, *asked).replace(**given)
        if (folder / "config.json").exists():
            raise UserError(f"{folder} already holds a run; continue it with --resume, or name another --output")
    check(config)
    obtain(config)
    with _recorded(config, folder, options.mlflow):
        if options.workers:
            _distributed(config, folder, options)
        else:
            _in_process(config, folder, options.resume)
    print(f"finetuned pipeline: {folder / 'model'}")


def _held(folder: Path) -> Config:
    from mmd_ddm.experiment.config import Config

    try:
        return Config.from_flat(json.loads((folder / "config.json").read_text()))
    except FileNotFoundError:
        raise UserError(f"{folder} holds no run to resume; leave --resume out") from None
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise UserError(f"{folder / 'config.json'} is damaged: {error}") from None


def _in_process(config: Config, folder: Path, resume: bool) -> None:
    from mmd_ddm.experiment.run import finetune
    from mmd_ddm.experiment.run_folder import latest_checkpoint
    from mmd_ddm.progress import progress

    checkpoint = latest_checkpoint(folder) if resume else None
    with progress("finetuning", config.optimization.updates) as advance, _interruptible() as interrupted:
        finetune(
            config,
            folder,
            report=lambda row, checkpoint: _show(row),
            on_update=lambda record: advance(f"update {record.update} MMD^2 {record.mmd2:.4f}"),
            should_stop=interrupted.is_set,
            checkpoint=checkpoint,
        )
    if interrupted.is_set():
        raise KeyboardInterrupt


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Let the first Ctrl-C end the run after its update, with a checkpoint; the second ends it at once."""
    asked = threading.Event()

    def ask(number: int, frame: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, former)

    former = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, former)


def _distributed(config: Config, folder: Path, options: argparse.Namespace) -> None:
    from mmd_ddm.experiment.distributed.train import run_distributed

    run_distributed(
        config,
        folder,
        workers=options.workers,
        gpus_per_worker=options.gpus_per_worker,
        cpus_per_worker=options.cpus_per_worker,
        report=_show,
    )


def _show(row: Mapping[str, float]) -> None:
    from mmd_ddm.evaluation.metrics import kids, read_metrics

    found = kids(read_metrics(row)).values()
    scores = "  ".join(f"KID {kid.space} {kid.value:.5f} ± {kid.stderr or math.nan:.5f}" for kid in found)
    print(f"update {row['update']:>5.0f}  {scores}  relative to the base model {row['score']:.4f}", flush=True)


@contextmanager
def _recorded(config: Config, folder: Path, wanted: bool) -> Iterator[None]:
    """Record the run in MLflow, whatever its end."""
    if not wanted:
        yield
        return
    from mmd_ddm.experiment.tracking.description import describe_run
    from mmd_ddm.experiment.tracking.store import ui_command
    from mmd_ddm.experiment.tracking.tracker import Tracker, model_artifact, tags

    tracker = Tracker(f"mmd-ddm {config.dataset}")
    tracker.check()
    folder.mkdir(parents=True, exist_ok=True)
    run = tracker.follow(
        folder,
        name=folder.name,
        description=describe_run(f"Run {folder.name}", config),
        params=config.flat(),
        tags=tags(config),
    )
    try:
        yield
        run.close("FINISHED", artifacts=model_artifact(folder))
    except (DivergenceError, UserError) as error:
        run.close("FAILED", {"reason": str(error)})
        raise
    except KeyboardInterrupt:
        run.close("KILLED")
        raise
    finally:
        for unsent in tracker.close():
            print(f"MLflow has not taken all records of {unsent}; finetune --resume --mlflow sends them again")
        print(f"compare runs with: {ui_command()}")

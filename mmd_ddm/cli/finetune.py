"""Finetune a pretrained diffusion model to sample with a small budget.

Starts from a preset (best, paper or published), changed by the settings given, and leaves in the output folder the
finetuned diffusers pipeline (model/), of the state that scored best unless --keep last, the metrics of every update
(metrics.jsonl), sample sheets and a checkpoint.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmd_ddm.cli.options import add_weights_option
from mmd_ddm.data.names import OWN
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.config import Config, setting_groups, settings
from mmd_ddm.experiment.inputs import check, suited
from mmd_ddm.experiment.machine.threads import use_threads
from mmd_ddm.experiment.origins import Origins
from mmd_ddm.experiment.presets import DEPENDS, PRESETS, preset
from mmd_ddm.experiment.run_folder import CONFIG
from mmd_ddm.experiment.tracking.model_uri import resolve
from mmd_ddm.records import read_record


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
    if options.workers and options.threads is not None:
        raise UserError("--threads is for this process; with --workers say how many each has: --cpus-per-worker")
    if options.workers == 0 and options.gpus_per_worker:
        raise UserError("--gpus-per-worker is for --workers 1 or more; this process uses a GPU if there is one")
    folder: Path = options.output.resolve()
    config = _config(options, folder)
    check(config)
    from mmd_ddm.cli.work.finetune import run  # PyTorch, for which what is refused above need not wait

    run(config, folder, options)


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
        config = config.replace(**{**suited(given.get("base_model")), **given})
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

"""The figures of a model, drawn and recorded."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from mmd_ddm.cli.recorded import recorded
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.build import Parts
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.inference import drawing
from mmd_ddm.experiment.inference.learned_levels import learned_levels
from mmd_ddm.experiment.run_folder import MODEL
from mmd_ddm.experiment.scoring.model_record import ModelRecord, find_base


def run(config: Config, folder: Path, record: ModelRecord, options: argparse.Namespace) -> None:
    """Sample the model in a folder beside its base model, draw, measure and tell."""
    if options.images < drawing.SHOWN:
        raise UserError(f"--images is {options.images}; it must be at least {drawing.SHOWN}, since as many are drawn")
    base, parts = find_base(record, options.base), Parts(config)
    budgets = {"steps": options.steps, "large": options.large}
    models = drawing.models_to_compare(parts, record, base=base, images=options.images, **budgets)
    options.output.mkdir(parents=True, exist_ok=True)
    named = Path(options.model)
    short = named.resolve().parent.name if named.name == MODEL and named.is_dir() else options.model  # a run's folder
    space, trained = config.scoring.score_features, record.trained_spaces
    known = "" if not trained else " (trained on)" if space in trained else " (held out)"
    about: dict[str, object] = {
        "model": str(folder), "base": base and str(base), "dataset": config.dataset, "steps": models[0].evaluator.nfe,
        "features": space, "images": options.images, "seed": options.seed,
    }  # fmt: skip
    with (
        tempfile.TemporaryDirectory() as spool,  # the output folder may hold another run's
        recorded(
            options.mlflow, Path(spool), config.images_name, "the files are complete, so try again later",
            name=f"figures of {short}", description="", params=about, tags={"kind": "figures"},
        ) as results,
    ):  # fmt: skip
        drawn = drawing.draw(parts, models, options.output, f"{space} features{known}", about)
        files = [*drawn.files, *_levels(folder, record, base, options.output)]
        results.artifacts.extend((file, "figures") for file in files)
        results.metrics.extend(drawn.metrics)
    print("\n".join(["", *map(str, files)]))


def _levels(folder: Path, record: ModelRecord, base: Path | None, output: Path) -> list[Path]:
    """Draw where a learned sampler has moved its noise levels to, if it has one."""
    if (levels := learned_levels(folder, record, base)) is None:
        return []
    from mmd_ddm.evaluation.figures.noise_levels import save_noise_levels  # matplotlib takes a second

    return [save_noise_levels(levels, output / "noise_levels.png")]

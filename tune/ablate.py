"""Compare settings over a grid, as the paper's tables do: python tune/ablate.py --table VII --dataset digits.

Each cell finetunes the same pretrained model as a trial of tune/search.py does, to its end, with each of some seeds.
All are scored with fresh noise beside the base model, and differences within the noise of seeds are marked as ties.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # in place of this folder, whose names are too common

from mmd_ddm.cli.options import add_weights_option
from mmd_ddm.errors import UserError
from mmd_ddm.files import shared_home
from tune.ablation.paper_tables import TABLES
from tune.options import Parser, add_data_options, add_machine_options, positive, run

_OF_A_NEW_GRID = ("table", "grid", "dataset", "data", "resolution", "name", "base_model", "preset", "steps", "updates",
                  "seeds", "final_images", "score_features", "output", "workers_per_trial", "gpus_per_worker",
                  "cpus_per_worker")  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    tables = "\n".join(
        f"  {table.name:<5} {table.title}; budgets {', '.join(map(str, table.steps))}" for table in TABLES.values()
    )
    epilog = f"""the paper's tables (on digits, V to VIII take up to ten minutes on two CPU cores):
{tables}

examples:
  python tune/ablate.py --table VII --dataset digits
  python tune/ablate.py --table VI --dataset cifar10 --seeds 3 --workers-per-trial 1
  python tune/ablate.py --grid kernel=cubic,rbf bandwidth=dim,median --dataset digits --steps 5,10
  python tune/ablate.py --table VIII --dataset digits --output ablations/digits
  python tune/ablate.py --resume ablations/digits

An --output that holds an ablation already gets one more grid; what was run for another is not run again. Runs are
recorded in ./mlflow.db, or in the store that MLFLOW_TRACKING_URI names. A Ray cluster is used where RAY_ADDRESS names
one; --output must then lie on storage that all of its machines share."""
    own = Parser("python tune/ablate.py", __doc__, epilog)
    grid = own.add_argument_group("the grid")
    grid.add_argument("--table", choices=TABLES, metavar="I..IX", help="a table of the paper, on any data set")
    grid.add_argument("--grid", nargs="+", metavar="KEY=A,B", help="instead: all combinations of some settings' values")
    add_data_options(grid)
    grid.add_argument("--preset", metavar="NAME",
                      help="settings that the grid doesn't name: paper, published or best (default: best on digits, "
                      "else paper)")  # fmt: skip
    grid.add_argument("--steps", type=_budgets, metavar="S,..", help="budgets (default: the table's; on digits up to "
                      "10 for VI, VII and VIII)")  # fmt: skip
    grid.add_argument("--updates", type=positive, metavar="U",
                      help="optimizer updates of a run (default: the preset's)")  # fmt: skip
    grid.add_argument("--seeds", type=positive, metavar="N", help="runs of each cell (default: 3 on digits, else 1)")
    grid.add_argument("--final-images", type=positive, metavar="N",
                      help="generated images of each final score (default: 50000 on the paper's data sets, else "
                      "5000)")  # fmt: skip
    grid.add_argument("--score-features", metavar="NAME+...",
                      help="feature spaces to score in; the first stands for the paper's Inception, the last for its "
                      "CLIP (default: the data set's)")  # fmt: skip
    add_weights_option(grid)
    folder = own.add_argument_group("where it is kept")
    folder.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="default: ablations/<dataset>-<grid>-<time>, in $MMD_DDM_SHARED where that is set",
    )
    folder.add_argument("--resume", type=Path, metavar="DIR", help="run what is missing or has failed in DIR")
    machines = add_machine_options(own, "run")
    machines.add_argument("--concurrent", type=positive, metavar="K", help="runs at once (default: as many as fit)")
    return own


def _budgets(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(positive(each.strip()) for each in text.split(",")))


def main(arguments: list[str] | None = None) -> int:
    """Run an ablation; return the exit status: 0 if a cell was completed, 1 if none, 2 for wrong input."""
    return run(parser(), arguments, _check_options, _ablate)


def _ablate(options: argparse.Namespace, started: float) -> int:
    from mmd_ddm.experiment.origins import Origins
    from tune.ablation.grid import read_grids
    from tune.study.folder import Study, check_folder
    from tune.study.settings import AblationSettings

    if options.resume is not None:
        folder = options.resume
        if options.weights is None:
            Origins.read(folder).use_weights()
        settings, grids = Study.open(folder, AblationSettings).settings, read_grids(folder)
        if options.concurrent is not None:
            settings = replace(settings, concurrent=options.concurrent)
        if not grids:
            raise UserError(f"{folder} has no grid yet; name one with --table or --grid, and --output {folder}")
    else:
        from tune.commands.ablation_settings import plan

        settings, grid = plan(options)
        grids, folder = [grid], options.output or _default_folder(grid.config.images_name, grid.name)
        if (folder / "study.json").is_file():
            Study.open(folder, AblationSettings)
        else:
            check_folder(folder)
    from tune.commands.obtain import obtain_all  # PyTorch, for which what is refused above need not wait

    configs = [grid.config.replace(score_features=grid.networks) for grid in grids]
    origins = obtain_all(configs, Origins.read(folder), f"the ablation in {folder}")
    from tune.commands.run_ablation import run_ablation  # seconds of imports

    return run_ablation(settings, folder, grids, origins, started=started)


def _default_folder(dataset: str, name: str) -> Path:
    return (shared_home() or Path()) / "ablations" / f"{dataset}-{name}-{datetime.now():%Y%m%d-%H%M%S}"


def _check_options(options: argparse.Namespace) -> None:
    given = [name for name in _OF_A_NEW_GRID if getattr(options, name) is not None]
    if options.resume is not None:
        if given:
            flag = given[0].replace("_", "-")
            raise UserError(f"--{flag} can't be changed when an ablation is resumed; leave it out, or use --output")
        return
    if (options.table is None) == (options.grid is None):
        raise UserError("name one of --table I..IX, --grid KEY=A,B ... and --resume DIR")
    if options.dataset is None and options.data is None:
        hint = "" if options.table is None else f"; the paper's table is on {TABLES[options.table].dataset}"
        raise UserError(f"--dataset is missing{hint}; digits is the one that comes with the package")


if __name__ == "__main__":
    sys.exit(main())

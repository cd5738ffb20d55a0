"""Search for the best way to finetune a diffusion model with the MMD: python tune/search.py --dataset digits.

Each trial finetunes the same pretrained model for the same number of updates with another learning rate, kernel,
feature space and timestep schedule, or whatever --space names. The first trial is always the paper's setting, the
second the preset best; the others are proposed by Optuna's TPE. Trials are ranked by their KID on few images from
the same noise; those that can't be told from the best are scored again on many images from fresh noise.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # in place of this folder, whose names are too common

from mmd_ddm.cli.options import add_weights_option
from mmd_ddm.errors import UserError
from mmd_ddm.files import shared_home
from tune.options import Parser, add_data_options, add_machine_options, positive, run

if TYPE_CHECKING:
    from mmd_ddm.experiment.config import Config

_OF_A_NEW_STUDY = ("dataset", "data", "resolution", "name", "base_model", "steps", "updates", "score_images",
                   "final_images", "score_features", "scorings", "seed", "space", "output", "workers_per_trial",
                   "gpus_per_worker", "cpus_per_worker")  # fmt: skip

_EPILOG = """examples:
  python tune/search.py --dataset digits
  python tune/search.py --dataset digits --steps 10 --trials 20 --space learning_rate=1e-5..1e-3
  python tune/search.py --dataset digits --space kernel=cubic,rbf:median,cubic+rbf:median --space space.yaml
  python tune/search.py --dataset digits --space steps=3,5,10 --trials 24
  python tune/search.py --dataset cifar10 --space features=inception,clip,inception+0.5*clip
  python tune/search.py --dataset digits --space sampler=ddim,ddpm --space eta=0..1 \\
      --space variance=fixed_small,fixed_large
  python tune/search.py --resume studies/digits-5steps-20270101-120000

--space can search any setting of a run: those of mmd-ddm finetune --help but for data set, base model, seed, updates,
other_steps and the group scoring. A comma separates choices; + and * belong to one. A setting is drawn only where it
means something: kernel and reference with loss mmd, bandwidth for kernels that leave one open, eta with sampler ddim,
variance with sampler ddpm, preprocessing with features that the published code prepares in its own way.

Where --space names several values of steps, there are two objectives, the score and the number of network
evaluations: trials are stopped early only by others of their own budget, and the report shows the Pareto front. The
scores of all budgets are relative to the base model's at the budget of --steps.

The folder of a study can be watched while it runs, and afterwards:
  pip install optuna-dashboard && optuna-dashboard sqlite:///DIR/optuna.db

Runs are recorded in ./mlflow.db, or in the store that MLFLOW_TRACKING_URI names. A Ray cluster is used where
RAY_ADDRESS names one; --output must then lie on storage that all of its machines share (clusters/README.md).

Exit status: 0: the winner beats the base model in feature spaces outside of its loss; 1: no trial was completed;
2: wrong input; 3: trials were completed, but none beats the base model; 4: whether the winner does is not known, since
it was scored in no feature space outside of its loss, or its final scores are missing; 130: interrupted."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    own = Parser("python tune/search.py", __doc__, _EPILOG)
    study = own.add_argument_group("the study")
    add_data_options(study)
    study.add_argument("--trials", type=positive, metavar="N", help="trials, the paper's setting included (default: 8)")
    study.add_argument("--steps", type=positive, metavar="S", help="network evaluations per image (default: 5)")
    study.add_argument("--updates", type=positive, metavar="U",
                       help="optimizer updates of a trial (default: preset best)")  # fmt: skip
    study.add_argument("--space", action="append", metavar="SPACE",
                       help="what is searched: key=a,b,c or key=low..high or a YAML or JSON file; "
                       "repeatable")  # fmt: skip
    study.add_argument("--scorings", type=positive, metavar="E", help="KID and FID are measured E times a trial")
    study.add_argument("--score-features", metavar="NAME+...",
                       help="feature spaces to score in, and to choose the loss's from "
                       "(default: the data set's)")  # fmt: skip
    study.add_argument("--score-images", type=positive, metavar="N", help="generated images each time")
    study.add_argument("--final-images", type=positive, metavar="N",
                       help="generated images of each final score (default: 5000)")  # fmt: skip
    add_weights_option(study)
    study.add_argument("--offline-check", action="store_true",
                       help="only tell what would be used and needed, and what is missing; "
                       "downloads nothing")  # fmt: skip
    study.add_argument("--seed", type=int, metavar="N", help="seed of the search and of the trials (default: 0)")
    folder = own.add_argument_group("where it is kept")
    folder.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="default: studies/<dataset>-<steps>steps-<time>, in $MMD_DDM_SHARED where that is set",
    )
    folder.add_argument("--resume", type=Path, metavar="DIR", help="continue the study in DIR; --trials may be raised")
    machines = add_machine_options(own, "trial")
    machines.add_argument("--concurrent", type=positive, metavar="K",
                          help="trials at once (default: as many as fit, up to a third of all: later ones learn from "
                          "earlier ones)")  # fmt: skip
    return own


def main(arguments: list[str] | None = None) -> int:
    """Run a study; return the exit status: 2 for wrong input, 130 for Ctrl-C, else as of `run_search`."""
    return run(parser(), arguments, _check_options, _search)


def _search(options: argparse.Namespace, started: float) -> int:
    from mmd_ddm.experiment.origins import Origins
    from tune.study.folder import Study, check_folder
    from tune.study.settings import SearchSettings

    former, study, folder = Origins(), None, options.output
    if options.resume is not None:
        former = Origins.read(options.resume)
        if options.weights is None:
            former.use_weights()
        study = Study.open(options.resume, SearchSettings)
        settings = replace(study.settings, **_asked(options, "trials", "concurrent"))
    else:
        from tune.commands.search_settings import plan

        if folder is not None and not options.offline_check:
            check_folder(folder)
        settings = plan(options)
        if options.offline_check:
            from tune.commands.offline_check import offline_check

            print(offline_check(settings))
            return 0
        if folder is None:
            folder = _default_folder(settings.config)
            check_folder(folder)
    from mmd_ddm.experiment.room import check_generated  # PyTorch, for which what is refused above need not wait
    from tune.commands.obtain import obtain_all
    from tune.commands.shared_study import begin_search, continue_search

    check_generated(settings.final_images, "--final-images")
    check_generated(settings.config.scoring.score_images, "--score-images")
    origins = obtain_all([settings.widest], former, f"the study in {options.resume}")
    from tune.commands.run_search import run_search  # seconds of imports

    if study is not None:
        open_study = partial(continue_search, study, settings, origins)
    else:
        open_study = partial(begin_search, folder, settings, origins, named=options.output is not None)
    return run_search(settings, open_study, started=started)


def _asked(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    """The options of these names that are given."""
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def _default_folder(config: Config) -> Path:
    return (
        (shared_home() or Path())
        / "studies"
        / f"{config.images_name}-{config.sampler.steps}steps-{datetime.now():%Y%m%d-%H%M%S}"
    )


def _check_options(options: argparse.Namespace) -> None:
    given = [name for name in _OF_A_NEW_STUDY if getattr(options, name) is not None]
    if options.resume is None and options.dataset is None and options.data is None:
        raise UserError("--dataset is missing; name a data set, or a study to continue with --resume DIR")
    if options.resume is not None and options.offline_check:
        hint = "leave out --resume, or leave it out to go on with the study"
        raise UserError(f"--offline-check is for a new study; {hint}")
    if options.final_images is not None and options.final_images < 4:
        raise UserError(f"--final-images is {options.final_images}; an unbiased KID needs at least 4")
    if options.resume is not None and given:
        flag = given[0].replace("_", "-")
        raise UserError(f"--{flag} can't be changed when a study is resumed; leave it out, or begin a new study")


if __name__ == "__main__":
    sys.exit(main())

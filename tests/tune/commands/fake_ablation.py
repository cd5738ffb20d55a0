"""A whole ablation whose runs do not finetune: everything but the mathematics, in seconds.

Run as a script with the arguments of tune/ablate.py. A run's KID is a hundred times its learning rate; one above 0.5
diverges unless there is a file `mended` in the working directory of the command, one of 0.25 dies as if it was killed.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

PAUSE = float(os.environ.get("FAKE_PAUSE", "0"))
MENDED = str(Path.cwd() / "mended")


def run_trial(settings):
    import tune.trials.trial

    tune.trials.trial._fit = fit
    tune.trials.trial.run_trial(settings)


def fit(study, number):
    import ray.tune

    from mmd_ddm.errors import DivergenceError

    config, folder = study.trial(number).config.flat(), study.trial_folder(number)
    with (folder / "starts").open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(pause)
    if config["learning_rate"] > 0.5 and not Path(mended).exists():
        raise DivergenceError("update 1 has loss nan: the run diverged")
    if config["learning_rate"] == 0.25:
        os.kill(os.getpid(), signal.SIGKILL)
    metrics = {"update": config["updates"], "score": 1.0, "kid_a": 1.0, "kid_a_stderr": 0.01}
    (folder / "metrics.jsonl").write_text(json.dumps({"time": time.time(), **metrics}) + "\n")
    (folder / "model").mkdir(exist_ok=True)
    (folder / "model" / "config.json").write_text(json.dumps(config))
    ray.tune.report(metrics)


def score_cell(task, config, images, measures, threads):
    """Write scores: the base model's KID is 1, a finetuned one's grows with its learning rate and a little its seed."""
    from mmd_ddm.files import write_json

    kid = 1.0
    if task.exported is not None:
        kid = 100 * json.loads((task.exported / "config.json").read_text())["learning_rate"]
    kid += 0.001 * task.seed
    scores = {}
    for space in config.scoring.spaces:
        scores |= {f"kid_{space}": kid, f"kid_{space}_stderr": 0.01, f"fid_{space}_{images}": kid}
    task.file.parent.mkdir(parents=True, exist_ok=True)
    with (task.file.parent / "scorings").open("a") as log:
        log.write(f"{images}\n")
    write_json(task.file, scores)


pause, mended = PAUSE, MENDED  # globals of __main__, so they travel with the function into Ray's processes


if __name__ == "__main__":
    import tune.ablate
    import tune.ablation.cell_scores
    import tune.trials.tuner

    tune.trials.tuner.run_trial = run_trial
    tune.ablation.cell_scores.score_cell = score_cell
    sys.exit(tune.ablate.main())

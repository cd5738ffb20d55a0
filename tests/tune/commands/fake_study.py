"""A whole study whose trials do not finetune: everything but the mathematics, in seconds.

Run as a script with the arguments of tune/search.py. A trial's score falls from 1 towards 10^-2, the faster the closer
its learning rate is to 1e-4; a rate above 0.5 diverges, one above 0.2 dies as if it was killed, until there is a
file `mended` in the study's folder.
"""

import json
import math
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

GAIN = float(os.environ.get("FAKE_GAIN", "3"))
PAUSE = float(os.environ.get("FAKE_PAUSE", "0.01"))  # seconds an update


def run_trial(settings):
    import tune.trials.trial

    tune.trials.trial._fit = fit
    tune.trials.trial.run_trial(settings)


def fit(study, number):
    import ray.tune

    from mmd_ddm.errors import DivergenceError
    from mmd_ddm.experiment.interruption import asked_to_stop
    from mmd_ddm.experiment.run_folder import latest_checkpoint

    trial, folder = study.trial(number).config, study.trial_folder(number)
    config = trial.flat()
    checkpoint = latest_checkpoint(folder)
    start = int((checkpoint / "update").read_text()) if checkpoint else 0
    with (folder / "starts").open("a") as file:
        file.write(f"{start} {os.getpid()}\n")
    baseline, _ = study.baseline(trial)
    baseline.parent.mkdir(exist_ok=True)
    baseline.write_text(json.dumps({"kid_a": 1.0, "kid_a_stderr": 0.01}))

    def log(row):
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"time": time.time(), **row}) + "\n")

    rate = abs(math.log10(config["learning_rate"]) + 4)
    every = config["updates"] // config["scorings"]
    for update in range(start + 1, config["updates"] + 1):
        time.sleep(study_pause)
        if asked_to_stop(study.folder):
            keep(folder, update - 1)
            return
        if config["learning_rate"] > 0.5:
            raise DivergenceError("update 1 has loss nan: the run diverged")
        if config["learning_rate"] > 0.2 and not (study.folder / "mended").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        log({"update": update, "mmd2": 1 / update})
        if update % every == 0:
            score = 10 ** (-2 * update / config["updates"] / (1 + rate))
            metrics = {"update": update, "score": score, "kid_a": score, "kid_a_stderr": 0.01, "fid_a_100": score}
            metrics |= {"kept_update": update, "kept_score": score}
            log(metrics)
            keep(folder, update)
            if update == config["updates"]:
                (folder / "model").mkdir()
                (folder / "model" / "model_index.json").write_text(json.dumps({"number": number}))
                record = {"sampler": "ddim", "steps": config["steps"], "eta": 0.0, "variance": "model"}
                (folder / "model" / "mmd_ddm.json").write_text(json.dumps(record))
            ray.tune.report(metrics)
    (folder / "ended").touch()


def keep(folder, update):
    (folder / "checkpoint").mkdir(exist_ok=True)
    (folder / "checkpoint" / "update").write_text(str(update))


study_pause = PAUSE  # a global of __main__, so it travels with the function into Ray's processes


def score_finalists(study, say):
    """Final scores without the models: FAKE_GAIN times (three) as good as the base model at the same budget."""
    from mmd_ddm.evaluation.metrics import read_metrics
    from mmd_ddm.experiment.config_groups import SamplerConfig
    from mmd_ddm.experiment.scoring.scored_model import BASE, FINETUNED, Scored, ScoredModel, write_scored
    from tune.scoring.finalists import find_finalists

    budgets = {trial.number: trial.steps for trial in find_finalists(study)}
    kids = [(ScoredModel(FINETUNED, SamplerConfig(steps=s), n), 4.5 / s / GAIN) for n, s in budgets.items()]
    kids += [(ScoredModel(BASE, SamplerConfig(steps=s)), 4.5 / s) for s in {5, 20, *budgets.values()}]
    numbers = [(model, {"kid_a": kid, "kid_a_stderr": 0.01, "fid_a_100": kid}) for model, kid in kids]
    rows = [Scored(model, read_metrics(each), 100, model.sampler.steps) for model, each in numbers]
    write_scored(study.folder / "scores.json", rows)


if __name__ == "__main__":
    import tune.commands.run_search
    import tune.search
    import tune.trials.tuner

    tune.trials.tuner.run_trial = run_trial
    tune.commands.run_search.score_finalists = score_finalists
    sys.exit(tune.search.main())

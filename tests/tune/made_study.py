"""Study folders written by hand, as finished trials leave them."""

import json

from mmd_ddm.experiment.presets import preset
from mmd_ddm.experiment.run import score
from tune.report.write import write_report
from tune.scoring.final_scores import BASE, FINETUNED, Row, Subject, write_scores
from tune.space.parse import read_space
from tune.space.space import default_space, settle
from tune.study.folder import COMPLETED, RUNNING, Settings, Study

BEST, PAPER = (preset(name, "digits").replace(updates=20, evaluations=2) for name in ("best", "paper"))


def kids(value, error):
    return {f"kid_{s}{e}": v for s in ("classifier", "contrastive") for e, v in (("", value), ("_stderr", error))}


BASELINE = kids(0.1, 0.001)


class Folder:
    """A study whose trials have one KID in both spaces, so that their score is ten times that."""

    def __init__(self, folder, *space):
        text = read_space(default_space(BEST), space, BEST).as_text()
        first, config = dict(PAPER.flat()), dict(BEST.flat())
        self.study = Study.create(folder / "study", Settings(config, first, text, 9, 0, 0.0, 1, 0, 500))
        (self.study.folder / "baseline.json").write_text(json.dumps(BASELINE))

    def trial(self, number, *values, outcome=COMPLETED, error=0.001, reason="", **point):
        point = {"kernel": "cubic", "bandwidth": None, "learning_rate": 1e-4, **point}
        study, config = self.study, settle(PAPER if number == 0 else BEST, point)
        study.begin_trial(number, config, point)
        folder = study.trial_folder(number)
        rows = []
        for place, value in enumerate(values, 1):
            found = kids(value, error)
            rows.append({"update": 10 * place, "score": score(found, BASELINE), **found, "fid_classifier_2000": 1.0})
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if outcome == COMPLETED:
            (folder / "model").mkdir()
            record = {"sampler": "ddim", "steps": config.sampler.steps, "eta": 0.0, "number": number}
            (folder / "model" / "mmd_ddm.json").write_text(json.dumps(record))
        if outcome != RUNNING:
            study.end_trial(number, outcome, reason, 60.0)

    def final(self, base, **finetuned):
        """Final scores: KID of the base model by budget, and of trials."""
        found = [(Subject(BASE, steps), kid) for steps, kid in base.items()]
        for name, kid in finetuned.items():
            number = int(name[1:])
            found.append((Subject(FINETUNED, self.study.trial_config(number)["steps"], trial=number), kid))
        fids = {"fid_classifier_500": 1.0, "fid_contrastive_500": 2.0}
        write_scores(self.study, [Row(what, 500, {**kids(kid, 0.001), **fids}) for what, kid in found])

    def report(self):
        said = write_report(self.study)
        return said, *((self.study.folder / f"report.{kind}").read_text() for kind in ("md", "html"))

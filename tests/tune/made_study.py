"""Study folders written by hand, as finished trials leave them."""

import json

from mmd_ddm.evaluation.metrics import flat, read_metrics
from mmd_ddm.experiment.config_groups import SamplerConfig
from mmd_ddm.experiment.presets import preset
from mmd_ddm.experiment.run_folder import METRICS, MODEL
from mmd_ddm.experiment.scoring.scored_model import BASE, FINETUNED, Scored, ScoredModel, relative_score, write_scored
from mmd_ddm.files import write_json
from mmd_ddm.pretrained.record import RECORD
from tune.report.write import write_report
from tune.scoring.final_scores import SCORES
from tune.space.parse import read_space
from tune.space.space import default_space, settle
from tune.study.folder import Outcome, Study
from tune.study.settings import Machines, SearchSettings

BEST, PAPER = (preset(name, "digits").replace(updates=20, scorings=2) for name in ("best", "paper"))
IMAGES = 500


def kids(value, error):
    """A KID in both spaces, or one for each, as files have it."""
    values = value if isinstance(value, dict) else dict.fromkeys(("classifier", "contrastive"), value)
    return {f"kid_{s}{e}": v for s, kid in values.items() for e, v in (("", kid), ("_stderr", error))}


BASELINE = read_metrics(kids(0.1, 0.001))


class Folder:
    """A study whose trials have one KID in both spaces, so that their score is ten times that."""

    def __init__(self, folder, *space):
        searched = read_space(default_space(BEST), space, BEST)
        settings = SearchSettings(BEST, PAPER, searched, 9, 0, IMAGES, Machines(0, 0.0, 1))
        self.study = Study.create(folder / "study", settings)
        file, _ = self.study.baseline(PAPER)
        file.parent.mkdir()
        write_json(file, flat(BASELINE))

    def trial(self, number, *values, outcome=Outcome.COMPLETED, error=0.001, reason="", **point):
        point = {"kernel": "cubic", "bandwidth": None, "learning_rate": 1e-4, **point}
        study, config = self.study, settle(PAPER if number == 0 else BEST, point)
        study.begin_trial(number, config, point)
        folder = study.trial_folder(number)
        rows = []
        for place, value in enumerate(values, 1):
            found = {**kids(value, error), "fid_classifier_2000": 1.0}
            rows.append({"update": 10 * place, "score": relative_score(read_metrics(found), BASELINE), **found})
        (folder / METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows))
        if outcome is Outcome.COMPLETED:
            (folder / MODEL).mkdir()
            how = {name: getattr(config.sampler, name) for name in ("sampler", "steps", "eta", "variance")}
            write_json(folder / MODEL / RECORD, {**how, "number": number, "weights": "ema"})
        if outcome is not Outcome.RUNNING:
            study.end_trial(number, outcome, reason, 60.0)

    def final(self, base, **finetuned):
        """Final scores: KID of the base model by budget, and of trials."""
        found = [(ScoredModel(BASE, SamplerConfig(steps=steps)), kid) for steps, kid in base.items()]
        for name, kid in finetuned.items():
            number = int(name[1:])
            found.append((ScoredModel(FINETUNED, self.study.trial(number).config.sampler, number), kid))
        fids = {f"fid_classifier_{IMAGES}": 1.0, f"fid_contrastive_{IMAGES}": 2.0}
        write_scored(
            self.study.folder / SCORES,
            [
                Scored(model, read_metrics({**kids(kid, 0.001), **fids}), IMAGES, model.sampler.steps)
                for model, kid in found
            ],
        )

    def report(self):
        """Write the reports; return the verdicts, the Markdown and the page."""
        said = write_report(self.study)
        return said, *((self.study.folder / f"report.{kind}").read_text() for kind in ("md", "html"))

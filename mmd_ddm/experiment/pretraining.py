"""Pretraining of a base model, scored on its way, and what the scores say of it at its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmd_ddm.data.catalogue import dataset_spec
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.metrics import Metric, flat, kids, read_metrics
from mmd_ddm.evaluation.verdict import Change, Score, change
from mmd_ddm.experiment.build import TRIAL_NOISE, Parts
from mmd_ddm.experiment.config_groups import SamplerConfig
from mmd_ddm.experiment.default_spaces import with_spaces_at_hand
from mmd_ddm.experiment.presets import preset
from mmd_ddm.experiment.scoring.score import make_sampler
from mmd_ddm.files import write_json
from mmd_ddm.pretrained.pretrain import unfinished_folder
from mmd_ddm.pretrained.recipes import SCORE_IMAGES
from mmd_ddm.records import read_record

BUDGETS = (5, 50)  # what finetuning starts from, and what it aims at
SCORES = "scores.json"


@dataclass(frozen=True)
class PretrainingScores:
    """KID of a model in training, by update, budget and feature space.

    Args:
        parts: real images and feature spaces.
        images: generated images each time, at least 4.
        file: where the scores are kept, for a training that is interrupted.
        show: given the update and its scores, in words.
        schedule: of the timesteps.
    """

    parts: Parts
    images: int
    file: Path
    show: Callable[[str], None]
    schedule: str = "linear"
    found: dict[int, dict[int, dict[str, Metric]]] = field(default_factory=dict)

    def look(self, denoiser: Denoiser, update: int) -> None:
        """Score the model with each budget and write the scores down."""
        self.found[update] = {}
        for steps in BUDGETS:
            sampler = make_sampler(SamplerConfig(steps=steps, schedule=self.schedule), denoiser.schedule)
            metrics = self.parts.evaluator_of(denoiser, sampler, self.images, TRIAL_NOISE).score(("kid",))
            self.found[update][steps] = kids(metrics)
            told = ", ".join(f"{space} {_number(metric)}" for space, metric in kids(metrics).items())
            self.show(f"update {update}: KID with {steps} evaluations: {told}")
        write_json(self.file, self.record())

    def conclude(self, folder: Path) -> None:
        """Write the scores into the folder of the result and say what they mean."""
        write_json(folder / SCORES, self.record())
        for sentence in advice(self.found):
            self.show(sentence)

    def record(self) -> dict[str, dict[str, dict[str, float]]]:
        """All scores as JSON has them: by update, budget and metric."""
        return {
            str(update): {str(steps): flat(each.values()) for steps, each in by_budget.items()}
            for update, by_budget in self.found.items()
        }

    def recall(self) -> None:
        """Take up the scores of a training that was interrupted."""
        if not self.file.is_file():
            return
        record = read_record(self.file, "delete it; the training goes on without the scores that it had")
        with record.reading():
            for update in record:
                by_budget = record.record(update)
                found = {int(steps): kids(read_metrics(by_budget.record(steps).numbers())) for steps in by_budget}
                self.found[int(update)] = found


def open_scores(
    dataset: str,
    data: str | None,
    resolution: int | None,
    folder: Path,
    *,
    features: str | None = None,
    images: int = SCORE_IMAGES,
    seed: int = 0,
    schedule: str = "linear",
    show: Callable[[str], None] = print,
) -> PretrainingScores:
    """Prepare to score a pretraining, or go on with the scores of one that was interrupted.

    Args:
        dataset: as in the configuration, like data and resolution.
        data: path of the real images.
        resolution: in pixels.
        folder: of the pretraining's result.
        features: feature spaces joined by +; None: those of `with_spaces_at_hand`.
        images: generated images each time, at least 4.
        seed: of the noise.
        schedule: of the timesteps.
        show: given what there is to say.

    Raises:
        UserError: There is no such feature space, or a setting is out of its range.
    """
    if images < 4:
        raise UserError(f"score_images is {images}; it must be at least 4")
    known = with_spaces_at_hand(dataset_spec(dataset, data, resolution))
    names = features or "+".join(known.feature_spaces)
    config = preset("paper", dataset, data, resolution, names).replace(seed=seed)
    scores = PretrainingScores(Parts(config), images, unfinished_folder(folder) / SCORES, show, schedule)
    scores.recall()
    return scores


def advice(found: dict[int, dict[int, dict[str, Metric]]]) -> Sequence[str]:
    """Say what the scores mean: whether finetuning has something to win, and whether more training would help."""
    if not found:
        return []
    last = found[max(found)]
    few, many = (_scores(last[steps]) for steps in BUDGETS)
    gaining = [space for space in few if change(few[space], many[space]) is Change.BETTER]
    words = [_gap(gaining, list(few))]
    if len(found) > 1:
        before = sorted(found)[-2]
        former = _scores(found[before][BUDGETS[-1]])
        falling = [space for space in many if change(former[space], many[space]) is Change.BETTER]
        words.append(_progress(falling, before, max(found)))
    return words


def _gap(gaining: Sequence[str], spaces: Sequence[str]) -> str:
    few, many = BUDGETS
    if len(gaining) == len(spaces):
        return f"{many} evaluations are better than {few} in every space: there is something for finetuning to win."
    blind = ", ".join(space for space in spaces if space not in gaining)
    return (
        f"In {blind}, {many} evaluations score no better than {few}: either the model is not trained enough, "
        "or the space does not see what they improve; finetuning in it is not to be trusted."
    )


def _progress(falling: Sequence[str], before: int, last: int) -> str:
    many = BUDGETS[-1]
    if falling:
        return (
            f"From update {before} to {last} KID with {many} evaluations still fell in {', '.join(falling)}: "
            "more updates would help."
        )
    return (
        f"From update {before} to {last} KID with {many} evaluations did not fall by more than its error: "
        "more updates of this network would hardly help; wider --channels may."
    )


def _scores(metrics: dict[str, Metric]) -> dict[str, Score]:
    return {space: Score(metric.value, metric.stderr) for space, metric in metrics.items()}


def _number(metric: Metric) -> str:
    return f"{metric.value:.4f}" + (f" ± {metric.stderr:.4f}" if metric.stderr is not None else "")

"""One run, from its configuration to a finetuned pipeline: what every front end calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.discrepancy.collective import Collective, SingleCollective
from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.figures.sheets import save_samples
from mmd_ddm.evaluation.metrics import Metrics, flat
from mmd_ddm.experiment.build import Parts, default_device
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.kept_state import KeptState
from mmd_ddm.experiment.origins import Origins
from mmd_ddm.experiment.run_folder import BASELINE, CHECKPOINT, CONFIG, MODEL, Row, Scoring, append_row, truncate_rows
from mmd_ddm.experiment.scoring.scored_model import relative_score
from mmd_ddm.experiment.update import UpdateGradient
from mmd_ddm.files import write_json
from mmd_ddm.finetuning import loop
from mmd_ddm.finetuning.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from mmd_ddm.finetuning.ema import EMA
from mmd_ddm.finetuning.loop import UpdateRecord
from mmd_ddm.finetuning.names import BOTH, LOSS_METRICS
from mmd_ddm.training import milestones

Report = Callable[[Row, Path | None], None]
SHEET_IMAGES = 64


@dataclass(frozen=True)
class Outcome:
    """How a run ended: how the state was scored that is kept, and its pipeline; None if it was stopped before."""

    scoring: Scoring | None = None
    model: Path | None = None


def finetune(
    config: Config,
    folder: str | Path,
    *,
    report: Report = lambda row, checkpoint: None,
    on_update: Callable[[UpdateRecord], None] = lambda record: None,
    should_stop: Callable[[], bool] = lambda: False,
    checkpoint: Path | None = None,
    collective: Collective | None = None,
    baseline: Metrics | None = None,
    device: torch.device | None = None,
) -> Outcome:
    """Finetune a model, score it on the way, and export it as a diffusers pipeline.

    Args:
        config: complete.
        folder: of the run, made if missing; on storage that all workers see.
        report: given, each time the run is scored, the numbers by name (`update`, `score`, `kid_*`, `fid_*`, the loss
            as `mmd2` or `frechet`, and of the state that is kept so far `kept_update` and `kept_score`) and, on rank 0,
            the checkpoint folder; called on every worker, after everything is on disk.
        on_update: called after each update, on every worker.
        should_stop: asked before each update.
        checkpoint: continue from this one.
        collective: the workers; none for one process.
        baseline: the base model's scores, to which `score` is relative; none: measured at the run's own budget.
        device: none: CUDA if there is one.

    Raises:
        UserError: wrong configuration or checkpoint.
        DivergenceError: the loss or its gradient stopped being finite.
    """
    collective, c = collective or SingleCollective(), config.optimization
    for name, value in (("batch", c.batch), ("score_images", config.scoring.score_images)):
        if value < collective.world:
            raise UserError(f"{name} is {value}; it must be at least the number of workers, {collective.world}")
    parts = Parts(config, device or default_device(), collective)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if baseline is None:
        baseline = _score(parts)  # before a checkpoint is loaded: these are the base model's weights
    origins = Origins.of(parts)
    gradient, state = UpdateGradient(parts), _state(parts, checkpoint, origins)
    state.route = state.route or gradient.choose_route()
    run = _Run(parts, folder, report, baseline, KeptState(parts, folder, baseline, state.update, origins), origins)
    run.begin(state)

    def compute(update: int) -> torch.Tensor:
        assert state.route is not None
        loss, state.route = gradient.compute(state.route, update)
        return loss

    def record(update: UpdateRecord) -> None:
        run.record(update, gradient.budget(update.update - 1) if len(config.budgets) > 1 else None)
        on_update(update)

    loop.finetune(
        state, compute, updates=c.updates, clip=c.clip, collective=collective,
        milestones=milestones(c.updates, config.scoring.scorings), on_update=record, on_milestone=run.milestone,
        should_stop=should_stop,
    )  # fmt: skip
    if state.update == c.updates and run.outcome.model is None:
        run.milestone(state)  # resumed from the end: tell the result once more
    if state.update < c.updates and run.leader:
        run.keep(state)  # stopped on the way: nothing that was computed is lost
    return run.outcome


def _state(parts: Parts, checkpoint: Path | None, origins: Origins) -> TrainingState:
    c = parts.config.optimization
    ema = EMA(parts.denoiser, c.ema) if c.ema > 0 else None
    state = TrainingState(parts.denoiser, _optimizer(parts), ema)
    if checkpoint is not None:
        load_checkpoint(state, checkpoint, dict(parts.config.trajectory()), origins.fingerprints)
        if state.update > c.updates:
            raise UserError(f"updates is {c.updates}, but the run has done {state.update} already; name more")
    return state


def _optimizer(parts: Parts) -> torch.optim.Adam:
    c, denoiser = parts.config.optimization, parts.denoiser
    # one kernel for all weights; on the CPU it would round otherwise than the default, which is one by one
    fused = True if parts.device.type == "cuda" else None
    if denoiser.learned is None:
        return torch.optim.Adam(denoiser.parameters(), lr=c.learning_rate, fused=fused)
    groups: list[dict[str, object]] = [{"params": denoiser.learned.parameters(), "lr": c.sampler_learning_rate}]
    if c.learn == BOTH:
        groups.insert(0, {"params": denoiser.network.parameters(), "lr": c.learning_rate})
    return torch.optim.Adam(groups, fused=fused)


@contextmanager
def _sampled(denoiser: Denoiser, average: EMA | None = None) -> Iterator[None]:
    """Use a network as it is sampled: without dropout, and with its averaged weights if they are given."""
    training = denoiser.training
    denoiser.eval()
    with nullcontext() if average is None else average.applied_to(denoiser):
        yield
    denoiser.train(training)


def _score(parts: Parts, average: EMA | None = None) -> Metrics:
    with _sampled(parts.denoiser, average):
        return parts.score()


class _Run:
    """The scores of a run and its folder, which rank 0 writes."""

    def __init__(
        self, parts: Parts, folder: Path, report: Report, baseline: Metrics, kept: KeptState, origins: Origins
    ) -> None:
        self.parts, self.folder, self.report, self.baseline, self.kept = parts, folder, report, baseline, kept
        self.config, self.leader, self.origins = parts.config, parts.collective.rank == 0, origins
        self.loss = LOSS_METRICS[parts.config.objective.loss]
        self.outcome = Outcome()
        self.last: UpdateRecord | None = None

    def begin(self, state: TrainingState) -> None:
        if self.leader:
            self.origins.write(self.folder)
            write_json(self.folder / CONFIG, self.config.flat())
            write_json(self.folder / BASELINE, flat(self.baseline))
            truncate_rows(self.folder, state.update)

    def record(self, update: UpdateRecord, nfe: int | None) -> None:
        self.last = update
        if self.leader:
            numbers = {"update": update.update, self.loss: update.loss, "grad_norm": update.grad_norm}
            append_row(self.folder, numbers | ({"nfe": nfe} if nfe else {}))

    def keep(self, state: TrainingState) -> Path:
        settings: dict[str, object] = dict(self.config.trajectory())
        return save_checkpoint(state, self.folder / CHECKPOINT, settings, self.origins.fingerprints)

    def milestone(self, state: TrainingState) -> None:
        ended, last = state.update == self.config.optimization.updates, self.last
        scored = {"raw": _score(self.parts)} if state.ema is None or ended else {}
        if state.ema is not None:
            scored["ema"] = _score(self.parts, state.ema)
        scorings = {
            weights: Scoring(state.update, relative_score(found, self.baseline), found)
            for weights, found in scored.items()
        }
        better = min(scorings, key=lambda weights: scorings[weights].worth)
        scoring = scorings[better]
        kept, export = self.kept.offer(scoring, ended)
        row = {
            "update": state.update,
            "images_seen": state.update * self.config.optimization.batch,
            **flat(scoring.metrics),
            "score": scoring.score,
            "kept_update": kept.update,
            "kept_score": kept.score,
            **({f"score_{weights}": each.score for weights, each in scorings.items()} if ended else {}),
            **({self.loss: last.loss, "grad_norm": last.grad_norm} if last else {}),
        }
        checkpoint = self._save(state, better, row, export) if self.leader else None
        self.parts.collective.sum_(torch.zeros(1, device=self.parts.device))  # nobody reports before it is written
        self.outcome = Outcome(kept, self.folder / MODEL if ended else None)
        self.report(row, checkpoint)

    def _save(self, state: TrainingState, weights: str, row: Row, export: bool) -> Path:
        evaluator = self.parts.evaluator
        with _sampled(state.denoiser, state.ema if weights == "ema" else None):
            save_samples(evaluator, self.folder / f"samples_{state.update:06d}.png", SHEET_IMAGES)
            if export:
                self.kept.export(weights, row)
        append_row(self.folder, row)
        return self.keep(state)

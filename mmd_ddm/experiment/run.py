"""One run, from its configuration to a finetuned pipeline: what every front end calls.

Files in the run's folder, all written by rank 0: `config.json`, `baseline.json` (the base model's scores),
`metrics.jsonl` (a JSON object a line), `samples_<update>.png`, `checkpoint/` and at the end `model/`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmd_ddm.diffusion.noise import NoiseSource
from mmd_ddm.discrepancy.collective import Collective, SingleCollective, share
from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.figures.sheets import save_sheet
from mmd_ddm.evaluation.metrics import Metrics, flat
from mmd_ddm.experiment.build import Parts, default_device
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.run_folder import BASELINE, CHECKPOINT, CONFIG, MODEL, Row, Scoring, append_row, truncate_rows
from mmd_ddm.experiment.scoring.scored_model import relative_score
from mmd_ddm.files import write_json
from mmd_ddm.finetuning import loop
from mmd_ddm.finetuning.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from mmd_ddm.finetuning.ema import EMA
from mmd_ddm.finetuning.gradient import GRADIENTS
from mmd_ddm.finetuning.loop import UpdateRecord
from mmd_ddm.finetuning.memory import Route, choose_route
from mmd_ddm.pretrained.export import save_pipeline

Report = Callable[[Row, Path | None], None]
SHEET_IMAGES = 64


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Args:
        scoring: the last one; none if the run was stopped before its first.
        model: folder of the exported pipeline; none if the run was stopped before its end.
    """

    scoring: Scoring | None
    model: Path | None


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
        report: given, each time the run is scored, the numbers by name (`update`, `score`, `kid_*`, `fid_*`, `mmd2`)
            and, on rank 0, the checkpoint folder; called on every worker, after everything is on disk.
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
    collective, folder = collective or SingleCollective(), Path(folder)
    _check_shares(config, collective)
    parts = Parts(config, device or default_device(), collective)
    folder.mkdir(parents=True, exist_ok=True)
    return _Run(parts, folder, report, baseline, checkpoint).execute(on_update, should_stop)


def _check_shares(config: Config, collective: Collective) -> None:
    for name, value in (
        ("batch", config.optimization.batch),
        ("score_images", config.scoring.score_images),
    ):
        if value < collective.world:
            raise UserError(f"{name} is {value}; it must be at least the number of workers, {collective.world}")


def milestones(updates: int, scorings: int) -> Collection[int]:
    """Updates after which a run is scored: evenly spread, the last at the end."""
    return {max(1, updates * (i + 1) // scorings) for i in range(scorings)}


class _Run:
    """The moving parts of one run; lives as long as `finetune`."""

    def __init__(
        self,
        parts: Parts,
        folder: Path,
        report: Report,
        baseline: Metrics | None,
        checkpoint: Path | None,
    ) -> None:
        self.parts, self.folder, self.report = parts, folder, report
        self.config, self.leader = parts.config, parts.collective.rank == 0
        c = self.config.optimization
        self.noise = NoiseSource(self.config.seed, "training")
        self.mine = share(c.batch, parts.collective)
        # before a checkpoint is loaded: these are the base model's weights
        self.baseline = self._score() if baseline is None else baseline
        ema = EMA(parts.denoiser, c.ema) if c.ema > 0 else None
        optimizer = torch.optim.Adam(parts.denoiser.parameters(), lr=c.learning_rate)
        self.state = TrainingState(parts.denoiser, optimizer, ema)
        if checkpoint is not None:
            load_checkpoint(self.state, checkpoint, dict(self.config.trajectory()))
            if self.state.update > c.updates:
                raise UserError(f"updates is {c.updates}, but the run has done {self.state.update} already; name more")
        if self.state.route is None:
            self.state.route = self._choose_route()
        self.route = self.state.route
        self.final: Path | None = None
        self.scoring: Scoring | None = None
        self.last: UpdateRecord | None = None
        if self.leader:
            write_json(folder / CONFIG, self.config.flat())
            write_json(folder / BASELINE, flat(self.baseline))
            truncate_rows(folder, self.state.update)

    def execute(self, on_update: Callable[[UpdateRecord], None], should_stop: Callable[[], bool]) -> Outcome:
        def record(update: UpdateRecord) -> None:
            self._record(update)
            on_update(update)

        c = self.config.optimization
        loop.finetune(
            self.state,
            self._gradient,
            updates=c.updates,
            clip=c.clip,
            collective=self.parts.collective,
            milestones=milestones(c.updates, self.config.scoring.scorings),
            on_update=record,
            on_milestone=self._milestone,
            should_stop=should_stop,
        )
        if self.state.update == c.updates and self.scoring is None:
            self._milestone(self.state)  # resumed from the end: tell the result once more
        if self.state.update < c.updates and self.leader:
            self._keep(self.state)  # stopped on the way: nothing that was computed is lost
        return Outcome(self.scoring, self.final)

    def _gradient(self, update: int) -> Tensor:
        parts, compute = self.parts, GRADIENTS[self.route.gradient]
        return compute(parts.pipeline, parts.objective, self._noises(update), update)

    def _noises(self, update: int) -> list[Tensor]:
        size = self.route.micro_batch
        pieces = [self.mine[start : start + size] for start in range(0, len(self.mine), size)]
        shape, draws = self.parts.denoiser.image_shape, self.parts.chain.draws
        return [self.noise.draw(update, piece, draws, shape).to(self.parts.device) for piece in pieces]

    def _choose_route(self) -> Route:
        parts, c = self.parts, self.config.optimization
        parts.objective  # noqa: B018 (the real features take their memory first)
        noise = self.noise.draw(0, range(2), parts.chain.draws, parts.denoiser.image_shape).to(parts.device)
        largest, workers = -(-c.batch // parts.collective.world), parts.collective.world
        mine = choose_route(parts.pipeline, noise, largest, workers, gradient=c.gradient, micro_batch=c.micro_batch)
        # the workers may sit on different machines, and must agree
        stored = torch.tensor([[float(mine.gradient == "stored"), mine.micro_batch]], device=parts.device)
        everyone = parts.collective.gather_rows(stored)
        return Route("stored" if bool(everyone[:, 0].all()) else "replay", int(everyone[:, 1].min()))

    def _score(self) -> Metrics:
        with self._without_dropout():
            return self.parts.evaluator.score()

    @contextmanager
    def _without_dropout(self) -> Iterator[None]:
        denoiser = self.parts.denoiser
        training = denoiser.training
        denoiser.eval()
        yield
        denoiser.train(training)

    def _record(self, record: UpdateRecord) -> None:
        self.last = record
        if self.leader:
            append_row(self.folder, record._asdict())

    def _milestone(self, state: TrainingState) -> None:
        ended = state.update == self.config.optimization.updates
        scored = {"raw": self._score()} if state.ema is None or ended else {}
        if state.ema is not None:
            with state.ema.applied_to(state.denoiser):
                scored["ema"] = self._score()
        relative = {weights: relative_score(found, self.baseline) for weights, found in scored.items()}
        better = min(relative, key=relative.__getitem__)
        row = {
            "update": state.update,
            "images_seen": state.update * self.config.optimization.batch,
            **flat(scored[better]),
            "score": relative[better],
            **({f"score_{weights}": value for weights, value in relative.items()} if ended else {}),
            **({"mmd2": self.last.mmd2, "grad_norm": self.last.grad_norm} if self.last else {}),
        }
        self.scoring = Scoring(state.update, relative[better], scored[better])
        kept = self._save(state, better, row, ended) if self.leader else None
        self.parts.collective.sum_(torch.zeros(1, device=self.parts.device))  # nobody reports before it is written
        self.final = self.folder / MODEL if ended else None
        self.report(row, kept)

    def _save(self, state: TrainingState, weights: str, row: Row, ended: bool) -> Path:
        average = state.ema if weights == "ema" else None
        with nullcontext() if average is None else average.applied_to(state.denoiser):
            self._sheet(state.update)
            if ended:
                self._export(weights, row)
        append_row(self.folder, row)
        return self._keep(state)

    def _keep(self, state: TrainingState) -> Path:
        return save_checkpoint(state, self.folder / CHECKPOINT, dict(self.config.trajectory()))

    def _sheet(self, update: int) -> None:
        evaluator = self.parts.evaluator
        with self._without_dropout():
            images = evaluator.sample(range(min(SHEET_IMAGES, evaluator.images)))
        save_sheet(images, self.folder / f"samples_{update:06d}.png")

    def _export(self, weights: str, row: Row) -> None:
        c = self.config.sampler
        record = {
            "weights": weights,
            "metrics": row,
            "baseline": flat(self.baseline),
            "config": self.config.flat(),
        }
        save_pipeline(
            self.parts.denoiser, self.parts.scheduler, self.folder / MODEL,
            sampler=c.sampler, timesteps=self.parts.chain.timesteps, eta=c.eta, variance=c.variance, record=record,
        )  # fmt: skip

"""The state of a run that is exported: of those that were scored so far the best one, or the last."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.metrics import Metrics, flat
from mmd_ddm.experiment.build import Parts
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.origins import Origins
from mmd_ddm.experiment.run_folder import BEST, MODEL, Row, Scoring, kept_scoring
from mmd_ddm.files import former_of, replacing
from mmd_ddm.pretrained.configs import class_names, scheduler_config
from mmd_ddm.pretrained.export import save_pipeline
from mmd_ddm.pretrained.record import BUDGET_FOLDER, RECORD
from mmd_ddm.records import read_record

_COMPARED = ("score_features", "score_images", "keep")  # states that were scored otherwise can't be compared


class KeptState:
    """A run's model/ and how it was scored.

    The pipeline is written as soon as a state is scored that is to be kept, and its record says of which update it
    is. So nothing but the folder is needed to go on: it is found there again.
    """

    def __init__(self, parts: Parts, folder: Path, baseline: Metrics, update: int, origins: Origins) -> None:
        """Find what the run kept until some update; what a killed run kept after it is computed again."""
        self._parts, self._folder, self._baseline, self._origins = parts, folder / MODEL, baseline, origins
        if not self._folder.exists():
            with suppress(OSError):  # there is none, or another worker was faster
                former_of(self._folder).rename(self._folder)  # the run was killed while the model was replaced
        former = _read(self._folder / RECORD, parts.config)
        self.scoring = former if former is not None and former.update <= update else None

    def offer(self, scoring: Scoring, ended: bool) -> tuple[Scoring, bool]:
        """Take a new scoring into account, the same on all workers.

        Args:
            scoring: Of the state as it is now.
            ended: Whether it is the run's last.

        Returns:
            The scoring of the state that is kept, and whether that is the new one and to be exported now.
        """
        curve, keep = [scoring] if self.scoring is None else [self.scoring, scoring], self._parts.config.scoring.keep
        self.scoring = kept_scoring(curve, keep)
        return self.scoring, self.scoring is scoring and (ended or keep == BEST)

    def export(self, weights: str, row: Row) -> None:
        """Write the network as it is now, with `raw` or `ema` weights, and the numbers that it was scored with.

        The folder is a pipeline for the largest budget, and holds one for each of the others.
        """
        *others, largest = self._parts.config.budgets
        if not others:
            return self._save(self._folder, largest, weights, row)
        with replacing(self._folder) as half:
            self._save(half, largest, weights, row)
            for steps in others:
                self._save(half / BUDGET_FOLDER.format(steps), steps, weights, row)

    def _save(self, folder: Path, steps: int, weights: str, row: Row) -> None:
        parts, c = self._parts, self._parts.config.sampler
        baseline, config = flat(self._baseline), parts.config.at_budget(steps).flat()
        save_pipeline(
            parts.denoiser, scheduler_config(parts.folder), folder,
            sampler=c.sampler, chain=parts.chains[steps], eta=c.eta, variance=c.variance,
            record={"update": int(row["update"]), "weights": weights, "metrics": row, "baseline": baseline,
                    "config": config, **self._origins.as_record()},
            id2label=class_names(parts.folder),
        )  # fmt: skip


def _read(record: Path, config: Config) -> Scoring | None:
    """How the exported state was scored, if it was scored as the configuration says."""
    if not record.is_file():
        return None
    try:
        values = read_record(record)
        if any(values.mapping("config").get(name) != config.flat()[name] for name in _COMPARED):
            return None
        return Scoring.of(values.record("metrics").numbers())
    except (UserError, KeyError):  # of an earlier version, or damaged: written anew
        return None

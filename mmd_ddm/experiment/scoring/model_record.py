"""What finetuning leaves beside a model: how it is sampled, and from what it was made."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmd_ddm import records
from mmd_ddm.data.names import OWN
from mmd_ddm.diffusion.names import LEARNED
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.config_groups import SamplerConfig
from mmd_ddm.experiment.inputs import base_folder
from mmd_ddm.experiment.origins import Origins
from mmd_ddm.experiment.tracking.model_uri import resolve
from mmd_ddm.pretrained.locate import locate
from mmd_ddm.pretrained.record import RECORD, sampling_settings

DEFAULT_STEPS = 50  # of a model that was not finetuned for a budget


@dataclass(frozen=True)
class ModelRecord:
    """What is known of a model in a folder."""

    sampler: SamplerConfig  # by itself; the exported process has the finetuned timesteps within itself
    finetuned: bool  # by this project
    config: Config | None  # of the run that made it, if that is known
    origins: Origins = field(default_factory=Origins)  # what that run was made of

    @property
    def budgets(self) -> tuple[int, ...]:
        """What it was finetuned for, the smallest first; in its folder is a pipeline for each (`budget_folder`)."""
        others = () if self.config is None else self.config.budgets[:-1]
        return *others, self.sampler.steps

    @property
    def base_sampler(self) -> SamplerConfig:
        """How its base model is sampled alike: that one has to be told the timesteps."""
        run = self.sampler if self.config is None else self.config.sampler
        name = run.sampler if self.sampler.sampler == LEARNED else self.sampler.sampler
        return replace(self.sampler, sampler=name, steps=run.steps, schedule=run.schedule)

    def images(
        self, dataset: str | None, data: str | None, resolution: int | None
    ) -> tuple[str, str | None, int | None]:
        """Return the data set that is asked for, or else the one that the model was finetuned on, or digits."""
        if (dataset, data, resolution) == (None, None, None) and self.config is not None:
            return self.config.dataset, self.config.data, self.config.resolution
        return dataset or (OWN if data else "digits"), data, resolution

    def scored_spaces(self, images: tuple[str, str | None, int | None]) -> str | None:
        """Return the feature spaces that its run named for its scores; None: it named none, or had other images."""
        known = self.config is not None and images == self.images(None, None, None)
        return self.config.scoring.score_features if known and self.config is not None else None

    @property
    def trained_spaces(self) -> tuple[str, ...]:
        """Feature spaces of the loss; none where it is not known."""
        return () if self.config is None else tuple(self.config.objective.spaces)


def read_record(folder: Path) -> ModelRecord:
    """Read the record of a model, or refuse a damaged one; without one it is sampled as the paper does, in 50 steps."""
    sampler = SamplerConfig(**{"steps": DEFAULT_STEPS, **sampling_settings(folder)})
    if not (folder / RECORD).is_file():
        return ModelRecord(sampler, False, None)
    record = records.read_record(folder / RECORD, "export the model again")
    with record.reading():
        config = Config.from_flat(record.mapping("config")) if "config" in record else None
    return ModelRecord(sampler, True, config, Origins.from_record(record))


def model_folder(source: str) -> Path:
    """The folder of a model that is a folder, hub id, checkpoint file, MLflow address or the name of a shipped one."""
    return locate(resolve(source))


def find_base(record: ModelRecord, asked: str | None) -> Path | None:
    """The folder of the base model to compare with: the one that is asked for (or `none`), or else the record's.

    One that is asked for has to be there; that the record's is not there any more is said on standard error.
    """
    if asked is not None:
        return None if asked == "none" else model_folder(asked)
    if record.config is None:
        return None
    try:
        return base_folder(record.config)
    except UserError as error:
        print(f"without the base model, which --base can name: {error}", file=sys.stderr)
        return None

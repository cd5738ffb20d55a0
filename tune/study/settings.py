"""What a study was asked for, in memory and in study.json: a search or an ablation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from mmd_ddm.errors import UserError
from mmd_ddm.experiment.config import Config
from mmd_ddm.files import write_json
from mmd_ddm.records import Record, read_record
from tune.space.dimension import Choice
from tune.space.parse import parse_space
from tune.space.space import Space

FINAL_IMAGES = 5000
FILE = "study.json"


@dataclass(frozen=True)
class Machines:
    """What each trial takes: Ray Train workers (0: it runs in Tune's own process), and GPUs and CPUs of each."""

    workers: int
    gpus: float
    cpus: int

    @property
    def processes(self) -> int:
        """Processes of a trial that calculate."""
        return max(1, self.workers)

    @property
    def process(self) -> dict[str, float]:
        """CPUs and GPUs of each of them, as Ray counts them."""
        return {"CPU": self.cpus, "GPU": self.gpus}


@dataclass(frozen=True)
class SearchSettings:
    """What a search was asked for; fixed when it begins, apart from the number of trials, and of those at once."""

    config: Config  # around which is searched, the preset `best`; trial 1
    first: Config  # the preset `paper`; trial 0
    space: Space
    trials: int
    seed: int
    final_images: int  # generated for each final score
    machines: Machines
    concurrent: int | None = None  # trials at once; None: as many as fit, up to a third of all
    kind: ClassVar[str] = "search"

    @property
    def updates(self) -> int:
        """Updates of a whole trial."""
        return self.config.optimization.updates

    @property
    def widest(self) -> Config:
        """The configuration with all feature spaces that a trial may train in, and its largest budget and batch."""
        choices = {name: each for name, each in self.space.dimensions.items() if name in ("features", "steps", "batch")}
        values = {
            name: each.values if isinstance(each, Choice) else (each.low, each.high) for name, each in choices.items()
        }
        searched = [self.config.replace(features=each) for each in values.pop("features", ())]
        names = dict.fromkeys(name for each in (self.config, *searched) for name in each.objective.spaces)
        most = {name: max(float(str(each)) for each in found) for name, found in values.items()}
        return self.config.replace(features="+".join(names), **most)

    def baseline(self, config: Config) -> Config:
        """Return how the base model is scored to which a trial's scores are relative: as the first trial samples it.

        Trials may differ in their sampler and timesteps; relative to its own base model each, their scores could not
        be compared.
        """
        return self.first


@dataclass(frozen=True)
class AblationSettings:
    """What the grids of an ablation share."""

    config: Config  # the data set and its base model
    machines: Machines
    concurrent: int | None = None  # runs at once; None: as many as fit
    kind: ClassVar[str] = "ablation"

    def baseline(self, config: Config) -> Config:
        """Return how the base model is scored to which a run's scores are relative: sampled like the run's own."""
        return config


Settings = SearchSettings | AblationSettings


def write_settings(folder: Path, settings: Settings) -> None:
    """Write study.json."""
    values: dict[str, object] = {**vars(settings), "kind": settings.kind, "config": settings.config.flat()}
    if isinstance(settings, SearchSettings):
        values |= {"first": settings.first.flat(), "space": settings.space.as_text()}
    write_json(folder / FILE, {**values, "machines": asdict(settings.machines)})


def read_settings(folder: Path) -> Settings:
    """Read study.json; UserError if there is none, or it is damaged."""
    file = folder / FILE
    if not file.exists():
        raise UserError(f"there is no study in {folder}; --resume wants the folder of one that was begun")
    return _read(read_record(file, "the study can't be continued"))


def _read(record: Record) -> Settings:
    of = record.record("machines")
    machines = Machines(of.whole("workers"), of.number("gpus", 0), of.whole("cpus", 1))
    kind, written = record.one_of("kind", SearchSettings.kind, AblationSettings.kind), record.mapping("config")
    with record.reading():
        config = Config.from_flat(written)
    at_once = record.whole("concurrent", 1) if "concurrent" in record else None
    if kind == AblationSettings.kind:
        return AblationSettings(config, machines, at_once)
    with record.reading():
        first, space = Config.from_flat(record.mapping("first")), parse_space(record.mapping("space"), config)
    trials, seed, images = record.whole("trials", 1), record.whole("seed"), record.whole("final_images", 2)
    return SearchSettings(config, first, space, trials, seed, images, machines, at_once)

"""A study's folder: what it was asked for, its trials, and how each of them ended.

study.json           what was asked for
origins.json         fingerprints of images, base model and feature weights, and where the latter were
optuna.db            the trials of a search as Optuna knows them
grids/               what an ablation compares, a file a grid
bases/               scores of the base model, a file for each way of sampling it
trials/007/          one run's folder (see mmd_ddm.experiment.run_folder), with outcome.json and failure.txt
scores.json          final scores of the finalists, the base model and real images; samples/: some images of each
leaderboard.csv, report.md, report.html, *.png, best/; of an ablation <grid>.md, .html, .csv, .png
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Generic, TypeVar

from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.metrics import kids
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.inputs import scored_spaces
from mmd_ddm.experiment.run_folder import Scoring, kept_scoring, read_scorings
from mmd_ddm.experiment.setting import Scalar
from mmd_ddm.files import digest_of, locked, nearest_existing, write_json
from mmd_ddm.records import read_record
from tune.study.settings import FILE, AblationSettings, SearchSettings, read_settings, write_settings

BASES, LOCK = "bases", ".lock"
_TRIAL, _OUTCOME = "trial.json", "outcome.json"
_ADVICE = "put it back as it was, or begin a new study"
S = TypeVar("S", SearchSettings, AblationSettings)


class Outcome(StrEnum):
    """How a trial stands."""

    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"
    RUNNING = "running"


@dataclass(frozen=True)
class Trial:
    """A trial as its folder has it."""

    number: int  # of a search 0 is the preset `paper`
    folder: Path
    config: Config
    point: Mapping[str, Scalar]  # its searched or compared settings; None for one that means nothing beside the others
    outcome: Outcome
    reason: str  # why it failed
    seconds: float
    curve: list[Scoring]  # by update

    @property
    def kept(self) -> Scoring | None:
        """How the state was scored that is kept, and exported at the end; None before the first scoring."""
        return kept_scoring(self.curve, self.config.scoring.keep) if self.curve else None

    @property
    def score(self) -> float:
        """The score of the state that is kept; infinite without one."""
        return self.kept.worth if self.kept is not None else math.inf

    @property
    def held_out(self) -> set[str]:
        """The feature spaces outside of its loss that it was scored in."""
        return set(kids(self.kept.metrics)) - set(self.config.objective.spaces) if self.kept is not None else set()

    def score_after(self, update: int) -> float:
        """The score of what was kept after so many updates; infinite if it was not scored by then."""
        return replace(self, curve=[scoring for scoring in self.curve if scoring.update <= update]).score

    @property
    def updates(self) -> int:
        """Updates done when it was last scored."""
        return self.curve[-1].update if self.curve else 0

    @property
    def planned(self) -> int:
        """Updates that it has when it is complete."""
        return self.config.optimization.updates

    @property
    def steps(self) -> int:
        """Network evaluations an image."""
        return self.config.sampler.steps


@dataclass(frozen=True)
class Study(Generic[S]):
    """A study: its folder, absolute, and what it was asked for."""

    folder: Path
    settings: S

    @classmethod
    def create(cls, folder: Path, settings: S, *, named: bool = True) -> Study[S]:
        """Begin a study.

        Args:
            folder: Where.
            settings: What it is asked for.
            named: Whether just there; False: with a number after the name if another study was faster.

        Raises:
            UserError: There is one in the folder, or it can't be written.
        """
        for number in itertools.count(1):
            place = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
            try:
                place.mkdir(parents=True, exist_ok=True)
                with locked(place / LOCK):
                    if not (place / FILE).exists():
                        (place / "trials").mkdir(exist_ok=True)
                        write_settings(place, settings)
                        break
            except OSError as error:
                raise _unwritable(folder, error) from None
            if named:
                raise _held(folder)
        return cls(place.resolve(), settings)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Work on the study, as one process does at a time; UserError if another is at it."""
        with locked(self.folder / LOCK, wait=False) as mine:
            if not mine:
                raise UserError(f"another process works on {self.folder}; wait until it has ended, or end it")
            yield

    @classmethod
    def open(cls, folder: Path, kind: type[S]) -> Study[S]:
        """Open a study to go on with it; UserError if there is none in the folder, or one of the other kind."""
        settings = read_settings(folder)
        if not isinstance(settings, kind):
            what, script = ("a search", "search") if kind is AblationSettings else ("an ablation", "ablate")
            raise UserError(f"{folder} holds {what}; continue it with python tune/{script}.py --resume {folder}")
        return cls(folder.resolve(), settings)

    def changed(self, settings: S) -> Study[S]:
        """Write down other settings."""
        write_settings(self.folder, settings)
        return Study(self.folder, settings)

    @property
    def name(self) -> str:
        """What the study is called."""
        return self.folder.name

    def trial_folder(self, number: int) -> Path:
        """Return a trial's folder."""
        return self.folder / "trials" / f"{number:03d}"

    def baseline(self, config: Config) -> tuple[Path, Config]:
        """Return where the base model's scores are kept that a trial's are relative to, and how they are measured."""
        how = self.settings.baseline(config)
        return self.folder / BASES / f"{base_key(how)}.json", how

    def begin_trial(self, number: int, config: Config, point: Mapping[str, Scalar]) -> None:
        """Write down what a trial is, before it starts; one that ended is forgotten to have done so."""
        folder = self.trial_folder(number)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _OUTCOME).unlink(missing_ok=True)
        write_json(folder / _TRIAL, {"config": config.flat(), "point": dict(point)})

    def end_trial(self, number: int, outcome: Outcome, reason: str = "", seconds: float = 0.0) -> None:
        """Write down how a trial ended."""
        content = {"outcome": outcome, "reason": reason, "seconds": seconds}
        write_json(self.trial_folder(number) / _OUTCOME, content)

    def trial(self, number: int) -> Trial:
        """Read one trial."""
        folder = self.trial_folder(number)
        begun = read_record(folder / _TRIAL, _ADVICE)
        with begun.reading():
            config = Config.from_flat(begun.mapping("config"))
        point, curve = begun.scalars("point"), read_scorings(folder)
        if not (folder / _OUTCOME).exists():
            return Trial(number, folder, config, point, Outcome.RUNNING, "", 0.0, curve)
        end = read_record(folder / _OUTCOME, _ADVICE)
        outcome = Outcome(end.one_of("outcome", *Outcome))
        return Trial(number, folder, config, point, outcome, end.text("reason"), end.number("seconds", 0), curve)

    def is_complete(self, number: int) -> bool:
        """Whether a trial came to its end."""
        begun = (self.trial_folder(number) / _TRIAL).is_file()
        return begun and self.trial(number).outcome is Outcome.COMPLETED

    def trials(self) -> list[Trial]:
        """Read all trials that were begun."""
        numbers = sorted(int(each.parent.name) for each in self.folder.glob(f"trials/*/{_TRIAL}"))
        return [self.trial(number) for number in numbers]


AnyStudy = Study[SearchSettings] | Study[AblationSettings]


def open_any(folder: Path) -> AnyStudy:
    """Open a study of either kind; UserError if there is none in the folder."""
    settings = read_settings(folder)
    if isinstance(settings, SearchSettings):
        return Study(folder.resolve(), settings)
    return Study(folder.resolve(), settings)


def base_key(config: Config) -> str:
    """Return a name for how a configuration samples and scores its base model, whatever it trains."""
    what = (config.dataset, config.data, config.resolution, config.base_model, config.seed)
    return digest_of([*what, vars(config.sampler), config.scoring.score_images, sorted(scored_spaces(config))])


def check_folder(folder: Path) -> None:
    """Raise UserError if a folder for a new study holds one already, or can't be written; nothing is made."""
    if (folder / FILE).exists():
        raise _held(folder)
    try:
        # what is made for a try and removed could be what another study, which begins now, has just made
        with tempfile.TemporaryFile(dir=nearest_existing(folder)):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from None


def _held(folder: Path) -> UserError:
    return UserError(f"{folder} already holds a study; continue it with --resume {folder}, or give another --output")


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(f"the study's folder {folder} can't be written ({error.strerror}); give another --output")

"""A study's folder: what it was asked for, its trials, and how each of them ended; a search's or an ablation's.

study.json           what was asked for
optuna.db            the trials of a search as Optuna knows them
baseline.json        scores of the base model; of an ablation bases/, one for each way of sampling
trials/007/          one run's folder (see mmd_ddm.experiment.run_folder), with outcome.json and failure.txt
scores.json          final scores of the best model, the base model and real images; samples/: some images of each
leaderboard.csv, report.md, *.png, best/; of an ablation see tune/commands/run_ablation.py
"""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmd_ddm.errors import UserError
from mmd_ddm.experiment.run_folder import BASELINE, evaluations, write_json

if TYPE_CHECKING:
    from mmd_ddm.experiment.config import Config, Scalar

COMPLETED, STOPPED, FAILED, RUNNING = "completed", "stopped", "failed", "running"
SEARCH, ABLATION = "search", "ablation"
FINAL_IMAGES = 5000
_SETTINGS = "study.json"
_CONFIG = "trial.json"
_OUTCOME = "outcome.json"
_A = {SEARCH: "a search", ABLATION: "an ablation"}
BASES = "bases"
_SAMPLING = ("dataset", "data", "resolution", "base_model", "seed", "sampler", "steps", "schedule", "eta", "variance")


@dataclass(frozen=True)
class Settings:
    """What a study was asked for; fixed when it begins, apart from the number of trials.

    Args:
        config: Leaves of the configuration around which is searched.
        first: Leaves of the first trial's configuration, the preset `paper`.
        space: The space as text.
        trials: How many trials.
        workers: Ray Train workers a trial; 0: in Tune's own process.
        gpus: GPUs of each worker.
        cpus: CPUs of each worker.
        seed: Of the search.
        final_images: Generated images of each score at the end.
        kind: search or ablation; an ablation has no space and no trials of its own accord.
    """

    config: dict[str, Any]
    first: dict[str, Any]
    space: dict[str, Any]
    trials: int
    workers: int
    gpus: float
    cpus: int
    seed: int
    final_images: int = FINAL_IMAGES
    kind: str = SEARCH

    @property
    def updates(self) -> int:
        """Updates of a whole trial."""
        return int(self.config["updates"])


@dataclass(frozen=True)
class TrialRecord:
    """How a trial stands.

    Args:
        number: Its place in the study; 0 is the preset `paper`.
        folder: Its run's folder.
        point: Its values of the searched settings.
        outcome: completed, stopped, failed or running.
        reason: Why it failed.
        seconds: How long it ran.
        curve: Its evaluations: update and metrics.
        planned: Updates that it has when it is complete.
    """

    number: int
    folder: Path
    point: dict[str, Scalar]
    outcome: str
    reason: str
    seconds: float
    curve: list[dict[str, Any]]
    planned: int = 0

    @property
    def score(self) -> float:
        """The last evaluation's score; infinite without one."""
        value = float(self.curve[-1]["score"]) if self.curve else math.inf
        return value if math.isfinite(value) else math.inf

    @property
    def updates(self) -> int:
        """Updates done when it was last evaluated."""
        return int(self.curve[-1]["update"]) if self.curve else 0


@dataclass(frozen=True)
class Study:
    """A study's folder.

    Args:
        folder: Absolute.
        settings: What was asked for.
    """

    folder: Path
    settings: Settings

    @classmethod
    def create(cls, folder: Path, settings: Settings) -> Study:
        """Begin a study.

        Raises:
            UserError: If there is one in the folder, or it can't be written.
        """
        check_folder(folder)
        try:
            (folder / "trials").mkdir(parents=True, exist_ok=True)
            write_json(folder / _SETTINGS, asdict(settings))
        except OSError as error:
            raise _unwritable(folder, error) from None
        return cls(folder.resolve(), settings)

    @classmethod
    def open(cls, folder: Path, trials: int | None = None, kind: str | None = SEARCH) -> Study:
        """Open a study to go on with it.

        Args:
            folder: Its folder.
            trials: How many trials it shall have; None: as many as it was begun with.
            kind: What it must be; None: either.

        Raises:
            UserError: If there is no study in the folder.
        """
        if not (folder / _SETTINGS).is_file():
            raise UserError(f"there is no study in {folder}; --resume wants the folder of one that was begun")
        try:
            settings = Settings(**json.loads((folder / _SETTINGS).read_text()))
        except (ValueError, TypeError) as error:
            raise UserError(f"{folder / _SETTINGS} is damaged ({error}); the study can't be continued") from None
        if kind not in (None, settings.kind):
            other = f"python tune/{'ablate' if settings.kind == ABLATION else 'search'}.py --resume {folder}"
            raise UserError(f"{folder} holds {_A[settings.kind]}; continue it with {other}")
        if trials is not None and trials != settings.trials:
            return cls(folder.resolve(), settings).changed(replace(settings, trials=trials))
        return cls(folder.resolve(), settings)

    def changed(self, settings: Settings) -> Study:
        """Write down other settings."""
        write_json(self.folder / _SETTINGS, asdict(settings))
        return Study(self.folder, settings)

    @property
    def name(self) -> str:
        """What the study is called."""
        return self.folder.name

    def trial_folder(self, number: int) -> Path:
        """Return a trial's folder."""
        return self.folder / "trials" / f"{number:03d}"

    def baseline(self, number: int) -> tuple[Path, dict[str, Any]]:
        """Return where the base model's scores are kept that a trial's are divided by, and how they are measured.

        The trials of a search may differ in their schedule; dividing each by its own base model would make their
        scores incomparable, so the budget and sampler of the first trial, the preset `paper`, are used. The trials of
        an ablation differ in their budget, and are compared with the base model at the same.
        """
        if self.settings.kind == SEARCH:
            return self.folder / BASELINE, self.settings.first
        config = self.trial_config(number)
        return self.folder / BASES / f"{base_key(config)}.json", config

    def begin_trial(self, number: int, config: Config, point: Mapping[str, Scalar]) -> None:
        """Write down what a trial is, before it starts; one that ended is forgotten to have done so."""
        folder = self.trial_folder(number)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _OUTCOME).unlink(missing_ok=True)
        write_json(folder / _CONFIG, {"config": config.flat(), "point": dict(point)})

    def trial_config(self, number: int) -> dict[str, Any]:
        """Return the leaves of a trial's configuration."""
        config: dict[str, Any] = json.loads((self.trial_folder(number) / _CONFIG).read_text())["config"]
        return config

    def end_trial(self, number: int, outcome: str, reason: str, seconds: float) -> None:
        """Write down how a trial ended."""
        content = {"outcome": outcome, "reason": reason, "seconds": seconds}
        write_json(self.trial_folder(number) / _OUTCOME, content)

    def trial(self, number: int) -> TrialRecord:
        """Read one trial."""
        folder = self.trial_folder(number)
        begun = json.loads((folder / _CONFIG).read_text())
        point, planned = begun["point"], int(begun["config"]["updates"])
        end: dict[str, Any] = {"outcome": RUNNING, "reason": "", "seconds": 0.0}
        if (folder / _OUTCOME).is_file():
            end = json.loads((folder / _OUTCOME).read_text())
        return TrialRecord(number, folder, point, curve=evaluations(folder), planned=planned, **end)

    def is_complete(self, number: int) -> bool:
        """Whether a trial came to its end."""
        return (self.trial_folder(number) / _CONFIG).is_file() and self.trial(number).outcome == COMPLETED

    def trials(self) -> list[TrialRecord]:
        """Read all trials that were begun."""
        numbers = sorted(int(each.parent.name) for each in self.folder.glob(f"trials/*/{_CONFIG}"))
        return [self.trial(number) for number in numbers]


def base_key(config: Mapping[str, Any]) -> str:
    """Return a name for how a configuration samples and scores its base model, whatever it trains."""
    from mmd_ddm.experiment.build import evaluation_spaces
    from mmd_ddm.experiment.config import Config

    known = {name: config[name] for name in (*_SAMPLING, "evaluation_images")}
    known["spaces"] = sorted(evaluation_spaces(Config.from_flat(config)))
    return sha256(json.dumps(known).encode()).hexdigest()[:12]


def check_folder(folder: Path) -> None:
    """Refuse a folder for a new study that holds one already, or that can't be written; leaves nothing in it.

    Raises:
        UserError: Says how to continue that study, or why the folder can't be written.
    """
    if (folder / _SETTINGS).exists():
        raise UserError(f"{folder} already holds a study; continue it with --resume {folder}, or give another --output")
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from None
    finally:
        for each in missing:
            with contextlib.suppress(OSError):
                each.rmdir()


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(f"the study's folder {folder} can't be written ({error.strerror}); give another --output")

"""The scores at the end of a study: the finalists beside their base model, on noise that no trial was chosen by.

The best of several trials looks better than it is on the noise that they were compared on. So it is scored anew, as
exported, and with it those that can't be told from it; by these scores the winner is found. Beside them stand the base
model at the same budget and at larger ones, and real images as a floor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmd_ddm.experiment.run_folder import MODEL
from tune.study.folder import Study

if TYPE_CHECKING:
    from mmd_ddm.diffusion.chain import Chain
    from mmd_ddm.diffusion.denoiser import Denoiser
    from mmd_ddm.experiment.build import Parts

SCORES, SHEETS = "scores.json", "samples"
FINETUNED, BASE, REAL = "finetuned", "base", "real"
LARGER = (50, 20)  # budgets of the base model to compare with, the longest to measure first
STREAM = "final"
SHOWN = 24
HOW = ("steps", "sampler", "schedule", "eta", "variance")


@dataclass(frozen=True)
class Subject:
    """What is scored.

    Args:
        model: `finetuned`, `base` or `real`.
        steps: Network evaluations per image; 0 for real images.
        sampler: Of the chain; so are schedule, eta and variance.
        trial: The finetuned model's.
    """

    model: str
    steps: int = 0
    sampler: str = "ddim"
    schedule: str = "linear"
    eta: float = 0.0
    variance: str = "model"
    trial: int | None = None

    @property
    def name(self) -> str:
        """A name for files and metrics."""
        if self.model == FINETUNED:
            return FINETUNED if self.trial is None else f"{FINETUNED}_{self.trial:03d}"
        if self.model == REAL:
            return REAL
        return f"base_{self.steps}" if self == Subject(BASE, self.steps) else "base_alike"

    @property
    def title(self) -> str:
        """A name for people."""
        if self.model == REAL:
            return "real images"
        how = [f"{self.steps} evaluations"]
        how += [self.schedule] if self.schedule != "linear" else []
        how += [self.sampler] if self.sampler != "ddim" else []
        how += [f"eta {self.eta:g}"] if self.eta else []
        return f"{'base model' if self.model == BASE else 'finetuned'}, {', '.join(how)}"

    @property
    def label(self) -> str:
        """The title with the trial's number."""
        return self.title if self.trial is None else f"{self.title} (trial {self.trial:03d})"


@dataclass(frozen=True)
class Row:
    """A subject with its scores.

    Args:
        subject: What was scored.
        images: From how many images; for real ones, in each half.
        scores: `kid_s`, `kid_s_stderr` and `fid_s_<images>` in each feature space s.
    """

    subject: Subject
    images: int
    scores: dict[str, float] = field(default_factory=dict)


def subjects(first: Mapping[str, Any], chosen: Mapping[int, Mapping[str, Any]], length: int) -> list[Subject]:
    """List what is scored, the longest to measure first.

    Args:
        first: Leaves of the first trial's configuration; the base model sampled like it is what scores are relative to.
        chosen: Leaves of the finalists' configurations by number.
        length: T, the largest budget of the base model.
    """
    budgets = {int(config["steps"]) for config in chosen.values()}
    larger = {steps for steps in LARGER if min(budgets) < steps <= length}
    base = [Subject(BASE, steps) for steps in sorted(larger | budgets, reverse=True)]
    relative = Subject(BASE, **how(first))
    finetuned = [Subject(FINETUNED, **how(config), trial=number) for number, config in chosen.items()]
    return [*base, *([relative] if relative not in base else []), *finetuned, Subject(REAL)]


def alike(config: Mapping[str, Any]) -> Subject:
    """Return the base model sampled like a finetuned one: what its timesteps alone are worth."""
    return Subject(BASE, **how(config))


def how(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the leaves of a configuration that say how it samples."""
    return {name: config[name] for name in HOW}


def read_scores(study: Study) -> list[Row]:
    """Return the scores that were measured, by budget, the base model before the finetuned one."""
    file = study.folder / SCORES
    rows = json.loads(file.read_text()) if file.is_file() else []
    read = [Row(Subject(**row["subject"]), row["images"], row["scores"]) for row in rows]
    return sorted(read, key=lambda row: (row.subject.steps, row.subject.model == FINETUNED, row.subject.label))


def write_scores(study: Study, rows: Sequence[Row]) -> None:
    """Keep scores, all or as before."""
    fresh = study.folder / f".{SCORES}"
    fresh.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    fresh.replace(study.folder / SCORES)


def measure(folder: str, subject: dict[str, Any], images: int) -> dict[str, Any]:
    """Score one subject and draw some of its images; runs in a process of Ray.

    Args:
        folder: The study's.
        subject: As a dictionary.
        images: How many to generate.

    Returns:
        A row, as a dictionary.
    """
    from mmd_ddm.evaluation.figures.sheets import save_sheet

    study, what = Study.open(Path(folder)), Subject(**subject)
    parts = make_parts(json.dumps(study.settings.first), study.settings.cpus)
    sheet = study.folder / SHEETS / f"{what.name}.png"
    sheet.parent.mkdir(exist_ok=True)
    if what.model == REAL:
        shown, scores, images = _real(parts)
    else:
        exported = study.trial_folder(what.trial or 0) / MODEL  # what users get, not what was trained
        denoiser, chain = load_model(parts, what, exported)
        evaluator = parts.evaluator_with(chain, images, STREAM)
        shown, scores = evaluator.sample(denoiser, range(min(SHOWN, images))), evaluator(denoiser)
    save_sheet(shown, sheet, columns=SHOWN // 2)
    return asdict(Row(what, images, scores))


@lru_cache(maxsize=1)  # Ray gives the tasks of a study to the same few processes
def make_parts(config: str, threads: int) -> Parts:
    """Return the parts of a configuration (leaves as JSON), the same again while it is the same."""
    import torch

    from mmd_ddm.discrepancy.collective import SingleCollective
    from mmd_ddm.experiment.build import Parts
    from mmd_ddm.experiment.config import Config

    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Parts(Config.from_flat(json.loads(config)), device, SingleCollective())


def load_model(parts: Parts, what: Subject, exported: Path) -> tuple[Denoiser, Chain]:
    """Return a subject's network and chain; the finetuned one's are read from its exported pipeline."""
    from mmd_ddm.diffusion.samplers import make_chain
    from mmd_ddm.pretrained.load import load_denoiser
    from mmd_ddm.pretrained.record import sampling_settings

    if what.model == BASE:
        chain = make_chain(
            parts.denoiser.schedule, sampler=what.sampler, steps=what.steps,
            schedule=what.schedule, eta=what.eta, variance=what.variance,
        )  # fmt: skip
        return parts.denoiser.eval(), chain
    denoiser = load_denoiser(exported).to(parts.device)
    return denoiser, make_chain(denoiser.schedule, schedule="linear", **sampling_settings(exported))


def _real(parts: Parts) -> tuple[Any, dict[str, float], int]:
    """Some real images, and the floor of the scores: random halves of the real images against each other."""
    import torch

    from mmd_ddm.diffusion.noise import NoiseSource
    from mmd_ddm.evaluation.floor import real_floor
    from mmd_ddm.experiment.build import evaluation_spaces

    half = len(parts.images) // 2
    scores: dict[str, float] = {}
    for name in evaluation_spaces(parts.config):
        floor = real_floor(parts.real[name].features, seed=parts.config.seed)
        scores |= {f"kid_{name}": floor.kid, f"kid_{name}_stderr": floor.kid_deviation, f"fid_{name}_{half}": floor.fid}
    order = torch.randperm(len(parts.images), generator=NoiseSource(parts.config.seed, "shown").generator(0))
    return parts.images.floats(order[:SHOWN]), scores, half

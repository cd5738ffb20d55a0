"""Score a model beside its base model and real images, at several budgets, with several samplers and seeds."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from mmd_ddm.compilation import OFF
from mmd_ddm.data.load import load_dataset
from mmd_ddm.diffusion.names import BASELINES
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.discrepancy.collective import Collective
from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.by_class import check_images_of_classes
from mmd_ddm.evaluation.names import parse_measures
from mmd_ddm.experiment.build import Parts
from mmd_ddm.experiment.classes import class_counts
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.config_groups import SamplerConfig, with_steps
from mmd_ddm.experiment.distributed.spread import Tell, spread
from mmd_ddm.experiment.inputs import check_guidance, dataset_of
from mmd_ddm.experiment.obtain import obtain
from mmd_ddm.experiment.room import check_processes
from mmd_ddm.experiment.scoring.model_record import find_base, model_folder, read_record
from mmd_ddm.experiment.scoring.score import check_noise, make_sampler, open_model, possible, score, score_real
from mmd_ddm.experiment.scoring.scored_config import scored_config
from mmd_ddm.experiment.scoring.scored_model import (
    BASE,
    FINETUNED,
    LARGER,
    Scored,
    ScoredModel,
    read_scored,
    write_scored,
)
from mmd_ddm.precision import FP32
from mmd_ddm.pretrained.configs import check_fits, classes_of, null_class_of, scheduler_config, unet_config
from mmd_ddm.pretrained.locate import SHIPPED
from mmd_ddm.pretrained.record import budget_folder

ALL = "all"


def evaluate(
    model: str | Path,
    *,
    base: str | None = None,
    dataset: str | None = None,
    data: str | None = None,
    resolution: int | None = None,
    features: str | None = None,
    steps: Sequence[int] = (),
    sampler: str | None = None,
    schedule: str | None = None,
    eta: float | None = None,
    variance: str | None = None,
    guidance_scale: float | None = None,
    images: int = 5000,
    seeds: Sequence[int] = (0,),
    measures: str = "kid,fid",
    per_class: bool = False,
    workers: int = 1,
    precision: str = FP32,
    compile: str = OFF,
    file: Path | None = None,
    show: Callable[[Scored], None] | None = None,
) -> list[Scored]:
    """Score a model; a finetuned one beside its base model with the same sampler, at the same budgets and at 20 and 50.

    Args:
        model: folder, hub id, MLflow address, or name of a shipped model.
        base: base model to compare with, or `none`; None: the one that the model was finetuned from.
        dataset: as in the configuration, like data and resolution: the real images; None: those that the model was
            finetuned on, or digits.
        data: path of the real images.
        resolution: in pixels.
        features: feature spaces joined by +; None: those that the finetuning named for these images, or the data
            set's.
        steps: budgets; none: what the model was finetuned for.
        sampler: names joined by commas, or `all`; None: as finetuned, or ddim.
        schedule: of the timesteps; None: linear, of the base model as finetuned, or trailing for one evaluation.
        eta: of ddim, 0 to 1; None: as finetuned.
        variance: of ddpm, as in the configuration; None: as finetuned, or the model's own.
        guidance_scale: of a DiT, as in the configuration; None: as finetuned.
        images: generated images of each result, at least 4.
        seeds: of the noise.
        measures: names joined by commas.
        per_class: whether each class of a class-conditional model gets a KID of its own.
        workers: processes that share the work, of this machine, or of the cluster that RAY_ADDRESS names; their number
            changes no score.
        precision: inside the diffusion model, as in the configuration; features and scores are float32 or better.
        compile: `on` or `off`, as in the configuration.
        file: where the results go too, as JSON, as they come.
        show: given each result as it comes; importable by name if there are several workers.

    Returns:
        The results, those of real images against each other last.

    Raises:
        UserError: an option is out of its range, or a model can't be had or not be sampled so.
    """
    for name, value, least in (("images", images, 4), ("seeds", len(seeds), 1), ("workers", workers, 1)):
        if value < least:
            raise UserError(f"{name} is {value}; it must be at least {least}")
    if not os.environ.get("RAY_ADDRESS"):  # other machines are Ray's to know
        check_processes(workers)
    if not all(0 <= seed < 2**32 for seed in seeds):
        raise UserError(f"seeds are {min(seeds)} to {max(seeds)}; they must be whole numbers from 0 to {2**32 - 1}")
    check_noise(eta, variance, "ddim,ddpm" if sampler in (None, ALL) else sampler)
    asked, folder = parse_measures(measures), model_folder(str(model))
    record = read_record(folder)
    config = scored_config(record, folder, (dataset, data, resolution), features, asked)
    config = config.replace(precision=precision, compile=compile)
    budgets = list(steps) or list(record.budgets)
    role = FINETUNED if record.finetuned else BASE
    by_folder: dict[Path, list[int]] = {}
    for each in budgets:
        by_folder.setdefault(budget_folder(folder, each), []).append(each)
    models, told = [], list[int]()
    for where, some in by_folder.items():
        there = read_record(where)
        some = some if where == folder else [there.sampler.steps]
        models += _variants(role, where, there.sampler, some, sampler, eta, variance, schedule)
        # the stride makes more evaluations than it is asked for
        told += [there.base_sampler.steps if each == there.sampler.steps else each for each in some]
    if (base_model := find_base(record, base)) is not None:
        like = record.base_sampler
        larger = [each for each in LARGER if each > max(budgets)]
        models += _variants(BASE, base_model, like, told, sampler, eta, variance, schedule, larger)
    models = [(_guided(each, guidance_scale, where), where) for each, where in models]
    check_fits(folder, dataset_of(config))
    classes = classes_of(unet := unet_config(folder))
    if per_class and classes is None:
        raise UserError("per_class is for class-conditional models, and this one is not; leave it out")
    obtain(config)
    if per_class:
        assert classes is not None
        counts = class_counts(classes, load_dataset(dataset_of(config)), null_class_of(unet))
        check_images_of_classes(counts, images)
    with tempfile.TemporaryDirectory() as scratch:
        results = file or Path(scratch) / "scores.json"
        write_scored(results, [])
        named = [(each, _anywhere(where)) for each, where in models]
        work = partial(_score_all, config.replace(base_model=_anywhere(folder)), named, images, seeds, asked, per_class)
        elsewhere = [where for _, where in models if not where.is_relative_to(SHIPPED)]
        spread(work, workers, partial(_keep, results, show), elsewhere)
        return read_scored(results)


def _guided(model: ScoredModel, guidance_scale: float | None, folder: Path) -> ScoredModel:
    """A model with the guidance that is asked for, or its own; refused where it can have none."""
    how = model.sampler if guidance_scale is None else replace(model.sampler, guidance_scale=guidance_scale)
    check_guidance(how.guidance_scale, unet_config(folder))
    make_sampler(how, NoiseSchedule.from_scheduler_config(scheduler_config(folder)))
    return replace(model, sampler=how)


def _anywhere(folder: Path) -> str:
    """A model as every machine finds it: a shipped one lies elsewhere on each."""
    return str(folder.relative_to(SHIPPED)) if folder.is_relative_to(SHIPPED) else str(folder)


def _keep(file: Path, show: Callable[[Scored], None] | None, result: Scored) -> None:
    """Write down and show a result, once: workers that replace others begin anew."""
    former = read_scored(file)
    if any((each.model, each.seed, each.nfe) == (result.model, result.seed, result.nfe) for each in former):
        return
    write_scored(file, [*former, result])
    if show is not None:
        show(result)


def _score_all(
    config: Config, models: Sequence[tuple[ScoredModel, str]], images: int, seeds: Sequence[int],
    measures: Sequence[str], per_class: bool, collective: Collective, device: torch.device, tell: Tell[Scored],
) -> None:  # fmt: skip
    """Score models, each in its folder, with each seed, and then the real images, as one of the workers."""
    parts = Parts(config, device, collective)
    labels = parts.images.labels if per_class else None
    for model, folder in models:
        for seed in seeds:
            evaluator = open_model(parts, model, model_folder(folder), images=images, seed=seed)
            tell(score(evaluator, model, measures, labels))
    if collective.rank == 0 and {"kid", "fid"} & set(measures):
        tell(score_real(parts, measures))


def _variants(
    role: str,
    folder: Path,
    own: SamplerConfig,
    budgets: Sequence[int],
    sampler: str | None,
    eta: float | None,
    variance: str | None,
    schedule: str | None,
    larger: Sequence[int] = (),
) -> list[tuple[ScoredModel, Path]]:
    """A model in its folder with several samplers and budgets, and a schedule, if one is named.

    Of `all` samplers those that can have the budget, and of the larger budgets those that the samplers can have.
    """
    models = []
    for name in BASELINES if sampler == ALL else (sampler or own.sampler).split(","):
        same = name == own.sampler
        known, noise = own.variance if same else "model", own.eta if same else 0.0
        of_ddpm = known if variance is None or name != "ddpm" else variance
        noise = (noise if eta is None else eta) if name == "ddim" else 0.0
        how = replace(own, sampler=name, eta=noise, variance=of_ddpm)
        asked = [with_steps(how, steps) for steps in (*budgets, *larger)]
        models += [ScoredModel(role, replace(each, schedule=schedule or each.schedule)) for each in asked]
    levels = NoiseSchedule.from_scheduler_config(scheduler_config(folder))
    for model in (each for each in models if sampler != ALL and each.sampler.steps not in larger):
        make_sampler(model.sampler, levels)
    return [(model, folder) for model in possible(models, levels)]

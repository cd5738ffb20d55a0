"""Who measures final scores: a process for each model, or the processes of a whole cluster for one after the other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from mmd_ddm.discrepancy.collective import Collective
from mmd_ddm.evaluation.evaluator import SAMPLING_BATCH
from mmd_ddm.experiment.build import Parts
from mmd_ddm.experiment.distributed.cluster import places, usable_nodes
from mmd_ddm.experiment.distributed.spread import Tell, results
from mmd_ddm.experiment.scoring.scored_model import Scored, ScoredModel
from mmd_ddm.precision import FP32
from tune.scoring.final_scores import measure, measure_with
from tune.study.folder import Study
from tune.study.settings import Machines, SearchSettings

Models = Sequence[ScoredModel | None]  # None: the real images


def measured(study: Study[SearchSettings], models: Models, images: int) -> Iterator[Scored]:
    """Score models of a study, and return the scores as they come; which way changes none of them.

    On a cluster whose processes all get a batch of a model's images they share each model, so that the last one
    doesn't keep the others waiting; else, and on one machine, they measure different models.
    """
    workers = 1
    if os.environ.get("RAY_ADDRESS"):
        process = study.settings.machines.process
        workers = min(places(process, usable_nodes()), _free(process))
    if 1 < workers <= images // SAMPLING_BATCH:
        return together(study, models, images, workers)
    return side_by_side(study.folder, study.settings.machines, models, images)


def _free(process: Mapping[str, float]) -> int:
    """Count the processes for which others leave room now."""
    import ray

    there = ray.available_resources()
    return int(min(there.get(name, 0) // amount for name, amount in process.items() if amount))


def side_by_side(folder: Path, machines: Machines, models: Models, images: int) -> Iterator[Scored]:
    """Score each model in a task of Ray."""
    import ray

    task = ray.remote(num_cpus=machines.cpus, num_gpus=machines.gpus)(measure)
    pending: list[ray.ObjectRef[Scored]] = [task.remote(folder, each, images) for each in models]
    while pending:
        (done,), pending = ray.wait(pending)
        yield ray.get(done)


def together(study: Study[SearchSettings], models: Models, images: int, workers: int) -> Iterator[Scored]:
    """Score each model on several workers, as `mmd-ddm evaluate` does."""
    told = set[ScoredModel | None]()
    for row in results(partial(_measure_all, study.folder, models, images), workers, study.settings.machines.process):
        if row.model not in told:  # workers that replace others begin anew
            told.add(row.model)
            yield row


def _measure_all(
    folder: Path, models: Models, images: int, collective: Collective, device: torch.device, tell: Tell[Scored]
) -> None:
    """Score models as one of the workers; real images are the first one's, while the others wait."""
    study = Study.open(folder, SearchSettings)
    parts = Parts(study.settings.first.replace(precision=FP32), device, collective)
    for model in sorted(models, key=lambda each: each is None):
        if model is not None or collective.rank == 0:
            tell(measure_with(parts, study, model, images))
        else:
            _ = parts.real  # made by all

"""Finetuned models as versions of MLflow's registered models, one registered model a data set and budget.

The alias `best` names the version with the smallest score among those whose scores are from the most images: a quick
trial of 200 images, whose score may be small by chance, does not displace a serious one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mmd_ddm.evaluation.metrics import flat
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.run_folder import MODEL, Scoring

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

BEST = "best"
_TAGGED = ("dataset", "steps", "sampler", "schedule", "eta", "score_images")


@dataclass(frozen=True)
class Candidate:
    """A finetuned model that is to be registered: its configuration, last scores, and further tags."""

    config: Config
    scoring: Scoring
    words: Mapping[str, str]

    @property
    def name(self) -> str:
        """Of the registered model; slashes and colons have a meaning in its addresses."""
        return re.sub(r"[/:@]", "-", f"mmd-ddm-{self.config.dataset}-{self.config.sampler.steps}steps")

    @property
    def tags(self) -> dict[str, str]:
        """Of the version."""
        settings, scores = self.config.flat(), {"score": self.scoring.score, **flat(self.scoring.metrics)}
        written = {key: f"{value:.6g}" for key, value in scores.items()}
        return {**{key: str(settings[key]) for key in _TAGGED}, **written, **self.words}

    @property
    def description(self) -> str:
        """Of the version."""
        how = ", ".join(f"{key} {value}" for key, value in self.words.items())
        return (
            f"diffusers pipeline, finetuned on {self.config.dataset} for {self.config.sampler.steps} network "
            f"evaluations an image ({how}); score {self.scoring.score:.4g} relative to the base model"
        )


def register(client: MlflowClient, run_id: str, candidate: Candidate) -> None:
    """Make a run's model a version of its registered model, unless it is one; move the alias `best` if it is better.

    Raises:
        FileNotFoundError: The store has not yet taken the model's files.
        MlflowException: Of the store.
    """
    if not any(each.path == f"{MODEL}/model_index.json" for each in client.list_artifacts(run_id, MODEL)):
        raise FileNotFoundError(f"run {run_id} has no model in MLflow yet")
    _ensure(client, candidate)
    name, tags = candidate.name, candidate.tags
    all_versions = partial(client.search_model_versions, f"name='{name}'")
    mine = next((each for each in all_versions() if each.run_id == run_id), None)
    if mine is None:
        files = f"{client.get_run(run_id).info.artifact_uri}/{MODEL}"
        about = {"tags": tags, "description": candidate.description}
        client.create_model_version(name, files, run_id, **about, await_creation_for=0)  # it is there at once
    else:
        for key, value in tags.items():
            if mine.tags.get(key) != value:
                client.set_model_version_tag(name, mine.version, key, value)
    client.set_registered_model_alias(name, BEST, min(all_versions(), key=_rank).version)


def _ensure(client: MlflowClient, candidate: Candidate) -> None:
    from mlflow.exceptions import MlflowException

    tags = {key: candidate.tags[key] for key in ("dataset", "steps")}
    about = (
        f"{tags['dataset']} with {tags['steps']} network evaluations an image: the best models of studies. Use one "
        f"with: mmd-ddm sample --model models:/{candidate.name}@{BEST}"
    )
    try:
        client.create_registered_model(candidate.name, tags, about)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _rank(version: ModelVersion) -> tuple[float, float, int]:
    number = int(version.version)
    with suppress(KeyError, ValueError):
        images, score = float(version.tags["score_images"]), float(version.tags["score"])
        if math.isfinite(images) and math.isfinite(score):
            return -images, score, number
    return 0.0, math.inf, number  # of a version that somebody registered by hand

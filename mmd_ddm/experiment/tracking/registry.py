"""Winners of studies as versions of MLflow's registered models, one registered model a data set and budget.

The alias `best` is held by one version. Another takes it only where it is free, or if its recorded score is smaller
than the holder's, is of the same kind (same images, base model, budget and feature spaces) and from at least as many
generated images: a quick study, whose score may be small by chance, does not displace a serious one, and a worse model
never takes it. Where two scores can't be compared the holder keeps it; in MLflow's UI it can be given by hand.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmd_ddm.evaluation.metrics import flat, kids
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.run_folder import MODEL, Scoring

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

BEST = "best"
_TAGGED = ("dataset", "steps", "sampler", "schedule", "eta")
_COMPARED = ("dataset", "data", "resolution", "base_model", "steps", "sampler", "schedule", "eta",
             "variance", "guidance_scale")  # fmt: skip
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """A finetuned model that is to be registered.

    Args:
        config: Of its run.
        scoring: The state that is kept, as it was scored on noise that it was not chosen by.
        base: How the base model was sampled to which the score is relative, on which data set.
        images: Generated images of the score.
        words: Further tags.
    """

    config: Config
    scoring: Scoring
    base: Config
    images: int
    words: Mapping[str, str]

    @property
    def name(self) -> str:
        """Of the registered model; slashes and colons have a meaning in its addresses."""
        return re.sub(r"[/:@]", "-", f"mmd-ddm-{self.config.images_name}-{self.config.sampler.steps}steps")

    @property
    def tags(self) -> dict[str, str]:
        """Of the version."""
        settings, scores = self.config.flat(), {"score": self.scoring.score, **flat(self.scoring.metrics)}
        written = {key: f"{value:.6g}" for key, value in scores.items()}
        about = {"update": str(self.scoring.update), "score_images": str(self.images), "score_of": self.score_of}
        words = {**{key: str(settings[key]) for key in _TAGGED}, "dataset": self.config.images_name}
        return {**words, **written, **about, **self.words}

    @property
    def score_of(self) -> str:
        """What the score is of: scores of which this differs can't be compared."""
        settings, spaces = self.base.flat(), "+".join(sorted(kids(self.scoring.metrics)))
        told = ", ".join(f"{key} {settings[key]}" for key in _COMPARED)
        return f"largest KID of {spaces} relative to the base model: {told}"

    @property
    def description(self) -> str:
        """Of the version."""
        how = ", ".join(f"{key} {value}" for key, value in self.words.items())
        return (
            f"diffusers pipeline, finetuned on {self.config.images_name} for {self.config.sampler.steps} network "
            f"evaluations an image ({how}, update {self.scoring.update}); score {self.scoring.score:.4g} relative to "
            "the base model"
        )


def register(client: MlflowClient, run_id: str, candidate: Candidate) -> None:
    """Make a run's model a version of its registered model, unless it is one; it takes the alias `best` if it may.

    Raises:
        FileNotFoundError: The store has not yet taken the model's files.
        MlflowException: Of the store.
    """
    if not any(each.path == f"{MODEL}/model_index.json" for each in client.list_artifacts(run_id, MODEL)):
        raise FileNotFoundError(f"run {run_id} has no model in MLflow yet")
    _ensure(client, candidate)
    name, tags = candidate.name, candidate.tags
    versions = {each.version: each for each in client.search_model_versions(f"name='{name}'")}
    mine = next((each for each in versions.values() if each.run_id == run_id), None)
    if mine is None:
        files = f"{client.get_run(run_id).info.artifact_uri}/{MODEL}"
        about = {"tags": tags, "description": candidate.description}
        # it is there at once
        mine = client.create_model_version(name, files, run_id, **about, await_creation_for=0)
    else:
        for key, value in tags.items():
            if mine.tags.get(key) != value:
                client.set_model_version_tag(name, mine.version, key, value)
    holder = versions.get(client.get_registered_model(name).aliases.get(BEST))
    if holder is None or (holder.run_id != run_id and _takes(tags, holder)):
        client.set_registered_model_alias(name, BEST, mine.version)


def _takes(tags: Mapping[str, str], holder: ModelVersion) -> bool:
    """Whether a version with these tags takes the alias from the one that holds it."""
    theirs = holder.tags
    try:
        alike = theirs["score_of"] == tags["score_of"] and int(theirs["score_images"]) <= int(tags["score_images"])
        former = float(theirs["score"])
    except (KeyError, ValueError):  # registered by hand, or by an earlier version
        alike, former = False, math.nan
    if not alike or math.isnan(former):
        said = (
            "Version %s of %s keeps the alias @%s: its score is of another kind than the new one's, or from more images"
        )
        _log.warning(said, holder.version, holder.name, BEST)
        return False
    return float(tags["score"]) < former


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

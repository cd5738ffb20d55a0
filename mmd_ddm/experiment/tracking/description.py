"""What an MLflow run is, in words: the description that its page shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mmd_ddm.experiment.config import Config
from mmd_ddm.finetuning.names import MMD

NOTE = "mlflow.note.content"
_SCORE = (
    "`score` is KID relative to the base model's, in the feature space where it is largest: 1 is the base model, 0 is "
    "perfect; `kept_update` and `kept_score` are of the state that is kept"
)


def describe_run(name: str, config: Config) -> str:
    """Describe a single run, or a trial, as Markdown."""
    o, objective, s = config.optimization, config.objective, config.sampler
    budgets = ", ".join(map(str, config.budgets))
    loss = f"kernel {objective.kernel}" if objective.loss == MMD else "the Frechet distance"
    return (
        f"{name}: the {config.images_name} base model finetuned for {budgets} network evaluations an image in "
        f"{o.updates} updates of {o.batch} images, with learning rate {o.learning_rate:.3g}, "
        f"{loss}, features {objective.features}, sampler {s.sampler}, schedule {s.schedule}. Metrics are "
        f"by update; {_SCORE}."
    )


def describe_search(name: str, config: Config, searched: Iterable[str]) -> str:
    """Describe a search, whose trials are the runs below it, as Markdown."""
    return (
        f"Search {name}: the {config.images_name} base model finetuned for {config.sampler.steps} network evaluations "
        f"an image, over {', '.join(searched)}. Its trials are the runs below it: select them and choose Compare. Here "
        f"are the final scores of its best model (`finetuned_*`) and of the base model (`base_*`), from fresh noise; "
        f"their step is the number of network evaluations. {_SCORE}."
    )


def describe_ablation(name: str, config: Config, grids: Iterable[str]) -> str:
    """Describe an ablation, whose cells are the runs below it, as Markdown."""
    return "\n\n".join([f"Ablation {name} on {config.images_name}. Its cells are the runs below it.", *grids])


def ending(tags: Mapping[str, str]) -> str:
    """Return how a trial ended, from its tags `outcome` and `reason`; empty for one that came to its end."""
    if tags.get("reason"):
        return f"It failed: {tags['reason']}."
    if tags.get("outcome") == "stopped":
        return "It was stopped early, since others were better after as many updates; it left no model."
    return ""

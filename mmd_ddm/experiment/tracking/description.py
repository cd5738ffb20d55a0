"""What an MLflow run is, in words: the description that its page shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NOTE = "mlflow.note.content"
_SCORE = "`score` is the mean over feature spaces of KID relative to the base model's: 1 is its own, 0 is perfect"


def about(name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
    """Return the description of a study, of a trial or of a single run.

    Args:
        name: What the run is called.
        params: Leaves of its configuration; a search's and an ablation's name in addition what they compare.
        tags: A trial's name its `study` and its number, `trial`.

    Returns:
        Markdown; empty if the settings are not of a finetuning.
    """
    if not {"dataset", "steps", "updates", "batch"} <= params.keys():
        return ""
    space = [key.removeprefix("space.") for key in params if key.startswith("space.")]
    grids = [str(value) for key, value in params.items() if key.startswith("grid.")]
    if grids:
        return f"Ablation {name} on {params['dataset']}. Its cells are the runs below it.\n\n" + "\n\n".join(grids)
    if space:
        return (
            f"Search {name}: the {params['dataset']} base model finetuned for {params['steps']} network evaluations an "
            f"image, over {', '.join(space)}. Its trials are the runs below it: select them and choose Compare. "
            f"Here are the final scores of its best model (`finetuned_*`) and of the base model (`base_*`), from fresh "
            f"noise; their step is the number of network evaluations. {_SCORE}."
        )
    what = f"Trial {tags['trial']} of {tags['study']}" if {"trial", "study"} <= tags.keys() else f"Run {name}"
    return f"{what}: {_finetuned(params)}. Metrics are by update; {_SCORE}."


def _finetuned(params: Mapping[str, Any]) -> str:
    known = {
        key: params[key] for key in ("learning_rate", "kernel", "features", "sampler", "schedule") if key in params
    }
    settings = ", ".join(f"{key.replace('_', ' ')} {_short(value)}" for key, value in known.items())
    return (
        f"the {params['dataset']} base model finetuned for {params['steps']} network evaluations an image in "
        f"{params['updates']} updates of {params['batch']} images" + (f", with {settings}" if settings else "")
    )


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def ending(tags: Mapping[str, str]) -> str:
    """Return how a trial ended, from its tags `outcome` and `reason`; empty for one that came to its end."""
    if tags.get("reason"):
        return f"It failed: {tags['reason']}."
    if tags.get("outcome") == "stopped":
        return "It was stopped early, since others were better after as many updates; it left no model."
    return ""

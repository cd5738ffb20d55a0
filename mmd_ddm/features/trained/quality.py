"""Whether a trained network can be trusted as a perceptual space: one that gains in pictures show in its features."""

from __future__ import annotations

from mmd_ddm.features.trained.recipes import architecture_for
from mmd_ddm.features.trained.weights import DIGITS, Trained

_CLASSES = 5  # fewer are told apart by one or two traits, and whatever else is in a picture is not seen
# part of the way from chance to no error; networks for CIFAR-10 at 16 x 16 pass it after a few minutes of training
_ENOUGH = {"classifier": 0.7, "contrastive": 0.4}
_SEEN = 200_000  # images, with repetitions, that a contrastive network is shown at least


def weakness(trained: Trained) -> str | None:
    """Say in one sentence why gains in a space may not be seen in pictures; None if nothing known speaks for that."""
    reason = _reason(trained)
    if reason is None:
        return None
    return (
        f"Feature space {trained.name!r} is too weak to be trusted alone, and pictures may get worse while its scores "
        f"get better: {reason}."
    )


def _reason(trained: Trained) -> str | None:
    record, pictures = trained.record, trained.architecture != DIGITS
    if not pictures and architecture_for(trained.image_shape) != DIGITS:
        return "its network was made for drawings of 8 x 8 pixels; train it again"
    classes, accuracy = record.get("classes"), record.get("accuracy")
    few = isinstance(classes, int) and classes < _CLASSES
    if trained.name == "classifier" and few:
        return f"it can tell only {classes} classes apart; train contrastive, or use images of more classes"
    if isinstance(accuracy, float) and not few:
        chance = 1 / classes if isinstance(classes, int) else 0.0
        bar = chance + _ENOUGH[trained.name] * (1 - chance)
        if accuracy < bar:
            told = f"only {accuracy:.0%} of images not trained on are recognised, where {bar:.0%} are needed"
            return f"{told}; train it with more --updates, or on more images"
    updates, batch = record.get("updates"), record.get("batch")
    if trained.name == "contrastive" and pictures and isinstance(updates, int) and isinstance(batch, int):
        seen = updates * batch
        return f"it was shown only {seen} images; train it with more --updates" if seen < _SEEN else None
    return None

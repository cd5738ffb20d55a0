"""Whether finetuning improved a model, in words: in the spaces that it trained on and in those that were held out."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from enum import Enum, StrEnum
from typing import NamedTuple

CERTAIN = 2.0  # standard errors


class Score(NamedTuple):
    """A score of which less is better, with its standard error; None where that is not known."""

    value: float
    standard_error: float | None = None


class Change(Enum):
    """How one score stands to another."""

    BETTER = "improves"
    WORSE = "gets worse"
    UNDECIDED = "does not change by more than its error"


class Standing(StrEnum):
    """Whether a finetuned model beats its base model with equally many network evaluations."""

    BEATS = "yes"
    UNKNOWN = "unknown"  # it improves, but was measured in no space outside of its loss
    BEHIND = "no"


_PLURAL = dict(zip(Change, ("improve", "get worse", "do not change by more than their errors"), strict=True))
_BLIND_SPOTS = " What was gained may be a blind spot of the trained space rather than better images."


def change(base: Score, finetuned: Score) -> Change:
    """Compare two scores: different only by more than two standard errors of the difference.

    The scores are taken as independent. Models that are scored on the same noise and the same real images err
    together, so their difference is known better than this: it may call a small change undecided, not the reverse.
    Without standard errors any difference counts.
    """
    error = math.hypot(base.standard_error or 0, finetuned.standard_error or 0)
    difference = finetuned.value - base.value
    if abs(difference) <= CERTAIN * error:
        return Change.UNDECIDED
    return Change.BETTER if difference < 0 else Change.WORSE


def changes(base: Mapping[str, Score], finetuned: Mapping[str, Score]) -> dict[str, Change]:
    """How the scores changed in each space that was measured before and after finetuning."""
    return {space: change(base[space], finetuned[space]) for space in finetuned if space in base}


def standing(base: Mapping[str, Score], finetuned: Mapping[str, Score], trained: Collection[str]) -> Standing:
    """Decide whether a finetuned model beats its base model, from scores as of `verdict`.

    It does if it improves in at least one held-out space by more than the error, and gets worse by more than the error
    in none at all. Without a held-out space that can't be known: it is behind, or nothing is known.
    """
    found = changes(base, finetuned)
    outside = [each for space, each in found.items() if space not in trained]
    if Change.WORSE in found.values() or Change.BETTER not in (outside or found.values()):
        return Standing.BEHIND
    return Standing.BEATS if outside else Standing.UNKNOWN


def verdict(base: Mapping[str, Score], finetuned: Mapping[str, Score], trained: Collection[str]) -> str:
    """One sentence, or two, on what finetuning did.

    The KIDs before and after it are given by feature space, of equally many network evaluations and images. The loss
    was of the trained spaces; all others are held out.
    """
    found = changes(base, finetuned)
    inside, outside = ({s: c for s, c in found.items() if (s in trained) is own} for own in (True, False))
    if not found:
        return "No space was measured both before and after finetuning, so nothing is known."
    texts = {space: f"{space} (KID {_number(base[space])} to {_number(finetuned[space])})" for space in found}
    own, held_out = _told(inside, "trained", texts), _told(outside, "held-out", texts)
    if not inside:
        return f"No trained space was measured. {held_out}."
    if not outside:
        return f"{own}. No other space was measured, so nothing is known beyond it."
    if set(inside.values()) == set(outside.values()) == {Change.BETTER}:
        groups = [(_noun("trained", inside), inside), (_noun("held-out", outside), outside)]
        places = ", and ".join(f"in the {noun}, {_joined(texts[space] for space in group)}" for noun, group in groups)
        return f"It improves in both: {places}."
    rest = held_out[0].lower() + held_out[1:]
    if set(inside.values()) != {Change.BETTER}:
        return f"{own}; {rest}."
    return f"{own}, but {rest}.{'' if Change.BETTER in outside.values() else _BLIND_SPOTS}"


def _told(found: Mapping[str, Change], kind: str, texts: Mapping[str, str]) -> str:
    """What happened in some spaces, those of one fate together."""
    fates = {fate: [s for s, each in found.items() if each is fate] for fate in Change if fate in found.values()}
    verbs = {fate: fate.value if len(group) == 1 else _PLURAL[fate] for fate, group in fates.items()}
    parts = [(_joined(texts[space] for space in group), verbs[fate]) for fate, group in fates.items()]
    if len(parts) == 1:
        return f"The {_noun(kind, found)}, {parts[0][0]}, {parts[0][1]}"
    return f"Of the {_noun(kind, found)}, {_joined(' '.join(part) for part in parts)}"


def _noun(kind: str, found: Mapping[str, Change]) -> str:
    return f"{kind} space{'' if len(found) == 1 else 's'}"


def _joined(parts: Iterable[str]) -> str:
    *most, last = list(parts) or [""]
    return f"{', '.join(most)} and {last}" if most else last


def _number(score: Score) -> str:
    """The value to the second digit of its error."""
    if not score.standard_error:
        return f"{score.value:.4g}"
    places = max(0, 1 - math.floor(math.log10(score.standard_error)))
    return f"{score.value:.{places}f} ± {score.standard_error:.{places}f}"

"""The sentence says what the scores say."""

from __future__ import annotations

import math

import pytest

from mmd_ddm.evaluation.verdict import Change, Score, Standing, change, standing, verdict

BASE = {"clip": Score(0.1, 0.003), "dinov2": Score(0.05, 0.004), "pixels": Score(3.0)}
GOOD, SAME, BAD = Score(0.01, 0.003), Score(0.055, 0.004), Score(0.09, 0.004)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0899, Change.BETTER), (0.0901, Change.UNDECIDED), (0.1099, Change.UNDECIDED), (0.1101, Change.WORSE)],
)
def test_two_standard_errors_of_the_difference(value: float, expected: Change) -> None:
    assert change(Score(0.1, 0.003), Score(value, 0.004)) is expected  # hypot(0.003, 0.004) = 0.005


def test_without_errors_any_difference_counts() -> None:
    assert change(Score(2.0), Score(1.99)) is Change.BETTER
    assert change(Score(2.0), Score(2.0)) is Change.UNDECIDED


@pytest.mark.parametrize(
    ("clip", "dinov2", "pixels", "expected"),
    [
        (GOOD, GOOD, 3.0, Standing.BEATS),
        (GOOD, SAME, 3.0, Standing.BEHIND),  # in the trained space alone
        (GOOD, SAME, 2.0, Standing.BEATS),  # one held-out space is enough
        (GOOD, BAD, 2.0, Standing.BEHIND),  # but not if another one is worse
        (Score(0.2, 0.003), GOOD, 2.0, Standing.BEHIND),  # or the trained one
        (Score(0.1, 0.003), GOOD, 3.0, Standing.BEATS),
        (GOOD, Score(math.nan), 2.0, Standing.BEHIND),
    ],
)
def test_the_base_model_is_beaten_where_a_held_out_space_improves_and_none_gets_worse(
    clip: Score, dinov2: Score, pixels: float, expected: Standing
) -> None:
    assert standing(BASE, {"clip": clip, "dinov2": dinov2, "pixels": Score(pixels)}, ["clip"]) is expected


def test_without_a_held_out_space_a_gain_proves_nothing() -> None:
    base = {"clip": BASE["clip"]}
    assert standing(base, {"clip": GOOD}, ["clip", "dinov2"]) is Standing.UNKNOWN
    assert standing(base, {"clip": BASE["clip"]}, ["clip"]) is Standing.BEHIND
    assert standing(base, {"clip": GOOD}, []) is Standing.BEATS


def test_both_improve() -> None:
    found = verdict(BASE, {"clip": GOOD, "dinov2": GOOD}, ["clip"])
    assert found == (
        "It improves in both: in the trained space, clip (KID 0.1000 ± 0.0030 to 0.0100 ± 0.0030), and in the held-out "
        "space, dinov2 (KID 0.0500 ± 0.0040 to 0.0100 ± 0.0030)."
    )


@pytest.mark.parametrize(("held_out", "says"), [(SAME, "does not change by more than its error"), (BAD, "gets worse")])
def test_only_the_trained_space_improves(held_out: Score, says: str) -> None:
    found = verdict(BASE, {"clip": GOOD, "dinov2": held_out}, ["clip"])
    assert found.startswith(
        "The trained space, clip (KID 0.1000 ± 0.0030 to 0.0100 ± 0.0030), improves, but the held-out"
    )
    assert f"0.0{round(held_out.value * 1000):02d}0 ± 0.0040), {says}. " in found
    assert found.endswith("blind spot of the trained space rather than better images.")


def test_the_trained_space_does_not_improve() -> None:
    found = verdict(BASE, {"clip": Score(0.1, 0.003), "dinov2": GOOD}, ["clip"])
    assert "0.1000 ± 0.0030), does not change by more than its error; the held-out space, dinov2" in found
    assert found.endswith("improves.")
    assert "blind" not in found


def test_several_spaces_of_different_fates() -> None:
    after = {"clip": GOOD, "dinov2": GOOD, "pixels": Score(4.0)}
    assert "of the held-out spaces, dinov2 (KID 0.0500" in verdict(BASE, after, ["clip"])
    assert verdict(BASE, after, ["clip"]).endswith("0.0030) improves and pixels (KID 3 to 4) gets worse.")
    assert "in the trained spaces, clip (KID" in verdict(BASE, {**after, "pixels": Score(2)}, ["clip", "pixels"])


def test_what_was_not_measured() -> None:
    assert "nothing is known beyond it" in verdict(BASE, {"clip": GOOD}, ["clip"])
    assert verdict(BASE, {"dinov2": GOOD}, ["clip"]).startswith(
        "No trained space was measured. The held-out space, dinov2"
    )
    assert "nothing is known" in verdict(BASE, {"other": GOOD}, ["clip"])

"""Choices of finetuning by name, apart from what they compute."""

from __future__ import annotations

ROUTES = STORED, REPLAY = ("stored", "replay")  # of the gradient, see `gradient`
LEARNED = WEIGHTS, SAMPLER, BOTH = ("weights", "sampler", "both")  # what is finetuned
IMAGE_RANGES = ("none", "clamp", "straight_through")  # see `image_range`

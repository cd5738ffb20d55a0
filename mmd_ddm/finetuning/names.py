"""Choices of finetuning by name, apart from what they compute."""

from __future__ import annotations

LOSSES = MMD, FRECHET = ("mmd", "frechet")  # see `objective` and `frechet`
MATCHINGS = JOINT, MARGINAL = ("joint", "marginal")  # what of a class-conditional model the loss compares
LOSS_METRICS = {MMD: "mmd2", FRECHET: "frechet"}  # as their values are recorded
ROUTES = STORED, REPLAY = ("stored", "replay")  # of the gradient, see `gradient`
LEARNED = WEIGHTS, SAMPLER, BOTH = ("weights", "sampler", "both")  # what is finetuned
IMAGE_RANGES = ("none", "clamp", "straight_through")  # see `image_range`

"""Names and limits of images and their stores, which need nothing to be imported."""

from __future__ import annotations

OWN = "own"  # the user's data set
MANIFEST = "rows.json"  # what makes a folder a store
MOST_PIXELS = 2**26  # of one image before cropping

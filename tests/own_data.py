"""A user's own data set: a folder of pictures, a base model and a feature network in files of their own."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmd_ddm.features.trained.weights import SHIPPED as NETWORKS
from mmd_ddm.features.trained.weights import weights_file
from mmd_ddm.files import HOME
from mmd_ddm.pretrained.locate import SHIPPED as MODELS

SIDE, COUNT = 8, 12
TINY = {"steps": 1, "updates": 2, "batch": 2, "scorings": 1, "score_images": 4}


def picture(file: Path, seed: int) -> None:
    """Write a random grey image."""
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE), np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


class OwnData:
    """The three, in a folder; nothing of them is known to the environment but an empty cache."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.photos, self.base, self.weights = (folder / name for name in ("my photos", "base", "networks"))
        for i in range(COUNT):
            picture(self.photos / f"{i}.png", i)
        shutil.copytree(MODELS / "digits", self.base)
        self.weights.mkdir()
        shutil.copy(weights_file(NETWORKS, "digits", "classifier"), weights_file(self.weights, "own", "classifier"))
        patch.setenv(HOME, str(folder / "home"))
        patch.delenv("MMD_DDM_WEIGHTS", raising=False)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.chdir(folder)

    @property
    def images(self) -> list[str]:
        """The options that name the data set and its base model."""
        return ["--data", str(self.photos), "--resolution", str(SIDE), "--base-model", str(self.base)]

    @property
    def options(self) -> list[str]:
        """Those of a tiny run of `mmd-ddm finetune` in a space whose weights are not at hand otherwise."""
        settings = [word for name, value in TINY.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        return [*self.images, "--weights", str(self.weights), "--score-features", "classifier+pixels", *settings]

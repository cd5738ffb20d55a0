"""What of this machine's files every node needs at the same path."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mmd_ddm.data.load import is_prepared
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.inputs import base_folder, dataset_of
from mmd_ddm.features.published.weights import FOLDER
from mmd_ddm.files import cache_home


def needed_files(config: Config) -> Iterator[Path]:
    """List files and folders that were named, or downloaded and prepared here; each node would do that anew."""
    named = (config.base_model, config.data, os.environ.get(FOLDER))
    yield from (path for path in map(Path, filter(None, named)) if path.exists())
    made = (is_prepared(dataset_of(config)), base_folder(config))  # what comes with the package lies elsewhere on each
    yield from (path for path in made if path is not None and path.is_relative_to(cache_home()))

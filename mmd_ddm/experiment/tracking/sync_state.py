"""What of a run has been sent to MLflow; on disk beside the run, so that another process can go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmd_ddm.experiment.run_folder import write_json

MEMORY = "mlflow.json"


class Memory:
    """What has been sent, by kind.

    Args:
        file: Where it is kept; read if it exists.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.data: dict[str, Any] = {
            "run_id": None,
            "params": [],
            "tags": {},
            "latest": {},
            "final": {},
            "sheets": [],
            "artifacts": [],
            "closed": False,
        }
        if file.exists():
            self.data.update(json.loads(file.read_text()))

    def remember(self, **changes: Any) -> None:
        """Change some kinds, in the file too."""
        self.data.update(changes)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._file, self.data)

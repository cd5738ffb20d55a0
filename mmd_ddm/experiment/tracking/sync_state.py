"""What of a run has been sent to MLflow; on disk beside the run, so that another process can go on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mmd_ddm.files import write_json

FILE = "mlflow.json"


@dataclass
class SyncState:
    """What has been sent of a run.

    Args:
        run_id: MLflow's name of the run; None until the store has made it.
        params: Names of the parameters.
        tags: The tags.
        latest: The last update of each metric.
        final: Metrics that were known only at the end, by name and step.
        sheets: Updates of the sample sheets.
        artifacts: Files and folders.
        closed: Whether the run was ended.
    """

    run_id: str | None = None
    params: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    latest: dict[str, int] = field(default_factory=dict)
    final: dict[str, float] = field(default_factory=dict)
    sheets: list[int] = field(default_factory=list)
    artifacts: list[str] = field(default_factory=list)
    closed: bool = False

    @classmethod
    def read(cls, folder: Path) -> SyncState:
        """Read what is known of the run in a folder; nothing if it was never recorded."""
        file = folder / FILE
        return cls(**json.loads(file.read_text())) if file.is_file() else cls()

    def write(self, folder: Path) -> None:
        """Keep it in the run's folder."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / FILE, asdict(self))

"""A search that runs beside the other tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
STEPS, IMAGES = 2, 64
ARGUMENTS = ["--dataset", "digits", "--trials", 2, "--steps", STEPS, "--updates", 2, "--scorings", 2, "--score-images",
             IMAGES, "--final-images", IMAGES, "--concurrent", 1, "--output", "s"]  # fmt: skip


class RealStudy:
    """The command, in a working directory of its own."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="study"))
        kept = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
        command = [sys.executable, str(ROOT / "tune" / "search.py"), *map(str, ARGUMENTS)]
        with (self.folder / "said.txt").open("w") as said, (self.folder / "errors.txt").open("w") as errors:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=kept, stdout=said, stderr=errors, start_new_session=True
            )

    def finished(self) -> Path:
        """Wait for it, and return its directory."""
        status = self.process.wait(timeout=300)
        assert status == 0, (self.folder / "errors.txt").read_text()
        return self.folder

    def remove(self) -> None:
        """Leave nothing of it, whether it has ended or not."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait()
        shutil.rmtree(self.folder)

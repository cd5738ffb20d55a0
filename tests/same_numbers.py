"""Whether two revisions compute the same numbers: python tests/same_numbers.py REVISION [REVISION]

Runs a tiny study, a tiny ablation, an evaluation and the figures of the best model on digits in both (the second is the
working tree, if only one is named), and compares all scores, of every scoring of every trial, byte for byte, and the
weights of all models. Prints what differs; the exit status is 1 if anything does. Takes three minutes on two cores.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = (
    "tune/search.py --dataset digits --trials 3 --updates 4 --scorings 2 --score-images 200 --final-images 200 "
    "--concurrent 1 --output study",
    "tune/ablate.py --table VII --dataset digits --steps 2 --updates 3 --seeds 1 --final-images 60 --concurrent 1 "
    "--output ablation",
    "-m mmd_ddm evaluate --model study/best --images 200 --steps 3,5 --json evaluate.json",
    "-m mmd_ddm evaluate --model study/best --images 200 --sampler plms,ddim --seeds 2 --workers 2 "
    "--measures kid,fid,precision_recall,nn_auc --json measures.json",
    "-m mmd_ddm figures --model study/best --images 60 --output figures",
)
RESULTS = ("*/trials/*/metrics.jsonl", "*/trials/*/final_*.json", "*/bases/**/*.json", "study/scores.json", "*.json",
           "figures/figures.json", "*/trials/*/model/unet/*.safetensors", "study/leaderboard.csv",
           "ablation/*.csv")  # fmt: skip


def run(tree: Path, folder: Path) -> None:
    """Run the commands of a tree in an empty folder."""
    variables = {**os.environ, "PYTHONPATH": str(tree), "MMD_DDM_HOME": str(folder / "home")}
    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
        variables.pop(name, None)
    for command in COMMANDS:
        words = [str(tree / word) if word.startswith("tune/") else word for word in command.split()]
        print(f"{tree.name}: {command}", flush=True)
        subprocess.run([sys.executable, *words], cwd=folder, env=variables, check=True, stdout=subprocess.DEVNULL)


def results(folder: Path) -> dict[str, object]:
    """What is to be equal, by file: without times, and without where the folder lies."""
    found: dict[str, object] = {}
    for file in sorted({file for pattern in RESULTS for file in folder.glob(pattern)}):
        name, content = str(file.relative_to(folder)), file.read_bytes()
        if file.suffix == ".safetensors":
            found[name] = hashlib.sha256(content).hexdigest()
        elif file.suffix == ".csv":
            rows = [line.split(",") for line in content.decode().splitlines()]
            seconds = rows[0].index("seconds") if "seconds" in rows[0] else len(rows[0])
            found[name] = [row[:seconds] for row in rows]
        else:
            text = content.decode().replace(str(folder), "")
            lines = text.splitlines() if file.suffix == ".jsonl" else [text]
            found[name] = [_timeless(json.loads(line)) for line in lines]
    return found


def _timeless(value: object) -> object:
    return {k: v for k, v in value.items() if k not in ("time", "base")} if isinstance(value, dict) else value


def main(revisions: list[str]) -> int:
    """Compare; returns the exit status."""
    with tempfile.TemporaryDirectory() as scratch:
        found = []
        for place, revision in enumerate((*revisions, None)[:2]):
            tree, folder = ROOT, Path(scratch) / f"results{place}"
            if revision is not None:
                tree = Path(scratch) / f"tree{place}"
                subprocess.run(["git", "-C", str(ROOT), "worktree", "add", "--quiet", str(tree), revision], check=True)
            folder.mkdir()
            try:
                run(tree, folder)
            finally:
                if tree != ROOT:
                    subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(tree)], check=True)
            found.append(results(folder))
    one, other = found
    different = [name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]
    print("\n".join(f"different: {name}" for name in different))
    print(f"{len(one.keys() | other.keys())} files of numbers, {len(different)} different")
    return int(bool(different))


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))

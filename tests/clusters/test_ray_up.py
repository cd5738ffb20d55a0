"""`ray up clusters/a6000.yaml` on three hosts, a study by `ray job submit`, and the cluster taken down again."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.clusters.hosts import ADDRESSES, Hosts, left_behind, obstacle

ROOT = Path(__file__).resolve().parents[2]
STUDY = ["--dataset", "digits", "--trials", "2", "--steps", "2", "--updates", "4", "--scorings", "2", "--score-images",
         "64", "--final-images", "64", "--workers-per-trial", "2", "--concurrent", "1"]  # fmt: skip
# what a site puts down for one machine: here an environment that is there, no GPU, and one CPU, so that the two workers
# of a trial can't but run on two hosts; Ray lowers the priority of its workers, which starve beside other tests
OWN = f"""
export MMD_DDM_VENV={sys.prefix} MMD_DDM_GPUS=0 PYTHONPATH=~/mmd-ddm
export MMD_DDM_RAY_ARGS="--num-cpus=1 --object-store-memory=134217728" RAY_worker_niceness=0
"""
TOOLS = f"export PATH={sys.prefix}/bin:$PATH RAY_AUTH_MODE=token"
JOBS = "http://127.0.0.1:8265"
TUNNEL = "for i in $(seq 200); do (exec 3<>/dev/tcp/127.0.0.1/8265) 2>/dev/null && break; sleep 0.5; done"
RAY = "ps -eo args= | grep -cE '[s]ite-packages/ray/|[r]ay::' || true"

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(bool(obstacle()), reason=obstacle() or "-")]


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    folder = Path(tempfile.mkdtemp(prefix="hosts"))  # pytest's own may be removed by another run of pytest
    made = Hosts(folder, [Path(sys.prefix), Path(sys.base_prefix), ROOT])
    try:
        made.up({".mmd-ddm_env.NAME": OWN})
        yield made
    finally:
        made.down()
    assert left_behind(folder) == []
    shutil.rmtree(folder)


def filled_in(shared: Path) -> str:
    """The shipped file with what it says to edit."""
    config = yaml.safe_load((ROOT / "clusters" / "a6000.yaml").read_text())
    config["provider"] |= {"head_ip": ADDRESSES["head"], "worker_ips": [ADDRESSES["w1"], ADDRESSES["w2"]]}
    config["auth"] = {"ssh_user": "root", "ssh_private_key": "~/.ssh/id_ed25519"}
    commands = config["setup_commands"]
    assert "/mnt/mmd-ddm" in commands[0]
    commands[0] = commands[0].replace("/mnt/mmd-ddm", str(shared))
    return yaml.safe_dump(config)


def said(hosts: Hosts, name: str, line: str) -> str:
    """Run a line on a host in the project's folder, which must end well."""
    ended = hosts.run(name, f"{TOOLS}; {line}", str(ROOT))
    print(f"--- {name}$ {line}\n{ended.stdout}", flush=True)
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def alive(hosts: Hosts) -> int:
    """Nodes that the head's autoscaler, which says so every five seconds, knows to be there."""
    (log,) = (hosts.folder / "head" / "tmp" / "ray").glob("session_2*/logs/monitor.log")
    counts = re.findall(r"Active:\n (\d+) local.cluster.node", log.read_text())
    return int(counts[-1]) if counts else 0


def on_one_machine(folder: Path) -> Path:
    """The same study with Ray on this machine."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_", "MMD_DDM_"))
    }
    command = [sys.executable, str(ROOT / "tune" / "search.py"), *STUDY, "--output", str(folder / "here")]
    subprocess.run(command, cwd=folder, env=environment, check=True)
    return folder / "here"


def trial_numbers(study: Path) -> dict[str, object]:
    """What each trial recorded, update by update."""
    return {
        str(file.relative_to(study)): [
            {key: value for key, value in json.loads(line).items() if key != "time"}
            for line in file.read_text().splitlines()
        ]
        for file in sorted(study.glob("trials/*/metrics.jsonl"))
    }


def final_numbers(study: Path) -> dict[str, float]:
    """The final scores by model and measure: they are measured side by side, and listed as they come."""
    listed = json.loads((study / "scores.json").read_text())
    return {
        f"{json.dumps(each['model'], sort_keys=True)} {each['nfe']} {each['seed']} {name}": value
        for each in listed
        for name, value in each["scores"].items()
    }


def test_a_study_on_three_machines_gives_the_numbers_of_one(hosts: Hosts, tmp_path: Path) -> None:
    shared, file = hosts.shared, hosts.shared / "cluster.yaml"
    file.write_text(filled_in(shared))
    said(hosts, "op", "ray get-auth-token --generate >/dev/null && chmod 600 ~/.ray/auth_token")

    said(hosts, "op", f"ray up -y --log-style record {file}")
    deadline = time.monotonic() + 600  # on busy cores Ray gives up a node, and tries again
    while alive(hosts) < 3:
        assert time.monotonic() < deadline, hosts.run(
            "head", "tail -n 100 /tmp/ray/session_latest/logs/monitor.*"
        ).stdout
        time.sleep(1)
    printed = said(hosts, "op", f"ray exec {file} 'mmd-ddm doctor --cluster'")
    assert "gloo between 3 nodes" in printed
    assert "doctor: nothing is wrong" in printed

    said(hosts, "op", f"(ray dashboard {file} -p 8265 >/tmp/tunnel 2>&1 </dev/null &); {TUNNEL}")
    said(hosts, "op", f"! RAY_AUTH_MODE=disabled ray job list --address {JOBS}")  # without the token
    command = ["python", "tune/search.py", *STUDY, "--output", f"{shared}/studies/there"]
    said(hosts, "op", f"ray job submit --address {JOBS} --working-dir . -- {' '.join(command)}")
    printed = said(hosts, "head", "ray list actors --limit 1000 --format json 2>/dev/null")
    actors = json.loads(printed[printed.index("[") : printed.rindex("]") + 1])
    workers = [actor["node_id"] for actor in actors if actor["class_name"] == "RayTrainWorker"]
    assert len(workers) >= 4, actors  # two of each trial
    assert len(set(workers)) > 1, actors

    there, here = shared / "studies" / "there", on_one_machine(tmp_path)
    assert trial_numbers(there) == trial_numbers(here)
    # final scores use the cores of the machine that has them, and float64 sums have other orders with other threads
    assert final_numbers(there) == pytest.approx(final_numbers(here), rel=1e-9, abs=1e-9)
    assert (shared / "mlflow.db").is_file()

    said(hosts, "op", f"bash clusters/down.sh {file}")
    assert {name: hosts.run(name, RAY).stdout.split()[-1] for name in ADDRESSES} == dict.fromkeys(ADDRESSES, "0")

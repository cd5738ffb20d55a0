"""A cluster of three hosts that `ray up clusters/a6000.yaml` starts, and what is typed on its machines."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.clusters.hosts import ADDRESSES, Hosts, left_behind

ROOT = Path(__file__).resolve().parents[2]
# what a site puts down for one machine: here an environment that is there, no GPU, and one CPU, so that the two workers
# of a trial can't but run on two hosts; Ray lowers the priority of its workers, which starve beside other tests
OWN = f"""
export MMD_DDM_VENV={sys.prefix} MMD_DDM_GPUS=0 PYTHONPATH=~/mmd-ddm
export MMD_DDM_RAY_ARGS="--num-cpus=1 --object-store-memory=134217728" RAY_worker_niceness=0
"""
TOOLS = f"export PATH={sys.prefix}/bin:$PATH RAY_AUTH_MODE=token"
JOBS = "http://127.0.0.1:8265"
TUNNEL = "for i in $(seq 200); do (exec 3<>/dev/tcp/127.0.0.1/8265) 2>/dev/null && break; sleep 0.5; done"


@contextmanager
def started_cluster() -> Iterator[tuple[Hosts, Path]]:
    """Three hosts whose Ray `ray up` has started, and the file that it was started with; all is taken away after it."""
    folder = Path(tempfile.mkdtemp(prefix="hosts"))  # pytest's own may be removed by another run of pytest
    hosts = Hosts(folder, [Path(sys.prefix), Path(sys.base_prefix), ROOT])
    try:
        hosts.up({".mmd-ddm_env.NAME": OWN})
        yield hosts, _ray_up(hosts)
    finally:
        hosts.down()
    assert left_behind(folder) == []
    shutil.rmtree(folder)


def _ray_up(hosts: Hosts) -> Path:
    file = hosts.shared / "cluster.yaml"
    file.write_text(_filled_in(hosts.shared))
    said(hosts, "op", "ray get-auth-token --generate >/dev/null && chmod 600 ~/.ray/auth_token")
    said(hosts, "op", f"ray up -y --log-style record {file}")
    deadline = time.monotonic() + 600  # on busy cores Ray gives up a node, and tries again
    while alive(hosts) < 3:
        log = "tail -n 100 /tmp/ray/session_latest/logs/monitor.*"
        assert time.monotonic() < deadline, hosts.run("head", log).stdout
        time.sleep(1)
    said(hosts, "op", f"(ray dashboard {file} -p 8265 >/tmp/tunnel 2>&1 </dev/null &); {TUNNEL}")
    return file


def _filled_in(shared: Path) -> str:
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

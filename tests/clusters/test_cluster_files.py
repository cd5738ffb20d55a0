"""What can be known of the cluster files without a cluster: Ray takes them, and they name what is there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement

from mmd_ddm.cli.main import build_parser

ROOT = Path(__file__).resolve().parents[2]
CLUSTERS = ROOT / "clusters"
LAUNCHED = ["a6000.yaml", "localhost.yaml", "aws.yaml"]  # by `ray up`
SCRIPTS = sorted(path.name for path in CLUSTERS.glob("*.sh"))


def read(name: str) -> dict[str, object]:
    return dict(yaml.safe_load((CLUSTERS / name).read_text()))


def commands(content: object) -> Iterator[list[str]]:
    """Each command line of `mmd-ddm` in a file, as words."""
    if isinstance(content, str):
        yield from (line.split()[1:] for line in re.findall(r"mmd-ddm doctor[^;&|]*", content))
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from commands(value)
    elif isinstance(content, list):
        if content[:2] == ["mmd-ddm", "doctor"]:
            yield content[1:]
        for value in content:
            yield from commands(value)


@pytest.mark.parametrize("name", LAUNCHED)
def test_rays_schema_takes_the_file(name: str) -> None:
    ray = find_spec("ray")  # not imported, which takes seconds
    assert ray is not None
    schema = Path(str(ray.origin)).parent / "autoscaler" / "ray-schema.json"
    jsonschema.validate(read(name), json.loads(schema.read_text()))


@pytest.mark.parametrize("name", LAUNCHED)
def test_what_is_copied_to_the_machines_is_there_and_enough_to_install(name: str) -> None:
    mounts = read(name)["file_mounts"]
    assert isinstance(mounts, dict)
    own = {there: here for there, here in mounts.items() if there.startswith("~/mmd-ddm/")}
    assert {there.removeprefix("~/mmd-ddm/") for there in own} == set(own.values())
    assert all((ROOT / here).exists() for here in own.values())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {project["readme"], *project["license-files"], "pyproject.toml", "mmd_ddm", "tune"} <= set(own.values())


@pytest.mark.parametrize("name", LAUNCHED)
def test_ray_is_stopped_before_it_is_started_by_the_script(name: str) -> None:
    content = read(name)
    for who in ("head", "worker"):
        lines = content[f"{who}_start_ray_commands"]
        assert isinstance(lines, list)
        if lines:
            assert lines[0] == "ray stop"
            assert lines[-1].endswith(f"bash ~/mmd-ddm/clusters/start_ray.sh {who}")


@pytest.mark.parametrize("name", [*LAUNCHED, "kuberay.yaml"])
def test_the_doctor_is_called_with_options_that_it_has(name: str) -> None:
    found = [list(commands(part)) for part in yaml.safe_load_all((CLUSTERS / name).read_text())]
    lines = [line for part in found for line in part]
    assert lines
    for line in lines:
        words = [re.sub(r"^\$\w+$", "4", word) for word in line]
        assert build_parser().parse_args(words).execute.__module__ == "mmd_ddm.cli.doctor"


@pytest.mark.parametrize("name", SCRIPTS)
def test_bash_can_read_the_scripts(name: str) -> None:
    subprocess.run(["bash", "-n", str(CLUSTERS / name)], check=True)


def test_the_environment_says_where_things_are(tmp_path: Path) -> None:
    """In a shell that knows nothing else; what a machine says of itself wins."""
    (tmp_path / ".mmd-ddm_env").write_text("export MMD_DDM_SHARED=/mnt/all MMD_DDM_GPUS=4\n")
    (tmp_path / ".mmd-ddm_env.m1").write_text("export MMD_DDM_GPUS=2 MLFLOW_TRACKING_URI=http://10.0.0.1:5000\n")
    (tmp_path / ".mmd-ddm_doctor.m1").write_text("export NCCL_P2P_DISABLE=1\n")
    line = f"set -eu; HOSTNAME=m1; . {CLUSTERS / 'environment.sh'}; exec {sys.executable} -c "
    line += "'import json, os; print(json.dumps(dict(os.environ)))'"
    variables = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    ended = subprocess.run(["bash", "-c", line], env=variables, capture_output=True, text=True, check=True)
    found = json.loads(ended.stdout)
    assert found["PATH"].startswith(f"{tmp_path}/.mmd-ddm-venv/bin:")
    expected = {
        "RAY_AUTH_MODE": "token", "MMD_DDM_SHARED": "/mnt/all", "MMD_DDM_HOME": "/mnt/all/cache", "MMD_DDM_GPUS": "2",
        "MLFLOW_TRACKING_URI": "http://10.0.0.1:5000", "NCCL_P2P_DISABLE": "1",
    }  # fmt: skip
    assert {name: found.get(name) for name in expected} == expected


def test_ray_is_started_with_what_it_gets_wrong_put_right(tmp_path: Path) -> None:
    """With a `ray` that tells how it was called, as the launcher calls it."""
    tool = tmp_path / "ray"
    tool.write_text('#!/bin/bash\necho "$@"\nenv | grep -E "OMP_NUM|autoscaler|SOCKET|USAGE"\n')
    tool.chmod(0o755)
    (tmp_path / "ray_bootstrap_config.yaml").write_text('{"provider": {"head_ip": "127.0.0.1", "worker_ips": []}}')
    launcher = {"OMP_NUM_THREADS": "1", "RAY_enable_autoscaler_v2": "1", "RAY_USAGE_STATS_ENABLED": "1"}
    variables = {
        "HOME": str(tmp_path),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "RAY_HEAD_IP": "127.0.0.1",
        **launcher,
    }
    for role, told in (("head", "--head --node-ip-address=127.0.0.1"), ("worker", "--address=127.0.0.1:6379")):
        command = ["bash", str(CLUSTERS / "start_ray.sh"), role]
        lines = subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout.splitlines()
        assert lines[0].startswith(f"start {told}")
        expected = ["GLOO_SOCKET_IFNAME=lo", "NCCL_SOCKET_IFNAME==lo", "RAY_USAGE_STATS_ENABLED=0"]
        assert sorted(lines[1:]) == [*expected, "RAY_enable_autoscaler_v2=0"]


def test_the_lock_file_pins_what_the_project_needs_and_names_no_place() -> None:
    text = (CLUSTERS / "requirements.lock").read_text()
    assert "://" not in text
    assert "--index" not in text.replace("--no-emit-index-url", "")
    pins = dict(line.split("==") for line in text.splitlines() if not line.startswith("#"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for line in [*project["dependencies"], *project["optional-dependencies"]["lsun"]]:
        needed = Requirement(line)
        assert needed.specifier.contains(pins[needed.name.lower().replace("_", "-")]), line

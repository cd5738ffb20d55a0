"""Several hosts on one Linux machine, each with its own network, processes, disk and sshd; needs root.

A host is a set of namespaces (network, processes, mounts, name, shared memory) whose first process is an sshd. Its
/tmp, /root, /run, /dev/shm and /etc/hosts are its own; all else is this machine's. As on Debian and Ubuntu its own name
stands for 127.0.1.1. It has no way to anywhere but the other hosts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ADDRESSES = {"op": "10.88.0.2", "head": "10.88.0.10", "w1": "10.88.0.11", "w2": "10.88.0.12"}
_PREFIX = "mmdddm-"  # of the network namespaces
_SWITCH = f"{_PREFIX}switch"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TOOLS = ("ip", "nsenter", "unshare", "rsync", "ssh", "ssh-keygen", "/usr/sbin/sshd", "ps")

_INIT = r"""
set -e
mount --make-rprivate /
hostname "$NAME"
for path in $VISIBLE; do
    mkdir -p "$DISK$path"; mount --bind "$path" "$DISK$path"; mount -o remount,ro,bind "$DISK$path"
done
mkdir -p "$DISK$SHARED"; mount --bind "$SHARED" "$DISK$SHARED"
mount -t tmpfs -o mode=1777,size=2g shm /dev/shm
mount --bind "$DISK/hosts" /etc/hosts
mount --rbind "$DISK/root" /root
mount --rbind "$DISK/tmp" /tmp
mount -t tmpfs -o mode=755,size=16m run /run
mkdir -p /run/sshd
ip link set lo up
/usr/sbin/sshd -D -e -f /root/.sshd/config &
sshd=$!
while kill -0 $sshd 2>/dev/null; do wait $sshd || :; done  # the first process reaps what others leave
"""


def obstacle() -> str:
    """What keeps hosts from being made here, or nothing."""
    if os.geteuid():
        return "needs root"
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"needs {', '.join(missing)} (iproute2, openssh-server, openssh-client, rsync, procps)"
    probe = ["unshare", "--mount", "--net", "--pid", "--fork", "ip", "link", "add", "x", "type", "bridge"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        return "needs network namespaces"
    return ""


class Hosts:
    """The hosts op (where `ray up` is typed), head, w1 and w2.

    Args:
        folder: Holds their disks.
        visible: Folders of this machine below /tmp or /root that they see, read-only.
    """

    def __init__(self, folder: Path, visible: Sequence[Path]) -> None:
        self.folder, self.shared = folder, folder / "shared"
        hidden = sorted({str(path.resolve()) for path in visible})
        self._visible = [path for path in hidden if path.startswith(("/tmp/", "/root/"))]
        self._outer: dict[str, subprocess.Popen[bytes]] = {}

    def up(self, files: Mapping[str, str]) -> None:
        """Make and start them; `files` are put into the home folder of each, NAME in a path being the host's."""
        self.shared.mkdir(parents=True)
        _run("ip", "netns", "add", _SWITCH)
        _run("ip", "-n", _SWITCH, "link", "add", "br0", "type", "bridge")
        _run("ip", "-n", _SWITCH, "link", "set", "br0", "up")
        key = self.folder / "key"
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
        for name, address in ADDRESSES.items():
            self._make_disk(name, address, key, files)
            self._connect(name, address)
            self._boot(name)
        for name in ADDRESSES:
            self._wait_for_sshd(name)

    def _make_disk(self, name: str, address: str, key: Path, files: Mapping[str, str]) -> None:
        disk = self.folder / name
        home = disk / "root"
        for path in (home / ".ssh", home / ".sshd", disk / "tmp"):
            path.mkdir(parents=True)
        (disk / "tmp").chmod(0o1777)
        home.chmod(0o700)
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / ".sshd" / "key"))
        (home / ".sshd" / "config").write_text(
            f"ListenAddress {address}\nHostKey /root/.sshd/key\nPidFile /run/sshd.pid\nStrictModes no\nUsePAM no\n"
            "PasswordAuthentication no\nAuthorizedKeysFile /root/.ssh/authorized_keys\n"
        )
        shutil.copy(key.with_suffix(".pub"), home / ".ssh" / "authorized_keys")
        if name == "op":
            shutil.copy(key, home / ".ssh" / "id_ed25519")
        others = [f"{there} {other}\n" for other, there in ADDRESSES.items() if other != name]
        (disk / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {name}\n{''.join(others)}")
        (home / ".bashrc").write_text("case $- in *i*) ;; *) return;; esac\n")  # as Debian's begins
        (home / ".profile").write_text(". ~/.bashrc\n")
        for file, text in files.items():
            (home / file.replace("NAME", name)).write_text(text)

    def _connect(self, name: str, address: str) -> None:
        space = f"{_PREFIX}{name}"
        _run("ip", "netns", "add", space)
        _run("ip", "-n", _SWITCH, "link", "add", f"v-{name}", "type", "veth", "peer", "name", "eth0", "netns", space)
        _run("ip", "-n", _SWITCH, "link", "set", f"v-{name}", "master", "br0", "up")
        _run("ip", "-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
        _run("ip", "-n", space, "link", "set", "eth0", "up")

    def _boot(self, name: str) -> None:
        variables = {"PATH": _PATH, "HOME": "/root", "NAME": name, "DISK": str(self.folder / name),
                     "VISIBLE": " ".join(self._visible), "SHARED": str(self.shared)}  # fmt: skip
        spaces = ("--mount", "--pid", "--uts", "--ipc", "--fork", "--mount-proc", "--kill-child")
        command = ["nsenter", f"--net=/run/netns/{_PREFIX}{name}", "unshare", *spaces, "bash", "-c", _INIT]
        with (self.folder / name / "log").open("wb") as log:
            self._outer[name] = subprocess.Popen(command, env=variables, stdout=log, stderr=log, start_new_session=True)

    def _wait_for_sshd(self, name: str) -> None:
        deadline = time.monotonic() + 30
        probe = ["nsenter", f"--net=/run/netns/{_PREFIX}{name}", "bash", "-c", f"exec 3<>/dev/tcp/{ADDRESSES[name]}/22"]
        while subprocess.run(probe, capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, (self.folder / name / "log").read_text()
            time.sleep(0.1)

    def run(self, name: str, line: str, folder: str = "/root") -> subprocess.CompletedProcess[str]:
        """Run a line of an interactive login shell on a host, in one of its folders; returns what it printed."""
        (first,) = Path(f"/proc/{self._outer[name].pid}/task/{self._outer[name].pid}/children").read_text().split()
        command = ["nsenter", "-t", first, "-m", "-n", "-p", "-u", "-i", "--"]
        variables = {"HOME": "/root", "USER": "root", "PATH": _PATH, "LANG": "C.UTF-8", "TERM": "dumb"}
        command += ["bash", "-lic", f"cd {folder} && {line}"]
        nothing, together = subprocess.DEVNULL, subprocess.STDOUT
        return subprocess.run(
            command, env=variables, stdin=nothing, stdout=subprocess.PIPE, stderr=together, text=True, check=False
        )

    def link(self, name: str, state: str) -> None:
        """Cut the cable of a host (`down`), or put it back (`up`)."""
        _run("ip", "-n", _SWITCH, "link", "set", f"v-{name}", state)

    def down(self) -> None:
        """End all their processes and remove their networks."""
        for process in self._outer.values():
            process.kill()  # and with it the host's first process, and so all of them
            process.wait()
        for name in (*ADDRESSES, "switch"):
            subprocess.run(["ip", "netns", "del", f"{_PREFIX}{name}"], capture_output=True, check=False)


def left_behind(folder: Path) -> list[str]:
    """Network namespaces and mounts of hosts that are still there."""
    spaces = [line for line in _run("ip", "netns", "list").splitlines() if line.startswith(_PREFIX)]
    return [*spaces, *(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"{folder}/" in line)]


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout

"""What is told when the kernel ends a worker."""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest
import torch.multiprocessing

from mmd_ddm.errors import ResourceError
from mmd_ddm.experiment.distributed.processes import in_processes


class Started:
    """Two workers: the second was killed, the first says that its connection is broken."""

    def __init__(self, codes: tuple[int, int]) -> None:
        self.processes = [SimpleNamespace(exitcode=code) for code in codes]

    def join(self) -> bool:
        raise torch.multiprocessing.ProcessRaisedException("gloo: connection closed", 0, 7)


@pytest.mark.parametrize(
    ("codes", "kind", "words"),
    [
        ((1, -signal.SIGKILL), ResourceError, "killed, most likely because memory ran out; ask for fewer --workers"),
        ((1, -signal.SIGTERM), RuntimeError, "a worker failed: gloo"),
    ],
)
def test_a_killed_worker_is_told_as_what_it_is(
    codes: tuple[int, int], kind: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.multiprocessing, "spawn", lambda *arguments, join: Started(codes))
    with pytest.raises(kind, match=words):
        in_processes(lambda collective, device: None, 2)

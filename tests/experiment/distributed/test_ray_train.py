import itertools
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from mmd_ddm.errors import DivergenceError, ResourceError, UserError
from mmd_ddm.experiment.distributed import shared_storage
from mmd_ddm.experiment.distributed.retry import explain
from mmd_ddm.experiment.distributed.run import run_distributed
from mmd_ddm.experiment.distributed.train import Job, run_job
from mmd_ddm.experiment.presets import preset
from mmd_ddm.experiment.run_folder import latest_checkpoint, read_rows, read_scorings

TINY = {"updates": 4, "scorings": 2, "score_images": 60, "batch": 10}


def worker_group_error(**failures):
    from ray.train.v2.api.exceptions import WorkerGroupError

    return WorkerGroupError("many lines\nof a stack", {int(rank[1:]): error for rank, error in failures.items()})


def health_check_failure():
    from ray.exceptions import RayActorError
    from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

    return WorkerHealthCheckFailedError("gone", RayActorError())


def test_a_dead_process_is_retried_whatever_its_partners_say():
    reason, retry = explain(worker_group_error(r0=RuntimeError("connection closed"), r1=health_check_failure()))
    assert retry
    assert isinstance(reason, ResourceError)
    assert "worker 1 died: it was killed, most likely because memory ran out; lower batch" in str(reason)


def test_a_death_of_what_drives_the_workers_is_retried_too():
    from ray.exceptions import RayActorError

    reason, retry = explain(RayActorError())
    assert retry
    assert isinstance(reason, ResourceError)
    assert "drives the workers died" in str(reason)


@pytest.mark.parametrize("error", [DivergenceError("loss nan"), UserError("wrong"), KeyError("a bug")])
def test_an_exception_comes_out_as_it_was_raised_and_is_not_retried(error):
    reason, retry = explain(worker_group_error(r1=error))
    assert reason is error
    assert not retry


def test_our_own_errors_win_over_what_they_cause_elsewhere():
    diverged = DivergenceError("loss nan")
    assert explain(worker_group_error(r0=RuntimeError("gloo: broken"), r1=diverged)) == (diverged, False)


def test_the_latest_whole_checkpoint_is_found_wherever_a_death_left_it(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    (tmp_path / "checkpoint.former").mkdir()
    assert latest_checkpoint(tmp_path) == tmp_path / "checkpoint.former"
    (tmp_path / "checkpoint").mkdir()
    assert latest_checkpoint(tmp_path) == tmp_path / "checkpoint"


def test_rows_are_read_from_where_they_were_left(tmp_path):
    file = tmp_path / "metrics.jsonl"
    assert read_rows(file) == ([], 0)
    file.write_text('{"update": 1}\n{"upd')
    rows, position = read_rows(file)
    assert rows == [{"update": 1}]
    file.write_text('{"update": 1}\n{"update": 2}\ntorn\n')
    assert read_rows(file, position)[0] == [{"update": 2}]
    assert read_rows(file, 10_000)[0] == [{"update": 1}, {"update": 2}]


def test_a_folder_that_is_not_here_is_said(tmp_path, monkeypatch):
    from mmd_ddm.discrepancy.collective import SingleCollective

    monkeypatch.setattr(shared_storage, "MOUNTED", 0.0)
    job = Job(preset("best", "digits"), str(tmp_path / "nowhere"))
    with pytest.raises(ResourceError, match="isn't visible on"):
        run_job(job, SingleCollective(), print)


def config():
    return preset("best", "digits").replace(**TINY)


def kill_a_worker(group):
    """Kill one Ray Train worker process among this process's descendants."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            title = (process / "cmdline").read_bytes()
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        if b"RayTrainWorker" in title and group.encode() in environment:
            os.kill(int(process.name), signal.SIGKILL)
            return


def test_two_workers_do_what_one_process_does(tmp_path, monkeypatch):
    from mmd_ddm.discrepancy.collective import SingleCollective

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    alone, together = tmp_path / "alone", tmp_path / "together"
    alone.mkdir()
    run_job(Job(config(), str(alone)), SingleCollective(), lambda metrics: None)
    reports = []
    run_distributed(config(), together, workers=2, report=reports.append)
    assert [row["update"] for row in reports] == [2, 4]
    assert "RAY_ADDRESS" not in os.environ
    assert (together / "model" / "model_index.json").is_file()
    for one, two in zip(read_scorings(alone), read_scorings(together), strict=True):
        assert one.score == pytest.approx(two.score, rel=1e-2)  # float32 sums in another order, four updates


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_goes_on_from_the_checkpoint(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    mark = f"mmd_ddm_test_{os.getpid()}"
    monkeypatch.setenv("PYTHONPATH", f"/{mark}")  # travels into the workers' environment
    folder, killed = tmp_path / "run", threading.Event()

    def kill_once(metrics):
        if not killed.is_set():
            while latest_checkpoint(folder) is None:
                time.sleep(0.01)
            kill_a_worker(mark)
            killed.set()

    run_distributed(config().replace(updates=60, scorings=30), folder, workers=2, report=kill_once)
    rows = [row for row in read_rows(folder / "metrics.jsonl")[0] if "grad_norm" in row and "score" not in row]
    assert killed.is_set()
    assert [row["update"] for row in rows] == list(range(1, 61))
    times = [row["time"] for row in rows]
    assert max(b - a for a, b in itertools.pairwise(times)) > 3  # the new process's imports


@pytest.mark.slow
def test_a_divergence_in_a_worker_comes_out_at_once(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    hot = config().replace(learning_rate=1.0, clip=None, image_range="none", updates=60, scorings=1)
    started = time.monotonic()
    with pytest.raises(DivergenceError, match="diverged"):
        run_distributed(hot, tmp_path / "run", workers=2, report=print)
    assert time.monotonic() - started < 120


@pytest.mark.slow
def test_too_many_workers_are_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match="needs 1000 x 1 CPUs"):
        run_distributed(config(), tmp_path / "run", workers=1000, report=print)

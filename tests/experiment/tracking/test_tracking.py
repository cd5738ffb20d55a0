import json
import logging

import pytest
from PIL import Image

from mmd_ddm.cli.main import main
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.tracking import tracked_run
from mmd_ddm.experiment.tracking import tracker as tracking
from mmd_ddm.experiment.tracking.store import check_reachable, tracking_uri, ui_command
from mmd_ddm.experiment.tracking.tracker import Tracker, model_artifact


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(tracking, "PAUSE", 0.0)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def write(folder, first, last, value=1.0):
    with (folder / "metrics.jsonl").open("a") as file:
        for update in range(first, last + 1):
            row = {"update": update, "time": 1e9 + update, "mmd2": value / update, "note": "x", "bad": float("nan")}
            file.write(json.dumps(row) + "\n")


def follow(tracker, folder, **changes):
    return tracker.follow(
        folder,
        **{"name": "a run", "description": "", "params": {"clip": None, "steps": 5}, "tags": {"k": "v"}, **changes},
    )


def stored(run, key="mmd2"):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri())
    return client.get_run(run.run_id), client.get_metric_history(run.run_id, key), client


class Outage:
    """Makes every metric request fail while it is on."""

    def __init__(self, monkeypatch):
        from mlflow import MlflowClient

        self.on, send = False, MlflowClient.log_batch

        def log_batch(client, run_id, **content):
            if self.on and content.get("metrics"):
                raise ConnectionError("the server is away\nand more")
            return send(client, run_id, **content)

        monkeypatch.setattr(MlflowClient, "log_batch", log_batch)


def test_a_run_is_recorded_whole(folder):
    tracker = Tracker("experiment")
    parent_folder = folder.parent / "parent"
    parent = follow(tracker, parent_folder, name="parent")
    run = follow(tracker, folder, parent=parent)
    write(folder, 1, 3)
    assert run.send().result()
    write(folder, 4, 5)
    Image.new("L", (8, 8)).save(folder / "samples_000005.png")
    (folder / "model").mkdir()
    (folder / "model" / "model_index.json").write_text("{}")
    run.close("FAILED", {"reason": "it diverged"}, model_artifact(folder))
    assert tracker.close() == []

    info, history, client = stored(run)
    assert info.data.params == {"clip": "none", "steps": "5"}
    assert info.data.tags["reason"] == "it diverged"
    assert info.data.tags["mlflow.parentRunId"] == parent.run_id
    assert info.info.status == "FAILED"
    assert [(each.step, each.value) for each in history] == [(u, 1 / u) for u in range(1, 6)]
    assert {"bad", "note", "time", "update"}.isdisjoint(info.data.metrics)
    assert {each.path for each in client.list_artifacts(run.run_id)} == {"images", "model"}
    assert folder.parent.joinpath("mlruns").is_dir()


def test_a_score_at_one_of_several_budgets_has_a_name_that_mlflow_allows(folder):
    tracker = Tracker("experiment")
    run = follow(tracker, folder)
    (folder / "metrics.jsonl").write_text(json.dumps({"update": 1, "time": 1e9, "kid_a@2": 0.5}) + "\n")
    run.close("FINISHED")
    assert tracker.close() == []
    assert [each.value for each in stored(run, "kid_a/2")[1]] == [0.5]


def test_an_outage_delays_and_loses_nothing(folder, monkeypatch, caplog):
    outage = Outage(monkeypatch)
    tracker = Tracker("experiment")
    run = follow(tracker, folder)
    write(folder, 1, 2)
    assert run.send().result()
    outage.on = True
    write(folder, 3, 4)
    with caplog.at_level(logging.WARNING):
        assert not run.send().result()
    assert "the server is away" in caplog.text
    assert "and more" not in caplog.text
    outage.on = False
    assert run.close("FINISHED").result()
    assert tracker.close() == []
    info, history, _ = stored(run)
    assert [each.step for each in history] == [1, 2, 3, 4]
    assert info.info.status == "FINISHED"


def test_what_was_not_sent_is_named_and_sent_by_the_next_process(folder, monkeypatch):
    outage = Outage(monkeypatch)
    outage.on = True
    first = Tracker("experiment")
    run = follow(first, folder)
    write(folder, 1, 3)
    run.close("FINISHED")
    assert first.close() == [folder]
    outage.on = False
    second = Tracker("experiment")
    again = follow(second, folder)
    again.close("FINISHED")
    assert second.close() == []
    assert again.run_id == run.run_id
    info, history, _ = stored(again)
    assert len(history) == 3
    assert info.info.status == "FINISHED"


def test_after_an_outage_the_server_is_left_alone_for_a_while(folder, monkeypatch):
    monkeypatch.setattr(tracking, "PAUSE", 1000.0)
    outage = Outage(monkeypatch)
    tracker = Tracker("experiment")
    run = follow(tracker, folder)
    write(folder, 1, 1)
    outage.on = True
    assert not run.send().result()
    outage.on = False
    assert not run.send().result()
    assert tracker.close() == []  # the last attempt is made whatever the time


def test_repeated_and_resumed_rows_are_stored_once(folder):
    tracker = Tracker("experiment")
    run = follow(tracker, folder)
    write(folder, 1, 6)
    run.send().result()
    (folder / "metrics.jsonl").unlink()  # a run that is resumed drops what came after its checkpoint and repeats it
    write(folder, 1, 4)
    run.send().result()
    write(folder, 5, 8)
    run.send().result()
    tracker.close()
    assert [each.step for each in stored(run)[1]] == list(range(1, 9))


def test_half_a_line_is_left_for_later(folder):
    tracker = Tracker("experiment")
    run = follow(tracker, folder)
    write(folder, 1, 1)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"update": 2, "time": 2e9, ')
    run.send().result()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('"mmd2": 7.0}\n')
    tracker.close()
    assert [(each.step, each.value) for each in stored(run)[1]] == [(1, 1.0), (2, 7.0)]


def test_many_metrics_are_sent_in_parts(folder, monkeypatch):
    monkeypatch.setattr(tracked_run, "BATCH", 10)
    tracker = Tracker("experiment")
    run = follow(tracker, folder)
    write(folder, 1, 35)
    tracker.close()
    assert len(stored(run)[1]) == 35


def test_the_store_is_local_unless_the_environment_names_one(tmp_path, monkeypatch):
    assert tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"
    assert ui_command() == "mlflow ui"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////elsewhere/m.db")
    assert ui_command() == "mlflow ui --backend-store-uri sqlite:////elsewhere/m.db"


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "http://no-such-host.invalid:5000"])
def test_a_server_that_does_not_answer_is_said_in_one_sentence(monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match=r"^No MLflow server answers at [^\n]+$"):
        check_reachable()


def test_a_store_that_can_not_be_used_is_said_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("no database")
    with pytest.raises(UserError, match=r"^MLflow's store [^\n]+ can't be used"):
        Tracker("experiment", uri=f"sqlite:///{tmp_path}/file").check()


def test_the_command_records_its_run(tmp_path, capsys):
    from mlflow import MlflowClient

    sizes = ["--updates", "2", "--scorings", "1", "--score-images", "20", "--batch", "8", "--steps", "3"]
    assert main(["finetune", "--output", str(tmp_path / "one"), "--mlflow", *sizes]) == 0
    assert "mlflow ui" in capsys.readouterr().out
    client = MlflowClient(tracking_uri())
    (experiment,) = client.search_experiments(filter_string="name = 'mmd-ddm digits'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.tags["steps"] == run.data.params["steps"] == "3"
    assert {"mmd2", "score"} <= set(run.data.metrics)


def test_what_is_known_at_the_end_is_stored_once_and_changed_files_are_sent_again(folder):
    report = folder / "report.md"
    for attempt, value in enumerate((1.0, 1.0, 2.0)):  # a study that is continued twice
        report.write_text(f"{value}")
        tracker = Tracker("experiment")
        run = follow(tracker, folder)
        run.close("FINISHED", {}, [(report, "")], [("base_kid", 9.0, 5), ("base_kid", 3.0, 20), ("best_kid", value, 5)])
        assert tracker.close() == [], attempt
    info, history, client = stored(run, "base_kid")
    assert [(each.step, each.value) for each in history] == [(5, 9.0), (20, 3.0)]
    assert info.data.metrics == {"base_kid": 3.0, "best_kid": 2.0}
    assert [each.value for each in client.get_metric_history(run.run_id, "best_kid")] == [1.0, 2.0]
    with open(client.download_artifacts(run.run_id, "report.md")) as stream:
        assert stream.read() == "2.0"

"""What the pages of MLflow's UI read of a study with a complete, a stopped and two failed trials."""

import pytest

from mmd_ddm.experiment.tracking.description import describe_run, describe_search
from mmd_ddm.experiment.tracking.tracker import Tracker, model_artifact, tags

NOTE = "mlflow.note.content"


@pytest.fixture
def runs(store, finetuned, config, tmp_path):
    """MLflow's runs by name: those of a study, and the study itself."""
    tracker = Tracker("mmd-ddm digits")
    words = describe_search("study", config, ("learning_rate", "kernel"))
    params = {**config.flat(), "space.kernel": "cubic,rbf"}
    study = tracker.follow(tmp_path / "runs", name="study", description=words, params=params, tags={"study": "study"})
    trials = [("0", 8, "completed", 1e-5), ("1", 4, "stopped", 2e-5), ("2", 1, "failed", 0.9), ("3", 0, "failed", 0.9)]
    status = {"completed": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
    for name, done, outcome, rate in trials:
        own = config.replace(learning_rate=rate, clip=None if name == "0" else 1.0)
        words = {**tags(own), "study": "study", "trial": name}
        description = describe_run(f"Trial {name} of study", own)
        folder = finetuned(name, done)
        run = tracker.follow(folder, name=name, description=description, params=own.flat(), tags=words, parent=study)
        reason = {"reason": "the loss is nan"} if outcome == "failed" else {}
        run.close(status[outcome], {"outcome": outcome, **reason}, model_artifact(folder))
    study.close("FINISHED", {NOTE: "It improves."}, (), [("finetuned_kid_a", 0.1, 5)])
    assert tracker.close() == []
    experiment = store.get_experiment_by_name("mmd-ddm digits")
    return {run.info.run_name: run for run in store.search_runs([experiment.experiment_id])}


def test_trials_are_compared_by_params_and_metrics_that_all_of_them_have(runs, config):
    trials = [runs[name] for name in "0123"]
    assert all(run.data.params.keys() == config.flat().keys() for run in trials)
    assert all(run.data.tags["mlflow.parentRunId"] == runs["study"].info.run_id for run in trials)
    evaluated = {"score", "kid_a", "kid_a_stderr", "fid_a_100", "mmd2", "grad_norm", "images_seen"}
    assert runs["0"].data.metrics.keys() == runs["1"].data.metrics.keys() == evaluated
    assert runs["2"].data.metrics.keys() == {"mmd2", "grad_norm"}
    assert runs["3"].data.metrics == {}
    assert [run.data.params["learning_rate"] for run in trials] == ["1e-05", "2e-05", "0.9", "0.9"]
    assert [run.data.params["clip"] for run in trials] == ["none", "1.0", "1.0", "1.0"]


def test_what_complete_trials_alone_know_is_a_tag(runs):
    assert runs["0"].data.tags["score_raw"] == "0.5"
    assert runs["0"].data.tags["score_ema"] == "1"
    assert "score_raw" not in runs["1"].data.tags


def test_curves_and_sample_sheets_are_by_update(store, runs):
    for name, updates in (("0", [4, 8]), ("1", [4])):
        run_id = runs[name].info.run_id
        assert [each.step for each in store.get_metric_history(run_id, "score")] == updates
        assert [each.step for each in store.get_metric_history(run_id, "mmd2")] == list(range(1, updates[-1] + 1))
        # the image slider reads key and step from the names: <key>%step%<step>%timestamp%...
        sheets = {each.path.replace("%", "+").removeprefix("images/").split("+timestamp")[0] for each in
                  store.list_artifacts(run_id, "images")}  # fmt: skip
        assert sheets == {f"samples+step+{update}" for update in updates}
        assert runs[name].data.tags["mlflow.loggedImages"] == "True"  # else the UI doesn't look for images
    assert [each.path for each in store.list_artifacts(runs["0"].info.run_id, "model")] == ["model/model_index.json"]
    assert store.list_artifacts(runs["1"].info.run_id, "model") == []


def test_each_page_says_what_it_shows(runs):
    notes = {name: run.data.tags[NOTE] for name, run in runs.items()}
    assert notes["study"].startswith("Search study: the digits base model finetuned for 5 network evaluations")
    assert "over learning_rate, kernel." in notes["study"]
    assert notes["study"].endswith("It improves.")
    assert notes["0"].startswith("Trial 0 of study: the digits base model")
    assert "learning rate 1e-05" in notes["0"]
    assert notes["1"].endswith("it left no model.")
    assert notes["2"].endswith("It failed: the loss is nan.")

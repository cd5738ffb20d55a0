"""Best models of studies as versions of a registered model."""

import pytest

from mmd_ddm.evaluation.metrics import Metric
from mmd_ddm.experiment.run_folder import Scoring
from mmd_ddm.experiment.tracking.registry import Candidate
from mmd_ddm.experiment.tracking.tracker import Tracker, model_artifact

NAME = "mmd-ddm-digits-5steps"


@pytest.fixture
def study(store, finetuned, config):
    """Records a run with a score, as a study would, and registers it; returns what could not be sent."""

    def record(name, score, *, images=100, stored=True, **changes):
        tracker = Tracker("mmd-ddm digits")
        folder = store_folder(name, score)
        run = tracker.follow(folder, name=name, description="", params=config.flat(), tags={})
        run.close("FINISHED", {}, model_artifact(folder) if stored else ())
        scoring = Scoring(8, score, (Metric("kid", score, "a"),))
        tracker.register(folder, Candidate(config, scoring, config.replace(**changes), images, {"study": name}))
        return run, tracker.close(), folder

    folders = {}

    def store_folder(name, score):
        if name not in folders:
            folders[name] = finetuned(name, 8, score)
        return folders[name]

    return record


def versions(store):
    return {int(each.version): each for each in store.search_model_versions(f"name='{NAME}'")}


def best(store):
    return int(store.get_model_version_by_alias(NAME, "best").version)


def test_a_best_model_becomes_a_version_that_says_what_it_is(store, study):
    run, unsent, _ = study("one", 0.25)
    assert unsent == []
    (version,) = versions(store).values()
    assert version.run_id == run.run_id
    tags = {"dataset": "digits", "steps": "5", "sampler": "ddim", "score": "0.25", "kid_a": "0.25", "study": "one",
            "update": "8", "score_images": "100"}  # fmt: skip
    assert tags.items() <= version.tags.items()
    assert "score 0.25 relative to the base model" in version.description
    assert version.source == f"{store.get_run(run.run_id).info.artifact_uri}/model"
    assert best(store) == 1


def test_a_study_that_is_continued_registers_its_model_once(store, study):
    study("one", 0.25)
    study("one", 0.2)  # the same run
    (version,) = versions(store).values()
    assert version.tags["score"] == "0.2"


def test_only_a_better_one_takes_the_alias_and_only_with_as_many_images(store, study):
    found = []
    for name, score, images in (("a", 0.5, 100), ("b", 0.6, 100), ("c", 0.4, 100), ("d", 0.01, 20), ("e", 0.9, 200),
                                ("f", 0.3, 200), ("g", 0.3, 200)):  # fmt: skip
        study(name, score, images=images)
        found.append(best(store))
    assert found == [1, 1, 3, 3, 3, 6, 6]
    study("f", 0.9, images=200)  # who holds it is not asked again
    assert best(store) == 6


@pytest.mark.parametrize("other", [{"data": "photos"}, {"base_model": "another"}, {"schedule": "quadratic"}])
def test_scores_of_other_images_or_base_models_are_not_compared(store, study, caplog, other):
    study("a", 0.5)
    study("b", 0.1, **other)
    assert best(store) == 1
    assert f"Version 1 of {NAME} keeps the alias @best" in caplog.text


def test_an_alias_that_nobody_holds_is_taken(store, study):
    study("a", 0.5)
    store.delete_model_version(NAME, "1")
    study("b", 0.9)
    assert best(store) == 2


def test_a_version_that_somebody_registered_by_hand_is_left_in_peace(store, study):
    study("one", 0.5)
    store.create_model_version(NAME, "s3://bucket/model", tags={"score": "unknown"})
    study("two", 0.6)
    assert sorted(versions(store)) == [1, 2, 3]
    assert best(store) == 1


def test_a_model_that_the_store_has_not_taken_is_registered_later(store, study):
    _, unsent, folder = study("one", 0.5, stored=False)
    assert unsent == [folder]
    assert versions(store) == {}
    _, unsent, _ = study("one", 0.5)
    assert unsent == []
    assert best(store) == 1

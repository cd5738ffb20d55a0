"""How a search ends, from the folder of a study that was written by hand: what is said, kept, registered, returned."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from tests.tune.made_study import IMAGES, Folder
from tune.commands.run_search import _conclude
from tune.study.folder import Outcome

ONE, BOTH = "contrastive", "classifier+contrastive"  # the spaces of the loss; all are scored in both


class Ending:
    """A session as `_conclude` sees it, which keeps what it is told."""

    def __init__(self, made):
        self.study, self.registered, self.lines, self.note, self.tags = made.study, [], [], "", {}
        self.tracker = SimpleNamespace(register=lambda folder, candidate: self.registered.append(candidate))
        self.console = SimpleNamespace(say=self.lines.append, console=Console(file=io.StringIO()))

    def finish(self, trials, note, artifacts, metrics, tags):
        self.note, self.tags = note, tags
        return any(trial.outcome is Outcome.COMPLETED for trial in trials)

    def farewell(self, complete, what):
        return 0 if complete else 1


@pytest.fixture
def made(tmp_path):
    made = Folder(tmp_path)
    made.trial(0, 0.09, 0.09, features=BOTH)
    return made


@pytest.mark.parametrize(
    ("trained", "kids", "status", "beats", "words"),
    [
        (ONE, 0.01, 0, "yes", "Trial 001 beats the base model"),
        (ONE, 0.1, 3, "no", "No trial beats the base model"),
        (ONE, {"classifier": 0.12, "contrastive": 0.0}, 3, "no", "No trial beats the base model"),
        (ONE, {"classifier": 0.0, "contrastive": 0.12}, 3, "no", "No trial beats the base model"),
        (BOTH, 0.01, 4, "unknown", "Trial 001 improves on the base model with 5 evaluations, judged by the trained"),
        (BOTH, 0.1, 3, "no", "No trial beats the base model"),
        (ONE, None, 4, "unknown", "is not known: its final scores are missing"),
    ],
)
def test_a_script_sees_whether_the_base_model_was_beaten(made, trained, kids, status, beats, words):
    made.trial(1, 0.04, 0.05, features=trained)
    if kids is not None:
        made.final({5: 0.1, 20: 0.1}, t1=kids)
    current = Ending(made)
    assert _conclude(current) == status
    assert words in current.lines[0]  # before all else
    assert current.note.startswith(current.lines[0])
    assert current.tags["beats_base_model"] == beats
    there = (made.study.folder / "best").exists()
    assert there == ("best_trial" in current.tags) == any("best model:" in line for line in current.lines)
    assert there == (status == 0 or (beats == "unknown" and kids is not None))
    assert len(current.registered) == (status == 0)


def test_the_winner_is_registered_with_its_scores_on_fresh_noise(made):
    made.trial(1, 0.04, 0.05)
    made.final({5: 0.2, 20: 0.1}, t1={"classifier": 0.03, "contrastive": 0.01})
    current = Ending(made)
    _conclude(current)
    (candidate,) = current.registered
    tags = candidate.tags
    assert float(tags["score"]) == pytest.approx(0.03 / 0.2)
    assert (tags["update"], tags["trial"], tags["score_images"]) == ("10", "1", str(IMAGES))
    assert current.tags["best_update"] == "10"
    assert tags["score_of"].startswith("largest KID of classifier+contrastive relative to the base model: dataset dig")


def test_without_a_complete_trial_the_status_is_1(tmp_path):
    made = Folder(tmp_path)
    made.trial(0, outcome=Outcome.FAILED, reason="diverged")
    current = Ending(made)
    assert _conclude(current) == 1
    assert current.tags == {}

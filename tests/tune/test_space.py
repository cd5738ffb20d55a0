import json

import pytest

from mmd_ddm.errors import UserError
from mmd_ddm.experiment.presets import preset
from tune.space import Choice, Range, Space, default_space, settle
from tune.written_space import parse_space, read_space

BASE = preset("best", "digits")
DEFAULT = default_space(BASE)


class Script:
    """Draws what it is told, in turn by name, and remembers what it was asked."""

    def __init__(self, **values):
        self.values, self.asked = values, []

    def suggest_categorical(self, name, choices):
        self.asked.append(name)
        return self.values.get(name, choices[0])

    def suggest_float(self, name, low, high, *, log=False):
        self.asked.append(name)
        return self.values.get(name, low)

    def suggest_int(self, name, low, high):
        self.asked.append(name)
        return self.values.get(name, low)


def test_choices_and_ranges_replace_dimensions():
    space = read_space(DEFAULT, ["kernel=cubic, rbf:0.5", "learning_rate=1e-6..1e-3", "batch=32..64"], BASE)
    assert space.dimensions["kernel"] == Choice(("cubic", "rbf:0.5"))
    assert space.dimensions["learning_rate"] == Range(1e-6, 1e-3, logarithmic=True)
    assert space.dimensions["batch"] == Range(32, 64, whole=True)
    assert space.dimensions["schedule"] == DEFAULT.dimensions["schedule"]


def test_values_are_read_as_the_settings_type():
    space = read_space(DEFAULT, ["bandwidth=dim,0.5", "clip=none,1", "image-range=none,clamp"], BASE)
    assert space.dimensions["bandwidth"] == Choice(("dim", 0.5))
    assert space.dimensions["clip"] == Choice((None, 1.0))
    assert space.dimensions["image_range"] == Choice(("none", "clamp"))


@pytest.mark.parametrize("name", ["space.yaml", "space.json"])
def test_a_file_says_the_same_as_the_command_line(tmp_path, name):
    content = {"kernel": ["linear", "rbf"], "learning_rate": "1e-6..1e-4", "schedule": "linear"}
    (tmp_path / name).write_text(json.dumps(content))
    from_file = read_space(DEFAULT, [str(tmp_path / name)], BASE)
    texts = ["kernel=linear,rbf", "learning_rate=1e-6..1e-4", "schedule=linear"]
    assert from_file == read_space(DEFAULT, texts, BASE)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lr=1", "'lr' can't be searched"),
        ("updates=1,2", "'updates' can't be searched"),
        ("kernel=foo", "'foo' is not known"),
        ("features=clop", "clop"),
        ("learning_rate=1e-3..1e-6", "is empty"),
        ("learning_rate=0..1e-3", "learning_rate is 0"),
        ("learning_rate=a..b", "not a range"),
        ("learning_rate=1,,2", "empty choice"),
        ("schedule=1..2", "schedule is"),
        ("steps=0", "steps is"),
        ("nowhere.yaml", "neither key=values nor a file"),
    ],
)
def test_wrong_spaces_are_one_sentence(text, words):
    with pytest.raises(UserError, match=r"^[^\n]+$") as error:
        read_space(DEFAULT, [text], BASE)
    assert words in str(error.value)


def test_a_space_survives_its_text():
    space = read_space(DEFAULT, ["bandwidth=dim,0.5", "learning_rate=1e-6..1e-3", "batch=32..64"], BASE)
    assert parse_space(json.loads(json.dumps(space.as_text())), BASE) == space


def test_bandwidth_is_drawn_only_for_a_kernel_that_has_one():
    plain, wide = Script(kernel="cubic"), Script(kernel="rbf")
    assert DEFAULT.suggest(plain)["bandwidth"] is None
    assert "bandwidth" not in plain.asked
    assert DEFAULT.suggest(wide)["bandwidth"] == "median"


def test_a_given_value_outside_of_its_dimension_is_kept_from_the_sampler():
    space = Space({"schedule": Choice(("quadratic",)), "steps": Range(5, 10, whole=True)})
    script = Script(steps=7)
    assert space.suggest(script, {"schedule": "linear", "steps": 7}) == {"schedule": "linear", "steps": 7}
    assert script.asked == ["steps"]


def test_every_point_of_the_default_space_is_a_configuration():
    for kernel in DEFAULT.dimensions["kernel"].values:
        settled = settle(BASE, DEFAULT.suggest(Script(kernel=kernel)))
        assert settled.objective.kernel == kernel

import json

import pytest

from mmd_ddm.errors import UserError
from mmd_ddm.experiment.presets import preset
from tune.space.dimension import Choice, Range
from tune.space.parse import parse_space, read_space
from tune.space.space import Space, default_space, meaningful, outside, settle

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


def test_a_mixture_that_a_data_set_prefers_is_searched_beside_its_parts():
    mixed = preset("best", "cifar10_small").replace(features="scattering+0.5*patches+pixels")
    expected = ("scattering+0.5*patches+pixels", "0.5*patches+pixels", "scattering+pixels", "scattering+0.5*patches")
    assert default_space(mixed).dimensions["features"].values == expected
    assert default_space(preset("best", "digits")).dimensions["features"].values == ("contrastive", "classifier")


def test_the_kernel_of_the_preset_is_among_those_that_are_searched() -> None:
    kernels = ("cubic", "linear", "rbf", "rational_quadratic")
    for name, own in (("digits", ()), ("cifar10_small", ("0.1*cubic+rational_quadratic",))):
        best = preset("best", name)
        space = default_space(best)
        assert space.dimensions["kernel"] == Choice((*kernels, *own))
        assert outside(space, best) == {}


def test_every_point_of_the_default_space_is_a_configuration():
    for kernel in DEFAULT.dimensions["kernel"].values:
        settled = settle(BASE, DEFAULT.suggest(Script(kernel=kernel)))
        assert settled.objective.kernel == kernel


EVERY = {
    "batch": ("batch=32,64", 64),
    "eta": ("eta=0,0.5", 0.5),
    "sampler": ("sampler=ddim,ddpm", "ddpm"),
    "steps": ("steps=3,5,10", 10),
    "ema": ("ema=0,0.99", 0.99),
    "clip": ("clip=none,0.5", 0.5),
    "features": ("features=classifier,contrastive,classifier+0.5*contrastive", "classifier+0.5*contrastive"),
    "image_range": ("image_range=none,clamp,straight_through", "straight_through"),
    "schedule": ("schedule=linear,quadratic,stride", "stride"),
    "reference": ("reference=bank,batch", "batch"),
    "bandwidth": ("bandwidth=median,2.5", 2.5),
    "loss": ("loss=mmd,frechet", "frechet"),
}


@pytest.mark.parametrize("name", EVERY)
def test_whatever_is_searched_reaches_the_trials_configuration(name):
    text, value = EVERY[name]
    space = read_space(DEFAULT, [text], BASE)
    script = Script(**{"kernel": "rbf", name: value})
    point = space.suggest(script)
    assert name in script.asked
    assert settle(BASE, point).flat()[name] == value
    assert meaningful(settle(BASE, point))[name] == value


CASES = [  # setting, its space, what it depends on, a value with which it means something, one without, neutral
    ("eta", "eta=0.5,1", "sampler=ddim,ddpm", "ddim", "ddpm", 0.0),
    ("variance", "variance=fixed_small,fixed_large", "sampler=ddim,ddpm", "ddpm", "ddim", "model"),
    ("schedule", "schedule=linear,logsnr", "steps=1,5", 5, 1, "trailing"),
    ("sampler_learning_rate", "sampler_learning_rate=0.001,0.02", "learn=weights,both", "both", "weights", 0.01),
    ("learning_rate", "learning_rate=1e-5,1e-4", "learn=sampler,both", "both", "sampler", 5e-6),
    ("bandwidth", "bandwidth=dim,0.5", "kernel=cubic,rbf,rbf:2", "rbf", "cubic", None),
    ("bandwidth", "bandwidth=dim,0.5", "kernel=cubic,rbf,rbf:2", "rbf", "rbf:2", None),
    ("bandwidth", "bandwidth=dim,0.5", "kernel=rbf,energy", "rbf", "energy", None),
    ("bandwidth", "bandwidth=dim,0.5", "loss=mmd,frechet", "mmd", "frechet", None),
    ("kernel", "kernel=rbf,linear", "loss=mmd,frechet", "mmd", "frechet", "cubic"),
    ("reference", "reference=batch", "loss=mmd,frechet", "mmd", "frechet", "bank"),
]


@pytest.mark.parametrize(("name", "text", "other", "yes", "no", "neutral"), CASES)
def test_a_setting_is_there_only_where_it_means_something(name, text, other, yes, no, neutral):
    space = read_space(DEFAULT, [text, other], BASE)
    on = other.partition("=")[0]
    with_, without = (Script(**{"kernel": "rbf", on: value}) for value in (yes, no))
    drawn, absent = space.suggest(with_), space.suggest(without)
    assert name in with_.asked
    assert name not in without.asked
    assert absent[name] is None
    settled = settle(BASE, absent)
    assert settled.flat()[name] == neutral
    assert meaningful(settled)[name] is None
    assert meaningful(settle(BASE, drawn))[name] == drawn[name] is not None


@pytest.mark.parametrize(
    ("steps", "schedules"),
    [(2, ("linear", "trailing", "logsnr")), (3, ("linear", "trailing", "logsnr")), (4, ("linear", "quadratic"))],
)
def test_small_budgets_search_the_timesteps_that_begin_at_the_last(steps, schedules):
    base = BASE.replace(steps=steps)
    assert default_space(base).dimensions["schedule"] == Choice(schedules)
    assert outside(default_space(base), base) == {}
    assert "schedule" not in default_space(BASE.replace(steps=1)).dimensions


def test_the_rates_of_what_is_learned_are_searched():
    for learn, expected in (
        ("weights", {"learning_rate"}),
        ("sampler", {"sampler_learning_rate"}),
        ("both", {"learning_rate", "sampler_learning_rate"}),
    ):
        base = BASE.replace(learn=learn)
        assert {name for name in default_space(base).dimensions if name.endswith("learning_rate")} == expected
        assert outside(default_space(base), base) == {}


def test_preprocessing_is_drawn_only_for_features_of_the_published_code():
    base = preset("best", "cifar10")
    features = "features=inception,dinov2,inception+0.5*clip,clip+dinov2"
    space = read_space(default_space(base), ["preprocessing=published", features], base)
    for choice, there in (("inception", 1), ("dinov2", 0), ("inception+0.5*clip", 1), ("clip+dinov2", 0)):
        point = space.suggest(Script(features=choice))
        assert point["preprocessing"] == ("published" if there else None)
        assert settle(base, point).objective.preprocessing == ("published" if there else "evaluation")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("variance=fixed_small,fixed_large", "belongs to sampler ddpm"),
        ("preprocessing=published", "belongs to features inception and clip"),
        ("kernel=rbf,linear loss=frechet", "kernel belongs to loss mmd"),
        ("bandwidth=dim loss=frechet", "bandwidth belongs to"),
    ],
)
def test_a_setting_that_no_trial_would_have_is_refused(text, words):
    with pytest.raises(UserError, match=words):
        read_space(DEFAULT, text.split(), BASE)


def test_a_point_with_the_frechet_loss_settles_all_that_belongs_to_the_mmd():
    batch = preset("paper", "digits")
    for base in (BASE, batch):
        settled = settle(base, {"loss": "frechet"}).objective
        assert (settled.kernel, settled.bandwidth, settled.reference) == ("cubic", None, "bank")


@pytest.mark.parametrize(
    ("text", "several"), [("steps=3,5", True), ("steps=3..9", True), ("steps=7", False), ("batch=32,64", False)]
)
def test_two_objectives_are_for_several_budgets(text, several):
    assert read_space(DEFAULT, [text], BASE).searches_budgets is several


def test_a_trial_has_one_budget(tmp_path):
    (tmp_path / "space.json").write_text(json.dumps({"steps": [5, "2,3"]}))
    with pytest.raises(UserError, match="steps is '2,3'; a trial has one budget"):
        read_space(DEFAULT, [str(tmp_path / "space.json")], BASE)


def test_what_of_a_preset_lies_outside_is_told():
    base = preset("best", "digits")
    assert outside(default_space(base), base) == {}
    given = ["kernel=cubic,rbf", "steps=3,10", "variance=fixed_small,fixed_large", "sampler=ddim,ddpm"]
    # DDPM's variance means nothing for the preset's DDIM
    assert outside(read_space(default_space(base), given, base), base) == {"kernel": "rational_quadratic", "steps": 5}
    narrow = read_space(default_space(base), ["learning_rate=1e-6..1e-5"], base)
    assert outside(narrow, base) == {"learning_rate": 2e-4}

"""One name for each setting, and one clear sentence for each wrong value."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest

from mmd_ddm.diffusion.names import SAMPLERS
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.config import Config, settings
from mmd_ddm.experiment.inputs import check, scored_spaces
from mmd_ddm.experiment.presets import PRESETS, preset


def test_names_are_unique_and_flat_has_them_all() -> None:
    names = [item.name for item in settings()]
    assert len(names) == len(set(names))
    assert list(Config().flat()) == names
    assert all(item.metadata["help"] for item in settings())


def test_flat_and_back() -> None:
    config = Config.from_flat({"kernel": "cubic+rbf", "bandwidth": "0.5", "learning_rate": "2e-5", "clip": "none"})
    assert config.optimization.learning_rate == 2e-5
    assert config.objective.bandwidth == 0.5
    assert config.optimization.clip is None
    assert Config.from_flat(config.flat()) == config
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("learnin_rate", 1e-5, "'learnin_rate' is not a setting.*learning_rate"),
        ("learning_rate", -1, r"learning_rate is -1.0.*positive"),
        ("learning_rate", 0, "positive"),
        ("learning_rate", "fast", "learning_rate is 'fast'.*positive number"),
        ("learning_rate", math.nan, "learning_rate is nan"),
        ("steps", 0, "steps is 0.*at least 1"),
        ("steps", 2.5, "steps is 2.5.*whole number"),
        ("updates", math.inf, "updates is inf.*whole number"),
        ("batch", 1, "batch is 1.*at least 2"),
        ("ema", 1, "ema is 1.0"),
        ("clip", 0, "clip is 0.0.*positive number, or none"),
        ("schedule", "cosine", "cosine.*linear, quadratic, stride, trailing, logsnr"),
        ("dataset", "mnist", "mnist.*digits"),
        ("kernel", "quartic", "quartic.*energy"),
        ("bandwidth", 1.0, "no term"),
        ("eta", 1.5, "eta is 1.5.*0 to 1"),
        ("variance", "fixed_large", "belongs to sampler ddpm"),
        ("seed", -1, "seed is -1"),
        ("score_images", 2, "at least 4"),
    ],
)
def test_wrong_values(key: str, value: object, told: str) -> None:
    with pytest.raises(UserError, match=told):
        Config().replace(**{key: value})


@pytest.mark.parametrize("sampler", [sampler for sampler in SAMPLERS if sampler != "ddim"])
def test_contradiction_of_sampler_and_eta(sampler: str) -> None:
    with pytest.raises(UserError, match="belongs to sampler ddim"):
        Config().replace(sampler=sampler, eta=0.5)
    if sampler != "ddpm":
        with pytest.raises(UserError, match=f"belongs to sampler ddpm; {re.escape(sampler)} has none"):
            Config().replace(sampler=sampler, variance="fixed_small")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sampler": "ddpm"}, "draws noise"),
        ({"eta": 0.5}, "draws noise"),
        ({"sampler": "learned"}, "learned before"),
        ({"steps": "2,5"}, "learned for one budget"),
    ],
)
def test_what_cannot_be_learned(changes: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        Config().replace(learn="both", **changes)


@pytest.mark.parametrize("start", [Config(), preset("paper", "digits"), preset("published", "digits")])
def test_a_budget_of_one_alone_is_not_spent_on_timestep_zero(start: Config) -> None:
    assert start.replace(steps=1).sampler.schedule == "trailing"
    check(start.replace(steps=1))
    assert start.replace(steps=1, schedule="logsnr").sampler.schedule == "logsnr"
    assert start.replace(schedule="logsnr").replace(steps=1).sampler.schedule == "logsnr"
    assert start.replace(steps=2).sampler.schedule == start.sampler.schedule
    with pytest.raises(UserError, match="nothing to denoise"):
        check(start.replace(steps=1, schedule="quadratic"))


def test_contradiction_of_loss_and_reference() -> None:
    assert Config().replace(loss="frechet").objective.loss == "frechet"
    with pytest.raises(UserError, match=r"reference is 'batch'.*frechet.*leave it at bank"):
        preset("paper", "digits").replace(loss="frechet")


def test_checks_against_data_set_and_model() -> None:
    with pytest.raises(UserError, match="'inceptoin'"):
        check(Config().replace(features="inceptoin"))
    with pytest.raises(UserError, match="'clop'"):
        check(Config().replace(score_features="classifier+clop"))
    with pytest.raises(UserError, match="steps is 2000; a budget is 1 to 1000"):
        check(Config().replace(steps=2000))
    with pytest.raises(UserError, match="exactly 4 network evaluations; choose 3 or 5"):
        check(Config().replace(steps=4, sampler="heun-2"))
    with pytest.raises(UserError, match="nowhere"):
        check(Config().replace(base_model="./nowhere"))


def test_trained_space_is_scored_first() -> None:
    assert scored_spaces(Config().replace(features="contrastive")) == ("contrastive", "classifier")
    assert scored_spaces(Config().replace(score_features="classifier")) == ("classifier",)


def test_presets() -> None:
    with pytest.raises(UserError, match=r"great.*paper, published, best"):
        preset("great", "digits")
    configs = {name: preset(name, "digits") for name in PRESETS}
    paper = configs["paper"].flat()
    # Section IV-A of the paper
    expected = {"batch": 128, "learning_rate": 5e-6, "updates": 500, "kernel": "cubic", "sampler": "ddim", "eta": 0.0}
    assert expected.items() <= {**paper, "schedule": "linear"}.items()
    assert paper["reference"] == "batch"
    assert paper["ema"] == 0
    published = configs["published"].optimization
    assert (published.batch, published.clip, published.dropout) == (64, 0.5, "train")
    assert configs["best"].objective.reference == "bank"

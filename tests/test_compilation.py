"""What is compiled: batches of one size, once each, with the results and the gradient of what is not."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mmd_ddm import compilation
from mmd_ddm.cli.main import main
from mmd_ddm.compilation import Compiled, batches_of
from mmd_ddm.diffusion.chain import Start
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.labels import LabelSource, labels_in_turn
from mmd_ddm.diffusion.noise import NoiseSource
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.discrepancy.collective import SingleCollective
from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.evaluator import Evaluator
from mmd_ddm.experiment.inference.sample import sample
from mmd_ddm.experiment.scoring.scored_model import Scored, read_scored
from mmd_ddm.features.space import FeatureSpace
from mmd_ddm.finetuning.fitting import fitting_gradient
from mmd_ddm.finetuning.gradient import Rollout
from mmd_ddm.finetuning.memory import Route
from mmd_ddm.finetuning.objective import ValueAndGradient
from mmd_ddm.precision import BF16, FP32, use_tensor_cores
from tests.compiled_run import Counting
from tests.conftest import SHAPE, ToyNetwork

WEIGHTS = "diffusion_pytorch_model.safetensors"
BATCH, MICRO = 10, 4  # the last micro-batch has two
EPSILON = 2.0**-24  # of float32


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counting]:
    torch.compiler.reset()
    counting = Counting()
    monkeypatch.setattr(compilation, "BACKEND", counting)
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    use_tensor_cores(FP32)  # as a run does: said once, the products' precision is not something new each time
    yield counting
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
    torch.compiler.reset()


def quadratic(features: Tensor, update: int) -> ValueAndGradient:
    """Half the squared sum of all features: not a sum over samples."""
    total = features.sum()
    return ValueAndGradient((total**2 / 2).double(), total.expand_as(features))


class Setting:
    """The same chain and space, compiled or not."""

    def __init__(
        self,
        levels: NoiseSchedule,
        compiled: bool,
        precision: str = FP32,
        dropout: bool = False,
        classes: int | None = None,
    ) -> None:
        torch.manual_seed(1)
        self.network = ToyNetwork(classes).train(dropout)
        self.denoiser = Denoiser(self.network, levels, SHAPE, precision, compiled, classes)
        size = SHAPE[0] * SHAPE[1] * SHAPE[2]
        self.space = FeatureSpace("toy", nn.Sequential(nn.Flatten(), nn.Linear(size, 5)), torch.ones(5), SHAPE)
        self.chain = make_chain(levels, steps=3, eta=0.5)
        embed = Compiled(self.space) if compiled else self.space
        masks = NoiseSource(0, "dropout") if dropout else None
        self.rollout = Rollout(self.denoiser, self.chain, embed, masks)
        self.compiled = compiled

    def gradient(self, route: str, update: int, micro: int = MICRO) -> Tensor:
        def draw(size: int) -> tuple[Start, ...]:
            noise = NoiseSource(0, "training").draw(update, range(BATCH), self.chain.draws, SHAPE)
            return Start(noise, labels_in_turn(self.denoiser.classes, BATCH)).split(size)

        self.denoiser.zero_grad()
        value, _ = fitting_gradient(self.rollout, quadratic, Route(route, micro), draw, update)
        found = torch.cat([p.grad.flatten() for p in self.denoiser.parameters() if p.grad is not None])
        return torch.cat([value.float()[None], found])

    def features(self) -> Tensor:
        noise = NoiseSource(0, "evaluation")
        place = SingleCollective(), torch.device("cpu")
        labels = None if self.denoiser.classes is None else LabelSource(0, "evaluation", (1,) * self.denoiser.classes)
        scored = Evaluator(
            self.denoiser, self.chain, {"toy": self.space}, {}, 6, noise, *place, self.compiled, labels
        )  # fmt: skip
        return scored.features()["toy"]


def assert_close(found: Tensor, expected: Tensor, relative: float) -> None:
    assert float((found - expected).norm() / expected.norm()) < relative


@pytest.mark.parametrize(("route", "classes"), [("stored", None), ("replay", None), ("replay", 3)])
def test_nothing_is_compiled_twice_in_a_run(
    route: str, classes: int | None, backend: Counting, noise_schedule: NoiseSchedule
) -> None:
    compiled, plain = (Setting(noise_schedule, each, classes=classes) for each in (True, False))
    counts = []
    for update in range(3):
        found, expected = compiled.gradient(route, update), plain.gradient(route, update)
        # sums over other numbers of rows, of which some are zero: a few roundings of some hundred terms
        assert_close(found, expected, 100 * EPSILON)
        assert_close(compiled.features(), plain.features(), 100 * EPSILON)
        counts.append(backend.compiled)
        with torch.no_grad():
            for each in (compiled, plain):
                next(each.denoiser.parameters()).mul_(0.9)  # as Adam and EMA do: in place
    # network and space, each with gradient, for scores, and where the chain is replayed without gradient
    assert counts == [4 if route == "stored" else 6] * 3


def test_rows_that_fill_a_batch_have_no_results_and_no_gradient(backend: Counting) -> None:
    weight = torch.randn(3, requires_grad=True)
    double = Compiled(lambda x: 2 * x * weight)
    x = torch.randn(2, 3, requires_grad=True)
    with batches_of(5):
        y = double(x)
        y.sum().backward()
    assert torch.equal(y, 2 * x * weight)
    assert torch.equal(x.grad, (2 * weight).expand(2, 3))
    torch.testing.assert_close(weight.grad, 2 * x.sum(0))
    with batches_of(1), pytest.raises(ValueError, match="2 rows where at most 1"):
        double(x)


def test_elsewhere_it_is_not_compiled(backend: Counting, noise_schedule: NoiseSchedule) -> None:
    """As where memory is measured, with one and with two images."""
    compiled, plain = Setting(noise_schedule, True), Setting(noise_schedule, False)
    image = torch.randn(3, *SHAPE)
    assert torch.equal(compiled.denoiser(image, 500), plain.denoiser(image, 500))
    assert backend.compiled == 0


def test_parameters_keep_their_names_and_a_copy_is_its_own(backend: Counting, noise_schedule: NoiseSchedule) -> None:
    compiled = Setting(noise_schedule, True)
    compiled.features()
    assert list(compiled.denoiser.state_dict()) == list(Setting(noise_schedule, False).denoiser.state_dict())
    other = copy.deepcopy(compiled.denoiser)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    with batches_of(2):
        assert not other(torch.ones(1, *SHAPE), 3).any()
        assert compiled.denoiser(torch.ones(1, *SHAPE), 3).any()


@pytest.mark.parametrize("precision", [FP32, BF16])
def test_the_replayed_gradient_is_the_stored_one(
    precision: str, backend: Counting, noise_schedule: NoiseSchedule
) -> None:
    setting = Setting(noise_schedule, True, precision)
    stored, replayed = (setting.gradient(route, 0) for route in ("stored", "replay"))
    # the same pieces, so the same roundings, whatever the precision inside
    assert_close(replayed, stored, 100 * EPSILON)
    uncompiled = Setting(noise_schedule, False, precision).gradient("stored", 0)
    assert_close(stored, uncompiled, 100 * EPSILON if precision == FP32 else 2.0**-8)


@pytest.fixture
def asked(backend: Counting, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The functions that would be compiled."""
    functions: list[object] = []

    def compile_nothing(function: object) -> object:
        functions.append(function)
        return function

    monkeypatch.setattr(compilation, "_compile", compile_nothing)
    return functions


def test_samples_are_made_as_asked(asked: list[object]) -> None:
    whole, low = (sample("digits", 5, steps=2, precision=each) for each in (FP32, BF16))
    assert asked == []
    assert 0 < float((low - whole).norm() / whole.norm()) < 0.05  # two evaluations of some ten layers, each 2^-9
    assert torch.equal(sample("digits", 5, steps=2, compile="on"), whole)
    assert len(asked) == 1
    with pytest.raises(UserError, match="compile is 'yes'; it must be one of off, on"):
        sample("digits", 1, compile="yes")


def test_scores_are_made_as_asked(asked: list[object], tmp_path: Path) -> None:
    def scores(*options: str) -> list[Scored]:
        file = tmp_path / "scores.json"
        few = ["--images", "8", "--features", "classifier", "--steps", "2", "--measures", "kid", "--json", str(file)]
        assert main(["evaluate", *few, *options]) == 0
        return read_scored(file)

    whole = scores()
    assert asked == []
    assert scores("--compile", "on") == whole
    assert len(asked) == 2 * len([each for each in whole if each.model])  # the network and the pass through the spaces
    assert scores("--precision", "bf16") != whole


@pytest.mark.slow
def test_a_run_of_digits_compiles_nothing_twice(tmp_path: Path) -> None:
    """Updates of uneven micro-batches, scorings of uneven batches of raw and averaged weights, a sheet."""
    command = [sys.executable, "-m", "tests.compiled_run", str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    # network and spaces of the scores without gradient for 128 rows; both for 4, with gradient and without
    assert done.stdout.split() == ["6"] * 5, done.stderr
    assert not any("_orig_mod" in name for name in load_file(tmp_path / "model" / "unet" / WEIGHTS))


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("precision", [FP32, BF16])
def test_for_real(precision: str, dropout: bool, noise_schedule: NoiseSchedule) -> None:
    """Inductor's own code: other reductions, but the same masks of dropout, with gradient and without."""
    torch.compiler.reset()
    make = partial(Setting, noise_schedule, precision=precision, dropout=dropout)
    compiled = make(True)
    stored, replayed = (compiled.gradient(route, 0) for route in ("stored", "replay"))
    tolerance = 100 * EPSILON if precision == FP32 else 2.0**-7
    assert_close(replayed, stored, tolerance)
    if not dropout:  # masks of more rows are others
        assert_close(stored, make(False).gradient("stored", 0), tolerance)

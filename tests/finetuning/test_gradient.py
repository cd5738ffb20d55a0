"""One law: every way of computing the gradient of the objective gives the same, to rounding in float64.

The expected value is plain autograd through the chain and the estimator of Equation 7; that itself is compared with
finite differences.
"""

from __future__ import annotations

import datetime
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from mmd_ddm.diffusion.chain import Chain, Start
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.labels import LabelSource
from mmd_ddm.diffusion.multistep.learned import LearnedChain
from mmd_ddm.diffusion.multistep.methods import LEARNABLE
from mmd_ddm.diffusion.names import MULTISTEP
from mmd_ddm.diffusion.noise import NoiseSource
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain, make_learned_chain
from mmd_ddm.discrepancy.bank import Bank
from mmd_ddm.discrepancy.collective import Collective, DistributedCollective, SingleCollective, share
from mmd_ddm.discrepancy.frechet import RealMoments
from mmd_ddm.discrepancy.gaussian import fit
from mmd_ddm.discrepancy.kernels import Kernel
from mmd_ddm.discrepancy.labels import beside_labels, joint_kernel
from mmd_ddm.discrepancy.make_kernel import make_kernel
from mmd_ddm.discrepancy.mmd import mmd2
from mmd_ddm.discrepancy.specification import parse_kernel
from mmd_ddm.finetuning.frechet import FrechetObjective
from mmd_ddm.finetuning.gradient import GRADIENTS, Rollout
from mmd_ddm.finetuning.loop import sum_gradients
from mmd_ddm.finetuning.names import JOINT, MARGINAL
from mmd_ddm.finetuning.objective import BankReference, BatchReference, Loss, Objective
from tests.conftest import SHAPE, ToyNetwork

BATCH, UPDATE, DIM, REAL = 14, 3, 5, 23
COUNTS = 9, 4, 10  # of the REAL images, of each class of a class-conditional network
SIZES = {"1": [14], "2": [7, 7], "7": [2] * 7, "7 unequal": [1, 2, 3, 1, 4, 2, 1], "2 unequal": [13, 1]}
KERNELS = ["linear", "cubic", "rbf:dim", "rbf:median", "rational_quadratic", "cubic+rbf:0.5+linear", "0.1*cubic+energy"]
FRECHET = "frechet"  # in place of a kernel
SAMPLERS = {"ddim eta 0": ("ddim", 0.0), "ddim eta 1": ("ddim", 1.0), "ddpm": ("ddpm", 0.0)}
TABLES = {name: (name, 0.0) for name in MULTISTEP}
LEARNED = {f"learned {name}": name for name in LEARNABLE}


class Setting:
    """A small problem, the same in every process that builds it."""

    def __init__(
        self, kernel: str, sampler: str, reference: str, collective: Collective, matching: str | None = None
    ) -> None:
        torch.manual_seed(0)
        self.joint, classes = matching == JOINT, None if matching is None else len(COUNTS)
        schedule = NoiseSchedule(torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0))
        self.denoiser = Denoiser(ToyNetwork(classes).double(), schedule, SHAPE, classes=classes).eval()
        size = SHAPE[0] * SHAPE[1] * SHAPE[2]
        self.space = nn.Sequential(nn.Flatten(), nn.Linear(size, DIM), nn.Tanh()).double().requires_grad_(False)
        self.real = torch.randn(REAL, DIM, dtype=torch.float64)
        self.collective = collective
        if sampler in LEARNED:
            self.chain: Chain = learned_chain(self.denoiser, LEARNED[sampler])
        else:
            name, eta = {**SAMPLERS, **TABLES}[sampler]
            self.chain = make_chain(schedule, sampler=name, steps=5 if name in TABLES else 4, eta=eta)
        if kernel == FRECHET:
            self.objective: Loss = FrechetObjective([RealMoments.of(fit(self.real))], [0.7], collective)
            return
        self.kernel = make_kernel(parse_kernel(kernel), self.real)
        if self.joint:
            self.plain_kernel, self.kernel = self.kernel, joint_kernel(self.kernel, COUNTS)
            self.real = beside_labels(self.real, torch.arange(len(COUNTS)).repeat_interleave(torch.tensor(COUNTS)))
        common = (Bank(self.real), self.kernel, collective, self.real)
        kinds: dict[str, Callable[[], BankReference | BatchReference]] = {
            "bank": lambda: BankReference(*common),
            "batch": lambda: BatchReference(*common, size=9, seed=1),
        }
        self.reference = kinds[reference]()
        self.objective = Objective(self.kernel, self.reference, collective)

    @classmethod
    def of(cls, case: tuple[str, ...], collective: Collective) -> Setting:
        kernel, sampler, reference, *matching = case
        return cls(kernel, sampler, reference, collective, *matching)

    def noise(self, positions: range) -> Tensor:
        return NoiseSource(1, "training").draw(UPDATE, positions, self.chain.draws, SHAPE).double()

    def start(self, positions: range) -> Start:
        labels = None if self.denoiser.classes is None else LabelSource(1, "training", COUNTS).draw(UPDATE, positions)
        return Start(self.noise(positions), labels)

    def plain_loss(self) -> Tensor:
        start = self.start(range(BATCH))
        features = self.space(self.chain.sample(self.denoiser, *start))
        if isinstance(self.objective, FrechetObjective):
            return 0.7 * plain_frechet(features, self.real)
        real = self.reference.at(UPDATE).shard  # of the single process: all
        if not self.joint:
            return mmd2(features, real, self.kernel)
        return plain_joint(features, start.labels, real[:, :-1], real[:, -1], self.plain_kernel)

    def gradient(self, route: str, sizes: list[int]) -> tuple[float, Tensor]:
        self.denoiser.zero_grad()
        mine = share(BATCH, self.collective)
        starts = self.start(mine).split(sizes if sum(sizes) == len(mine) else 3)
        rollout = Rollout(self.denoiser, self.chain, self.space, joint=self.joint)
        value = GRADIENTS[route](rollout, self.objective, starts, UPDATE)
        sum_gradients(list(self.denoiser.parameters()), self.collective)
        return float(value), flat_gradient(self.denoiser)

    def expected(self) -> tuple[float, Tensor]:
        self.denoiser.zero_grad()
        loss = self.plain_loss()
        loss.backward()
        return loss.item(), flat_gradient(self.denoiser)


def plain_frechet(x: Tensor, y: Tensor) -> Tensor:
    """By autograd through the eigenvalues of S_x S_y, both of full rank here; those of a product of them are real."""
    shift = (x.mean(0) - y.mean(0)).square().sum()
    root = torch.linalg.cholesky(y.T.cov())
    cross = torch.linalg.eigvalsh(root.T @ x.T.cov() @ root).sqrt().sum()
    return shift + x.T.cov().trace() + y.T.cov().trace() - 2 * cross


def plain_joint(x: Tensor, x_labels: Tensor | None, y: Tensor, y_labels: Tensor, kernel: Kernel) -> Tensor:
    """Over the pairs of each class in turn, normalised so that equal classes have the weight of one."""
    assert x_labels is not None
    n, m, total = len(x), len(y), x.new_zeros(())
    for label, count in enumerate(COUNTS):
        a, b = x[x_labels == label], y[y_labels == label]
        assert len(b) == count or len(y) < sum(COUNTS)
        xx, yy = kernel(a, a), kernel(b, b)
        total = total + (xx.sum() - xx.diagonal().sum()) / (n * (n - 1)) - 2 * kernel(a, b).sum() / (n * m)
        total = total + (yy.sum() - yy.diagonal().sum()) / (m * (m - 1))
    return total / sum((count / sum(COUNTS)) ** 2 for count in COUNTS)


def learned_chain(denoiser: Denoiser, sampler: str) -> LearnedChain:
    """A sampler whose parameters have moved, as parts of the denoiser."""
    how = {"sampler": sampler, "steps": 5, "schedule": "logsnr", "eta": 0.0, "variance": "model"}
    chain = make_learned_chain(denoiser.schedule, **how)  # type: ignore[arg-type]
    denoiser.learned = chain.learned.double()
    for parameter in chain.learned.parameters():
        nn.init.normal_(parameter, std=0.1)
    with torch.no_grad():  # away from the ends of the process, beyond which the told times stay as they are
        chain.learned.levels[0] = 1.0
        chain.learned.offsets.copy_(-chain.learned.offsets.abs())
    return chain


def flat_gradient(module: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


def assert_same(found: tuple[float, Tensor], expected: tuple[float, Tensor]) -> None:
    assert found[0] == pytest.approx(expected[0], rel=1e-10)
    assert float((found[1] - expected[1]).norm() / expected[1].norm()) < 1e-10


CASES = [(kernel, reference) for kernel in KERNELS for reference in ("bank", "batch")] + [(FRECHET, "bank")]


@pytest.mark.parametrize(("kernel", "reference"), CASES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_routes_and_micro_batches_give_one_gradient(kernel: str, sampler: str, reference: str) -> None:
    setting = Setting(kernel, sampler, reference, SingleCollective())
    expected = setting.expected()
    for route in GRADIENTS:
        for sizes in SIZES.values():
            assert_same(setting.gradient(route, sizes), expected)


@pytest.mark.parametrize("matching", [JOINT, MARGINAL])
@pytest.mark.parametrize(
    ("kernel", "sampler", "reference"),
    [("cubic", "ddim eta 1", "bank"), ("energy", "ddpm", "batch"), ("rbf:median", "unipc-3", "bank"),
     ("rbf:dim", "learned deis-3", "bank")],
)  # fmt: skip
def test_class_conditional_networks_have_the_same_law(kernel: str, sampler: str, reference: str, matching: str) -> None:
    """Of pairs (feature, label) too, whose loss is that of each class by itself."""
    setting = Setting(kernel, sampler, reference, SingleCollective(), matching)
    expected = setting.expected()
    known = setting.denoiser.network.get_submodule("known")
    assert all((p.grad != 0).any(1).all() for p in known.parameters() if p.grad is not None)  # of every class
    for route in GRADIENTS:
        for sizes in SIZES.values():
            assert_same(setting.gradient(route, sizes), expected)


@pytest.mark.parametrize("sampler", TABLES)
def test_solvers_with_a_memory_have_the_same_law(sampler: str) -> None:
    """What an image owes to predictions before it comes back through base and history."""
    test_routes_and_micro_batches_give_one_gradient("rbf:median", sampler, "bank")


@pytest.mark.parametrize("sampler", LEARNED)
def test_learned_samplers_have_the_same_law(sampler: str) -> None:
    """Stored, replayed and plain gradients are of the weights and of every level, offset and coefficient."""
    test_routes_and_micro_batches_give_one_gradient("rbf:median", sampler, "bank")
    setting = Setting("rbf:median", sampler, "bank", SingleCollective())
    setting.expected()
    assert setting.denoiser.learned is not None
    for name, parameter in setting.denoiser.learned.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad != 0).all(), name


@pytest.mark.parametrize("world", [2, 4])
def test_workers_give_one_gradient(world: int, tmp_path: Path) -> None:
    """14 samples on 4 workers are 3, 4, 3 and 4, each in micro-batches of up to 3; 23 real features are uneven too."""
    multiprocessing.set_forkserver_preload([__name__])  # the packages are imported once, not by every worker
    arguments = (world, tmp_path / "rendezvous", tmp_path)
    mp.start_processes(_worker, arguments, nprocs=world, start_method="forkserver")
    for case, expected in _expected_of_workers().items():
        for route in GRADIENTS:
            found = torch.load(tmp_path / f"{' '.join(case)} {route}.pt", weights_only=True)
            assert_same((found["value"], found["gradient"]), expected)


WORKER_CASES: list[tuple[str, ...]] = [(kernel, "ddim eta 1", "bank") for kernel in (*KERNELS, FRECHET)]
WORKER_CASES += [
    ("cubic", name, "bank") for name in ("ipndm", "dpm-solver++-3m", "unipc-3", "heun-2", "learned unipc-3")
]
WORKER_CASES += [("cubic", "ddim eta 0", "batch"), ("rbf:median", "ddpm", "batch")]
WORKER_CASES += [("cubic", "ddim eta 1", "bank", JOINT), ("rbf:dim", "deis-3", "batch", JOINT)]


def _expected_of_workers() -> dict[tuple[str, ...], tuple[float, Tensor]]:
    return {case: Setting.of(case, SingleCollective()).expected() for case in WORKER_CASES}


def _worker(rank: int, world: int, rendezvous: Path, output: Path) -> None:
    torch.set_num_threads(1)
    timeout = datetime.timedelta(seconds=120)
    dist.init_process_group("gloo", f"file://{rendezvous}", rank=rank, world_size=world, timeout=timeout)
    for case in WORKER_CASES:
        setting = Setting.of(case, DistributedCollective())
        for route in GRADIENTS:
            value, gradient = setting.gradient(route, [3])
            if rank == 0:
                torch.save({"value": value, "gradient": gradient}, output / f"{' '.join(case)} {route}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize(
    ("kernel", "sampler", "matching"),
    [
        *((k, "ddim eta 1", None) for k in ("cubic", "rbf:median", "energy", FRECHET)),
        *(("cubic", s, None) for s in LEARNED),
        ("rbf:median", "ddim eta 1", JOINT),
    ],
)
def test_plain_gradient_by_finite_differences(kernel: str, sampler: str, matching: str | None) -> None:
    setting = Setting(kernel, sampler, "bank", SingleCollective(), matching)
    _, gradient = setting.expected()
    parameters = list(setting.denoiser.parameters())
    direction = [torch.randn_like(p) for p in parameters]
    slope = float(gradient @ torch.cat([d.flatten() for d in direction]))
    step, values = 2e-6, {}
    for offset in (-2, -1, 1, 2):
        with torch.no_grad():
            for p, d in zip(parameters, direction, strict=True):
                p.add_(d, alpha=offset * step)
            values[offset] = setting.plain_loss().item()
            for p, d in zip(parameters, direction, strict=True):
                p.sub_(d, alpha=offset * step)
    # central differences of fourth order: their error is of order step^4 = 1e-23, and the rounding 1e-16 / step
    found = (8 * (values[1] - values[-1]) - (values[2] - values[-2])) / (12 * step)
    assert found == pytest.approx(slope, rel=1e-6)


def test_mean_of_parts_is_not_the_gradient() -> None:
    """What ordinary accumulation computes is something else: the law above is no tautology."""
    setting = Setting("cubic", "ddim eta 0", "bank", SingleCollective())
    _, expected = setting.expected()
    setting.denoiser.zero_grad()
    for piece in setting.noise(range(BATCH)).split(2, dim=1):
        features = setting.space(setting.chain.sample(setting.denoiser, piece))
        (mmd2(features, setting.real, setting.kernel) / 7).backward()
    wrong = flat_gradient(setting.denoiser)
    assert float((wrong - expected).norm() / expected.norm()) > 1e-2


@pytest.mark.parametrize("route", GRADIENTS)
def test_dropout_masks_are_the_same_in_replay(route: str) -> None:
    setting = Setting("cubic", "ddim eta 1", "bank", SingleCollective())
    setting.denoiser.train()
    objective = setting.objective
    pipeline = Rollout(setting.denoiser, setting.chain, setting.space, NoiseSource(4, "dropout"))
    found = []
    for each in (route, "stored"):
        setting.denoiser.zero_grad()
        value = GRADIENTS[each](pipeline, objective, setting.start(range(BATCH)).split(5), UPDATE)
        found.append((float(value), flat_gradient(setting.denoiser)))
    assert_same(found[0], found[1])
    setting.denoiser.eval()
    assert float((setting.gradient("stored", [14])[1] - found[0][1]).norm()) > 1e-3  # the masks do something

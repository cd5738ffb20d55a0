"""The loop: clipping, averaging, stopping, divergence, exact resume."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.discrepancy.collective import SingleCollective
from mmd_ddm.errors import DivergenceError, UserError
from mmd_ddm.files import digest_of, former_of, sha256_of, write_json
from mmd_ddm.finetuning.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from mmd_ddm.finetuning.ema import EMA
from mmd_ddm.finetuning.loop import UpdateRecord, finetune
from mmd_ddm.finetuning.memory import Route
from mmd_ddm.saved_state import RECORD, TENSORS


def state_of(denoiser: Denoiser, rate: float = 0.1, decay: float = 0.9) -> TrainingState:
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=rate)
    return TrainingState(denoiser, optimizer, EMA(denoiser, decay), route=Route("stored", 4))


def quadratic(denoiser: Denoiser, scale: float = 1.0):
    """A gradient that depends on the update: of scale/2 |w - sin(update)|^2."""

    def compute(update: int) -> Tensor:
        loss = sum(((p - math.sin(update)) ** 2).sum() for p in denoiser.parameters()) * scale / 2
        loss.backward()
        return loss.detach()

    return compute


def advance(state: TrainingState, updates: int, **changes: object) -> list[UpdateRecord]:
    records: list[UpdateRecord] = []
    settings: dict[str, object] = {"clip": None, "milestones": (), "on_milestone": lambda state: None, **changes}
    compute = settings.pop("compute", quadratic(state.denoiser))
    settings.setdefault("collective", SingleCollective())
    finetune(state, compute, updates=updates, on_update=records.append, **settings)
    return records


def weights(denoiser: Denoiser) -> Tensor:
    return torch.cat([p.detach().flatten() for p in denoiser.parameters()])


def test_records_and_milestones(toy: Denoiser) -> None:
    seen: list[int] = []
    norm = float(weights(toy).norm())  # at update 0 the gradient is w itself
    records = advance(state_of(toy), 5, milestones={2, 5}, on_milestone=lambda s: seen.append(s.update))
    assert [r.update for r in records] == [1, 2, 3, 4, 5]
    assert seen == [2, 5]
    assert records[0].grad_norm == pytest.approx(norm)
    assert records[0].loss == pytest.approx(norm**2 / 2)


def test_first_adam_step_has_the_size_of_the_learning_rate(toy: Denoiser) -> None:
    before = weights(toy)
    advance(state_of(toy, rate=0.01), 1)
    step = weights(toy) - before
    # Adam's first step is lr * g / (|g| + eps)
    torch.testing.assert_close(step, -0.01 * before / (before.abs() + 1e-8), rtol=1e-9, atol=1e-12)


def test_clip_scales_the_whole_gradient_once(toy: Denoiser) -> None:
    taken: list[Tensor] = []
    state = state_of(toy)
    state.optimizer.register_step_pre_hook(
        lambda *a: taken.append(torch.cat([p.grad.flatten() for p in toy.parameters()]))
    )
    before = weights(toy)
    records = advance(state, 1, clip=0.25)
    # torch divides by norm + 1e-6
    torch.testing.assert_close(taken[0], before * 0.25 / (before.norm() + 1e-6))
    assert records[0].grad_norm == pytest.approx(float(before.norm()))  # the norm before clipping


def test_ema_by_hand(toy: Denoiser) -> None:
    state, history = state_of(toy, decay=0.8), []
    for update in range(20):
        advance(state, update + 1)
        history.append(weights(toy))
    shares = torch.tensor([0.8 ** (19 - i) for i in range(20)], dtype=torch.float64)
    expected = (shares[:, None] * torch.stack(history)).sum(0) / shares.sum()
    assert state.ema is not None
    torch.testing.assert_close(torch.cat([a.flatten() for a in state.ema.average.values()]), expected)
    own = weights(toy)
    with state.ema.applied_to(toy):
        torch.testing.assert_close(weights(toy), expected)
    assert torch.equal(weights(toy), own)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_non_finite_stops_before_the_weights_change(toy: Denoiser, value: float, where: str) -> None:
    before: dict[int, Tensor] = {}

    def compute(update: int) -> Tensor:
        before[update] = weights(toy)
        loss = quadratic(toy)(update)
        if update == 3 and where == "gradient":
            next(toy.parameters()).grad[0, 0] = value
        return torch.tensor(value) if update == 3 and where == "loss" else loss

    state = state_of(toy)
    with pytest.raises(DivergenceError, match=r"update 4 .*diverged.*smaller learning rate"):
        advance(state, 10, compute=compute)
    assert state.update == 3
    assert torch.equal(weights(toy), before[3])


def test_should_stop_is_asked_before_each_update(toy: Denoiser) -> None:
    state = state_of(toy)
    assert len(advance(state, 10, should_stop=lambda: state.update == 4)) == 4


class Partner:
    """The second of two workers, whose partner has no gradient and asks to stop in some exchange of the gradient."""

    rank, world = 1, 2

    def __init__(self, exchange: int) -> None:
        self.exchange, self.done = exchange, -1

    def gather_rows(self, rows: Tensor) -> Tensor:
        return rows

    def sum_(self, tensor: Tensor) -> Tensor:
        self.done += tensor.ndim > 0
        if self.done == self.exchange:
            tensor[-1] += 1
        return tensor


@pytest.mark.parametrize("exchange", [0, 3])
def test_all_workers_stop_after_the_update_in_which_one_asks(toy: Denoiser, exchange: int) -> None:
    state, alone = state_of(toy), state_of(copy.deepcopy(toy))
    assert len(advance(state, 10, collective=Partner(exchange))) == exchange + 1
    advance(alone, exchange + 1)
    assert torch.equal(weights(toy), weights(alone.denoiser))  # asking is no part of the gradient


def test_resume_is_bit_exact(toy: Denoiser, tmp_path: Path) -> None:
    start = {name: value.clone() for name, value in toy.state_dict().items()}
    whole = state_of(toy)
    advance(whole, 6)
    end, average = weights(toy), {k: v.clone() for k, v in whole.ema.average.items()}

    toy.load_state_dict(start)
    first = state_of(toy)
    advance(first, 3)
    save_checkpoint(first, tmp_path / "checkpoint", {"seed": 1})
    toy.load_state_dict(start)
    second = state_of(toy)
    load_checkpoint(second, tmp_path / "checkpoint", {"seed": 1})
    assert second.update == 3
    advance(second, 6)
    assert torch.equal(weights(toy), end)
    assert all(torch.equal(second.ema.average[name], value) for name, value in average.items())


def test_checkpoint_replaces_the_former_and_leaves_nothing_else(toy: Denoiser, tmp_path: Path) -> None:
    for updates in (1, 2):
        state = state_of(toy)
        advance(state, updates)
        save_checkpoint(state, tmp_path / "checkpoint", {})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    assert former_of(tmp_path / "checkpoint").name == "checkpoint.former"
    fresh = state_of(toy)
    load_checkpoint(fresh, tmp_path / "checkpoint", {})
    assert fresh.update == 2


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.999])
@pytest.mark.parametrize("name", ["state.safetensors", "state.json"])
def test_truncated_checkpoint_gets_one_sentence(toy: Denoiser, tmp_path: Path, name: str, keep: float) -> None:
    state = state_of(toy)
    advance(state, 2)
    folder = save_checkpoint(state, tmp_path / "checkpoint", {"seed": 1})
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(keep if keep > 1 else keep * len(content))])
    with pytest.raises(UserError, match="cannot be read"):
        load_checkpoint(state_of(toy), folder, {"seed": 1})


def test_another_number_in_the_record_is_noticed(toy: Denoiser, tmp_path: Path) -> None:
    folder = save_checkpoint(state_of(toy), tmp_path / "checkpoint", {"seed": 1})
    text = (folder / RECORD).read_text()
    (folder / RECORD).write_text(text.replace('"update": 0', '"update": 8'))
    with pytest.raises(UserError, match=r"cannot be read .*its digest is another"):
        load_checkpoint(state_of(toy), folder, {"seed": 1})


def test_flipped_bit_is_noticed(toy: Denoiser, tmp_path: Path) -> None:
    state = state_of(toy)
    advance(state, 2)
    folder = save_checkpoint(state, tmp_path / "checkpoint", {"seed": 1})
    content = bytearray((folder / TENSORS).read_bytes())
    content[-100] ^= 1
    (folder / TENSORS).write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be read .*its checksum is another"):
        load_checkpoint(state_of(toy), folder, {"seed": 1})


@pytest.mark.parametrize(
    ("lost", "message"), [("", "it has no moments"), ("exp_avg_sq/network.0.weight", "moments of network.0.weight")]
)
def test_checkpoint_without_adams_moments_is_incomplete(lost: str, message: str, toy: Denoiser, tmp_path: Path) -> None:
    toy = Denoiser(torch.nn.Sequential(torch.nn.Linear(3, 3)), toy.schedule, toy.image_shape)
    state = state_of(toy)
    advance(state, 2)
    folder = save_checkpoint(state, tmp_path / "checkpoint", {"seed": 1})
    kept = {name: value for name, value in load_file(folder / TENSORS).items() if f"adam/{lost}" not in name}
    save_file(kept, folder / TENSORS)
    record = json.loads((folder / RECORD).read_text())
    record["sha256"] = sha256_of(folder / TENSORS)
    record["digest"] = digest_of({key: value for key, value in record.items() if key != "digest"})
    write_json(folder / RECORD, record)
    with pytest.raises(UserError, match=f"incomplete: .*{message}"):
        load_checkpoint(state_of(toy), folder, {"seed": 1})


@pytest.mark.parametrize(
    "entries",
    [
        {"update": -1}, {"update": 1e300}, {"update": "2"}, {"update": [2]}, {"update": None}, {"route": None},
        {"route": 3}, {"route": ["stored", 0]}, {"route": ["guess", 4]}, {"config": []}, {"sha256": 7},
    ],
    ids=str,
)  # fmt: skip
def test_damaged_record_gets_one_sentence(entries: dict[str, object], toy: Denoiser, tmp_path: Path) -> None:
    folder = save_checkpoint(state_of(toy), tmp_path / "checkpoint", {"seed": 1})
    record = json.loads((folder / RECORD).read_text())
    record = {**{key: value for key, value in record.items() if key != "digest"}, **entries}
    write_json(folder / RECORD, {**record, "digest": digest_of(record)})
    with pytest.raises(UserError, match=rf"cannot be read \(.*state\.json is damaged \({next(iter(entries))} is "):
        load_checkpoint(state_of(toy), folder, {"seed": 1})


def test_foreign_checkpoints_are_refused(toy: Denoiser, tmp_path: Path) -> None:
    folder = save_checkpoint(state_of(toy), tmp_path / "checkpoint", {"seed": 1})
    with pytest.raises(UserError, match="seed was 1 and is 2"):
        load_checkpoint(state_of(toy), folder, {"seed": 2})
    other = Denoiser(torch.nn.Linear(3, 3), toy.schedule, toy.image_shape)
    with pytest.raises(UserError, match="another network"):
        load_checkpoint(state_of(other), folder, {"seed": 1})
    with pytest.raises(UserError, match="cannot be read"):
        load_checkpoint(state_of(toy), tmp_path / "nothing", {"seed": 1})

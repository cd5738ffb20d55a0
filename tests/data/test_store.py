"""Rows on disk: what was written is read, by any slice or index, and nothing half-written passes as whole."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmd_ddm.data.names import MANIFEST
from mmd_ddm.data.store import Rows, RowWriter
from mmd_ddm.errors import UserError

SHAPE = (2, 3)
SIZES = (4, 0, 5, 1)  # of the parts; one is empty


def content(dtype: torch.dtype = torch.uint8) -> Tensor:
    return torch.randint(0, 256, (sum(SIZES), *SHAPE), generator=torch.Generator().manual_seed(1)).to(dtype)


def write(folder: Path, rows: Tensor, *, labels: Tensor | None = None, skip: tuple[int, ...] = ()) -> RowWriter:
    writer = RowWriter(folder, dtype=rows.dtype, shape=SHAPE, parts=len(SIZES), key={"of": "test"})
    tags = (None,) * len(SIZES) if labels is None else labels.split(SIZES)
    for part, (piece, tag) in enumerate(zip(rows.split(SIZES), tags, strict=True)):
        if part not in skip:
            writer.write(part, piece, tag, [f"part {part}"] * part)
    return writer


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32])
def test_every_slice_and_index_reads_what_was_written(tmp_path: Path, dtype: torch.dtype) -> None:
    rows = content(dtype)
    stored = write(tmp_path / "rows", rows).finish({"a": 1})
    assert len(stored) == len(rows)
    assert stored.shape == SHAPE
    assert stored.record["a"] == 1
    for start in range(len(rows) + 1):
        for stop in range(len(rows) + 3):
            assert torch.equal(stored[start:stop], rows[start:stop])
    assert torch.equal(stored[::3], rows[::3])
    assert torch.equal(stored[-3:], rows[-3:])
    chosen = torch.tensor([9, 0, 4, 3, 3, -1, 5])
    assert torch.equal(stored[chosen], rows[chosen])
    with pytest.raises(IndexError):
        stored[torch.tensor([len(rows)])]


def test_labels_and_notes_return(tmp_path: Path) -> None:
    labels = torch.arange(sum(SIZES)) % 3
    writer = write(tmp_path / "rows", content(), labels=labels)
    assert writer.notes() == ["part 1", "part 2", "part 2", "part 3", "part 3", "part 3"]
    assert torch.equal(writer.finish({}).labels, labels)


def test_fingerprint_depends_on_content_alone(tmp_path: Path) -> None:
    rows = content()
    first = write(tmp_path / "a", rows).finish({"x": 1})
    same = write(tmp_path / "b", rows).finish({"x": 2})
    rows[7, 1, 1] ^= 1
    other = write(tmp_path / "c", rows).finish({"x": 1})
    assert first.fingerprint == same.fingerprint != other.fingerprint


def test_goes_on_after_an_interruption(tmp_path: Path) -> None:
    rows = content()
    write(tmp_path / "rows", rows, skip=(2,))
    with pytest.raises(UserError, match="half-written"):
        Rows(tmp_path / "rows")
    writer = write(tmp_path / "rows", rows, skip=(0, 1, 2, 3))
    assert writer.missing() == [2]
    with pytest.raises(RuntimeError, match="1 of 4"):
        writer.finish({})
    writer.write(2, rows[4:9])
    assert torch.equal(writer.finish({})[:], rows)
    assert torch.equal(writer.finish({})[:], rows)  # a second process comes late


def test_parts_of_another_key_are_thrown_away(tmp_path: Path) -> None:
    write(tmp_path / "rows", content(), skip=(2,))
    other = RowWriter(tmp_path / "rows", dtype=torch.uint8, shape=SHAPE, parts=len(SIZES), key={"of": "another"})
    assert other.missing() == list(range(len(SIZES)))


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa

    writer = write(tmp_path / "rows", content(), skip=(0,))

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pa.ipc, "new_file", full)
    with pytest.raises(OSError, match="No space left"):
        writer.write(0, content()[:4])
    assert writer.missing() == [0]
    assert {each.name for each in writer.partial.iterdir()} == {f"part-{part:05d}.arrow" for part in (1, 2, 3)}


def test_a_changed_part_is_refused_and_a_copied_one_is_not(tmp_path: Path) -> None:
    rows = content()
    write(tmp_path / "rows", rows).finish({})
    part = tmp_path / "rows" / "part-00002.arrow"
    bytes_ = part.read_bytes()
    os.utime(part, (1, 1))  # as after a copy
    assert torch.equal(Rows(tmp_path / "rows")[:], rows)
    assert json.loads((tmp_path / "rows" / MANIFEST).read_text())["parts"][2]["modified"] == 10**9
    row = rows[5].numpy().tobytes()
    assert bytes_.count(row) == 1
    part.write_bytes(bytes_.replace(row, bytes(len(row))))
    with pytest.raises(UserError, match=r"part-00002\.arrow has changed"):
        Rows(tmp_path / "rows")
    part.unlink()
    with pytest.raises(UserError, match="missing"):
        Rows(tmp_path / "rows")


def test_damaged_manifest_and_absent_folder_are_named(tmp_path: Path) -> None:
    write(tmp_path / "rows", content()).finish({})
    (tmp_path / "rows" / MANIFEST).write_text('{"dtype": "uint8"')
    with pytest.raises(UserError, match="damaged"):
        Rows(tmp_path / "rows")
    with pytest.raises(UserError, match="not there"):
        Rows(tmp_path / "nowhere")


def test_slices_are_views_of_the_file_and_rows_travel_by_name(tmp_path: Path) -> None:
    rows = content()
    stored = write(tmp_path / "rows", rows).finish({})
    assert stored[0:2].data_ptr() == stored[0:4].data_ptr()
    sent = pickle.dumps(stored)
    assert len(sent) < 400
    assert torch.equal(pickle.loads(sent)[:], rows)


def test_a_claimed_part_is_nobody_elses(tmp_path: Path) -> None:
    rows = content()
    first, second = (write(tmp_path / "rows", rows, skip=(0, 1, 2, 3)) for _ in range(2))
    with first.claim(2) as mine:
        assert mine
        with second.claim(2, wait=False) as theirs:
            assert not theirs
        with second.claim(3, wait=False) as theirs:
            assert theirs
    with second.claim(2, wait=False) as theirs:  # was given up, unwritten
        assert theirs
        second.write(2, rows[4:9])
    with first.claim(2) as mine:
        assert not mine
    for part, piece in enumerate(rows.split(SIZES)):
        first.write(part, piece)
    (first.partial / ".part-00001.arrow.abcd").touch()  # by a process that was killed
    stored = first.finish({})
    assert torch.equal(second.finish({})[:], stored[:])
    with second.claim(2) as theirs:
        assert not theirs
    assert {each.name for each in tmp_path.iterdir()} == {"rows"}
    assert {each.name for each in stored.folder.iterdir()} == {
        MANIFEST,
        *(f"part-{part:05d}.arrow" for part in range(4)),
    }

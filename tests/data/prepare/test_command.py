import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmd_ddm.cli import prepare as command
from mmd_ddm.data.catalogue import dataset_spec
from mmd_ddm.data.load import is_prepared, load_dataset
from mmd_ddm.data.prepare import prepare
from mmd_ddm.errors import UserError
from tests.data.prepare.cases import NUMBER, cifar
from tests.data.sources import pictures, png

# the command


def options(**given: Any) -> Any:
    import argparse

    parser = argparse.ArgumentParser()
    command.add_options(parser)
    return parser.parse_args([f"--{key.replace('_', '-')}={value}" for key, value in given.items()])


def test_command_tells_where_the_store_is(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.execute(options(dataset="cifar10", data=file, processes=1))
    found = dataset_spec("cifar10", str(file))
    store = is_prepared(found)
    assert store is not None
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["store"] == str(store)
    assert lines["images"] == f"{NUMBER}, 3 x 32 x 32, skipped 0"
    assert lines["fingerprint"] == load_dataset(found).fingerprint
    used = sum(each.stat().st_size for each in store.iterdir())
    assert lines["size on disk"] == f"{used / 1e6:.1f} MB"


def test_command_writes_elsewhere_and_in_grey(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.execute(options(dataset="own", data=file, resolution=16, channels=1, output=tmp_path / "grey", processes=1))
    assert f"--dataset own --data {tmp_path / 'grey'}" in capsys.readouterr().out
    found = dataset_spec("own", str(tmp_path / "grey"), 16)
    assert found.channels == 1
    images = load_dataset(found)
    first = Image.open(io.BytesIO(png(pictures(NUMBER)[0]))).convert("L").resize((16, 16), Image.Resampling.BICUBIC)
    assert torch.equal(images.images[:1][0, 0], torch.from_numpy(np.array(first)))


def test_command_refuses_what_needs_no_preparation(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to prepare"):
        command.execute(options(dataset="digits"))
    prepare(cifar(file), tmp_path / "store", processes=1)
    with pytest.raises(UserError, match="prepared already"):
        command.execute(options(dataset="cifar10", data=tmp_path / "store"))

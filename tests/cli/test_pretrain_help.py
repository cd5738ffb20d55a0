"""`mmd-ddm pretrain --help` states what is done where nothing is said."""

from __future__ import annotations

import argparse
import re

import pytest

from mmd_ddm.cli import pretrain


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("updates", "24000, 5000 (classifier), 5000 (contrastive); of digits' size: 12000, 1000 (classifier), "
                    "1000 (contrastive)"),
        ("batch", "64, 256 (classifier), 128 (contrastive); of digits' size: 128, 256 (classifier), 256 (contrastive)"),
        ("channels", "32,64,96; of digits' size: 32,48"),
        ("layers", "1"),
        ("warmup", "500; of digits' size: 0"),
        ("clip", "1.0; of digits' size: None"),
        ("prediction", "v_prediction; of digits' size: epsilon"),
        ("width", "48 (classifier), 48 (contrastive); of digits' size: 16 (classifier), 64 (contrastive)"),
    ],
)  # fmt: skip
def test_defaults_are_those_of_pictures_and_of_digits(option: str, told: str) -> None:
    parser = argparse.ArgumentParser()
    pretrain.add_options(parser)
    found = {action.dest: str(action.help) for action in parser._actions}
    assert found[option].endswith(f"[{told}]")


def test_every_option_states_its_default() -> None:
    parser = argparse.ArgumentParser()
    pretrain.add_options(parser)
    free = {"help", "data", "resolution"}
    assert [each.dest for each in parser._actions if not re.search(r"\[.+\]$", str(each.help))] == sorted(
        free, key=["help", "data", "resolution"].index
    )
    parser.format_help()

"""Published networks at their true size, with random weights: they are sampled and differentiated, within memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.cost import memory_estimate
from mmd_ddm.pretrained.known_unets import known_autoencoder_config
from tests.pretrained.true_sizes import PUBLISHED

GB, MOST = 1e9, 16e9  # the largest process that this test may start, in bytes
# of what is counted, gradients and the graph of an image: less, as the graph is released while gradients come; more,
# for what layers work in, and the weights that EDM2 normalises in each evaluation
LEAST, SHARE = 0.65, 1.75


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_one_evaluation_and_the_gradient_of_one_image(name: str) -> None:
    """In a process of its own, so that its largest size is its own. Run with -s to see it."""
    published, autoencoder = PUBLISHED[name], known_autoencoder_config(name)
    config = published.config(name)
    one_step = Config().replace(steps=1, schedule="trailing", batch=2, ema=0)
    estimate = memory_estimate(one_step, config, 1, autoencoder)
    counted = 4 * estimate.parameters + estimate.replayed
    needed = estimate.weights / 2 + SHARE * estimate.replayed
    if needed > min(MOST, os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")):
        pytest.skip(f"{needed / GB:.1f} GB are needed")
    command = [sys.executable, "-m", "tests.pretrained.true_sizes", name]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    peaks = " / ".join(f"{found[each] / GB:.1f}" for each in ("there", "sampled", "gradient"))
    frozen = f" + {found['frozen'] / 1e6:.0f} M of its autoencoder" if found["frozen"] else ""
    print(f"\n{name}: {found['weights'] / 1e6:.1f} M weights{frozen}; built / evaluated / gradient: {peaks} GB")
    assert round(found["weights"] / 1e6, 1) == published.millions
    side = {"CompVis/ldm-celebahq-256": 256, "facebook/DiT-XL-2-256": 256}.get(name) or config.get("sample_size", 32)
    assert found["shape"] == [1, 3, side, side]
    assert found["finite"]
    assert found["spread"] > 0.1  # an image, and not zeros
    assert found["moved"] == 1  # every tensor of the network has a gradient
    # what runs are refused by, before they are started, is what they take
    assert LEAST < (found["gradient"] - found["there"]) / counted < SHARE

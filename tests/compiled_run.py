"""A run of digits, compiled: prints how many times something had been compiled by the end of each update, and in all.

A process of its own: under the suite's checks of shapes, functions are wrapped and compiled more often.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from mmd_ddm import compilation
from mmd_ddm.experiment.presets import preset
from mmd_ddm.experiment.run import finetune


class Counting:
    """A backend that runs what it is given, and counts."""

    compiled = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        self.compiled += 1
        return graph.forward


def main(folder: str) -> None:
    counting, counts = Counting(), list[int]()
    compilation.BACKEND = counting  # type: ignore[assignment]
    torch.set_num_threads(1)
    config = preset("best", "digits").replace(
        updates=4, scorings=2, batch=10, micro_batch=4, gradient="replay", score_images=130, compile="on"
    )
    finetune(config, Path(folder), on_update=lambda record: counts.append(counting.compiled))
    print(*counts, counting.compiled)


if __name__ == "__main__":
    main(*sys.argv[1:])

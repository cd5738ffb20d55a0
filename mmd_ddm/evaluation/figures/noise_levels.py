"""The figure of the noise levels at which a chain evaluates its network, before and after its sampler was learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmd_ddm.evaluation.figures import style


def save_noise_levels(chains: Mapping[str, Sequence[float]], file: Path) -> Path:
    """Draw as PNG the levels of some chains, each a row of equally many, in half the log-SNR, the noisiest on the left.

    What belongs to the same evaluation is joined from row to row.
    """
    with style.panels(file, height=0.9 + 0.5 * len(chains)) as (_, (panel,)):
        rows = range(len(chains))
        for same in zip(*chains.values(), strict=True):
            panel.plot(same, rows, color="0.75", linewidth=1.0, zorder=1)
        looks = style.looks(dict.fromkeys(chains, True))
        for row, (name, levels) in enumerate(chains.items()):
            colour, marker = looks[name]["color"], looks[name]["marker"]
            panel.plot(levels, [row] * len(levels), linestyle="none", color=colour, marker=marker, markersize=7)
        panel.set_yticks(list(rows), list(chains))
        panel.set_ylim(len(chains) - 0.5, -0.5)
        panel.set_xlabel("half the log-SNR, log(alpha / sigma): noise on the left, the image on the right")
    return file

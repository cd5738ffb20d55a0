"""Whether a network's config is of a size that can be built: a number too many takes hours or all memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mmd_ddm.errors import UserError

_LEVELS, _BLOCKS, _WIDTH = 16, 64, 2**14  # the largest published have 6, 3 and 1024
_NUMBERS = {
    **dict.fromkeys(("in_channels", "out_channels", "latent_channels", "vq_embed_dim"), _WIDTH),
    "layers_per_block": _BLOCKS,
    "num_layers": 2**10,  # of a transformer, and its heads; DiT-XL has 28 and 16
    "num_attention_heads": 2**10,
    "num_embeds_ada_norm": 2**16,
    "num_vq_embeddings": 2**20,  # of an autoencoder's codebook; the largest published has 16384
}
_LISTS = ("block_out_channels", "down_block_types", "up_block_types")


def check_size(config: Mapping[str, object], file: Path) -> None:
    """Refuse numbers of levels, blocks or channels that no network has.

    Raises:
        UserError: names the entry, its value and what is allowed.
    """
    for name in _LISTS:
        value = config.get(name)
        if name in config and not (isinstance(value, (list, tuple)) and 1 <= len(value) <= _LEVELS):
            raise _wrong(file, name, value, f"a list of 1 to {_LEVELS}")
    widths = config.get("block_out_channels", ())
    assert isinstance(widths, (list, tuple))
    for width in widths:
        _check_whole(file, "block_out_channels", width, _WIDTH)
    for name, most in _NUMBERS.items():
        if name in config:
            _check_whole(file, name, config[name], most)


def _check_whole(file: Path, name: str, value: object, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise _wrong(file, name, value, f"a whole number from 1 to {most}")


def _wrong(file: Path, name: str, value: object, words: str) -> UserError:
    return UserError(f"{name} in {file} is {str(value)[:60]}; it must be {words}")

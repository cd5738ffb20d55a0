"""Image towers of open_clip: images to the space that they share with text (Radford et al. 2021)."""

from __future__ import annotations

import logging
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn


class ImageTower(nn.Module):
    """The image half of an open_clip model, up to and with the projection; not normalised to unit length."""

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, images: Tensor) -> Tensor:
        """Return the N x D embeddings of N preprocessed images."""
        found = self.visual(images)
        embeddings: Tensor = found[0] if isinstance(found, tuple) else found  # CoCa gives its tokens as well
        return embeddings


def image_tower(model: str, tag: str, file: Path) -> ImageTower:
    """Build the image tower of an open_clip model.

    Args:
        model: Architecture in open_clip's list.
        tag: Which weights they are, as open_clip calls them; says whether they were trained with QuickGELU, which
            OpenAI's were. One that open_clip doesn't know says nothing.
        file: The weights: a state dict (safetensors or pickled tensors) or a TorchScript archive such as OpenAI's.
    """
    import open_clip

    known: dict[str, object] = open_clip.get_pretrained_cfg(model, tag) or {}
    transform = {key: known[key] for key in ("size", "mean", "std", "interpolation", "resize_mode") if key in known}
    with _quiet():
        settings = {"force_quick_gelu": bool(known.get("quick_gelu")), "force_preprocess_cfg": transform}
        whole = open_clip.create_model(model, pretrained_image=False, pretrained_text=False, **settings)
    if _is_torchscript(file):
        whole.visual.load_state_dict(_of_torchscript(file))
    else:
        open_clip.load_checkpoint(whole, str(file), weights_only=True)
    return ImageTower(whole.visual)


def _is_torchscript(file: Path) -> bool:
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _of_torchscript(file: Path) -> dict[str, Tensor]:
    """Read the image tower's tensors from an archive like OpenAI's.

    `torch.jit.load` doesn't unpickle: it has a reader of its own, which makes tensors and TorchScript objects only, and
    no Python is run. Nothing of the archive but its tensors is used.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript's end is announced, but OpenAI's file stays what it is
        state = torch.jit.load(file, map_location="cpu").state_dict()
    return {key.removeprefix("visual."): value for key, value in state.items() if key.startswith("visual.")}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip from setting up logging, and from warning of random weights that are replaced next."""
    root, nothing, before = logging.getLogger(), logging.NullHandler(), logging.root.manager.disable
    root.addHandler(nothing)
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
        root.removeHandler(nothing)

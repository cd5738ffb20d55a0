"""The names of published networks, and which file of weights each needs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mmd_ddm.errors import UserError
from mmd_ddm.features.published import weights
from mmd_ddm.features.published.weights import SUFFIXES, PublishedWeights

if TYPE_CHECKING:
    from timm.models import PretrainedCfg

INCEPTION_LAYERS = {"inception": "pool", "inception_spatial": "spatial", "inception_logits": "logits"}
_BY_NAME = {**dict.fromkeys(INCEPTION_LAYERS, weights.INCEPTION), "clip": weights.CLIP, "dinov2": weights.DINOV2}
PUBLISHED_NAMES = tuple(_BY_NAME)
OPEN_CLIP, TIMM = "open_clip:", "timm:"
FORMS = (f"{OPEN_CLIP}MODEL/TAG", f"{TIMM}MODEL")


def is_published(name: str) -> bool:
    """Tell whether a name has the form of a published network's; it may still not exist."""
    return name in PUBLISHED_NAMES or name.startswith((OPEN_CLIP, TIMM))


def check_published(name: str) -> None:
    """Refuse a published network's name that `open_clip` or `timm` doesn't know; loads no weights.

    Raises:
        UserError: If the library has no such model, or no such weights of it.
    """
    if name.startswith(OPEN_CLIP):
        import open_clip

        model, tag = model_and_tag(name)
        _choose(name, model, open_clip.list_models())
        tags = open_clip.list_pretrained_tags_by_model(model)
        if not tag:
            raise UserError(f"{name!r} names no weights; write {FORMS[0]} with a TAG such as {', '.join(tags)}.")
        if weights.find(_open_clip_weights(model, tag)) is None:  # weights of one's own have a tag of one's own
            _choose(name, tag, tags)
    elif name.startswith(TIMM):
        import timm

        model = name.removeprefix(TIMM)
        # weights of one's own have a tag of one's own, or none
        if not (timm.is_model(model) and ("." not in model or weights.find(_timm_weights(model)) is not None)):
            _choose(name, model, timm.list_models(pretrained=True))


def published_weights(name: str) -> PublishedWeights:
    """Return which file of weights a published network needs, its name being one that `check_published` accepts."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    if name.startswith(OPEN_CLIP):
        return _open_clip_weights(*model_and_tag(name))
    return _timm_weights(name.removeprefix(TIMM))


def model_and_tag(name: str) -> tuple[str, str]:
    """Split a name of the form `open_clip:MODEL/TAG`; an empty tag where there is none."""
    model, _, tag = name.removeprefix(OPEN_CLIP).partition("/")
    return model, tag


def _choose(name: str, part: str, known: Iterable[str]) -> None:
    known = sorted(known)
    if part not in known:
        near = difflib.get_close_matches(part, known, n=5, cutoff=0.3) or known[:5]
        raise UserError(f"There is no {part!r} for the feature space {name!r}; choose, for example: {', '.join(near)}.")


def _open_clip_weights(model: str, tag: str) -> PublishedWeights:
    import open_clip

    known = open_clip.get_pretrained_cfg(model, tag) or {}
    repo, _, hub_file = known.get("hf_hub", "").rpartition("/")
    files = _safe_first(hub_file or "open_clip_pytorch_model.bin", "open_clip_model.safetensors")
    return _named(f"{model}.{tag}", known.get("url"), repo, files)


def timm_config(model: str) -> PretrainedCfg | None:
    """Return what timm knows of a model's published weights; None if it knows none of that tag."""
    from timm.models import get_pretrained_cfg

    try:
        return get_pretrained_cfg(model)
    except RuntimeError:
        return None


def _timm_weights(model: str) -> PublishedWeights:
    known = timm_config(model)
    if known is None:
        return _named(model)
    files = _safe_first(known.hf_hub_filename or "pytorch_model.bin", "model.safetensors")
    return _named(model, known.url and str(known.url), known.hf_hub_id, files)


def _named(model: str, url: str | None = None, repo: str | None = None, hub: tuple[str, ...] = ()) -> PublishedWeights:
    files, digests = tuple(model + suffix for suffix in SUFFIXES), {}
    if url:
        file, digest = url.rsplit("/", 1)[-1], weights.digest_in_address(url)
        files, digests = (*files, file), {file: digest} if digest else {}
    if repo:
        return PublishedWeights(files, f"{hub[0]} of the hub's {repo}", digests, None, repo, hub)
    return PublishedWeights(files, url or "your own training", digests, url or None)


def _safe_first(file: str, safe: str) -> tuple[str, ...]:
    return (file,) if file.endswith(".safetensors") else (safe, file)

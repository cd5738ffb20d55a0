"""What a study would use and need, told without downloading, preparing or computing anything."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mmd_ddm.data.load import is_prepared
from mmd_ddm.data.spec import DatasetSpec
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.inputs import base_model, dataset_of, scored_spaces
from mmd_ddm.files import cache_home
from mmd_ddm.finetuning.memory import readable
from tune.study.settings import SearchSettings

_DIMS = {"inception": 2048, "inception_spatial": 2023, "inception_logits": 1008, "clip": 512, "dinov2": 768}


@dataclass(frozen=True)
class Line:
    """One thing that a study needs, what is said of it, and what of it is missing, if anything."""

    what: str
    said: str
    missing: str = ""


def offline_check(settings: SearchSettings) -> str:
    """Return the text of the check for settings that don't contradict themselves."""
    lines = list(_lines(settings))
    width = max(len(line.what) for line in lines)
    text = [f"{line.what:<{width}}  {line.said}" for line in lines]
    missing = [line.missing for line in lines if line.missing]
    ending = ["", "missing:", *(f"  {each}" for each in missing)] if missing else ["", "nothing is missing"]
    return "\n".join([*text, *ending])


def _lines(settings: SearchSettings) -> Iterator[Line]:
    config = settings.widest
    known = dataset_of(config)
    yield from _images(known)
    name = base_model(config)
    folder, told = _model_folder(name, known)
    yield Line("base model", f"{name}: in {folder}" if folder else told, "" if folder else told)
    for name in scored_spaces(config):
        yield _features(name, config)
    searched = ", ".join(f"{key} {dimension}" for key, dimension in settings.space.dimensions.items())
    yield Line("searched", searched.replace("\n", " "))
    yield from _work(settings, config)
    yield from _memory(settings, config)
    yield Line("machine", _machine())


def _images(known: DatasetSpec) -> Iterator[Line]:
    shape = f"{known.channels} x {known.resolution} x {known.resolution}"
    yield Line("images", f"{known.source}: {known.size:,} of {shape}; licence: {known.licence}")
    if known.embedded:
        yield Line("", "come with the package")
        return
    store = is_prepared(known)
    size = readable(known.size * known.channels * known.resolution**2)
    if store is not None:
        yield Line("", f"prepared in {store}")
        return
    told = f"not prepared; from {known.origin}; then {size} in {cache_home() / 'stores'}"
    yield Line("", told, f"images: {size} to prepare, which the search does by itself, as does mmd-ddm prepare")


def _model_folder(name: str, known: DatasetSpec) -> tuple[Path | None, str]:
    from huggingface_hub import snapshot_download

    from mmd_ddm.pretrained.locate import find_local, how_to_get

    try:
        local = find_local(name, known.base_model_origin)
    except UserError as error:
        return None, str(error)
    if local is not None:
        return local, ""
    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, local_files_only=True)), ""
    except (OSError, ValueError):
        return None, f"base model {name!r}: to be downloaded from the Hugging Face hub; or {how_to_get(name)}"


def _features(name: str, config: Config) -> Line:
    from mmd_ddm.features.registry import weights_of

    found = weights_of(name, config.dataset)
    if found.present and found.file is None:
        return Line("features", f"{name}: {found.source}")
    size = f", {readable(found.bytes)}" if found.bytes else ""
    if found.present:
        return Line("features", f"{name}: in {found.file}{size}")
    told = f"{name}: from {found.source}{size}"
    return Line("features", told, f"weights of {told}")


def _work(settings: SearchSettings, config: Config) -> Iterator[Line]:
    from mmd_ddm.experiment.cost import network_evaluations

    o, steps, found = config.optimization, config.sampler.steps, network_evaluations(config)
    most = "at most " if {"steps", "batch"} & settings.space.dimensions.keys() else ""
    yield Line(
        "trial",
        f"{most}{o.updates} updates of {o.batch} images with {steps} steps: {found.finetuning:,} network evaluations "
        f"with gradient (each computed twice where the chain is replayed), and {found.scoring:,} for scores",
    )
    yield Line("study", f"{settings.trials} trials, bad ones stopped early, and the winner's final scores")


def _memory(settings: SearchSettings, config: Config) -> Iterator[Line]:
    from mmd_ddm.experiment.cost import memory_estimate

    unet, autoencoder = _configs(config)
    if unet is None:
        yield Line("memory", "not known before the base model is there")
        return
    workers = max(1, settings.machines.workers)
    found = memory_estimate(config, unet, workers, autoencoder)
    share, steps = -(-config.optimization.batch // workers), config.sampler.steps
    yield Line("memory", f"on each of {workers} workers:" if workers > 1 else "of the one worker:")
    yield Line("", f"{readable(found.weights)} for {found.parameters:,} weights, their gradient, Adam and average")
    yield Line("", f"{readable(found.states)} for the states of the chain of {share} images")
    yield from _bank(config, workers)
    graph = readable(found.graph(share, steps))
    replayed = "for each image that passes the network together, replayed: as many as fit,"
    yield Line("", f"{readable(found.replayed)} {replayed}")
    yield Line("", f"or {graph} for the stored graph of {share} images; the features' own graph too")


def _bank(config: Config, workers: int) -> Iterator[Line]:
    from mmd_ddm.features.untrained.listing import UNTRAINED
    from mmd_ddm.features.untrained.load import untrained_dim

    known = dataset_of(config)
    rows = known.size * (1 + known.mirrored)
    size = 2 if config.objective.bank_dtype == "float16" else 4
    for name in config.objective.spaces:
        dim = untrained_dim(name, known.image_shape) if name in UNTRAINED else _DIMS.get(name)
        if dim is not None:
            total = rows * dim * size
            yield Line(
                "", f"{readable(total / workers)} for {rows:,} real features in {name}, on disk {readable(total)}"
            )


def _configs(config: Config) -> tuple[Mapping[str, object] | None, Mapping[str, object] | None]:
    """Of the base model's network, if they are known, and of its autoencoder, if it has one."""
    from mmd_ddm.pretrained.autoencoder_config import find_autoencoder
    from mmd_ddm.pretrained.configs import unet_config as written
    from mmd_ddm.pretrained.known_unets import known_autoencoder_config, known_unet_config

    name = base_model(config)
    folder, _ = _model_folder(name, dataset_of(config))
    if folder is None:
        published = name.partition("@")[0]
        return known_unet_config(published), known_autoencoder_config(published)
    autoencoder = find_autoencoder(folder)
    return written(folder), None if autoencoder is None else autoencoder.config


def _machine() -> str:
    import torch

    memory = readable(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    told = ", ".join(f"{gpu.name} with {readable(gpu.total_memory)}" for gpu in gpus) or "no GPU"
    return f"{os.cpu_count()} CPUs, {memory}, {told}"

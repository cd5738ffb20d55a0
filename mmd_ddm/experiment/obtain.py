"""What runs need, obtained before they begin."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from mmd_ddm.data.load import load_dataset
from mmd_ddm.diffusion.names import is_flow_matching
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.experiment.classes import class_counts
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.inputs import base_folder, dataset_of, scored_spaces
from mmd_ddm.features.load import load_feature_space
from mmd_ddm.features.registry import other_images_of, weakness_of, weights_of
from mmd_ddm.pretrained.configs import class_names, classes_of, null_class_of, scheduler_config, unet_config

_log = logging.getLogger(__name__)
_NOISY = 20.0  # sigma of flow matching at t = 0.95


def obtain(config: Config) -> None:
    """Download and prepare what runs will need, once and where progress is seen, not in each worker.

    Feature spaces that can't be trusted, or were trained on other images, chains that don't begin at noise, and classes
    of the model that the images lack are named in a warning, one line each.
    """
    folder, known = base_folder(config), dataset_of(config)
    _warn_of_beginning(config, scheduler_config(folder))
    images = load_dataset(known)
    fingerprint, unet = images.fingerprint, unet_config(folder)
    if (classes := classes_of(unet)) is not None:
        counts = class_counts(classes, images, null_class_of(unet))
        _warn_of_spare(len(counts), classes, class_names(folder) or {})
    for name in dict.fromkeys((*config.objective.spaces, *scored_spaces(config))):
        if not weights_of(name, config.dataset).present:
            load_feature_space(name, config.dataset)
        other = other_images_of(name, config.dataset, fingerprint, known.given)
        for told in filter(None, (weakness_of(name, config.dataset), other)):
            _log.warning("%s", told)


def _warn_of_beginning(config: Config, process: Mapping[str, object]) -> None:
    """Say where the chain of a model of flow matching begins with noise though an image is part of that level."""
    if not is_flow_matching(process):
        return
    levels = NoiseSchedule.from_scheduler_config(process)
    for how in config.samplers.values():
        sigma = float(levels.sigmas[int(make_chain(levels, **vars(how)).timesteps[0])])
        if sigma < _NOISY:
            t = sigma / (1 + sigma)
            _log.warning(
                "schedule %s with steps %d begins at t = %.3f, where the image is %.0f %% there, and not at noise; "
                "models of flow matching need schedule trailing", how.schedule, how.steps, t, 100 * (1 - t)
            )  # fmt: skip


def _warn_of_spare(there: int, classes: int, names: Mapping[str, str]) -> None:
    """Say what labels have to mean where a model has classes that the images lack."""
    if there < classes:
        first = f" ({names['0']})" if "0" in names else ""
        _log.warning(
            "the labels of the images are 0 to %d, and the model has %d classes: label 0 has to mean the model's class "
            "0%s, and so on; no others are generated", there - 1, classes, first
        )  # fmt: skip

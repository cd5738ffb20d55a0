"""The data sets the project knows by name, each with its base model and its feature spaces, and the user's own."""

from __future__ import annotations

import math
from dataclasses import replace

from mmd_ddm.data.crop import CELEBA, CENTRE_BICUBIC, CENTRE_BILINEAR
from mmd_ddm.data.names import MOST_PIXELS, OWN
from mmd_ddm.data.spec import DatasetSpec
from mmd_ddm.errors import UserError
from mmd_ddm.files import HOME

FINEST = math.isqrt(MOST_PIXELS)  # side of the largest square image that is read
_MODELS = f"${{{HOME}:-$HOME/.cache/mmd-ddm}}/models"  # cache_home()/models, as a shell has it

# Sizes, files and columns of the hub's data sets: their pages there (read 2026). Mirror images: Ho et al. 2020,
# Appendix B, for CIFAR-10 and LSUN; the published DDIM data code for CelebA; the published improved-diffusion data code
# mirrors nothing, so neither did the base model of ImageNet-64.
_SPECS = (
    DatasetSpec(
        "digits", "scikit-learn's load_digits: test part of the UCI Optical Recognition of Handwritten Digits",
        "CC BY 4.0", size=1797, channels=1, resolution=8, mirrored=False,  # a mirrored 2 is no digit
        base_model="digits", feature_spaces=("classifier", "contrastive"), embedded=True,
    ),
    DatasetSpec(
        "cifar10_small", "8 000 training images of CIFAR-10 (Krizhevsky 2009), made smaller",
        "none stated by its authors", size=8000, resolution=16, mirrored=True, base_model="cifar10_small",
        feature_spaces=(
            "classifier", "scattering", "patches", "pixels", "contrastive_layers", "random_conv", "spectrum",
        ),
        loss_features="scattering+patches+pixels+contrastive_layers", embedded=True,
    ),
    DatasetSpec(
        "cifar10", "CIFAR-10, training images (Krizhevsky 2009)", "none stated by its authors",
        size=50_000, resolution=32, mirrored=True, base_model="google/ddpm-cifar10-32",
        origin="hub:uoft-cs/cifar10@main:plain_text/train-*.parquet",
    ),
    DatasetSpec(
        # the part that the base model was trained on; all 202 599 would put its test images into the real side
        "celeba", "CelebA, aligned, training images (Liu et al. 2015)", "non-commercial research only",
        size=162_770, resolution=64, mirrored=True, base_model="celeba64-ddim",
        base_model_origin="download the CelebA checkpoint that the README of ermongroup/ddim links, then: mmd-ddm "
        f"import FILE --format ddim --resolution 64 --output {_MODELS}/celeba64-ddim",
        origin="hub:flwrlabs/celeba@main:img_align+identity+attr/train-*.parquet", crop=CELEBA,
    ),
    DatasetSpec(
        # published results are on Downsampled ImageNet (box filter, Chrabaszcz et al. 2017), which is no longer
        # offered; the hub's copy was made smaller by its uploader, so compare scores within it
        "imagenet64", "ImageNet (ILSVRC 2012), training images at 64 x 64 (Deng et al. 2009)",
        "non-commercial research and education only",
        size=1_281_167, resolution=64, mirrored=False, base_model="imagenet64-improved-diffusion",
        base_model_origin="download imagenet64_uncond_100M_1500K.pt, which the README of openai/improved-diffusion "
        "links, then: mmd-ddm import imagenet64_uncond_100M_1500K.pt --format improved-diffusion --resolution 64 "
        f"--output {_MODELS}/imagenet64-improved-diffusion",
        origin="hub:benjamin-paine/imagenet-1k-64x64@main:data/train-*.parquet",
    ),
    DatasetSpec(
        "lsun_church", "LSUN church outdoor, training images (Yu et al. 2015)", "none stated by its authors",
        size=126_227, resolution=256, mirrored=True, base_model="google/ddpm-church-256",
        # its uploader cut the 126 227 training images into 119 915 and 6 312, called train and test
        origin="hub:tglcourse/lsun_church_train@main:data/*.parquet", crop=CENTRE_BILINEAR,
        labelled=False,  # its labels are the first letters of file names
    ),
)  # fmt: skip


def dataset_names() -> tuple[str, ...]:
    """Return the names of all known data sets, and of the user's own."""
    return (*(each.name for each in _SPECS), OWN)


def dataset_spec(name: str, data: str | None = None, resolution: int | None = None) -> DatasetSpec:
    """Return what is known about a data set.

    Args:
        name: One of `dataset_names()`.
        data: Where the images are, in place of where they are downloaded from: what `open_source` takes, or the
            folder of a prepared store. They are counted, unless they would have to be downloaded. In place of an
            embedded data set's own they are other images for its networks, such as a test set. The user's own data
            set needs it, and is grey if the headers of its first 64 images all say so.
        resolution: In place of the catalogue's, in pixels. The user's own data set needs it.

    Raises:
        UserError: If there is no data set of that name, nothing at `data`, or something missing or superfluous.
    """
    if resolution is not None and not 1 <= resolution <= FINEST:
        raise UserError(f"the resolution is {resolution}; it must be from 1 to {FINEST} pixels")
    if data is not None and not data.strip():
        raise UserError("the path of the data is empty; name where the images are")
    if name == OWN:
        return _own(data, resolution)
    for found in _SPECS:
        if found.name == name:
            break
    else:
        raise UserError(f"There is no data set {name!r}; choose one of: {', '.join(dataset_names())}.")
    if found.embedded and resolution not in (None, found.resolution):
        raise UserError(f"the networks of {name} take {found.resolution} pixels; leave out --resolution")
    if found.embedded and data is not None:
        found = replace(found, embedded=False, crop=CENTRE_BICUBIC)
    if resolution is not None:
        found = replace(found, resolution=resolution)
    if data is not None:
        from mmd_ddm.data.given import count, is_remote
        from mmd_ddm.data.readers.open import absolute

        size = found.size if is_remote(data) else count(data)
        found = replace(found, origin=absolute(data), given=True, size=size)
    return found


def _own(data: str | None, resolution: int | None) -> DatasetSpec:
    if data is None or resolution is None:
        missing = "--data PATH" if data is None else "--resolution R"
        raise UserError(f"the data set {OWN!r} is made of images of yours: name {missing} too")
    from mmd_ddm.data.given import are_grey, count
    from mmd_ddm.data.readers.open import absolute

    return DatasetSpec(
        OWN, data, "the user's", size=count(data), channels=1 if are_grey(data) else 3, resolution=resolution,
        mirrored=False,  # letters, maps and hearts show that mirroring is not always harmless, so it is not assumed
        base_model=None, origin=absolute(data), given=True, crop=CENTRE_BICUBIC,
    )  # fmt: skip

"""Import a base model: a published checkpoint file, or a diffusers model whose configs leave something out.

Writes a diffusers folder that every --base-model and --model takes. A folder under ~/.cache/mmd-ddm/models (or
$MMD_DDM_HOME/models) is found by its name alone. Formats of files: ddim (Ho et al. 2020 and Song et al. 2021: CIFAR-10,
LSUN, CelebA), improved-diffusion (Nichol & Dhariwal 2021: CIFAR-10, ImageNet 64, LSUN), guided-diffusion (Dhariwal &
Nichol 2021: LSUN and ImageNet up to 256 pixels), edm (Karras et al. 2022, NVlabs' pickles, of which nothing is run:
CIFAR-10, FFHQ and AFHQv2, VP and VE) and edm2 (Karras et al. 2024, such pickles too: ImageNet 64, and ImageNet 512,
whose latents need --autoencoder); class-conditional ones too.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmd_ddm.errors import UserError

FORMATS = ("diffusers", "ddim", "improved-diffusion", "guided-diffusion", "edm", "edm2")
_UNTOLD = (
    "resolution", "prediction_type", "variance_type", "dropout", "heads", "head_width", "qkv_order", "beta_schedule",
    "length",
)  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    """What to import, where to, and what the file does not tell."""
    variances = "of DDPM, unless it is learned [fixed_large; ddim of 256 x 256: fixed_small]"
    add = parser.add_argument
    add("source", metavar="FILE", help="checkpoint file; for diffusers a folder or hub id")
    add("--output", type=Path, required=True, metavar="DIR", help="folder of the result")
    add("--format", choices=FORMATS, help="[as the file tells]")
    common = "[the published models' own, as far as it is common to them]"
    tell = parser.add_argument_group("what a checkpoint does not tell", common).add_argument
    tell(
        "--resolution",
        type=int,
        metavar="R",
        help="side of the images [attention begins at 16 x 16; guided-diffusion: 32 x 32]",
    )
    tell("--prediction-type", choices=("epsilon", "sample", "v_prediction"), help="[epsilon]")
    tell("--variance-type", choices=("fixed_small", "fixed_large"), help=variances)
    tell("--dropout", type=float, metavar="P", help="in training, 0 to below 1 [0]")
    tell("--heads", type=int, metavar="N", help="of attention [improved-diffusion: 4; its LSUN has 1]")
    tell("--head-width", type=int, metavar="C", help="channels of a head, instead [guided-diffusion: 64]")
    tell("--qkv-order", choices=("heads_first", "parts_first"),
         help="channels of its joint layers [heads_first; guided-diffusion of ImageNet 64: parts_first]")  # fmt: skip
    tell("--beta-schedule", choices=("linear", "cosine"), help="[improved-diffusion: cosine, else linear]")
    tell("--length", type=int, metavar="T", help="timesteps [improved-diffusion: 4000, else 1000]")
    tell(
        "--autoencoder",
        metavar="DIR",
        help="folder or hub id of the one whose latents the network makes [edm2 of ImageNet 512 names it]",
    )


def execute(options: argparse.Namespace) -> None:
    """Import and say what it is."""
    from mmd_ddm.pretrained.configs import image_shape, scheduler_config
    from mmd_ddm.pretrained.importing import import_model  # seconds
    from mmd_ddm.pretrained.load import load_denoiser

    told = {name: value for name in _UNTOLD if (value := getattr(options, name)) is not None}
    if not 0 <= told.get("dropout", 0) < 1:
        raise UserError(f"--dropout is {options.dropout}; it must be at least 0 and below 1")
    if told.get("length", 1) < 1:
        raise UserError(f"--length is {options.length}; it must be at least 1")
    folder = import_model(options.source, options.output, options.format, told, options.autoencoder)
    denoiser, config = load_denoiser(folder), scheduler_config(folder)
    channels, height, width = image_shape(folder)
    parameters = sum(each.numel() for each in denoiser.parameters() if each.requires_grad)
    print(f"model: {folder}")
    print(f"parameters: {parameters:,}".replace(",", " "))
    print(f"images: {channels} x {height} x {width}")
    betas = "its own betas" if config.get("trained_betas") else config.get("beta_schedule", "flow matching")
    print(
        f"schedule: {betas}, {denoiser.schedule.length} timesteps, predicts "
        f"{denoiser.schedule.prediction_type}, variance {denoiser.schedule.variance_type}"
    )

"""Sample images from a finetuned or pretrained diffusion model, with its own sampler and budget.

The noise is drawn as diffusers draws it: one generator with the seed, the whole batch at once. So
DDIMPipeline.from_pretrained(MODEL)(batch_size=N, num_inference_steps=S, generator=torch.manual_seed(SEED)) gives the
same images, to rounding.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmd_ddm.command.model import add_model_options, chain_of
from mmd_ddm.errors import UserError

BATCH = 256  # images that pass the network together


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which model, how many images, where to."""
    add_model_options(parser)
    parser.add_argument(
        "--steps", type=int, metavar="S", help="network evaluations an image [what it was finetuned for]"
    )
    parser.add_argument("--images", type=int, default=64, metavar="N", help="how many [64]")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/samples"), help="folder of N PNG files and a sheet [%(default)s]"
    )


def execute(options: argparse.Namespace) -> None:
    """Sample and write PNG files."""
    import torch
    from PIL import Image

    from mmd_ddm.evaluation.scores import to_uint8
    from mmd_ddm.evaluation.sheets import save_sheet
    from mmd_ddm.pretrained.load import load_denoiser, locate

    if options.images < 1:
        raise UserError(f"--images is {options.images}; it must be at least 1")
    folder = locate(options.model)
    chain = chain_of(folder, options, options.steps)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    denoiser = load_denoiser(folder).to(device)
    generator = torch.Generator().manual_seed(options.seed)
    shape = (options.images, *denoiser.image_shape)
    noise = torch.stack([torch.randn(shape, generator=generator) for _ in range(chain.draws)])
    with torch.no_grad():
        pieces = [chain.sample(denoiser, piece.to(device)).cpu() for piece in noise.split(BATCH, dim=1)]
    images = torch.cat(pieces)
    options.output.mkdir(parents=True, exist_ok=True)
    for i, pixels in enumerate(to_uint8(images)):
        grey = len(pixels) == 1
        array = pixels[0].numpy() if grey else pixels.permute(1, 2, 0).numpy()
        Image.fromarray(array).save(options.output / f"{i:06d}.png")
    sheet = save_sheet(images[: 16 * 16], options.output / "sheet.png")
    print(
        f"{options.images} images with {len(chain.timesteps)} network evaluations each: {options.output} ({sheet.name})"
    )

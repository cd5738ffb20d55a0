"""Sample images from a finetuned or pretrained diffusion model, with its own sampler and budget.

The noise is drawn as diffusers draws it, whatever the number of images: one generator with the seed, all images at
once. So DDIMPipeline.from_pretrained(MODEL)(batch_size=N, num_inference_steps=S, generator=torch.manual_seed(SEED))
gives the same images, to rounding.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mmd_ddm.cli.model_options import add_model_options, chain_of, model_folder
from mmd_ddm.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 256  # images that pass the network together; a multiple of GRAIN
GRAIN = 16  # torch.randn computes so many numbers together, so only multiples can be drawn one after the other
SHOWN = 256  # images on the sheet
SHEET, RECORD = "sheet.png", "sample.json"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which model, how many images, where to."""
    add_model_options(parser)
    parser.add_argument(
        "--steps", type=int, metavar="S", help="network evaluations an image [what it was finetuned for]"
    )
    parser.add_argument("--images", type=int, default=64, metavar="N", help="how many [64]")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("runs/samples"),
        help="folder of N PNG files and a sheet; those of an earlier sample are replaced [%(default)s]",
    )


def execute(options: argparse.Namespace) -> None:
    """Sample and write PNG files."""
    import torch

    from mmd_ddm.evaluation.figures.sheets import save_sheet
    from mmd_ddm.pretrained.load import load_denoiser

    if options.images < 1:
        raise UserError(f"--images is {options.images}; it must be at least 1")
    _check_output(options.output)
    folder = model_folder(options.model)
    chain = chain_of(folder, options, options.steps)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    denoiser = load_denoiser(folder).to(device)
    _begin(options)
    written, shown = 0, []
    with torch.no_grad():
        for noise in seeded_batches(options.seed, chain.draws, options.images, denoiser.image_shape):
            images = chain.sample(denoiser, noise.to(device)).cpu()
            _write(images, options.output, written)
            shown += [images] if written < SHOWN else []
            written += len(images)
    sheet = save_sheet(torch.cat(shown)[:SHOWN], options.output / SHEET)
    print(
        f"{options.images} images with {len(chain.timesteps)} network evaluations each: {options.output} ({sheet.name})"
    )


def seeded_batches(seed: int, draws: int, images: int, shape: tuple[int, ...], size: int = BATCH) -> Iterator[Tensor]:
    """Yield the noise of some images batch by batch, each number as if each draw was made for all images at once.

    Equal along dimension 1 to torch.stack([torch.randn(images, *shape, generator=g) for _ in range(draws)]) with one
    CPU generator g, in the memory of one batch: the generator runs through all draws once to learn where each begins.

    Args:
        seed: of the generator.
        draws: as `Chain.draws`.
        images: N, at least 1.
        shape: (C, H, W).
        size: images a batch, a multiple of GRAIN; the last one may have up to GRAIN more.

    Yields:
        (draws, n, C, H, W) float32.
    """
    import torch

    whole, rest = divmod(images, size)
    sizes = [size] * whole + ([rest] if rest else [])
    if whole and 0 < rest < GRAIN:  # fewer than GRAIN numbers would be computed in another way
        sizes[-2:] = [size + rest]
    runner, generators = torch.Generator().manual_seed(seed), []
    for draw in range(draws):
        generators.append(torch.Generator().set_state(runner.get_state()))
        for n in sizes if draw < draws - 1 else ():
            torch.randn((n, *shape), generator=runner)
    for n in sizes:
        yield torch.stack([torch.randn((n, *shape), generator=generator) for generator in generators])


def _check_output(folder: Path) -> None:
    """Refuse a folder with images that no earlier sample has written."""
    foreign = sorted({file.name for file in folder.glob("*.png")} - {file.name for file in _own(folder)})
    if foreign:
        raise UserError(
            f"{folder} holds other images ({foreign[0]}, {len(foreign)} in all), and they would be mixed with the new "
            "ones; name another --output"
        )


def _own(folder: Path) -> list[Path]:
    """The files of an earlier sample, as its record has them."""
    record = folder / RECORD
    if not record.is_file():
        return []
    try:
        images = int(json.loads(record.read_text())["images"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{record} is damaged ({error}); remove the folder or name another --output") from None
    return [folder / SHEET, *(_file(folder, i) for i in range(images))]


def _begin(options: argparse.Namespace) -> None:
    for file in _own(options.output):
        file.unlink(missing_ok=True)
    options.output.mkdir(parents=True, exist_ok=True)
    asked = ("model", "sampler", "schedule", "eta", "steps", "seed", "images")
    # before the images: what an interrupted sample leaves is known as its own
    (options.output / RECORD).write_text(json.dumps({name: getattr(options, name) for name in asked}, indent=1))


def _file(folder: Path, i: int) -> Path:
    return folder / f"{i:06d}.png"


def _write(images: Tensor, folder: Path, first: int) -> None:
    from PIL import Image

    from mmd_ddm.evaluation.evaluator import to_uint8

    for i, pixels in enumerate(to_uint8(images), first):
        array = pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).numpy()
        Image.fromarray(array).save(_file(folder, i))

"""Published checkpoints become the same functions in diffusers: sizes, outputs, and every tensor used exactly once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from diffusers import UNet2DModel
from torch import Tensor

from mmd_ddm.errors import UserError
from mmd_ddm.pretrained.formats import ddim, guided_diffusion, improved_diffusion
from mmd_ddm.pretrained.formats.architecture import Converted, Untold
from mmd_ddm.pretrained.multi_head_unet import MultiHeadUNet2DModel
from tests.pretrained.originals.ddim import ddim_network, ddim_shapes
from tests.pretrained.originals.numbered import numbered_network, numbered_shapes
from tests.pretrained.originals.structure import (
    ADM_IMAGENET_64,
    ADM_IMAGENET_128,
    ADM_LSUN,
    CELEBA,
    CIFAR,
    IMAGENET,
    IMAGENET_CONDITIONAL,
    LSUN,
    Structure,
    Weights,
    draw,
)

SMALL_DDIM = Structure(32, (1, 2, 2), 1, (1,))
SMALL_IMPROVED = Structure(32, (1, 2, 3), 2, (1, 2), outputs=6, heads=4, scale_shift=True, length=4000)
PLAIN_IMPROVED = Structure(32, (1, 2, 2), 1, (1,), heads=1, length=1000)  # as LSUN's: no scale, one head
SMALL_GUIDED = Structure(
    32, (1, 2, 3), 2, (1, 2), outputs=6, scale_shift=True, resampling=True, head_width=16, parts_first=True
)  # fmt: skip
LABELLED_IMPROVED = dataclasses.replace(SMALL_IMPROVED, classes=5)
LABELLED_GUIDED = dataclasses.replace(SMALL_GUIDED, classes=11)
PLAIN_GUIDED = Structure(32, (1, 2, 2), 1, (1,), resampling=True, head_width=32)
HEADED_GUIDED = Structure(32, (1, 1, 2), 1, (0, 2), outputs=6, heads=4, scale_shift=True, resampling=True)  # as 128's
EVEN_IMPROVED = Structure(32, (1, 2, 2), 1, (1, 2), outputs=6, heads=4, scale_shift=True, length=4000)  # as CIFAR's


def network_of(converted: Converted) -> UNet2DModel:
    kind = MultiHeadUNet2DModel if "num_attention_heads" in converted.config else UNet2DModel
    with torch.device("meta"):
        network = kind(**converted.config)
    network.load_state_dict(converted.weights, assign=True)
    return network.eval()


def untold(structure: Structure) -> Untold:
    schedule = "cosine" if structure.length == 4000 else "linear"
    order = "parts_first" if structure.parts_first else "heads_first"
    heads, width = structure.heads, structure.head_width
    return Untold(heads=heads, head_width=width, qkv_order=order, beta_schedule=schedule, length=structure.length)


Family = tuple[Callable, Callable, Callable[[Weights, Untold], Converted]]
DDIM: Family = (ddim_shapes, ddim_network, ddim.convert)
IMPROVED: Family = (numbered_shapes, numbered_network, improved_diffusion.convert)
GUIDED: Family = (numbered_shapes, numbered_network, guided_diffusion.convert)


@torch.no_grad()
def compare(
    structure: Structure, family: Family, side: int, times: list[int], faint: float = 1.0
) -> tuple[Converted, UNet2DModel]:
    shapes, original, convert = family
    weights = draw(shapes(structure))
    for name in ("conv_in", "input_blocks.0.0"):
        for kind in ("weight", "bias"):
            if f"{name}.{kind}" in weights:
                weights[f"{name}.{kind}"] *= faint
    converted = convert(weights, untold(structure))
    network = network_of(converted)
    image = torch.randn(len(times), 3, side, side, dtype=torch.float64)
    t = torch.tensor(times)
    exact = {name: weight.double() for name, weight in weights.items()}
    labels = (torch.arange(len(times)) * 7 + 3) % structure.classes if structure.classes else None
    told = {} if labels is None else {"class_labels": labels}
    expected: Tensor = original(structure, exact)(image, t, *told.values())
    found = network.double()(image, t, **told).sample
    if labels is not None:  # other labels are other images
        other = network(image, t, class_labels=(labels + 1) % structure.classes).sample
        assert float((found - other).abs().amax((1, 2, 3)).min() / expected.std()) > 1e-3
    assert expected.shape[1] == structure.outputs
    # float64 on both sides: layers keep the scale, so rounding stays near 1e-14 of the output's own
    assert float((found - expected).abs().max() / expected.std()) < 1e-10
    return converted, network


@pytest.mark.parametrize("faint", [1.0, 1e-3], ids=["plain", "faint"])
@pytest.mark.parametrize(
    ("structure", "family"),
    [
        (SMALL_DDIM, DDIM),
        (SMALL_IMPROVED, IMPROVED),
        (PLAIN_IMPROVED, IMPROVED),
        (EVEN_IMPROVED, IMPROVED),
        (SMALL_GUIDED, GUIDED),
        (PLAIN_GUIDED, GUIDED),
        (HEADED_GUIDED, GUIDED),
        (LABELLED_IMPROVED, IMPROVED),
        (LABELLED_GUIDED, GUIDED),
    ],
)
def test_small_networks_are_the_same_functions(structure: Structure, family: Family, faint: float) -> None:
    """Faint: the first maps have variances of 1e-6, where the epsilon of the normalisation shows."""
    converted, network = compare(structure, family, 16, [0, 1, 37, structure.length - 1], faint)
    table = network.time_proj.weight.numel() if structure.length != 1000 else 0
    assert sum(p.numel() for p in network.parameters()) - table == structure.parameters()
    assert type(network) is (
        MultiHeadUNet2DModel if structure in (SMALL_IMPROVED, LABELLED_IMPROVED, HEADED_GUIDED) else UNet2DModel
    )
    assert converted.scheduler["variance_type"] == ("learned_range" if structure.outputs == 6 else "fixed_large")


@pytest.mark.parametrize(
    ("structure", "family", "parameters", "resolution", "side"),
    [
        (CIFAR, DDIM, 35_746_307, 32, 16),
        (CELEBA, DDIM, 78_700_803, 64, 16),
        (LSUN, DDIM, 113_673_219, 256, 32),
        (IMAGENET, IMPROVED, 121_063_942, 64, 16),
    ],
)
def test_published_networks_are_the_same_functions(
    structure: Structure, family: Family, parameters: int, resolution: int, side: int
) -> None:
    converted, network = compare(structure, family, side, [0, structure.length // 3])
    assert structure.parameters() == parameters
    table = 4000 * 128 if structure is IMAGENET else 0
    assert sum(p.numel() for p in network.parameters()) == parameters + table
    assert network.config.sample_size == resolution
    assert converted.scheduler["num_train_timesteps"] == structure.length


@pytest.mark.parametrize(
    ("structure", "millions", "resolution"),
    [
        (ADM_IMAGENET_64, 296, 64), (ADM_IMAGENET_128, 422, 128), (ADM_LSUN, 552, 256),
        (dataclasses.replace(ADM_LSUN, classes=1000), 554, 256),  # ImageNet's
        (IMAGENET_CONDITIONAL, 273, 64),  # 270 in the name of the file, as 100 in that of the 121 million
    ],
)  # fmt: skip
def test_conditional_and_guided_networks_have_their_published_sizes(
    structure: Structure, millions: int, resolution: int
) -> None:
    """Dhariwal & Nichol 2021, Section 3 and appendices: 296, 422, 552 and 554 million."""
    weights = {name: torch.zeros(()).expand(shape) for name, shape in numbered_shapes(structure)}  # take no memory
    family = guided_diffusion if structure.resampling else improved_diffusion
    assert [each.recognises(weights) for each in (guided_diffusion, improved_diffusion)].index(True) == (
        family is improved_diffusion
    )
    found = family.convert(weights, untold(structure))
    count = sum(each.numel() for name, each in found.weights.items() if name != "time_proj.weight")
    assert count == structure.parameters()
    assert count / 10**6 == pytest.approx(millions, abs=1)
    assert found.config["sample_size"] == resolution
    assert found.config.get("num_class_embeds", 0) == structure.classes


@pytest.mark.parametrize(
    ("structure", "family"), [(SMALL_DDIM, DDIM), (LABELLED_IMPROVED, IMPROVED), (LABELLED_GUIDED, GUIDED)]
)
def test_every_tensor_is_used_exactly_once(structure: Structure, family: Family) -> None:
    """Number each element: all numbers come out once, whatever was split, flattened or renamed."""
    shapes, _, convert = family
    start, weights = 0, {}
    for name, shape in shapes(structure):
        count = math.prod(shape)
        weights[name] = torch.arange(start, start + count, dtype=torch.float32).view(shape)
        start += count
    assert start < 2**24  # float32 holds them all
    found = convert(weights, untold(structure)).weights
    found.pop("time_proj.weight", None)
    assert torch.equal(torch.cat([w.flatten() for w in found.values()]).sort().values, torch.arange(float(start)))


@pytest.mark.parametrize(
    ("structure", "family"), [(SMALL_DDIM, DDIM), (SMALL_IMPROVED, IMPROVED), (SMALL_GUIDED, GUIDED)]
)
def test_a_missing_or_unexpected_tensor_is_named(structure: Structure, family: Family) -> None:
    shapes, _, convert = family
    weights = {name: torch.zeros(shape) for name, shape in shapes(structure)}
    settings = untold(structure)
    for name in weights:
        rest = {other: w for other, w in weights.items() if other != name}
        with pytest.raises(UserError):
            convert(rest, settings)
    with pytest.raises(UserError, match=r"unexpected tensor label_emb\.bias"):
        convert({**weights, "label_emb.bias": torch.zeros(10, 4)}, settings)


def test_first_tensor_in_the_way_is_named() -> None:
    weights = {name: torch.zeros(shape) for name, shape in ddim_shapes(SMALL_DDIM)}
    del weights["up.1.attn.1.k.bias"]
    with pytest.raises(UserError, match=r"no ddim checkpoint: it has no tensor up\.1\.attn\.1\.k\.bias$"):
        ddim.convert(weights)
    weights = {name: torch.zeros(shape) for name, shape in ddim_shapes(SMALL_DDIM)}
    weights["up.0.block.0.nin_shortcut.weight"] = torch.zeros(32, 96, 3, 3)
    with pytest.raises(UserError, match=r"up\.0\.block\.0\.nin_shortcut\.weight gives .*\(32, 96, 3, 3\)"):
        ddim.convert(weights)
    with pytest.raises(UserError, match="no improved-diffusion checkpoint: it has no tensor"):
        improved_diffusion.convert(weights)


def test_two_tensors_for_one_place_are_refused() -> None:
    weights = {name: torch.zeros(shape) for name, shape in ddim_shapes(SMALL_DDIM)}
    one = next(name for name in weights if name.endswith("nin_shortcut.weight")).removesuffix(".weight")
    other = one.replace("nin", "conv")
    for kind in ("weight", "bias"):
        weights[f"{other}.{kind}"] = torch.ones_like(weights[f"{one}.{kind}"])
    with pytest.raises(UserError, match=rf"its tensors {one}\.weight and {other}\.weight both give "):
        ddim.convert(weights)


def test_heads_must_divide_the_widths_and_matter() -> None:
    weights = draw(numbered_shapes(SMALL_IMPROVED))
    with pytest.raises(UserError, match="heads is 5"):
        improved_diffusion.convert(weights, dataclasses.replace(untold(SMALL_IMPROVED), heads=5))
    image, t = torch.randn(1, 3, 16, 16), torch.tensor([7])
    with torch.no_grad():
        four, two = (
            network_of(improved_diffusion.convert(weights, dataclasses.replace(untold(SMALL_IMPROVED), heads=heads)))(
                image, t
            ).sample
            for heads in (4, 2)
        )
    assert float((four - two).abs().max()) > 1e-2


def test_resolution_follows_the_finest_attention_unless_it_is_given() -> None:
    weights = {name: torch.zeros(shape) for name, shape in ddim_shapes(SMALL_DDIM)}
    assert ddim.convert(weights).config["sample_size"] == 32  # attention at level 1, which is 16 x 16
    assert ddim.convert(weights, Untold(resolution=20)).config["sample_size"] == 20
    with pytest.raises(UserError, match="resolution is 18; this network's 3 levels need multiples of 4"):
        ddim.convert(weights, Untold(resolution=18))
    bare = Structure(32, (1, 2), 1, ())
    with pytest.raises(UserError, match="--resolution"):
        ddim.convert({name: torch.zeros(shape) for name, shape in ddim_shapes(bare)})


def test_variance_is_that_of_the_authors_config() -> None:
    """The DDIM authors' cifar10.yml and celeba.yml say fixedlarge, their church.yml and bedroom.yml fixedsmall."""
    weights = {name: torch.zeros(shape) for name, shape in ddim_shapes(SMALL_DDIM)}
    for resolution, told, expected in (
        (32, None, "fixed_large"), (64, None, "fixed_large"), (256, None, "fixed_small"),
        (256, "fixed_large", "fixed_large"), (32, "fixed_small", "fixed_small"),
    ):  # fmt: skip
        converted = ddim.convert(weights, Untold(resolution=resolution, variance_type=told))
        assert converted.scheduler["variance_type"] == expected


def test_cosine_schedule_is_the_papers() -> None:
    """beta_t = min(1 - f(t+1) / f(t), 0.999), f(t) = cos^2((t/T + 0.008) / 1.008 * pi/2) (Nichol & Dhariwal 2021)."""
    from diffusers import DDPMScheduler

    weights = {name: torch.zeros(shape) for name, shape in numbered_shapes(SMALL_IMPROVED)}
    scheduler = DDPMScheduler(**improved_diffusion.convert(weights, untold(SMALL_IMPROVED)).scheduler)
    t = torch.arange(4001, dtype=torch.float64) / 4000
    f = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
    expected = (1 - f[1:] / f[:-1]).clamp(max=0.999)
    torch.testing.assert_close(scheduler.betas.double(), expected, rtol=0, atol=1e-7)
    linear = improved_diffusion.convert(weights, Untold(heads=4, length=4000)).scheduler
    assert (linear["beta_start"], linear["beta_end"]) == (0.25e-4, 0.005)

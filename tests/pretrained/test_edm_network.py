"""EDM networks are the published functions, as v or epsilon of images of a variance-preserving process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmd_ddm.errors import UserError
from mmd_ddm.pretrained.edm_unet import EDMUNet2DModel
from mmd_ddm.pretrained.formats import edm
from mmd_ddm.pretrained.formats.architecture import unet_shapes
from tests.pretrained.originals.edm import (
    CIFAR_VE,
    CIFAR_VP,
    FFHQ_VP,
    EDMStructure,
    edm_denoiser,
    edm_shapes,
    edm_weights,
)
from tests.pretrained.originals.edm_pickle import write_network

SMALL = {
    "DDPM++": EDMStructure(16, (1, 2), 2, 8, (4,)),
    "NCSN++": EDMStructure(16, (2, 1), 1, 8, (8,), ncsn=True),
    "skip decoder": EDMStructure(16, (1, 2, 2), 1, 8, (), ncsn=True, skip_decoder=True),
    "VP": EDMStructure(16, (1, 2), 1, 8, (4,), preconditioning="VPPrecond", augmentations=0),
    "conditional": EDMStructure(16, (1, 2), 1, 8, (4,), preconditioning="VPPrecond", classes=5),
    "VE": EDMStructure(16, (1, 2), 1, 8, (4,), ncsn=True, preconditioning="VEPrecond", augmentations=0),
}


@torch.no_grad()
def compare(s: EDMStructure, file: Path, side: int, times: list[int]) -> EDMUNet2DModel:
    weights = edm_weights(s)
    converted = edm.convert(write_network(file, s, weights))
    network = EDMUNet2DModel(**converted.config).eval()
    network.load_state_dict(converted.weights)
    network.double()
    t = torch.tensor(times)
    sigma = network.sigmas[t]
    image = torch.randn(len(times), 3, side, side, dtype=torch.float64)
    level = sigma.view(-1, 1, 1, 1)
    x = image * (1 + level**2).sqrt()
    labels = torch.arange(len(times)) * 3 % s.classes if s.classes else None
    denoised = edm_denoiser(s, {name: value.double() for name, value in weights.items()})(x, sigma, labels)
    epsilon = (x - denoised) / level
    signal, noise = 1 / (1 + level**2).sqrt(), level / (1 + level**2).sqrt()
    v = signal * epsilon - noise * denoised
    expected = v if s.preconditioning == "EDMPrecond" else epsilon
    assert converted.scheduler["prediction_type"] == network.predicts
    found = network(image, t, labels).sample
    # float64 on both sides, but x_0 / sigma of the original loses three digits where sigma is 0.002
    assert float((found - expected).abs().max() / expected.std()) < 1e-10
    return network


@pytest.mark.parametrize("name", SMALL)
def test_small_networks_are_the_same_functions(name: str, tmp_path: Path) -> None:
    s = SMALL[name]
    network = compare(s, tmp_path / "edm.pkl", 8, [0, 1, 370, 999])
    of_sampling = {name: value for name, value in edm_weights(s).items() if "augment" not in name}
    counted = {name: value for name, value in of_sampling.items() if "filter" not in name and "freqs" not in name}
    assert sum(each.numel() for each in network.parameters()) == sum(each.numel() for each in counted.values())


@pytest.mark.slow
@pytest.mark.parametrize(("s", "parameters"), [(CIFAR_VP, 55_732_739), (CIFAR_VE, 56_395_523)])
def test_published_networks_are_the_same_functions(s: EDMStructure, parameters: int, tmp_path: Path) -> None:
    """55.7 million, as the paper's Table 7 and the logs of NVlabs' training script have it with the augmentations'."""
    network = compare(s, tmp_path / "edm.pkl", 8, [400])
    assert sum(each.numel() for each in network.parameters()) == parameters


def test_ffhq_has_its_published_size() -> None:
    config = {"sample_size": 64, "block_out_channels": (128, 256, 256, 256), "preconditioning": "edm"}
    shapes = unet_shapes(config)
    own = {name: shape for name, shape in edm_shapes(FFHQ_VP) if name != "map_augment.weight"}
    assert {name: shape for name, shape in shapes.items() if name != "sigmas"} == own
    assert sum(torch.Size(shape).numel() for shape in own.values()) == 61_804_419


@torch.no_grad()
def test_fractional_timesteps_are_between_in_log_sigma() -> None:
    network = EDMUNet2DModel(8, stem_channels=16, block_out_channels=(16,), layers_per_block=1, noise_channels=16,
                             embedding_channels=32, num_train_timesteps=5).double().eval()  # fmt: skip
    low, high = network.sigmas[2].log(), network.sigmas[3].log()
    found = network.log_sigma(torch.tensor([2.25, 2.0, 3.0, 4.0], dtype=torch.float64))
    expected = torch.stack([0.75 * low + 0.25 * high, low, high, network.sigmas[4].log()])
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=0)
    image = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    between = network(image, 2.25).sample
    network.sigmas[2] = found[0].exp()
    torch.testing.assert_close(network(image, torch.tensor(2)).sample, between, rtol=1e-12, atol=1e-12)
    assert torch.equal(network(image, 2, return_dict=False)[0], network(image, torch.tensor([2, 2])).sample)


@pytest.mark.parametrize(
    "changed",
    [{"embedding": "other"}, {"resample_filter": (1, 2, 1)}, {"preconditioning": "other"}, {"out_channels": 6}],
)
def test_what_is_not_built_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(changed))} is"):
        EDMUNet2DModel(**changed)


def test_levels_of_the_process_are_checked(tmp_path: Path) -> None:
    file = write_network(tmp_path / "edm.pkl", SMALL["DDPM++"], edm_weights(SMALL["DDPM++"]))
    with pytest.raises(UserError, match="--length is 1"):
        edm.convert(file, 1)

import pytest
import torch
from torch import nn

from mmd_ddm.features.trained.residual import Layers, ResidualNetwork


@pytest.fixture
def network() -> ResidualNetwork:
    """An untrained network with statistics of its own."""
    torch.manual_seed(0)
    made = ResidualNetwork((3, 16, 16), width=8, dim=10)
    for norm in made.modules():
        if isinstance(norm, nn.BatchNorm2d):
            statistics = (norm.weight, 0.5), (norm.bias, -1.0), (norm.running_mean, -1.0), (norm.running_var, 0.5)
            for tensor, least in statistics:
                assert tensor is not None
                nn.init.uniform_(tensor, least, least + 1)
    return made.eval()


def test_layers_halve_down_to_four_pixels() -> None:
    with torch.no_grad():
        made = ResidualNetwork((1, 64, 64), width=8, dim=10).eval()
        layers = made.layers(torch.zeros(2, 1, 64, 64))
    assert [tuple(layer.shape[1:]) for layer in layers] == [
        (8, 64, 64), (16, 32, 32), (16, 16, 16), (16, 8, 8), (10, 4, 4),
    ]  # fmt: skip


def test_folding_changes_no_feature(network: ResidualNetwork) -> None:
    images = torch.rand(5, 3, 16, 16) * 2 - 1
    network.double()
    with torch.no_grad():
        before = network.layers(images.double())
        network.fold()
        after = network.layers(images.double())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    torch.testing.assert_close(after, before, rtol=1e-10, atol=1e-12)


def test_features_are_means_over_pixels(network: ResidualNetwork) -> None:
    images = torch.rand(5, 3, 16, 16) * 2 - 1
    layers = network.layers(images)
    torch.testing.assert_close(network(images), layers[-1].flatten(2).mean(2))
    every = Layers(network)
    found = every(images).split(list(every.dims), dim=1)
    for layer, features in zip(layers, found, strict=True):
        # the mean over the 2 x 2 cells is the mean over all pixels, and the first cell is the upper left quarter
        cells = features.view(5, -1, 4)
        half = layer.shape[-1] // 2
        torch.testing.assert_close(cells.mean(2), layer.mean((2, 3)), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(cells[..., 0], layer[..., :half, :half].mean((2, 3)), rtol=1e-4, atol=1e-6)


def test_gradient_reaches_every_pixel_and_is_smooth(network: ResidualNetwork) -> None:
    network.double()
    images = torch.rand(1, 3, 16, 16, dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(network(images).square().sum(), images)
    assert bool((gradient != 0).all())
    # twice differentiable: central differences of the gradient along a direction agree at two step sizes
    direction = torch.randn(images.shape, dtype=torch.float64)

    def slope(step: float) -> torch.Tensor:
        ends = []
        for sign in (1, -1):
            moved = (images + sign * step * direction).detach().requires_grad_()
            ends.append(torch.autograd.grad(network(moved).square().sum(), moved)[0])
        return (ends[0] - ends[1]) / (2 * step)

    torch.testing.assert_close(slope(1e-3), slope(1e-4), rtol=1e-3, atol=1e-5 * float(slope(1e-4).abs().max()))

import torch
from torch import nn

from mmd_ddm.features.trained.muon import Muon, orthogonal


def test_singular_values_become_one_and_vectors_stay() -> None:
    torch.manual_seed(0)
    for rows, columns in ((6, 30), (30, 6)):
        left, _ = torch.linalg.qr(torch.randn(rows, 6))
        right, _ = torch.linalg.qr(torch.randn(columns, 6))
        given = left @ torch.diag(torch.tensor([1.0, 0.8, 0.6, 0.4, 0.2, 0.1])) @ right.T
        turned = left.T @ orthogonal(given) @ right
        # the iteration ends between 0.7 and 1.2; bfloat16 keeps 8 bits, in each of 4 iterations
        diagonal = turned.diagonal()
        assert 0.65 < diagonal.min() <= diagonal.max() < 1.25
        assert (turned - torch.diag(diagonal)).abs().max() < 0.05


def test_convolutions_keep_their_norm_and_turn_by_the_learning_rate() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8))
    weight = network[0].weight
    network(torch.randn(4, 3, 8, 8)).pow(3).sum().backward()
    start = weight.detach() * 8**0.5 / weight.detach().norm()
    Muon(network, learning_rate=0.01).step()
    assert weight.grad is not None
    # Nesterov's momentum after one gradient g: (1 + 0.9) g, whose direction is g's
    expected = start - 0.01 * orthogonal(weight.grad.flatten(1)).view_as(weight)
    torch.testing.assert_close(weight.detach(), expected, rtol=0, atol=1e-4)  # 0.01 in bfloat16's roundings of 0.4 %


def test_other_parameters_are_adams_at_a_sixteenth_of_the_rate() -> None:
    torch.manual_seed(0)
    network, like = nn.Linear(5, 3), nn.Linear(5, 3)
    like.load_state_dict(network.state_dict())
    muon = Muon(network, learning_rate=0.16)
    adam = torch.optim.Adam(like.parameters(), lr=0.01, betas=(0.9, 0.95))
    for _ in range(5):
        inputs = torch.randn(7, 5)
        for model, optimizer in ((network, muon), (like, adam)):
            optimizer.zero_grad()
            model(inputs).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(network.weight, like.weight, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(network.bias, like.bias, rtol=1e-5, atol=1e-7)

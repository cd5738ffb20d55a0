import pytest
import torch

from mmd_ddm.features.trained import augment


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def images(count: int = 50) -> torch.Tensor:
    return torch.rand(count, 2, 8, 8) * 2 - 1


def test_nothing_happens_when_all_ranges_are_zero() -> None:
    given = images()
    torch.testing.assert_close(augment.move(given, 0, 0, 0), given)
    torch.testing.assert_close(augment.recolour(given, 0, 0), given)
    assert torch.equal(augment.cut_out(given, 0.5, 0.0), given)


def test_shifts_stay_within_their_range_and_reach_it() -> None:
    # the centre of mass of a blob far from the border moves by just the shift
    blob = torch.zeros(2000, 1, 16, 16)
    blob[:, :, 7:9, 7:9] = 1
    moved = augment.move(blob, pixels=2, degrees=0, stretch=0)[:, 0]
    place = torch.arange(16) - 7.5
    mass = moved.sum((1, 2))
    for axis in (1, 2):
        shift = (moved.sum(3 - axis) * place).sum(1) / mass
        assert shift.abs().max() <= 2 + 1e-4
        # the largest of 2000 uniform numbers is below 0.99 of the range with probability 2e-9
        assert shift.max() > 1.98
        assert shift.min() < -1.98


def test_rotation_moves_a_point_along_its_circle() -> None:
    dot = torch.zeros(500, 1, 17, 17)
    dot[:, :, 8, 14] = 1  # six pixels right of the centre
    moved = augment.move(dot, pixels=0, degrees=30, stretch=0)[:, 0]
    place = torch.arange(17) - 8.0
    x, y = (moved.sum(1) * place).sum(1) / moved.sum((1, 2)), (moved.sum(2) * place).sum(1) / moved.sum((1, 2))
    # bilinear weights of the four pixels around a point average to it within half a pixel
    assert ((x.square() + y.square()).sqrt() - 6).abs().max() < 0.5
    assert torch.atan2(y, x).rad2deg().abs().max() < 30 + 5
    assert torch.atan2(y, x).rad2deg().abs().max() > 25


def test_what_comes_in_repeats_the_border() -> None:
    flat = torch.full((20, 3, 8, 8), 0.25)
    torch.testing.assert_close(augment.move(flat, 4, 45, 0.5), flat)


def test_recolouring_keeps_black_and_scales_the_rest() -> None:
    given = torch.tensor([-1.0, 0.0, 1.0]).view(1, 1, 1, 3).expand(1000, 1, 1, 3)
    changed = augment.recolour(given, contrast=0.3, noise=0)[:, 0, 0]
    assert (changed[:, 0] == -1).all()
    factor = changed[:, 1] + 1
    torch.testing.assert_close(changed[:, 2] + 1, 2 * factor)
    assert 0.7 <= factor.min() < 0.71
    assert 1.29 < factor.max() <= 1.3


def test_noise_is_drawn_with_its_own_deviation_for_each_image() -> None:
    deviation = augment.recolour(torch.zeros(400, 1, 64, 64), contrast=0, noise=0.2).std((1, 2, 3))
    assert deviation.max() < 0.2 * 1.06  # a deviation estimated from 4096 numbers is right to 1.1 %
    assert 0.08 < deviation.median() < 0.12


def test_squares_are_cut_where_asked() -> None:
    given = images(400)
    cut = augment.cut_out(given, part=0.5, probability=0.5)
    changed = (cut != given).flatten(1).any(1)
    assert 150 < changed.sum() < 250  # 200 +- 10
    assert (cut[cut != given] == -1).all()
    assert (cut != given).any(1).flatten(1).sum(1).max() <= 16  # (8 / 2)^2 pixels
    assert (augment.cut_out(given, part=2.5, probability=1) == -1).all()


def test_mirrored_or_not() -> None:
    given = images(400)
    result = augment.mirror(given)
    same = (result == given).flatten(1).all(1)
    assert torch.equal(result[~same], given[~same].flip(-1))
    assert 150 < same.sum() < 250  # 200 +- 10

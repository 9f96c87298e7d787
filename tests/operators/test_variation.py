"""Operators that are often stated in place of the right one."""

import pytest
import torch

from operators import Bayer, Blur, GaussianNoise, Masking, Operator, variants

L = torch.tensor([[4.0, 1, 0], [2, 0, 0], [3, 5, 6]]) / 21  # has no symmetry


@pytest.mark.parametrize("boundary", Blur.boundaries)
def test_a_kernel_in_every_orientation_but_quarter_turns(boundary):
    found = variants(Blur(L, boundary, GaussianNoise(0.1)))
    x = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    assert len(found) == 5
    for name, change in {
        "kernel turned by 180 degrees": lambda z: z.flip(-2, -1),
        "kernel transposed": lambda z: z.mT,
        "kernel mirrored left to right": lambda z: z.flip(-1),
        "kernel mirrored top to bottom": lambda z: z.flip(-2),
    }.items():
        # a kernel that is turned blurs the turned picture as the kernel itself blurs the picture
        torch.testing.assert_close(found[name](change(x)), change(Blur(L, boundary)(x)))
        assert float(found[name].noise.sigma) == pytest.approx(0.1)


def test_symmetric_kernels_have_fewer():
    assert variants(Blur.gaussian(1.5)) == {}
    assert set(variants(Blur.motion(length=9, angle=0))) == {"kernel transposed"}
    assert set(variants(Blur.motion(length=9, angle=30))) == {"kernel transposed", "kernel mirrored left to right"}
    assert variants(Blur(L.repeat(2, 1, 1, 1))) == {}, "kernels of several measurements"


@pytest.mark.parametrize("pattern", ["RGGB", "BGGR", "GRBG", "GBRG"])
def test_patterns_of_a_sensor_that_starts_one_row_or_column_further(pattern):
    found = variants(Bayer(pattern))
    x = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert len(found) == 2 and all(pattern not in name for name in found)
    rolled = [Bayer(pattern)(x.roll((i, j), (-2, -1))).roll((-i, -j), (-2, -1)) for i, j in ((0, 1), (1, 0))]
    for other in found.values():
        assert any(torch.equal(other(x), one) for one in rolled)


def test_others_have_none_and_a_class_of_ones_own_can_register():
    class Own(Masking):
        pass

    operator = Own(torch.ones(1, 4, 4))
    assert variants(operator) == {}
    variants.register(Own, lambda own: {"inverted": Masking(~own.mask)})
    assert set(variants(operator)) == {"inverted"}
    with pytest.raises(TypeError, match="Operator"):
        variants(3)  # type: ignore[arg-type]


def test_they_are_operators():
    assert all(isinstance(one, Operator) for one in variants(Blur(L)).values())

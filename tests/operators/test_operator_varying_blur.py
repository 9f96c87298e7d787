"""Blurs that change over the picture, against the blur that they are where they do not change, and a sum of them."""

import math

import pytest
import torch
from operator_cases import peaked, uniform

from operators import Blur, VaryingBlur
from operators.kernels import disc_kernel

E = (2, 9, 8)


@pytest.mark.parametrize("boundary", ["reflect", "circular", "valid"])
def test_one_kernel_everywhere_is_a_blur(boundary):
    kernel, x = peaked(3, 4), uniform(2, *E)
    same = VaryingBlur.grid(kernel.expand(3, 2, 3, 4), E, boundary)
    torch.testing.assert_close(same(x), Blur(kernel, boundary)(x))


def test_it_is_the_sum_of_blurs_under_windows():
    kernels, windows, x = peaked(4, 3, 3), uniform(4, 9, 8, seed=2), uniform(2, *E)
    expected = sum(Blur(k, "reflect")(w * x) for k, w in zip(kernels, windows, strict=True))
    torch.testing.assert_close(VaryingBlur(kernels, windows)(x), expected)


def test_windows_of_a_grid_sum_to_one_and_hold_a_node_alone():
    windows = VaryingBlur.grid(peaked(3, 2, 3, 3), E).windows
    assert windows.shape == (6, 9, 8)
    torch.testing.assert_close(windows.sum(0), torch.ones(9, 8))
    nodes = [(r, c) for r in (0, 4, 8) for c in (0, 7)]
    for j, (row, column) in enumerate(nodes):
        torch.testing.assert_close(windows[:, row, column], torch.eye(6)[j])


def test_sets_of_kernels_are_those_of_their_measurements():
    kernels, windows, x = peaked(2, 4, 3, 3), uniform(2, 4, 9, 8), uniform(3, *E)
    rows = VaryingBlur(kernels, windows).rows(torch.tensor([1, 0, 1]))
    for i, b in enumerate((1, 0, 1)):
        torch.testing.assert_close(rows(x)[i : i + 1], VaryingBlur(kernels[b], windows[b])(x[i : i + 1]))


def spot(op, row, column, size=(33, 33)):
    """Where a point of light goes: mass, mean place (row, column) and covariance (2, 2)."""
    point = torch.zeros(1, 1, *size)
    point[..., row, column] = 1
    light = op(point)[0, 0].double()
    grid = torch.stack(torch.meshgrid(*(torch.arange(float(n)) for n in size), indexing="ij"), -1).double()
    mean = (light[..., None] * grid).sum((0, 1)) / light.sum()
    return light.sum(), mean, torch.einsum("hw,hwi,hwj->ij", light, grid - mean, grid - mean) / light.sum()


def test_a_rotation_is_sharp_in_the_middle_and_an_arc_elsewhere():
    degrees = 30.0
    op = VaryingBlur.rotation((1, 33, 33), degrees, nodes=3, boundary="circular")
    assert spot(op, 16, 16)[2].trace() < 1e-6
    angle = math.radians(degrees)
    # a point at radius r right of the centre moves up and down: its place is r exp(i t), t uniform on +- angle / 2
    radius = 16
    mass, mean, covariance = spot(op, 16, 32)
    assert mass == pytest.approx(1, abs=1e-5)
    assert float(covariance[0, 0]) == pytest.approx(radius**2 * (0.5 - math.sin(angle) / (2 * angle)), rel=0.05)
    # towards the centre an arc bends, by radius (1 - sin(angle / 2) / (angle / 2)) on average
    assert 32 - float(mean[1]) == pytest.approx(radius * (1 - math.sin(angle / 2) / (angle / 2)), abs=1e-3)
    _, _, corner = spot(op, 0, 0)  # the arc there rises to the right
    assert corner[0, 1] < 0 and corner[0, 0] == pytest.approx(float(corner[1, 1]), rel=0.02)


def test_defocus_spreads_as_a_disc_does():
    op = VaryingBlur.defocus((1, 33, 33), top=0.0, bottom=4.0, nodes=5, boundary="circular")
    for row, radius in ((0, 0.0), (16, 2.0), (32, 4.0)):
        variance = spot(op, row, 16)[2][1, 1]  # along the row, where the picture's end is far
        pixel = 1 / 12 if radius else 0  # what sharing between pixels adds
        assert float(variance) == pytest.approx(radius**2 / 4 + pixel, abs=0.04)


def test_a_disc_covers_its_area():
    kernel, focus = disc_kernel(3.0, 9), torch.zeros(3, 3)
    assert kernel.sum().item() == pytest.approx(1)
    assert kernel[4, 4].item() == pytest.approx(1 / (9 * math.pi), rel=0.01)
    focus[1, 1] = 1
    assert torch.equal(disc_kernel(0.0, 3), focus)

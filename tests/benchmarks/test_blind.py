"""The scores of `inverse-bench run blind`: alignment of shifted kernels and pictures, and the l0 method."""

import numpy as np
import pytest
import torch

from benchmarks.trained.blind import aligned, kernels, scored
from benchmarks.trained.blind_l0 import l0_kernel
from operators import Blur
from operators.kernels import motion_kernel


def test_a_shifted_kernel_and_the_shifted_picture_have_no_error():
    """Both give the same measurement, by the operator itself."""
    scene = torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    kernel = torch.zeros(9, 9)
    kernel[3:6, 3:6] = motion_kernel(3, seed=1)
    moved, picture = kernel.roll((2, -1), (0, 1)), scene.roll((-2, 1), (2, 3))
    inner = (..., slice(8, -8), slice(8, -8))
    assert torch.allclose(Blur(moved)(picture)[inner], Blur(kernel)(scene)[inner], atol=1e-5)
    error, shift = aligned(moved, kernel)
    assert error < 1e-3 and shift == (2, -1)
    samples = picture[:, None] + 1e-4 * torch.randn(1, 3, 1, 40, 40, generator=torch.Generator().manual_seed(1))
    assert scored(samples, scene, shift, 4)["psnr"] > 60


def test_the_l0_method_finds_a_blur_of_sharp_squares():
    scene = torch.zeros(110, 110)
    generator = torch.Generator().manual_seed(3)
    for _ in range(25):
        top, left, h, w = torch.randint(5, 95, (4,), generator=generator).tolist()
        scene[top : top + h // 4, left : left + w // 4] = torch.rand((), generator=generator)
    kernel = motion_kernel(9, seed=0)
    y = Blur(kernel, "valid")(scene[None, None])[0, 0]
    point = torch.zeros(9, 9)
    point[4, 4] = 1
    assert aligned(l0_kernel(y, 9), kernel)[0] < min(0.6, aligned(point, kernel)[0])


def test_kernels_of_a_file_and_of_none(tmp_path):
    assert [len(k) for k in kernels(None, 3)] == [13, 15, 17]
    np.savez(tmp_path / "k.npz", levin1=np.full((3, 3), 1 / 9), other=np.ones((2, 2)))
    assert [k.shape for k in kernels(tmp_path / "k.npz", 2)] == [(3, 3)] * 2
    np.savez(tmp_path / "none.npz", other=np.ones((2, 2)))
    with pytest.raises(ValueError, match="levin1"):
        kernels(tmp_path / "none.npz", 2)

"""K-space that is its own mirror image, and coils of noise."""

import warnings
from pathlib import Path

import pytest
import torch

import priors
from inverse.app.kspace.checks import KSpaceWarning
from inverse.app.kspace.copies import check_copies, copied, silent
from operators.coils import smooth_sensitivities
from operators.kspace import fftc
from operators.sampling import cartesian

PICTURES = priors.samples("brain-mri").floats()
SIZE = (64, 64)


def scan(n=0, coils=4, sigma=0.01, seed=0, phase=0.7):
    rng = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, 64),) * 2, indexing="ij")
    picture = PICTURES[n, 0] * torch.polar(torch.ones(SIZE), phase * (x + y * x))
    maps = smooth_sensitivities(coils, SIZE) if coils > 1 else torch.ones(1, *SIZE)
    z = fftc(maps * picture)
    noise = torch.randn(coils, *SIZE, 2, generator=rng)
    return z + sigma * torch.view_as_complex(noise)


@pytest.mark.parametrize("coils", [1, 4, 8])
@pytest.mark.parametrize("sigma", [0.003, 0.03])
def test_right_scans_are_not_warned_of(coils, sigma):
    for n in range(len(PICTURES)):
        for phase in (0.0, 2.0):
            z = scan(n, coils, sigma, n, phase)
            for mask in (torch.ones(SIZE, dtype=torch.bool), cartesian(SIZE, 4).bool().expand(SIZE)):
                with warnings.catch_warnings():
                    warnings.simplefilter("error", KSpaceWarning)
                    check_copies(Path("scan.h5"), z[None], mask[None])


def test_magnitudes_of_coils():
    whole = torch.ones(SIZE, dtype=torch.bool)
    z = fftc(
        torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(scan(), (-2, -1))), (-2, -1)).abs().to(torch.complex64)
    )
    assert copied(z, whole) > 0.99
    with pytest.warns(KSpaceWarning, match="magnitudes of coil pictures"):
        check_copies(Path("scan.h5"), z[None], whole[None])


def test_a_partial_scan_that_was_filled_by_symmetry():
    whole = torch.ones(SIZE, dtype=torch.bool)
    for coils in (1, 4):
        z = scan(coils=coils)
        rows = (64 - torch.arange(64)) % 64
        filled = z.clone()
        filled[:, 1:24] = z[:, rows][:, :, rows].conj()[:, 1:24]
        assert 0.2 < copied(filled, whole) < 0.9 and copied(z, whole) == 0
        with pytest.warns(KSpaceWarning, match="filled by symmetry"):
            check_copies(Path("scan.h5"), filled[None], whole[None])


def test_a_coil_of_noise():
    mask = cartesian(SIZE, 3).bool().expand(SIZE)
    for n in range(4):
        z = scan(n)
        assert silent(z, mask) == []
        z[2] = 0.01 * torch.randn(SIZE, dtype=torch.complex64, generator=torch.Generator().manual_seed(n))
        assert silent(z, mask) == [2]
    with pytest.warns(KSpaceWarning, match="coil 2 has no signal"):
        check_copies(Path("scan.h5"), torch.where(mask, z, 0)[None], mask[None])

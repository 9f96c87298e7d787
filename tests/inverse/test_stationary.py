"""Estimates with stationary moments, in the bases that operators share with them: against matrices."""

import pytest
import torch

from inverse.gaussian import Wiener, given
from inverse.gaussian.stationary import shared
from operators import Blur, Downsampling, GaussianNoise, Identity, Masking
from operators.kernels import gaussian_kernel
from operators.transforms import dct
from priors import RowRNG, Spectrum
from priors.spectrum import cosine, scaled
from tests.cases import F64, normal

SPECTRUM = Spectrum(
    (0.4, 0.5, 0.3),
    ((0.6, 0.8, 0.0), (-0.8, 0.6, 0.0), (0.0, 0.0, 1.0)),
    (4e-4, 1e-3, 5e-5),
    (2.4, 2.0, 3.0),
    (0.05, 0.05, 0.08),
)
IN_A_BASIS = {  # operator of pictures (3, 8, 12), and the largest relative error of single precision or tolerance
    "noise alone": (Identity(noise=GaussianNoise(0.1)), 1e-5),
    "means of blocks": (Downsampling(4, noise=GaussianNoise(0.05)), 1e-5),
    "motion blur": (Blur.motion(5, seed=1, noise=GaussianNoise(0.05)), 3e-2),
    "motion blur, odd width": (Blur.motion(5, seed=1, noise=GaussianNoise(0.05)), 3e-2),
    "a noise level per row": (Blur.motion(5, seed=1, noise=GaussianNoise(torch.tensor([0.05, 0.2]))), 3e-2),
    "a kernel per channel": (
        Blur(torch.stack([gaussian_kernel(w, 5) for w in (0.5, 1.0, 1.5)]), noise=GaussianNoise(0.05)),
        None,
    ),
    "some pixels": (Masking.random((3, 8, 12), 0.5, noise=GaussianNoise(0.1)), None),
}


def dense_estimates(operator, moments, r, s2):
    """C_s A' (Sigma_y + A C_s A')^-1 r row by row, by matrices."""
    eye = torch.eye(moments.mean.numel(), dtype=F64).view(-1, *moments.mean.shape)
    covariance = moments.to(r.device, F64).apply(lambda v: v / (1 + v / s2), eye).flatten(1)
    rows = []
    for i in range(len(r)):
        own = operator.rows(torch.tensor([i])) if operator.batch is not None else operator
        a = torch.cat([own(e[None]).flatten(1) for e in eye]).mT
        sigma = own.noise.aligned("sigma", r[i : i + 1]).expand(1, *r.shape[1:]).flatten().double()
        noise = torch.diag(torch.where(a.abs().sum(1) > 0, sigma**2, 1.0))
        rows.append(covariance @ a.mT @ torch.linalg.solve(noise + a @ covariance @ a.mT, r[i].flatten().double()))
    return torch.stack(rows).view(len(r), *moments.mean.shape)


@pytest.mark.parametrize("s2", [1e-3, 0.03, 1.0, float("inf")])
@pytest.mark.parametrize("name", IN_A_BASIS)
def test_estimates_with_stationary_moments_are_those_of_matrices(name, s2):
    operator, tolerance = IN_A_BASIS[name]
    moments = SPECTRUM.sized((3, 8, 11 if "odd" in name else 12))
    y = operator.measure(moments.draw(2, RowRNG.rows(0, 2)), seed=1)
    r = y - operator(moments.mean[None].expand(2, -1, -1, -1))
    wanted = dense_estimates(operator, moments, r, s2)
    found = Wiener(moments, operator, whole=True).estimate(r, s2).double()
    solver = shared(moments, operator)
    assert (solver is None) == (tolerance is None)
    if solver is not None:
        assert (found - wanted).norm() <= tolerance * wanted.norm()
        exact = solver.estimate(r, given(s2), 1e-6, 200)
        torch.testing.assert_close(exact.double(), wanted, atol=1e-3 * float(wanted.abs().max()), rtol=0)
    else:  # five iterations, whose residual is above the tolerance where C_s is wide
        assert (found - wanted).norm() <= 0.5 * wanted.norm()


@pytest.mark.parametrize("operator", [Identity(noise=GaussianNoise(0.1)), Downsampling(2, noise=GaussianNoise(0.1))])
def test_variances_of_cosines_are_those_of_matrices(operator):
    variances = 0.1 + normal(1, 6, 8).square()
    pixels = torch.eye(48, dtype=F64).view(48, 1, 6, 8)
    rows = dct(operator(dct_inverse(pixels))).flatten(1)
    found = rows.mT @ torch.diag(variances.flatten()) @ rows
    torch.testing.assert_close(found, torch.diag(operator.cosine_power(variances).flatten()), atol=1e-12, rtol=0)


def dct_inverse(z: torch.Tensor) -> torch.Tensor:
    """Of an orthonormal basis: the pictures whose transforms are z."""
    return torch.linalg.solve(dct(torch.eye(48, dtype=F64).view(48, 1, 6, 8)).flatten(1).mT, z.flatten(1).mT).mT.view(
        z.shape
    )


@pytest.mark.parametrize("size", [(512, 256), (256, 514)])
def test_large_pictures_are_scaled_by_halves(size):
    """As by whole matrices."""
    x, factors = torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(0)), torch.rand(1, *size)
    torch.testing.assert_close(scaled(factors, x), cosine(factors * cosine(x), inverse=True), atol=2e-5, rtol=0)


@pytest.mark.parametrize("transfer", [Blur.motion(5, seed=1), Blur(normal(4, 3).float())])
def test_the_transfer_is_that_of_the_convolution(transfer):
    x = normal(2, 3, 7, 10)
    found = torch.fft.irfft2(transfer.transfer((3, 7, 10), F64) * torch.fft.rfft2(x), s=(7, 10))
    torch.testing.assert_close(found, transfer(x))

"""Estimates with stationary moments, in the bases that operators share with them: against matrices."""

from dataclasses import replace

import pytest
import torch

from inverse.gaussian import Wiener, given
from inverse.gaussian.stationary import shared
from operators import Bayer, Blur, Downsampling, Fourier, GaussianNoise, Grayscale, Identity, Masking, Radon, Resize
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


def coils(h: int, w: int) -> torch.Tensor:
    """Four smooth coil maps of sum of squares 1, (4, h, w)."""
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
    maps = torch.stack([torch.exp(-((rows - i) ** 2) - (columns - j) ** 2) for i in (-1, 1) for j in (-1, 1)])
    return (maps / maps.square().sum(0).sqrt()).to(torch.complex64)


WIDE = replace(SPECTRUM, power=(2e-3, 5e-3, 3e-4), floor=(0.01, 0.01, 0.02))  # variances as unlike as a photograph's
DETECTORS = 24  # of `Radon` for pictures of 16 pixels
GREY = Spectrum((0.4,), ((1.0,),), (5e-3,), (2.0,), (0.01,))
NOISE = GaussianNoise(0.01)
DRAWN = {  # operators of pictures (3, 16, 16), and the largest relative error of the draw that starts a walk
    "circular blur": (Blur.motion(5, seed=1, noise=NOISE), 0.02),
    "mirrored blur": (Blur.motion(5, seed=1, boundary="reflect", noise=NOISE), 0.02),
    "valid blur": (Blur.motion(5, seed=1, boundary="valid", noise=NOISE), 0.1),
    "a kernel per row": (
        Blur(torch.stack([gaussian_kernel(w, 5) for w in (0.7, 1.5)])[:, None], "reflect", NOISE),
        0.02,
    ),
    "bicubic": (Resize(2, "bicubic", noise=NOISE).at((3, 16, 16)), 0.02),
    "a box": (Masking(torch.ones(16, 16).index_fill(0, torch.arange(4, 12), 0), noise=NOISE), 0.25),
    "some pixels": (Masking.random((3, 16, 16), 0.5, noise=NOISE), 0.05),
    "grey": (Grayscale(noise=NOISE), 0.05),
    "mosaic": (Bayer(noise=NOISE), 0.05),
    "tomography": (Radon(torch.arange(0.0, 180.0, 12.0), noise=GaussianNoise(0.2)), 0.02),
    "uneven noise": (
        Radon(
            torch.arange(0.0, 180.0, 12.0),
            noise=GaussianNoise(torch.logspace(-1, 1, DETECTORS).expand(3, 15, DETECTORS), event_ndim=3),
        ),
        0.02,
    ),
    "coils": (Fourier(torch.ones(16, 16).index_fill(1, torch.arange(0, 16, 2), 0), coils(16, 16), noise=NOISE), 0.02),
}


@pytest.mark.parametrize("name", DRAWN)
def test_draws_of_stationary_moments_are_converged(name):
    """As those of the dense posterior, from the same numbers: walks keep the averages that they start with. What is not
    measured, as a box, takes the most iterations."""
    operator, tolerance = DRAWN[name]
    moments = GREY.sized((1, 16, 16)) if name == "coils" else WIDE.sized((3, 16, 16))
    y = operator.measure(moments.draw(2, RowRNG.rows(0, 2)), seed=1)
    found = Wiener(moments, operator).draw(y, RowRNG.rows(3, 2))
    rng = RowRNG.rows(3, 2)
    x = moments.draw(2, rng)
    r = y - operator(x) - operator.noise.aligned("sigma", y) * rng.normal(tuple(y.shape))
    r = r if operator.support is None else torch.where(operator.support, r, 0.0)
    wanted = dense_estimates(operator, moments, r, float("inf"))
    assert ((found - x).double() - wanted).norm() <= tolerance * wanted.norm()


def test_draws_of_stationary_moments_do_not_depend_on_the_batch():
    operator, _ = DRAWN["a kernel per row"]
    moments = WIDE.sized((3, 16, 16))
    y = operator.measure(moments.draw(2, RowRNG.rows(0, 2)), seed=1)
    together = Wiener(moments, operator).draw(y, RowRNG.rows(3, 2))
    for i in range(2):
        alone = Wiener(moments, operator.rows(torch.tensor([i]))).draw(y[i : i + 1], RowRNG(3, [(i,)]))
        torch.testing.assert_close(alone, together[i : i + 1], atol=1e-4, rtol=0)

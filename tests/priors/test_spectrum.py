"""Moments of pictures of any size from one spectrum: against matrices, and against pictures of a known law."""

import pytest
import torch

from priors import RowRNG
from priors.pictures import Pictures
from priors.spectrum import Spectrum, cosines

FREQUENCIES = torch.logspace(-3, -0.15, 12)


def spectrum() -> Spectrum:
    """A power law per colour component, which holds most of the variance at low frequencies."""
    colours = torch.linalg.qr(torch.tensor([[1.0, 2.0, 0.0], [1.0, -1.0, 1.0], [1.0, 0.0, -2.0]]))[0]
    law = 1e-4 * FREQUENCIES**-1.6
    return Spectrum(torch.tensor([0.4, 0.5, 0.6]), colours, FREQUENCIES, torch.stack([0.1 * law, 0.2 * law, law]),
                    torch.tensor([0.001, 0.002, 0.01]))  # fmt: skip


def test_cosines_are_orthonormal():
    torch.testing.assert_close(cosines(7) @ cosines(7).mT, torch.eye(7), atol=1e-6, rtol=0)
    torch.testing.assert_close(cosines(7)[0], torch.full((7,), 7**-0.5))


def test_functions_of_the_covariance_against_a_matrix():
    moments = spectrum().moments((3, 5, 6))
    flat = torch.eye(90).view(90, 3, 5, 6)
    covariance, root = (moments.apply(f, flat).view(90, 90).double() for f in (lambda v: v, torch.sqrt))
    torch.testing.assert_close(covariance, covariance.mT, atol=1e-7, rtol=0)
    torch.testing.assert_close(root @ root, covariance, atol=1e-6, rtol=1e-4)
    values = torch.linalg.eigvalsh(covariance)
    torch.testing.assert_close(values, moments.variances.sort()[0].double(), atol=1e-6, rtol=1e-3)
    # as those that need a mean of f over all eigenvalues sum them: beside an empty basis and a rest of 0
    assert moments.basis.shape == (90, 0) and float(moments.rest) == 0 and moments.variances.shape == (90,)


@pytest.mark.parametrize("shape", [(3, 16, 16), (3, 33, 20), (3, 128, 96)])
def test_every_size_has_the_variance_of_a_pixel_and_the_law(shape):
    moments, found = spectrum().moments(shape), spectrum()
    total = moments.variances.view(shape).sum((1, 2)) / (shape[1] * shape[2])
    torch.testing.assert_close(total, found.variances, rtol=1e-4, atol=0)
    torch.testing.assert_close(moments.mean[:, 3, 4], found.mean)
    f = (3 / (2 * shape[1])) ** 2 + (2 / (2 * shape[2])) ** 2
    law = 1e-4 * (f**0.5) ** -1.6
    torch.testing.assert_close(moments.variances.view(shape)[:, 3, 2], law * torch.tensor([0.1, 0.2, 1.0]))


def test_draws_of_one_size_measured_tell_the_law_of_another():
    """Large pictures drawn from the law; windows of them are measured, the borders of which cosines do not know."""
    true, n = spectrum(), 40
    drawn = true.moments((3, 96, 96)).draw(n, RowRNG.rows(0, n))
    pictures = Pictures(tuple((drawn * 255).round().clamp(0, 255).byte()))
    found = Spectrum.of_pictures(pictures, window=48)
    torch.testing.assert_close(found.mean, true.mean, atol=0.03, rtol=0)
    torch.testing.assert_close(found.variances.flip(0), true.variances.sort()[0].flip(0), rtol=0.2, atol=0)
    at = torch.tensor([0.03, 0.1, 0.2])
    ratio = found.density(at) / true.density(at)
    assert ratio.max() < 1.4 and ratio.min() > 0.7  # windows leak; white noise in its place would be off by factors


def test_turns_do_not_matter():
    moments = spectrum().moments((3, 12, 12))
    x = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    turned = moments.apply(torch.sqrt, x.rot90(1, (2, 3))).rot90(-1, (2, 3))
    torch.testing.assert_close(turned, moments.apply(torch.sqrt, x), atol=1e-5, rtol=1e-4)


def test_what_cannot_be():
    with pytest.raises(ValueError, match="expected 3 channels, those of the spectrum"):
        spectrum().moments((1, 8, 8))
    with pytest.raises(ValueError, match="windows of 3 pixels: expected at least 4"):
        Spectrum.of_pictures(Pictures((torch.zeros(3, 3, 9, dtype=torch.uint8),)))

"""Power spectra of pictures of any size: transforms, moments and fits against what is known."""

import pytest
import torch

from priors import RowRNG, Spectrum
from priors.spectrum import cosine, frequencies, scaled
from tests.cases import normal

COLOURS = torch.linalg.qr(normal(3, 3)).Q
SPECTRUM = Spectrum(
    mean=(0.3, 0.4, 0.5),
    colours=tuple(map(tuple, COLOURS.tolist())),
    power=(4e-4, 1e-4, 5e-5),
    slope=(2.4, 2.6, 3.0),
    floor=(0.012, 0.015, 0.02),
)


@pytest.mark.parametrize("largest", [1024, 0], ids=["matrices", "Fourier transforms"])
@pytest.mark.parametrize("shape", [(8, 8), (7, 5), (1, 6)])
def test_the_cosine_transform_is_scipys(shape, largest, monkeypatch):
    fft = pytest.importorskip("scipy.fft")
    monkeypatch.setattr("priors.spectrum.MATRICES", largest)
    monkeypatch.setattr("priors.spectrum.ROWS", 3)  # several parts
    x, factors = normal(2, 3, *shape), normal(3, *shape, seed=1)
    expected = torch.from_numpy(fft.dctn(x.numpy(), axes=(-2, -1), norm="ortho"))
    torch.testing.assert_close(cosine(x), expected)
    torch.testing.assert_close(cosine(cosine(x), inverse=True), x)
    torch.testing.assert_close(scaled(factors, x), cosine(factors * cosine(x), inverse=True))


def test_moments_are_those_of_the_matrix():
    """apply, average and draw against the dense covariance that they stand for."""
    moments = SPECTRUM.sized((3, 6, 5)).to(torch.device("cpu"), torch.float64)
    eye = torch.eye(90, dtype=torch.float64).view(90, 3, 6, 5)
    covariance = moments.apply(lambda v: v, eye).flatten(1)
    torch.testing.assert_close(covariance, covariance.mT)
    eigenvalues = torch.linalg.eigvalsh(covariance)
    torch.testing.assert_close(eigenvalues, moments.variances.flatten().sort().values)
    root = moments.apply(torch.sqrt, eye).flatten(1)
    torch.testing.assert_close(root @ root, covariance)
    assert moments.average(torch.sqrt) == pytest.approx(float(eigenvalues.sqrt().mean()))
    x = moments.draw(4000, RowRNG.rows(0, 4000, dtype=torch.float64)).flatten(1)
    error = float(covariance.diagonal().max() / 4000) ** 0.5
    assert float((x.mean(0) - moments.mean.flatten()).abs().max()) < 5 * error
    z = (x - moments.mean.flatten()) @ torch.linalg.inv(root)
    torch.testing.assert_close(z.mT @ z / 4000, torch.eye(90, dtype=torch.float64), atol=0.1, rtol=0)


def test_a_law_is_found_in_pictures_drawn_from_it():
    crops = SPECTRUM.sized((3, 48, 48)).draw(120, RowRNG.rows(1, 120))
    found = Spectrum.of_crops(crops)
    order = [1, 2, 0]  # colours by ascending variance
    for name, tolerance in (("slope", 0.03), ("power", 0.15), ("floor", 0.3)):
        expected = torch.tensor(getattr(SPECTRUM, name))[order]
        torch.testing.assert_close(torch.tensor(getattr(found, name)), expected, rtol=tolerance, atol=0, msg=name)
    alike = (torch.tensor(found.colours).T @ COLOURS.float()).abs()
    torch.testing.assert_close(alike, torch.eye(3)[order], atol=0.05, rtol=0)


def test_a_law_of_one_size_is_that_of_another():
    """The variance of pixels hardly depends on the size of a picture, as of a law that is the same everywhere."""
    small, large = (SPECTRUM.sized((3, n, n + 8)).average(lambda v: v) for n in (64, 160))
    assert small == pytest.approx(large, rel=0.2)
    assert frequencies(4, 6).max() < 0.71  # the corner: half a cycle per pixel each way


def test_too_few_crops_are_refused():
    with pytest.raises(ValueError, match="1 crops: expected at least 2"):
        Spectrum.of_crops(torch.rand(1, 3, 8, 8))

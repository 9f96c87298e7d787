"""Bayer, saturation, compressed sensing and phase retrieval, against loops, matrices and numpy."""

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import torch
from operator_cases import uniform

from operators import Bayer, CompressedSensing, GaussianNoise, PhaseRetrieval, Saturation, Stack
from operators.transforms import dct, dct_matrix, hadamard, hartley, idct


@pytest.mark.parametrize("pattern", ["RGGB", "BGGR", "GRBG", "GBRG"])
def test_bayer_takes_one_colour_per_pixel(pattern):
    x = uniform(2, 3, 5, 4)
    y = Bayer(pattern)(x)
    for i in range(5):
        for j in range(4):
            colour = "RGB".index(pattern[2 * (i % 2) + j % 2])
            assert torch.equal(y[:, 0, i, j], x[:, colour, i, j])
    assert torch.equal(Bayer(pattern).adjoint(y).sum(1, keepdim=True), y)


def test_transforms_are_the_usual_ones():
    x = uniform(2, 3, 5, 7).double()
    np.testing.assert_allclose(dct(x), scipy.fft.dctn(x.numpy(), axes=(2, 3), norm="ortho"), atol=1e-12)
    torch.testing.assert_close(idct(dct(x)), x)
    fourier = np.fft.fft2(x.numpy(), norm="ortho")
    np.testing.assert_allclose(hartley(x), fourier.real - fourier.imag, atol=1e-12)
    x = uniform(2, 3, 4, 8).double()
    matrix = scipy.linalg.hadamard(32) / 32**0.5
    np.testing.assert_allclose(hadamard(x).flatten(2), x.flatten(2).numpy() @ matrix, atol=1e-12)
    assert dct_matrix(1).item() == 1


@pytest.mark.parametrize("transform", ["dct", "hartley", "hadamard"])
def test_compressed_sensing_is_what_its_parts_are(transform):
    """A y that is one coefficient must be seen by every pixel of its channel alike, with signs that look random."""
    op = CompressedSensing(0.25, transform, seed=3, event_shape=(2, 16, 16))
    y = torch.eye(128, dtype=torch.float64)
    rows = op.adjoint(y)
    torch.testing.assert_close(rows.flatten(1) @ rows.flatten(1).T, y)
    energy = rows.square().sum((2, 3))
    torch.testing.assert_close(energy.max(1).values, torch.ones(128).double())  # of one channel each
    assert (rows.abs().flatten(1).max(1).values <= 2 / 16 + 1e-9).all()  # spread over all its pixels
    assert abs(rows.sign().mean()) < 0.05


def test_a_seed_is_an_operator():
    x, state = uniform(1, 1, 6, 6), torch.get_rng_state()
    a, b, c = (CompressedSensing(0.5, seed=s)(x) for s in (1, 1, 2))
    assert torch.equal(a, b) and a.shape == (1, 18) and not torch.allclose(a, c)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("oversampling", [1.0, 1.5, 2.0])
def test_amplitudes_are_numpys(oversampling):
    x = uniform(2, 3, 5, 4)
    size = (round(5 * oversampling), round(4 * oversampling))
    padded = np.zeros((2, 3, *size))
    padded[..., :5, :4] = x.numpy()
    y = PhaseRetrieval(oversampling)(x)
    np.testing.assert_allclose(y, np.abs(np.fft.fft2(padded, norm="ortho")), atol=1e-6)
    torch.testing.assert_close(y.square().sum(), x.square().sum())  # Parseval


def test_phases_are_lost_and_masks_tell_them():
    x = uniform(1, 1, 6, 5)
    turned = x.flip(-2, -1)
    plain, coded = PhaseRetrieval(), PhaseRetrieval.coded((1, 6, 5), n_masks=3, seed=1)
    torch.testing.assert_close(plain(turned), plain(x))
    y = coded(x)
    assert y.shape == (1, 3, 6, 5) and (coded(turned) - y).abs().max() > 0.1
    assert coded.masks is not None
    for mask, amplitude in zip(coded.masks, y[0], strict=True):
        assert set(np.unique(mask)) <= {1, 1j, -1, -1j}
        expected = np.abs(np.fft.fft2(mask.numpy() * x[0, 0].numpy(), norm="ortho"))
        np.testing.assert_allclose(amplitude, expected, atol=1e-6)


def test_the_gradient_of_an_amplitude_of_zero_is_finite():
    op = PhaseRetrieval()
    assert torch.equal(op.vjp(torch.zeros(1, 1, 4, 3), torch.ones(1, 1, 8, 6)), torch.zeros(1, 1, 4, 3))
    constant = torch.ones(1, 1, 4, 4)  # all but one of its amplitudes are 0
    assert PhaseRetrieval(1.0).vjp(constant, torch.ones(1, 1, 4, 4)).isfinite().all()


def test_saturation_clips_and_its_soft_form_tends_to_it():
    x = torch.linspace(-0.5, 1.5, 401).reshape(1, 1, 1, -1)
    y = Saturation(2.0, limit=0.8)(x)
    torch.testing.assert_close(y, (2 * x).clamp(0, 0.8))
    for softness in (0.1, 0.01):
        difference = (Saturation(2.0, limit=0.8, softness=softness)(x) - y).abs().max().item()
        assert difference == pytest.approx(softness * np.log(2), rel=0.02)
    pulled = Saturation(2.0, softness=0.1).vjp(x.double(), torch.ones_like(x).double())
    assert (pulled > 0).all()  # a way back from everywhere


def test_exposures_stack_to_hdr():
    dark, bright = Saturation(1.0, noise=GaussianNoise(0.01)), Saturation(torch.tensor(8.0), noise=GaussianNoise(0.01))
    stack, x = Stack([dark, bright]), torch.tensor([[[[0.01, 0.9]]]])
    torch.testing.assert_close(stack(x), torch.tensor([[0.01, 0.9, 0.08, 1.0]]))
    batched = Saturation(torch.tensor([1.0, 8.0]))
    torch.testing.assert_close(batched(x.expand(2, 1, 1, 2)).flatten(1), stack(x).reshape(2, 2))

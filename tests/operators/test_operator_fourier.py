"""Fourier against numpy, and which of its kinds knows what."""

import numpy as np
import pytest
import torch
from operator_cases import mask, uniform

import operators
from operators import Fourier, GaussianNoise, SVDOperator
from operators.coils import smooth_sensitivities
from operators.fourier import CoilFourier, ComplexFourier, RealFourier
from operators.kspace import fftc, ifftc, mirrored, to_channels, to_complex

G = GaussianNoise(0.1)
SIZES = [(6, 4), (5, 8), (7, 5), (1, 6)]


@pytest.mark.parametrize("size", SIZES)
def test_the_transform_is_the_sum_about_the_middle(size):
    x = torch.complex(uniform(*size), uniform(*size, seed=1)).to(torch.complex128)
    place = [np.arange(n) - n // 2 for n in size]
    a, b = (np.exp(-2j * np.pi * np.outer(p, p) / len(p)) / len(p) ** 0.5 for p in place)
    np.testing.assert_allclose(fftc(x).numpy(), a @ x.numpy() @ b.T, atol=1e-12)
    np.testing.assert_allclose(fftc(x, (-2,)).numpy(), a @ x.numpy(), atol=1e-12)
    torch.testing.assert_close(ifftc(fftc(x)), x)
    torch.testing.assert_close(to_complex(to_channels(x)), x)
    real = fftc(x.real)
    torch.testing.assert_close(mirrored(real), real.conj())


@pytest.mark.parametrize("channels", [1, 2])
def test_it_measures_what_the_formula_says(channels):
    x, maps, phase, m = uniform(2, channels, 7, 6), smooth_sensitivities(3, (7, 6)), uniform(7, 6), mask(7, 6)
    y = Fourier(m, maps, phase, channels=channels)(x)
    assert y.shape == (2, 3, 2, 7, 6)
    picture = x[:, 0].numpy() + (1j * x[:, 1].numpy() if channels == 2 else 0)
    for n in range(2):
        for c in range(3):
            seen = maps[c].numpy() * np.exp(1j * phase.numpy()) * picture[n]
            expected = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(seen), norm="ortho")) * m.numpy()
            np.testing.assert_allclose(y[n, c, 0] + 1j * y[n, c, 1], expected, atol=1e-6)


def test_one_coil_is_a_coil_that_sees_all_alike():
    x, m = uniform(2, 1, 6, 5), mask(6, 5)
    one = torch.ones(1, 6, 5, dtype=torch.complex64)
    torch.testing.assert_close(Fourier(m, one)(x)[:, 0], Fourier(m)(x))


@pytest.mark.parametrize("size", [(6, 4), (7, 5), (5, 8)])
@pytest.mark.parametrize("channels", [1, 2])
def test_singular_vectors_are_those_of_the_dense_matrix(size, channels):
    """A = U S V' with orthonormal columns, and A'A has the eigenvalues that numpy finds."""
    op, d = Fourier(mask(*size), channels=channels).double(), channels * size[0] * size[1]
    assert isinstance(op, SVDOperator)
    basis = torch.eye(d, dtype=torch.float64).reshape(d, channels, *size)
    a, u, v = (f(basis).reshape(d, -1).T for f in (op, op.U, op.V))
    s = op.singular_values.double().expand(channels, *size).flatten()
    torch.testing.assert_close(u * s @ v.T, a, atol=1e-7, rtol=0)
    torch.testing.assert_close(u.T @ u, (s > 0).double().diag(), atol=1e-7, rtol=0)
    torch.testing.assert_close(v.T @ v, torch.eye(d, dtype=torch.float64))
    expected = np.zeros(d)
    found = np.linalg.svd(a.numpy(), compute_uv=False)
    expected[: len(found)] = found[:d]
    np.testing.assert_allclose(np.sort(s)[::-1], expected, atol=1e-7)


def test_spectral_maps_are_differentiable():
    op, x = Fourier(mask(5, 6)).double(), uniform(1, 1, 5, 6).double().requires_grad_()
    for f in (op.V, op.Vt, op.U, lambda z: op.Ut(op(z)), lambda z: op.pinv(op(z))):
        assert torch.autograd.gradcheck(f, (x,))


@pytest.mark.parametrize(
    ("make", "kind", "orthogonal"),
    [
        (lambda m, maps, phase: Fourier(m), RealFourier, False),
        (lambda m, maps, phase: Fourier(m | mirrored(m)), RealFourier, True),
        (lambda m, maps, phase: Fourier(m, channels=2), ComplexFourier, True),
        (lambda m, maps, phase: Fourier(m, None, phase, channels=2), ComplexFourier, True),
        (lambda m, maps, phase: Fourier(m, phase=phase), CoilFourier, False),
        (lambda m, maps, phase: Fourier(m, maps, channels=2), CoilFourier, False),
    ],
)
def test_kinds(make, kind, orthogonal):
    op = make(mask(6, 5), smooth_sensitivities(2, (6, 5)), uniform(6, 5))
    assert type(op) is kind and ("orthogonal_rows" in op.capabilities) == orthogonal


def test_what_is_not_measured_does_not_matter():
    op, x = Fourier(mask(6, 5), noise=G), uniform(1, 1, 6, 5)
    y = op.measure(x, seed=0)
    assert (y[:, :, ~mask(6, 5)] == 0).all() and (y[:, :, mask(6, 5)] != 0).all()
    nan = torch.where(op.support, y, torch.nan)
    torch.testing.assert_close(op.adjoint(nan), op.adjoint(y))
    torch.testing.assert_close(op.solve_gram(nan, 0.5), op.solve_gram(y, 0.5))


def test_a_real_picture_is_known_from_half_of_its_k_space():
    """The mask of one of k and -k: the pseudo-inverse gives all back, whose zero-filled picture is blurred."""
    half = torch.zeros(7, 7, dtype=torch.bool)
    half.view(-1)[:25] = True
    x = uniform(1, 1, 7, 7)
    torch.testing.assert_close(Fourier(half).pinv(Fourier(half)(x)), x)
    assert (Fourier(half).adjoint(Fourier(half)(x)) - x).norm() > 0.1 * x.norm()


def test_by_name():
    op = operators.make("fourier", mask=mask(6, 5), noise=G)
    assert isinstance(op, RealFourier) and op.noise is G
    coils = Fourier.radial((2, 8, 8), 3, coils=4)
    assert coils.measurement_shape((2, 8, 8)) == (4, 2, 8, 8) and coils.event_shape_of((4, 2, 8, 8)) == (2, 8, 8)
    torch.testing.assert_close(Fourier.cartesian((1, 8, 9), 3).mask, Fourier.cartesian((1, 8, 9), 3, seed=0).mask)


REFUSED = {
    "mask of grays": (lambda: Fourier(uniform(4, 4)), ValueError, "mask of 0 and 1"),
    "mask of a row": (lambda: Fourier(torch.ones(4)), ValueError, r"mask \(H, W\)"),
    "three channels": (lambda: Fourier(torch.ones(4, 4), channels=3), ValueError, "channels = 3"),
    "real sensitivities": (lambda: Fourier(mask(4, 4), uniform(2, 4, 4)), TypeError, "torch.complex"),
    "complex phase": (lambda: Fourier(mask(4, 4), phase=torch.ones(4, 4) + 1j), TypeError, "torch.angle"),
    "one map": (lambda: Fourier(mask(4, 4), torch.ones(4, 4) + 0j), ValueError, r"\(coils, H, W\)"),
    "phase nan": (lambda: Fourier(mask(4, 4), phase=torch.full((4, 4), torch.nan)), ValueError, "phase must be finite"),
    "complex events": (lambda: Fourier(mask(4, 4))(uniform(1, 2, 4, 4)), ValueError, "channels=2"),
    "another size": (lambda: Fourier(mask(4, 4))(uniform(1, 1, 4, 5)), ValueError, r"\(4, 4\)"),
    "maps of another size": (
        lambda: Fourier(mask(1, 5), smooth_sensitivities(2, (4, 5)))(uniform(1, 1, 6, 5)),
        ValueError,
        r"maps' \(4, 5\)",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what):
    call, error, remedy = REFUSED[what]
    with pytest.raises(error, match=remedy):
        call()

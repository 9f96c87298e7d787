"""Photons behind an object: their law, and the line integrals that they tell."""

import warnings

import pytest
import torch
from operator_cases import uniform

import operators
from operators import FewPhotons, GaussianNoise, PoissonNoise, Radon, Transmission, attenuation


def test_counts_of_a_known_path():
    """Water of 100 mm, and of 200 mm beside it: exp(-mu d) of the photons pass."""
    path = torch.tensor([[100.0, 200.0]]) * attenuation(0.0)
    op = Transmission(PoissonNoise(1e4), offset=0.1)
    assert op(path)[0].tolist() == pytest.approx([0.131336, 0.019064], rel=1e-3)  # exp(-2.03), exp(-3.96)
    counts = 1e4 * op.measure(path.expand(2000, 2), seed=1)
    torch.testing.assert_close(counts, counts.round(), atol=1e-2, rtol=0)
    assert counts.mean(0).tolist() == pytest.approx(counts.var(0).tolist(), rel=0.15)  # 5 standard errors


def test_vjp_is_that_of_the_composition():
    op = (Transmission(PoissonNoise(50.0), 0.2) @ Radon(6, pixel=0.1)).double()
    x, v = uniform(2, 1, 7, 7).double().requires_grad_(), uniform(2, 1, 6, 11, seed=1).double()
    (expected,) = torch.autograd.grad(op(x), x, v)
    torch.testing.assert_close(op.vjp(x, v), expected)


@pytest.mark.parametrize("expected_counts", [12.0, 100.0])
def test_line_integrals_have_the_stated_moments(expected_counts):
    """The bias without the half, 1 / (2 k), would be seen; so would a variance that is not that of the logarithm."""
    n, peak = 100_000, 1000.0
    line = torch.full((n, 1), peak / expected_counts).log()
    op = Transmission(PoissonNoise(peak), offset=0.3)
    estimate, noise = op.line_integrals(op.measure(line - 0.3, seed=2))
    error = estimate - (line - 0.3)
    bias = float(error.mean()) / float(error.std()) * n**0.5
    assert abs(float(error.mean())) < 1.0 / expected_counts**2 + 5 * float(error.std()) / n**0.5
    assert abs(float(error.mean())) < 0.3 / (2 * expected_counts), f"{bias:.1f} standard errors"
    assert float((error / noise.sigma).var()) == pytest.approx(1.0, abs=1.5 / expected_counts)


def test_rays_that_nothing_passed_are_finite_and_uncertain():
    op = Transmission(PoissonNoise(torch.tensor([100.0, 1000.0])))
    line, noise = op.line_integrals(torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    assert line.isfinite().all() and line[:, 0].tolist() == pytest.approx([5.298, 7.601], abs=1e-3)  # log(2 peak)
    assert noise.sigma[:, 0].tolist() == pytest.approx([2**0.5] * 2) and noise.batch == 2
    with pytest.raises(ValueError, match="expected PoissonNoise, given GaussianNoise"):
        Transmission(GaussianNoise(0.1)).line_integrals(line)
    with pytest.raises(ValueError, match="finite"):
        Transmission(offset=float("inf"))


def test_hounsfield_units_as_a_linear_measurement():
    """Pictures in [0, 1] for -1024 to 3071 HU: Radon of their attenuation is Radon of the picture and an offset."""
    n, mm = 9, 0.8
    hu = -1000 + 1400 * uniform(1, 1, n, n).double()
    x = (hu + 1024) / 4095
    lowest, highest = attenuation(-1024.0), attenuation(3071.0)
    whole = Radon(8, pixel=mm)(attenuation(hu))
    radon = Radon(8, n, pixel=(highest - lowest) * mm)
    offset = Radon(8, pixel=mm)(torch.full_like(x, lowest))
    torch.testing.assert_close(radon(x) + offset, whole)
    photons = Transmission(PoissonNoise(1e6), offset[0]) @ radon
    line, noise = photons.outer.line_integrals(photons.measure(x, seed=3))  # type: ignore[operator]
    linear = Radon(8, n, noise=noise, pixel=radon.pixel)
    assert float(((line - linear(x)) / noise.sigma).square().mean()) == pytest.approx(1.0, abs=0.5)
    assert {"linear", "gaussian"} <= linear.capabilities and operators.check(linear, (1, n, n))["adjoint"] < 1e-5
    assert attenuation(-1000) == 0 and attenuation(0, water=0.02) == 0.02


def test_the_logarithm_of_few_counts_is_warned_of():
    scanner = Transmission(PoissonNoise(1000.0))
    counts = torch.tensor([[[0.0, 0.0, 3.0, 9.0, 10.0, 500.0]]])
    with pytest.warns(FewPhotons, match="4 of 6 rays have fewer than 10 counts, 2 of them none"):
        scanner.line_integrals(counts / 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FewPhotons)
        scanner.line_integrals(counts[..., 4:] / 1000)


def test_raw_counts_are_refused_with_what_to_divide_by():
    scanner = Transmission(PoissonNoise(500.0)) @ Radon(6, 8, pixel=0.2)
    y = scanner.measure(torch.full((1, 1, 8, 8), 0.5), seed=0)
    scanner.validate_y(y, (1, 8, 8))
    with pytest.raises(ValueError, match=r"fraction of the 500 photons sent along a ray.*y = counts / photons"):
        scanner.validate_y(500 * y, (1, 8, 8))
    few = Transmission(PoissonNoise(0.01)) @ Radon(6, 8, pixel=0.2)  # a single count is 100 times the photons sent
    for seed in range(20):
        few.validate_y(few.measure(torch.zeros(1, 1, 8, 8), seed=seed), (1, 8, 8))

"""Operators of photographs through `solve`: linear ones against exact posteriors, the others against the prior."""

import pytest
import torch

from benchmarks.exact.problems import smooth_covariance
from inverse import solve
from inverse.app.operator_text import read_operator
from operators import (
    JPEG,
    Bayer,
    CompressedSensing,
    GaussianNoise,
    PhaseRetrieval,
    PoissonNoise,
    Resize,
    Saturation,
    Transmission,
    VaryingBlur,
)
from priors import VESDE, VPSDE, Gaussian
from tests.cases import F64, picture

E, NOISE = (1, 8, 8), GaussianNoise(0.05)


def colours(size: int = 4) -> Gaussian:
    """Smooth random pictures whose channels go together."""
    channels = 0.6 + 0.4 * torch.eye(3, dtype=F64)
    covariance = torch.kron(channels, smooth_covariance(size, 1.5, 0.3))
    return Gaussian(torch.full((3 * size**2,), 0.4, dtype=F64), covariance, VPSDE(), event_shape=(3, size, size))


@pytest.mark.parametrize(
    "operator",
    [
        Resize(2, noise=NOISE),
        VaryingBlur.rotation((3, 4, 4), 30, nodes=2, noise=NOISE),
        CompressedSensing(0.4, "hadamard", noise=NOISE),
        Bayer(noise=NOISE),
    ],
    ids=lambda operator: type(operator).__name__,
)
def test_linear_ones_reach_the_exact_posterior(operator):
    prior = colours()
    y = operator.measure(prior.sample(1, seed=1), seed=2)
    solution, exact = solve(prior, operator, y, n_samples=200, seed=3, progress=False), prior.posterior(operator, y)
    error = solution.mean[0].double().flatten() - exact.mean.flatten()
    # the mean square of 48 errors, each about N(0, var / 200); mmps is exact for Gaussians but for its steps
    assert (error.square() / (exact.covariance.diagonal() / 200)).mean().sqrt() < 2
    spread = solution.std[0].double().flatten() / exact.covariance.diagonal().sqrt()
    assert spread.mean() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("sde", [VESDE(), VPSDE()], ids=["ve", "vp"])
@pytest.mark.parametrize(
    ("operator", "share"),
    [
        (JPEG(30, noise=NOISE), 0.35),
        (JPEG(30, rounding="sharp", noise=NOISE), 0.6),
        (Saturation(2.0, noise=NOISE), 0.6),
        (Saturation(2.0, softness=0.05, noise=NOISE), 0.5),
        (PhaseRetrieval.coded(E, noise=NOISE), 0.25),
    ],
    ids=["jpeg", "sharp jpeg", "saturation", "soft saturation", "coded"],
)
def test_nonlinear_ones_tell_much_more_than_the_prior(operator, share, sde):
    """The error of the posterior mean, as a share of the prior mean's."""
    prior = picture(sde)
    x = prior.sample(6, seed=3)
    solution = solve(prior, operator, operator.measure(x, seed=1), n_samples=4, n_steps=100, seed=1, progress=False)
    assert solution.method == "dps"
    assert (solution.mean - x).square().mean().sqrt() < share * (x - 0.4).square().mean().sqrt()


def test_amplitudes_tell_a_picture_or_its_half_turn():
    """Both measure the same: some samples are of the one, some of the other, and their mean is of neither."""
    prior, operator = picture(VESDE()), PhaseRetrieval(noise=NOISE)
    x = prior.sample(6, seed=3)
    y = operator.measure(x, seed=1)
    solution = solve(prior, operator, y, n_samples=6, n_steps=150, seed=1, progress=False)

    def nearest(samples):
        """The error of the best of six, or of its half turn."""
        either = torch.stack([samples, samples.flip(-2, -1)])
        return (either - x[:, None]).square().mean((-3, -2, -1)).amin((0, 2)).sqrt().mean()

    assert nearest(solution.samples) < 0.5 * nearest(prior.sample(36, seed=4).reshape(6, 6, *E))
    residual = torch.stack([y - operator(solution.samples[:, k]) for k in range(6)])
    assert residual.square().mean().sqrt() < 1.2 * 0.05


@pytest.mark.parametrize(
    ("operator", "method"),
    [
        (JPEG(noise=PoissonNoise(9.0)), "dps"),
        (Saturation(softness=0.1, noise=PoissonNoise(9.0)), "dps"),
        (Transmission(PoissonNoise(9.0)), "ep"),
        (PhaseRetrieval(noise=PoissonNoise(9.0)), "dps"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_photons_behind_a_nonlinear_one_are_served(operator, method):
    solution = solve(
        picture(VESDE()), operator, torch.ones(1, *operator.measurement_shape(E)), 1, n_steps=2, progress=False
    )
    assert solution.method == method and bool(solution.samples.isfinite().all())


@pytest.mark.parametrize("method", ["mmps", "ddrm", "exact"])
def test_linear_methods_refuse_what_is_not(method):
    operator = Saturation(noise=NOISE)
    with pytest.raises(ValueError, match="needs an operator that is"):
        solve(picture(VESDE()), operator, torch.ones(1, *E), method=method, progress=False)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("bayer", (1, 8, 8)),
        ("resize:factor=3", (3, 3, 3)),
        ("compressed_sensing:keep=0.25,seed=1", (48,)),
        ("jpeg:quality=30", (3, 8, 8)),
        ("saturation:gain=3,softness=0.05", (3, 8, 8)),
        ("phase_retrieval:oversampling=2", (3, 16, 16)),
    ],
)
def test_a_command_line_makes_them(text, shape):
    assert read_operator(text, 0.05, (3, 8, 8)).measurement_shape((3, 8, 8)) == shape

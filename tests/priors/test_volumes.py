"""Volumes by slices: against the Gaussian on the whole volume, whose noised score and posterior are known."""

import pytest
import torch

import priors
from inverse import sample, solve
from operators import (
    AlongAxis,
    Blur,
    FanBeam,
    GaussianNoise,
    Identity,
    LinearMap,
    Masking,
    PoissonNoise,
    Resize,
    Saturation,
    Slicewise,
    Transmission,
    check,
)
from priors import Slices
from tests.cases import SDES

N, DEPTH = 3, 4


def pictures(sde=None, n: int = N) -> priors.Gaussian:
    """Smooth pictures of n x n pixels with a mean that varies."""
    place = torch.stack(torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij"), -1).view(-1, 2).double()
    covariance = 0.05 * torch.exp(-torch.cdist(place, place).square() / 8) + 1e-3 * torch.eye(n * n)
    mean = 0.3 + 0.1 * torch.rand(n * n, generator=torch.Generator().manual_seed(0)).double()
    return priors.Gaussian(mean, covariance, sde=sde or priors.VESDE(), event_shape=(1, n, n))


def whole(slices: Slices) -> priors.Gaussian:
    """The same law on the whole volume: the precisions of slices, and of differences between neighbours."""
    of_slices, d = slices.prior, int(torch.tensor(slices.event_shape).prod())
    place = torch.arange(d).view(slices.event_shape).movedim(1 + slices.axis, 0).reshape(slices.depth, -1)
    precision, mean = torch.zeros(d, d, dtype=torch.float64), torch.zeros(d, dtype=torch.float64)
    own = torch.linalg.inv(of_slices.covariance.double().view(N * N, N * N))
    for k in range(slices.depth):
        precision[place[k][:, None], place[k]] += own
        mean[place[k]] = of_slices.mean.double().flatten()
    if slices.coupling is not None:
        b = torch.eye(d, dtype=torch.float64)
        differences = torch.cat([b[place[k + 1]] - b[place[k]] for k in range(slices.depth - 1)])
        precision += differences.mT @ differences / slices.coupling**2
    return priors.Gaussian(mean, torch.linalg.inv(precision), sde=slices.sde, event_shape=slices.event_shape)


def standardised(x: torch.Tensor, law: priors.Gaussian) -> tuple[float, torch.Tensor]:
    """Draws (n, *E) in the principal axes of a law: error of the mean over its standard error, and variances."""
    lower = torch.linalg.cholesky(law.covariance.double().view(law.mean.numel(), -1))
    away = x.double().flatten(1) - law.mean.double().flatten()
    z = torch.linalg.solve_triangular(lower, away.mT, upper=False).mT
    return float((z.mean(0) * len(x) ** 0.5).square().mean().sqrt()), z.var(0)


@pytest.mark.parametrize("sde", SDES)
@pytest.mark.parametrize("coupling", [None, 0.05, 0.5])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_denoiser_and_its_derivative_are_those_of_the_volume(axis, coupling, sde):
    slices = Slices(pictures(SDES[sde]), DEPTH, axis, coupling)
    law = whole(slices)
    generator = torch.Generator().manual_seed(1)
    x, v = (torch.randn(2, *slices.event_shape, generator=generator).double() for _ in range(2))
    for t in (0.1, torch.tensor([0.3, 0.9], dtype=torch.float64)):
        denoised, vjp = slices.denoise_vjp(x, t)
        expected, exact = law.denoise_vjp(x, t)
        torch.testing.assert_close(denoised, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(slices.denoise(x, t), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(vjp(v), exact(v), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(slices.score(x, t), law.score(x, t), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("coupling", [None, 0.1])
@pytest.mark.parametrize("axis", [0, 2])
def test_moments_are_those_of_the_volume(axis, coupling):
    slices = Slices(pictures(), DEPTH, axis, coupling)
    law, moments = whole(slices), slices.moments
    values, basis = torch.linalg.eigh(law.covariance.double().view(36, 36))
    x = torch.randn(3, *slices.event_shape, generator=torch.Generator().manual_seed(1))
    root = (x.double().flatten(1) @ (basis * values.clamp_min(0).sqrt()) @ basis.mT).view(x.shape)
    torch.testing.assert_close(moments.apply(torch.sqrt, x).double(), root, atol=1e-4, rtol=1e-4)
    assert abs(moments.average(lambda v: v) - float(values.mean())) < 1e-6
    torch.testing.assert_close(moments.mean.double().flatten(), law.mean.double().flatten())


G = GaussianNoise(0.05)
KERNEL = torch.tensor([[0.0, 0.1, 0.0], [0.2, 0.4, 0.1], [0.0, 0.2, 0.0]])
MEASURED = {
    "every second slice": lambda: Masking((torch.arange(DEPTH) % 2 == 0)[:, None, None].expand(DEPTH, N, N), G),
    "noise": lambda: Identity(G),
    "thick slices": lambda: AlongAxis.gaussian(DEPTH, 1.0, 2, noise=G),
    "blur in three dimensions": lambda: Slicewise(Blur(KERNEL, noise=G)) @ AlongAxis.gaussian(DEPTH, 0.7, 2),
    "a matrix of every slice": lambda: Slicewise(LinearMap(torch.linspace(-1, 1, 45).view(5, 9), G, (1, N, N))),
}


@pytest.mark.parametrize("name", MEASURED)
def test_solve_draws_from_the_exact_posterior(name):
    slices = Slices(pictures(), DEPTH, coupling=0.1)
    law, operator = whole(slices), MEASURED[name]()
    y = operator.measure(law.sample(1, seed=3).float(), seed=0)
    solution = solve(slices, operator, y, n_samples=300, method="mmps", seed=0, progress=False)
    error, variances = standardised(solution.samples[0], law.posterior(operator, y))
    assert error < 1.35 and 0.95 < float(variances.mean()) < 1.05  # 1 and 1 for exact draws, +- .12 and .01
    assert 0.7 < float(variances.min()) <= float(variances.max()) < 1.4


def test_coupling_matters_to_that_posterior():
    """The test above sees a wrong coupling: independent slices are not the posterior of coupled ones."""
    slices, operator = Slices(pictures(), DEPTH), MEASURED["every second slice"]()
    law = whole(Slices(pictures(), DEPTH, coupling=0.1))
    y = operator.measure(law.sample(1, seed=3).float(), seed=0)
    solution = solve(slices, operator, y, n_samples=300, method="mmps", seed=0, progress=False)
    _, variances = standardised(solution.samples[0], law.posterior(operator, y))
    assert float(variances.mean()) > 1.5


def test_unconditional_draws():
    slices = Slices(pictures(), DEPTH, coupling=0.1)
    drawn = sample(slices, n_samples=500, n_steps=100, method="predictor", seed=0, progress=False)
    error, variances = standardised(drawn, whole(slices))
    assert error < 1.4 and 0.9 < float(variances.mean()) < 1.1


def test_several_directions_are_averaged():
    cube = Slices(pictures(), N, axis=(0, 1))
    x = torch.randn(2, *cube.event_shape, generator=torch.Generator().manual_seed(1)).double()
    each = [Slices(pictures(), N, axis=axis).denoise(x, 0.4) for axis in range(2)]
    torch.testing.assert_close(cube.denoise(x, 0.4), sum(each) / 2)
    flipped = x.transpose(2, 3)
    torch.testing.assert_close(cube.denoise(flipped, 0.4), cube.denoise(x, 0.4).transpose(2, 3))
    assert cube.moments is None and "axis=(0, 1)" in repr(cube)


def test_a_network_by_slices():
    """A trained prior: the denoiser of every slice, and neighbours that are nearer to each other with a coupling."""
    network = priors.load("fashion-mnist")
    x = torch.randn(1, 1, 3, 28, 28, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.4
    plain, coupled = Slices(network, 3), Slices(network, 3, coupling=0.05)
    found = plain.denoise(x, 0.5)
    torch.testing.assert_close(found[0, :, 1], network.denoise(x[0, :, 1][None], 0.5)[0], atol=1e-4, rtol=1e-4)
    near = coupled.denoise(x, 0.5)
    assert near.diff(dim=2).norm() < 0.7 * found.diff(dim=2).norm()
    torch.testing.assert_close(near.mean(2), found.mean(2), atol=0.1, rtol=0)


@pytest.mark.parametrize(
    "operator",
    [
        Identity(G),
        Masking((torch.arange(60) % 3 > 0).view(3, 4, 5), G),
        Masking((torch.arange(120) % 7 > 0).view(2, 3, 4, 5), G, event_ndim=4),
        LinearMap(torch.linspace(-1, 1, 360).view(3, 120), G, event_shape=(2, 3, 4, 5)),
        Saturation(2.0, softness=0.1, noise=G),
        Transmission(PoissonNoise(100.0)),
        Slicewise(Resize(2.0, noise=G), 1),
        Transmission(PoissonNoise(100.0)) @ Slicewise(FanBeam(3, 12.0)),
    ],
    ids=lambda operator: type(operator).__name__,
)
def test_operators_take_volumes(operator):
    check(operator, (2, 3, 4, 5))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Slices("natural", 3), TypeError, "expected a priors.Prior"),  # type: ignore
        (lambda: Slices(Slices(pictures(), 3), 3), ValueError, r"expected one of pictures \(C, H, W\)"),
        (lambda: Slices(pictures(), 0), ValueError, "depth = 0"),
        (lambda: Slices(pictures(), 3, axis=3), ValueError, "axis = 3.*D, H or W"),
        (lambda: Slices(pictures(), 3, axis=(0, 0)), ValueError, "different axes"),
        (lambda: Slices(pictures(), 3, coupling=0.0), ValueError, "coupling = 0.0"),
        (lambda: Slices(pictures(), 3, (0, 1), 0.1), ValueError, "one axis with a coupling"),
        (lambda: Slices(pictures(), 4, (0, 1)), ValueError, r"several axes of a cube.*\(1, 4, 3, 3\)"),
        (lambda: Slices(pictures(), 3).denoise(torch.zeros(1, 1, 3, 3), 0.5), ValueError, "4 axes"),
        (lambda: Slicewise("blur"), TypeError, "expected an operators.Operator"),  # type: ignore
        (lambda: Slicewise(Identity(), 3), ValueError, "axis = 3"),
        (lambda: Slicewise(Identity(G))(torch.zeros(2, 1, 3, 3)), ValueError, r"expected volumes \(C, D, H, W\)"),
        (lambda: AlongAxis(torch.zeros(3)), ValueError, r"expected \(m, D\)"),
        (lambda: AlongAxis(torch.eye(3))(torch.zeros(1, 1, 4, 3, 3)), ValueError, "3 entries along axis 0"),
        (lambda: AlongAxis(torch.eye(3)).adjoint(torch.zeros(1, 1, 4, 3, 3)), ValueError, "3 entries along axis 0"),
    ],
)
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_moments_of_a_model_stay_approximate():
    """So that no solve takes many iterations in double precision for what a model is only near to."""
    for name, size in (("ct", 16), ("brain-mri", 64)):
        pictures = priors.load(name, event_shape=(1, size, size))
        assert pictures.moments is not None
        for coupling in (None, 0.05):
            moments = Slices(pictures, 3, coupling=coupling).moments
            assert moments is not None and moments.approximate == pictures.moments.approximate
            assert moments.to(torch.device("cpu"), torch.float64).approximate == pictures.moments.approximate

"""Unknown parameters of a measurement: against quadrature of the closed-form evidence of a Gaussian prior."""

import math
import sys
from functools import partial

import pytest
import torch

import inverse
import operators
import priors
from inverse.solve.unknown import LogUniform, Uniform, infer
from inverse.solve.unknown.family import family, log_likelihood
from inverse.solve.unknown.grid import GridDensity
from inverse.solve.unknown.inference import Effort
from inverse.solve.unknown.ranges import ranges
from inverse.solve.unknown.search import Search
from inverse.solve.unknown.surrogate import Surrogate
from operators import Blur, GaussianNoise, PoissonNoise

F64 = torch.float64
SIDE = 6
RANGES = {"width": Uniform(0.4, 1.2), "sigma": (0.01, 0.3)}


def kernel(width: float) -> torch.Tensor:
    along = torch.exp(-0.5 * ((torch.arange(5, dtype=F64) - 2) / width) ** 2)
    return (along.outer(along) / along.sum() ** 2).float()


def blurred(width: float, sigma: float) -> Blur:
    return Blur(kernel(width), noise=GaussianNoise(sigma))


@pytest.fixture(scope="module")
def prior():
    at = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE)).to(F64)
    covariance = 0.05 * torch.exp(-torch.cdist(at, at) / 2)
    mean = torch.full((SIDE**2,), 0.5)
    return priors.Gaussian(mean, covariance.float(), sde=priors.VPSDE(), event_shape=(1, SIDE, SIDE))


@pytest.fixture
def quick(monkeypatch):
    """A rough posterior of the parameters, in a second."""
    monkeypatch.setattr(sys.modules["inverse.solve.unknown.joint"], "FORMULA", Effort(32, 10, 1.0))


def log_evidence(prior, operator, y):
    """log p(y) of a Gaussian prior and a linear operator with Gaussian noise, by its dense covariance."""
    d = SIDE**2
    a = operator.at((1, SIDE, SIDE))(torch.eye(d).view(d, 1, SIDE, SIDE)).reshape(d, d).T.to(F64)
    covariance = a @ prior.covariance.to(F64) @ a.T + float(operator.noise.sigma) ** 2 * torch.eye(d, dtype=F64)
    residual = y.to(F64).flatten() - a @ prior.mean.to(F64).flatten()
    return torch.distributions.MultivariateNormal(torch.zeros(d, dtype=F64), covariance).log_prob(residual)


@pytest.fixture(scope="module")
def posed(prior):
    x = prior.sample(1, seed=0)
    y = blurred(0.8, 0.05).measure(x, seed=1)
    operators_ = family(blurred, ranges(RANGES))
    return operators_, y, lambda u: torch.stack([log_evidence(prior, operators_.at(v), y) for v in u])


def test_expected_slopes_are_the_slopes_of_the_evidence(prior, posed):
    """Fisher's identity, by exact posterior draws."""
    operators_, y, evidence = posed
    u = torch.tensor([0.6, 0.5], dtype=F64)
    x = prior.posterior(operators_.at(u), y).sample(10_000, seed=0)
    slopes = operators_.slopes(u, y, x.float())
    step = 1e-4 * torch.eye(2, dtype=F64)
    right = (evidence(u + step) - evidence(u - step)) / 2e-4
    error = slopes.std(0) / len(slopes) ** 0.5
    assert bool(((slopes.mean(0) - right).abs() < 4 * error).all())
    assert bool((error < 0.05 * right.abs().max()).all())


def test_a_surrogate_is_exact_for_polynomials_of_degree_two():
    points = torch.rand(5, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    a, b = torch.tensor([[3.0, 1.0], [1.0, 2.0]], dtype=F64), torch.tensor([1.0, -2.0], dtype=F64)
    center = torch.full((2,), 0.5, dtype=F64)
    surrogate = Surrogate(center, center, points, points @ a + b, torch.full_like(points, 1e-8))
    u = torch.rand(7, 2, dtype=F64, generator=torch.Generator().manual_seed(1))
    right = 0.5 * ((u @ a) * u).sum(1) + u @ b
    right = right - (0.5 * center @ a @ center + center @ b)
    assert torch.allclose(surrogate(u), right, atol=1e-3)
    assert float(surrogate.variance(u).max()) < 1e-4
    assert torch.allclose(
        surrogate.error(u[:2], torch.tensor([1.0, -1.0], dtype=F64)), torch.zeros(1, dtype=F64), atol=0.01
    )


def test_the_errors_of_a_surrogate_are_those_of_noisy_gradients():
    points = torch.linspace(0, 1, 6, dtype=F64)[:, None]
    center, noise = torch.tensor([0.5], dtype=F64), 2.0
    generator, away = torch.Generator().manual_seed(0), []
    ends, difference = torch.tensor([[0.3], [0.7]], dtype=F64), torch.tensor([-1.0, 1.0], dtype=F64)
    for _ in range(300):
        gradients = -40 * (points - 0.6) + noise * torch.randn(points.shape, generator=generator, dtype=F64)
        surrogate = Surrogate(center, center, points, gradients, torch.full_like(points, noise**2))
        right = -20 * ((0.7 - 0.6) ** 2 - (0.3 - 0.6) ** 2)
        away.append(float((surrogate(ends) @ difference - right) / surrogate.error(ends, difference)))
    assert 0.8 < torch.tensor(away).std() < 1.2


@pytest.mark.parametrize(("d", "width"), [(1, 0.002), (1, 0.2), (2, 0.02), (2, 0.2), (3, 0.1)])
def test_a_search_finds_a_density_by_its_gradients(d, width):
    """A Gaussian with a cubic term, anywhere in the cube, narrow or broad."""
    mode = torch.tensor([0.3, 0.62, 0.45], dtype=F64)[:d]

    def log_density(u):
        z = (u - mode) / width
        coupled = 0.5 * z[:, 0] * z[:, -1] if d > 1 else 0.0
        return -0.5 * z.square().sum(1) - 0.03 * z.pow(3).sum(1) - 0.01 * z.pow(4).sum(1) + coupled

    search = Search(d)
    while not search.ended and len(search.nodes) < 60:
        u = search.proposals.clone().requires_grad_()
        gradients = torch.autograd.grad(log_density(u).sum(), u)[0]
        search.add(gradients, torch.full_like(gradients, 1e-4))
    right = GridDensity(log_density, d)
    assert search.ended
    assert bool(((search.density.mean - right.mean).abs() < 0.25 * right.std).all())
    assert bool(((search.density.std / right.std).log().abs() < 0.2).all())


def test_a_grid_has_the_moments_of_its_density():
    density = GridDensity(lambda u: -0.5 * ((u[:, 0] - 0.3) / 1e-4) ** 2, 1)
    assert float(density.mean) == pytest.approx(0.3, abs=1e-6)
    assert float(density.std) == pytest.approx(1e-4, rel=0.01)
    draws = density.draw(1000, priors.RowRNG(0, [(0,)], dtype=F64))
    assert float(draws.mean()) == pytest.approx(0.3, abs=1e-5)
    assert float(draws.std()) == pytest.approx(1e-4, rel=0.02)


def test_the_joint_posterior_of_width_and_noise_is_that_of_quadrature(prior, posed):
    operators_, y, evidence = posed

    def draw(operator, first, n):
        return inverse.solve(prior, operator, y, n, "mmps", 10, first=first, progress=False, antithetic=True)

    found = infer(operators_, y, Effort(64, 32, 0.3), draw).density
    axes = torch.linspace(0, 1, 41, dtype=F64)
    points = torch.cartesian_prod(axes, axes)
    p = torch.softmax(evidence(points), 0)
    mean = p @ points
    covariance = ((points - mean) * p[:, None]).T @ (points - mean)
    std = covariance.diagonal().sqrt()
    assert bool(((found.mean - mean).abs() < 0.35 * std).all())
    assert bool(((found.std / std).log().abs() < 0.35).all())


def test_samples_with_an_unknown_noise_level(prior, quick, tmp_path):
    """Each sample belongs to a draw of sigma; a measurement solved alone is the same; a file keeps the draws."""
    operator = operators.Identity(noise=GaussianNoise(1.0))
    x = prior.sample(2, seed=5)
    y = torch.cat([operator.with_noise(GaussianNoise(s)).measure(x[b : b + 1], b) for b, s in enumerate((0.05, 0.2))])
    asked = partial(inverse.solve, prior, operator, n_samples=4, method="mmps", n_steps=12, progress=False)
    found = asked(y, unknown={"sigma": (0.01, 1.0)})
    assert found.samples.shape == (2, 4, 1, SIDE, SIDE)
    sigma = found.unknown["sigma"]
    assert sigma.shape[0] == 2 and sigma.shape[1] > 100
    assert bool(((sigma.log().mean(1) - torch.tensor([0.05, 0.2]).log()).abs() < 3 * sigma.log().std(1)).all())
    assert sigma[0].mean() < 0.5 * sigma[1].mean()
    alone = asked(y[1:], unknown={"sigma": LogUniform(0.01, 1.0)}, numbers=[1])
    assert torch.allclose(alone.samples[0], found.samples[1], atol=1e-4)
    assert torch.equal(alone.unknown["sigma"][0], sigma[1])
    known = asked(y[:1], n_samples=1)
    given = operator.with_noise(GaussianNoise(float(sigma[0, 2])))
    own = inverse.solve(prior, given, y[:1], 1, "mmps", 12, first=2, progress=False)
    assert torch.allclose(own.samples[0, 0], found.samples[0, 2], atol=1e-5)
    assert found.nfe > known.nfe
    found.save(tmp_path / "run.h5")
    assert torch.equal(inverse.Solution.load(tmp_path / "run.h5").unknown["sigma"], sigma)


def test_an_unknown_peak_of_photon_counts(prior):
    """y = count / peak has the density peak * P(count): without the factor the least peak would always win."""
    operator = operators.Identity(noise=PoissonNoise(1.0))
    y = operator.with_noise(PoissonNoise(40.0)).measure(0.5 + 0 * prior.sample(1), seed=1)
    x = torch.full((1, 1, SIDE, SIDE), 0.5)
    peaks = torch.logspace(0.5, 3, 60)
    found = [float(log_likelihood(operator.with_noise(PoissonNoise(float(p))), y, x)) for p in peaks]
    assert 25 < float(peaks[torch.tensor(found).argmax()]) < 60


class Laplace(operators.Noise):
    """A noise of another package."""

    inferable = ("scale",)

    def __init__(self, scale):
        super().__init__()
        self.batched_buffer("scale", torch.as_tensor(scale), 0)

    def sample(self, clean, generator):
        u = torch.rand(clean.shape, generator=generator) - 0.5
        return clean - self.scale * u.sign() * torch.log1p(-2 * u.abs())

    def log_prob(self, y, clean):
        return -(y - clean).abs() / self.scale - (2 * self.scale).log()

    def variance(self, clean):
        return (2 * self.scale**2).expand_as(clean)


def test_the_level_of_a_noise_of_another_package_can_be_unknown(prior, quick):
    operator = operators.Identity(noise=Laplace(0.1))
    y = operator.with_noise(Laplace(0.3)).measure(prior.sample(1, seed=5), 0)
    asked = partial(inverse.solve, prior, n_samples=2, method="ep", n_steps=8, progress=False)
    scale = asked(operator, y, unknown={"scale": (0.05, 2.0)}).unknown["scale"].log()
    assert float((scale.mean() - math.log(0.3)).abs()) < 3 * float(scale.std())
    assert float(scale.std()) < 0.5


def test_operators_with_parameters_of_each_measurement(prior, quick):
    masks = torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(2)) < 0.7
    operator = operators.Masking(masks, noise=GaussianNoise(0.1))
    y = operator.measure(prior.sample(2, seed=3), seed=0)
    asked = partial(inverse.solve, prior, n_samples=2, method="mmps", n_steps=12, progress=False)
    both = asked(operator, y, unknown={"sigma": (0.02, 0.5)})
    alone = operators.Masking(masks[1], noise=GaussianNoise(0.1))
    one = asked(alone, y[1:], unknown={"sigma": (0.02, 0.5)}, numbers=[1])
    assert torch.allclose(both.unknown["sigma"][1], one.unknown["sigma"][0], rtol=0.02)  # rounding, over 32 fits


@pytest.mark.filterwarnings("ignore::inverse.PoorFit")
def test_auto_takes_no_method_that_weights_its_samples(quick):
    """Of few values, "auto" is `pivot` elsewhere."""
    prior = priors.Gaussian(torch.zeros(2), torch.eye(2), sde=priors.VPSDE())
    operator = operators.LinearMap(torch.eye(2), noise=GaussianNoise(1.0))
    found = inverse.solve(prior, operator, torch.zeros(1, 2), 2, progress=False, unknown={"sigma": (0.1, 1.0)})
    assert found.method == "mmps"


@pytest.mark.filterwarnings("ignore::inverse.PoorFit")
def test_a_method_without_the_right_spread_warns(prior, quick):
    operator = operators.Identity(noise=GaussianNoise(0.1))
    y = operator.measure(prior.sample(1, seed=3), seed=0)
    with pytest.warns(inverse.UncertainParameters, match="'ddrm' do not have the posterior's spread"):
        inverse.solve(prior, operator, y, 2, "ddrm", 5, progress=False, unknown={"sigma": (0.02, 0.5)})


def test_the_log_likelihood_is_the_operators_own():
    x = torch.rand(3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    for operator, factor in ((blurred(0.7, 0.1), 0.0), (Blur(kernel(0.7), noise=PoissonNoise(20.0)), math.log(20.0))):
        y = operator.measure(x[:1])
        right = operator.log_likelihood(y, x) + y.numel() * factor
        assert torch.allclose(log_likelihood(operator, y, x).float(), right, rtol=1e-5)


def test_ranges_are_quantiles():
    assert LogUniform(0.01, 1.0).at(0.5) == pytest.approx(0.1)
    assert Uniform(-1, 3).at(0.25) == 0
    assert ranges({"a": (0.1, 1), "b": (0, 1)}) == {"a": LogUniform(0.1, 1), "b": Uniform(0, 1)}


Y = torch.rand(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
GOOD = {"sigma": (0.01, 0.1)}
BAD = [
    ({"unknown": {}}, TypeError, "expected names of parameters"),
    ({"unknown": ["sigma"]}, TypeError, "expected names of parameters"),
    ({"unknown": {"sigma": 0.1}}, TypeError, "a pair"),
    ({"unknown": {"sigma": (0.0, 0.1)}}, ValueError, "a range above 0"),
    ({"unknown": {"width": (0.1, 1)}, "operator": lambda sigma: blurred(0.5, sigma)}, TypeError, "arguments width"),
    ({"unknown": GOOD, "y": Y[:0]}, ValueError, "at least one measurement"),
    ({"unknown": {"sigma": (0.2, 0.1)}}, ValueError, "low < high"),
    ({"unknown": {"sigma": (0.1, math.inf)}}, ValueError, "finite|expected"),
    ({"unknown": {"width": (0.1, 1)}}, ValueError, "gaussian_kernel"),
    ({"unknown": dict.fromkeys("abcd", (0.1, 1))}, ValueError, "at most 3"),
    ({"unknown": GOOD, "method": "exact"}, ValueError, "weight their samples"),
    ({"unknown": GOOD, "budget": "exact"}, ValueError, "weight their samples"),
    ({"unknown": GOOD, "first": 2}, ValueError, "expected 0"),
    ({"unknown": GOOD, "antithetic": True, "n_samples": 3}, ValueError, "even"),
    ({"unknown": GOOD, "operator": 3}, TypeError, "a function"),
    ({"unknown": {"width": (0.1, 1)}, "operator": lambda width: width}, TypeError, "expected an operators.Operator"),
    ({"operator": lambda sigma: blurred(0.5, sigma)}, TypeError, "expected an operators.Operator"),
    ({"unknown": GOOD, "y": 3}, TypeError, "y"),
]


@pytest.mark.parametrize(("changed", "kind", "text"), BAD)
def test_bad_unknowns_are_refused_before_any_evaluation(prior, changed, kind, text, monkeypatch):
    monkeypatch.setattr(type(prior), "denoise", lambda *_: pytest.fail("the prior was evaluated"))
    arguments = {"operator": blurred(0.7, 0.1), "y": Y} | changed
    with pytest.raises(kind, match=text):
        inverse.solve(prior, **arguments, progress=False)


def test_parameters_that_y_does_not_determine_well_enough_warn(prior, monkeypatch):
    """Few values of sigma, far from the posterior: a warning, not a wrong posterior in silence."""
    monkeypatch.setattr(sys.modules["inverse.solve.unknown.joint"], "FORMULA", Effort(8, 3, 0.3))
    operator = operators.Identity(noise=GaussianNoise(1.0))
    y = operator.with_noise(GaussianNoise(0.02)).measure(prior.sample(1, seed=5))
    with pytest.warns(inverse.UncertainParameters, match="narrower ranges"):
        inverse.solve(prior, operator, y, 1, "mmps", 5, progress=False, unknown={"sigma": (1e-4, 10.0)})

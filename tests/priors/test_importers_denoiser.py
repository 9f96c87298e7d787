"""Denoisers whose answer is known, and one of deepinv's, as priors."""

import pytest
import torch
from torch import Tensor, nn

import operators
import priors
from inverse import METHODS, sample, solve
from inverse.predictors import Ancestral
from priors import VESDE, VPSDE, Gaussian, SubVPSDE
from priors.base import expand
from tests.priors.cases import F64, draws

D = 6
MEAN = torch.linspace(0.2, 0.8, D, dtype=F64)
ROOT = draws(D, D, seed=3) / D**0.5
COVARIANCE = 0.05 * (ROOT @ ROOT.mT + 0.3 * torch.eye(D, dtype=F64))


class Wiener(nn.Module):
    """E[x0 | x] for x = x0 + sigma z, x0 ~ N(MEAN, COVARIANCE); it notes the sigma that it was given."""

    matrix: Tensor

    def __init__(self):
        super().__init__()
        values, basis = torch.linalg.eigh(COVARIANCE)
        self.register_buffer("mean", MEAN)
        self.register_buffer("values", values)
        self.register_buffer("basis", basis)
        self.told = []

    def forward(self, x, sigma):
        self.told.append(sigma)
        variance = torch.as_tensor(sigma, dtype=x.dtype).reshape(-1, 1) ** 2
        values, basis, mean = (getattr(self, name).to(x.dtype) for name in ("values", "basis", "mean"))
        return mean + ((x - mean) @ basis * (values / (values + variance))) @ basis.mT


SDES = {"ve": VESDE(), "vp": VPSDE(), "subvp": SubVPSDE(), "vp-half": VPSDE(scale=0.5)}


@pytest.fixture(params=SDES)
def sde(request):
    return SDES[request.param]


@pytest.mark.parametrize("t", [1e-3, 0.3, 1.0, torch.tensor([1e-3, 0.2, 0.6, 1.0], dtype=F64)])
def test_an_exact_denoiser_is_the_exact_prior(sde, t):
    prior, exact = priors.from_denoiser(Wiener(), sde, event_shape=(D,)), Gaussian(MEAN, COVARIANCE, sde=sde)
    x = exact.sde.sigma(1.0) * draws(4, D)
    torch.testing.assert_close(prior.denoise(x, t), exact.denoise(x, t), rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(prior.score(x, t), exact.score(x, t), rtol=1e-6, atol=1e-6)


def test_the_derivative_is_the_exact_priors(sde):
    prior, exact = priors.from_denoiser(Wiener(), sde, event_shape=(D,)), Gaussian(MEAN, COVARIANCE, sde=sde)
    x, v = draws(3, D), draws(3, D, seed=1)
    torch.testing.assert_close(prior.denoise_vjp(x, 0.4)[1](v), exact.denoise_vjp(x, 0.4)[1](v))


def test_posterior_samples_have_the_closed_form():
    """MMPS is exact on a Gaussian; its default is the Heun flow, second order in 50 steps."""
    matrix = draws(3, D, seed=5).float()
    operator = operators.LinearMap(matrix, noise=operators.GaussianNoise(0.1))
    exact = Gaussian(MEAN, COVARIANCE, sde=VESDE())
    y = operator.measure(exact.sample(1, seed=2).float(), seed=3)
    prior = priors.from_denoiser(Wiener(), event_shape=(D,), variance=float(COVARIANCE.diagonal().mean()))
    n = 2000
    x = solve(prior, operator, y, n_samples=n, method="mmps", seed=0, progress=False).samples[0].double()
    posterior = exact.posterior(operator, y)
    deviation = posterior.covariance.diagonal().sqrt()
    # the largest of 6 standard normal errors is below 4 but once in 2600; spread: chi^2 has sqrt(2 / n) = .032
    assert ((x.mean(0) - posterior.mean).abs() / deviation * n**0.5).max() < 4
    assert (x.var(0) / deviation**2 - 1).abs().max() < 4 * (2 / n) ** 0.5
    assert (posterior.covariance.trace() / COVARIANCE.trace()) < 0.7  # and y told something


class TestSigma:
    def test_a_float_where_all_rows_share_it_and_a_row_each_otherwise(self):
        denoiser, x = Wiener(), draws(3, D).float()
        prior = priors.from_denoiser(denoiser, VPSDE(), event_shape=(D,))
        prior.denoise(x, 0.3)
        prior.denoise(x, torch.tensor(0.3, dtype=F64))
        times = torch.tensor([0.1, 0.3, 0.5], dtype=F64)
        prior.denoise(x, times)
        ratio = VPSDE().sigma(0.3) / VPSDE().alpha(0.3)
        assert [type(told) for told in denoiser.told[:2]] == [float, float] and denoiser.told[0] == float(ratio)
        rows = denoiser.told[2]
        assert rows.shape == (3,) and rows.dtype == x.dtype
        torch.testing.assert_close(rows.double(), VPSDE().sigma(times) / VPSDE().alpha(times))

    def test_less_noise_than_it_serves_is_told_as_the_least(self):
        denoiser, x = Wiener(), draws(2, D)
        prior = priors.from_denoiser(denoiser, VESDE(0.01, 50.0), event_shape=(D,), sigma_min=0.05)
        prior.denoise(x, 0.0)
        prior.denoise(x, torch.tensor([0.0, 1.0], dtype=F64))
        assert denoiser.told[0] == 0.05 and denoiser.told[1].tolist() == pytest.approx([0.05, 50.0])

    def test_more_noise_than_it_serves_is_refused_at_once(self):
        with pytest.raises(ValueError, match=r"sigma up to 50, and it serves 0.2: give sde = VESDE\(0.01, 0.2\)"):
            priors.from_denoiser(Wiener(), event_shape=(D,), sigma_max=0.2)
        with pytest.raises(ValueError, match=r"sigma up to 152.*serves 100"):  # sigma / alpha, not sigma
            priors.from_denoiser(Wiener(), VPSDE(), event_shape=(D,), sigma_max=100.0)
        assert priors.from_denoiser(Wiener(), VESDE(0.01, 0.2), event_shape=(D,), sigma_max=0.2).sde.sigma_max == 0.2

    @pytest.mark.parametrize(("low", "high"), [(-0.1, 1.0), (0.5, 0.5)])
    def test_no_range(self, low, high):
        with pytest.raises(ValueError, match=r"sigma_min = .*: expected"):
            priors.from_denoiser(Wiener(), event_shape=(D,), sigma_min=low, sigma_max=high)


class TestErrors:
    def test_not_callable(self):
        with pytest.raises(TypeError, match="denoiser of type Tensor: expected a callable"):
            priors.from_denoiser(MEAN, event_shape=(D,))

    def test_another_shape(self):
        prior = priors.from_denoiser(lambda x, sigma: x[:, :2], event_shape=(D,))
        with pytest.raises(ValueError, match=r"made \(1, 2\) of \(1, 6\): expected the same shape"):
            prior.denoise(draws(3, D), 0.5)

    def test_no_derivative(self):
        prior = priors.from_denoiser(lambda x, sigma: x.detach(), event_shape=(D,))
        with pytest.raises(ValueError, match=r"has no gradient.*such as 'diffpir'"):
            prior.denoise_vjp(draws(3, D), 0.5)


def test_it_moves_and_is_a_module():
    denoiser = Wiener()
    prior = priors.from_denoiser(denoiser, event_shape=(D,))
    assert prior.device == torch.device("cpu") and "denoiser.mean" in prior.state_dict()
    assert priors.from_denoiser(lambda x, sigma: x, event_shape=(D,)).to("meta").device == torch.device("meta")


class TestDeepinv:
    """Untrained or classical denoisers of deepinv, which need no download."""

    @pytest.fixture
    def drunet(self):
        models = pytest.importorskip("deepinv.models")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return models.DRUNet(1, 1, nc=(4, 4, 4, 4), nb=1, pretrained=None).eval()

    def test_drunet(self, drunet):
        prior, x = priors.from_denoiser(drunet, VPSDE(scale=0.5), event_shape=(1, 16, 16)), draws(2, 1, 16, 16).float()
        alpha, sigma = float(VPSDE().alpha(0.3)), float(VPSDE(scale=0.5).sigma(0.3))
        with torch.no_grad():
            torch.testing.assert_close(prior.denoise(x, 0.3), drunet(x / alpha, sigma / alpha))
            torch.testing.assert_close(prior.denoise(x, torch.full((2,), 0.3)), prior.denoise(x, 0.3))
        v = draws(2, 1, 16, 16, seed=1).float()
        step = 1e-2  # DRUNet is piecewise linear, so a difference is nearly exact
        with torch.no_grad():
            slope = (prior.denoise(x + step * v, 0.3) - prior.denoise(x - step * v, 0.3)) / (2 * step)
        gradient = prior.denoise_vjp(x, 0.3)[1](v)
        torch.testing.assert_close((gradient * v).sum(), (slope * v).sum(), rtol=2e-2, atol=1e-3)

    def test_total_variation_cleans_a_flat_image(self):
        """The exact posterior mean of a flat image under a prior of flat images has the noise of a mean over pixels."""
        models = pytest.importorskip("deepinv.models")
        prior = priors.from_denoiser(models.TVDenoiser(n_it_max=100), VESDE(0.01, 1.0), event_shape=(1, 16, 16))
        operator = operators.Masking(torch.ones(16, 16), noise=operators.GaussianNoise(0.1))
        truth = torch.full((1, 1, 16, 16), 0.6)
        y = operator.measure(truth, seed=0)
        solution = solve(prior, operator, y, n_samples=2, method="pigdm", n_steps=20, progress=False)
        errors = (solution.samples[0] - truth).square().mean((1, 2, 3)).sqrt()
        assert errors.max() < 0.5 * (y - truth).square().mean().sqrt()

    def test_median(self):
        models = pytest.importorskip("deepinv.models")
        prior = priors.from_denoiser(models.MedianFilter(kernel_size=3), event_shape=(1, 8, 8))
        spike = torch.zeros(1, 1, 8, 8)
        spike[0, 0, 4, 4] = 1.0
        assert prior.denoise(spike, 0.1).abs().max() == 0


def test_unconditional_samples_are_of_the_prior():
    prior = priors.from_denoiser(Wiener(), event_shape=(D,))
    method = METHODS["pc"]
    x = sample(prior, 500, method=type(method)("ancestral", method.guidance, Ancestral()), n_steps=200, progress=False)
    error = (x.double().mean(0) - MEAN).abs() / COVARIANCE.diagonal().sqrt()
    assert error.max() * 500**0.5 < 4 and x.shape == (500, D)


class TestMoments:
    """A denoiser of little noise alone: walks start within its range, from the Gaussian of the moments."""

    def test_the_sde_ends_where_the_denoiser_does(self):
        moments = priors.Moments.of_covariance(MEAN, COVARIANCE)
        prior = priors.from_denoiser(Wiener(), event_shape=(D,), sigma_max=0.3, moments=moments)
        assert prior.sde.sigma_max == 0.3 and prior.moments is moments
        assert prior.variance == pytest.approx(float(COVARIANCE.diagonal().mean()), rel=1e-4)

    def test_walks_are_right_and_ask_for_no_more_noise(self):
        exact, denoiser = Gaussian(MEAN, COVARIANCE, sde=VESDE(0.01, 50.0)), Wiener()
        moments = priors.Moments.of_covariance(MEAN, COVARIANCE)
        prior = priors.from_denoiser(denoiser, event_shape=(D,), sigma_max=0.3, moments=moments)
        operator = operators.LinearMap(torch.eye(D)[:1], noise=operators.GaussianNoise(0.2))
        y = operator.measure(exact.sample(1, seed=1).float(), seed=2)
        x = solve(prior, operator, y, 400, "mmps", progress=False).samples[0].double()
        law = exact.posterior(operator, y)
        assert max(denoiser.told) <= 0.3 * (1 + 1e-6)
        error = (x.mean(0) - law.mean.flatten()) / law.covariance.reshape(D, D).diagonal().sqrt()
        assert float(error.abs().max()) < 4 / 400**0.5

    @pytest.mark.parametrize("sde", [VESDE(0.01, 50.0), VPSDE()], ids=["ve", "vp"])
    def test_above_its_noise_levels_the_gaussian_serves(self, sde):
        exact, denoiser = Gaussian(MEAN, COVARIANCE, sde=sde), Wiener()
        moments = priors.Moments.of_covariance(MEAN, COVARIANCE)
        prior = priors.from_denoiser(denoiser, sde, event_shape=(D,), sigma_max=0.3, moments=moments)
        t = sde.time(torch.tensor([0.1, 0.31, 0.29, 40.0]))
        x = exact.sample(4, seed=3).double() * expand(sde.alpha(t), MEAN[None].repeat(4, 1))
        torch.testing.assert_close(prior.denoise(x, t), exact.denoise(x, t), rtol=1e-4, atol=1e-4)
        assert max(float(torch.as_tensor(sigma).max()) for sigma in denoiser.told) <= 0.3
        for time in t:  # one level for all rows
            torch.testing.assert_close(prior.denoise(x, time), exact.denoise(x, time), rtol=1e-4, atol=1e-4)
        _, vjp = prior.denoise_vjp(x, t)
        torch.testing.assert_close(vjp(x), exact.denoise_vjp(x, t)[1](x), rtol=1e-4, atol=1e-4)

    def test_moments_of_another_size_are_refused(self):
        moments = priors.Moments.of_covariance(torch.zeros(D + 1), torch.eye(D + 1))
        with pytest.raises(ValueError, match="expected events of"):
            priors.from_denoiser(Wiener(), event_shape=(D,), moments=moments)


class TestDoubt:
    """A trial finds denoisers that are called by another convention, or beyond their range."""

    SHAPE = (3, 32, 32)

    def right(self, x, sigma):
        trained = priors.load("natural", event_shape=self.SHAPE)
        return trained.denoise(x, trained.sde.time(torch.as_tensor(float(sigma))))

    def doubt(self, denoiser, **arguments):
        return priors.from_denoiser(denoiser, event_shape=self.SHAPE, **arguments).doubt

    @pytest.mark.parametrize("name", priors.available())
    def test_shipped_networks_pass(self, name):
        prior = priors.load(name)
        prior = prior if prior.least_size is None else prior.resized((prior.event_shape[0], 32, 32))

        def denoiser(x, sigma):
            return prior.denoise(x, prior.sde.time(torch.as_tensor(float(sigma))))

        assert priors.from_denoiser(denoiser, event_shape=prior.event_shape).doubt == ""

    def test_another_convention(self):
        assert self.doubt(self.right) == ""
        assert "rescales sigma" in self.doubt(lambda x, sigma: self.right(x, sigma / 255))
        assert "rescales sigma" in self.doubt(lambda x, sigma: self.right(x, min(255 * sigma, 50.0)))
        assert "residual" in self.doubt(lambda x, sigma: x - self.right(x, sigma))

    def test_beyond_its_range(self):
        def trained_to(x, sigma):
            return self.right(x, sigma) if sigma < 0.6 else x

        assert "sigma_max" in self.doubt(trained_to)
        assert self.doubt(trained_to, sigma_max=0.5, sde=VESDE(0.01, 0.5)) == ""

    def test_a_solve_warns_of_it(self):
        prior = priors.from_denoiser(lambda x, sigma: x, event_shape=(1, 8, 8))
        with pytest.warns(priors.DoubtfulDenoiser, match="flat grey"):
            solve(
                prior, operators.Identity(noise=operators.GaussianNoise(0.1)), torch.rand(1, 1, 8, 8), 1, "diffpir", 2
            )

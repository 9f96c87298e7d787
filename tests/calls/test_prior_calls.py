"""Bad calls of priors: each is refused at once, by an error that names what was wrong."""

import math

import pytest
import torch

import priors
from operators import (
    GaussianNoise,
    LinearMap,
)  # fmt: skip
from priors import VESDE, VPSDE, DataRange, Gaussian, GaussianMixture, Moments, SubVPSDE, Units
from priors.sde import LadderSDE
from tests.calls.refusal import refused
from tests.cases import score_prior

NAN, INF = math.nan, math.inf
G = GaussianNoise(0.1)
X = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
GAUSSIAN = Gaussian(torch.zeros(2), torch.eye(2), VESDE())
LATENT, NETWORK = torch.zeros(1, 2), score_prior()


def likelihood(**spoilt):
    return lambda: priors.log_likelihood(**({"prior": GAUSSIAN, "x": LATENT} | spoilt))


def denoiser(**spoilt):
    return lambda: priors.from_denoiser(len, **({"event_shape": (1,)} | spoilt))


# (the call's name, the call, words of its message)
CALLS = [
    # priors
    ("VESDE True", lambda: VESDE(True), "sigma_min = True", "number"),
    ("VESDE nan", lambda: VESDE(sigma_max=NAN), "sigma_max = nan", "finite"),
    ("VESDE text", lambda: VESDE("0.01"), "sigma_min = '0.01'", "number"),
    ("VPSDE scale 0", lambda: VPSDE(scale=0), "scale = 0", "> 0"),
    ("VPSDE None", lambda: SubVPSDE(beta_min=None), "beta_min = None", "number"),
    ("sigma at t = nan", lambda: VESDE().sigma(NAN), "t = nan", "time"),
    ("sigma at t = 2", lambda: VPSDE().sigma(2), "t = 2", "time"),
    ("sigma at t = -1", lambda: VESDE().sigma(-1), "t = -1", "time"),
    ("alpha at t = True", lambda: VPSDE().alpha(True), "t = True", "number"),
    ("g2 at t a text", lambda: VESDE().g2("0.5"), "t = '0.5'", "number"),
    ("bridge to t = None", lambda: VPSDE().bridge(0.5, None), "t = None", "number"),
    ("ladder of one level", lambda: LadderSDE([1.0], [1.0]), "1 alphas", "per level"),
    ("ladder of nan", lambda: LadderSDE([1.0, NAN], [0.1, 1.0]), "alphas", "nan"),
    ("ladder of numbers", lambda: LadderSDE(1.0, 2.0), "alphas = 1.0", "sequence"),
    ("ladder without terminal signal", lambda: LadderSDE.from_alphas_bar([0.9, 0.0]), "zero terminal SNR"),
    ("ladder of n = nan", lambda: LadderSDE.ddpm(n=NAN), "n = nan", "integer"),
    ("range of scale 0", lambda: DataRange(scale=0), "scale = 0", "> 0"),
    ("range of scale -1", lambda: DataRange(scale=-1), "scale = -1", "> 0"),
    ("range of scale nan", lambda: DataRange(scale=NAN), "scale = nan", "finite"),
    ("range of shift None", lambda: DataRange(shift=None), "shift = None", "number"),
    ("units of text", lambda: Units("HU", "air", 1.0), "zero = 'air'", "number"),
    ("units of no name", lambda: Units(3, 0.0, 1.0), "name = 3", "unit"),
    ("Gaussian of text", lambda: Gaussian("zero", torch.eye(2), VESDE()), "mean", "str"),
    ("Gaussian of complex numbers", lambda: Gaussian(torch.zeros(2) + 0j, torch.eye(2), VESDE()), "mean", "complex"),
    ("Gaussian without noising", lambda: Gaussian(torch.zeros(2), torch.eye(2), None), "sde = None", "VESDE"),
    ("Gaussian of an event number", lambda: Gaussian([0.0], [[1.0]], VESDE(), event_shape=1), "event_shape = 1"),
    ("mixture of weight nan", lambda: GaussianMixture(LATENT, torch.eye(2)[None], [NAN], VESDE()), "weights", "nan"),
    ("score of integers", lambda: GAUSSIAN.score(LATENT.long(), 0.5), "x of torch.int64", "x.float()"),
    ("score of a list", lambda: GAUSSIAN.score([0.0, 0.0], 0.5), "x of type list", "(N, 2)"),
    ("score of another shape", lambda: GAUSSIAN.score(X, 0.5), "(2, 1, 8, 8)", "(N, 2)"),
    ("score at t a text", lambda: GAUSSIAN.score(LATENT, "0.5"), "t = '0.5'", "time"),
    ("score at t of other rows", lambda: GAUSSIAN.score(LATENT, torch.ones(3)), "t of shape (3,)", "(1,)"),
    ("draws of -1", lambda: GAUSSIAN.sample(-1), "n = -1", ">= 0"),
    ("draws in integers", lambda: GAUSSIAN.sample(1, dtype=torch.int64), "dtype = torch.int64", "floating"),
    ("posterior of a function", lambda: GAUSSIAN.posterior(torch.relu, LATENT), "operator of type", "Operator"),
    ("posterior of y None", lambda: GAUSSIAN.posterior(LinearMap(torch.eye(2), G), None), "y of NoneType", "(1, *M)"),
    ("network a function", lambda: priors.ScorePrior(len, VESDE(), (1, 8, 8)), "network of type", "Module"),
    ("network's range a pair", lambda: priors.ScorePrior(NETWORK.network, VESDE(), (1,), range=(0, 1)), "DataRange"),
    ("network's prediction 3", lambda: priors.ScorePrior(NETWORK.network, VESDE(), (1,), 3), "prediction = 3", "noise"),
    ("denoising integers", lambda: NETWORK.denoise(X.long(), 0.5), "x of torch.int64", "x.float()"),
    ("denoising at t = nan", lambda: NETWORK.denoise(X, NAN), "t = nan"),
    ("another noising, a text", lambda: NETWORK.with_sde("VPSDE"), "sde = 'VPSDE'", "VESDE"),
    ("resized to a number", lambda: NETWORK.resized(64), "event_shape = 64", "tuple"),
    ("tiles of 0", lambda: priors.Tiled("natural"), "prior of type str", "priors.load"),
    ("denoiser of sigma_min nan", denoiser(sigma_min=NAN), "sigma_min"),
    ("denoiser of variance 0", denoiser(variance=0), "variance = 0"),
    ("denoiser of a shape of text", denoiser(event_shape="1"), "event_shape = '1'"),
    ("moments of two numbers", lambda: Moments.of_images([1.0, 2.0]), "images of type list"),
    ("moments of nan", lambda: Moments.of_images(X * NAN), "images", "nan"),
    ("moments of other shapes", lambda: Moments(X[0], X, X, X), "basis", "(d, k)"),
    ("moments of variance -1", lambda: Moments.isotropic((1,), -1), "variance = -1", ">= 0"),
    ("covariance of another size", lambda: Moments.of_covariance(torch.zeros(2), torch.eye(3)), "covariance (3, 3)"),
    ("crops of one axis", lambda: priors.Spectrum.of_crops(torch.ones(9)), "crops", "(9,)"),
    ("log_likelihood, rtol nan", likelihood(rtol=NAN), "rtol = nan", "(0, 1)"),
    ("log_likelihood, atol a text", likelihood(atol="1e-5"), "atol = '1e-5'", "number"),
    ("log_likelihood, t_min 0", likelihood(t_min=0), "t_min = 0", "(0, 1)"),
    ("log_likelihood, probe 3", likelihood(probe=3), "probe = 3", "rademacher"),
    ("log_likelihood, n_probes True", likelihood(n_probes=True), "n_probes = True", "integer"),
    ("log_likelihood, seed nan", likelihood(seed=NAN), "seed = nan", "integer"),
    ("log_likelihood, x nan", likelihood(x=LATENT * NAN), "x", "nan"),
    ("log_likelihood, x a list", likelihood(x=[0.0]), "x of type list"),
    ("log_likelihood, batch_size 0", likelihood(batch_size=0), "batch_size = 0", ">= 1"),
    ("log_likelihood of a text", likelihood(prior="natural"), "prior of type str", "priors.load"),
    ("bits_per_dim, levels 1.5", lambda: priors.bits_per_dim(GAUSSIAN, LATENT, levels=1.5), "levels = 1.5"),
    ("bits_per_dim, dequantize no", lambda: priors.bits_per_dim(GAUSSIAN, LATENT, dequantize="no"), "dequantize"),
    ("encode in nan steps", lambda: priors.encode(GAUSSIAN, LATENT, NAN), "n_steps = nan", "integer"),
    ("encode in 10^12 steps", lambda: priors.encode(GAUSSIAN, LATENT, 10**12), "n_steps", "<= 1000000"),
    ("decode, denoise yes", lambda: priors.decode(GAUSSIAN, LATENT, denoise="yes"), "denoise = 'yes'", "True or"),
    ("slerp by nan", lambda: priors.slerp(LATENT + 1, LATENT + 1, NAN), "weight = nan", "finite"),
    ("slerp of lists", lambda: priors.slerp([1.0], [2.0], 0.5), "z0 of type list"),
    ("temperature nan", lambda: priors.temper(LATENT, NAN), "temperature = nan", ">= 0"),
    ("temperature of a list", lambda: priors.temper([1.0], 1.0), "z of type list"),
    ("log_density in 0 steps", lambda: priors.log_density(GAUSSIAN, LATENT, 0.5, 0), "n_steps = 0", ">= 1"),
    ("log_density at t = 3", lambda: priors.log_density(GAUSSIAN, LATENT, 3), "t = 3", "time"),
    ("nodes True", lambda: priors.log_density_along(GAUSSIAN, LATENT, 0.5, True), "nodes = True", "integer"),
    ("streams of -1 rows", lambda: priors.RowRNG.rows(0, -1), "n = -1", ">= 0"),
    ("denoiser, sigma_as of text", denoiser(sigma_as="row"), "sigma_as = 'row'", "rows"),
    ("denoiser, sigma_as True", denoiser(sigma_as=True), "sigma_as = True", "rows"),
    ("denoiser, differentiable yes", denoiser(differentiable="yes"), "differentiable = 'yes'", "True or False"),
    ("denoiser, moments of images", denoiser(moments=X), "moments of type Tensor", "Spectrum"),
    ("denoiser, moments of another shape", denoiser(moments=Moments.isotropic((2,))), "(2,)", "(1,)"),
    ("denoiser of sigma_max a text", denoiser(sigma_max="1"), "sigma_max = '1'", "number"),
]  # fmt: skip


@pytest.mark.parametrize("call", CALLS, ids=[call[0] for call in CALLS])
def test_a_bad_call_is_refused_by_name(call):
    refused(*call)


@pytest.mark.parametrize("sde", [VPSDE(), SubVPSDE(), VESDE()], ids=["vp", "subvp", "ve"])
@pytest.mark.parametrize("t", [0.0, torch.tensor(0.0), torch.zeros(2)], ids=["float", "scalar", "rows"])
def test_a_network_at_time_0_is_that_of_clean_images(sde, t):
    """VP and sub-VP have no noise there: log(sigma / alpha) is -inf, and (alpha D - x) / sigma^2 is 0 / 0."""
    prior = score_prior(sde)
    at = sde.least  # 0 for VE, which has noise at every time
    assert torch.equal(prior.denoise(X, t), prior.denoise(X, at)) and torch.equal(prior.score(X, t), prior.score(X, at))
    assert bool(prior.score(X, t).isfinite().all())
    if sde.sigma(0.0) == 0:
        torch.testing.assert_close(prior.denoise(X, t), X, atol=1e-2, rtol=0)

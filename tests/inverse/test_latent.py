"""Posteriors through a decoder: of a PCA decoder they are known exactly, of a bent one by brute force."""

import warnings
from dataclasses import replace

import pytest
import torch

from inverse import METHODS, examine, plan, sample, solve
from inverse.auto import choose
from inverse.guidance import MMPS, PSLD, Linearized
from operators import Blur, Decoder, GaussianNoise, Linearization, LinearMap, Masking
from priors import VESDE, Evaluations, Gaussian, Latent
from tests.cases import F64, SDES, draw, gaussian, moments, normal, two_modes, w2_ratio

D, K = 16, 5  # numbers of a picture and of a latent
BASIS = torch.linalg.qr(normal(D, K, seed=1)).Q * torch.linspace(1.5, 0.5, K, dtype=F64)
OFFSET = normal(D, seed=2)
OPERATOR = LinearMap(normal(4, D, seed=5).float(), noise=GaussianNoise(0.1))


def affine(z):
    return OFFSET.to(z) + z @ BASIS.to(z).mT


def latents(x):
    return (x.double() - OFFSET) @ torch.linalg.pinv(BASIS).mT


def measured(prior, operator=OPERATOR, seed=0):
    """y of the picture of one draw of latents, and the exact posterior of the latents."""
    y = operator.measure(affine(prior.sample(1, seed=9 + seed)), seed=3 + seed)
    of_latents = LinearMap((operator.matrix.double() @ BASIS).float(), noise=GaussianNoise(0.1))
    return y, prior.posterior(of_latents, y - operator(OFFSET[None].float()))


@pytest.mark.parametrize("name", ["ve", "flow"])
def test_moment_matching_through_a_pca_decoder(name):
    """Exact, as it is on a Gaussian without a decoder: an affine decoder is its own linearization."""
    prior, n = gaussian(SDES[name], K), 300
    y, truth = measured(prior)
    solution = solve(Latent(prior, latents, affine), OPERATOR, y, n, "linearized", 16, progress=False)
    assert solution.samples.shape == (1, n, D)
    found = latents(solution.samples[0])
    error, ratios = moments(found, truth)
    assert w2_ratio(found, truth, n=n) < 1.2
    assert error < 4
    assert 0.85 < float(ratios.mean()) < 1.15
    assert (ratios - ratios.mean()).abs().max() < 4 * (2 / n) ** 0.5
    assert w2_ratio(prior.sample(n, seed=5).double(), truth, n=n) > 2, "a test that the prior itself would pass"


@pytest.mark.parametrize("name", [pytest.param("ve", marks=pytest.mark.slow), "vp"])
def test_a_mixture_of_latents_by_default(name):
    """Of several modes moment matching alone has wrong shares: they are weighted, and the default does it."""
    prior, n = two_modes(SDES[name], K), 400
    found: dict[str, list[float]] = {"auto": [], "linearized": []}
    for seed in (0, 10, 50):
        operator = LinearMap(normal(4, D, seed=5 + seed).float(), noise=GaussianNoise(0.1))
        y, truth = measured(prior, operator, seed)
        for method, ratios in found.items():
            solution = solve(Latent(prior, latents, affine), operator, y, n, method, progress=False)
            ratios.append(w2_ratio(latents(solution.samples[0]), truth, n=n))
    assert max(found["auto"]) < 1.2
    assert max(found["linearized"]) > 1.5, "a problem that needs no weights"


def test_the_default_through_a_decoder():
    """Moment matching; weighted where this is affordable: few numbers, many samples."""
    operator, wide = OPERATOR @ Decoder(affine), LinearMap(normal(32, D).float(), GaussianNoise(0.1)) @ Decoder(affine)
    assert choose(operator, (K,), 100).method is METHODS["pivot-linearized"]
    assert choose(operator, (K,), 8).method is METHODS["linearized"]
    assert choose(wide, (K,), 100).method is METHODS["linearized"]
    assert choose(wide, (K,), 100, "exact").method is METHODS["pivot-linearized"]
    fast = choose(operator, (K,), 100, "fast")
    assert fast.method is METHODS["linearized"] and fast.n_steps == 9
    assert choose(operator, (K,), 8, differentiable=False).method.name not in ("linearized", "pivot-linearized")
    assert choose(operator, (K,), 8, network=True).method is METHODS["linearized"]


@pytest.mark.parametrize("method", ["exact", "pivot"])
def test_a_linear_decoder_keeps_a_measurement_linear(method):
    """An operator as decoder: methods for linear operators serve, here of a mixture of latents."""
    prior, decoder = two_modes(SDES["vp"], K), LinearMap(BASIS.float())
    y = OPERATOR.measure(decoder(prior.sample(1, seed=9)), seed=3)
    solution = solve(Latent(prior, None, decoder), OPERATOR, y, 300, method, progress=False)
    chosen = torch.multinomial(
        solution.log_weights[0].softmax(0), 300, True, generator=torch.Generator().manual_seed(0)
    )
    weighed = bool(solution.log_weights.std() > 0)
    found = solution.samples[0, chosen] if weighed else solution.samples[0]
    assert w2_ratio(found.double() @ torch.linalg.pinv(BASIS).mT, prior.posterior(OPERATOR @ decoder, y), n=300) < 1.2


def test_a_bent_decoder():
    """Two latents, a quadratic decoder: against the posterior on a fine grid."""
    prior = Gaussian(torch.tensor([0.3, -0.2]), torch.tensor([[0.5, 0.2], [0.2, 0.4]]), SDES["vp"])
    operator = LinearMap(torch.eye(2), noise=GaussianNoise(0.2))

    def bent(z):
        return torch.stack((z[:, 0] + 0.25 * z[:, 0] ** 2, z[:, 1] + 0.25 * z[:, 0] * z[:, 1]), 1)

    y = operator.measure(bent(torch.tensor([[0.8, 0.5]])), seed=3)
    line = torch.linspace(-3, 3, 301, dtype=F64)
    z = torch.cartesian_prod(line, line)
    weights = (prior.log_prob(z) + operator.log_likelihood(y, bent(z.float())).double()).softmax(0)
    mean = weights @ z
    std = (weights @ (z - mean) ** 2).sqrt()
    method = replace(METHODS["linearized"], guidance=Linearized(passes=3))
    found = draw(prior, method, 1000, 16, operator @ Decoder(bent), y)
    assert float(((found.mean(0) - mean) / std).abs().max()) < 0.2
    assert 0.8 < float((found.std(0) / std).min()) <= float((found.std(0) / std).max()) < 1.2


@pytest.mark.parametrize("steps", [1, 2, 8])
def test_of_a_linear_operator_it_is_mmps(steps):
    prior, operator = gaussian(SDES["vp"]), LinearMap(normal(3, 8, seed=5).float(), noise=GaussianNoise(0.1))
    y, x, t = normal(4, 3, seed=1).float(), normal(4, 8, seed=2).float(), torch.tensor(0.4, dtype=F64)
    both = [g.posterior(Evaluations(prior), operator, y) for g in (Linearized(1, steps), MMPS(steps))]
    torch.testing.assert_close(*(posterior.denoise(x, t) for posterior in both), rtol=0, atol=1e-5)
    assert (both[0].denoise(x, t) - prior.denoise(x, t)).abs().max() > 0.1


@pytest.mark.parametrize("outer", [Blur.gaussian(0.6, truncate=2), Masking.random((1, 4, 4), 0.5, seed=0)])
def test_products_with_the_jacobian(outer):
    """Against the whole Jacobian, a row of the batch at a time."""
    mix = normal(16, 6, seed=4)
    decoder = Decoder(lambda z: (z @ mix.to(z).mT).tanh().view(-1, 1, 4, 4), event_shape=(6,))
    operator, z, v = outer @ decoder, normal(3, 6, seed=1), normal(3, 6, seed=2)
    linear = Linearization(operator, z)
    forward, back = linear(v), linear.adjoint(linear(v))
    for i in range(3):
        jacobian = torch.autograd.functional.jacobian(lambda u: operator(u[None])[0], z[i]).reshape(-1, 6)
        torch.testing.assert_close(forward[i].flatten(), jacobian @ v[i])
        torch.testing.assert_close(back[i], jacobian.mT @ jacobian @ v[i])


def test_solve_shows_pictures_and_so_do_its_friends():
    prior = Latent(gaussian(SDES["vp"], K), latents, affine)
    y, _ = measured(prior.prior)
    drawn = sample(prior, 4, "ode", 5, progress=False)
    torch.testing.assert_close(drawn, affine(sample(prior.prior, 4, "ode", 5, progress=False)))
    torch.testing.assert_close(prior.pictures(prior.encode(drawn).float()), drawn, rtol=1e-4, atol=1e-4)
    whole = solve(prior, OPERATOR, y, 4, "linearized", 8, progress=False)
    parts = solve(prior, OPERATOR, y, 4, "linearized", 8, batch_size=3, progress=False)
    torch.testing.assert_close(whole.samples, parts.samples, rtol=1e-4, atol=1e-4)
    assert plan(prior, OPERATOR, y, 4, "linearized", 8).nfe == whole.nfe
    chi2 = examine(whole, OPERATOR, y).chi2
    assert chi2 is not None and chi2.shape == (1,)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert solve(prior, OPERATOR, y, 2, n_steps=4, progress=False).samples.shape == (1, 2, D)


def test_what_it_refuses():
    prior = gaussian(VESDE(), K)
    y, _ = measured(prior)
    with pytest.raises(TypeError, match=r"decoder = None: expected an object with __call__"):
        Latent(prior, None, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"expected a priors.Prior over latents"):
        Latent(affine, None, affine)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has no encoder"):
        Latent(prior, None, affine).encode(torch.zeros(1, D))
    with pytest.raises(ValueError, match=r"the encoder's latents of shape \(1, 16\): expected \(N, 5\)"):
        Latent(prior, lambda x: x, affine).encode(torch.zeros(1, D))
    with pytest.raises(ValueError, match=r"expected shape \(B, 4\) .*given \(1, 3\)"):
        solve(Latent(prior, None, affine), OPERATOR, torch.zeros(1, 3), progress=False)
    with pytest.raises(ValueError, match=r"'mmps' needs an operator that is .*'linear'"):
        solve(Latent(prior, None, affine), OPERATOR, y, method="mmps", progress=False)


# methods from papers on latent diffusion ------------------------------------------------------------------------------


def coded(x):
    """The encoder of the PCA decoder, in the precision of pictures x."""
    return (x - OFFSET.to(x)) @ torch.linalg.pinv(BASIS).mT.to(x)


@pytest.mark.parametrize(("method", "least", "most"), [("psld", 1.2, 2.5), ("resample", 1.4, 3.5)])
def test_how_far_they_are_from_the_exact_posterior(method, least, most):
    """Nearer than draws of the prior, but no exact draws: docs/methods.md says so."""
    prior, n = gaussian(SDES["vp"], K), 300
    y, truth = measured(prior)
    solution = solve(Latent(prior, coded, affine), OPERATOR, y, n, method, progress=False)
    assert least < w2_ratio(latents(solution.samples[0]), truth, n=n) < most
    assert w2_ratio(prior.sample(n, seed=5).double(), truth, n=n) > 1.2 * most


def test_the_gluing_term_of_psld():
    """Its gradient in closed form: an affine decoder and encoder make the gap affine."""
    prior, z = Latent(gaussian(SDES["vp"], K), coded, affine), normal(3, K, seed=7).float()
    y = normal(3, 4, seed=8).float()
    steps = {}
    for gamma in (0.0, 2.0):
        posterior = PSLD(gamma=gamma).posterior(Evaluations(prior), OPERATOR @ Decoder(affine), y)
        steps[gamma] = posterior.descent(z)
    a, inverse = OPERATOR.matrix.double(), torch.linalg.pinv(BASIS)
    back = inverse @ a.mT / torch.linalg.matrix_norm(a, 2) ** 2  # y -> latents
    gap = (affine(z).double() @ a.mT - y.double()) @ back.mT
    slope = gap / gap.norm(dim=1, keepdim=True) @ (back @ a @ BASIS)
    torch.testing.assert_close((steps[0.0] - steps[2.0]).double(), 2 * slope, rtol=1e-2, atol=1e-3)
    residual = affine(z).double() @ a.mT - y.double()
    torch.testing.assert_close(
        -steps[0.0].double(), residual / residual.norm(dim=1, keepdim=True) @ a @ BASIS, rtol=1e-3, atol=1e-4
    )
    with pytest.raises(ValueError, match="psld needs an encoder"):
        solve(Latent(prior.prior, None, affine), OPERATOR, y[:1], 1, "psld", 5, progress=False)


@pytest.mark.parametrize("encoder", [coded, None])
def test_samples_of_resample_agree_with_y(encoder):
    """Through a bent decoder, with and without an encoder, to the noise of y."""

    def bent(z):
        return affine(z) + 0.1 * affine(z).sin()

    prior = gaussian(SDES["vp"], K)
    y = OPERATOR.measure(bent(prior.sample(2, seed=9)).float(), seed=3)
    solution = solve(Latent(prior, encoder, bent), OPERATOR, y, 4, "resample", 60, progress=False)
    residual = y[:, None] - OPERATOR(solution.samples.flatten(0, 1)).view(2, 4, 4)
    assert float(residual.square().mean(2).max()) < 1.1 * 0.1**2  # 200 iterations may leave a little
    drawn = OPERATOR(bent(prior.sample(8, seed=1)).float()).view(2, 4, 4)
    assert float((y[:, None] - drawn).square().mean(2).min()) > 10 * 0.1**2

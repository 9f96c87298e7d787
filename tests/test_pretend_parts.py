"""The parts of operators, noises and priors under a pretend device: what solves use of them, one by one."""

import pytest
import torch

import inverse
import operators
import priors
from inverse.quality.scale import middle
from operators import SVDOperator
from operators.noise import Categorical
from priors import VESDE, Gaussian, Spectrum, Tiled, losses
from priors.losses import WEIGHTS, perturb
from priors.nets import LocalConfig, LocalUNet
from priors.score_prior import PREDICTIONS
from tests.operators.noise_cases import NOISES
from tests.pretend import Pretend, pretended
from tests.priors.cases import classifier, data_set, mixture, score_prior
from tests.test_pretend import ALL, compare, there

pytestmark = pytest.mark.filterwarnings("ignore")
SVD = [label for label, case in ALL if isinstance(case.make(), SVDOperator) and "noiseless" not in label]


@pytest.mark.parametrize("name", NOISES)
def test_noises(name):
    noise, values = NOISES[name]
    y = torch.tensor([values, values[::-1]]).view(2, 1, 2, 2)
    clean = y.abs().flip(-1) + 0.1

    def parts(noise, y, clean):
        found = [noise.mean(clean), noise.variance(clean), noise.log_prob(y, clean), noise.log_density(y, clean)]
        return [*found, noise.encode(y, clean), noise.quasi_score(y, clean), noise.information(clean)]

    compare(parts, noise, y, clean)
    compare(lambda n, clean: n.sample(clean, torch.Generator().manual_seed(0)), noise, clean)
    if name != "transmission":  # the laws of rates that the method "ep" asks for
        compare(lambda n, y, m: [*n.tilted(y, m, 0.1 + 0 * m), n.log_marginal(y, m, 0.1 + 0 * m)], noise, y, clean)
    with pretended():
        there(noise).validate(there(y.clamp_min(0.01) if name == "speckle" else y), (1, 2, 2))


def test_parts_of_pictures():
    compare(lambda x: [middle(x, 4)], torch.rand(2, 1, 6, 8))


def test_labels():
    logits = torch.tensor([[0.1, 2.0, -1.0], [0.3, 0.2, 0.1]]).log_softmax(1)

    def parts(noise, y, clean):
        return [noise.mean(clean), noise.variance(clean), noise.log_prob(y, clean), noise.encode(y, clean)]

    compare(parts, Categorical(), torch.tensor([1, 2]), logits)


@pytest.mark.parametrize("label", SVD)
def test_singular_vectors(label):
    case = dict(ALL)[label]
    operator = case.make().at(case.event_shape)
    x = torch.rand(operator.batch or 2, *case.event_shape, generator=torch.Generator().manual_seed(1))
    x = x.double() if any(b.dtype == torch.float64 for b in operator.buffers()) else x

    def parts(op, x, y):
        z = op.Vt(x)
        return [z, op.V(z), op.U(op.spectrum(z) * z), op.Ut(y), op.spectrum(z), op.singular_values.to(x.device)]

    compare(parts, operator, x, operator(x))


def test_power_spectra():
    spectrum = Spectrum((0.3,), ((1.0,),), (4e-4,), (2.4,), (0.012,))
    moments, x = spectrum.sized((1, 6, 8)), torch.rand(2, 1, 6, 8)

    def parts(x):
        own = moments.to(x.device)
        return [own.apply(torch.sqrt, x), own.axes(x), own.channels(x), own.periodic(torch.sqrt), own.mean]

    compare(parts, x)
    with pretended() as device:
        moved = moments.to(device)
        drawn = moved.draw(2, priors.RowRNG.rows(0, 2, device=device))
        assert isinstance(drawn, Pretend) and moved.low_rank(torch.sqrt) is None
        assert moved.average(torch.sqrt) == pytest.approx(moments.average(torch.sqrt))


def test_tiles_and_their_derivative():
    network = LocalUNet(LocalConfig(channels=(4, 4), blocks=(1, 1), image_channels=1))
    tiled = Tiled(priors.ScorePrior(network, VESDE(), (1, 24, 24), "preconditioned"), 8)
    x = torch.rand(1, 1, 24, 24)

    def parts(prior, x):
        denoised, vjp = prior.denoise_vjp(x, 0.4)
        return [prior.denoise(x, 0.4), denoised, vjp(x)]

    compare(parts, tiled, x)
    compare(lambda prior, x: prior.in_bfloat16().denoise(x, 0.4).float(), tiled, x, tolerance=2e-2)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_predictions_of_networks(prediction):
    sde = priors.sde.LadderSDE.ddpm(n=50) if prediction in ("ddpm", "smld") else VESDE()
    try:
        prior = score_prior(sde, prediction=prediction)
    except (ValueError, TypeError) as error:
        pytest.skip(str(error))
    compare(lambda p, x: p.denoise(x, 0.4), prior, torch.rand(2, *prior.event_shape))


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_of_losses(name):
    prior, t = score_prior(), torch.tensor([0.2, 0.7])
    x, z = torch.rand(2, *prior.event_shape), torch.randn(2, *prior.event_shape)
    compare(lambda x, t, z: [WEIGHTS[name](prior.sde, t, 0.25), perturb(prior.sde, x, t, z)], x, t, z)


def test_compositions_and_their_derivatives():
    noise = operators.GaussianNoise(0.1)
    blur = operators.Blur(torch.rand(3, 3), noise=noise)
    parts = [operators.Saturation(noise=noise), operators.Downsampling(2, noise=noise)]
    stack = operators.Stack(parts).at((1, 6, 6))
    x = torch.rand(2, 1, 6, 6)
    compare(lambda op, x: op.vjp(x, op(x)), stack, x)
    behind = operators.Transmission(operators.PoissonNoise(50.0)) @ blur
    compare(lambda op, x: op.linear_part()[0](x), behind.at((1, 6, 6)), x)
    compare(lambda op: op.transfer((1, 6, 6), torch.float32).abs(), blur)
    compare(lambda op, v: op.cosine_power(v), operators.Downsampling(2, noise=noise).at((1, 6, 6)), torch.rand(1, 6, 6))


def test_losses():
    prior, ladder = score_prior(), score_prior(priors.sde.LadderSDE.ddpm(n=50), prediction="ddpm")
    x, z = torch.rand(2, *prior.event_shape), torch.randn(2, *prior.event_shape)
    t, u = torch.tensor([0.2, 0.7]), torch.tensor([0.1, 0.8])
    compare(lambda p, x, t, z: losses.denoising_score_matching(p, x, t, z, target=x * 0.9), prior, x, t, z)
    compare(lambda p, x, t, z: losses.sliced_score_matching(p, x, t, z, z.sign()), prior, x, t, z)
    compare(lambda p, x, n, z: losses.ddpm(p, x, n, z), ladder, x, torch.tensor([3, 40]), z)
    compare(lambda u: [losses.likelihood_times(prior.sde, u), losses.likelihood_density(prior.sde, u)], u)
    smld = score_prior(priors.sde.LadderSDE.smld(0.01, 10.0, 20), prediction="smld")
    compare(lambda p, x, n, z: losses.smld(p, x, n, z), smld, x, torch.tensor([3, 12]), z)


def test_evidence_and_means():
    prior = Gaussian(torch.zeros(9), torch.eye(9), VESDE(), event_shape=(1, 3, 3))
    operator = operators.Masking(torch.ones(1, 3, 3), operators.GaussianNoise(0.5))
    y = operator.measure(torch.rand(1, 1, 3, 3), seed=0)
    few = {"n_samples": 4, "levels": 2, "method": "mmps", "n_steps": 3}
    expected = inverse.log_evidence(prior, operator, y, **few)
    mean = inverse.posterior_mean(prior, operator, y, 0.5, 4, method="mmps", n_steps=3)
    with pretended():
        given = there(prior), there(operator), there(y)
        found = inverse.log_evidence(*given, **few)
        assert float(found.value) == pytest.approx(float(expected.value), abs=2e-2)
        assert len(inverse.compare(given[0], {"a": given[1], "b": given[1]}, given[2], **few).names) == 2
        there_mean = inverse.posterior_mean(*given, 0.5, 4, method="mmps", n_steps=3)
        assert isinstance(there_mean.mean, Pretend)
        torch.testing.assert_close(there_mean.mean.cpu(), mean.mean, rtol=2e-3, atol=2e-3)


def test_what_mixtures_and_pictures_know():
    prior, images = mixture(VESDE()), data_set(VESDE())
    operator = operators.Masking(torch.tensor([1.0, 0.0, 1.0]), operators.GaussianNoise(0.3), event_ndim=1)
    y = operator.measure(torch.ones(1, 3), seed=0)
    compare(lambda p, x: p.responsibilities(x, 0.3), prior, torch.ones(2, 3))
    compare(lambda p, op, y: [p.log_evidence(op, y), p.posterior(op, y).ess], images, operator, y)
    compare(lambda c, x: c.features(x, 0.3), classifier(), torch.rand(2, 1, 8, 8))

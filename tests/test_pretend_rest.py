"""What no solve and no file needs, under a pretend device: bridges to deepinv, wrappers and small parts."""

import numpy as np
import pytest
import torch
from torch import nn

import inverse
import operators
import priors
from inverse import METHODS
from inverse.protocols import Plain, Posterior, StatefulPosterior
from operators import GaussianNoise, Linearization, Masking
from priors import VESDE, Evaluations, Gaussian, Latent, Slices, Units
from priors.base import Wrapped
from priors.likelihood import dequantise
from tests.pretend import DEVICE, Pretend, pretended
from tests.priors.cases import data_set, score_prior
from tests.test_pretend import FEW, compare, there

pytestmark = pytest.mark.filterwarnings("ignore")
SHAPE = (1, 8, 8)
X = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0))
OPERATOR = Masking(torch.tensor([1.0, 0.0]).repeat(32).view(SHAPE), GaussianNoise(0.1))
PRIOR = Gaussian(torch.full((64,), 0.5), 0.04 * torch.eye(64), VESDE(), event_shape=SHAPE)


def test_physics_of_deepinv():
    theirs = pytest.importorskip("deepinv").physics
    mask = OPERATOR.mask.float().expand(SHAPE).contiguous()
    physics = theirs.Inpainting(SHAPE, mask=mask, noise_model=theirs.GaussianNoise(0.1))
    operator = operators.from_deepinv(physics, SHAPE)
    compare(lambda op, x: [op(x), op.support, op.adjoint(op(x))], operator, X)
    compare(lambda op, x: op.events.unpack(op.measurements.pack(x)), operator, X)
    with pretended():
        moved = there(operator)
        moved.check_event_shape(SHAPE)
        assert moved.measurement_shape(SHAPE) == SHAPE
        imported = operators.from_deepinv(physics.to(DEVICE), SHAPE)
        torch.testing.assert_close(imported(there(X)).cpu(), operator(X))
        exported = operators.to_deepinv(there(OPERATOR), SHAPE)
        torch.testing.assert_close(exported.A(there(X)).cpu(), OPERATOR(X))


def test_denoisers_and_reconstructors_of_deepinv():
    pytest.importorskip("deepinv")
    y = OPERATOR.measure(X, seed=0)
    with pretended():
        denoiser = priors.to_deepinv(there(PRIOR))
        torch.testing.assert_close(
            denoiser(there(X), 0.3).cpu(), priors.to_deepinv(PRIOR)(X, 0.3), rtol=1e-4, atol=1e-4
        )
        again = priors.from_deepinv(denoiser, SHAPE, sigma_min=0.01, sigma_max=50.0)
        assert isinstance(again.denoise(there(X), 0.5), Pretend)
        physics = operators.to_deepinv(there(OPERATOR), SHAPE)
        found = inverse.to_deepinv("mmps", there(PRIOR), n_samples=2, n_steps=3)(there(y), physics)
    own = inverse.to_deepinv("mmps", PRIOR, n_samples=2, n_steps=3)(y, operators.to_deepinv(OPERATOR, SHAPE))
    torch.testing.assert_close(found.cpu(), own, rtol=2e-3, atol=2e-3)


def test_what_surrounds_a_prior():
    latent = Latent(score_prior(), nn.AvgPool2d(2), nn.Upsample(scale_factor=2))
    compare(lambda p, x: [p.pictures(x), p.in_bfloat16().denoise(x, 0.4).float()], latent, X, tolerance=2e-2)
    compare(lambda p, x: p.encode(x), latent, torch.rand(2, 1, 16, 16))
    known = Latent(PRIOR, None, nn.Upsample(scale_factor=2))
    compare(lambda p, x: [p.log_prob(x, 0.4)], known, X)
    compare(lambda p, x: p.pictures(x), PRIOR, X)
    with pretended():
        network = there(score_prior())
        wrapped = Wrapped(network)
        assert (wrapped.doubt, wrapped.differentiable, wrapped.device) == (network.doubt, True, DEVICE)
        assert wrapped.bfloat16_loss is None and there(latent).bfloat16_loss is None
        assert isinstance(Evaluations(network).in_bfloat16().denoise(there(X), 0.4), Pretend)
        assert priors.load("natural-grey").resized((1, 16, 16)).to(DEVICE).least_size == 9
        with pytest.raises(ValueError, match="no network"):
            there(PRIOR).in_bfloat16()
        with pytest.raises((ValueError, TypeError, NotImplementedError)):
            there(PRIOR).resized((1, 9, 9))
        volume = Slices(there(priors.load("natural-grey").resized((1, 16, 16))), 3, coupling=0.1)
        x = torch.rand(1, *volume.event_shape, device=DEVICE)
        assert volume.moments is None or isinstance(volume.moments.to(DEVICE).apply(torch.sqrt, x), Pretend)
    classes = score_prior()
    with pytest.raises(ValueError, match="class"), pretended():
        there(classes).conditioned(0)


def test_moments_and_pictures():
    moments = PRIOR.moments
    spectrum = priors.Spectrum((0.3,), ((1.0,),), (4e-4,), (2.4,), (0.012,))
    with pretended():
        assert spectrum.sized(SHAPE).to(DEVICE).mean.device == DEVICE
        assert there(moments).rough == moments.approximate
        sized = priors.load("natural-grey").resized((1, 16, 16)).to(DEVICE).moments
        assert sized.rough == sized.approximate
    unit = Units("HU", -1000.0, 3000.0)
    compare(lambda x: [unit.physical(x), unit.image(unit.physical(x))], X)
    compare(lambda x: dequantise(x, 3), (255 * X).round() / 255)
    images = data_set(VESDE())
    operator = Masking(torch.tensor([1.0, 0.0, 1.0]), GaussianNoise(0.3), event_ndim=1)
    y = operator.measure(torch.ones(1, 3), seed=0)
    compare(lambda p, op, y: p.posterior(op, y).indices(4, seed=1), images, operator, y)
    ladder = priors.sde.LadderSDE.ddpm(n=50)
    with pretended():
        assert ladder.t_min == 1 / 50


def test_parts_of_operators(tmp_path):
    np.save(tmp_path / "k.npy", np.full((3, 3), 1 / 9, np.float32))
    blur = operators.Blur.from_file(tmp_path / "k.npy", noise=GaussianNoise(0.1))
    compare(lambda op, x: op(x), blur, X)
    identity = operators.Identity(GaussianNoise(0.1))
    compare(lambda op, v: op.cosine_power(v), identity, torch.rand(SHAPE))
    compare(lambda op: op.step, operators.JPEG(torch.tensor([30.0, 60.0])))
    camera = operators.PoissonGaussianNoise.from_camera(2.0, 3.0, 1000.0, 100.0)
    compare(lambda n, x: [n.variance(x), n.sample(x, torch.Generator().manual_seed(0))], camera, X)
    curve = operators.Saturation(noise=GaussianNoise(0.1)).at(SHAPE)

    def derivative(op, x):
        linear = Linearization(op, x)
        return [linear(x), linear.adjoint(x), *([] if linear.support is None else [linear.support])]

    compare(derivative, OPERATOR, X)  # of a linear one: torch's forward derivatives crash on tensors of Python
    compare(lambda op, x: op.linear_part()[0](x), operators.Transmission(operators.PoissonNoise(50.0)), X)
    with pretended():
        with pytest.raises(ValueError, match="entrywise"):
            there(operators.JPEG(50)).linear_part()
        linear = Linearization(there(curve), there(X))
        assert "gaussian" in linear.capabilities and linear.known_shape(SHAPE) == SHAPE
        stack = operators.Stack([there(curve), there(curve)]).at(SHAPE)
        assert "gaussian" in stack.capabilities and "gaussian" in there(GaussianNoise(0.1)).capabilities
        assert operators.Resize(2, noise=GaussianNoise(0.1)).to(DEVICE).largest((1, 4, 4)) == SHAPE
        tooth = operators.Downsampling(2, noise=GaussianNoise(0.1)).at(SHAPE).to(DEVICE)
        assert isinstance(
            tooth.gram_preconditioner(tooth(there(X)), torch.tensor(0.5, device=DEVICE))(tooth(there(X))), Pretend
        )


def test_what_is_made_on_the_device_or_moved_there(tmp_path):
    """Constructors from files and figures of a camera make tensors on the CPU, which move as a whole."""
    np.save(tmp_path / "k.npy", np.arange(9, dtype=np.float32).reshape(3, 3))
    blur = operators.Blur.from_file(tmp_path / "k.npy")
    camera = operators.PoissonGaussianNoise.from_camera(2.0, 3.0, 1000.0, 100.0)
    with pretended():
        moved = operators.Blur.from_file(tmp_path / "k.npy", noise=GaussianNoise(0.1)).to(DEVICE)
        torch.testing.assert_close(moved(there(X)).cpu(), blur(X))
        noise = operators.PoissonGaussianNoise.from_camera(2.0, 3.0, 1000.0, 100.0).to(DEVICE)
        torch.testing.assert_close(noise.variance(there(X)).cpu(), camera.variance(X))
        assert noise.capabilities == {"numeric", "density"} and isinstance(noise.log_prob(there(X), there(X)), Pretend)


@pytest.mark.parametrize("operator", [operators.Blur(torch.arange(9.0).view(3, 3) / 36), operators.Bayer("RGGB")])
def test_operators_that_are_often_meant_are_where_the_stated_one_is(operator):
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert len(operators.variants(operator)) >= 2
    compare(lambda op, x: [other(x) for other in operators.variants(op).values()], operator.at((3, 8, 8)), x)
    with pretended():
        assert operators.variants(there(OPERATOR)) == {}


def test_operators_that_are_no_convolution_have_no_factors():
    blur = operators.Blur(torch.full((3, 3), 1 / 9)).at(SHAPE)
    compare(lambda op: op.transfer(SHAPE, torch.float32), blur)
    with pretended():
        assert there(OPERATOR).transfer(SHAPE, torch.float32) is None
        assert there(OPERATOR).cosine_power(there(torch.ones(SHAPE))) is None


class ByScore(priors.Prior):
    """A Gaussian of mean .5 and variance .04 in each pixel, by its score alone; without a device of its own."""

    def __init__(self):
        self.sde, self.event_shape = VESDE(), SHAPE

    def score(self, x, t):
        return (0.5 * self.sde.alpha(t) - x) / (0.04 * self.sde.alpha(t) ** 2 + self.sde.sigma(t) ** 2)


def test_a_prior_of_one_s_own_by_its_score():
    compare(lambda p, x: p.denoise(x, 0.4), ByScore(), X)
    torch.testing.assert_close(ByScore().denoise(X, 0.4), PRIOR.denoise(X, 0.4), rtol=1e-4, atol=1e-4)
    with pretended():
        assert ByScore().device == torch.device("cpu")  # what it is until it says otherwise
        with pytest.raises(ValueError, match="y is on pretend:0 and the prior on cpu: move one"):
            inverse.solve(ByScore(), there(OPERATOR), there(OPERATOR.measure(X)), method="mmps", **FEW)


def test_k_space_along_any_trajectory():
    pytest.importorskip("finufft")
    points = torch.rand(40, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    operator = operators.NonCartesian(points, noise=GaussianNoise(0.1), event_shape=(2, 8, 8), channels=2)
    compare(lambda op, x: op.gridding(op(x)), operator, torch.rand(1, 2, 8, 8))
    with pretended():
        moved = there(operator)
        moved.load_state_dict(operator.state_dict())
        assert moved.trajectory.shape == (40, 2)


def test_methods_and_kernels():
    with pretended():
        prior, x = there(PRIOR), there(X)
        for method in (METHODS["mmps"], METHODS["pc"]):
            assert method.parts[0] is method.guidance and method.samples
        posterior = Posterior.__new__(type(METHODS["ode"].guidance.posterior(prior, None, None)))
        posterior.__init__(prior, None, None)
        assert posterior.log_likelihood(x, torch.tensor(0.4)).device == DEVICE
        assert isinstance(posterior.guess(2, PRIOR.moments, priors.RowRNG.rows(0, 2, device=DEVICE)), Pretend)
        kernel, t, s = METHODS["ode"].predictor, torch.tensor(0.5), torch.tensor(0.4)
        rng = priors.RowRNG.rows(0, 2, device=DEVICE)
        assert isinstance(Plain(kernel).transition(posterior, x, t, s, rng).mean, Pretend)
        multistep = METHODS["mmps"].predictor
        assert isinstance(multistep.transition(posterior, x, t, s, rng).mean, Pretend)
        daps = METHODS["daps"].guidance.posterior(prior, there(OPERATOR).at(SHAPE), there(OPERATOR.measure(X)), rng)
        assert isinstance(daps, StatefulPosterior)
        assert isinstance(daps.condition(kernel.transition(daps, x, t, s, rng), x, t, s).mean, Pretend)
        assert isinstance(
            inverse.solve(prior, there(OPERATOR), there(OPERATOR.measure(X)), method="daps", **FEW).mean, Pretend
        )

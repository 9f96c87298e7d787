"""One measurement of a batch, solved again alone; and priors in other forms and precisions."""

import numpy as np
import pytest
import torch

import inverse
import operators
import priors
from inverse import METHODS, Solution, solve
from operators import GaussianNoise, Masking, Operator
from tests.cases import SDES, Untouchable, picture, score_prior
from tests.inverse.test_solve import CONDITIONAL, close, problem

pytestmark = pytest.mark.filterwarnings("ignore::inverse.UnreliableWeights")
STEPS = {"n_steps": 3, "n_samples": 2, "progress": False}


@pytest.mark.parametrize("name", CONDITIONAL)
def test_one_of_a_batch_alone(name):
    prior, operator, y = problem(name)
    together = solve(prior, operator, y, method=name, **STEPS).samples
    alone = solve(prior, operator, y[2:], method=name, numbers=[2], **STEPS).samples
    close(alone[0], together[2])  # of another batch size: rounding


def test_with_masks_of_their_own_pairs_and_a_file(tmp_path):
    prior = picture(SDES["vp"])
    masks = torch.stack([Masking.random((1, 8, 8), 0.5, seed=k).mask for k in range(3)])
    operator = Masking(masks, noise=GaussianNoise(0.1))
    y = operator.measure(prior.sample(3), seed=1)
    how = STEPS | {"method": "mmps", "antithetic": True, "first": 4}
    together = solve(prior, operator, y, **how)
    alone = solve(prior, operator.rows(torch.tensor([2])), y[2:], numbers=torch.tensor([2]), **how)
    close(alone.samples[0], together.samples[2])
    close(alone.resample(4)[0], together.resample(4)[2])
    alone.save(tmp_path / "alone.h5")
    assert Solution.load(tmp_path / "alone.h5").numbers.tolist() == [2]
    with pytest.raises(ValueError, match="numbers"):
        alone.followed_by(solve(prior, operator.rows(torch.tensor([2])), y[2:], **(how | {"first": 6})))


@pytest.mark.parametrize("wrong", [[0], [0, 0, 1], [-1, 0, 1], [0, 1, True], 3, [0.0, 1.0, 2.0], "012"])
def test_numbers_out_of_range(wrong):
    with pytest.raises((TypeError, ValueError), match=r"numbers = .*expected"):
        solve(Untouchable((1, 8, 8)), *problem("mmps")[1:], method="mmps", numbers=wrong, **STEPS)


@pytest.mark.parametrize(("dtype", "least"), [(torch.bfloat16, 0.05), (torch.float16, 0.01), (torch.float64, 1e-4)])
def test_a_network_in_another_precision(dtype, least):
    """Samples stay float32, and differ by the rounding of the network alone."""
    prior, operator = score_prior(), Masking.random((1, 8, 8), 0.5, noise=GaussianNoise(0.1))
    y = operator.measure(torch.full((1, 1, 8, 8), 0.5), seed=1)
    expected = solve(prior, operator, y, method="mmps", **STEPS).samples
    found = solve(score_prior().to(dtype), operator, y, method="mmps", **STEPS).samples
    assert found.dtype == torch.float32
    assert (found - expected).square().mean().sqrt() < least


def shrink(x, sigma):
    return 0.5 + (x - 0.5) / (1 + sigma**2 / 0.05)


def with_rows(x, sigma):
    assert sigma.shape == (len(x),)
    return shrink(x, sigma.view(-1, 1, 1, 1))


def with_pixels(x, sigma):
    assert sigma.shape == (len(x), 1, 1, 1)
    return shrink(x, sigma)


def in_place(x, sigma):
    return x.sub_(0.5).div_(1 + sigma**2 / 0.05).add_(0.5)


DENOISERS = {  # and whether autograd goes through
    "float": (shrink, True),
    "rows": (with_rows, True),
    "pixels": (with_pixels, True),
    "tensor": (lambda x, sigma: shrink(x, sigma.square().sqrt()), True),
    "tuple": (lambda x, sigma: (shrink(x, sigma), None), True),
    "dict": (lambda x, sigma: {"sample": shrink(x, sigma), "other": x}, True),
    "in place": (in_place, True),
    "no_grad": (torch.no_grad()(shrink), False),
    "inference": (torch.inference_mode()(shrink), False),
    "numpy": (lambda x, sigma: shrink(x.numpy().astype(np.float64), sigma), False),
}


@pytest.mark.parametrize("name", DENOISERS)
def test_a_denoiser_of_any_form(name):
    denoiser, differentiable = DENOISERS[name]
    operator = Masking.random((1, 8, 8), 0.5, noise=GaussianNoise(0.1))
    y = operator.measure(torch.full((1, 1, 8, 8), 0.5), seed=1)
    prior, usual = (priors.from_denoiser(d, event_shape=(1, 8, 8)) for d in (denoiser, shrink))
    assert prior.differentiable == differentiable
    served = {m.name for m in METHODS.values() if m.conditional and not m.differentiates and m.name != "classifier"}
    for method in ("mmps", "dps", "exact", "pivot") if not differentiable else ():
        with pytest.raises(ValueError, match="needs the derivative of the prior's denoiser") as refused:
            solve(prior, operator, y, method=method, **STEPS)
        assert all(repr(other) in str(refused.value) for other in served)
    for method in ["auto", *(("mmps",) if differentiable else sorted(served) if name == "numpy" else ("diffpir",))]:
        found = solve(prior, operator, y, method=method, **STEPS)
        assert METHODS[found.method].differentiates <= differentiable
        close(found.samples, solve(usual, operator, y, method=found.method, **STEPS).samples)


def test_two_pictures_are_ambiguous():
    prior = priors.from_denoiser(lambda x, sigma: (x, x), event_shape=(1, 8, 8))
    with pytest.raises(ValueError, match=r"2 tensors of the shape.*lambda x, sigma"):
        prior.denoise(torch.rand(1, 1, 8, 8), 0.5)


class Numpy(Operator):
    def forward(self, x):
        return torch.from_numpy(np.sin(x.numpy()))


def test_an_operator_without_a_derivative():
    operator, y = Numpy(GaussianNoise(0.1)), torch.rand(1, 1, 8, 8)
    with pytest.raises(ValueError, match=r"Numpy\.forward has no gradient.*vjp\(x, v\)"):
        solve(Untouchable((1, 8, 8)), operator, y, method="dps", **STEPS)


@pytest.mark.parametrize("kind", ["Fourier", "coils", "NonCartesian", "Composition"])
def test_complex_kspace_is_taken_as_pairs(kind):
    """The same samples, plan and examination as from real and imaginary parts as two channels."""
    shape, noise = (1, 8, 8), GaussianNoise(0.1)
    operator = operators.Fourier.cartesian(shape, 2, noise=noise, coils=2 if kind == "coils" else None)
    if kind == "NonCartesian":
        operator = operators.NonCartesian.radial(shape, 4, noise=noise)
    if kind == "Composition":
        operator = operator @ operators.Blur.gaussian(0.6)
    prior = priors.Gaussian(torch.full((64,), 0.5), 0.05 * torch.eye(64), priors.VPSDE(), event_shape=shape)
    y = operator.measure(prior.sample(2, seed=0).float(), seed=1)
    axis = y.ndim + operator.complex_axis
    parts = y.unbind(axis)
    given = (4, "mmps", 4)
    pairs, numbers = (solve(prior, operator, v, *given, progress=False) for v in (y, torch.complex(*parts)))
    assert torch.equal(pairs.samples, numbers.samples)
    assert inverse.plan(prior, operator, torch.complex(*parts), *given).nfe == pairs.nfe
    torch.testing.assert_close(*(inverse.examine(pairs, operator, v).chi2 for v in (y, torch.complex(*parts))))
    with pytest.raises(TypeError, match=f"imag\\), {operator.complex_axis}\\)"):
        operator.validate_y(torch.complex(*parts), shape)
    with pytest.raises(TypeError, match="complex64"):
        masking = Masking(torch.ones(8, 8), noise=noise)
        solve(prior, masking, torch.complex(*(2 * [torch.zeros(1, *shape)])), *given, progress=False)

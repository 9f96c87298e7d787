"""Rows: every one that is registered answers, and is refused where it cannot."""

import copy

import pytest
import torch

import priors
from benchmarks.peers import PEERS
from benchmarks.suite import classical, measurements, methods
from benchmarks.suite.methods import ROWS, Row, find, method
from benchmarks.suite.problems import Spec
from inverse import METHODS
from operators import Blur, FanBeam, Fourier, GaussianNoise, Masking, PoissonNoise, Radon
from operators.coils import smooth_sensitivities

from .conftest import SHAPE

STEPS = {"repaint": 10, "splitgibbs": 10}
OWN = {"auto", "pivot"}  # these take no steps, or not so few
LINEAR = {"linear-mmse", "tv", "pinv"}
NAMES = [
    pytest.param(name, marks=pytest.mark.slow if name in ("exact", "auto") else ()) for name in methods.available()
]


@pytest.fixture(scope="module")
def posed(bench):
    """A mask, a motion blur, a sinogram and k-space of two pictures."""
    prior = priors.load(bench / "prior")
    made = []
    for operator in (
        {"name": "masking", "recipe": "random"},
        {"name": "blur", "recipe": "motion", "size": 5},
        {"name": "radon", "angles": 5},
        {"name": "fourier", "recipe": "cartesian", "acceleration": 2},
    ):
        spec = Spec(operator["name"], "t", str(bench / "prior"), operator, {"gaussian": 0.1}, images=2)
        made.append(measurements.make(spec, prior))
    return made


@pytest.mark.filterwarnings("ignore::inverse.weights.UnreliableWeights")  # of a few particles
@pytest.mark.parametrize("name", NAMES)
def test_every_row_answers_what_it_serves(posed, name):
    short = (name in METHODS and name not in OWN) or name in PEERS
    settings = {"steps": STEPS.get(name, 3)} if short else {}
    row = find(name, settings)
    served = [problem for problem in posed if row.serves(problem.operator, problem.prior)]
    assert served or name == "classifier", f"{name} serves no mask, blur, sinogram or k-space: add what it serves"
    for problem in served[:1]:
        n = 4 if name in ("tds", "mcgdiff", "pivot") else 2
        answer = row.run(problem.prior, problem.operator, problem.y, n, seed=0)
        assert answer.mean.shape == (2, *SHAPE) and bool(answer.mean.isfinite().all())
        assert (answer.samples is None) == (not row.posterior)
        if answer.samples is not None:
            assert answer.samples.shape == (2, n, *SHAPE) and answer.nfe > 0
        again = row.run(problem.prior, problem.operator, problem.y, n, seed=0)
        assert torch.equal(answer.mean, again.mean)
        facts = row.facts(problem.operator, problem.prior, n)
        first, second = (r.identity(problem.operator, problem.prior, n) for r in (row, find(name, settings)))
        assert first == second
        assert facts == {} or "steps" in facts


def test_linear_mmse_is_the_mean_of_the_gaussian_posterior(posed):
    for problem in posed:
        moments = problem.prior.moments
        covariance = moments.apply(lambda v: v, torch.eye(64).view(64, *SHAPE)).flatten(1).double()
        covariance = (covariance + covariance.T) / 2  # but for rounding it is symmetric
        gaussian = priors.Gaussian(moments.mean.flatten(), covariance, problem.prior.sde, event_shape=SHAPE)
        answer = find("linear-mmse").run(problem.prior, problem.operator, problem.y, 0, 0)
        for b in range(2):
            exact = gaussian.posterior(problem.operator, problem.y[b : b + 1]).mean
            torch.testing.assert_close(answer.mean[b].double(), exact, atol=2e-4, rtol=0)


def test_classical_rows_serve_what_they_can(posed):
    prior = posed[0].prior
    noise, photons = GaussianNoise(0.1), PoissonNoise(30.0)
    cases = [
        (Masking.random(SHAPE, noise=noise), LINEAR | {"biharmonic"}),
        (Masking.random(SHAPE, noise=photons), {"pinv", "biharmonic"}),
        (Blur.gaussian(1.0, noise=noise), LINEAR | {"wiener"}),
        (Blur.gaussian(1.0, "reflect", noise=noise), LINEAR),
        (Blur(torch.ones(2, 1, 2, 2) / 4, noise=noise), LINEAR),
        (Radon(5, noise=noise), LINEAR | {"fbp"}),
        (FanBeam(5, 30.0, noise=noise), LINEAR | {"fbp"}),
        (Fourier(torch.ones(8, 8), noise=noise), LINEAR | {"zero-filled"}),
        (Blur.gaussian(1.0), {"pinv", "wiener"}),  # no level: nothing to weigh by
    ]
    for operator, expected in cases:
        served = {name for name in ROWS if name not in PEERS and find(name).serves(operator, prior)}
        assert served == expected, operator
    bare = replace_moments(prior)
    assert not find("linear-mmse").serves(cases[0][0], bare)


def replace_moments(prior):
    """The same prior without moments."""
    twin = copy.copy(prior)
    twin.moments = None
    return twin


def test_names_of_rows_are_their_own(monkeypatch):
    monkeypatch.setattr(methods, "ROWS", dict(ROWS))
    for name in ("dps", "auto", "truth"):
        with pytest.raises(ValueError, match=r"is one of inverse\.METHODS"):
            method(name)(classical.TotalVariation)
    with pytest.raises(ValueError, match="the truth has a row of its own"):
        find("truth", {"method": "tv"})
    with pytest.raises(ValueError, match="method 'tv' is taken"):
        method("tv")(classical.Biharmonic)
    assert issubclass(method("tv")(classical.TotalVariation), Row)


def test_several_rows_of_one_method(posed):
    problem = posed[0]
    few, many = (find(name, {"method": "ddrm", "steps": steps}) for name, steps in (("ddrm, 2", 2), ("ddrm, 4", 4)))
    identities = [row.identity(problem.operator, problem.prior, 2) for row in (few, many)]
    assert identities[0] != identities[1] and few.facts(problem.operator, problem.prior, 2)["steps"] == 2
    assert find("ddrm", {"steps": 2}).identity(problem.operator, problem.prior, 2) == identities[0]
    mmps = find("mmps", {"guidance": {"steps": 7}}).chosen(problem.operator, problem.prior, 2).method
    assert mmps.guidance.steps == 7 and METHODS["mmps"].guidance.steps != 7


def test_a_row_of_another_toolkit_takes_its_settings_and_no_others(posed):
    problem = posed[0]
    few, many = (find(f"ddrm {n}", {"method": "deepinv ddrm", "steps": n}) for n in (3, 5))
    assert (
        few.run(posed[0].prior, problem.operator, problem.y, 2, 0).nfe
        < many.run(posed[0].prior, problem.operator, problem.y, 2, 0).nfe
    )
    assert few.identity(problem.operator, posed[0].prior, 2) != many.identity(problem.operator, posed[0].prior, 2)
    assert few.facts(problem.operator, posed[0].prior, 2)["eta"] == 0.85
    with pytest.raises(ValueError, match=r"settings \['zeta'\]: expected of"):
        find("deepinv ddrm", {"zeta": 1.0})


def test_the_pseudo_inverse_is_the_operators(posed):
    for problem in posed:
        answer = find("pinv").run(problem.prior, problem.operator, problem.y, 0, 0)
        assert torch.equal(answer.mean, problem.operator.pinv(problem.y))


def test_zero_filled_k_space_is_the_picture_where_all_is_measured(posed):
    """Of several coils too, whose sensitivities have sum of squares 1."""
    x = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    for maps in (None, smooth_sensitivities(3, SHAPE[1:])):
        operator = Fourier(torch.ones(SHAPE[1:]), maps)
        answer = find("zero-filled").run(posed[0].prior, operator, operator(x), 0, 0)
        torch.testing.assert_close(answer.mean, x, atol=1e-5, rtol=0)

"""solve and sample as a user calls them: seeds, batches, rows, counts, choices."""

import itertools
from dataclasses import replace

import pytest
import torch

import inverse
import operators
from inverse import METHODS, NonFiniteState, sample, solve
from inverse.predictors import DDIM, Ancestral, ProbabilityFlow
from operators import (
    Blur,
    Categorical,
    Classifier,
    GaussianNoise,
    Grayscale,
    LinearMap,
    Masking,
    Operator,
    PoissonNoise,
)
from priors import Gaussian
from tests.cases import SDES, Counting, NanFrom, gaussian, normal, picture

SDE = SDES["vp"]
KEPT: dict[str, torch.Tensor] = {}
STEPS = 12
CONDITIONAL = [name for name, m in METHODS.items() if m.conditional]
UNCONDITIONAL = [name for name, m in METHODS.items() if not m.conditional]


def halves(x, t):
    """A classifier of two classes: which half is brighter."""
    left, right = x.flatten(1).chunk(2, 1)
    return torch.stack([left.sum(1), right.sum(1)], 1) / (1 + torch.as_tensor(t).to(x))


def problem(name: str):
    """A prior, an operator that the method can serve, and three measurements."""
    candidates = [Masking.random((1, 8, 8), 0.5, noise=GaussianNoise(0.1)), Classifier(halves)]
    able = [operator for operator in candidates if METHODS[name].needs <= operator.capabilities]
    assert able, f"give {name} an operator that serves it here"
    prior = picture(SDE)
    return prior, able[0], able[0].measure(prior.sample(3, seed=5), seed=6)


def run(prior, operator, y, method, **arguments):
    steps = 4 if method == "exact" else STEPS  # it takes a Jacobian at every step
    arguments = {"n_samples": 2, "n_steps": steps, "seed": 0, "progress": False} | arguments
    return solve(prior, operator, y, method=method, **arguments).samples


def kept(what: str, compute):
    """Samples that several tests compare with."""
    return KEPT[what] if what in KEPT else KEPT.setdefault(what, compute())


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", CONDITIONAL)
def test_a_seed_fixes_every_sample(name):
    """Whatever the batch size, the number of samples or the other measurements."""
    prior, operator, y = problem(name)
    x = kept(name, lambda: run(prior, operator, y, name))
    assert x.shape == (3, 2, 1, 8, 8) and x.dtype == torch.float32
    for size in (1, 3, 100):
        close(run(prior, operator, y, name, batch_size=size), x)
    close(run(prior, operator, y[:2], name), x[:2])
    if METHODS[name].coupled:
        return  # particles of one measurement weigh each other: their number matters
    close(run(prior, operator, y, name, n_samples=1), x[:, :1])
    close(run(prior, operator, y, name, n_samples=5, batch_size=4)[:, :2], x)


@pytest.mark.parametrize("name", CONDITIONAL)
def test_samples_and_seeds_differ(name):
    prior, operator, y = problem(name)
    y = y[:1].expand(2, *y.shape[1:])  # the same measurement twice has samples of its own each time
    rows = [run(prior, operator, y, name, seed=seed).flatten(0, 1) for seed in (0, 1, 2**40)]
    for a, b in itertools.combinations(torch.cat(rows), 2):
        assert (a - b).abs().max() > 0.01


@pytest.mark.parametrize("name", UNCONDITIONAL)
def test_a_seed_fixes_unconditional_samples(name):
    prior, arguments = picture(SDE), {"method": name, "n_steps": STEPS, "progress": False}
    x = sample(prior, 4, **arguments)
    assert x.shape == (4, 1, 8, 8)
    for size in (1, 3, 100):
        close(sample(prior, 4, batch_size=size, **arguments), x)
    close(sample(prior, 2, **arguments), x[:2])
    assert (sample(prior, 4, seed=1, **arguments) - x).abs().amax((1, 2, 3)).min() > 0.01


def test_the_global_random_state_is_left_alone():
    prior, operator, y = problem("mmps")
    torch.manual_seed(3)
    before = torch.get_rng_state()
    x = run(prior, operator, y, "mmps")
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(4)
    assert torch.equal(run(prior, operator, y, "mmps"), x)


@pytest.mark.parametrize("size", [None, 1, 2])
@pytest.mark.parametrize("name", [n for n in CONDITIONAL if n != "classifier"])
def test_every_measurement_meets_its_own_mask(name, size):
    prior, noise = picture(SDE), GaussianNoise(torch.tensor([0.05, 0.1, 0.2]))
    masks = torch.stack([Masking.random((1, 8, 8), 0.5, seed=k).mask for k in range(3)])
    together = Masking(masks, noise=noise)
    y = together.measure(prior.sample(3, seed=5), seed=6)
    x = run(prior, together, y, name, batch_size=size)

    def alone(b):
        # sample k of measurement b is that of the same place in another batch
        operator = Masking(masks[b], noise=GaussianNoise(float(noise.sigma[b])))
        return run(prior, operator, y[b].expand(3, 1, 8, 8), name)[b]

    close(kept(f"alone {name}", lambda: torch.stack([alone(b) for b in range(3)])), x)


@pytest.mark.parametrize("name", CONDITIONAL)
def test_evaluations_are_counted(name):
    prior, operator, y = problem(name)
    counting = Counting(prior)
    solution = solve(counting, operator, y, n_samples=2, method=name, n_steps=STEPS, progress=False)
    assert counting.rows == 6 * solution.nfe
    assert solution.nfe >= STEPS
    assert solution.seconds > 0 and solution.method == name and solution.seed == 0
    assert solution.cite() == METHODS[name].citation != ""
    assert name != "repaint" or "RePaint" in solution.cite(), "a method's own paper goes before its guidance's"
    weighed = METHODS[name].weighted
    assert weighed or torch.equal(solution.log_weights, torch.zeros(3, 2))
    assert (solution.log_evidence is not None) == METHODS[name].evidence


def test_evaluations_of_each_step():
    """One per state: an ancestral step costs one, Heun's two, a corrector one more, and the last denoising one."""
    prior, operator, y = problem("mmps")
    nfe = {
        name: solve(prior, operator, y, 1, method, n_steps=STEPS, progress=False).nfe
        for name, method in {
            "ancestral": replace(METHODS["mmps"], predictor=Ancestral()),
            "heun": replace(METHODS["mmps"], predictor=ProbabilityFlow()),
            "corrected": replace(METHODS["mmps"], predictor=Ancestral(), correctors=METHODS["pc"].correctors),
        }.items()
    }
    assert nfe == {"ancestral": STEPS + 1, "heun": 2 * STEPS + 1, "corrected": 2 * STEPS + 1}


class Square(Operator):
    """A nonlinear measurement."""

    def forward(self, x):
        return x.square()


@pytest.mark.parametrize(
    ("operator", "picked"),
    [
        (Masking.random((1, 8, 8), 0.5, noise=GaussianNoise(0.1)), "mmps"),
        (Blur.gaussian(0.6, "reflect", noise=GaussianNoise(0.1)), "mmps"),
        (LinearMap(torch.ones(2, 64), GaussianNoise(0.1), event_shape=(1, 8, 8)), "mmps"),
        (Square(GaussianNoise(0.1)), "dps"),
        (Classifier(halves), "classifier"),
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
def test_auto_picks(operator, picked):
    prior = picture(SDE)
    y = operator.measure(prior.sample(1), seed=1)
    automatic = solve(prior, operator, y, n_samples=1, n_steps=3, progress=False)
    assert automatic.method == picked
    assert torch.equal(automatic.samples, run(prior, operator, y, picked, n_samples=1, n_steps=3))


def test_auto_says_where_nothing_serves():
    operator = Square(Categorical())
    with pytest.raises(ValueError, match="no method serves these: a differentiable forward and noise with a variance"):
        solve(picture(SDE), operator, torch.ones(1, dtype=torch.int64), progress=False)
    counts = Square(PoissonNoise(30.0))
    assert solve(picture(SDE), counts, torch.ones(1, 1, 8, 8), 1, n_steps=2, progress=False).method == "dps"


def test_a_composition_of_one_s_own():
    prior, operator, y = problem("mmps")
    mine = replace(METHODS["mmps"], name="mine", predictor=DDIM(0.3))
    solution = solve(prior, operator, y, n_samples=1, method=mine, n_steps=STEPS, progress=False)
    assert solution.method == "mine"
    assert (solution.samples - run(prior, operator, y, "mmps", n_samples=1)).abs().max() > 1e-3
    unconditional = replace(METHODS["pc"], correctors=())
    assert sample(prior, 2, unconditional, n_steps=STEPS, progress=False).shape == (2, 1, 8, 8)


def test_the_default_number_of_steps_is_the_method_s():
    prior, operator, y = problem("mmps")
    method = replace(METHODS["mmps"], predictor=Ancestral(), n_steps=7)
    assert solve(prior, operator, y, n_samples=1, method=method, progress=False).nfe == 8


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
@pytest.mark.parametrize("name", [n for n in CONDITIONAL if n != "classifier"])
def test_y_of_another_precision(name, dtype):
    """numpy makes float64, and a file may hold float16."""
    prior, operator, y = problem(name)
    y = y.half()
    single = kept(f"single {name}", lambda: run(prior, operator, y.float(), name))
    torch.testing.assert_close(run(prior, operator, y.to(dtype), name), single)


@pytest.mark.parametrize("name", [n for n in CONDITIONAL if n != "classifier"])
def test_what_was_not_measured_does_not_matter(name):
    prior, operator, y = problem(name)
    junk = torch.where(operator.support, y, 7.0)
    close(run(prior, operator, junk, name), kept(name, lambda: run(prior, operator, y, name)))


@pytest.mark.parametrize("name", [n for n in CONDITIONAL if n != "classifier"])
def test_a_noiseless_measurement(name):
    prior = picture(SDE)
    operator = Masking.random((1, 8, 8), 0.5)
    y = operator.measure(prior.sample(2, seed=5))
    if not METHODS[name].needs <= operator.capabilities:
        assert "density" in operators.Identity(GaussianNoise(0.1)).capabilities - operator.capabilities
        pytest.skip("needs the density of the noise")
    x = run(prior, operator, y, name, n_steps=30 if name == "exact" else 60)  # exact takes a Jacobian per step
    assert bool(x.isfinite().all())
    coupling = 0.15 if name == "splitgibbs" else 0.0  # its images are that far from what meets the measurement
    assert (operator(x.flatten(0, 1)) - y.repeat_interleave(2, 0)).abs().mean() < 0.1 + coupling


def test_colour():
    prior = Gaussian(torch.full((48,), 0.5), 0.05 * torch.eye(48), SDE, event_shape=(3, 4, 4))
    operator = Grayscale(noise=GaussianNoise(0.05))
    y = operator.measure(prior.sample(2, seed=1), seed=2)
    for name in CONDITIONAL:
        if METHODS[name].needs <= operator.capabilities:
            assert run(prior, operator, y, name).shape == (2, 2, 3, 4, 4)


def test_quiet(capfd):
    prior, operator, y = problem("mmps")
    run(prior, operator, y, "mmps", n_steps=2)
    sample(prior, 1, n_steps=2, progress=False)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("limit", [0.5, 0.002])
def test_a_state_that_is_not_finite(limit):
    """The message says where; the last denoising counts too."""
    prior = NanFrom(gaussian(SDE), limit)
    where = {0.5: r"step 8 of 12, from t = 0\.41725 to 0\.334", 0.002: r"the last of 12 steps, at t = 0\.001"}[limit]
    with pytest.raises(NonFiniteState, match=where + ".*: the state is not finite; take more steps"):
        sample(prior, 2, replace(METHODS["pc"], correctors=()), n_steps=STEPS, progress=False)


def test_the_public_names():
    assert set(inverse.__all__) >= {"METHODS", "Solution", "sample", "solve"}
    assert all(name == m.name for name, m in METHODS.items())
    assert {"pc", "replacement", "dps", "pigdm", "mmps", "classifier"} <= set(METHODS)


@pytest.mark.parametrize("event_shape", [(4,), (2, 3), (1, 2, 3)])
def test_any_event_shape(event_shape):
    d = torch.Size(event_shape).numel()
    prior = Gaussian(torch.zeros(d), torch.eye(d), SDE, event_shape=event_shape)
    operator = LinearMap(normal(2, d).float(), GaussianNoise(0.1), event_shape=event_shape)
    y = operator.measure(prior.sample(2), seed=1)
    assert run(prior, operator, y, "mmps").shape == (2, 2, *event_shape)


def test_samples_from_a_number_on():
    """Those of one solve, in parts."""
    prior, operator, y = problem("mmps")
    whole = run(prior, operator, y, "mmps", n_samples=5)
    close(run(prior, operator, y, "mmps", n_samples=3, first=2), whole[:, 2:])
    for wrong in (-1, True, 0.5):
        with pytest.raises((ValueError, TypeError), match="number of the first sample"):
            run(prior, operator, y, "mmps", first=wrong)

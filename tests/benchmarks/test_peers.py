"""Other toolkits' samplers on a Gaussian, whose posterior is known, and what is put around them."""

import ast
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.exact.problems import correlated_gaussian, image_mixture, random_map
from benchmarks.peers import PEERS, Draws, base, installed
from benchmarks.peers.azula_samplers import draw, network
from benchmarks.peers.base import Denoiser, Units, in_unit_interval, pose, standardised
from benchmarks.peers.deepinv_samplers import physics, picture
from operators import Blur, GaussianNoise, Grayscale, LinearMap, Masking, Operator, PoissonNoise
from priors import VESDE, VPSDE, Gaussian

D, M, N = 12, 5, 200
# fewer steps than by default, and a DPS that listens to y: deepinv's own weight of 1 all but ignores it
QUICK = {
    "deepinv ddrm": {"spacing": "geometric"},
    "deepinv diffpir": {"zeta": 1.0},
    "deepinv dps": {"steps": 100, "weight": 100.0},
    "deepinv moment matching": {"solver": "ddpm", "spacing": "quadratic", "cg": 5},
    "azula mmps": {"iterations": 5, "steps": 100, "schedule": "cosine"},
    "azula dps": {"steps": 200, "zeta": 0.3},
}
EXACT = ("deepinv moment matching", "azula mmps")  # on a Gaussian, but for the steps


class Curved(Operator):
    """A measurement that is not linear."""

    def forward(self, x):
        return x**2


class Forbidden(Gaussian):
    """A Gaussian that must not be evaluated."""

    def denoise(self, x, t):
        raise AssertionError("evaluated")


@pytest.fixture(scope="module")
def problem():
    """prior, operator, y: data far from [0, 1] and from variance 1, an operator with A A' far from the identity."""
    small = correlated_gaussian(VPSDE(), d=D)
    prior = Gaussian(5 * small.mean + 3, 25 * small.covariance, VPSDE())
    operator = random_map(D, M, 1.5)
    return prior, operator, operator.measure(prior.sample(1, seed=1), seed=0)


@pytest.fixture(params=PEERS)
def peer(request):
    if not installed(PEERS[request.param]):
        pytest.skip(f"{PEERS[request.param].package} is not installed, or too old")
    return PEERS[request.param]


def settings(peer):
    return QUICK.get(peer.name, {})


@pytest.fixture(scope="module")
def drawn(problem):
    """The draws of a peer, once."""
    kept: dict[str, Draws] = {}

    def of(peer):
        if peer.name not in kept:
            kept[peer.name] = peer.run(*problem, N, seed=0, **settings(peer))
        return kept[peer.name]

    return of


def test_it_draws_near_the_posterior(peer, problem, drawn):
    prior, operator, y = problem
    samples, exact = drawn(peer).samples, prior.posterior(operator, y)
    assert samples.shape == (N, D) and samples.dtype == torch.float32
    error = (samples.mean(0) - exact.mean).norm() / (prior.mean - exact.mean).norm()
    # the mean of N exact draws is off by sqrt(tr C / N)
    noise = (exact.covariance.trace() / N).sqrt() / (prior.mean - exact.mean).norm()
    assert error < 0.35 + 2 * noise
    # the residual of a posterior sample is near the noise's size, that of a prior sample far above
    residual = (y - operator(samples)).square().mean().sqrt()
    assert residual < 0.5 * (y - operator(prior.sample(N))).square().mean().sqrt()


@pytest.mark.parametrize("name", EXACT)
def test_moment_matching_is_exact_on_a_gaussian(name, problem, drawn):
    if not installed(PEERS[name]):
        pytest.skip(f"{PEERS[name].package} is not installed, or too old")
    prior, operator, y = problem
    samples, exact = drawn(PEERS[name]).samples, prior.posterior(operator, y)
    std = exact.covariance.diagonal().sqrt()
    # 4 standard errors of D means and D stds, and 5 % for the steps
    assert ((samples.mean(0) - exact.mean).abs() / std).max() < 4 / N**0.5 + 0.05
    assert (samples.std(0) / std - 1).abs().max() < 4 / (2 * N) ** 0.5 + 0.05


def test_the_seed_decides_and_global_numbers_stay(peer, problem):
    quick = {**settings(peer), "steps": 10}
    torch.manual_seed(3)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = peer.run(*problem, 4, seed=0, **quick)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002
    torch.manual_seed(4)
    assert torch.equal(peer.run(*problem, 4, seed=0, **quick).samples, first.samples)
    assert not torch.allclose(peer.run(*problem, 4, seed=1, **quick).samples, first.samples)


@pytest.mark.parametrize(
    "operator", [Curved(GaussianNoise(0.1)), Masking(torch.ones(D), PoissonNoise(10.0))], ids=["curved", "Poisson"]
)
def test_an_operator_it_cannot_serve_is_refused_first(peer, operator):
    prior = Forbidden(torch.zeros(D), torch.eye(D), VPSDE())
    with pytest.raises(ValueError, match=peer.name):
        peer.run(prior, operator, torch.zeros(1, D), 2, 0)


def test_wrong_arguments_are_refused_first(peer):
    prior, operator = Forbidden(torch.zeros(D), torch.eye(D), VPSDE()), random_map(D, M, 0.3)
    for y, n, more in (
        (torch.zeros(1, M + 1), 2, {}),
        (torch.zeros(2, M), 2, {}),
        (torch.zeros(1, M), 0, {}),
        (torch.zeros(1, M), 2, {"no_such": 1}),
    ):
        with pytest.raises(ValueError):
            peer.run(prior, operator, y, n, 0, **more)


@pytest.mark.parametrize(
    ("name", "change", "nfe", "nvjp"),
    [
        ("deepinv ddrm", {"steps": 7}, 7, 0),
        ("deepinv diffpir", {"steps": 7}, 7, 0),
        ("deepinv dps", {"steps": 7}, 6, 6),
        # conjugate gradients from 0, to which the matrix is applied all the same: one pass more than needed
        ("deepinv moment matching", {"steps": 7, "solver": "ddpm", "cg": 2}, 6, 24),
        ("azula mmps", {"steps": 7, "iterations": 2}, 7, 21),
        ("azula dps", {"steps": 7}, 7, 7),
        ("azula tds", {"steps": 7}, 7, 7),
    ],
)
def test_evaluations_and_backward_passes_are_counted(name, change, nfe, nvjp, problem, monkeypatch):
    if not installed(PEERS[name]):
        pytest.skip(f"{PEERS[name].package} is not installed, or too old")
    monkeypatch.setattr(base, "ROWS", 4 * D)  # batches of 4, 4 and 1: counts are per sample
    draws = PEERS[name].run(*problem, 9, 0, **change)
    assert (draws.nfe, draws.nvjp) == (nfe, nvjp) and draws.samples.shape == (9, D) and draws.seconds > 0


def test_every_entry_of_a_grid_is_a_setting(peer):
    assert 3 <= len(peer.grid) <= 6 and peer.grid[0] == {}
    assert all(set(change) <= set(peer.defaults) for change in peer.grid)
    for change in peer.grid:  # and runs
        prior, operator = image_mixture(VPSDE(), size=4, components=2), Masking.random((1, 4, 4), 0.5, 0)
        operator = Masking(operator.mask, GaussianNoise(0.1))
        samples = peer.run(prior, operator, operator.measure(prior.sample(1)), 2, 0, **{**change, "steps": 4}).samples
        assert samples.shape == (2, 1, 4, 4) and samples.isfinite().all()


@pytest.mark.parametrize("sde", [VPSDE(), VESDE(0.001, 30.0)], ids=["VP", "VE"])
@pytest.mark.parametrize("level", [0.05, 1.0, 20.0, 1000.0])
def test_the_denoiser_is_that_of_the_prior_at_any_level(sde, level):
    prior, units = correlated_gaussian(sde, d=D), Units(0.7, 2.5)
    u = level * torch.randn(5, D, generator=torch.Generator().manual_seed(0))
    x, s, C = units.shift + units.scale * u.double(), units.scale * level, prior.covariance
    gain = torch.linalg.solve(C + s**2 * torch.eye(D), C)
    exact = (prior.mean + (x - prior.mean) @ gain - units.shift) / units.scale
    torch.testing.assert_close(Denoiser(prior, units)(u, level).double(), exact, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("operator", "shape"),
    [
        (Masking.random((1, 4, 6), 0.5, 0), (1, 4, 6)),
        (Masking.random((9,), 0.5, 0), (9,)),
        (LinearMap(torch.randn(3, 8, generator=torch.Generator().manual_seed(0))), (8,)),
        (LinearMap(torch.randn(9, 4, generator=torch.Generator().manual_seed(0))), (4,)),
        (Grayscale(), (3, 4, 4)),
        (Blur.gaussian(0.5), (1, 6, 6)),
        (Grayscale() @ Blur.gaussian(0.5), (3, 6, 6)),
    ],
    ids=["masking", "vector", "wide", "tall", "grayscale", "blur", "composition"],
)
def test_the_operator_is_the_same_in_deepinv(operator, shape):
    pytest.importorskip("deepinv")
    d = torch.Size(shape).numel()
    prior = Gaussian(torch.zeros(d), torch.eye(d), VPSDE(), event_shape=shape)
    y = operator.measure(torch.ones(1, *shape))
    task = pose(Denoiser(prior, Units(0.0, 1.0)), operator, y, 6)
    theirs = physics(task)
    x = torch.randn(6, *picture(shape), generator=torch.Generator().manual_seed(1))
    mine = x.reshape(6, *shape)
    torch.testing.assert_close(theirs.A(x), operator(mine), atol=1e-5, rtol=1e-5)
    assert theirs.adjointness_test(x, num_samples=6) < 1e-5
    if "svd" in operator.capabilities:
        back = theirs.A_dagger(operator(mine)).reshape(mine.shape)
        torch.testing.assert_close(back, operator.pinv(operator(mine)), atol=1e-3, rtol=1e-3)


def test_measurements_are_rescaled_with_the_data():
    prior = correlated_gaussian(VPSDE(), d=D)
    for units in (in_unit_interval(prior), standardised(prior)):
        operator, x = random_map(D, M, 0.3), prior.sample(1, seed=5)
        task = pose(Denoiser(prior, units), operator, operator(x), 3)
        torch.testing.assert_close(task.y[2:], operator((x - units.shift) / units.scale), atol=1e-5, rtol=1e-4)
        assert task.sigma_y == pytest.approx(0.3 / units.scale)
    u = (prior.sample(1000, seed=0) - in_unit_interval(prior).shift) / in_unit_interval(prior).scale
    torch.testing.assert_close(torch.stack(u.aminmax()), torch.tensor([0.0, 1.0]))


def test_a_sample_of_azula_dps_does_not_depend_on_its_batch(problem, monkeypatch):
    pytest.importorskip("azula")
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)  # equal rows stay equal
    alone, among = (PEERS["azula dps"].run(*problem, n, 0, steps=20).samples for n in (1, 40))
    torch.testing.assert_close(among, alone.expand(40, -1), atol=1e-4, rtol=1e-4)


def test_azula_draws_the_prior_without_guidance(problem):
    pytest.importorskip("azula")
    from azula.sample import DDPMSampler

    prior, operator, y = problem
    task = pose(Denoiser(prior, standardised(prior)), operator, y, 1000)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        u = draw(task, DDPMSampler(network(task, "vp"), steps=100, silent=True))
    x = task.denoise.units.shift + task.denoise.units.scale * u
    std = prior.covariance.diagonal().sqrt()
    assert ((x.mean(0) - prior.mean).abs() / std).max() < 4 / 1000**0.5 + 0.05
    assert (x.std(0) / std - 1).abs().max() < 4 / 2000**0.5 + 0.05


def test_a_missing_package_names_the_extra(monkeypatch, problem):
    def missing(package):
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", missing)
    for peer in PEERS.values():
        assert not installed(peer)
        with pytest.raises(ImportError, match=r"score-inverse\[peers\]"):
            peer.run(*problem, 2, 0)
    monkeypatch.setattr(metadata, "version", lambda _: "0.2.1.dev3")
    assert not any(map(installed, PEERS.values()))


def test_importing_is_light():
    """In the source: another process would take seconds."""
    files = sorted(Path(base.__file__).parent.glob("*.py"))
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    assert len(files) > 1 and not {name.split(".")[0] for name in names} & {"deepinv", "azula"}

"""Priors from measurements alone: a Gaussian against its closed form, and rounds of a small network."""

from itertools import pairwise

import pytest
import torch

import priors
from inverse import learn_gaussian, learn_prior
from inverse.app.batch.sources import source_of
from inverse.app.learning import _first_guess, _parts, _step
from operators import JPEG, GaussianNoise, LinearMap, Masking
from priors import VESDE, Gaussian

F64 = torch.float64
SHAPE, SIDE, N = (1, 4, 4), 4, 500
RECIPE = {
    "kind": "prior",
    "name": "smooth fields",
    "licence": "CC0",
    "sde": {"type": "VESDE", "sigma_min": 0.01, "sigma_max": 5.0},
    "range": {"shift": 0.5, "scale": 0.2},
    "network": {"type": "local", "image_channels": 1, "channels": [8, 8], "blocks": [1, 1]},
    "training": {"steps": 4, "batch_size": 8, "lr": 1e-3, "warmup": 2, "ema": 0.5, "held_out": 8},
}


@pytest.fixture(scope="module")
def truth() -> Gaussian:
    at = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE)).to(F64)
    covariance = 0.03 * torch.exp(-(torch.cdist(at, at) ** 2) / 8) + 1e-3 * torch.eye(16, dtype=F64)
    return Gaussian(0.3 + 0.4 * at[:, 0] / 3, covariance, VESDE(0.01, 5.0), SHAPE)


@pytest.fixture(scope="module")
def posed(truth):
    """Half of the pixels of each of 500 pictures, others in each."""
    masks = (torch.rand(N, *SHAPE, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    operator = Masking(masks, noise=GaussianNoise(0.05)).at(SHAPE)
    return operator, operator.measure(truth.sample(N, seed=0).float(), seed=2)


def away(found: Gaussian, truth: Gaussian) -> tuple[float, float]:
    """Errors of the mean, in standard deviations, and of the covariance, relative."""
    mean = (found.mean - truth.mean).norm() / truth.covariance.trace().sqrt()
    return float(mean), float((found.covariance - truth.covariance).norm() / truth.covariance.norm())


def test_a_gaussian_is_recovered_from_masked_pixels(truth, posed):
    operator, y = posed
    found = learn_gaussian(operator, y, truth.sde, steps=20)
    whole = truth.sample(N, seed=0).double().flatten(1)
    best = (whole.T.cov() - truth.covariance).norm() / truth.covariance.norm()  # of whole pictures without noise
    mean, covariance = away(found, truth)
    assert found.event_shape == SHAPE and mean < 0.1 and covariance < 4 * float(best)


def test_every_step_increases_the_likelihood(posed):
    operator = posed[0].rows(torch.arange(300))
    parts = list(_parts(operator, source_of(posed[1][:300]), SHAPE))
    mean, covariance = _first_guess(parts, 16)
    found = []
    for _ in range(12):
        mean, covariance, log_p = _step(parts, mean, covariance)
        found.append(log_p)
    assert all(b > a for a, b in pairwise(found))


def test_a_shared_operator_and_one_of_each_measurement_agree(truth):
    """Eight sums of pixels: what these do not see keeps the covariance of the start."""
    shared = LinearMap(torch.randn(8, 16, generator=torch.Generator().manual_seed(3)) / 4, GaussianNoise(0.1), SHAPE)
    y = shared.measure(truth.sample(40, seed=5).float(), seed=6)
    alone = learn_gaussian(shared, y, truth.sde, steps=5)

    def made(arrays):
        return LinearMap(shared.matrix, GaussianNoise(torch.full((len(arrays["y"]),), 0.1)), SHAPE)

    each = learn_gaussian(made, y, truth.sde, SHAPE, steps=5)
    torch.testing.assert_close(alone.mean, each.mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(alone.covariance, each.covariance, rtol=1e-5, atol=1e-7)


def test_rounds_of_a_network(posed, tmp_path):
    """Two rounds, killed after the first and repeated: the same weights; the second starts from the first."""
    operator, y = posed[0].rows(torch.arange(40)), posed[1][:40]
    how = {"n_steps": 4, "method": "mmps", "progress": False}
    prior = learn_prior(RECIPE, operator, y, tmp_path / "whole", rounds=2, **how)
    first = learn_prior(RECIPE, operator, y, tmp_path / "killed", rounds=1, **how)
    again = learn_prior(RECIPE, operator, y, tmp_path / "killed", rounds=2, **how)
    assert all(torch.equal(a, b) for a, b in zip(prior.parameters(), again.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(prior.parameters(), first.parameters(), strict=True))
    loaded = priors.load(tmp_path / "whole" / "round-2" / "prior")
    assert loaded.event_shape == SHAPE and loaded.moments is not None


def test_a_folder_belongs_to_its_settings(posed, tmp_path):
    """Refused before anything is written; the first call as it was goes on."""
    operator, y = posed[0].rows(torch.arange(40)), posed[1][:40]
    how = {"n_steps": 3, "method": "mmps", "progress": False, "rounds": 1}
    first = learn_prior(RECIPE, operator, y, tmp_path, **how)
    for changed in ({"licence": "other"}, {"training": RECIPE["training"] | {"steps": 5}}, {"range": {"shift": 0.3}}):
        with pytest.raises(ValueError, match=r"made with other settings, .*: give another folder"):
            learn_prior(RECIPE | changed, operator, y, tmp_path, **how)
    again = learn_prior(RECIPE, operator, y, tmp_path, **how)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(("changed", "error", "message"), [
    ({"recipe": RECIPE | {"kind": "classifier"}}, ValueError, "expected 'prior'"),
    ({"recipe": RECIPE | {"training": RECIPE["training"] | {"held_out": 90}}}, ValueError, "too few for held_out = 90"),
    ({"recipe": RECIPE | {"network": RECIPE["network"] | {"image_channels": 3}}}, ValueError, "image_channels"),
    ({"device": "tpu"}, ValueError, "'tpu'"),
    ({"start": "x"}, TypeError, r"expected a priors\.Prior"),
    ({"y": torch.zeros(39, *SHAPE)}, ValueError, "for 40 measurements, and there are 39"),
    ({"y": torch.zeros(40, *SHAPE, dtype=torch.long)}, TypeError, "floating"),
    ({"y": torch.full((40, *SHAPE), torch.nan)}, ValueError, "nan"),
])  # fmt: skip
def test_refused_before_anything_is_solved(posed, tmp_path, changed, error, message):
    given = {"recipe": RECIPE, "operator": posed[0].rows(torch.arange(40)), "y": posed[1][:40], "out": tmp_path}
    with pytest.raises(error, match=message):
        learn_prior(**(given | changed), rounds=1, progress=False)
    assert not (tmp_path / "round-1").exists()


def test_refused(posed, truth, tmp_path):
    operator, y = posed
    with pytest.raises(ValueError, match="linear operator with Gaussian noise"):
        learn_gaussian(JPEG(50, noise=GaussianNoise(0.1)), torch.zeros(2, 1, 8, 8), truth.sde, (1, 8, 8))
    with pytest.raises(ValueError, match="give event_shape"):
        learn_gaussian(JPEG(50), torch.zeros(2, 1, 8, 8), truth.sde)
    with pytest.raises(ValueError, match="at most 1600"):
        learn_gaussian(operator, y, truth.sde, (1, 64, 64))
    with pytest.raises(ValueError, match=r"\[crops\]"):
        learn_prior(RECIPE | {"crops": {}}, operator, y, tmp_path)
    with pytest.raises(ValueError, match="rounds"):
        learn_prior(RECIPE, operator, y, tmp_path, rounds=0)

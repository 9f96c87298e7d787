"""Weights: resampling schemes by brute force, the tail's shape, standard errors, and warnings that never fail."""

import math
import warnings

import numpy as np
import pytest
import torch

from inverse import UnreliableWeights
from inverse.weights import (
    RESAMPLINGS,
    ancestry_warnings,
    complaints,
    effective_size,
    lineages,
    log_mean_error,
    pareto_k,
    residual,
)
from tests.cases import F64, normal

SCHEMES = sorted(RESAMPLINGS)


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def offspring(scheme, weights, u):
    chosen = RESAMPLINGS[scheme](weights, u)
    return torch.nn.functional.one_hot(chosen, weights.shape[1]).sum(1)


# resampling -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("spread", [0.3, 3.0])
def test_expected_offspring(scheme, spread):
    """K w_k on average, within 4 standard errors over 20000 draws, for each k."""
    weights = torch.softmax(spread * normal(1, 6, seed=4), 1)
    counts = offspring(scheme, weights.expand(20000, 6), uniform(20000, 6, seed=1)).double()
    error = torch.maximum(counts.std(0), (6 * weights[0]).sqrt()) / 20000**0.5  # a rare one may never be seen
    assert bool(((counts.mean(0) - 6 * weights[0]).abs() < 4 * error).all())
    assert torch.equal(counts.sum(1), torch.full((20000,), 6.0, dtype=F64))


def test_schemes_vary_less_than_independent_draws():
    """The variance of a mean after resampling: multinomial most, systematic and stratified least (Douc et al. 2005)."""
    weights, x = torch.softmax(normal(1, 20, seed=4), 1), torch.linspace(-1, 1, 20, dtype=F64)
    u = uniform(5000, 20, seed=2)
    spread = {s: float((offspring(s, weights.expand(5000, 20), u).double() @ x).var()) for s in SCHEMES}
    assert spread["stratified"] < 0.5 * spread["multinomial"] and spread["systematic"] < 0.5 * spread["multinomial"]
    assert spread["residual"] < 0.8 * spread["multinomial"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_rows_without_weight_have_no_offspring(scheme):
    weights = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]], dtype=F64)
    for u in (0.0, 0.5, 1 - 2**-24):
        counts = offspring(scheme, weights, torch.full((4, 3), u, dtype=F64))
        assert bool((counts[weights == 0] == 0).all()) and bool((counts.sum(1) == 3).all())


@pytest.mark.parametrize("k", [3, 7, 10])
def test_residual_keeps_whole_parts(k):
    """Equal weights leave everyone, whatever the rounding of 1 / K; otherwise each has at least floor(K w)."""
    equal = torch.full((1, k), 1 / k, dtype=F64)
    assert torch.equal(residual(equal, uniform(1, k)), torch.arange(k)[None])
    weights = torch.softmax(2 * normal(50, k, seed=3), 1)
    assert bool((offspring("residual", weights, uniform(50, k)) >= (k * weights).floor()).all())


# the tail -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0.2, 0.5, 0.9])
def test_the_shape_of_pareto_tails(k):
    """Weights of a known law, u^-k, whose tail shape is k: the mean over 40 fits of 4000, the prior's pull undone."""
    tail = math.ceil(3 * 4000**0.5)
    found = pareto_k(-k * uniform(40, 4000, seed=1).log()).mean() * (tail + 10) / tail - 5 / tail
    assert float(found) == pytest.approx(k, abs=0.06)


def test_bounded_weights_have_a_negative_shape():
    assert float(pareto_k(uniform(1, 4000, seed=2).log())) < -0.2
    assert float(pareto_k(torch.zeros(1, 100))) == -math.inf
    assert float(pareto_k(torch.zeros(1, 24))) == math.inf
    assert float(pareto_k(torch.full((1, 100), float("nan")))) == math.inf


def test_the_shape_does_not_depend_on_scale():
    log_w = 2 * normal(3, 500, seed=5)
    torch.testing.assert_close(pareto_k(log_w + 700.0), pareto_k(log_w))


# standard errors ------------------------------------------------------------------------------------------------------


def test_the_standard_error_of_the_log_evidence():
    """Lognormal weights of std 1, 400 at a time: the log of their mean has the spread that is stated."""
    log_w = normal(2000, 400, seed=1)
    estimates = log_w.logsumexp(1) - math.log(400)
    assert float(log_mean_error(log_w).square().mean().sqrt()) == pytest.approx(float(estimates.std()), rel=0.08)
    covered = ((estimates - 0.5).abs() < 1.96 * log_mean_error(log_w)).double().mean()
    assert 0.9 < float(covered) < 0.97
    assert log_mean_error(torch.zeros(2, 5)).tolist() == pytest.approx([0, 0], abs=1e-7)
    assert log_mean_error(torch.zeros(2, 1)).tolist() == [math.inf] * 2


def test_the_effective_size():
    log_w = torch.tensor([[0.0, 0, 0, 0], [0, -math.inf, -math.inf, -math.inf], [0, 0, -math.inf, -math.inf]])
    np.testing.assert_allclose(effective_size(log_w), [4, 1, 2])


def test_lineages_fall_from_the_effective_size_to_one():
    log_w = torch.tensor([[0.0, 0, -math.inf, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    origin = torch.tensor([[0, 1, 2, 3], [4, 4, 6, 6], [9, 9, 9, 9]])  # counted on from measurement to measurement
    np.testing.assert_allclose(lineages(log_w, origin), [3, 2, 1])
    np.testing.assert_allclose(lineages(log_w, torch.arange(12).view(3, 4)), effective_size(log_w))


# warnings -------------------------------------------------------------------------------------------------------------


def test_complaints_name_what_is_wrong():
    good, heavy = 0.3 * normal(1, 1000, seed=1), -1.5 * uniform(1, 1000, seed=1).log()
    lost = torch.cat([torch.full((1, 1), 40.0, dtype=F64), normal(1, 999)], 1)
    texts = complaints(torch.cat([good, heavy, lost]))
    assert texts[0] == ""
    assert "Pareto k" in texts[1] or "effective sample size" in texts[1]
    assert "effective sample size 1.0 of 1000" in texts[2]
    assert complaints(good[:, :24]) == [
        "24 samples are too few to judge their weights: use 25 or more, better hundreds"
    ]
    assert ancestry_warnings(torch.tensor([10.0, 9.9]), 50) == [
        "",
        "50 particles descend from 9.9 initial ones: spread and mode probabilities are unreliable; use more samples",
    ]
    assert issubclass(UnreliableWeights, UserWarning)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        complaints(torch.zeros(2, 50))

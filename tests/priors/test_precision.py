"""A network in bfloat16: what it costs, what it leaves alone, and where it is taken by itself."""

from dataclasses import replace

import pytest
import torch

import priors
from inverse import METHODS, solve
from inverse.guidance import MMPS
from operators import GaussianNoise, Identity
from priors import at_precision
from priors.precision import LEAST_GAIN, MOST_LOSS, PRECISIONS, _gain_on_cpu, fast_in_bfloat16

SMALL = (3, 16, 16)


@pytest.fixture(scope="module")
def prior():
    return priors.load("natural").resized(SMALL)


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr("priors.precision.fast_in_bfloat16", lambda device: True)


def dtype_of(prior):
    return next(prior.network.parameters()).dtype


def test_float32_is_the_prior_itself(prior):
    assert at_precision(prior, "float32") is prior


def test_the_prior_that_was_given_stays_in_float32(prior, fast):
    assert dtype_of(at_precision(prior, "bfloat16")) == torch.bfloat16
    assert dtype_of(prior) == torch.float32


@pytest.mark.parametrize("loss", [None, MOST_LOSS / 2, 1.0])
def test_auto_takes_it_where_little_is_lost(prior, fast, loss):
    other = prior.in_bfloat16().to(torch.float32)
    other.bfloat16_loss = loss
    assert dtype_of(at_precision(other)) == (torch.bfloat16 if loss == MOST_LOSS / 2 else torch.float32)


@pytest.mark.parametrize(("instructions", "gain"), [(True, 2.0), (True, 0.5), (False, 2.0)])
def test_a_processor_is_fast_if_a_convolution_is(monkeypatch, instructions, gain):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions)
    monkeypatch.setattr("priors.precision._gain_on_cpu", lambda: gain)
    assert fast_in_bfloat16(torch.device("cpu")) == (instructions and gain > LEAST_GAIN)


def test_the_gain_is_timed_once():
    _gain_on_cpu.cache_clear()
    first = _gain_on_cpu()
    assert first > 0 and _gain_on_cpu() is first


def test_auto_is_float32_without_the_instructions(prior, monkeypatch):
    monkeypatch.setattr("priors.precision.fast_in_bfloat16", lambda device: False)
    assert at_precision(prior) is prior


@pytest.mark.parametrize("name", [n for n in priors.available() if priors.load(n).bfloat16_loss is not None])
def test_the_loss_on_the_card_is_that_of_the_prior(name):
    """On its own pictures, at noise levels from little to much: no more than the card says, rounded."""
    prior = priors.load(name)
    truth = priors.samples(name).floats(slice(0, 2))
    low = prior.in_bfloat16()
    for level in (0.02, 0.2, 1.0):
        t = prior.sde.time(torch.tensor(level))
        noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
        x = prior.sde.alpha(t) * truth + prior.sde.sigma(t) * noise
        with torch.no_grad():
            errors = [(p.denoise(x, t) - truth).square().mean().log10() * 10 for p in (prior, low)]
        assert float(errors[1] - errors[0]) < prior.bfloat16_loss + 0.01


def test_tiles_and_wrappers_keep_their_own_settings(prior, fast):
    tiled = priors.Tiled(prior, 64)
    low = at_precision(tiled, "bfloat16")
    assert (low.tile, low.margin) == (tiled.tile, tiled.margin)
    assert dtype_of(low.prior) == torch.bfloat16 and dtype_of(tiled.prior) == torch.float32


def test_a_prior_without_a_network_is_refused_or_left_alone():
    gaussian = priors.Gaussian(torch.zeros(4), torch.eye(4), sde=priors.VESDE())
    assert at_precision(gaussian) is gaussian
    with pytest.raises(ValueError, match="precision='float32'"):
        at_precision(gaussian, "bfloat16")


def test_an_unknown_precision_is_refused(prior):
    with pytest.raises(ValueError, match="float16"):
        solve(prior, Identity(GaussianNoise(0.1)), torch.zeros(1, *SMALL), 1, "mmps", 2, precision="float16")


@pytest.mark.parametrize(("passes", "levels"), [(1, 1), (2, 2)])
def test_a_sample_is_nearly_the_same_in_every_batch(prior, passes, levels):
    """Rounding of a state in float32 may move it to the next number of bfloat16: about a grey level of 255, less with
    one backward pass a step."""
    method = replace(METHODS["mmps"], guidance=MMPS(passes))
    operator = Identity(GaussianNoise(0.1))
    y = operator.measure(torch.full((1, *SMALL), 0.5), seed=0)
    whole, single = (
        solve(prior, operator, y, 3, method, 3, batch_size=size, progress=False, precision="bfloat16").samples
        for size in (3, 1)
    )
    assert torch.allclose(whole, single, atol=levels / 255)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_methods_that_weigh_by_a_density_compute_in_float32_by_themselves(prior, fast, precision, monkeypatch):
    seen = []
    real = priors.ScorePrior.denoise

    def denoise(self, x, t):
        seen.append(dtype_of(self))
        return real(self, x, t)

    monkeypatch.setattr(priors.ScorePrior, "denoise", denoise)
    operator = Identity(GaussianNoise(0.1))
    y = operator.measure(torch.full((1, *SMALL), 0.5), seed=0)
    method = METHODS["tds"]
    solve(prior, operator, y, 2, method, 2, progress=False, precision=precision)
    assert set(seen) == {torch.bfloat16 if precision == "bfloat16" else torch.float32}

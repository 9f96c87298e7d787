"""What public objects show of themselves: one line, what they were made with, tensors by their shape."""

from itertools import chain

import pytest
import torch

import inverse
import operators
import priors
from inverse.correctors import CORRECTORS
from inverse.guidance import GUIDANCES
from inverse.methods import METHODS
from inverse.predictors import PREDICTORS
from priors.data import ImageSet
from priors.pictures import Crops, Pictures
from priors.sde import SDES
from tests.priors.cases import classifier, mixture, score_prior

PIXELS = tuple(torch.zeros(20, 1, 9, 9, dtype=torch.uint8))


def made(kind):
    """An object of a class with its defaults; None where it has arguments without them."""
    try:
        return kind()
    except TypeError:
        return None


def solved():
    prior = priors.Gaussian(torch.zeros(4), torch.eye(4), sde=priors.VESDE())
    operator = operators.LinearMap(torch.eye(4)[:2], noise=operators.GaussianNoise(0.1))
    y = operator.measure(torch.zeros(1, 4), seed=0)
    return prior, operator, y, inverse.solve(prior, operator, y, n_samples=6, method="mmps", n_steps=4, progress=False)


def objects():
    prior, operator, y, solution = solved()
    trained = score_prior()
    yield from METHODS.values()
    kinds = chain(GUIDANCES.values(), PREDICTORS.values(), CORRECTORS.values(), SDES.values())
    yield from (found for found in map(made, kinds) if found is not None)
    yield from (prior, mixture(priors.VESDE()), trained, classifier(), priors.Evaluations(prior), solution)
    yield priors.from_denoiser(lambda x, sigma: x, event_shape=(1, 4, 4))
    yield priors.from_denoiser(torch.nn.Conv2d(1, 1, 3), event_shape=(1, 4, 4))
    yield from (priors.Moments.of_images(torch.rand(20, 1, 8, 8)), priors.Spectrum.of_crops(torch.rand(20, 1, 8, 8)))
    yield priors.Spectrum.of_crops(torch.rand(20, 1, 8, 8)).sized((1, 8, 8))
    yield from (ImageSet(torch.stack(PIXELS)), Pictures(PIXELS), Crops(Pictures(PIXELS), 8), priors.RowRNG.rows(0, 3))
    yield from (priors.DataRange(), priors.Units("HU", -1024.0, 3071.0), inverse.examine(solution, operator, y))
    yield inverse.plan(prior, operator, y)
    pictures = priors.Empirical(torch.rand(20, 4), priors.VESDE(), 0.1)
    yield from (pictures, pictures.posterior(operator, y), pictures.posterior(operator, y).conditioned)


@pytest.mark.filterwarnings("ignore")
def test_every_public_object_shows_itself_in_one_short_line():
    texts = [repr(thing) for thing in objects()]
    assert len(texts) > 60
    wrong = [t for t in texts if "\n" in t or "tensor(" in t or " at 0x" in t or len(t) > 600]
    assert wrong == []


def test_what_they_show():
    _, _, _, solution = solved()
    text = repr(solution)
    assert text.startswith(f"Solution(samples=<(1, 6, 4)>, method='mmps', nfe={solution.nfe}, ") and len(text) < 140
    assert "NCSNpp" in repr(score_prior()) and "event_shape=(1, 8, 8)" in repr(score_prior())
    assert repr(METHODS["pigdm"]) == "Method(name='pigdm', guidance=PiGDM())"
    assert repr(priors.VESDE(0.01, 5.0)) == "VESDE(sigma_min=0.01, sigma_max=5.0)"


def test_a_prior_of_ones_own_shows_its_shape():
    class Mine(priors.Prior):
        def __init__(self):
            self.sde, self.event_shape = priors.VESDE(), (2,)

        def denoise(self, x, t):
            return x

    assert repr(Mine()).startswith("Mine(event_shape=(2,), sde=VESDE(")

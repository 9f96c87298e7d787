"""Parameters of noises that `solve(unknown=...)` can infer."""

import inspect

import pytest
import torch

import operators
from operators import PoissonGaussianNoise

KINDS = [getattr(operators, name) for name in operators.__all__]
KINDS = [kind for kind in KINDS if isinstance(kind, type) and issubclass(kind, operators.Noise)]
INFERABLE = [(kind, name) for kind in KINDS for name in kind.inferable]


def test_every_noise_with_a_level_says_that_it_can_be_unknown():
    levels = {"sigma", "peak", "looks", "gain", "scale"}
    for kind in KINDS:
        taken = inspect.signature(kind.__init__).parameters
        assert set(kind.inferable) == levels & set(taken), kind


@pytest.mark.parametrize(("kind", "name"), INFERABLE)
def test_a_replaced_noise_has_the_likelihood_of_one_that_was_made_so(kind, name):
    before = dict.fromkeys(kind.inferable, 2.0)
    y, clean = torch.full((2, 1, 3), 0.5), torch.tensor([0.3, 0.5, 0.8]).expand(2, 1, 3)
    noise, made = kind(**before), kind(**{**before, name: 4.0})
    assert torch.equal(noise.replaced(**{name: 4.0}).log_prob(y, clean), made.log_prob(y, clean))
    assert not torch.equal(noise.log_prob(y, clean), made.log_prob(y, clean))
    with pytest.raises(ValueError, match="no parameter 'width'"):
        noise.replaced(width=1.0)


def test_a_replaced_noise_keeps_maps_of_its_other_parameters():
    peaks = torch.tensor([[10.0, 20.0, 30.0]])
    noise = PoissonGaussianNoise(peaks, 0.1, event_ndim=2).replaced(sigma=0.2)
    assert torch.equal(noise.variance(torch.ones(1, 1, 3)), 1 / peaks[None] + 0.2**2)

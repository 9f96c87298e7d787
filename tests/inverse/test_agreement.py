"""Two sets of samples: the same law, other means, spreads and shares of modes, against closed forms."""

import pytest
import torch

from inverse.quality import agreement

SHAPE = (1, 6, 6)


def draws(n: int, seed: int, mean: float = 0.0, std: float = 1.0, rows: int = 3) -> torch.Tensor:
    return mean + std * torch.randn(rows, n, *SHAPE, generator=torch.Generator().manual_seed(seed))


def test_distances_of_means_and_spreads():
    found = agreement(draws(400, 0), draws(300, 1, mean=0.5, std=0.5), replicas=19)
    pooled = ((1 + 0.25) / 2) ** 0.5
    torch.testing.assert_close(found.mean, torch.full((3,), 0.5 / pooled, dtype=torch.float64), rtol=0.05, atol=0)
    torch.testing.assert_close(found.spread, torch.full((3,), 2.0, dtype=torch.float64), rtol=0.05, atol=0)
    assert bool((found.p_value == 1 / 20).all())


def test_what_few_samples_explain_is_taken_off():
    found = agreement(draws(8, 2, rows=200), draws(8, 3, rows=200), replicas=1)
    assert float(found.mean.median()) < 0.15  # .5 without
    assert 0.97 < float(found.spread.median()) < 1.03


@pytest.mark.parametrize("block", [1, 2])
def test_p_values_of_one_law_are_uniform(block):
    """Pairs of opposite samples too, which a permutation of single samples would take for too alike."""
    both = [draws(10, seed, rows=150) for seed in (4, 5)]
    if block == 2:
        both = [torch.stack([x, -x], 2).flatten(1, 2) for x in both]
    p = agreement(*both, block=block, replicas=99).p_value
    for level in (0.1, 0.5):
        share = float((p <= level).double().mean())
        assert abs(share - level) < 4 * (level * (1 - level) / 150) ** 0.5


def test_shares_of_modes_are_seen():
    """Of two modes the first set has 27 samples and 3, the second 15 and 15."""
    mode = torch.ones(SHAPE)
    signs = torch.tensor([1.0] * 27 + [-1.0] * 3).view(1, 30, 1, 1, 1)
    other = torch.tensor([1.0] * 15 + [-1.0] * 15).view(1, 30, 1, 1, 1)
    first, second = (0.3 * draws(30, s, rows=1) + x * mode for s, x in ((6, signs), (7, other)))
    assert float(agreement(first, second).p_value) < 0.01


@pytest.mark.parametrize(("shapes", "block", "message"), [
    (((1, 8, 4), (2, 8, 4)), 1, "the same measurements"),
    (((1, 8, 4), (1, 8, 5)), 1, "the same measurements"),
    (((1, 3, 4), (1, 8, 4)), 1, "at least 4"),
    (((1, 9, 4), (1, 8, 4)), 2, "multiples of 2"),
])  # fmt: skip
def test_refused(shapes, block, message):
    with pytest.raises(ValueError, match=message):
        agreement(*(torch.zeros(shape) for shape in shapes), block=block)


def test_samples_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="nan or infinite"):
        agreement(torch.full((1, 8, 4), torch.nan), torch.zeros(1, 8, 4))

"""Whether two sets of samples of one posterior agree: of two methods, two seeds, or a method and a long reference."""

from dataclasses import dataclass

import torch
from torch import Tensor

from inverse.quality.ranks import frequencies
from priors import RowRNG
from priors.arguments import count, rows
from priors.wording import Concise

REPLICAS = 499
COARSE = 4  # lowest cosines a side that the test compares


@dataclass(frozen=True, repr=False)
class Agreement(Concise):
    """How far two sets of samples are from each other, per measurement.

    Attributes: mean (B,): distance of the means, root mean square over the values of a picture, in standard deviations
    of the posterior, without what the number of samples explains; spread (B,): root mean square standard deviation of
    the first over that of the second; p_value (B,): of the hypothesis that both are draws of one distribution.
    """

    mean: Tensor
    spread: Tensor
    p_value: Tensor


def agreement(first: Tensor, second: Tensor, block: int = 1, replicas: int = REPLICAS, seed: int = 0) -> Agreement:
    """Compare two sets of equally weighted samples of the same measurements.

    Formula: mean^2 = average of (m_1 - m_2)^2 - v_1 / K - v_2 / L over that of (v_1 + v_2) / 2, at least 0, with m and
    v the means and variances of the K and L samples per value. The p-value is that of a permutation test by the energy
    distance of the lowest 4 x 4 cosines of the picture and their squares, standardised: it sees differences of means,
    spreads and shares of modes at low frequencies, and not of single pixels.
    Source: Szekely & Rizzo 2004 (energy distance); Phipson & Smyth 2010 (p-values of permutations).
    Arguments: first (B, K, *E) and second (B, L, *E), K, L >= 4; block: how many samples in a row depend on each other,
    2 for antithetic pairs, which are then permuted together and count as one in the distance of the means; replicas
    (int >= 1); seed of the permutations.
    Returns: `Agreement`; a p-value is at least 1 / (replicas + 1).
    Raises: ValueError for shapes that do not fit, too few samples and entries that are not finite.
    """
    rows("first", first)
    rows("second", second)
    block, replicas = count("block", block), count("replicas", replicas)
    if first.ndim < 3 or len(first) != len(second) or first.shape[2:] != second.shape[2:]:
        raise ValueError(
            f"first {tuple(first.shape)} and second {tuple(second.shape)}: expected samples (B, K, *E) and (B, L, *E) "
            "of the same measurements"
        )
    sizes = [x.shape[1] for x in (first, second)]
    if min(sizes) < 4 * block or any(size % block for size in sizes):
        raise ValueError(
            f"{sizes[0]} and {sizes[1]} samples: expected at least {4 * block} of each"
            + (f", and multiples of {block}, as samples come in blocks" if block > 1 else "")
        )
    if not all(bool(x.isfinite().all()) for x in (first, second)):
        raise ValueError("samples have entries that are nan or infinite: leave these samples out")
    a, b = (x.flatten(2).double() for x in (first, second))
    (mean_a, var_a, error_a), (mean_b, var_b, error_b) = (_moments(x, block) for x in (a, b))
    spread = (var_a + var_b).mean(1) / 2
    squared = ((mean_a - mean_b).square() - error_a - error_b).mean(1)
    tiny = torch.finfo(torch.float64).tiny
    p = [_permuted(x, y, block, replicas, seed, row) for row, (x, y) in enumerate(zip(first, second, strict=True))]
    return Agreement(
        (squared.clamp_min(0) / spread.clamp_min(tiny)).sqrt(),
        (var_a.mean(1) / var_b.mean(1).clamp_min(tiny)).sqrt(),
        torch.tensor(p, dtype=torch.float64),
    )


def _moments(x: Tensor, block: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance and squared standard error of the mean of samples (B, K, d), each (B, d)."""
    blocks = x.unflatten(1, (-1, block)).mean(2)
    mean = x.mean(1)
    error = blocks.var(1) / blocks.shape[1]
    # E (x - mean)^2 is the variance less the squared error of the mean
    return mean, (x - mean[:, None]).square().mean(1) + error, error


def _permuted(first: Tensor, second: Tensor, block: int, replicas: int, seed: int, row: int) -> float:
    """The p-value of samples (K, *E) and (L, *E) of one measurement."""
    both = torch.cat([first, second]).double()
    z = frequencies(both, COARSE)
    z = (z - z.mean(0)) / z.std(0).clamp_min(1e-12 * float(z.abs().max()) + 1e-300)
    z = torch.cat([z, z.square()], 1)
    z = z / z.std(0).clamp_min(1e-12)
    distances = torch.cdist(z, z)
    n, k = len(z) // block, len(first) // block
    u = RowRNG(seed, [(row, r) for r in range(replicas)], dtype=torch.float64).uniform((replicas, n))
    orders = torch.cat([torch.arange(n)[None], u.argsort(1)])
    blocks = distances.unflatten(0, (n, block)).unflatten(2, (n, block)).sum((1, 3))
    inside = torch.zeros(replicas + 1, n, dtype=torch.float64).scatter_(1, orders[:, :k], 1.0)
    outside = 1 - inside
    within_a = torch.einsum("ri,ij,rj->r", inside, blocks, inside) / (k * block) ** 2
    within_b = torch.einsum("ri,ij,rj->r", outside, blocks, outside) / ((n - k) * block) ** 2
    between = torch.einsum("ri,ij,rj->r", inside, blocks, outside) / (k * (n - k) * block**2)
    energy = 2 * between - within_a - within_b
    return float((energy >= energy[0] - 1e-12 * distances.mean()).double().mean())

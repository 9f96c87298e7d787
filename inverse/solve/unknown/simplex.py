"""Draws and the maximum of a Gaussian that is restricted to the simplex, with a Dirichlet weight."""

import math

import torch
from torch import Tensor

from priors import RowRNG

FAR = 5.0  # standard deviations beyond which a quantile is found by the logarithm of the tail
NEWTON = 4  # steps for it
NARROW = 1e-6  # standard deviations: over such an interval the density is constant
EDGE = 1e-12  # share of an interval that keeps a logarithm finite


def projected(v: Tensor) -> Tensor:
    """The nearest point of the simplex {k >= 0, sum k = 1} to v (..., n).

    Source: Duchi, Shalev-Shwartz, Singer & Chandra 2008.
    """
    order = v.sort(dim=-1, descending=True).values
    level = (order.cumsum(-1) - 1) / torch.arange(1, v.shape[-1] + 1, dtype=v.dtype, device=v.device)
    last = (order > level).sum(-1, keepdim=True) - 1
    return (v - level.gather(-1, last)).clamp_min(0)


def drawn(
    k: Tensor, precision: Tensor, linear: Tensor, concentration: float, rng: RowRNG, scans: int, order: torch.Generator
) -> Tensor:
    """A Gibbs step for k on the simplex that leaves exp(-k'Pk / 2 + l'k) prod_i k_i^(a - 1) as it is.

    Each move takes mass from one entry to another, of which the pair is drawn: along it the density is a normal
    restricted to an interval, times the Dirichlet weight, for which the move is accepted or not (Metropolis).
    Source: Geweke 1991 (truncated normals coordinate by coordinate); Tierney 1994 (Metropolis within Gibbs).
    Arguments: k (N, n), on the simplex; precision P (N, n, n); linear l (N, n); concentration a > 0, where 1 is
    uniform; rng of N rows; scans: times that each entry is visited; order: of the random pairs, shared by the rows.
    Returns: (N, n), double precision.
    """
    k, rows = k.double().clone(), len(k)
    n = k.shape[1]
    slope = torch.einsum("nij,nj->ni", precision, k) - linear
    for _ in range(scans):
        first = torch.randperm(n, generator=order)
        other = (first + 1 + torch.randint(n - 1, (n,), generator=order)) % n
        curvature = precision[:, first, first] + precision[:, other, other] - 2 * precision[:, first, other]
        uniform = rng.uniform((rows, 2, n)).double().cpu()
        for m, (i, j) in enumerate(zip(first.tolist(), other.tolist(), strict=True)):
            low, high = -k[:, i], k[:, j]
            c = curvature[:, m].clamp_min(1e-300)
            step = truncated_normal((slope[:, j] - slope[:, i]) / c, c.rsqrt(), low, high, uniform[:, 0, m])
            if concentration != 1:
                after = ((k[:, i] + step).clamp_min(EDGE) * (k[:, j] - step).clamp_min(EDGE)).log()
                before = (k[:, i].clamp_min(EDGE) * k[:, j].clamp_min(EDGE)).log()
                accepted = uniform[:, 1, m].log() < (concentration - 1) * (after - before)
                step = torch.where(accepted, step, 0)
            k[:, i] += step
            k[:, j] -= step
            slope += step[:, None] * (precision[:, :, i] - precision[:, :, j])
    k = k.clamp_min(0)
    return k / k.sum(1, keepdim=True)


def truncated_normal(mean: Tensor, std: Tensor, low: Tensor, high: Tensor, u: Tensor) -> Tensor:
    """The quantile u of N(mean, std^2) restricted to [low, high], all (N,) of double precision.

    Beyond `FAR` standard deviations by Newton steps on the logarithm of the distribution function.
    """
    a, b = (low - mean) / std, (high - mean) / std
    swap = a + b > 0  # in the lower half, where `ndtr` keeps its digits
    a, b = torch.where(swap, -b, a), torch.where(swap, -a, b)
    u = torch.where(swap, 1 - u, u)
    below, above = torch.special.ndtr(a), torch.special.ndtr(b)
    central = torch.special.ndtri((below + u * (above - below)).clamp(1e-300, 1))
    end = torch.special.log_ndtr(b)
    share = u + (1 - u) * torch.exp(torch.special.log_ndtr(a) - end)
    wanted, tail = end + share.clamp_min(1e-300).log(), b + share.clamp_min(1e-300).log() / b.abs().clamp_min(1)
    for _ in range(NEWTON):
        log_tail = torch.special.log_ndtr(tail)
        tail = tail + (wanted - log_tail) * torch.exp(0.5 * tail**2 + log_tail) * math.sqrt(2 * math.pi)
    z = torch.where(b < -FAR, tail, torch.where(b - a < NARROW, a + u * (b - a), central))
    z = torch.minimum(torch.maximum(z, a), b)
    return torch.minimum(torch.maximum(mean + std * torch.where(swap, -z, z), low), high)


def noise_level(squares: Tensor, values: int, low: float, high: float, power: float, u: Tensor) -> Tensor:
    """Quantiles u of the standard deviation s of Gaussian noise, given its sum of squares, where s is in [low, high].

    Formula: density s^(-values - power) exp(-squares / (2 s^2)), the inverse-gamma full conditional, on a grid.
    Arguments: squares (N,): sums of squared residuals; values: how many of them; power: 1 for a prior that is uniform
    in log s, 0 for one uniform in s; u (N,).
    """
    grid = torch.linspace(math.log(low), math.log(high), 4001, dtype=torch.float64)
    peak = (squares.double() / (values + power - 1)).sqrt().log().clamp(grid[0], grid[-1])
    near = peak[:, None] + torch.linspace(-8, 8, 801, dtype=torch.float64) / math.sqrt(2 * values)
    near = near.clamp(grid[0], grid[-1])
    log_p = -(values + power - 1) * near - squares.double()[:, None] * torch.exp(-2 * near) / 2
    p = (log_p - log_p.max(1, keepdim=True).values).exp()
    p = (p[:, 1:] + p[:, :-1]) / 2 * near.diff(dim=1)
    total = p.cumsum(1)
    cell = torch.searchsorted(total, (u.double()[:, None] * total[:, -1:])).clamp_max(p.shape[1] - 1)
    return near.gather(1, cell).add(near.gather(1, cell + 1)).div(2).exp()[:, 0]

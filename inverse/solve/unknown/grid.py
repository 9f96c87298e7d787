"""A density on the unit cube of 1 to 3 dimensions, on a grid."""

from collections.abc import Callable

import torch
from torch import Tensor

from priors import RowRNG

SIDES = {1: 1001, 2: 81, 3: 27}  # points along an axis, by the number of axes
FEWEST = 3.0  # grid spacings in a standard deviation, below which the grid is refined
REACH = 6.0  # standard deviations of a refined grid, on both sides
REFINEMENTS = 8


class GridDensity:
    """A density exp(L(u)) on [0, 1]^d, normalised, on a grid that is refined to where the density is.

    Arguments: log_density L: (m, d) -> (m,), up to a constant; d: 1 to 3.
    Attributes: points (n, d); p (n,): probabilities of the cells; mean (d,); covariance (d, d).
    """

    def __init__(self, log_density: Callable[[Tensor], Tensor], d: int) -> None:
        low, high = torch.zeros(d, dtype=torch.float64), torch.ones(d, dtype=torch.float64)
        for _ in range(REFINEMENTS):
            axes = [
                torch.linspace(float(a), float(b), SIDES[d], dtype=torch.float64)
                for a, b in zip(low, high, strict=True)
            ]
            self.points = torch.cartesian_prod(*axes).reshape(-1, d)
            self.spacing = (high - low) / (SIDES[d] - 1)
            self.p = torch.softmax(log_density(self.points), 0)
            self.mean = self.p @ self.points
            away = self.points - self.mean
            self.covariance = (away * self.p[:, None]).mT @ away + (self.spacing**2 / 12).diag()
            std = self.covariance.diagonal().sqrt()
            if bool((std >= FEWEST * self.spacing).all()):
                break
            reach = REACH * torch.maximum(std, self.spacing)
            low, high = (self.mean - reach).clamp(0, 1), (self.mean + reach).clamp(0, 1)

    @property
    def std(self) -> Tensor:
        """(d,)."""
        return self.covariance.diagonal().sqrt()

    def draw(self, n: int, rng: RowRNG) -> Tensor:
        """n stratified draws in random order, (n, d); rng of one row."""
        u = rng.uniform((1, n * (2 + len(self.mean)))).double().cpu()[0].view(-1, n)
        places = (torch.arange(n) + u[0]) / n
        cells = torch.searchsorted(self.p.cumsum(0), places[u[1].argsort()]).clamp_max(len(self.p) - 1)
        return (self.points[cells] + (u[2:].mT - 0.5) * self.spacing).clamp(0, 1)

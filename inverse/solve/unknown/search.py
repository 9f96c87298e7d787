"""The search for the maximum of log p(y | theta), and the density around it, from noisy gradients."""

import torch
from torch import Tensor

from inverse.solve.unknown.grid import GridDensity
from inverse.solve.unknown.surrogate import Surrogate

RADIUS = 4.0  # of the region of the surrogate, in standard deviations
NEAR = 1.5  # radii of the region within which points count
NEGLIGIBLE = 20.0  # nats below the largest density
AWAY = 1.0  # standard deviations from the mean within which a point must lie
WITHIN = 3.0  # and within which some more must
SPREAD = (-2.2, -1.1, 1.1, 2.2)  # standard deviations from the mean at which further points are


class Search:
    """The density exp(L(u)) on [0, 1]^d by gradients of L at points that it proposes.

    A surrogate of L (`Surrogate`) is fitted to the gradients near the density so far. Where it is uncertain, the
    density is lowered (`_doubt`), so that it stays near the points, as in a trust region. The next point is
    the mean, then one standard deviation from it where the surrogate is least certain.

    Arguments: d: number of parameters; agreed: error of L, in nats, at which the density counts as known.
    Attributes: nodes, gradients, variances (n, d): all so far; proposals (p, d): points for `add`; density: the current
    estimate; error: of L, in nats; settled: whether a point lies near the density's mean.
    """

    density: GridDensity
    settled: bool = False

    def __init__(self, d: int, agreed: float = 0.3) -> None:
        self.agreed = agreed
        self.nodes, self.gradients, self.variances = (torch.empty(0, d, dtype=torch.float64) for _ in range(3))
        center, steps = torch.full((d,), 0.5, dtype=torch.float64), torch.eye(d, dtype=torch.float64) / 3
        self.proposals = torch.cat([center[None], center + steps, center - steps])
        self.error = float("inf")
        self._region = center, center
        self._last: Surrogate | None = None

    @property
    def ended(self) -> bool:
        """Whether the density is known well enough."""
        return len(self.proposals) == 0

    def add(self, gradients: Tensor, variances: Tensor) -> None:
        """Take the gradients of L at the proposals, and the variances of their errors, (p, d); propose others."""
        self.nodes = torch.cat([self.nodes, self.proposals])
        self.gradients = torch.cat([self.gradients, gradients])
        self.variances = torch.cat([self.variances, variances])
        surrogate = self._fitted()
        self.density = GridDensity(lambda u: surrogate(u) - _doubt(surrogate.variance(u)), len(self.nodes[0]))
        self.proposals = self._propose(surrogate)
        self._region = self.density.mean, RADIUS * self.density.std

    def _fitted(self) -> Surrogate:
        """By the points in the region, which grows until it has enough."""
        center, radius = self._region
        away = ((self.nodes - center).abs() / radius).max(1).values
        grown = max(1.0, float(away.sort().values[min(len(away), len(center) + 2) - 1]) / NEAR)
        near = away <= NEAR * grown
        if self._last is not None:  # points of negligible density would only bend the surrogate
            values = self._last(self.nodes)
            values = torch.where(near, values, -torch.inf)
            enough = values.sort(descending=True).values[min(len(values), 3 * len(center) + 3) - 1]
            near = near & (values >= torch.minimum(enough, values.max() - NEGLIGIBLE))
        pooled = self.variances[near].mean(0)  # the variances of few samples are uncertain themselves
        variances = (self.variances[near] + pooled) / 2
        self._last = Surrogate(center, grown * radius, self.nodes[near], self.gradients[near], variances)
        return self._last

    def _propose(self, surrogate: Surrogate) -> Tensor:
        mean, std = self.density.mean, self.density.std
        basis = torch.linalg.eigh(self.density.covariance)
        steps = (basis.eigenvalues.sqrt() * basis.eigenvectors).mT  # a standard deviation along each principal axis
        errors = torch.stack([_error(surrogate, mean, step) for step in steps])
        self.error = float(errors.max())
        away = self.nodes - mean
        away = (away * torch.linalg.solve(self.density.covariance, away.mT).mT).sum(1).sqrt()
        self.settled = float(away.min()) <= AWAY
        if not self.settled:
            return mean[None]
        enough = int((away < WITHIN).sum()) >= 3 * len(mean) + 3
        if enough and self.error <= self.agreed:
            return mean.new_empty(0, len(mean))
        chosen = steps[errors.argmax()][None] if enough else steps
        ends = torch.cat([mean + k * chosen for k in SPREAD]).clamp(0, 1)
        apart = torch.cdist(ends / std, self.nodes / std).min(1).values
        return ends[apart.argmax()][None]  # the one furthest from all points so far


def _doubt(variance: Tensor) -> Tensor:
    """By how much log densities of a variance are lowered: by half of a large one, by little for a small one."""
    return 0.5 * variance**2 / (1 + variance)


def _error(surrogate: Surrogate, mean: Tensor, step: Tensor) -> Tensor:
    """The largest error of the slope and the curvature of L along a step of one standard deviation, nats.

    An error of .3 moves the mean by .15 standard deviations, or changes the variance by 30 %.
    """
    found = []
    for k in (1, 2):
        ends = torch.stack([mean - k * step, mean, mean + k * step]).clamp(0, 1)
        slope, curvature = torch.tensor([[-1.0, 0.0, 1.0], [1.0, -2.0, 1.0]], dtype=torch.float64)
        found += [surrogate.error(ends, slope) / k, surrogate.error(ends, curvature) / k**2]
    return torch.stack(found).max()

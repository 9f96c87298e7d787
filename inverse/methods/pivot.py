"""Two runs of the engine, and between them one importance weighting that needs no path to it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from inverse.methods.method import Method
from inverse.methods.reweighting import log_likelihood, log_proposal, overlapping
from inverse.methods.sampler import Sampler
from inverse.population import resampled
from inverse.protocols import RNG
from inverse.types import State
from inverse.weights import Resampling, systematic
from operators import Operator
from priors import Prior
from priors.arguments import function, settings
from priors.base import expand
from priors.density import log_density_along
from priors.wording import Concise

INSIDE = 0.5  # of the first run's largest noise level: the pivot where the level is above it


@dataclass(frozen=True, repr=False)
class Pivot(Concise, Sampler):
    """Samples of one method, noised to one level, the pivot, weighted and resampled there, and denoised by another.

    Formula: the samples x_0 (N, *E) of the first method, whatever it errs by, become x_s = alpha_s x_0 + sigma_s z.
    Given the K of a measurement, these are draws of q = 1/K sum_j N(alpha_s x_0^j, sigma_s^2 I), a density that is
    known. So they are weighted by p_s(x_s) p_s(y | x_s) / q(x_s), with p_s by line integrals of the score
    (`priors.log_density_along`) and p_s(y | x_s) with Tweedie's covariance, and resampled. Where modes are
    apart at s and x_0 given x_s is nearly Gaussian, the shares of modes are right whatever they were in the first run;
    a mode that it did not find is not found. Weights are cut at K^1/2 times their mean, so that no row dominates. Where
    kernels do not overlap, weights depend on the gaps between the x_0 and draws come out too narrow; so the pivot is
    raised until half of the x_s lie in at least ``kernels`` kernels, 1 / sum_j r_j^2 with r_j the probability that x_s
    came from x_0^j. Its standard deviation is that of the second run's few steps: 2 % too large on the audit's problem.
    Source: Rozet et al. 2024 (the covariance); Ionides 2008 (the cut); Cappe, Guillin, Marin & Robert 2004 (a
    population's mixture as proposal); the method is ours.
    Arguments: name; first and second (`Method`), of which n_steps is not used, nor the second's head; n_steps: of both;
    share (float in (0, 1)) of the steps that are the second's; level (float > 0): the pivot, where sigma / alpha is
    this fraction of the root mean square distance of the prior's draws from its mean, sqrt(d v), and at most half of
    that at the first method's start, at least twice that at its end; most (int >= 0): the
    largest measurement, in numbers, unmeasured ones included; covariances (float in (0, 1]): share of the rows whose
    covariance is computed, by a backward pass per measured number; nodes (int >= 1) of the line integrals, evaluations
    of the prior; kernels (float >= 0), of few rows at most a quarter of them; resampling, rows: as `SMC`.
    Raises: TypeError for a first or second that is no `Method`; ValueError for numbers out of range and methods that
    weight their rows or ignore y; before the prior is evaluated, for larger measurements, fewer than 2 steps, and a
    first run with too few noise levels.
    """

    name: str
    first: Method
    second: Method
    n_steps: int = 16
    share: float = 0.5
    level: float = 0.1
    most: int = 64
    covariances: float = 1.0
    nodes: int = 20
    kernels: float = 4.0
    resampling: Resampling = systematic
    rows: int = 1

    def __post_init__(self) -> None:
        settings(self, n_steps=2, share="(0, 1)", level="(0, inf)", most=0, covariances="(0, 1]")
        settings(self, nodes=1, kernels="[0, inf)", rows=1)
        function("resampling", self.resampling)
        for which, method in (("first", self.first), ("second", self.second)):
            if not isinstance(method, Method):
                kind = type(method).__name__
                raise TypeError(f"{which} of type {kind}: expected a Method, such as METHODS['mmps']")
            if method.weighted or not method.conditional:
                why = "weights its rows" if method.weighted else "ignores y"
                raise ValueError(
                    f"{which} method {method.name!r} {why}: expected independent draws given y, as of METHODS['mmps']"
                )

    def grids(self, prior: Prior, n_steps: int | None = None) -> tuple[Tensor, Tensor]:
        """The times of both runs, that of the second from the planned pivot; n_steps: default the method's.

        Raises: ValueError for fewer than 2 steps, and for a first run whose noise levels leave no room for a pivot.
        """
        n = n_steps or self.n_steps
        after = max(1, round(n * self.share))
        if after >= n:
            raise ValueError(f"n_steps = {n}: method {self.name!r} runs twice, expected at least a step for each")
        before = self.first.times(prior, n - after)
        return before, self.second.times(prior, after, self._pivot(prior, before[0]).item())

    def _pivot(self, prior: Prior, start: Tensor) -> Tensor:
        """The planned pivot: that of the level, or where this is outside the first run, well inside it."""
        rms = (math.prod(prior.event_shape) * prior.variance) ** 0.5
        ends = (start.new_tensor(prior.sde.t_min), start)
        low, high = (float(prior.sde.sigma(t) / prior.sde.alpha(t)) for t in ends)
        ratio = max(min(self.level * rms, INSIDE * high), low / INSIDE)
        pivot = prior.sde.time(torch.tensor(ratio, dtype=torch.float64))
        if not prior.sde.t_min < pivot.item() < start.item():
            raise ValueError(
                f"method {self.name!r}: its first run has noise levels of {low:.3g} to {high:.3g} times the signal, "
                "which leave no room for a pivot: take a prior with more levels, or method 'mmps'"
            )
        return pivot

    def carry(
        self,
        prior: Prior,
        operator: Operator | None,
        y: Tensor | None,
        rng: RNG,
        n_rows: int,
        n_steps: int | None = None,
        on_step: Callable[[], None] = lambda: None,
    ) -> State:
        assert operator is not None and y is not None
        if (size := y[0].numel()) > self.most:
            raise ValueError(
                f"a measurement of {size} numbers: expected at most {self.most}, for each costs a backward pass; take "
                "method 'mmps', or raise most"
            )
        before, after = self.grids(prior, n_steps)
        given = (prior, operator, y)
        first = self.first.run(*given, rng, n_rows, before, on_step)
        state, s = self.reweighted(*given, first.x, after[0], rng)
        times = self.second.times(prior, len(after) - 1, s.item())
        return replace(self.second.run(*given, rng, n_rows, times, on_step, state.x), origin=state.origin)

    @torch.no_grad()
    def reweighted(
        self, prior: Prior, operator: Operator, y: Tensor, x0: Tensor, s: Tensor, rng: RNG
    ) -> tuple[State, Tensor]:
        """Noise samples, weight them there and resample them.

        Arguments: prior; operator and y (N, *M) of the rows; x0 (N, *E); s (0-d): the planned pivot; rng (`RowRNG` of
        the rows).
        Returns: the state of N rows at the pivot, of equal weight, and the pivot, s or later.
        """

        def sets(v: Tensor) -> Tensor:
            return v.reshape(-1, self.rows, v[0].numel()).double()

        z = rng.normal(tuple(x0.shape))
        s = overlapping(sets(x0), sets(z), prior.sde, s, self.kernels)
        centres, sigma = expand(prior.sde.alpha(s), x0) * x0, expand(prior.sde.sigma(s), x0)
        x = centres + sigma * z
        log_w = log_likelihood(prior, operator, y, x, s, self.rows, self.covariances).double()
        log_w = log_w + log_density_along(prior, x, s, self.nodes)
        log_w = log_w.view(-1, self.rows) - log_proposal(sets(x), sets(centres), sigma)
        most = log_w.logsumexp(1, keepdim=True) - 0.5 * math.log(self.rows)
        state = State(x, torch.minimum(log_w, most).view(-1), origin=torch.arange(len(x), device=x.device))
        return resampled(state, self.rows, 1.0, self.resampling, rng), s

    def steps(self, prior: Prior, n_steps: int | None = None) -> int:
        return sum(len(grid) - 1 for grid in self.grids(prior, n_steps))

    def sized(self, n_samples: int) -> Self:
        return replace(self, rows=n_samples)

    @property
    def parts(self) -> tuple[Any, ...]:
        """Those of both methods, and the resampling."""
        return (*self.first.parts, *self.second.parts, self.resampling)

    @property
    def needs(self) -> frozenset[str]:
        """Operator capabilities that it relies on."""
        return self.first.needs | self.second.needs

    @property
    def differentiates(self) -> bool:
        """Whether it needs the derivative of the prior's denoiser: Tweedie's covariance does."""
        return True

    @property
    def citation(self) -> str:
        """The second method's paper, and what is added to it."""
        return f"{self.second.citation}; weighted at a pivot level (this toolkit)"

    @property
    def calibrated(self) -> bool:
        """Whether the spread of its samples was measured to be right: that is up to the second method."""
        return self.second.calibrated

    @property
    def weighted(self) -> bool:
        """Whether rows are weighted, as they are at the pivot."""
        return True

    @property
    def coupled(self) -> bool:
        """Whether the samples of one measurement must share a batch."""
        return True

    @property
    def separate(self) -> bool:
        """Whether a batch must hold one measurement only, since each decides its pivot."""
        return True

    @property
    def largest(self) -> float:
        """The most numbers that a measurement may have."""
        return self.most

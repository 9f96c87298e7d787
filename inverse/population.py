"""Populations of states."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from inverse.protocols import Population
from inverse.types import State


@dataclass(frozen=True)
class Independent(Population):
    """Every row on its own, all weights alike."""

    def init(self, x, posterior, t):
        return State(x, x.new_zeros(len(x)))

    def update(self, state, x, q, kernel, posterior, t, s, rng):
        return replace(state, x=x)


def systematic(weights: Tensor, u: Tensor) -> Tensor:
    """Ancestors by one uniform number per measurement: the points (k + u) / K among the cumulated weights.

    Source: Kitagawa 1996; Douc, Cappe & Moulines 2005.
    Arguments: weights (B, K) of sum 1; u (B, K) uniform on [0, 1), of which the first column is used.
    Returns: (B, K) indices; sample k has K w_k offspring, rounded up or down.
    """
    k = weights.shape[1]
    points = (torch.arange(k, device=weights.device) + u[:, :1]) / k
    return torch.searchsorted(weights.cumsum(1), points.to(weights), right=True).clamp_max(k - 1)


@dataclass(frozen=True)
class SMC(Population):
    """Sequential Monte Carlo: rows are weighed by reference over proposal, and resampled where the weights are uneven.

    Formula: after a step drawn from q, log w += log p(x_s | x_t) - log q(x_s | x_t) + log psi_s(x_s) - log psi_t(x_t),
    with p the kernel's law under the prior alone and psi the posterior's log-likelihood; at first log w = log psi.
    The evidence is the product of the mean weights between resamplings.
    Source: Del Moral, Doucet & Jasra 2006; Wu et al. 2023, algorithm 1.
    Arguments: threshold (float in [0, 1]): resample a measurement's rows when their effective sample size falls below
    this fraction of them; resampling: a scheme such as `systematic`, weights (B, K) and uniform numbers (B, K) ->
    indices (B, K); rows K per measurement, set by ``solve``.
    Raises: ValueError for a threshold out of range, and at the first step for a kernel without noise.
    """

    threshold: float = 0.5
    resampling: Callable[[Tensor, Tensor], Tensor] = systematic
    rows: int = 1

    coupled = True

    def __post_init__(self):
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold = {self.threshold}: expected a fraction in [0, 1]")

    def sized(self, n_samples: int) -> "SMC":
        return replace(self, rows=n_samples)

    def init(self, x, posterior, t):
        log_w = posterior.log_likelihood(x, t).double()
        return State(x, log_w, torch.zeros_like(log_w))

    def update(self, state, x, q, kernel, posterior, t, s, rng):
        reference = kernel.transition(posterior.prior, state.x, t, s, rng)
        reference = reference if q.basis is None else reference.within(q.basis)
        gain = reference.log_prob(x) - q.log_prob(x) + posterior.log_gain(x, s, state.x, t)
        return self._resample(replace(state, x=x, log_w=state.log_w + gain.double()), rng)

    def _resample(self, state: State, rng) -> State:
        log_w = state.log_w.view(-1, self.rows)
        w = torch.softmax(log_w, 1)
        uneven = 1 / w.square().sum(1) < self.threshold * self.rows
        u = rng.uniform((len(state.x), 1)).view(-1, self.rows)  # drawn even if unused: rows must not see their batch
        if not bool(uneven.any()):
            return state
        chosen = torch.where(uneven[:, None], self.resampling(w, u.to(w)), torch.arange(self.rows, device=w.device))
        flat = (chosen + self.rows * torch.arange(len(chosen), device=w.device)[:, None]).view(-1)
        level = torch.where(uneven, log_w.logsumexp(1) - torch.tensor(float(self.rows)).log(), 0.0)[:, None]
        log_w = torch.where(uneven[:, None], 0.0, log_w)
        assert state.log_z is not None
        return State(state.x[flat], log_w.reshape(-1), state.log_z + level.expand_as(log_w).reshape(-1))

"""Populations of states."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from inverse.protocols import RNG, Kernel, Population, Posterior
from inverse.types import Gaussian, State
from inverse.weights import Resampling, effective_size, systematic
from priors.arguments import function, settings
from priors.density import EXACT_UP_TO, log_density
from priors.wording import Concise


@dataclass(frozen=True)
class Independent(Population):
    """Independent rows of equal weight."""

    def init(self, x: Tensor, posterior: Posterior, t: Tensor) -> State:
        return State(x, x.new_zeros(len(x)))

    def update(
        self, state: State, x: Tensor, q: Gaussian, kernel: Kernel, posterior: Posterior, t: Tensor, s: Tensor, rng: RNG
    ) -> State:
        return replace(state, x=x)


@dataclass(frozen=True, repr=False)
class SMC(Concise, Population):
    """Sequential Monte Carlo: rows are weighted by reference over proposal, and resampled where the weights are uneven.

    Formula: after a step drawn from q, log w += log p(x_s | x_t) - log q(x_s | x_t) + log psi_s(x_s) - log psi_t(x_t),
    with p the kernel's law under the prior alone and psi the posterior's log-likelihood; at first log w = log psi.
    The evidence is the product of the mean weights between resamplings. Correctors are moves: they separate rows
    that resampling duplicated, leave p_s(x) psi_s(x) and so the weights alone, and are accepted by the rule of
    Metropolis and Hastings where the prior knows its density. Where it does not, as no network does, they are
    always accepted and their step must be short.
    Source: Del Moral, Doucet & Jasra 2006; Wu et al. 2023, algorithm 1; Gilks & Berzuini 2001 (moves); Roberts &
    Tweedie 1996 (the Langevin proposal).
    Arguments: threshold (float in [0, 1]): resample a measurement's rows when their effective sample size falls below
    this fraction of them; resampling: a scheme of `inverse.weights.RESAMPLINGS`, weights (B, K) and uniform
    numbers (B, K) -> indices (B, K); rows K per measurement, set by ``solve``.
    Raises: ValueError for a threshold out of range, before the prior is evaluated for moves under a guidance that edits
    steps, and at the first step for a kernel without noise.
    """

    threshold: float = 0.5
    resampling: Resampling = systematic
    rows: int = 1

    coupled = weighted = reorders = True

    def __post_init__(self) -> None:
        settings(self, threshold="[0, 1]", rows=1)
        function("resampling", self.resampling)

    def sized(self, n_samples: int) -> "SMC":
        return replace(self, rows=n_samples)

    def check(self, posterior: Posterior, correctors: Sequence[Kernel]) -> None:
        if correctors:
            _refuse_edits(posterior, "a move needs the density of the law that it leaves alone")

    def init(self, x: Tensor, posterior: Posterior, t: Tensor) -> State:
        log_w = posterior.log_likelihood(x, t).double()
        return State(x, log_w, torch.zeros_like(log_w), torch.arange(len(x), device=x.device))

    def update(
        self, state: State, x: Tensor, q: Gaussian, kernel: Kernel, posterior: Posterior, t: Tensor, s: Tensor, rng: RNG
    ) -> State:
        if s == t:
            return replace(state, x=self._accepted(state.x, x, q, kernel, posterior, t, rng))
        reference, memory = kernel.step(posterior.prior, state.x, t, s, rng, state.reference)
        reference = reference if q.basis is None else reference.within(q.basis)
        gain = reference.log_prob(x) - q.log_prob(x) + posterior.log_gain(x, s, state.x, t)
        state = replace(state, x=x, log_w=state.log_w + gain.double(), reference=memory)
        return resampled(state, self.rows, self.threshold, self.resampling, rng)

    def _accepted(
        self, before: Tensor, x: Tensor, q: Gaussian, kernel: Kernel, posterior: Posterior, t: Tensor, rng: RNG
    ) -> Tensor:
        """Each row's move from ``before`` to x, drawn from q, or where it is rejected ``before``."""

        def target(z: Tensor) -> Tensor:
            return (posterior.prior.log_prob(z, t) + posterior.log_likelihood(z, t)).double()

        u = rng.uniform((len(x), 1))[:, 0]
        if not posterior.prior.has_log_prob:
            return x
        was = target(before)  # first: the proposal has just evaluated the prior there
        gain = target(x) - was
        back = kernel.transition(posterior, x, t, t, rng)
        gain = gain + (back.log_prob(before) - q.log_prob(x)).double()
        return torch.where((u.double().log() < gain).view(-1, *[1] * (x.ndim - 1)), x, before)


@dataclass(frozen=True, repr=False)
class Importance(Concise, Population):
    """Rows moved without noise and weighted by the posterior over the density of the samples that this gives.

    Formula: log w = log p_t(x) + log p_t(y | x) - log q_t(x) at the last time t, with log q = log N(x_1; 0, sigma(1)^2)
    less the steps' log-determinants, and p_t(y | x) the posterior's log-likelihood. x is a draw of x_t and not of x0:
    weighted at its own noise level it may be nearer to y than sigma(t), and `Posterior.finish` denoises it. Rows are
    independent, so the mean weight is an unbiased estimate of p(y), whatever their number.
    Source: Kong, Liu & Wong 1994 (importance sampling); Song et al. 2021, section 4.3 (the flow's density); Noe,
    Olsson, Koehler & Wu 2019 (weighting the samples of a flow).
    Arguments: n_steps (int >= 1) and probes (int >= 1): of the prior's own density, where it has no closed form;
    exact_up_to (int >= 0) dimensions without probes (see `priors.density.log_density`).
    Raises: ValueError for numbers out of range, before the prior is evaluated for a guidance that edits steps, and at
    the first step for a kernel that does not know its log-determinant.
    """

    n_steps: int = 20
    probes: int = 2
    exact_up_to: int = EXACT_UP_TO

    weighted = differentiates = True

    def __post_init__(self) -> None:
        settings(self, n_steps=1, probes=1, exact_up_to=0)

    def check(self, posterior: Posterior, correctors: Sequence[Kernel]) -> None:
        _refuse_edits(posterior, "their density is unknown")

    def init(self, x: Tensor, posterior: Posterior, t: Tensor) -> State:
        log_w = -posterior.sde.terminal_log_prob(x).double()
        return State(x, log_w, torch.zeros_like(log_w))

    def update(
        self, state: State, x: Tensor, q: Gaussian, kernel: Kernel, posterior: Posterior, t: Tensor, s: Tensor, rng: RNG
    ) -> State:
        if q.log_det is None:
            raise ValueError(
                f"{type(kernel).__name__} does not know the density of its steps: for weights take "
                "inverse.predictors.Flow(), and without correctors"
            )
        return replace(state, x=x, log_w=state.log_w + q.log_det)

    def finish(self, state: State, posterior: Posterior, t: Tensor, rng: RNG) -> State:
        probes = None if state.x[0].numel() <= self.exact_up_to else self.probes
        target = log_density(posterior.prior, state.x, t, self.n_steps, probes, rng)
        return replace(state, log_w=state.log_w + target + posterior.log_likelihood(state.x, t).double())


def resampled(state: State, rows: int, threshold: float, resampling: Resampling, rng: RNG) -> State:
    """Rows of equal weight where a measurement's weights are uneven, with their log mean weight added to log_z.

    Arguments: state of N rows, x (N, *E); rows of each measurement, ordered "b k"; threshold (float in [0, 1]):
    resample where the effective sample size is below this fraction of the rows; resampling: a scheme of
    `inverse.weights.RESAMPLINGS`; rng (`RowRNG` of the rows).
    """
    log_w = state.log_w.view(-1, rows)
    w = torch.softmax(log_w, 1)
    uneven = effective_size(log_w) < threshold * rows
    u = rng.uniform((len(state.x), 1)).view(-1, rows)  # drawn even if unused: rows must not see their batch
    if not bool(uneven.any()):
        return state
    chosen = torch.where(uneven[:, None], resampling(w, u.to(w)), torch.arange(rows, device=w.device))
    flat = (chosen + rows * torch.arange(len(chosen), device=w.device)[:, None]).view(-1)
    level = torch.where(uneven, log_w.logsumexp(1) - math.log(rows), 0.0)[:, None]
    log_w = torch.where(uneven[:, None], 0.0, log_w)
    log_z = None if state.log_z is None else state.log_z + level.expand_as(log_w).reshape(-1)
    return replace(state.rows(flat), log_w=log_w.reshape(-1), log_z=log_z)


def _refuse_edits(posterior: Posterior, why: str) -> None:
    if posterior.edits:
        raise ValueError(
            f"{type(posterior).__name__} edits the steps: {why}; take a guidance of the score alone, such as Tweedie() "
            "or TDS()"
        )

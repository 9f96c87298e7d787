"""Populations of states."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from inverse.protocols import Population, Posterior
from inverse.types import State
from inverse.weights import Resampling, effective_size, systematic
from priors.arguments import function, settings
from priors.base import expand
from priors.density import EXACT_UP_TO, log_density, log_density_along
from priors.sde import SDE
from priors.wording import Concise

RAISED = 1.25  # by how much a pivot is raised at a time


@dataclass(frozen=True)
class Independent(Population):
    """Every row on its own, all weights alike."""

    def init(self, x, posterior, t):
        return State(x, x.new_zeros(len(x)))

    def update(self, state, x, q, kernel, posterior, t, s, rng):
        return replace(state, x=x)


@dataclass(frozen=True, repr=False)
class SMC(Concise, Population):
    """Sequential Monte Carlo: rows are weighed by reference over proposal, and resampled where the weights are uneven.

    Formula: after a step drawn from q, log w += log p(x_s | x_t) - log q(x_s | x_t) + log psi_s(x_s) - log psi_t(x_t),
    with p the kernel's law under the prior alone and psi the posterior's log-likelihood; at first log w = log psi.
    The evidence is the product of the mean weights between resamplings. Correctors are moves: they spread what
    resampling made alike, leave p_s(x) psi_s(x) and so the weights alone, and are accepted by the rule of Metropolis
    and Hastings where the prior knows its density. Where it does not, as no network does, they are taken as they come
    and their step must be short.
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

    coupled = weighs = reorders = True

    def __post_init__(self):
        settings(self, threshold="[0, 1]", rows=1)
        function("resampling", self.resampling)

    def sized(self, n_samples: int) -> "SMC":
        return replace(self, rows=n_samples)

    def check(self, posterior, correctors):
        if correctors:
            _refuse_edits(posterior, "a move needs the density of the law that it leaves alone")

    def init(self, x, posterior, t):
        log_w = posterior.log_likelihood(x, t).double()
        return State(x, log_w, torch.zeros_like(log_w), torch.arange(len(x), device=x.device))

    def update(self, state, x, q, kernel, posterior, t, s, rng):
        if s == t:
            return replace(state, x=self._accepted(state.x, x, q, kernel, posterior, t, rng))
        reference, memory = kernel.step(posterior.prior, state.x, t, s, rng, state.reference)
        reference = reference if q.basis is None else reference.within(q.basis)
        gain = reference.log_prob(x) - q.log_prob(x) + posterior.log_gain(x, s, state.x, t)
        state = replace(state, x=x, log_w=state.log_w + gain.double(), reference=memory)
        return self._resample(state, rng)

    def hand_over(self, state, posterior, t, s, rng):
        was = posterior.log_likelihood(state.x, t)  # first: the last step has evaluated the prior there
        log_w = state.log_w + (posterior.refined(state.x, t, self.rows) - was).double()
        return replace(self, threshold=1.0)._resample(replace(state, log_w=log_w), rng)

    def _accepted(self, before: Tensor, x: Tensor, q, kernel, posterior: Posterior, t: Tensor, rng) -> Tensor:
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

    def _resample(self, state: State, rng) -> State:
        log_w = state.log_w.view(-1, self.rows)
        w = torch.softmax(log_w, 1)
        uneven = effective_size(log_w) < self.threshold * self.rows
        u = rng.uniform((len(state.x), 1)).view(-1, self.rows)  # drawn even if unused: rows must not see their batch
        if not bool(uneven.any()):
            return state
        chosen = torch.where(uneven[:, None], self.resampling(w, u.to(w)), torch.arange(self.rows, device=w.device))
        flat = (chosen + self.rows * torch.arange(len(chosen), device=w.device)[:, None]).view(-1)
        level = torch.where(uneven, log_w.logsumexp(1) - math.log(self.rows), 0.0)[:, None]
        log_w = torch.where(uneven[:, None], 0.0, log_w)
        log_z = None if state.log_z is None else state.log_z + level.expand_as(log_w).reshape(-1)
        return replace(state.rows(flat), log_w=log_w.reshape(-1), log_z=log_z)


@dataclass(frozen=True, repr=False)
class Renoised(Concise, Independent):
    """Rows that another stage carries on from a pivot: noise is put on them, and what they then are is weighed.

    Formula: independent rows x_0 (N, *E) of a first walk, whatever it errs by, become x_s = alpha_s x_0 + sigma_s z.
    Given the K of a measurement, these are draws of q = 1/K sum_j N(alpha_s x_0^j, sigma_s^2 I), a density that is
    known. So they are weighed by p_s(x_s) p_s(y | x_s) / q(x_s), with p_s by the line integrals of the score
    (`priors.log_density_along`) and p_s(y | x_s) by the posterior (`Posterior.refined`), and resampled. Where modes are
    apart at s and x_0 given x_s is nearly Gaussian, their shares are right whatever they were in the first walk, and
    what it did not find is not found. Weights are cut at K^1/2 times their mean: no row takes all. Where kernels do not
    overlap, weights tell of holes between the x_0 and draws come out too narrow; so the pivot is raised until half of
    the x_s lie in as many kernels as asked for, 1 / sum_j r_j^2 with r_j the probability that x_s came from x_0^j.
    Source: Ionides 2008 (the cut); Cappe, Guillin, Marin & Robert 2004 (a population's mixture as proposal); the
    method is ours.
    Arguments: nodes (int >= 1) of the line integrals, evaluations of the prior; kernels (float >= 0), of few rows at
    most a quarter of them; resampling, rows: as `SMC`.
    Raises: ValueError for numbers out of range.
    """

    nodes: int = 20
    kernels: float = 4.0
    resampling: Resampling = systematic
    rows: int = 1

    coupled = weighs = restarts = True

    def __post_init__(self):
        settings(self, nodes=1, kernels="[0, inf)", rows=1)
        function("resampling", self.resampling)

    def sized(self, n_samples: int) -> "Renoised":
        return replace(self, rows=n_samples)

    def init(self, x, posterior, t):
        return replace(super().init(x, posterior, t), origin=torch.arange(len(x), device=x.device))

    def hand_over(self, state, posterior, t, s, rng):
        x0, z = posterior.finish(state.x, t, rng), rng.normal(tuple(state.x.shape))
        s = self._overlapping(x0, z, posterior.sde, s)
        centres, sigma = expand(posterior.sde.alpha(s), x0) * x0, expand(posterior.sde.sigma(s), x0)
        x = centres + sigma * z
        log_w = posterior.refined(x, s, self.rows).double()
        log_w = log_w + log_density_along(posterior.prior, x, s, self.nodes)
        at, around = (z.reshape(-1, self.rows, x[0].numel()).double() for z in (x, centres))
        log_w = log_w.view(-1, self.rows) - (-0.5 * (torch.cdist(at, around) / sigma) ** 2).logsumexp(2)
        most = log_w.logsumexp(1, keepdim=True) - 0.5 * math.log(self.rows)
        weighed = replace(state, x=x, log_w=torch.minimum(log_w, most).view(-1))
        return replace(SMC(1.0, self.resampling, self.rows)._resample(weighed, rng), t=s)

    def _overlapping(self, x0: Tensor, z: Tensor, sde: SDE, s: Tensor) -> Tensor:
        """The least time from s up at which the kernels overlap; x0 and its noise z, (N, *E)."""
        around, noise = (v.reshape(-1, self.rows, v[0].numel()).double() for v in (x0, z))
        least = min(self.kernels, 0.25 * self.rows)
        while True:
            ratio = float(sde.sigma(s) / sde.alpha(s))
            log_r = -0.5 * (torch.cdist(around + ratio * noise, around) / ratio) ** 2
            higher = sde.time(torch.tensor(RAISED * ratio, dtype=torch.float64)).to(s)
            if effective_size(log_r.flatten(0, 1)).median() >= least or higher >= 1:
                return s
            s = higher


@dataclass(frozen=True, repr=False)
class Importance(Concise, Population):
    """Rows carried without noise and weighed by the posterior over the density that they were carried with.

    Formula: log w = log p_t(x) + log p_t(y | x) - log q_t(x) at the last time t, with log q = log N(x_1; 0, sigma(1)^2)
    less the steps' log-determinants, and p_t(y | x) the posterior's log-likelihood. x is a draw of x_t and not of x0:
    weighed at its own noise level it may be nearer to y than sigma(t), and `Posterior.finish` denoises it. The rows are
    independent, so the mean weight is an unbiased estimate of p(y), whatever their number.
    Source: Kong, Liu & Wong 1994 (importance sampling); Song et al. 2021, section 4.3 (the flow's density); Noe,
    Olsson, Koehler & Wu 2019 (weighing the samples of a flow).
    Arguments: n_steps (int >= 1) and probes (int >= 1): of the prior's own density, where it has no closed form;
    exact_up_to (int >= 0) dimensions without probes (see `priors.density.log_density`).
    Raises: ValueError for numbers out of range, before the prior is evaluated for a guidance that edits steps, and at
    the first step for a kernel that does not know its log-determinant.
    """

    n_steps: int = 20
    probes: int = 2
    exact_up_to: int = EXACT_UP_TO

    weighs = differentiates = True

    def __post_init__(self):
        settings(self, n_steps=1, probes=1, exact_up_to=0)

    def check(self, posterior, correctors):
        _refuse_edits(posterior, "their density is unknown")

    def init(self, x, posterior, t):
        log_w = -posterior.sde.terminal_log_prob(x).double()
        return State(x, log_w, torch.zeros_like(log_w))

    def update(self, state, x, q, kernel, posterior, t, s, rng):
        if q.log_det is None:
            raise ValueError(
                f"{type(kernel).__name__} does not know the density of its steps: weigh with "
                "inverse.predictors.Flow(), and without correctors"
            )
        return replace(state, x=x, log_w=state.log_w + q.log_det)

    def finish(self, state, posterior, t, rng):
        probes = None if state.x[0].numel() <= self.exact_up_to else self.probes
        target = log_density(posterior.prior, state.x, t, self.n_steps, probes, rng)
        return replace(state, log_w=state.log_w + target + posterior.log_likelihood(state.x, t).double())


def _refuse_edits(posterior: Posterior, why: str) -> None:
    if posterior.edits:
        raise ValueError(
            f"{type(posterior).__name__} edits the steps: {why}; take a guidance of the score alone, such as Tweedie() "
            "or TDS()"
        )

"""log p(y) of a prior and an operator by posterior samples at growing noise levels, and comparisons by it."""

import itertools
import math
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from inverse.methods import Sampler
from inverse.quality import PoorFit
from inverse.quality.instrument import DoubtfulInstrument
from inverse.quality.scale import ImplausibleScale
from inverse.solution import Solution, UncalibratedSpread
from inverse.solve import solve
from inverse.solve.checks import check_numbers, check_pairs, check_prior
from inverse.solve.unknown import check_method
from inverse.solve.unknown.joint import Solve, unweighted
from operators import Operator
from operators.kspace import paired
from priors import Prior, RowRNG
from priors.arguments import count, rows
from priors.wording import Concise

FAR = 10.0  # times |y| / sigma: a noise of which y says nothing, so that the posterior is the prior
FLAT = 0.3  # standard deviation of the log-likelihood over the prior, at the largest noise of the path
BASE = 8  # times the samples of a level: draws of the prior
DRAWS, STREAM = 2000, 2**62 + 1  # of the errors of log p(y), for the probabilities


@dataclass(frozen=True, repr=False)
class Evidence(Concise):
    """log p(y) of one prior and operator.

    Attributes: value (B,) nats; std (B,): standard error from the spread of the samples; it does not contain errors of
    the method that drew them; nfe: evaluations of the prior per measurement; seconds.
    """

    value: Tensor
    std: Tensor
    nfe: int
    seconds: float


@dataclass(frozen=True, repr=False)
class Comparison(Concise):
    """Candidates ranked by log p(y).

    Attributes: names (n); log_evidence (B, n), nats; covariance (B, n, n): of its errors, which are correlated, as all
    candidates have the same random numbers; probabilities (B, n): of the candidates given y, equally likely before,
    with the errors taken into account; nfe: evaluations of the priors per measurement; seconds.
    """

    names: list[str]
    log_evidence: Tensor
    covariance: Tensor = field(repr=False)
    probabilities: Tensor
    nfe: int
    seconds: float

    @property
    def best(self) -> list[str]:
        """The most probable candidate of each measurement, B names."""
        return [self.names[i] for i in self.log_evidence.argmax(1).tolist()]

    @property
    def std(self) -> Tensor:
        """Standard errors of the differences of log p(y) to the best candidate, (B, n)."""
        at = self.log_evidence.argmax(1)[:, None]
        own = self.covariance.diagonal(dim1=1, dim2=2)
        shared = self.covariance.gather(2, at[:, None].expand(-1, own.shape[1], 1))[..., 0]
        return (own + own.gather(1, at) - 2 * shared).clamp_min(0).sqrt()


@dataclass(frozen=True)
class _Problem:
    """One measurement y (1, *M), of number ``number``, with a prior and an operator of Gaussian noise."""

    prior: Prior
    operator: Operator
    y: Tensor
    number: int

    def at(self, scale: float) -> Operator:
        """The operator with noise ``scale`` times as large."""
        noise = self.operator.noise
        return self.operator.with_noise(noise.replaced(sigma=noise.get_buffer("sigma") * scale))

    def energies(self, x: Tensor) -> tuple[Tensor, float, int]:
        """Of samples x (K, *E): |A x - y|^2 / (2 sigma^2), (K,); -log p(y | A x = y); the number of measured values."""
        operator = self.operator.at(tuple(x.shape[1:]))
        noise, y = operator.noise, self.y.double()
        with torch.no_grad():
            clean = torch.cat([operator(one[None]) for one in x]).double()
        there = torch.ones_like(y) if operator.support is None else operator.support.double().expand_as(y)
        top = noise.log_density(y, y)
        fall = (top - noise.log_density(y.expand_as(clean), clean)) * there
        return fall.flatten(1).sum(1).cpu(), -float((top * there).sum()), int(there.sum())


@dataclass(frozen=True)
class _Far:
    """Draws of the prior: their energies (K,), the constant of the likelihood, the number of values, the cost."""

    energies: Tensor
    constant: float
    size: int
    nfe: int

    @property
    def scale(self) -> float:
        """The noise, relative to the true one, at which the likelihood is nearly the same for all draws."""
        return max(1.0, math.sqrt(float(self.energies.std()) / FLAT))


def log_evidence(
    prior: Prior,
    operator: Operator,
    y: Tensor,
    n_samples: int = 16,
    levels: int = 16,
    method: str | Sampler = "auto",
    n_steps: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
) -> Evidence:
    """log p(y), the density of the measurement under a prior and an operator with Gaussian noise.

    Formula: with noise s times as large, d log p(y | s) / d log s = E[|A x - y|^2 / (s sigma)^2 | y, s] - m (Fisher's
    identity). It is integrated from s = 1, by Gauss-Legendre quadrature in log s, to an s at which the likelihood is
    nearly constant, where log p(y | s) is the logarithm of its mean over draws of the prior.
    Source: Gelman & Meng 1998 (path sampling), with the noise level as the path.
    Arguments: prior; operator: any with Gaussian noise; y (B, *M); n_samples (even) at each level; levels of the noise;
    method, n_steps, seed, batch_size: as `inverse.solve`; the result is as right as the samples of the method.
    Returns: `Evidence`.
    Warns: UncalibratedSpread for a method whose samples do not have the posterior's spread.
    Raises: TypeError or ValueError as `inverse.solve`, for noise that is not Gaussian or is 0, and for methods that
    weight samples.
    """
    found = compare(prior, operator, y, n_samples, levels, method, n_steps, seed, batch_size)
    return Evidence(found.log_evidence[:, 0], found.covariance[:, 0, 0].sqrt(), found.nfe, found.seconds)


def compare(
    prior: Prior | Mapping[str, Prior],
    operator: Operator | Mapping[str, Operator],
    y: Tensor,
    n_samples: int = 16,
    levels: int = 16,
    method: str | Sampler = "auto",
    n_steps: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
) -> Comparison:
    """Which prior and operator explain a measurement best: log p(y) of each, by `log_evidence`.

    Arguments: prior, operator: candidates by name, such as {"sharp": ..., "blurred": ...}, or one for all candidates; y
    (B, *M); the others as `log_evidence`. The candidates are all pairs.
    Returns: `Comparison`.
    Warns, raises: as `log_evidence`.
    """
    start = time.perf_counter()
    candidates = _candidates(prior, operator)
    check_numbers(n_samples, n_steps, batch_size, seed)
    count("n_samples", n_samples, 4, hint="antithetic pairs, at least two for a standard error")
    check_pairs(n_samples)
    count("levels", levels, 2, 64)
    check_method(method, None)
    solver = partial(solve, method=method, n_steps=n_steps, seed=seed, batch_size=batch_size, progress=False)
    values, covariances, nfe = [], [], 0
    for b in range(len(rows("y", y))):
        row = torch.tensor([b])
        problems = [
            _Problem(p, op if op.batch is None else op.rows(row), paired(y[b : b + 1], op.complex_axis), b)
            for p, op in candidates.values()
        ]
        solvers = [partial(solver, **unweighted(one.prior, one.operator, method, None)) for one in problems]
        far = [_far(one, draw, n_samples, levels) for one, draw in zip(problems, solvers, strict=True)]
        scale = max(one.scale for one in far)
        every = [
            _along(one, base, scale, levels, n_samples, draw)
            for one, base, draw in zip(problems, far, solvers, strict=True)
        ]
        values.append(torch.stack([value for value, _, _ in every]))
        terms = [torch.stack(parts) for parts in zip(*(parts for _, parts, _ in every), strict=True)]  # (n, pairs)
        covariances.append(sum(torch.cov(t).reshape(len(t), len(t)) / t.shape[1] for t in terms))
        nfe += sum(spent for _, _, spent in every)
    log_z, covariance = torch.stack(values), torch.stack([torch.as_tensor(c) for c in covariances])
    seconds = time.perf_counter() - start
    probabilities = _probabilities(log_z, covariance, seed)
    return Comparison(list(candidates), log_z, covariance, probabilities, round(nfe / len(y)), seconds)


def _candidates(
    prior: Prior | Mapping[str, Prior], operator: Operator | Mapping[str, Operator]
) -> dict[str, tuple[Prior, Operator]]:
    """All pairs, by name.

    Raises: TypeError or ValueError for what is none, and for noise without the path.
    """
    priors = prior if isinstance(prior, Mapping) else {"": prior}
    operators = operator if isinstance(operator, Mapping) else {"": operator}
    if not priors or not operators:
        raise ValueError("no candidates: expected at least one prior and one operator, such as {'sharp': operator}")
    if wrong := [name for name in (*priors, *operators) if not isinstance(name, str)]:
        raise TypeError(f"a candidate's name {wrong[0]!r}: expected a string, such as {{'sharp': operator}}")
    for p in priors.values():
        check_prior(p)
    for name, op in operators.items():
        if not isinstance(op, Operator):
            raise TypeError(f"operator {name!r} of type {type(op).__name__}: expected an operators.Operator")
        if not {"gaussian", "density"} <= op.noise.capabilities:
            raise ValueError(
                f"{type(op).__name__} with {op.noise!r}: log p(y) needs Gaussian noise with sigma > 0; for photon "
                "counts and others see Solution.log_evidence of method='exact' or 'pivot-ep'"
            )
    pairs = itertools.product(priors.items(), operators.items())
    return {", ".join(filter(None, (a, b))): (p, op) for (a, p), (b, op) in pairs}


def _solved(problem: _Problem, scale: float, first: int, n: int, solver: Solve) -> Solution:
    with warnings.catch_warnings():  # at a level, or for a wrong candidate, samples need not explain y
        warnings.simplefilter("ignore", PoorFit)
        warnings.simplefilter("ignore", ImplausibleScale)
        warnings.simplefilter("ignore", DoubtfulInstrument)
        return solver(
            problem.prior, problem.at(scale), problem.y, n_samples=n, first=first, numbers=[problem.number],
            antithetic=True, noise_checks=False,
        )  # fmt: skip


def _far(problem: _Problem, solver: Solve, n: int, levels: int) -> _Far:
    noise = problem.operator.noise
    sigma = noise.variance(problem.y[:1]).sqrt()
    solution = _solved(problem, FAR * max(1.0, float((problem.y / sigma).norm())), n * levels, BASE * n, solver)
    if not solution.calibrated:
        warnings.warn(
            f"samples of {solution.method!r} do not have the posterior's spread, on which log p(y) depends: take "
            "'mmps', if it serves",
            UncalibratedSpread,
            stacklevel=4,
        )
    return _Far(*problem.energies(solution.samples[0]), solution.nfe * BASE * n)


def _along(
    problem: _Problem, far: _Far, scale: float, levels: int, n: int, solver: Solve
) -> tuple[Tensor, list[Tensor], int]:
    """log p(y); for its variance, terms (pairs,) whose means are its independent parts; evaluations of the prior."""
    w = torch.exp(-(far.energies - far.energies.min()) / scale**2)
    base = float(w.mean().log() - far.energies.min() / scale**2) - far.constant - far.size * math.log(scale)
    terms, nfe = [(w / w.mean()).view(-1, 2).mean(1)], far.nfe
    total, reach = torch.tensor(base, dtype=torch.float64), math.log(scale)
    places, weights = np.polynomial.legendre.leggauss(levels)
    for k, (place, weight) in enumerate(zip(places.tolist(), weights.tolist(), strict=True)):
        s = math.exp(reach * (1 + place) / 2)
        solution = _solved(problem, s, n * k, n, solver)
        slopes = 2 * problem.energies(solution.samples[0])[0] / s**2 - far.size
        term = -reach / 2 * weight * slopes.view(-1, 2).mean(1)
        total, nfe = total + term.mean(), nfe + solution.nfe * n
        terms.append(term)
    return total, terms, nfe


def _probabilities(log_z: Tensor, covariance: Tensor, seed: int) -> Tensor:
    """Of the candidates, (B, n), averaged over normal errors of log_z (B, n)."""
    values, vectors = torch.linalg.eigh(covariance)
    z = RowRNG(seed, [(b, STREAM) for b in range(len(log_z))], dtype=torch.float64).normal(
        (len(log_z), DRAWS, log_z.shape[1])
    )
    errors = (z * values.clamp_min(0).sqrt()[:, None]) @ vectors.mT
    return (log_z[:, None] + errors).softmax(2).mean(1)

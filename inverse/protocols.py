"""What the engine knows: kernels, guidances, posteriors, populations. It never asks for more."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

from torch import Tensor

from inverse.types import Gaussian, Memory, State
from operators import Operator
from priors import Prior
from priors.base import Wrapped, expand
from priors.moments import SecondMoments
from priors.rng import RNG


class Transition(Protocol):
    """The least that serves as a kernel: any object with this method. `Kernel` is the base class of ours."""

    def transition(self, field: Prior, x: Tensor, t: Tensor, s: Tensor, rng: RNG, /) -> Gaussian:
        """x (N, *E) at time t -> the Gaussian of the state at s."""
        ...


class Kernel(ABC):
    """A predictor (s < t) or a corrector (s == t): the law of x_s given x_t under a field. It never sees y.

    ``differentiates``: as of `Guidance`.
    """

    differentiates: ClassVar[bool] = False

    @abstractmethod
    def transition(self, field: Prior, x: Tensor, t: Tensor, s: Tensor, rng: RNG) -> Gaussian:
        """x (N, *E) at time t -> the Gaussian of the state at s.

        The engine draws from it. A kernel whose step has noise inside draws that from rng (`RowRNG` of the rows) and
        returns its Gaussian given that noise; most need none.
        """

    def step(self, field: Prior, x: Tensor, t: Tensor, s: Tensor, rng: RNG, memory: Memory) -> tuple[Gaussian, Memory]:
        """`transition` of x (N, *E), given the memory of the last step, at first empty, and the next memory."""
        return self.transition(field, x, t, s, rng), memory


class StatefulKernel(Kernel):
    """A kernel whose steps depend on earlier ones, such as a multistep solver. Write `step` instead of `transition`.

    What it must know of the last step is in a memory that the engine keeps beside the rows and resamples with them; the
    kernel itself never changes. As a corrector it takes first steps alone.
    """

    def transition(self, field: Prior, x: Tensor, t: Tensor, s: Tensor, rng: RNG) -> Gaussian:
        """The first step of x (N, *E), before which nothing is known; as `Kernel.transition`."""
        return self.step(field, x, t, s, rng, {})[0]

    @abstractmethod
    def step(self, field: Prior, x: Tensor, t: Tensor, s: Tensor, rng: RNG, memory: Memory) -> tuple[Gaussian, Memory]:
        """x (N, *E) at t -> its Gaussian at s, and the memory for the next step: tensors (N, ...), a row each."""


class Plain(Kernel):
    """Another object's `transition` as a kernel (`as_kernel`)."""

    def __init__(self, kernel: Transition) -> None:
        self.kernel = kernel

    def transition(self, field: Prior, x: Tensor, t: Tensor, s: Tensor, rng: RNG) -> Gaussian:
        return self.kernel.transition(field, x, t, s, rng)


def as_kernel(kernel: Kernel | Transition) -> Kernel:
    """A kernel as the engine takes it: itself, or around any object with a `transition`, which has no memory."""
    return kernel if isinstance(kernel, Kernel) else Plain(kernel)


class Posterior(Wrapped, ABC):
    """A prior that knows y: its score is an approximation of grad log p_t(x | y).

    Arguments: prior (Prior, evaluated once per (x, t)); operator (Operator of the rows); y (N, *M).
    Attributes: edits: whether it edits the Gaussians of kernels, so that their densities are not those of the field:
    true of any class that defines `condition`.
    """

    edits: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if {"condition", "edit"} & set(vars(cls)):
            cls.edits = True

    def __init__(self, prior: Prior, operator: Any, y: Any) -> None:
        super().__init__(prior)
        self.operator, self.y = operator, y

    def start(self, n: int, t: Tensor, rng: RNG) -> Tensor:
        """n states at the first time t, (n, *E): the SDE's terminal law, or later the Gaussian of the moments."""
        if t >= 1 or self.moments is None:
            return self.sde.sample_terminal((n, *self.event_shape), rng)
        x0 = self.guess(n, self.moments, rng)
        start = expand(self.sde.sigma(t), x0) * rng.normal(tuple(x0.shape))
        return start.add_(expand(self.sde.alpha(t), x0) * x0)  # in place: states may be large

    def guess(self, n: int, moments: SecondMoments, rng: RNG) -> Tensor:
        """n draws of x0 by the prior's moments alone, (n, *E), where the noise level hides everything else."""
        return moments.to(self.device).draw(n, rng)

    def r2(self, t: Tensor | float) -> float:
        """Variance of x0 given x_t under a Gaussian prior of independent coordinates, v s^2 / (s^2 + a^2 v)."""
        s2, a2 = self.sde.sigma(t) ** 2, self.sde.alpha(t) ** 2
        return (self.variance * s2 / (s2 + a2 * self.variance)).item()

    def condition(self, q: Gaussian, x: Tensor, t: Tensor, s: Tensor) -> Gaussian:
        """Edit a kernel's Gaussian from x at t to s; most guidances leave it as it is."""
        return q

    def edit(self, q: Gaussian, x: Tensor, t: Tensor, s: Tensor, memory: Memory) -> tuple[Gaussian, Memory]:
        """`condition`, given the memory of the last edit (empty before the first), and the next memory."""
        return self.condition(q, x, t, s), memory

    def finish(self, x: Tensor, t: Tensor, rng: RNG) -> Tensor:
        """x0 from the state x (N, *E) at the last time t: a draw of p(x0 | x_t, y) where the guidance knows one, else
        its mean, which lacks the variance that is left at sigma_t. rng: `RowRNG` of the rows."""
        return self.denoise(x, t)

    def result(self, x: Tensor, t: Tensor, rng: RNG, memory: Memory) -> Tensor:
        """`finish`, given the memory of the last edit."""
        return self.finish(x, t, rng)

    def log_likelihood(self, x: Tensor, t: Tensor) -> Tensor:
        """An approximation of log p_t(y | x_t), (N,), for populations that weight rows."""
        return x.new_zeros(len(x))

    def log_gain(self, x: Tensor, t: Tensor, before: Tensor, earlier: Tensor) -> Tensor:
        """How much likelier y became, (N,): log p_t(y | x) at t less that of the state ``before`` at ``earlier``."""
        was = self.log_likelihood(before, earlier)  # first: the step has just evaluated the prior there
        return self.log_likelihood(x, t) - was


class StatefulPosterior(Posterior):
    """A posterior that keeps more of each row than its state, such as an optimiser's moments. Write `edit` instead of
    `condition`, and `result` instead of `finish`; the memory is as that of a `StatefulKernel`."""

    def condition(self, q: Gaussian, x: Tensor, t: Tensor, s: Tensor) -> Gaussian:
        """The first edit of a step from x (N, *E), before which nothing is known; as `Posterior.condition`."""
        return self.edit(q, x, t, s, {})[0]

    @abstractmethod
    def edit(self, q: Gaussian, x: Tensor, t: Tensor, s: Tensor, memory: Memory) -> tuple[Gaussian, Memory]:
        """The Gaussian of the step from x at t to s, and the memory for the next edit: tensors (N, ...), a row each."""


class GuidedPosterior(Posterior):
    """A posterior whose score is the prior's plus an approximate grad log p_t(y | x_t).

    By Tweedie's formula E[x0 | x_t, y] = E[x0 | x_t] + sigma^2 / alpha grad log p_t(y | x_t).
    """

    @abstractmethod
    def guide(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """(E[x0 | x_t], grad log p_t(y | x_t)), both (N, *E)."""

    def denoise(self, x: Tensor, t: Tensor | float) -> Tensor:
        """E[x0 | x_t, y] of x (N, *E) at t.

        Raises: ValueError where `guide` returns anything but two tensors of the shape of x.
        """
        found = self.guide(x, t)
        if not isinstance(found, tuple) or [getattr(part, "shape", None) for part in found] != [x.shape] * 2:
            parts = found if isinstance(found, tuple) else (found,)
            given = ", ".join(str(tuple(p.shape)) if isinstance(p, Tensor) else type(p).__name__ for p in parts)
            raise ValueError(
                f"{type(self).__name__}.guide returned {given}: expected E[x0 | x_t] and the gradient, two tensors "
                f"{tuple(x.shape)}"
            )
        denoised, gradient = found
        alpha, sigma = expand(self.sde.alpha(t), x), expand(self.sde.sigma(t), x)
        return denoised + sigma**2 / alpha * gradient


class Guidance(ABC):
    """A map from a prior to a posterior; ``needs``: operator capabilities it relies on; ``citation``: its paper;
    ``conditional``: whether it uses y at all; ``samples``: whether its draws claim to be samples of p(x | y);
    ``likelihood``: whether its posterior knows log p_t(y | x_t), if approximately, for populations that weight;
    ``evidence``: whether its log-likelihood is normalised, so that a weighted population estimates log p(y);
    ``differentiates``: whether it needs the derivative of the prior's denoiser (`Prior.differentiable`);
    ``calibrated``: whether the spread of its samples was measured to be that of exact posteriors, within .95 to 1.05
    (benchmarks/results/spread.md, and photons.md for counts)."""

    needs: ClassVar[frozenset[str]] = frozenset()
    citation: ClassVar[str] = ""
    conditional: ClassVar[bool] = True
    samples: ClassVar[bool] = True
    likelihood: ClassVar[bool] = False
    evidence: ClassVar[bool] = False
    differentiates: ClassVar[bool] = False
    calibrated: ClassVar[bool] = False

    @property
    def largest(self) -> float:
        """The most numbers that a measurement may have."""
        return math.inf

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def caution(self, operator: Operator) -> str:
        """Why its samples are known to be poor for this operator (with its `event_shape`), and what to use; else ""."""
        return ""

    @abstractmethod
    def posterior(self, prior: Prior, operator: Operator | None, y: Tensor | None, rng: RNG | None = None) -> Posterior:
        """The prior given y (N, *M), one row per sample; operator: of those rows. Both None: no measurement. rng
        (`RowRNG` of the rows) is for guidances that draw numbers of their own."""


class Population(ABC):
    """How the rows of a state live together: independently, or weighted and resampled.

    ``weighted``: whether its rows have weights of their own; ``coupled``: whether the samples of one measurement must
    share a batch; ``reorders``: whether rows change places between steps. Weights of rows that are not coupled are
    those of independent draws. ``differentiates``: as of `Guidance`.
    """

    weighted: ClassVar[bool] = False
    coupled: ClassVar[bool] = False
    reorders: ClassVar[bool] = False
    differentiates: ClassVar[bool] = False

    def sized(self, n_samples: int) -> "Population":
        """The same strategy for n_samples rows per measurement, ordered "b k"."""
        return self

    def check(self, posterior: Posterior, correctors: Sequence[Kernel]) -> None:
        """Refuse, by a ValueError and before the prior is evaluated, what this population cannot weight."""
        return

    @abstractmethod
    def init(self, x: Tensor, posterior: Posterior, t: Tensor) -> State:
        """The state at the first time t, from terminal draws x (N, *E)."""

    @abstractmethod
    def update(
        self, state: State, x: Tensor, q: Gaussian, kernel: Kernel, posterior: Posterior, t: Tensor, s: Tensor, rng: RNG
    ) -> State:
        """After a kernel drew x (N, *E) at s from q, its Gaussian given the state at t; s is t for a corrector."""

    def finish(self, state: State, posterior: Posterior, t: Tensor, rng: RNG) -> State:
        """The state at the last time t (0-d), before it is denoised: where weights are made that need a density."""
        return state

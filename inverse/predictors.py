"""One step of the reverse SDE or the probability flow, from t to s < t.

All depend only on (alpha, sigma), by the bridge x_t | x_s ~ N(a x_s, v I): VE, VP and sub-VP need no special cases.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from inverse.protocols import RNG, Kernel, StatefulKernel, Transition, as_kernel
from inverse.types import Gaussian, Memory
from priors import Prior
from priors.arguments import function, settings
from priors.base import expand
from priors.density import EXACT_UP_TO, middle, step_with_log_det
from priors.ode import heun_step

ZERO = torch.zeros((), dtype=torch.float64)


def combined(a: Tensor, x: Tensor, b: Tensor, z: Tensor) -> Tensor:
    """a x + b z of states (N, *E), with no more memory than its own where b is a number: states may be large."""
    found = a * x
    return found.add_(z, alpha=b.item()) if b.ndim == 0 else found.add_(b * z)


@dataclass(frozen=True)
class EulerMaruyama(Kernel):
    """x_s = x - (f x - g^2 score)(t - s) + g sqrt(t - s) z (Song et al. 2021, appendix D)."""

    def transition(self, field: Prior, x: Tensor, t: Tensor, s: Tensor, rng: RNG) -> Gaussian:
        f, g2, h = field.sde.f(t), field.sde.g2(t), t - s
        return Gaussian(x - h * (f * x - g2 * field.score(x, t)), torch.sqrt(g2 * h))


@dataclass(frozen=True)
class ReverseDiffusion(Kernel):
    """x_s = (2 - a) x + v score + sqrt(v) z: the forward step's own discretisation (Song et al. 2021, equation 46)."""

    def transition(self, field: Prior, x: Tensor, t: Tensor, s: Tensor, rng: RNG) -> Gaussian:
        a, v = field.sde.bridge(t, s)
        return Gaussian((2 - a) * x + v * field.score(x, t), torch.sqrt(v))


@dataclass(frozen=True)
class DDIM(Kernel):
    """x_s = alpha_s D + sqrt(sigma_s^2 - c^2) eps + c z, with c = eta sqrt(v) sigma_s / sigma_t.

    Formula: eps = (x - alpha_t D) / sigma_t.
    Source: Song, Meng & Ermon 2021, equation 12.
    Arguments: eta (float in [0, 1]): 0 is a first-order step of the probability flow, 1 is ancestral sampling.
    Raises: ValueError for eta outside [0, 1].
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        settings(self, eta="[0, 1]")

    def transition(self, field: Prior, x: Tensor, t: Tensor, s: Tensor, rng: RNG) -> Gaussian:
        sde = field.sde
        alpha_t, sigma_t, alpha_s, sigma_s = sde.alpha(t), sde.sigma(t), sde.alpha(s), sde.sigma(s)
        std = self.eta * torch.sqrt(sde.bridge(t, s)[1]) * sigma_s / sigma_t
        along = torch.sqrt((sigma_s**2 - std**2).clamp_min(0.0)) / sigma_t
        return Gaussian(combined(along, x, alpha_s - along * alpha_t, field.denoise(x, t)), std)


@dataclass(frozen=True)
class Ancestral(Kernel):
    """A draw of q(x_s | x_t, x0 = D): mean (a sigma_s^2 x + alpha_s v D) / sigma_t^2, variance v sigma_s^2 / sigma_t^2.

    Source: Ho et al. 2020, equation 7; Song et al. 2021, equation 47 (VE).
    """

    def transition(self, field: Prior, x: Tensor, t: Tensor, s: Tensor, rng: RNG) -> Gaussian:
        sde = field.sde
        (a, v), alpha_s = sde.bridge(t, s), sde.alpha(s)
        keep, std = (sde.sigma(s) / sde.sigma(t)) ** 2, torch.sqrt(v) * sde.sigma(s) / sde.sigma(t)
        return Gaussian(combined(a * keep, x, alpha_s * v / sde.sigma(t) ** 2, field.denoise(x, t)), std)


@dataclass(frozen=True)
class ProbabilityFlow(Kernel):
    """A step of Heun's rule on the probability flow: second order, two evaluations, no noise.

    Source: Song et al. 2021, equation 13; Karras et al. 2022, algorithm 1 (see `priors.ode.heun_step`).
    """

    def transition(self, field: Prior, x: Tensor, t: Tensor, s: Tensor, rng: RNG) -> Gaussian:
        return Gaussian(heun_step(field, x, t, s), ZERO)


@dataclass(frozen=True)
class StochasticRungeKutta(Kernel):
    """The stochastic Runge-Kutta step whose Euler step is `Ancestral`: strong order 1.5, weak order 2, two evaluations.

    Formula: in the signal-to-noise ratio l = (alpha / sigma)^2 the reverse SDE is dY = D dl + dB, of unit noise, with
    Y = alpha x / sigma^2. A step of size h = l_s - l_t is

        Y_m = Y + 3/4 h D + n,   Y_s = Y + h (D / 3 + 2 D_m / 3) + n + sqrt(h) / 2 z,   n ~ N(0, 3/4 h I).

    The scheme moves Y_m by 3/2 I / h for the iterated integral I of B over the step. That is E[B_s - B_t | I], so
    it is drawn first, from rng; given it, the step is the returned Gaussian.
    Source: Roessler 2010, scheme SRA1.
    """

    def transition(self, field: Prior, x: Tensor, t: Tensor, s: Tensor, rng: RNG) -> Gaussian:
        sde = field.sde
        l_t, l_s = ((sde.alpha(u) / sde.sigma(u)) ** 2 for u in (t, s))
        h = l_s - l_t
        m = sde.time((l_t + 0.75 * h).rsqrt())
        unit_t, unit_m, unit_s = (sde.sigma(u) ** 2 / sde.alpha(u) for u in (t, m, s))  # x = unit Y
        start = x / unit_t + torch.sqrt(0.75 * h) * rng.normal(tuple(x.shape))
        d = field.denoise(x, t)
        d_m = field.denoise(unit_m * (start + 0.75 * h * d), m)
        return Gaussian(unit_s * (start + h / 3 * (d + 2 * d_m)), unit_s * torch.sqrt(h) / 2)


@dataclass(frozen=True)
class Renoise(Kernel):
    """Add noise to the denoised estimate again, partly new noise.

    Formula: x_s = alpha_s D + sigma_s (sqrt(1 - eta^2) eps + eta z), eps = (x - alpha_t D) / sigma_t. eta = 0 is DDIM;
    for eta > 0 the marginals are preserved only if D is a sample of p(x0 | x_t), which methods ensure.
    Source: Kawar et al. 2022, equation 7; Zhu et al. 2023, equation 15 (eta^2 = zeta).
    Arguments: eta (float in [0, 1]).
    Raises: ValueError for eta outside [0, 1].
    """

    eta: float = 1.0

    def __post_init__(self) -> None:
        settings(self, eta="[0, 1]")

    def transition(self, field: Prior, x: Tensor, t: Tensor, s: Tensor, rng: RNG) -> Gaussian:
        """x (N, *E) at t -> its Gaussian at s."""
        sde, denoised = field.sde, field.denoise(x, t)
        kept = (1 - self.eta**2) ** 0.5 * sde.sigma(s) / sde.sigma(t)
        return Gaussian(combined(kept, x, sde.alpha(s) - kept * sde.alpha(t), denoised), self.eta * sde.sigma(s))


@dataclass(frozen=True)
class Travelling(StatefulKernel):
    """A predictor for grids that also increase t: where s > t the state is noised by the forward SDE, exactly.

    Formula: x_s = a x + sqrt(v) z, the bridge of the SDE (`priors.sde.SDE.bridge`), without an evaluation.
    Source: Lugmayr et al. 2022, algorithm 1.
    Arguments: predictor (Kernel) of the decreasing steps.
    """

    predictor: Transition

    def step(self, field: Prior, x: Tensor, t: Tensor, s: Tensor, rng: RNG, memory: Memory) -> tuple[Gaussian, Memory]:
        """x (N, *E) at t -> its Gaussian at s, which may be later."""
        if s <= t:
            return as_kernel(self.predictor).step(field, x, t, s, rng, memory)
        a, v = field.sde.bridge(s, t)
        return Gaussian(a * x, torch.sqrt(v)), {}


@dataclass(frozen=True)
class DPMSolver(StatefulKernel):
    """A second-order step with one evaluation: it extrapolates from the denoiser of the previous step.

    Formula: with l = log(alpha / sigma), h = l_s - l_t and the previous step's length k and denoiser D',

        x_s = sigma_s / sigma_t e^(-eta h) x + alpha_s (1 - e^(-(1 + eta) h)) (D + h / (2 k) (D - D'))
              + sigma_s sqrt(1 - e^(-2 eta h)) z

    The first step, and any that does not start where the previous one ended, uses D alone. eta = 0 is the probability
    flow, 1 the reverse SDE; larger eta corrects errors of a guidance faster.
    Source: Lu, Zhou, Bao, Chen, Li, Zhu 2022, DPM-Solver++(2M) and its SDE form; eta is the tau^2 of Xue et al. 2023,
    SA-Solver, equation 6.
    Arguments: eta (float >= 0).
    Raises: ValueError for eta < 0.
    """

    eta: float = 1.0

    def __post_init__(self) -> None:
        settings(self, eta="[0, inf)")

    def step(self, field: Prior, x: Tensor, t: Tensor, s: Tensor, rng: RNG, memory: Memory) -> tuple[Gaussian, Memory]:
        """As `StatefulKernel.step`; the memory: end of the previous step, its length (N,) and denoiser (N, *E)."""
        sde, denoised = field.sde, field.denoise(x, t)
        h = torch.log(sde.alpha(s) * sde.sigma(t) / (sde.alpha(t) * sde.sigma(s)))
        estimate = denoised
        if memory:
            ratio = torch.where(memory["end"] == float(t), 0.5 * h / memory["length"], 0.0)
            estimate = denoised + expand(ratio, x) * (denoised - memory["denoised"])
        end, length = (x.new_full((len(x),), float(u), dtype=torch.float64) for u in (s, h))
        memory = {"end": end, "length": length, "denoised": denoised}
        kept = sde.sigma(s) / sde.sigma(t) * torch.exp(-self.eta * h)
        mean = kept.to(x) * x - (sde.alpha(s) * torch.expm1(-(1 + self.eta) * h)).to(x) * estimate
        return Gaussian(mean, sde.sigma(s) * torch.sqrt(-torch.expm1(-2 * self.eta * h))), memory


@dataclass(frozen=True)
class Flow(Kernel):
    """A deterministic predictor with the log-determinant of its step, for `inverse.population.Importance`.

    Formula: x_s = F(x_t), log q_s(x_s) = log q_t(x_t) - log |det dF/dx_t|. The determinant is that of the discrete
    step, so that q is the exact density of the samples for any number of steps; only its distance from the posterior
    depends on them.
    Source: Song et al. 2021, section 4.3, and Chen et al. 2018, whose continuous flow it replaces; the estimator of
    Behrmann et al. 2019 in many dimensions.
    Arguments: predictor (Kernel) without noise (a `StatefulKernel` only makes first steps); probes (int >= 1) of the
    estimator; exact_up_to (int >= 0): largest dimension in which the determinant is computed exactly, by one backward
    pass through the step per dimension.
    Raises: ValueError for values out of range, and at the first step for a predictor with noise.
    """

    predictor: Transition = field(default_factory=ProbabilityFlow)
    probes: int = 2
    exact_up_to: int = EXACT_UP_TO

    differentiates: ClassVar[bool] = True

    def __post_init__(self) -> None:
        settings(self, probes=1, exact_up_to=0)
        function("predictor", self.predictor, "transition")

    def transition(self, field: Prior, x: Tensor, t: Tensor, s: Tensor, rng: RNG) -> Gaussian:
        """As `Kernel.transition`; the Gaussian has the log-determinant of the step."""

        def step(z: Tensor) -> Tensor:
            q = self.predictor.transition(field, z, t, s, rng)
            if bool((q.std != 0).any()):
                name = type(self.predictor).__name__
                raise ValueError(f"Flow({name}): the predictor adds noise; use ProbabilityFlow() or DDIM(0)")
            return q.mean

        probes = None if x[0].numel() <= self.exact_up_to else self.probes
        mean, log_det = step_with_log_det(step, x, middle(field, t, s), probes, rng)
        return Gaussian(mean, torch.zeros((), dtype=torch.float64), log_det=log_det)


PREDICTORS = {
    "euler_maruyama": EulerMaruyama,
    "reverse_diffusion": ReverseDiffusion,
    "ancestral": Ancestral,
    "ddim": DDIM,
    "probability_flow": ProbabilityFlow,
    "stochastic_runge_kutta": StochasticRungeKutta,
    "dpm_solver": DPMSolver,
}

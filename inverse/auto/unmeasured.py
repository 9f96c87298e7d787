"""Choices of "auto" that `evidence.json` has no measurements for."""

from dataclasses import dataclass

import operators
from inverse.guidance import EP
from inverse.methods import Sampler
from operators import Decoder, Operator

BUDGETS = {"fast": 30, "balanced": 100, "exact": 10**9}  # evaluations and backward passes per sample
# where nothing was measured: most exact first
FALLBACK = ("classifier", "mmps", "mmps-wiener", "dps", "diffpir", "daps", "reddiff")
PARTICLES = 100  # least samples for which methods that weight them were measured: photon counts, mixtures of latents
LEAST_STEPS = 10  # of "ep" within any budget
FEW = 16  # measured numbers for which "pivot-linearized" keeps to the balanced budget


@dataclass(frozen=True)
class Choice:
    """What "auto" stands for in one solve.

    Attributes: method; n_steps (int), as measured; reason (str), one short line; details (str): the measurements behind
    it.
    """

    method: Sampler
    n_steps: int
    reason: str
    details: str = ""


def public(operator: Operator) -> str:
    """The name of its class as users write it: Blur of a `CircularBlur`."""
    own = (k for k in type(operator).__mro__ if getattr(operators, k.__name__, None) is k)
    return (next(own) if type(operator).__module__.startswith("operators.") else type(operator)).__name__


def fallback(candidates: dict[str, Sampler], operator: Operator, budget: str, differentiable: bool) -> Choice:
    """The most exact method that serves, where nothing was measured. Raises: ValueError where none does."""
    for name in FALLBACK:
        if name in candidates:
            method = candidates[name]
            reason = f"a default: no measurement covers {public(operator)} within the {budget} budget"
            return Choice(method, method.n_steps, reason)
    raise ValueError(
        f"{type(operator).__name__} has the capabilities {sorted(operator.capabilities)} and no method serves these: "
        "a differentiable forward and noise with a variance, or a noisy_log_likelihood, is the least"
        + ("" if differentiable else "; and this prior's denoiser has no derivative, which leaves fewer methods")
    )


def not_gaussian(
    candidates: dict[str, Sampler], operator: Operator, numbers: int, n_samples: int, budget: str
) -> Choice | None:
    """Expectation propagation, weighted for few numbers, with as many steps as the budget permits: see
    benchmarks/results/photons.md. None: the denoiser has no derivative."""
    names = ("pivot-ep", "ep") if n_samples >= PARTICLES else ("ep",)
    method = next((candidates[name] for name in names if name in candidates), None)
    if method is None:
        return None
    passes = 1 + (numbers if numbers <= EP.most else EP.steps)
    steps = max(LEAST_STEPS, min(method.n_steps, BUDGETS[budget] // passes))
    reason = "the nearest to exact posteriors of photon counts, for noise or a response that is not Gaussian and linear"
    return Choice(method, steps, reason)


def through_decoder(
    candidates: dict[str, Sampler], operator: Operator, numbers: int, n_samples: int, budget: str
) -> Choice | None:
    """Moment matching through a decoder, weighted for few numbers: see benchmarks/results/latent.md. None: there is no
    `Decoder`, or the denoiser has no derivative."""
    plain, weighted = candidates.get("linearized"), candidates.get("pivot-linearized")
    if plain is None or not any(isinstance(part, Decoder) for part in operator.modules()):
        return None
    reason = "the nearest to exact posteriors of latents, through a decoder"
    affordable = budget == "exact" or (budget == "balanced" and numbers <= FEW)
    if weighted is not None and n_samples >= PARTICLES and affordable:
        return Choice(weighted, weighted.n_steps, reason)
    return Choice(plain, LEAST_STEPS - 1 if budget == "fast" else plain.n_steps, reason)

"""What `solve`, `sample` and `plan` check of their arguments before the prior is evaluated."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inverse.auto import Choice, resolve
from inverse.methods import METHODS, Sampler
from operators import Decoder, InexactAdjoint, Operator
from operators.batching import device_of
from operators.kspace import paired
from operators.trials import try_rows
from priors import DoubtfulDenoiser, Prior
from priors.arguments import choice, count, flag, sequence
from priors.arguments import seed as seeded
from priors.ode import MOST_STEPS
from priors.precision import PRECISIONS, at_precision

MOST_SAMPLES = 10_000_000  # of one measurement: the keys of more would fill the memory


def checked(
    prior: Prior,
    operator: Any,
    y: Tensor,
    n_samples: int,
    method: str | Sampler,
    n_steps: int | None,
    seed: int,
    batch_size: int | None,
    budget: str | None,
    first: int,
    antithetic: bool,
    derivatives: bool = True,
) -> tuple[Choice, Operator]:
    """What "auto" or a method's name stands for in a solve, once all its arguments are found good; as `solve`.

    Arguments: as `solve`; derivatives: whether the operator's derivative is tried, which takes a moment on a large
    picture.
    Returns: the choice, and the operator for the events of the prior.
    Raises: TypeError and ValueError, as `solve`.
    """
    check_prior(prior)
    if not isinstance(operator, Operator):
        raise TypeError(f"operator of type {type(operator).__name__}: expected an operators.Operator")
    check_numbers(n_samples, n_steps, batch_size, seed)
    count("first", first, 0, hint="it is the number of the first sample")
    flag("antithetic", antithetic)
    if isinstance(y, Tensor) and y.device != prior.device:
        raise ValueError(f"y is on {y.device} and the prior on {prior.device}: move one with .to(...)")
    home = device_of(operator)
    if home is not None and home != prior.device:
        raise ValueError(
            f"{type(operator).__name__} is on {home} and the prior on {prior.device}: move it with operator.to(...)"
        )
    event_shape = tuple(prior.event_shape)
    operator = through(prior, operator).at(event_shape)
    able, network = _differentiable(prior, method), not prior.has_log_prob
    chosen = resolve(method, operator, event_shape, n_samples, budget, able, network)
    if antithetic:
        check_antithetic(chosen.method, n_samples, first)
    operator.validate_y(paired(y, operator.complex_axis), event_shape)
    if derivatives:
        check_derivatives(operator, chosen.method, event_shape)
        if doubt := try_rows(operator, event_shape):
            warnings.warn(doubt, InexactAdjoint, stacklevel=4)
        if prior.doubt:
            warnings.warn(prior.doubt, DoubtfulDenoiser, stacklevel=4)
    return chosen, operator


def through(prior: Prior, operator: Operator) -> Operator:
    """The operator of a prior's events: of latents, through their decoder (`Prior.decoder`)."""
    if prior.decoder is None:
        return operator
    return operator @ (prior.decoder if isinstance(prior.decoder, Operator) else Decoder(prior.decoder))


def computes_in(prior: Prior, method: Sampler, precision: str) -> Prior:
    """The prior in the precision of a solve (`priors.at_precision`); "auto" stays in float32 for methods whose weights
    need the density of a step, because rounding changes that density."""
    choice("precision", precision, PRECISIONS)
    return prior if precision == "auto" and method.weighted else at_precision(prior, precision)


def check_antithetic(method: Sampler, n_samples: int, first: int = 0) -> None:
    """Refuse what cannot be drawn in antithetic pairs, by a ValueError; arguments as `solve`."""
    check_pairs(n_samples, first)
    if method.weighted:
        raise ValueError(
            f"method {method.name!r} weights its samples as independent draws: antithetic pairs are not; leave "
            f"antithetic out, or take a method without weights, such as {'mmps' if method.differentiates else 'ddrm'!r}"
        )


def check_pairs(n_samples: int, first: int = 0) -> None:
    """Refuse, by a ValueError, numbers of samples that are not pairs; arguments as `solve`."""
    if n_samples % 2 or first % 2:
        raise ValueError(
            f"antithetic samples come in pairs: n_samples = {n_samples} and first = {first} must be even numbers"
        )


def measurement_numbers(numbers: Sequence[int] | None, n: int) -> list[int]:
    """The numbers of n measurements, 0 to n - 1 where none are given.

    Raises: TypeError or ValueError for others than n different integers >= 0.
    """
    if numbers is None:
        return list(range(n))
    given = numbers.tolist() if isinstance(numbers, Tensor | np.ndarray) else numbers
    expected = "one for each measurement in y"
    entry = f"numbers = {numbers!r:.60}, an entry"
    found = [count(entry, b, 0, 2**63 - 1, expected) for b in sequence("numbers", given)]
    if len(found) != n or len(set(found)) != n:
        raise ValueError(
            f"numbers = {numbers!r:.80}: expected {n} different integers >= 0, {expected}; equal ones would share "
            "their random numbers"
        )
    return found


def _differentiable(prior: Prior, method: str | Sampler) -> bool:
    """`Prior.differentiable`, which may cost an evaluation, where a method may need it."""
    known = METHODS.get(method) if isinstance(method, str) else method
    asked = known is None or (isinstance(known, Sampler) and known.differentiates)
    return prior.differentiable if asked else True


def check_derivatives(operator: Operator, method: Sampler, event_shape: tuple[int, ...]) -> None:
    """Refuse, by a ValueError, an operator whose derivative is wrong, or whose parameters require a gradient."""
    if wanted := [name for name, buffer in operator.named_buffers() if buffer.requires_grad]:
        raise ValueError(
            f"{type(operator).__name__}.{wanted[0]} requires a gradient, and solve has no derivative: give the "
            "operator detached parameters"
        )
    if method.needs & {"differentiable", "linear", "noisy_likelihood"}:
        operator.check_derivative(event_shape)


def as_taken(operator: Operator, y: Tensor) -> Tensor:
    """y as the engine takes it: float32 unless a label, complex numbers as two channels, and 0 where nothing was
    measured, whatever stood there."""
    y = paired(y, operator.complex_axis)
    if not y.is_floating_point():
        return y
    support = operator.support
    return y.float() if support is None else torch.where(support, y.float(), 0.0)


def check_prior(prior: Prior) -> None:
    """Refuse, by a TypeError, what is no prior."""
    if not isinstance(prior, Prior):
        raise TypeError(f"prior of type {type(prior).__name__}: expected a priors.Prior, for example priors.load(...)")


def check_numbers(n_samples: int, n_steps: int | None, batch_size: int | None, seed: int) -> None:
    """Refuse, by a TypeError or ValueError, numbers that `solve` cannot take; arguments as there."""
    count("n_samples", n_samples, most=MOST_SAMPLES, hint="more in several solves, by first")
    if n_steps is not None:
        count("n_steps", n_steps, most=MOST_STEPS)
    if batch_size is not None:
        count("batch_size", batch_size, hint="or None")
    seeded(seed)

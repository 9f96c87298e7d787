"""Any Gaussian denoiser as a prior: it knows E[x0 | x0 + sigma z], which is all that a prior is asked for."""

import math
from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from priors.arguments import number, shape, state
from priors.base import VJP, Prior, expand
from priors.sde import SDE, VESDE, checked_sde


class DenoiserPrior(Prior, nn.Module):
    """The prior that `from_denoiser` makes; arguments as there.

    Raises: TypeError for a denoiser that cannot be called; ValueError for a noise range that is none or that the SDE
    leaves.
    """

    anchor: Tensor
    denoiser: Any  # a module or a function

    def __init__(self, denoiser: Any, sde: SDE, event_shape, sigma_min: float, sigma_max: float, variance: float):
        nn.Module.__init__(self)
        if not callable(denoiser):
            raise TypeError(f"denoiser of type {type(denoiser).__name__}: expected a callable (x, sigma) -> x0")
        checked_sde(sde)
        number("sigma_min", sigma_min, "[0, inf)", "in data units")
        if not (isinstance(sigma_max, float) and sigma_max == math.inf):
            number("sigma_max", sigma_max, "(0, inf)", "in data units, or math.inf for no bound")
        number("variance", variance, "(0, inf)", "in data units squared")
        if not sigma_min < sigma_max:
            raise ValueError(f"sigma_min = {sigma_min}, sigma_max = {sigma_max}: expected 0 <= sigma_min < sigma_max")
        largest = float(sde.sigma(1.0) / sde.alpha(1.0))
        if largest > sigma_max * (1 + 1e-6):
            least = max(sigma_min, min(0.01, sigma_max / 10))
            raise ValueError(
                f"sampling with {sde} asks the denoiser for sigma up to {largest:g}, and it serves {sigma_max:g}: give "
                f"sde = VESDE({least:g}, {sigma_max:g}), whose first state is noise of that size alone, "
                "or a denoiser trained further"
            )
        self.denoiser, self.sde, self.event_shape = denoiser, sde, shape("event_shape", event_shape)
        self.sigma_min, self.sigma_max, self.variance = sigma_min, sigma_max, variance
        tensors = chain(denoiser.parameters(), denoiser.buffers()) if isinstance(denoiser, nn.Module) else iter(())
        first = next(tensors, torch.empty(0))
        self.register_buffer("anchor", torch.empty(0, device=first.device), persistent=False)

    def denoise(self, x: Tensor, t: Tensor | float) -> Tensor:
        state(x, t, len(self.event_shape), self.device)
        alpha, sigma = self.sde.alpha(t), self.sde.sigma(t)
        told = (sigma / alpha).clamp_min(self.sigma_min)
        argument = float(told) if told.ndim == 0 else told.to(device=x.device, dtype=x.dtype)
        denoised = self.denoiser(x / expand(alpha, x), argument)
        if denoised.shape != x.shape:
            raise ValueError(f"the denoiser made {tuple(denoised.shape)} of {tuple(x.shape)}: expected the same shape")
        return denoised

    def denoise_vjp(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, VJP]:
        denoised, vjp = super().denoise_vjp(x, t)

        def checked(v: Tensor) -> Tensor:
            try:
                return vjp(v)
            except RuntimeError as error:
                if "does not require grad" not in str(error):
                    raise
                raise ValueError(
                    f"{type(self.denoiser).__name__} has no derivative by its input, which this method needs: take a "
                    "differentiable denoiser, or method = 'replacement'"
                ) from None

        return denoised, checked

    @property
    def device(self) -> torch.device:
        return self.anchor.device


def from_denoiser(
    denoiser: Callable[[Tensor, Tensor | float], Tensor],
    sde: SDE | None = None,
    *,
    event_shape: tuple[int, ...],
    sigma_min: float = 0.0,
    sigma_max: float = math.inf,
    variance: float = 0.25,
) -> DenoiserPrior:
    """The prior of a denoiser, such as one of deepinv's or a function D(x, sigma).

    Formula: E[x0 | x_t] = D(x_t / alpha, sigma / alpha).
    Source: Robbins 1956, Efron 2011 (Tweedie's formula); Kadkhodaie & Simoncelli 2021.
    Arguments: denoiser: (x (N, *E), sigma) -> (N, *E) in data units ([0, 1] for images); sigma is a Python float where
    all rows share one, as in `inverse.solve`, and a tensor (N,) where each has its own. A module is taken as it is: put
    it in evaluation mode. sde: the noising to sample with, VESDE(max(sigma_min, .01), 50) by default; event_shape (E);
    sigma_min, sigma_max (float, data units): the noise levels that it serves. Below sigma_min it is told sigma_min,
    which smooths the last steps a little too much; an SDE that goes beyond sigma_max is refused, since what the
    denoiser makes up there decides the whole sample. variance (data units squared): of one coordinate of x0.
    Returns: a `Prior`, differentiable where the denoiser is, on the device of its parameters.
    Raises: TypeError for a denoiser that cannot be called; ValueError for noise levels that it does not serve, for an
    output of another shape and, in methods that need it, for a missing derivative.
    """
    number("sigma_min", sigma_min, "[0, inf)", "in data units")
    chosen = VESDE(max(sigma_min, 0.01), 50.0) if sde is None else sde
    return DenoiserPrior(denoiser, chosen, event_shape, sigma_min, sigma_max, variance)

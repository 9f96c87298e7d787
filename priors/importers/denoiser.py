"""Any Gaussian denoiser E[x0 | x0 + sigma z] as a prior."""

import math
from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from priors.arguments import choice, flag, number, shape, state
from priors.base import VJP, NoDerivative, Prior, expand
from priors.importers.calling import FORMS, Form, doubt, find_form, has_derivative, picture_of, sigma_as, trial_level
from priors.modes import own_modes
from priors.moments import Moments
from priors.noising import SDE, checked_sde
from priors.sde import VESDE
from priors.spectrum import Spectrum, StationaryMoments

LARGEST_TRIAL = 2**22  # values of an event, above which a trial would take long


class DenoiserPrior(Prior, nn.Module):
    """The prior that `from_denoiser` makes; arguments as there.

    Attributes: form: how the noise level is passed to the denoiser (see `priors.importers.calling.sigma_as`), detected
    at the first evaluation unless given; differentiable, detected on first access.
    Raises: TypeError for a denoiser that is not callable; ValueError for an invalid noise range or one that the SDE
    exceeds, and for an unknown form.
    """

    anchor: Tensor
    denoiser: Any  # a module or a function
    form: Form | None

    def __init__(
        self,
        denoiser: Any,
        sde: SDE,
        event_shape,
        sigma_min: float,
        sigma_max: float,
        variance: float,
        form: Form | None = None,
        differentiable: bool | None = None,
        moments: Moments | StationaryMoments | None = None,
    ):
        nn.Module.__init__(self)
        if not callable(denoiser):
            raise TypeError(f"denoiser of type {type(denoiser).__name__}: expected a callable (x, sigma) -> x0")
        checked_sde(sde)
        _check_levels(sigma_min, sigma_max)
        number("variance", variance, "(0, inf)", "in data units squared")
        if form is not None:
            choice("sigma_as", form, FORMS)
        if differentiable is not None:
            flag("differentiable", differentiable)
        largest = float(sde.sigma(1.0) / sde.alpha(1.0))
        self._exceeds = largest > sigma_max * (1 + 1e-6)
        if self._exceeds and moments is None:
            least = max(sigma_min, min(0.01, sigma_max / 10))
            raise ValueError(
                f"sampling with {sde} asks the denoiser for sigma up to {largest:g}, and it serves {sigma_max:g}: give "
                f"sde = VESDE({least:g}, {sigma_max:g}), whose first state is noise of that size alone, or moments "
                "(priors.Moments.of_images or a priors.Spectrum of such pictures), whose Gaussian serves above it, or "
                "a denoiser trained further"
            )
        self.denoiser, self.sde, self.event_shape = denoiser, sde, shape("event_shape", event_shape)
        self.sigma_min, self.sigma_max, self.variance = sigma_min, sigma_max, variance
        if moments is not None and tuple(moments.mean.shape) != self.event_shape:
            raise ValueError(f"moments of {tuple(moments.mean.shape)}: expected events of {self.event_shape}")
        self.moments = moments
        self.form, self._differentiable, self._doubt = form, differentiable, None
        tensors = list(chain(denoiser.parameters(), denoiser.buffers())) if isinstance(denoiser, nn.Module) else []
        weight = next((w for w in tensors if isinstance(w, nn.Parameter) and w.is_floating_point()), None)
        self._typed = weight is not None  # without weights it may accept any dtype
        like = next(iter(tensors), torch.empty(0, device="cpu")) if weight is None else weight.detach()
        self.register_buffer("anchor", like.new_empty(0), persistent=False)

    def _facts(self) -> dict[str, Any]:
        return {"denoiser": self.denoiser} | super()._facts()

    def denoise(self, x: Tensor, t: Tensor | float) -> Tensor:
        state(x, t, len(self.event_shape), self.device)
        alpha, sigma = self.sde.alpha(t), self.sde.sigma(t)
        u, level = x / expand(alpha, x), (sigma / alpha).clamp_min(self.sigma_min)
        above = level > self.sigma_max * (1 + 1e-6) if self._exceeds else None
        if above is None or not bool(above.any()):
            return self._denoised(u, level)
        if level.ndim == 0:
            return self._gaussian(u, level)
        rows = [self._gaussian(u[i : i + 1], level[i]) if above[i] else u[i : i + 1] for i in range(len(u))]
        known = ~above.to(u.device)
        return torch.cat(rows).index_put((known,), self._denoised(u[known], level[known.to(level.device)]))

    def _gaussian(self, u: Tensor, sigma: Tensor) -> Tensor:
        """E[x0 | x0 + sigma z = u] of the Gaussian with the moments."""
        assert self.moments is not None
        moments, s2 = self.moments.to(u.device, u.dtype), float(sigma) ** 2
        return moments.mean + moments.apply(lambda variances: variances / (variances + s2), u - moments.mean)

    def _denoised(self, u: Tensor, sigma: Tensor) -> Tensor:
        """E[x0 | x0 + sigma z = u]; u (N, *E), sigma 0-d or (N,). The denoiser gets a copy of u, which it may
        modify."""
        if self.form is None:
            try:
                denoised = self._called(u, sigma, "float")
                self.form = "float"
                return denoised
            except (MemoryError, torch.OutOfMemoryError):
                raise
            except Exception:  # third-party code may raise anything; the trial tells of it
                self.form = self._found_form()
        return self._called(u, sigma, self.form)

    def _called(self, u: Tensor, sigma: Tensor, form: Form) -> Tensor:
        given = u.to(self.anchor.dtype) if self._typed else u
        output = self.denoiser(given.clone() if given is u else given, sigma_as(form, sigma, given))
        denoised = picture_of(output, u)
        return denoised.clone() if denoised.is_inference() else denoised

    @own_modes
    def _found_form(self) -> Form:
        return find_form(self.denoiser, self._trial(), trial_level(self.sigma_min, self.sigma_max))

    def _trial(self) -> Tensor:
        """A grey test input with a little structure, (1, *E)."""
        n = math.prod(self.event_shape)
        dtype = self.anchor.dtype if self._typed else torch.float32
        return (0.5 + 0.2 * torch.arange(n).sin()).to(self.anchor.device, dtype).view(1, *self.event_shape)

    @property
    def differentiable(self) -> bool:
        if self._differentiable is None:
            level = torch.tensor(trial_level(self.sigma_min, self.sigma_max), dtype=torch.float64)
            self._differentiable = has_derivative(lambda u: self._denoised(u, level), self._trial())
        return self._differentiable

    def denoise_vjp(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, VJP]:
        if not self.differentiable:
            raise NoDerivative(self)
        return super().denoise_vjp(x, t)

    @property
    def doubt(self) -> str:
        if self._doubt is None:
            self._doubt = self._tried()
        return self._doubt

    def _tried(self) -> str:
        """The trial of events (C, H, W) (`priors.importers.calling.doubt`)."""
        if len(self.event_shape) != 3 or math.prod(self.event_shape) > LARGEST_TRIAL:
            return ""
        largest = min(self.sigma_max, float(self.sde.sigma(1.0) / self.sde.alpha(1.0)))

        def denoise(x: Tensor, sigma: float) -> Tensor:
            return self._denoised(x, torch.tensor(sigma, dtype=torch.float64))

        with torch.no_grad():
            return doubt(denoise, torch.full_like(self._trial(), 0.5), max(largest, self.sigma_min))

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
    variance: float | None = None,
    moments: Moments | StationaryMoments | Spectrum | None = None,
    sigma_as: Form | None = None,
    differentiable: bool | None = None,
) -> DenoiserPrior:
    """The prior of a denoiser, such as one of deepinv's or a function D(x, sigma).

    Formula: E[x0 | x_t] = D(x_t / alpha, sigma / alpha).
    Source: Robbins 1956, Efron 2011 (Tweedie's formula); Kadkhodaie & Simoncelli 2021.
    Arguments: denoiser: (x (N, *E), sigma) -> (N, *E) in data units ([0, 1] for images), or a numpy array, or a tuple,
    mapping or object with one such tensor. A module must be in evaluation mode; x is passed in its dtype. sde: the SDE
    to sample with, default VESDE(max(sigma_min, .01), 50), or up to sigma_max if that is less and moments are given;
    event_shape (E); sigma_min, sigma_max (float, data units): the range of noise levels that it supports. Below
    sigma_min it is called with sigma_min, which slightly oversmooths the last steps. Above sigma_max, to which an SDE
    may go if moments are given, it is not called: the denoiser of the Gaussian with these moments serves. variance
    (data units squared): of one coordinate of x0, default .25 or that of the moments; moments (`Moments.of_images` of
    more such images than they have pixels, or a `Spectrum`): "mmps" then starts within the supported noise levels and
    converges faster; "mmps-wiener", which "auto" takes without a derivative, needs their covariance. sigma_as: the form
    of the noise level, "float" (Python's), "scalar" (0-d tensor), "rows" (tensor (N,)) or "pixels" (tensor (N, 1, 1,
    1)); None: detected by a trial at the first evaluation. Different levels per row are passed as (N,), or (N, 1, 1, 1)
    with "pixels"; `inverse.solve` uses one level at a time. differentiable: whether autograd works through it; None:
    detected by a trial. If not, `inverse.solve` refuses the methods that need a derivative and "auto" chooses
    among the others.
    Returns: a `Prior` on the device of its parameters.
    Raises: TypeError for a denoiser that is not callable or returns no tensor; ValueError for unsupported noise levels,
    for an output of the wrong shape, for a denoiser that fails in every form and, in methods that need it, for a
    missing derivative.
    """
    event_shape = shape("event_shape", event_shape)
    _check_levels(sigma_min, sigma_max)
    if isinstance(moments, Spectrum):
        moments = moments.sized(event_shape)
    if not isinstance(moments, Moments | StationaryMoments | None):
        raise TypeError(f"moments of type {type(moments).__name__}: expected priors.Moments, a priors.Spectrum or None")
    if variance is None:
        variance = 0.25 if moments is None else moments.average(lambda variances: variances)
    if sde is None:
        least = max(sigma_min, 0.01)
        sde = VESDE(least, 50.0 if moments is None or sigma_max <= least else min(50.0, sigma_max))
    return DenoiserPrior(denoiser, sde, event_shape, sigma_min, sigma_max, variance, sigma_as, differentiable, moments)


def _check_levels(sigma_min: float, sigma_max: float) -> None:
    number("sigma_min", sigma_min, "[0, inf)", "in data units")
    if not (isinstance(sigma_max, float) and sigma_max == math.inf):
        number("sigma_max", sigma_max, "(0, inf)", "in data units, or math.inf for no bound")
    if not sigma_min < sigma_max:
        raise ValueError(f"sigma_min = {sigma_min}, sigma_max = {sigma_max}: expected 0 <= sigma_min < sigma_max")

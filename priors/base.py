"""The base class of priors: score and denoiser of the noised data, each from the other by Tweedie's formula."""

from abc import ABC
from collections.abc import Callable
from copy import copy
from typing import Any

import torch
from torch import Tensor

from priors.arguments import state
from priors.moments import SecondMoments
from priors.noising import SDE, at_least
from priors.units import Units
from priors.wording import call

VJP = Callable[[Tensor], Tensor]


def expand(curve: Tensor, x: Tensor) -> Tensor:
    """A ``curve``'s value, 0-d or (N,), in x's dtype and device and reshaped to multiply x (N, *E)."""
    curve = curve.to(device=x.device, dtype=x.dtype)
    return curve if curve.ndim == 0 else curve.view(-1, *[1] * (x.ndim - 1))


class NoDerivative(ValueError):
    """A derivative was requested of a denoiser that is not differentiable.

    Arguments: prior (Prior) of the denoiser.
    """

    def __init__(self, prior: "Prior"):
        super().__init__(
            f"the denoiser of this {type(prior).__name__} has no gradient: write it in torch, so that it "
            "records gradients (no torch.no_grad, detach or numpy inside), or use a method without gradients, whose "
            "METHODS[name].differentiates is False, such as 'diffpir', 'ddnm' or 'ddrm'"
        )


class Prior(ABC):
    """A distribution of x0, noised by an SDE. Implement `score` or `denoise`; the other follows.

    Formula: score = (alpha D - x) / sigma^2 and D = (x + sigma^2 score) / alpha with D = E[x0 | x_t].
    Source: Robbins 1956, Efron 2011 (Tweedie's formula).
    Attributes: sde (SDE); event_shape (tuple E); variance (float, data units squared): the mean variance of one
    coordinate of x0; moments (Moments, or None if unknown): mean and covariance of x0, which some methods use for
    initialisation and preconditioning (``Moments.of_images`` of a training set); units (Units or None): the physical
    unit of image values; least_size (int, or None): the least side in pixels of the pictures that `resized` serves,
    None for a prior of its own event shape only; differentiable (bool): whether the denoiser is differentiable in x; if
    not, `denoise_vjp` and the methods that need it raise; has_log_prob (bool): whether `log_prob` is known in closed
    form, which holds for any class that defines it; decoder: of a prior over latents, the map latents -> pictures
    (`priors.Latent`) through which `inverse.solve` measures; bfloat16_loss (float, or None if not measured): largest
    growth of the denoising error in dB, over noise levels, with a network in bfloat16; doubt (str): a message where a
    trial shows that the denoiser is none of pictures in [0, 1], of which `inverse.solve` warns.
    Raises: TypeError on subclassing with neither method.
    """

    sde: SDE
    event_shape: tuple[int, ...]
    variance: float = 1.0
    moments: SecondMoments | None = None
    units: Units | None = None
    differentiable: bool = True
    has_log_prob: bool = False
    bfloat16_loss: float | None = None
    decoder: Callable[[Tensor], Tensor] | None = None
    doubt: str = ""

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "log_prob" in vars(cls):
            cls.has_log_prob = True
        if cls.score is Prior.score and cls.denoise is Prior.denoise:
            raise TypeError(f"{cls.__name__} implements neither score nor denoise: implement one of them")

    def __repr__(self) -> str:
        return call(type(self).__name__, self._facts())

    def _facts(self) -> dict[str, Any]:
        """What `repr` shows, by name."""
        facts = {"event_shape": getattr(self, "event_shape", None), "sde": getattr(self, "sde", None)}
        return facts | ({} if self.units is None else {"units": self.units})

    def score(self, x: Tensor, t: Tensor | float) -> Tensor:
        """grad log p_t(x); x (N, *E) in data units, t scalar or (N,), at least the SDE's ``least`` -> (N, *E)."""
        state(x, t, len(self.event_shape))
        t = at_least(self.sde, t)
        alpha, sigma = expand(self.sde.alpha(t), x), expand(self.sde.sigma(t), x)
        return (alpha * self.denoise(x, t) - x) / sigma**2

    def denoise(self, x: Tensor, t: Tensor | float) -> Tensor:
        """E[x0 | x_t = x]; x (N, *E) in data units, t scalar or (N,) -> (N, *E)."""
        alpha, sigma = expand(self.sde.alpha(t), x), expand(self.sde.sigma(t), x)
        return (x + sigma**2 * self.score(x, t)) / alpha

    def denoise_vjp(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, VJP]:
        """(D, v -> J'v) with J = dD/dx_t at (x, t): one evaluation, then one backward pass per call of the function. x,
        D, v and J'v (N, *E); t scalar or (N,).

        If grad mode is on and x requires a gradient, D and J'v are differentiable.
        Raises: ValueError for a denoiser that is not differentiable.
        """
        state(x, t, len(self.event_shape))
        again = recorded(x)
        with torch.inference_mode(False), torch.enable_grad():
            x = x if again else (x.clone() if x.is_inference() else x.detach()).requires_grad_()
            denoised = self.denoise(x, t)
        if not denoised.requires_grad:
            raise NoDerivative(self)

        def vjp(v: Tensor) -> Tensor:
            create_graph = again and torch.is_grad_enabled()
            with torch.inference_mode(False):
                v = v.clone() if v.is_inference() else v
                # the derivative of a scalar: torch imports sympy, for seconds, to check the shape of grad_outputs
                with torch.enable_grad():
                    along = (denoised * v).sum()
                found = torch.autograd.grad(along, x, None, True, create_graph, allow_unused=True)[0]
            if found is None:
                raise NoDerivative(self)
            return found

        return (denoised if again else denoised.detach()), vjp

    def log_prob(self, x: Tensor, t: Tensor | float | None = None) -> Tensor:
        """log p_t(x) in nats where it is known in closed form; t None for x0. x (N, *E) -> (N,).

        Raises: NotImplementedError where it is not; use `priors.log_density`, which integrates the probability flow.
        """
        raise NotImplementedError(f"{type(self).__name__} has no density in closed form: use priors.log_density")

    def pictures(self, x: Tensor) -> Tensor:
        """What events x (N, *E) look like: themselves, or decoded latents of a `priors.Latent`; (N, C, H, W)."""
        return x

    def in_bfloat16(self) -> "Prior":
        """A copy whose network computes in bfloat16 (`priors.at_precision`).

        Raises: ValueError for a prior that has no network.
        """
        raise ValueError(
            f"{type(self).__name__} has no network, so its precision cannot be changed: use precision='float32'"
        )

    @property
    def least_size(self) -> int | None:
        """The least side in pixels if `resized` serves any size from there on, else None."""
        return None

    def resized(self, event_shape: tuple[int, ...]) -> "Prior":
        """The prior of pictures of another size, event_shape (C, H, W).

        Raises: ValueError for a prior of one event shape.
        """
        raise ValueError(
            f"event_shape = {event_shape}: this {type(self).__name__} is of {self.event_shape} alone; bring pictures "
            "to that size, or take a prior of any size, such as 'natural'"
        )

    @property
    def device(self) -> torch.device:
        """The device of its computations and samples."""
        return torch.device("cpu")


class Wrapped(Prior):
    """A wrapper of a prior, with its SDE, shape, moments, units, device and denoiser unless overridden.

    Arguments: prior (Prior).
    """

    same_law = True  # whether its denoiser is that of the prior, evaluated in another way

    def __init__(self, prior: Prior):
        self.prior, self.sde, self.event_shape = prior, prior.sde, prior.event_shape
        self.variance, self.units = prior.variance, prior.units

    def _facts(self) -> dict[str, Any]:
        return {"prior": self.prior}

    @property
    def doubt(self) -> str:
        return self.prior.doubt

    @property
    def device(self) -> torch.device:
        return self.prior.device

    @property
    def differentiable(self) -> bool:
        """Whether the prior's denoiser is differentiable."""
        return self.prior.differentiable

    @property
    def moments(self) -> SecondMoments | None:
        """The prior's, computed on access: for an analytic prior this takes a while."""
        return self.prior.moments

    @property
    def bfloat16_loss(self) -> float | None:
        """The prior's."""
        return self.prior.bfloat16_loss

    def in_bfloat16(self) -> "Wrapped":
        """The same around a copy of the prior in bfloat16."""
        copied = copy(self)
        copied.prior = self.prior.in_bfloat16()
        return copied

    def denoise(self, x: Tensor, t: Tensor | float) -> Tensor:
        return self.prior.denoise(x, t)


def recorded(x: Tensor) -> bool:
    """Whether operations on x (N, *E) are recorded for a gradient."""
    return torch.is_grad_enabled() and x.requires_grad

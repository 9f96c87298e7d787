"""deepinv's denoisers as priors, and priors as deepinv's denoisers."""

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor

from priors.arguments import shape
from priors.base import Prior
from priors.denoised import denoised
from priors.importers.denoiser import DenoiserPrior, from_denoiser
from priors.moments import Moments
from priors.noising import SDE
from priors.sde import VESDE
from priors.spectrum import Spectrum, StationaryMoments

LEVELS = {  # class: the noise levels that its published weights were trained on, for images in [0, 1]
    "DRUNet": (0.0, 50 / 255),  # Zhang et al. 2021
    "GSPnP": (0.0, 50 / 255),  # Hurault et al. 2022
    "FFDNet": (0.0, 75 / 255),  # Zhang et al. 2018
    "DiffUNet": (0.005, 78.0),  # 1000 steps of the linear schedule of Ho et al. 2020
    "NCSNpp": (0.002, 80.0),  # Karras et al. 2022, in the units of the training
    "ADMUNet": (0.002, 80.0),
    "EDMPrecond": (0.002, 80.0),
    "MMSE": (0.0, math.inf),  # of a data set, exact
}
BLIND = ("AutoEncoder", "DScCP", "DnCNN", "Restormer", "SCUNet", "SwinIR", "UNet")
PENALISED = (
    "BM3D", "BilateralFilter", "EPLLDenoiser", "MedianFilter", "TGVDenoiser", "TVDenoiser", "TVL1Denoiser",
    "WaveletDenoiser", "WaveletDictDenoiser",
)  # fmt: skip
WIDE = 10.0  # a VE SDE that ends here starts at next to nothing but noise, of images in [0, 1]


def from_deepinv(
    model: Any,
    event_shape: tuple[int, ...],
    sde: SDE | None = None,
    *,
    sigma_min: float | None = None,
    sigma_max: float | None = None,
    moments: Moments | StationaryMoments | Spectrum | None = None,
    differentiable: bool | None = None,
) -> DenoiserPrior:
    """The prior of one of deepinv's denoisers, for images in [0, 1].

    Formula: E[x0 | x_t] = D(x_t / alpha, sigma / alpha), see `from_denoiser`.
    Source: Robbins 1956, Efron 2011 (Tweedie's formula).
    Arguments: model: a deepinv.models.Denoiser; event_shape (C, H, W); sde: the SDE to sample with, default as
    `from_denoiser`, up to sigma_max if that is at least 10; sigma_min, sigma_max (float, in units of images in [0, 1]):
    the range of noise levels that it was trained on, known for the published weights of DRUNet, GSPnP, FFDNet,
    DiffUNet, NCSNpp, ADMUNet, EDMPrecond and the wrappers of diffusion models, to be given for others; moments,
    differentiable: as `from_denoiser`.
    Returns: a `Prior`; the model is put in evaluation mode.
    Raises: TypeError for another model; ValueError for a blind denoiser, which does not know the noise level, for one
    that is not a posterior mean, such as total variation, for an unknown range, and as `from_denoiser`.
    """
    from deepinv.models import Denoiser

    if not isinstance(model, Denoiser):
        raise TypeError(
            f"from_deepinv: model of type {type(model).__name__}: expected a deepinv.models.Denoiser; "
            "priors.from_denoiser takes any function (x, sigma) -> x0"
        )
    name = type(model).__name__
    low, high = _levels(model)
    if (sigma_max is None and high is None) or (name in BLIND + PENALISED and sigma_max is None):
        raise ValueError(f"from_deepinv: {_why(name)}")
    low = (low or 0.0) if sigma_min is None else sigma_min
    high = high if sigma_max is None else sigma_max
    assert high is not None
    if sde is None and moments is None and WIDE <= high < 50.0:
        sde = VESDE(max(low, 0.01), high)
    return from_denoiser(
        model.eval(),
        sde,
        event_shape=shape("event_shape", event_shape),
        sigma_min=low,
        sigma_max=high,
        moments=moments,
        differentiable=differentiable,
    )


def _levels(model: Any) -> tuple[float | None, float | None]:
    """The range of noise levels of a denoiser, or of the one that it wraps; None: unknown."""
    for kind in type(model).__mro__:
        if kind.__name__ in LEVELS:
            low, high = LEVELS[kind.__name__]
            half = 0.5 if getattr(model, "_was_trained_on_minus_one_one", False) else 1.0
            return low * half, high * half
    levels = getattr(model, "sigma_t", None)
    if isinstance(levels, Tensor) and levels.numel():  # of a diffusion model, in its own units
        half = 0.5 if getattr(model, "_was_trained_on_minus_one_one", False) else 1.0
        return float(levels.min()) * half, float(levels.max()) * half
    inner = next((m for m in (getattr(model, n, None) for n in ("denoiser", "backbone_net", "model")) if m), None)
    return (None, None) if inner is None or inner is model else _levels(inner)


def _why(name: str) -> str:
    if name in BLIND:
        return (
            f"{name} is blind: it is not given the noise level, and a prior is E[x0 | x0 + sigma z] at every level. "
            "Take FFDNet, DRUNet or a diffusion model, or state sigma_min and sigma_max of weights that know the level"
        )
    if name in PENALISED:
        return (
            f"{name} minimises a penalty and is not a posterior mean E[x0 | x0 + sigma z], which samples are made of; "
            "take a trained denoiser, or state sigma_min and sigma_max to use it all the same"
        )
    return f"the noise levels that {name} was trained on are unknown; state sigma_min and sigma_max, in units of [0, 1]"


def to_deepinv(prior: Prior) -> Any:
    """A prior as a denoiser of deepinv, for its samplers and plug-and-play methods.

    Formula: D(x, sigma) = E[x0 | x0 + sigma z = x].
    Source: Robbins 1956, Efron 2011 (Tweedie's formula).
    Arguments: prior, of images in [0, 1], as deepinv has them.
    Returns: a deepinv.models.Denoiser: (x (N, *E), sigma: a number or (N,), ...) -> (N, *E); its `prior` is ours.
    Raises: TypeError for another prior; the denoiser raises ValueError for images of another shape.
    """
    if not isinstance(prior, Prior):
        raise TypeError(f"to_deepinv: prior of type {type(prior).__name__}: expected a priors.Prior")
    return _class()(prior)


@cache
def _class() -> type:
    """The class of exported priors; deepinv is imported when it is first needed."""
    from deepinv.models import Denoiser

    class PriorDenoiser(Denoiser):
        """A prior of ours as a Denoiser."""

        def __init__(self, prior: Any):
            super().__init__(device=prior.device)
            self.prior = prior

        def forward(self, x: Tensor, sigma: Tensor | float, *_: Any, **__: Any) -> Tensor:
            if tuple(x.shape[1:]) != tuple(self.prior.event_shape):
                raise ValueError(
                    f"the prior is of images {tuple(self.prior.event_shape)}, given {tuple(x.shape)}: expected "
                    "(N, *event_shape)"
                )
            levels = torch.as_tensor(sigma).flatten()
            return denoised(self.prior, x, levels if len(levels) > 1 else levels[0])

    return PriorDenoiser

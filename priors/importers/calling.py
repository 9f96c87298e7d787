"""Calling conventions of third-party denoisers, detected once."""

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

Form = Literal["float", "scalar", "rows", "pixels"]
FORMS: tuple[Form, ...] = get_args(Form)
ROWS = 3  # of a trial, each with its own noise level


def sigma_as(form: Form, sigma: Tensor, x: Tensor) -> float | Tensor:
    """The noise level in the form that a denoiser expects.

    Arguments: form: "float", "scalar" (0-d tensor), "rows" (N,) or "pixels" (N, 1, ..., 1); sigma (0-d or (N,)): where
    rows differ, "float" and "scalar" are given as "rows"; x (N, *E): whose dtype and device a tensor has.
    """
    if sigma.ndim == 0 and form == "float":
        return float(sigma)
    sigma = sigma.to(device=x.device, dtype=x.dtype)
    if sigma.ndim == 0 and form == "scalar":
        return sigma
    sigma = sigma.expand(len(x))
    return sigma.view(-1, *[1] * (x.ndim - 1)) if form == "pixels" else sigma


def picture_of(output: Any, x: Tensor) -> Tensor:
    """The denoised rows from a denoiser's output, in x's dtype and on its device.

    Arguments: output: a tensor or numpy array like x (N, *E), or a tuple, list, mapping or object with exactly one such
    among its entries (of an object: its attributes); an entry named "sample" goes first.
    Raises: TypeError where there is none; ValueError for a wrong shape, and for several.
    """
    if isinstance(output, np.ndarray):
        output = torch.from_numpy(output)
    if isinstance(output, Tensor):
        if output.shape != x.shape:
            raise ValueError(f"the denoiser made {tuple(output.shape)} of {tuple(x.shape)}: expected the same shape")
        return output.to(device=x.device, dtype=x.dtype)
    entries = list(output) if isinstance(output, tuple | list) else None
    if entries is None:
        named = dict(output) if hasattr(output, "keys") else dict(getattr(output, "__dict__", {}))
        entries = [named["sample"]] if "sample" in named else list(named.values())
    found = [e for e in entries if isinstance(e, Tensor | np.ndarray) and tuple(e.shape) == tuple(x.shape)]
    if len(found) == 1:
        return picture_of(found[0], x)
    given = f"{type(output).__name__} with {len(found)} tensors of the shape {tuple(x.shape)}"
    advice = "wrap it, such as lambda x, sigma: denoiser(x, sigma)[0]"
    if found:
        raise ValueError(f"the denoiser returned a {given}: expected one; {advice}")
    raise TypeError(f"the denoiser returned a {given}: expected a tensor or array of that shape; {advice}")


def find_form(call: Callable[[Tensor, Any], Any], x: Tensor, sigma: float) -> Form:
    """The first form of the noise level, of `FORMS`, that a denoiser takes.

    Forms with one level per row are tried on rows of different levels and accepted only if the first row equals its
    result alone, which excludes a vector broadcast along the wrong axis.
    Arguments: call: the denoiser; x (1, *E), a trial input; sigma (> 0): a level such that it and half of it are
    supported.
    Raises: ValueError where none works, with the denoiser's error for each.
    """
    said: dict[Form, str] = {}
    for form in FORMS:
        try:
            level = torch.tensor(sigma, dtype=torch.float64)
            alone = picture_of(call(x.clone(), sigma_as(form, level, x)), x)
            if form in ("rows", "pixels"):
                together = x.repeat(ROWS, *[1] * (x.ndim - 1))
                levels = level * torch.linspace(1.0, 0.5, ROWS)
                first = picture_of(call(together.clone(), sigma_as(form, levels, together)), together)[:1]
                if not bool(((first - alone).norm() <= 1e-2 * alone.norm().clamp_min(1e-6)).item()):
                    raise ValueError("a row depends on the noise levels of the others")
            return form
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # third-party code may raise anything
            text = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            if text not in said.values():
                said[form] = text
    how = next(iter(said.values())) if len(said) == 1 else "; ".join(f"{form}: {text}" for form, text in said.items())
    raise ValueError(
        f"the denoiser fails on x of {tuple(x.shape)}, {x.dtype} on {x.device}, with sigma = {sigma:g} in the forms "
        f"{', '.join(FORMS)}: {how}. Give an event_shape that it takes, or wrap it so that (x (N, *E), sigma) works"
    )


def has_derivative(call: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Whether a denoiser, called with x (1, *E), is differentiable in x. One evaluation, one backward pass."""
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        try:
            denoised = call(x)
            return denoised.requires_grad and torch.autograd.grad(denoised.sum(), x, allow_unused=True)[0] is not None
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception:  # numpy() of a tensor that requires grad, or a part without a derivative
            return False


def trial_level(low: float, high: float) -> float:
    """A noise level inside a range, data units."""
    return min(max(0.1, 2 * low), high) if math.isfinite(high) else max(0.1, 2 * low)


class DoubtfulDenoiser(UserWarning):
    """A denoiser does not remove noise of the stated level: its convention or its range is probably different."""


def doubt(denoise: Callable[[Tensor, float], Tensor], grey: Tensor, largest: float) -> str:
    """Try a denoiser of pictures on a flat picture and on an edge, with noise.

    Formula: the root mean square of D(x + sigma z, sigma) - x. Reported is more than .9 sigma of a flat picture at
    sigma = .5, where a prior of independent pixels of variance .25, the most in [0, 1], leaves .7 sigma; more than 2
    sigma of an edge from .2 to .8 at sigma = .1; and at the largest level more than 1 and .3 sigma.

    Arguments:
        denoise: (x (1, *E), sigma) -> x0, E = (C, H, W).
        grey: (1, *E) of .5, data units.
        largest: noise level that a sampler asks for.

    Returns:
        a message with the remedy, or an empty string.
    """
    z = torch.randn(grey.shape, generator=torch.Generator().manual_seed(0)).to(grey)
    edge = torch.where(torch.arange(grey.shape[-1], device=grey.device) < grey.shape[-1] // 2, 0.2, 0.8).to(grey)

    def left(x: Tensor, sigma: float) -> float:
        return float((denoise(x + sigma * z, sigma) - x).double().square().mean().sqrt())

    for x, level, most in ((grey, min(0.5, largest), 0.9), (edge.expand_as(grey), min(0.1, largest), 2.0)):
        if not (rest := left(x, level)) <= most * level:
            shown = "flat grey" if x is grey else "an edge"
            return (
                f"the denoiser leaves an error of {rest:.3g} (root mean square) in a picture of {shown} with noise of "
                f"sigma = {level:.3g}: it is called as denoiser(x, sigma) with x in [0, 1] and sigma in its units, "
                "and returns the picture; give a function that rescales sigma (255 * sigma, or sigma**2 for a "
                "variance), or subtracts a returned residual from x"
            )
    if largest > 1 and not (rest := left(grey, largest)) <= max(1.0, 0.3 * largest):
        return (
            f"the denoiser makes an error of {rest:.3g} (root mean square) at sigma = {largest:g}, the largest level "
            "that the sampler asks for: give from_denoiser its sigma_max, the largest level that it was trained for, "
            "and moments, whose Gaussian serves above it"
        )
    return ""

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

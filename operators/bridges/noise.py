"""Noise models of deepinv as ours, and ours as deepinv's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from operators.noise import GaussianNoise, Noise, PoissonNoise

from .packing import Packing

REMEDY = "state the noise yourself: noise=operators.GaussianNoise(sigma), sigma in units of y"


def noise_of(physics: Any, measurements: Packing, rows: int | None) -> Noise:
    """Our noise model of a deepinv physics.

    GaussianNoise has the same sigma, but for complex measurements, where deepinv's sigma^2 is that of a complex number
    and ours that of its real and of its imaginary part: ours is sigma / sqrt(2). PoissonNoise(gain) that is normalized
    is PoissonNoise(peak = 1 / gain).

    Arguments:
        physics: a deepinv Physics.
        measurements: the layout of its measurements.
        rows: B, the number of measurements its parameters are for; None: any.

    Raises:
        ValueError: a noise model without a counterpart.
    """
    if measurements.listed and hasattr(physics, "physics_list") and len(physics) == len(measurements.shapes):
        return _stacked([part.noise_model for part in physics], measurements)
    return _single(physics.noise_model, measurements.dtypes[0], rows)


def to_noise(noise: Noise) -> Any:
    """deepinv's noise model of ours.

    Arguments:
        noise: GaussianNoise or PoissonNoise, with one sigma or peak, or one per measurement.

    Raises:
        ValueError: another noise, or one that differs from entry to entry.
    """
    from deepinv import physics as theirs

    if isinstance(noise, GaussianNoise):
        return theirs.GaussianNoise(_single_level(noise, "sigma"))
    if isinstance(noise, PoissonNoise):
        return theirs.PoissonNoise(1 / _single_level(noise, "peak"), normalize=True, clip_positive=True)
    raise ValueError(
        f"to_deepinv: deepinv has no noise model like {type(noise).__name__}; give the operator GaussianNoise or "
        "PoissonNoise"
    )


def _single_level(noise: Any, name: str) -> Tensor:
    value = getattr(noise, name)
    if value.ndim == 0 or (noise._is_batched(name) and value.numel() == len(value)):
        return value.detach().reshape(-1) if value.ndim else value.detach()
    raise ValueError(
        f"to_deepinv: {type(noise).__name__}.{name} differs from entry to entry of a measurement, which deepinv's "
        f"noise models do not support; give one {name}, or one per measurement"
    )


def _single(model: Any, dtype: torch.dtype, rows: int | None) -> Noise:
    from deepinv import physics as theirs

    kind = type(model)
    if kind is theirs.ZeroNoise:
        return GaussianNoise(0.0)
    if kind is theirs.GaussianNoise:
        sigma = _level("GaussianNoise.sigma", model.sigma, rows)
        return GaussianNoise(sigma / 2**0.5 if dtype.is_complex else sigma)
    if kind is theirs.PoissonNoise:
        if dtype.is_complex:
            raise ValueError(f"from_deepinv: photon counts cannot be complex numbers; {REMEDY}")
        if not bool(model.normalize):
            raise ValueError(
                "from_deepinv: PoissonNoise(normalize=False) measures counts, where ours are in units of the image; "
                "use PoissonNoise(gain, normalize=True) and multiply y by the gain"
            )
        return PoissonNoise(1 / _level("PoissonNoise.gain", model.gain, rows))
    raise ValueError(
        f"from_deepinv: the noise model {kind.__name__} has no counterpart here (Gaussian, Poisson and no noise have); "
        + REMEDY
    )


def _level(what: str, value: Any, rows: int | None) -> Tensor:
    value = torch.as_tensor(value, dtype=torch.float32).detach().clone()
    if value.numel() == 1:
        return value.reshape(())
    if value.numel() == len(value) and rows in (None, len(value)):
        return value.reshape(-1)
    raise ValueError(
        f"from_deepinv: {what} has shape {tuple(value.shape)}: expected one number, or one per measurement"
    )


def _stacked(models: list[Any], measurements: Packing) -> Noise:
    """The noise of measurements that are packed one after the other."""
    ours = [_single(model, dtype, None) for model, dtype in zip(models, measurements.dtypes, strict=True)]
    sizes = [Packing((s,), (d,)).shape for s, d in zip(measurements.shapes, measurements.dtypes, strict=True)]
    kind, name = (GaussianNoise, "sigma") if type(ours[0]) is GaussianNoise else (PoissonNoise, "peak")
    levels = [getattr(noise, name, torch.zeros(2)) for noise in ours]
    if any(type(noise) is not kind for noise in ours) or any(level.ndim for level in levels):
        raise ValueError(
            "from_deepinv: the physics of a stack have noise models of different kinds, or a level per measurement; "
            + REMEDY
        )
    if len({float(level) for level in levels}) == 1:
        return ours[0]
    entries = [level.expand(torch.Size(size).numel()) for level, size in zip(levels, sizes, strict=True)]
    return kind(torch.cat(entries), event_ndim=1)

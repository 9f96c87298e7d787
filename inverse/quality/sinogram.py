"""Are the views of a sinogram consistent with its angles and its axis of rotation? By the moments of the views."""

from dataclasses import dataclass

import torch
from torch import Tensor

from operators import Radon

DEGREES = 5  # of the moments: 0 to 4
SPARE = 6  # views beyond the parameters of the highest moment
EDGE, EMPTY = 0.02, 0.05  # share of the detectors at either end, whose mean over the mean of all is at most this
ROUGH = 2e-4  # model error of a moment, relative to the mean of all views: rays through pixels, interpolation
GAIN = 60.0  # in chi^2, from which a suggestion is reported
FITS, BETTER = 1.5, 3.0  # chi^2 per degree of freedom with the suggestion; or as many times smaller than as stated
OFFSETS = torch.linspace(-8.0, 8.0, 65, dtype=torch.float64)  # pixels of the axis of rotation that are tried
LEAST = 0.4  # pixels: smaller offsets are not reported


@dataclass(frozen=True)
class _Views:
    """Views of one measurement, in float64: angles (A,), radians; detectors (D,), pixels from the axis, in units of
    `radius`; values (A, D); variance of their noise (A, D)."""

    angles: Tensor
    detectors: Tensor
    values: Tensor
    variance: Tensor
    radius: float

    def misfit(self, waves: list[Tensor], offset: float = 0.0) -> float:
        """chi^2 of the moments against those of any picture; waves: of `_waves`."""
        basis = _legendre(self.detectors - offset / self.radius)
        moments, variance = self.values @ basis.T, self.variance @ basis.square().T  # (A, DEGREES)
        variance = variance + (ROUGH * moments[:, 0].abs().mean()).square()
        left = torch.stack([m - q @ (q.T @ m) for q, m in zip(waves, moments.T, strict=True)], 1)
        return float((left.square() / variance).sum())


def _waves(angles: Tensor) -> list[Tensor]:
    """Orthonormal bases of the trigonometric polynomials that the moments of each degree can be, (A, rank)."""
    found = []
    for k in range(DEGREES):
        orders = torch.arange(k, -1, -2, dtype=torch.float64)
        turns = angles[:, None] * orders
        u, s, _ = torch.linalg.svd(torch.cat([turns.cos(), turns.sin()[:, orders > 0]], 1), full_matrices=False)
        found.append(u[:, s > 1e-9 * s[0]])
    return found


def inconsistent(operator: Radon, y: Tensor) -> list[str]:
    """Messages on sinograms whose views do not fit together as stated, but do with other angles or another axis.

    The moment of degree k of the views of any picture, the sum of s^k y[a, s] over detectors, is a trigonometric
    polynomial of degree k in the angle a (Ludwig 1966; Helgason 1965). Degrees 0 to 4, with Legendre polynomials, are
    fitted at the stated angles, at angles that include the end of the turn or leave it out, and with the axis of
    rotation shifted by up to 8 pixels. A picture that is mirrored, scaled or blurred has a consistent sinogram: angles
    in reverse order, another size of pixels and blurring detectors cannot be seen here.

    Arguments: operator, of events of known shape; y (B, C, views, detectors).
    Returns: B strings, empty where nothing better is found, of fewer than 11 views, of noise that is not Gaussian, and
    of objects that reach beyond the detectors.
    """
    angles = operator.angles.double().cpu().deg2rad()
    if len(angles) < DEGREES + SPARE or "gaussian" not in operator.noise.capabilities:
        return [""] * len(y)
    variance = operator.noise.variance(y).expand(y.shape)
    shape = operator.event_shape or operator.event_shape_of(tuple(y.shape[1:]))
    s = operator.rays((shape[-2], shape[-1]))[1][0]
    centre = -float(s[0])
    radius = float(s.abs().max())
    found = []
    for values, noise in zip(y.cpu().double().sum(1), variance.cpu().double().sum(1), strict=True):
        views = _Views(angles, s / radius, values, noise, radius)
        found.append(_judged(views, centre) if _complete(values) else "")
    return found


def _judged(views: _Views, centre: float) -> str:
    angles, first, n = views.angles, views.angles[0], len(views.angles)
    waves = _waves(angles)
    stated, freedom = views.misfit(waves), DEGREES * n - sum(q.shape[1] for q in waves)
    by_scale = {k: views.misfit(_waves(first + (angles - first) * k)) for k in (n / (n - 1), (n - 1) / n)}
    by_offset = {float(d): views.misfit(waves, float(d)) for d in OFFSETS if abs(float(d)) >= LEAST}
    scale, offset = min(by_scale, key=by_scale.__getitem__), min(by_offset, key=by_offset.__getitem__)
    best = min(by_scale[scale], by_offset[offset])
    if not stated - best > GAIN or best > max(FITS * freedom, stated / BETTER):
        return ""
    if by_scale[scale] <= by_offset[offset]:
        span = float((angles[-1] - first).rad2deg())
        return (
            f"the views fit together better if their angles span {span * scale:.4g} degrees than {span:.4g}, as "
            f"stated: do they {'include' if scale > 1 else 'leave out'} the end of the turn, as by "
            f"np.linspace(..., endpoint={scale > 1})?"
        )
    return (
        f"the views fit together better if the axis of rotation is at {centre + offset:.4g} on the detectors than at "
        f"{centre:.4g}, as stated: give centre={centre + offset:.4g}"
    )


def _complete(values: Tensor) -> bool:
    """Whether the object ends before the first and the last detectors of every view, of (A, D)."""
    n = max(1, round(EDGE * values.shape[1]))
    level = float(values.mean())
    edges = torch.cat([values[:, :n], values[:, -n:]], 1)
    return level > 0 and abs(float(edges.mean())) < EMPTY * level


def _legendre(x: Tensor) -> Tensor:
    """Legendre polynomials of degrees 0 to DEGREES - 1 at x (D,): (DEGREES, D)."""
    found = [torch.ones_like(x), x]
    for k in range(2, DEGREES):
        found.append(((2 * k - 1) * x * found[-1] - (k - 1) * found[-2]) / k)
    return torch.stack(found)

"""A reconstruction without the prior, the coupling that it suggests, and the doubts that it raises."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from operators import AlongAxis, Composition, ConeBeam, FanBeam, LinearOperator, Operator, Radon, Slicewise
from operators.estimation import PICTURES

CONSTANT = 0.05  # the coupling where there is no baseline: that of brain slices, in image units
LEAST = 0.002  # the least coupling: half a grey level of 8 bits
UNEVEN, VARIED = 5.0, 0.05  # ratio of the variation of sums along two axes; variation above which it counts
BETTER = 0.9  # residual of views in the other order, relative to that of the given one


def baseline(operator: Operator, y: Tensor) -> tuple[Tensor, str] | None:
    """A reconstruction (1, C, D, H, W) by linear formulas, and its name; None where there is none.

    Arguments: operator, with its event shape; y (1, *M).
    """
    shape = operator.event_shape
    assert shape is not None
    if isinstance(operator, ConeBeam):
        return operator.fdk(y), "FDK"
    if isinstance(operator, Composition) and isinstance(operator.inner, AlongAxis):
        slices = baseline(operator.outer, y)
        if slices is None:
            return None
        return _interpolated(operator.inner, slices[0]), f"{slices[1]}, interpolated along the axis"
    if isinstance(operator, AlongAxis):
        return _interpolated(operator, y), "interpolation"
    if isinstance(operator, Slicewise):
        return _slices(operator, y, (shape[0], *shape[2:]))
    return None


def _slices(operator: Slicewise, y: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, str] | None:
    """Slices (1, C, D, H, W) of an operator of pictures."""
    each, rows = operator.operator, y[0]
    if isinstance(each, PICTURES) and rows.ndim == 4 and rows.shape[1] == shape[0]:
        same = tuple(rows.shape[1:]) == shape
        found = rows if same else interpolate(rows, shape[1:], mode="bicubic", align_corners=False)
        return found.movedim(0, 1)[None], "the measured slices"
    if isinstance(each, FanBeam | Radon):
        return each.fbp(rows).movedim(0, 1)[None], "filtered back-projection"
    if isinstance(each, LinearOperator) and "svd" in each.capabilities:
        return each.pinv(rows).movedim(0, 1)[None], "pseudo-inverse"
    return None


def _interpolated(operator: AlongAxis, y: Tensor) -> Tensor:
    """Linear interpolation between measured slices, each at the centre of its profile."""
    matrix, centre = operator.matrix.double(), _centres(operator)
    order = centre.argsort()
    centre, y = centre[order], y.movedim(2 + operator.axis, -1)[..., order]
    place = torch.arange(matrix.shape[1], dtype=matrix.dtype)
    high = torch.searchsorted(centre, place).clamp(1, max(1, len(centre) - 1)).clamp(max=len(centre) - 1)
    low = (high - 1).clamp_min(0)
    share = ((place - centre[low]) / (centre[high] - centre[low]).clamp_min(1e-9)).clamp(0, 1).to(y)
    return torch.lerp(y[..., low], y[..., high], share).movedim(-1, 2 + operator.axis)


def _centres(operator: AlongAxis) -> Tensor:
    """Where the profile of each measured slice has its centre, in slices of the volume."""
    matrix = operator.matrix.double()
    weight = matrix.abs() / matrix.abs().sum(1, keepdim=True).clamp_min(1e-30)
    return weight @ torch.arange(matrix.shape[1], dtype=matrix.dtype)


def places(operator: Operator) -> tuple[float, float]:
    """Where the first measured slice is among the slices of the volume, and how far apart measured slices are: the line
    through the centres of profiles, by least squares."""
    inner = operator.inner if isinstance(operator, Composition) else operator
    if not isinstance(inner, AlongAxis) or inner.axis != 0 or len(inner.matrix) < 2:
        return 0.0, 1.0
    centre = _centres(inner)
    number = torch.arange(len(centre), dtype=centre.dtype)
    every = float(((number - number.mean()) * centre).sum() / (number - number.mean()).square().sum())
    return (float(centre.mean() - every * number.mean()), every) if every > 0 else (0.0, 1.0)


def coupling(operator: Operator, y: Tensor, sigma: float) -> tuple[float, str]:
    """The root mean square difference of neighbouring slices that the baseline suggests, image units, and how.

    Formula: tau^2 = (mean d(y)^2 - mean d(noise)^2) / k. d are the differences of neighbouring slices of the
    reconstruction of y, and of one of noise alone. Where only every k-th slice is measured, d are those of measured
    slices: of a random walk, as which the coupling takes the slices, their variance is k times that of neighbours.
    Within a factor of two of the truth on the phantoms of `inverse-bench run cone`, and 10 % on `run volumes`.
    Arguments: operator, with its event shape; y (1, *M); sigma: standard deviation of its noise.
    """
    part, rows, every = operator, y, 1.0
    if isinstance(operator, Composition) and isinstance(operator.inner, AlongAxis):
        part, inner = operator.outer, operator.inner
    else:
        inner = operator if isinstance(operator, AlongAxis) else None
    if inner is not None:
        every = max(1.0, inner.matrix.shape[1] / len(inner.matrix))
    noise = sigma * torch.randn(rows.shape, generator=torch.Generator().manual_seed(0)).to(rows)

    def spread(values: Tensor) -> float | None:
        found = (values, "") if part is inner else baseline(part, values)
        return None if found is None else float(found[0].double().diff(dim=2).square().mean())

    seen, of_noise = spread(rows), spread(noise)
    if seen is None or of_noise is None:
        return CONSTANT, "the default, as this operator has no simple reconstruction: set it by --coupling"
    found = max((max(seen - of_noise, 0.0) / every) ** 0.5, LEAST)
    return float(f"{found:.3g}"), "estimated from a reconstruction without the prior"


def doubts(operator: Operator, y: Tensor) -> list[str]:
    """Cautions about projections: axes that look swapped, and views that fit better in the opposite order."""
    if not isinstance(operator, ConeBeam):
        return []
    found, views = [], y[0, 0].double()
    sums = [views.sum([a for a in range(3) if a != axis]) for axis in range(3)]
    varied = [float(s.std() / s.abs().mean().clamp_min(1e-30)) for s in sums]
    even = min(range(3), key=lambda axis: varied[axis])
    if even and varied[0] > VARIED and varied[0] > UNEVEN * varied[even]:
        order = (even, *(a for a in range(3) if a != even))
        found.append(
            f"the sums of the projections vary by {varied[0]:.0%} from view to view, but should nearly be equal, as "
            f"they are along axis {even}: the axes look swapped; save y.transpose{order}, so that views come first"
        )
        return found
    given, other = (_residual(operator, each) for each in (y, y.flip(2)))
    if other < BETTER * given:
        found.append(
            f"the projections fit better in the opposite order: FDK leaves {other:.0%} of them unexplained, as given "
            f"{given:.0%}; the source may turn the other way: negate the angles, or reverse the order of the views in y"
        )
    return found


def _residual(operator: ConeBeam, y: Tensor) -> float:
    """Of the best multiple of what FDK explains, so that the units of y do not matter."""
    said = operator(operator.fdk(y, "hann")).double()
    scale = (said * y).sum() / said.square().sum().clamp_min(1e-30)
    return float((y - scale * said).norm() / y.norm().clamp_min(1e-30))

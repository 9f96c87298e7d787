"""Do y and the samples have the scale of the prior's pictures? Detects data in 0..255 or -1..1, and ringing."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from inverse.quality.residuals import suspects
from operators import Blur, Fourier, NonCartesian, Operator, PoissonNoise
from priors import Prior, RowRNG, ScorePrior
from priors.base import Wrapped
from priors.importers.denoiser import DenoiserPrior

FACTOR, ARBITRARY = 4.0, 8.0  # of the largest expected root mean square: for pictures; for priors known by moments
DIM, DIMMER = 8.0, 2.2  # times smaller than y is expected: of pictures, some of which are dark; in physical units
FAINT = 0.1  # of the noise's standard deviation: y, which includes noise, is not smaller
RARE, MARGIN, DEVIATIONS = 0.01, 0.1, 4.0  # share of outliers; tolerance as share of the range and in noise deviations
LEAST = 16  # entries: with fewer, y may be faint or outside by chance
FRACTION, COUNTS = 0.1, 1e4  # mean distance from whole numbers, arbitrary values have .25; rounding blurs larger counts
MOST = 2**20  # entries of a measurement that are looked at, in even steps
MOST_DIRECT = 1024  # largest dimension in which moments with a full matrix are used
EXTREME, LOWEST, HIGHEST = 0.001, -0.08, 1.15  # share of a mean's pixels that may be outside this range
ALONE = 0.04  # the range is wider by this for a single sample


class ImplausibleScale(UserWarning):
    """y does not have the scale that the operator gives the prior's pictures: its units are probably different."""


def implausible(prior: Prior, operator: Operator, y: Tensor) -> list[str]:
    """Messages on measurements that do not fit operator and prior, B strings, empty if plausible.

    The operator is applied to a few events of the prior's size: for trained priors black, white and random pictures,
    and samples of a Gaussian with the prior's moments, clipped to [0, 1]; for other priors samples of their moments, if
    known. y is implausible if its root mean square is several times their largest, including noise; if it is far below
    that of the noise, or 8 times smaller than that of the Gaussian samples (2.2 times for priors with physical units,
    whose values are alike), where there is little noise and the operator measures the mean of a picture; or, for
    pictures, if more than a hundredth of its entries are outside their range, by a tenth of it and by four standard
    deviations of the noise; or if photon counts, peak times y, are not whole numbers.
    Arguments: prior; operator; y (B, *M), 0 where nothing was measured. Labels are always plausible.
    """
    if not y.is_floating_point():
        return [""] * len(y)
    operator, pictures = operator.at(prior.event_shape), of_pictures(prior)
    support = operator.support
    seen = torch.ones_like(some(y), dtype=torch.bool) if support is None else some(support.expand(y.shape))
    rows = operator.rows(torch.arange(operator.batch)) if operator.batch else operator
    power, low, high, noise = (y.new_full((len(y),), start) for start in (-math.inf, math.inf, -math.inf, 0.0))
    shape, powers = y.shape, []
    for x in _events(prior, pictures):
        with torch.no_grad():
            clean = rows(x.to(y.device).expand(operator.batch or 1, *x.shape[1:])).to(y).expand(shape)
            variance = some(operator.noise.variance(clean).to(y).expand(shape)).clamp_min(0.0)
            clean = some(clean)
        power = torch.maximum(power, _mean(clean.square() + variance, seen))
        powers.append(_mean(clean.square(), seen))
        low = torch.minimum(low, clean.where(seen, math.inf).flatten(1).amin(1))
        high = torch.maximum(high, clean.where(seen, -math.inf).flatten(1).amax(1))
        noise = torch.maximum(noise, variance.where(seen, 0.0).flatten(1).amax(1))
        del x  # pictures may be large
    found, whole, y = [], y, some(y)
    typical = _typical(powers, DIMMER if prior.units is not None else DIM) if pictures else y.new_zeros(len(y))
    gaussian = "gaussian" in operator.noise.capabilities
    for b in range(len(y)):
        values = y[b][seen[b]]
        if not values.numel() or not math.isfinite(float(power[b])) or not values.any():
            found.append("")
            continue
        bounds = (float(low[b]), float(high[b])) if pictures else None
        text = _judged(values, float(power[b]) ** 0.5, bounds, float(noise[b]) ** 0.5, gaussian)
        text = text or _dim(values, float(typical[b]), float(noise[b]) ** 0.5)
        found.append(text or _fractional(operator, whole, b))
    return found


def outside(prior: Prior, operator: Operator, mean: Tensor, count: int = 2) -> list[str]:
    """Messages on posterior means of pictures that leave [0, 1], B strings, empty if plausible.

    Ringing of a deconvolution with a wrong kernel fits the noise of y, and goes far below black or above white. On
    photographs with the right kernel a thousandth of the mean's pixels stays within -.04 to 1.05; reported are values
    beyond -.08 and 1.15.
    Arguments: prior; operator: the border that a "valid" blur adds to y, and hardly measures, is left out; mean (B,
    *E), data units; count: of the samples, of which a single one may go .04 further.
    """
    if isinstance(operator, Blur) and operator.boundary == "valid":
        top, left = (k // 2 for k in operator.kernel_size)
        mean = mean[..., top : mean.shape[-2] - top, left : mean.shape[-1] - left]
    if not of_pictures(prior) or mean[0].numel() * EXTREME < 1:
        return [""] * len(mean)
    found, blurs, wider = [], isinstance(operator, Blur), ALONE if count == 1 else 0.0
    highest = math.inf if isinstance(operator, Fourier | NonCartesian) else HIGHEST + wider  # a scan's unit is free
    rings = "a kernel that is too wide or turned rings, as do a blur in linear light and another boundary"
    for values in some(mean):
        low, high = _ends(values, EXTREME)
        beyond = [f"below {low:.2g}"] * (low < LOWEST - wider) + [f"above {high:.2g}"] * (high > highest)
        found.append(
            f"the mean has {EXTREME:.1%} of its values {' and '.join(beyond)}, outside the range 0 to 1 of pictures: "
            f"the operator is wrong ({rings if blurs else suspects(operator)}), y has other units, or sigma_y is too "
            "small"
            if beyond
            else ""
        )
    return found


def out_of_range(prior: Prior, truths: Tensor) -> str:
    """A message on known pictures that are not in the range of the prior's, empty if they are.

    Formula: more than a hundredth of the values below -.5 or above 1.5, or nearly all below 1/128.
    Arguments: prior; truths (n, *E), pictures in [0, 1] as they should be.
    """
    if not of_pictures(prior) or prior.decoder is not None:
        return ""
    values = some(truths.flatten()[None])[0]
    low, high = _ends(values, RARE)
    if low >= -0.5 and high <= 1.5 and (high > 1 / 128 or len(values) < LEAST):
        return ""
    return (
        f"the known pictures range from {low:.3g} to {high:.3g}; expected pictures in [0, 1]: divide by 255 if they "
        "are in 0..255, or use (x + 1) / 2 if they are in -1..1"
    )


def of_pictures(prior: Prior) -> bool:
    """Whether it is a trained prior of grey or colour pictures, or of volumes of them: values are in [0, 1]."""
    trained = isinstance(inner(prior), ScorePrior | DenoiserPrior)
    return trained and len(prior.event_shape) in (3, 4) and prior.event_shape[0] in (1, 3)


def inner(prior: Prior) -> Prior:
    """The prior whose denoiser wrappers such as tiles evaluate."""
    while isinstance(prior, Wrapped) and prior.same_law:
        prior = prior.prior
    return prior


def some(values: Tensor) -> Tensor:
    """All entries of each row, or of large rows every n-th, whose statistics are nearly those of all: (B, entries).

    Arguments: values (B, *M).
    """
    flat = values.flatten(1)
    step = -(-flat.shape[1] // MOST) | 1  # an odd step meets every column of a picture
    return flat if step == 1 else flat[:, ::step].contiguous()


def middle(x: Tensor, most: int) -> Tensor:
    """The middle of pictures, a view.

    Arguments: x (N, C, H, W); most: pixels along a side, at most.
    """
    top, left = ((n - min(n, most)) // 2 for n in x.shape[-2:])
    return x[..., top : top + most, left : left + most]


def _ends(values: Tensor, share: float) -> tuple[float, float]:
    """The values (n,) below and above which there is this share of them."""
    n = max(1, int(share * len(values)))
    return float(values.kthvalue(n).values), float(values.kthvalue(len(values) + 1 - n).values)


def _judged(y: Tensor, expected: float, bounds: tuple[float, float] | None, noise: float, gaussian: bool) -> str:
    size = float(y.double().square().mean().sqrt())
    what = "pictures in [0, 1]" if bounds else "samples of the prior"
    if size > (FACTOR if bounds else ARBITRARY) * expected:
        more = "; divide y and sigma_y by 255 if y is in 0..255" if bounds else ""
        return f"y has the root mean square {size:.3g}; expected at most {expected:.3g}, as measured of {what}{more}"
    if gaussian and len(y) >= LEAST and size < FAINT * noise:
        return (
            f"y has the root mean square {size:.3g}, below that of its own noise, sigma_y = {noise:.3g}: give both in "
            "the same units"
        )
    if bounds and len(y) >= LEAST:
        low, high = _ends(y, RARE)
        slack = MARGIN * (bounds[1] - bounds[0]) + DEVIATIONS * noise
        if low < bounds[0] - slack or high > bounds[1] + slack:
            return (
                f"y ranges from {low:.3g} to {high:.3g}; expected {bounds[0]:.3g} to {bounds[1]:.3g}, as measured of "
                f"{what}: use (y + 1) / 2 and sigma_y / 2 if y is in -1..1, or y / 255 and sigma_y / 255 if y is in "
                "0..255"
            )
    return ""


def _typical(powers: list[Tensor], factor: float) -> Tensor:
    """The root mean square of measurements of typical pictures over a factor, (B,); 0 where the operator removes the
    mean of a picture, as the gradients of a flat picture are small.

    Arguments: powers (B,) of black, white and random pictures, then of Gaussian samples.
    """
    _, white, _, *drawn = powers
    if not drawn:
        return torch.zeros_like(white)
    typical = torch.stack(drawn).log().mean(0).exp()
    return torch.where(white > typical, typical.sqrt() / factor, 0.0)


def _dim(y: Tensor, least: float, noise: float) -> str:
    """A message on a y far smaller than those of typical pictures; noise: its standard deviation."""
    size = float(y.double().square().mean().sqrt())
    if len(y) < LEAST or noise > least or size**2 >= least**2 + noise**2:
        return ""
    return (
        f"y has the root mean square {size:.3g}; expected at least {least:.3g}, as measured of pictures in [0, 1]: y "
        "has other units or was divided by something (255, a norm, the pixel's size), or the operator lacks a "
        'normalisation (norm="ortho" of an FFT, 1 / sqrt(m) of a matrix); scale y and sigma_y alike'
    )


def _fractional(operator: Operator, y: Tensor, b: int) -> str:
    """A message on photon counts of measurement b that are not whole numbers; y (B, *M), 0 where not measured."""
    if not isinstance(operator.noise, PoissonNoise):
        return ""
    counts = (operator.noise.aligned("peak", y).expand_as(y) * y)[b]
    counts = counts[(counts > 0) & (counts < COUNTS)]
    if len(counts) < LEAST or (away := float((counts - counts.round()).abs().mean())) <= FRACTION:
        return ""
    return (
        f"photon counts, peak times y, are not whole numbers, but {away:.2f} off on average: check the peak, as y is "
        "counts / peak, or use PoissonGaussianNoise if there is read noise"
    )


def _events(prior: Prior, pictures: bool) -> Iterator[Tensor]:
    """Events (1, *E) whose measurements define the plausible range; none if the prior's units are unknown."""
    shape = tuple(prior.event_shape)
    d = math.prod(shape)
    rng = RowRNG.rows(0, 1)
    if pictures:
        yield torch.zeros(1, *shape)
        yield torch.ones(1, *shape)
        yield rng.uniform((1, *shape)).lt_(0.5)
    if not pictures and d > MOST_DIRECT:
        return
    if (moments := prior.moments) is None:
        return
    moments = moments.to(torch.device("cpu"))
    for _ in range(2 if pictures else max(4, min(32, MOST_DIRECT // d))):
        yield moments.draw(1, rng).clamp_(0, 1) if pictures else moments.draw(1, rng)


def _mean(values: Tensor, seen: Tensor) -> Tensor:
    n = seen.flatten(1).sum(1)
    return torch.where(n > 0, values.where(seen, 0.0).flatten(1).sum(1) / n.clamp_min(1), math.inf)

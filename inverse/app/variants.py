"""Is y more probable under a usual mistake in the operator than under the operator as stated?"""

import math
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress

import torch
from torch import Tensor

from inverse.quality import PoorFit
from inverse.quality.instrument import DoubtfulInstrument
from inverse.quality.scale import ImplausibleScale, of_pictures
from inverse.solution import UncalibratedSpread
from inverse.solve import solve
from inverse.solve.checks import check_prior
from operators import Bayer, Blur, Operator, variants
from operators.kspace import paired
from priors import Prior, RowRNG
from priors.arguments import rows

LEVELS = tuple(2.0**-k for k in range(5))  # noise levels, relative to the standard deviation of a pixel
STEPS, SAMPLES, SIDE = 12, 2, 96  # of each solve; pixels of the part of y that is compared
LIKELIER = 0.004  # nats per measured value from which another operator is reported
ALIKE = 0.5  # of the best one's gain: others are reported too, as exchanged red and blue are hardly told apart
EXCHANGED, PATCH = 0.003, 128  # nats per value from which exchanged colours are reported; pixels of the compared part
TURNED = 0.025  # nats per pixel from which another orientation is reported
FLIPS: dict[str, Callable[[Tensor], Tensor]] = {
    "mirrored top to bottom": lambda x: x.flip(-2),
    "turned by 180 degrees": lambda x: x.flip(-2, -1),
}
ACROSS: dict[str, Callable[[Tensor], Tensor]] = {  # height and width are exchanged
    "turned by 90 degrees": lambda x: x.rot90(1, (-2, -1)),
    "turned by 90 degrees clockwise": lambda x: x.rot90(-1, (-2, -1)),
    "transposed": lambda x: x.mT,
    "transposed and turned by 180 degrees": lambda x: x.mT.flip(-2, -1),
}
ORIENTATIONS = FLIPS | ACROSS
FREE = "mmps-wiener"  # the quickest method, where it serves


def compare_variants(
    prior: Prior,
    operator: Operator,
    y: Tensor,
    candidates: Mapping[str, Operator] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """How much more probable y is under other operators, such as the stated blur kernel turned by 180 degrees.

    A wrong operator can explain y to within its noise, by a picture that the prior finds improbable. Formula: for a
    posterior sample x of n numbers, log p(y) = log p(y | x) + log p(x) - log p(x | y), where
        log p(x) = const - n log 2 sum_k E |x - D(x + t_k e)|^2 / (n t_k^2), t_k = 2^-k s, k = 0 ... 4,
    with e standard normal and s the standard deviation of a pixel (the relation of information and mean squared error,
    in steps of a factor of 2). The term log p(x | y), the width of the posterior, is taken as equal for all
    candidates. This holds for other orientations of a kernel, not for other widths.
    Source: Chib 1995; Guo, Shamai & Verdu 2005, Kong, Brekelmans & Ver Steeg 2023 for log p(x) by a denoiser.
    Arguments: prior; operator, with a noise that has a density; y (1, *M), of which a part of 96 x 96 pixels with the
    most contrast is compared where the operator acts alike everywhere; candidates: other operators by name, default
    `operators.variants`; seed.
    Returns: name -> log p(y | candidate) - log p(y | operator) in nats per measured value; above .004 the candidate is
    the better one. Candidates that measure the same picture alike, to within the noise, are left out.
    Raises: TypeError or ValueError as `solve`, and for several measurements.
    """
    check_prior(prior)
    others = dict(variants(operator)) if candidates is None else dict(candidates)
    if len(rows("y", y)) != 1:
        raise ValueError(f"y holds {len(y)} measurements: expected one, (1, *M); compare them one by one, y[b : b + 1]")
    if not others:
        return {}
    y = _part(prior, operator, paired(y, operator.complex_axis))
    fitting = {name: one for name, one in others.items() if _fits(prior, one, y)}
    found = {"": _drawn(prior, operator, y, seed)}
    different = {name: one for name, one in fitting.items() if _differs(operator, one, found[""][1])}
    found |= {name: _drawn(prior, one, y, seed) for name, one in different.items()}
    side = [min(x.shape[axis] for _, x in found.values()) for axis in (-2, -1)]
    scores = {name: fit + _log_density(prior, _middle(x, side), seed) / y.numel() for name, (fit, x) in found.items()}
    return {name: score - scores[""] for name, score in scores.items() if name}


def likelier(prior: Prior, operator: Operator, y: Tensor) -> str:
    """A message on the most probable of `operators.variants`, if it is more probable than the operator; else "".

    Arguments: as `compare_variants`. Nothing is compared, and "" returned, where this would take long: a large picture
    of which no part can be taken.
    """
    if _part(prior, operator, y)[0].numel() > 4 * SIDE**2:
        return ""
    found = compare_variants(prior, operator, y)
    best = max(found.values(), default=0.0)
    if best < LIKELIER:
        return ""
    names = " or the ".join(name for name, gain in found.items() if gain > best * ALIKE)
    return (
        f"y is more probable with the {names} (by {best:.2g} nats per measured value): check how the "
        "instrument was described, or compare the results of both"
    )


def turned(prior: Prior, pictures: Tensor) -> str:
    """A message if pictures are more probable in another orientation, such as transposed; "" if not.

    Arguments: prior, whose pictures have an up and down (left and right are not told apart); pictures (K, C, H, W),
    such as samples of one measurement. Orientations that exchange height and width are tried of square pictures.
    """

    def density(x: Tensor) -> float:
        return _log_density(prior, x.contiguous(), 0) / x[0].numel()

    tried = ORIENTATIONS if pictures.shape[-1] == pictures.shape[-2] else FLIPS
    found = {name: density(orient(pictures)) for name, orient in tried.items()}
    own = max(density(pictures), density(pictures.flip(-1)))
    best = max(found, key=lambda name: found[name])
    if found[best] - own < TURNED:
        return ""
    return (
        f"the picture is {found[best] - own:.2g} nats per pixel more probable {best}: is the head upright, and are the "
        "axes of the file (rows, columns)? A prior that was trained on upright pictures is less accurate for others"
    )


def exchanged(prior: Prior, operator: Operator, pictures: Tensor) -> str:
    """A message if colour pictures are more probable with red and blue exchanged; "" if not.

    Arguments: prior; operator, for the remedy; pictures (K, C, H, W), such as samples of one measurement, of which the
    middle is compared. Priors that know no colour pictures find none.
    """
    if not of_pictures(prior) or pictures.shape[1] != 3:
        return ""
    if prior.least_size is not None:
        pictures = _middle(pictures, [min(PATCH, n) for n in pictures.shape[-2:]])
    found = [_log_density(prior, x.contiguous(), 0) / x[0].numel() for x in (pictures, pictures.flip(1))]
    if found[1] - found[0] < EXCHANGED:
        return ""
    remedy = "exchange the first and the third channel of y, which may be in the order blue, green, red (as of OpenCV)"
    if isinstance(operator, Bayer):
        remedy = f"pass --operator bayer:pattern={operator.pattern.translate(str.maketrans('RB', 'BR'))}"
    return (
        f"the picture is {found[1] - found[0]:.2g} nats per value more probable with red and blue exchanged: if its "
        f"colours look wrong, {remedy}"
    )


def _part(prior: Prior, operator: Operator, y: Tensor) -> Tensor:
    """The square part of y (1, C, H, W) with the largest variance, where every part is a measurement of its own."""
    alike = isinstance(operator, Bayer) or (isinstance(operator, Blur) and operator.boundary == "valid")
    if not alike or prior.least_size is None or any(b.numel() > 1 for b in operator.noise.buffers()):
        return y
    height, width = (min(SIDE, n) for n in y.shape[-2:])
    places = [(i, j) for i in _starts(y.shape[-2], height) for j in _starts(y.shape[-1], width)]
    parts = [y[..., i : i + height, j : j + width] for i, j in places]
    return max(parts, key=lambda part: float(part.var())).contiguous()


def _starts(n: int, side: int) -> list[int]:
    """First pixels of parts that cover n pixels; even, as the pattern of a sensor needs."""
    count = math.ceil(n / side)
    return sorted({(n - side) * k // max(count - 1, 1) // 2 * 2 for k in range(count)})


def _event_shape(prior: Prior, operator: Operator, y: Tensor) -> tuple[int, ...]:
    if prior.least_size is not None:
        with suppress(ValueError):  # several sizes of pictures have such a y
            return tuple(operator.event_shape_of(tuple(y.shape[1:])))
    return tuple(prior.event_shape)


def _fits(prior: Prior, operator: Operator, y: Tensor) -> bool:
    """Whether y can be a measurement by this operator: a wider kernel may be larger than the picture."""
    with suppress(ValueError):
        operator.validate_y(y, _event_shape(prior, operator, y))
        return True
    return False


@torch.no_grad()
def _differs(operator: Operator, other: Operator, x: Tensor) -> bool:
    """Whether measurements of pictures (K, C, H, W) by two operators differ by more than their noise, on average."""
    if tuple(other.at(tuple(x.shape[1:])).known_shape(tuple(x.shape[1:]))) != tuple(operator(x[:1]).shape[1:]):
        return True
    clean = operator(x[:1])
    apart = (other(x[:1]) - clean).square().mean()
    return float(apart) > float(operator.noise.variance(clean.clamp_min(operator.noise.least)).mean())


def _drawn(prior: Prior, operator: Operator, y: Tensor, seed: int) -> tuple[float, Tensor]:
    """Mean log p(y | x) per measured value of posterior samples, and the samples (K, C, H, W)."""
    prior = prior.resized(_event_shape(prior, operator, y))
    able = prior.moments is not None and {"linear", "gaussian"} <= operator.capabilities
    with warnings.catch_warnings():  # samples of a wrong operator need not explain y
        for category in (PoorFit, ImplausibleScale, DoubtfulInstrument, UncalibratedSpread):
            warnings.simplefilter("ignore", category)
        how = (FREE if able else "auto", STEPS, seed)
        found = solve(prior, operator, y, SAMPLES, *how, progress=False, antithetic=able, noise_checks=False)
        samples = found.samples[0]
    operator = operator.at(tuple(samples.shape[1:]))
    clean = torch.cat([operator(one[None]) for one in samples])
    return float(operator.noise.log_prob(y.expand_as(clean), clean).double().mean()), samples


@torch.no_grad()
def _log_density(prior: Prior, x: Tensor, seed: int) -> float:
    """log p of pictures x (K, C, H, W), their mean, up to a constant; nats."""
    prior = prior.resized(tuple(x.shape[1:]))
    total, spread = 0.0, math.sqrt(prior.variance)
    for level in LEVELS:
        t = prior.sde.time(torch.tensor(spread * level))
        alpha = prior.sde.alpha(t).to(x)
        noise = RowRNG.rows(seed, len(x), device=x.device).normal(x.shape).to(x)
        missed = x - prior.denoise(alpha * (x + spread * level * noise), t.to(x))
        total += float(missed.double().square().sum()) / (spread * level) ** 2
    return -math.log(2) * total / len(x)


def _middle(x: Tensor, side: list[int]) -> Tensor:
    top, left = ((n - s) // 2 for n, s in zip(x.shape[-2:], side, strict=True))
    return x[..., top : top + side[0], left : left + side[1]].contiguous()

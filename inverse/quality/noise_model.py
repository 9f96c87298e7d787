"""Does the noise model fit the residuals of posterior samples? Their variance at each brightness, and correlation."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from inverse.quality.scale import middle, some
from operators import GaussianNoise, Noise, Operator, PoissonGaussianNoise, PoissonNoise, SpeckleNoise

BINS = 16  # of brightness, with equally many values
BETTER, SURE = 0.008, 20.0  # nats per value, and in all, by which another model must fit better to be reported
SIMPLER = 0.003  # nats per value that read noise beside photon noise must gain
LEAST = 1024  # values of a measurement: with fewer, nothing is reported
CORRELATED = 0.12  # between neighbours, from which the noise is not white
SIGNED = 0.02  # share of values below 0 by more than the noise, from which y is no picture
WINDOW = 1024  # pixels: the side of the part whose residuals are correlated
DARK = 1e-3  # of the brightest bin: the least brightness of a bin
RATIOS = tuple(10 ** (k / 8 - 3) for k in range(33))  # of read noise to photon noise, relative to the brightest bin


@dataclass(frozen=True)
class _Model:
    """A model of the noise variance in every bin. Attributes: kind of noise; text: its constructor; variance (BINS)."""

    kind: type[Noise]
    text: str
    variance: Tensor


@torch.no_grad()
def noise_doubts(operator: Operator, y: Tensor, samples: Tensor, log_weights: Tensor) -> list[str]:
    """Messages on residuals that contradict the noise model, B strings, empty if it fits.

    Residuals y - E[y | A x] of exact posterior samples x have the law of the noise: they are independent, with its
    variance at the brightness A x. Formula: mean squared residuals in 16 bins of brightness are compared, as sample
    variances of Gaussians, with those of the stated noise, up to a factor, and of a constant variance, one proportional
    to brightness (photon counts), the sum of both (a camera), and one proportional to its square (speckle). Reported is
    a model that fits better by .008 nats per value, and a correlation of neighbouring pixels beyond .12.
    Source: Gelman, Meng & Stern 1996 (posterior predictive checks); Foi et al. 2008 (variance against brightness).
    Arguments: operator; y (B, *M); samples (B, K, *E); log_weights (B, K). Labels, noiseless and small measurements,
    and the brightness of signed ones, such as k-space, are not checked.
    """
    if not y.is_floating_point() or operator.noise.noiseless or y[0].numel() < LEAST:
        return [""] * len(y)
    return [_doubts(operator.rows(torch.tensor([b])), y[b], samples[b], log_weights[b]) for b in range(len(y))]


def _doubts(operator: Operator, y: Tensor, samples: Tensor, log_weights: Tensor) -> str:
    """The message on one measurement y (*M) and its samples (K, *E)."""
    noise, support = operator.noise, operator.support
    y = y[None]
    there = some(torch.ones_like(y, dtype=torch.bool) if support is None else support.expand(y.shape))[0]
    brightness, squares, stated = torch.zeros(3, len(there), dtype=torch.float64, device=y.device)
    pairs = torch.zeros(2, dtype=torch.float64)
    for x, weight in zip(samples, torch.softmax(log_weights.double(), 0).tolist(), strict=True):
        clean = operator(x[None])
        residual, variance = y - noise.mean(clean), noise.variance(clean.clamp_min(noise.least)).expand(y.shape)
        brightness += weight * some(clean)[0]
        squares += weight * some(residual)[0].double().square()
        stated += weight * some(variance)[0]
        if y.ndim == 4 and support is None:
            pairs += weight * _neighbours(residual, variance)
    texts = [_brightness(noise, *(each[there] for each in (brightness, squares, stated))), _correlation(pairs.tolist())]
    return "; ".join(filter(None, texts))


def _neighbours(residual: Tensor, variance: Tensor) -> Tensor:
    """Correlation of a picture's residuals (1, C, H, W) with those one row and one column further, in its middle."""
    z = middle(residual, WINDOW).double() / middle(variance, WINDOW).double().sqrt()
    if min(z.shape[-2:]) < 2:
        return torch.zeros(2, dtype=torch.float64)
    along = [(z[..., 1:, :] * z[..., :-1, :]).mean(), (z[..., 1:] * z[..., :-1]).mean()]
    return torch.stack(along).cpu() / float(z.square().mean())


def _correlation(pairs: list[float]) -> str:
    most = max(pairs, key=abs)
    if abs(most) < CORRELATED:
        return ""
    return (
        f"residuals of neighbouring pixels have the correlation {most:.2f}: the noise is not white, as after "
        "demosaicing, denoising, scaling or JPEG, or the operator is wrong; intervals are too narrow for such noise"
    )


def _brightness(noise: Noise, brightness: Tensor, squares: Tensor, stated: Tensor) -> str:
    """The message on values (n,) of brightness, squared residual and stated variance."""
    signed = float((brightness < -stated.sqrt()).double().mean()) > SIGNED
    if signed or len(brightness) < LEAST:
        return ""
    bins = brightness.argsort().chunk(BINS)
    c, v, v0 = (torch.stack([values[at].mean() for at in bins]).cpu() for values in (brightness, squares, stated))
    if not bool(((v > 0) & (v0 > 0)).all()) or not float(c.max()) > 0:
        return ""
    c = c.clamp_min(DARK * float(c.max()))

    def misfit(variance: Tensor) -> float:
        return float((variance.log() + v / variance).mean()) / 2

    models = sorted(_models(c, v), key=lambda model: misfit(model.variance))
    best = next(model for model in models if model.kind is not PoissonGaussianNoise)
    if misfit(models[0].variance) < misfit(best.variance) - SIMPLER:
        best = models[0]
    gain = misfit(v0 * (v / v0).mean()) - misfit(best.variance)
    if isinstance(noise, best.kind) or gain < BETTER or gain * len(brightness) < SURE:
        return ""
    low, high = ((v[at] / v0[at]) ** 0.5 for at in (0, -1))
    return (
        f"residuals are {float(low):.2g} times as large as the stated noise where y is darkest, and "
        f"{float(high):.2g} times where it is brightest: {best.text} fits better"
    )


def _models(c: Tensor, v: Tensor) -> list[_Model]:
    """Fits to variances v of bins of brightness c; a factor is fitted as the mean of v over the model's variance."""
    photons, looks = float((v / c).mean()), float((v / c**2).mean())
    models = [
        _Model(GaussianNoise, f"GaussianNoise({float(v.mean()) ** 0.5:.3g})", v.mean().expand(len(v))),
        _Model(PoissonNoise, f"PoissonNoise({1 / photons:.3g}), photon counts,", photons * c),
        _Model(SpeckleNoise, f"SpeckleNoise({1 / looks:.3g})", looks * c**2),
    ]
    for ratio in RATIOS:
        shape = c + ratio * float(c.max())
        slope = float((v / shape).mean())
        read = math.sqrt(slope * ratio * float(c.max()))
        text = f"PoissonGaussianNoise({1 / slope:.3g}, {read:.3g}), a camera,"
        models.append(_Model(PoissonGaussianNoise, text, slope * shape))
    return models

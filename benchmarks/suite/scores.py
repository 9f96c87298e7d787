"""The built-in metrics, one number per image. None selects the best of several samples."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.suite.metrics import Judged, Missing, metric
from benchmarks.suite.records import Scale
from inverse.quality import psnr, residual_chi2, ssim
from priors import NoisyClassifier

LEVEL = 0.95


@metric("psnr_mean", Scale("PSNR of the mean, dB", "higher"))
def _psnr_mean(judged: Judged) -> Tensor | None:
    return None if judged.labelled else psnr(judged.mean, judged.truth)


@metric("psnr_sample", Scale("PSNR of a sample, dB"))  # a calibrated sampler loses 3 dB: docs/psnr.md
def _psnr_sample(judged: Judged) -> Tensor | None:
    return None if judged.labelled or judged.samples is None else psnr(judged.one, judged.truth)


@metric("ssim_mean", Scale("SSIM of the mean", "higher", 3))
def _ssim_mean(judged: Judged) -> Tensor | None:
    if judged.labelled or not judged.pictures or min(judged.truth.shape[2:]) < 7:  # its window
        return None
    return ssim(judged.mean, judged.truth)


@metric("chi2", Scale("residual chi^2", 1.0))
def _chi2(judged: Judged) -> Tensor | None:
    return None if judged.labelled or judged.operator.noise.noiseless else chi2(judged)


def chi2(judged: Judged) -> Tensor:
    """Mean squared residual of one draw (of an estimate: its own) in units of the noise, (B,): see `residual_chi2`.

    Raises: ValueError for noise without a variance.
    """
    return residual_chi2(judged.operator, judged.y, judged.one)


# both have the nominal coverage on average for every number K of samples, but only of intervals well inside K samples
# does a wrong sampler cover little: of 95 %, K = 8 wrong samples cover 77 % and more, of 80 % as little as 10 %
@metric("coverage80", Scale("coverage of central 80 % intervals, %", 0.8, 1, percent=True))
def _coverage80(judged: Judged) -> Tensor | None:
    return judged.ranked.coverage(0.8) if _several(judged) else None


@metric("coverage95", Scale("coverage of central 95 % intervals, %", LEVEL, 1, percent=True))
def _coverage95(judged: Judged) -> Tensor | None:
    return judged.ranked.coverage(LEVEL) if _several(judged) else None


@metric("width95", Scale("width of central 95 % intervals", "none", 3))  # none: narrow is good only where it covers
def _width(judged: Judged) -> Tensor | None:
    return _over_sets(interval_width, judged) if _several(judged) else None


def _several(judged: Judged) -> bool:
    """Whether there are several independent samples: with a single one, every interval has the nominal coverage."""
    return judged.samples is not None and judged.independent(judged.samples)[0].shape[1] > 1


def _over_sets(measure: Callable[[Tensor, Tensor], Tensor], judged: Judged) -> Tensor:
    """The mean of what is measured of independent samples (B, K, *E) and their weights (B, K), (B,)."""
    assert judged.samples is not None
    sets = zip(judged.independent(judged.samples), judged.independent(judged.weights), strict=True)
    return torch.stack([measure(x, w / w.sum(1, keepdim=True)) for x, w in sets]).mean(0)


def interval_width(samples: Tensor, weights: Tensor, level: float = LEVEL) -> Tensor:
    """Mean width of central intervals between samples, (B,), data units.

    Formula: between the quantiles (1 - level) / 2 and (1 + level) / 2 of the weighted samples: the least sample whose
    cumulated weight reaches them. Below 2 / (1 - level) samples that is the range of all, so compare equal K only.
    Arguments: samples (B, K, *E); weights (B, K) of sum 1; level in (0, 1).
    """
    x, order = samples.flatten(2).double().sort(1)
    cumulated = weights.to(x)[:, :, None].expand_as(x).gather(1, order).cumsum(1)
    last = x.shape[1] - 1
    at = [(cumulated < q - 1e-9).sum(1, keepdim=True).clamp_max(last) for q in ((1 - level) / 2, (1 + level) / 2)]
    return (x.gather(1, at[1]) - x.gather(1, at[0]))[:, 0].mean(1)


@metric("crps", Scale("CRPS", "lower", 4))
def _crps(judged: Judged) -> Tensor | None:
    return _over_sets(lambda x, w: crps(judged.truth, x, w), judged) if _several(judged) else None


def crps(truth: Tensor, samples: Tensor, weights: Tensor) -> Tensor:
    """Continuous ranked probability score of pixels, its mean per image, (B,), data units: a proper score of samples.

    Formula: sum_k w_k |x_k - x0| - 1/2 sum_{j != k} w_j w_k |x_j - x_k| / (1 - sum_k w_k^2), which for equal weights is
    the fair estimator: its expectation does not depend on the number of samples.
    Source: Gneiting & Raftery 2007; Ferro 2014 (fair), here with weights.
    Arguments: truth (B, *E); samples (B, K, *E), K >= 2; weights (B, K) of sum 1.
    """
    x, w = samples.flatten(2).double(), weights.double().to(samples.device)
    error = (w[:, :, None] * (x - truth.flatten(1).double()[:, None]).abs()).sum(1)
    x, order = x.sort(1)
    w = w[:, :, None].expand_as(x).gather(1, order)
    below = w.cumsum(1) - w
    above = w.sum(1, keepdim=True) - below - w
    spread = (w * x * (below - above)).sum(1)  # sum_{j < k} w_j w_k (x_k - x_j), without K^2 pairs
    return (error - spread / (1 - w.square().sum(1)).clamp_min(1e-12)).mean(1)


@metric("detail_sample", Scale("detail of a sample over the truth's", 1.0))
def _detail_sample(judged: Judged) -> Tensor | None:
    return None if judged.samples is None or not judged.pictures else detail(judged.one, judged.truth)


@metric("detail_mean", Scale("detail of the mean over the truth's"))
def _detail_mean(judged: Judged) -> Tensor | None:
    return detail(judged.mean, judged.truth) if judged.pictures else None


def detail(x: Tensor, truth: Tensor) -> Tensor:
    """Sharpness relative to the truth, (B,): 1 on average for exact posterior samples, less for a mean.

    Formula: sum |grad x|^2 / sum |grad x0|^2, differences of neighbours, clipped to [0, 1]; nan for a flat truth.
    Arguments: x, truth (B, C, H, W) in image units.
    """

    def energy(z: Tensor) -> Tensor:
        z = z.double().clamp(0, 1)
        return z.diff(dim=-1).flatten(1).square().sum(1) + z.diff(dim=-2).flatten(1).square().sum(1)

    below = energy(truth)
    return torch.where(below > 0, energy(x) / below.clamp_min(1e-30), torch.nan)


@metric("label_agreement", Scale("samples judged as labelled, %", "higher", 1, percent=True))
def _label_agreement(judged: Judged) -> Tensor | None:
    if not judged.labelled or judged.samples is None:
        return None
    if judged.judge is None:
        raise Missing("no judge is shipped beside the prior: name a classifier, trained apart, as the problem's judge")
    return label_agreement(judged.judge, judged.samples, judged.weights, judged.y)


@torch.no_grad()
def label_agreement(judge: NoisyClassifier, samples: Tensor, weights: Tensor, labels: Tensor) -> Tensor:
    """The weighted fraction of an image's samples that a classifier assigns to the label, (B,).

    Arguments: judge; samples (B, K, C, H, W); weights (B, K) of sum 1; labels (B,).
    """
    seen = judge(samples.flatten(0, 1).clamp(0, 1), 0.0).argmax(1).view(samples.shape[:2])
    return (weights.to(samples.device) * (seen == labels[:, None])).sum(1)

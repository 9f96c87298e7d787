"""Mean and covariance of natural pictures of any size: a power spectrum, which knows no size."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from priors.moments import Moments
from priors.pictures import Pictures

WINDOW, BANDS = 256, 24  # pixels of a window that a spectrum is measured in, and bands of frequency


@dataclass(frozen=True)
class SpectralMoments(Moments):
    """Moments whose principal components are cosines: Cov[x0] = V diag(lambda) V' with V = colours x rows x columns.

    Arguments: as `Moments`, with variances (C H W), one per cosine, and an empty basis and rest 0; besides, orthonormal
    matrices: colours (C, C), whose columns are colour components, rows (H, H) and columns (W, W), cosine transforms.
    """

    colours: Tensor
    rows: Tensor
    columns: Tensor

    def apply(self, f, x: Tensor) -> Tensor:
        gains = f(self.variances).view(self.mean.shape)
        inside = self.rows @ torch.einsum("ck,nchw->nkhw", self.colours, x) @ self.columns.mT
        back = self.rows.mT @ (gains * inside) @ self.columns
        return torch.einsum("ck,nkhw->nchw", self.colours, back).contiguous()


@dataclass(frozen=True)
class Spectrum:
    """Second-order statistics of pictures that look alike wherever and however they are turned.

    Formula: the variance of the cosine of frequency (u / 2H, v / 2W) of an H x W picture, in an orthonormal transform,
    is S(sqrt((u / 2H)^2 + (v / 2W)^2)), a function of colour component and frequency alone. The constant cosine has
    what remains of the variance of a pixel: for it S has no bound.
    Source: Field 1987 (spectra of natural pictures); Ruderman & Bialek 1994.
    Arguments: mean (C), data units; colours (C, C): colour components, in columns; frequencies (F,), cycles per pixel,
    rising; densities S (C, F) and variances of a pixel (C), data units squared, of each colour component.
    """

    mean: Tensor
    colours: Tensor
    frequencies: Tensor
    densities: Tensor
    variances: Tensor

    @classmethod
    def of_pictures(cls, data: Pictures, window: int = WINDOW) -> "Spectrum":
        """Measured on windows of pictures; window (pixels), or the shortest side of a picture where that is shorter.

        Raises: ValueError for windows too short for two bands.
        """
        side = min([window, *(min(p.shape[1:]) for p in data.pictures)])
        if side < 4:
            raise ValueError(f"windows of {side} pixels: expected at least 4 to tell frequencies apart; take others")
        # every picture counts alike, whatever its size; one at a time, for there may be many
        n, mean, second = (
            len(data),
            torch.zeros(data.channels).double(),
            torch.zeros(data.channels, data.channels).double(),
        )
        for picture in data.pictures:
            flat = picture.flatten(1).float() / 255
            mean += flat.mean(1) / n
            second += flat @ flat.mT / flat.shape[1] / n
        variances, colours = torch.linalg.eigh(second - torch.outer(mean, mean))
        power, cosine = torch.zeros(data.channels, side, side).double(), cosines(side)
        for picture in data.pictures:
            x = torch.einsum("ck,chw->khw", colours.float(), picture.float() / 255 - mean.float()[:, None, None])
            parts = x.unfold(1, side, side).unfold(2, side, side).flatten(1, 2)
            power += (cosine @ parts @ cosine.mT).square().mean(1) / n
        frequency = _frequency(side, side).flatten()[1:]
        edges = torch.logspace(math.log10(frequency.min()), math.log10(frequency.max()), BANDS + 1)
        band = torch.bucketize(frequency, edges[1:-1], right=True)
        held = [b for b in range(BANDS) if (band == b).any()]
        values = power.flatten(1)[:, 1:].float()
        frequencies = torch.stack([frequency[band == b].log().mean().exp() for b in held])
        densities = torch.stack([values[:, band == b].mean(1) for b in held], 1)
        kept = (mean, colours, frequencies, densities.clamp_min(1e-12), variances.clamp_min(1e-12))
        return cls(*(part.float() for part in kept))

    def density(self, frequency: Tensor) -> Tensor:
        """S between and beyond the frequencies, a power law in each piece; any shape (*S) > 0 -> (C, *S)."""
        x, y, at = self.frequencies.log(), self.densities.log(), frequency.log().flatten()
        i = torch.bucketize(at, x).clamp(1, len(x) - 1)
        share = (at - x[i - 1]) / (x[i] - x[i - 1])
        return torch.exp(y[:, i - 1] + share * (y[:, i] - y[:, i - 1])).view(-1, *frequency.shape)

    def moments(self, event_shape: tuple[int, ...]) -> SpectralMoments:
        """Moments of pictures of one size; event_shape (C, H, W).

        Raises: ValueError for another number of channels.
        """
        c, h, w = event_shape
        if c != len(self.mean):
            raise ValueError(f"event_shape = {event_shape}: expected {len(self.mean)} channels, those of the spectrum")
        frequency = _frequency(h, w)
        frequency[0, 0] = 1.0  # any: its variance is what the others leave
        variances = self.density(frequency)
        least = variances.amax((1, 2))
        variances[:, 0, 0] = 0.0
        variances[:, 0, 0] = (h * w * self.variances - variances.sum((1, 2))).clamp_min(least)
        return SpectralMoments(
            self.mean[:, None, None].expand(c, h, w).contiguous(),
            torch.zeros(c * h * w, 0),
            variances.flatten(),
            torch.zeros(()),
            self.colours,
            cosines(h),
            cosines(w),
        )


def cosines(n: int) -> Tensor:
    """The orthonormal cosine transform (DCT-II) of n pixels, (n, n); row k has frequency k / 2n cycles per pixel."""
    k, i = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    matrix = torch.cos(math.pi * k * (i + 0.5) / n) * math.sqrt(2 / n)
    matrix[0] /= math.sqrt(2)
    return matrix.float()


def _frequency(h: int, w: int) -> Tensor:
    rows, columns = torch.arange(h) / (2 * h), torch.arange(w) / (2 * w)
    return torch.hypot(rows[:, None], columns)

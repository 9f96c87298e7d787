"""Checks of coil sensitivities from a file against the k-space beside them."""

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from inverse.app.kspace.checks import KSpaceWarning
from inverse.app.kspace.noise import noise_levels
from operators.kspace import ifftc
from operators.sampling import calibration_region

MOST_VALUES = 2**20  # of which percentiles are taken
NORMALISED, EVEN = 1.1, 1.3  # factor from 1, and of its spread from place to place, of sum |S|^2 of given sensitivities
SIGNAL = 0.5  # of the largest magnitude, above which a pixel has signal
LARGEST = 32  # samples along an axis around k = 0 of which pictures of low resolution are made
MISSED = 0.05  # of their energy, beyond the noise: right maps miss up to .03, those of other heads .04 and more
BETTER = 0.25  # of what the given maps miss: others that miss less are named
SHIFTS, EVERY = range(-8, 9, 2), 2  # pixels by which maps are moved on trial; pixels are compared in steps
GAIN, SHARE = 0.001, 0.3  # energy that moved maps miss less than given ones: of all, and of what the given ones miss
OTHERS: dict[str, Callable[[Tensor], Tensor]] = {
    "conjugated (np.conj)": lambda s: s.conj(),
    "mirrored along the rows' axis (np.flip(..., -2))": lambda s: s.flip(-2),
    "mirrored along the columns' axis (np.flip(..., -1))": lambda s: s.flip(-1),
    "turned by 180 degrees (np.flip(..., (-2, -1)))": lambda s: s.flip(-2, -1),
    "moved by half a side along axis -2 (np.fft.fftshift(..., -2))": lambda s: s.roll(s.shape[-2] // 2, -2),
    "moved by half a side along axis -1 (np.fft.fftshift(..., -1))": lambda s: s.roll(s.shape[-1] // 2, -1),
    "moved by half a side along both axes (np.fft.fftshift(..., (-2, -1)))": lambda s: s.roll(
        (s.shape[-2] // 2, s.shape[-1] // 2), (-2, -1)
    ),
    "transposed (np.swapaxes(..., -2, -1))": lambda s: s.mT if s.shape[-1] == s.shape[-2] else s,
}


def check_maps(path: Path, name: str, kspace: Tensor, mask: Tensor, maps: Tensor) -> None:
    """Check that sum_c |S_c|^2 is about 1 where there is signal, as of pictures combined by root sum of squares.

    Arguments: path and name of the dataset, for messages; kspace (S, coils, H, W); mask (S, H, W) bool; maps (S, coils,
    H, W).
    Warns: KSpaceWarning if the median of sum_c |S_c|^2 differs from 1 by more than a factor of `NORMALISED`, or its
    tenth and ninetieth percentiles from each other by more than `EVEN`.
    """
    pictures = ifftc(torch.where(mask[:, None], kspace, 0)).abs().double().square().sum(1).sqrt()
    bright = pictures > SIGNAL * pictures.amax((-2, -1), keepdim=True)
    total = maps.abs().double().square().sum(1)[bright]
    if not len(total):
        return
    total = total[:: 1 + len(total) // MOST_VALUES]
    low, median, high = total.quantile(total.new_tensor([0.1, 0.5, 0.9])).tolist()
    if not 1 / NORMALISED <= median <= NORMALISED or not high <= EVEN * low:
        warnings.warn(
            f"{path}: the sum of |{name}|^2 over the coils is {median:.3g} where there is signal ({low:.3g} to "
            f"{high:.3g}): expected about 1, or the picture is not in the units of the prior, and shaded where the sum "
            "varies; divide the maps by the root of this sum, or remove them to have them estimated",
            KSpaceWarning,
            stacklevel=4,
        )


def check_agreement(path: Path, name: str, kspace: Tensor, mask: Tensor, maps: Tensor) -> None:
    """Check that pictures of low resolution, of the coils, are one picture times the maps.

    Formula: the energy that the maps miss is sum_r min_x sum_c |x_c(r) - S_c(r) x|^2 / sum |x_c|^2, with x_c from the
    fully sampled middle of k-space under a Hann window.
    Arguments: as of `check_maps`.
    Warns: KSpaceWarning if more than `MISSED` is missed beyond the noise, with the change of the maps (conjugated,
    mirrored, moved, transposed or in another order) that misses less than a quarter of that, if there is one; and if
    maps that are moved by a few pixels miss clearly less.
    """
    for values, known, given in zip(kspace, mask, maps, strict=True):
        window = _window(known)
        pictures = ifftc(values * window)
        energy = float(pictures.abs().double().square().sum())
        if len(given) < 2 or not energy > 0 or not bool(given.any()):
            continue
        levels = noise_levels(values, known)
        noise = 0.0 if levels is None else 2 * float(levels.double().square().sum() * window.double().square().sum())
        lost = _missed(pictures, given)
        if lost - noise / energy < MISSED:
            if any(shift := _shift(pictures, given)):
                warnings.warn(
                    f"{path}: {name} fits k-space better when it is moved by {shift} pixels: use np.roll({name}, "
                    f"{shift}, (-2, -1)), or remove it to have it estimated",
                    KSpaceWarning,
                    stacklevel=4,
                )
            continue
        tried = {text: change(given) for text, change in OTHERS.items()}
        tried |= {
            f"conjugated and {text}": one.conj() for text, one in tried.items() if not text.startswith("conjugated")
        }
        order = _order(pictures, given)
        tried["in the order of coils " + ", ".join(map(str, order))] = given[order]
        left = {text: _missed(pictures, other) for text, other in tried.items()}
        best = min(left, key=lambda text: left[text])
        fits = f"{name} {best} would miss {left[best]:.1%}"
        warnings.warn(
            f"{path}: {name} does not fit k-space: it misses {lost:.0%} of the energy of the coils' pictures at low "
            "resolution, more than their noise: "
            + (
                fits
                if left[best] < BETTER * lost
                else "is it of another slice or scan, or are its coils in another order? Remove it to have it estimated"
            ),
            KSpaceWarning,
            stacklevel=4,
        )


def _missed(pictures: Tensor, maps: Tensor) -> float:
    """The fraction of the energy of pictures (coils, H, W) that is not one picture times the maps."""
    fit = (maps.conj() * pictures).sum(0) / maps.abs().square().sum(0).clamp_min(1e-12)
    return float((pictures - maps * fit).abs().double().square().sum() / pictures.abs().double().square().sum())


def _shift(pictures: Tensor, maps: Tensor) -> tuple[int, int]:
    """The shift (down, right) after which maps miss clearly less, (0, 0) if none does."""
    coarse = pictures[:, ::EVERY, ::EVERY]
    lost = {
        (down, right): _missed(coarse, maps.roll((down, right), (-2, -1))[:, ::EVERY, ::EVERY])
        for down in SHIFTS
        for right in SHIFTS
    }
    best = min(lost, key=lost.__getitem__)
    gain = lost[0, 0] - lost[best]
    return best if gain > max(GAIN, SHARE * lost[0, 0]) else (0, 0)


def _order(pictures: Tensor, maps: Tensor) -> list[int]:
    """The map whose magnitude is most alike that of each coil's picture, each used once, the most alike first."""
    shares = pictures.abs() / pictures.abs().square().sum(0).sqrt().clamp_min(1e-30)
    bright = pictures.abs().square().sum(0)
    a, b = ((z.abs() * bright.sqrt()).flatten(1).double() for z in (shares, maps))
    alike = (a / a.norm(dim=1, keepdim=True).clamp_min(1e-30)) @ (b / b.norm(dim=1, keepdim=True).clamp_min(1e-30)).T
    order = [0] * len(maps)
    for _ in maps:
        i, j = divmod(int(alike.argmax()), len(maps))
        order[i] = j
        alike[i], alike[:, j] = -1, -1
    return order


def _window(mask: Tensor) -> Tensor:
    """A Hann window over the fully sampled region around k = 0, (H, W)."""
    window, ends, parts = torch.zeros(mask.shape), [], []
    for part, n in zip(calibration_region(mask), mask.shape, strict=True):
        reach = min(n // 2 - part.start, part.stop - 1 - n // 2, LARGEST // 2)
        parts.append(slice(n // 2 - reach, n // 2 + reach + 1))
        ends.append(torch.hann_window(max(2 * reach + 1, 0) + 2, periodic=False)[1:-1])
    window[tuple(parts)] = ends[0][:, None] * ends[1]
    return window

"""Was y compressed as JPEG? By its DCT coefficients, which are multiples of the steps of a table."""

from dataclasses import dataclass

import torch
from torch import Tensor

from inverse.quality.scale import middle
from operators import Operator
from operators.jpeg import LUMINANCE, YCC
from operators.transforms import dct
from priors.rounding import table_error

BLOCK, MOST, LEAST = 8, 192, 8  # side of a block; pixels of a part, and blocks along its sides
PLACES = tuple((u, v) for u in range(4) for v in range(4 - u) if u + v)  # frequencies
FIRST, STEPS = ((0, 1), (1, 0), (1, 1)), range(2, 64)  # of each place of the blocks; tried steps, grey levels
NEAR, SURE, FEWEST = 0.3, 8.0, 24  # mean cosine and its standard deviations; coefficients beyond half a step
DISTINCT = 0.3  # share of different coefficients: drawings repeat a few
SEEN, ROWS = 3, 8  # frequencies that are multiples of a step; measurements that are looked at
SMALL, LARGE = 0.6, 0.03  # of the error of JPEG: smaller sigma_y are reported; larger sigma_y cover nearly any error


@dataclass(frozen=True)
class Compression:
    """Steps of JPEG by frequency (u, v), in grey levels; level: the root mean square of its error, in units of y."""

    steps: dict[tuple[int, int], int]
    level: float


@torch.no_grad()
def compressed(operator: Operator, y: Tensor) -> list[str]:
    """Messages on pictures that JPEG compressed, with an error that sigma_y leaves out (`compression`); B strings.

    Arguments: operator; y (B, 1 or 3, H, W) in [0, 1]; other y, pictures of less than 72 pixels a side, y that is not
    seen everywhere and noise that is not Gaussian are not tested.
    """
    none = [""] * len(y)
    whole = operator.support is None or bool(operator.support.all())
    if not whole or not {"gaussian", "linear"} <= operator.capabilities or not _picture(y):
        return none
    variance = operator.noise.variance(y).expand(y.shape).flatten(1).mean(1)
    found = [_judged(row, float(v) ** 0.5) for row, v in zip(y[:ROWS], variance, strict=False)]
    return found + none[len(found) :]


def was_compressed(y: Tensor) -> bool:
    """Whether the first measurement of y (B, *M) is a picture that JPEG compressed (`compression`)."""
    return _picture(y) and compression(y[0]) is not None


def _picture(y: Tensor) -> bool:
    grey_or_colour = y.is_floating_point() and y.ndim == 4 and y.shape[1] in (1, 3)
    return grey_or_colour and min(y.shape[-2:]) >= BLOCK * (LEAST + 1)


def _judged(y: Tensor, stated: float) -> str:
    found = None if stated >= LARGE else compression(y)
    if found is None or stated >= SMALL * found.level:
        return ""
    least, most = min(found.steps.values()), max(found.steps.values())
    return (
        f"y was compressed as JPEG, by steps of {least} to {most} grey levels: its error of about {found.level:.2g} is "
        f"not in sigma_y = {stated:.2g}, and intervals will be too narrow; give a sigma_y of {found.level:.2g} or "
        "more, or solve with operators.JPEG after the operator"
    )


@torch.no_grad()
def compression(y: Tensor) -> Compression | None:
    """The steps by which JPEG rounded a picture, None for one that was not compressed.

    JPEG rounds each coefficient c of blocks of 8 x 8 pixels to a multiple of a step q. Of a decoded picture the mean of
    cos(2 pi c / q) over |c| > q / 2 is near 1, of others it is at most about 0 (Fan & de Queiroz 2003 find the steps by
    likelihood). The nine lowest frequencies, steps of 2 grey levels or more (a quality of about 90 or less) and all 64
    places of the blocks are tried. The error is that of `priors.rounding` for the steps that were found.
    Arguments: y (1 or 3, H, W) in [0, 1], of 72 pixels a side or more.
    """
    grey = middle(255 * y.cpu().double(), MOST)
    grey = grey[0] if len(grey) == 1 else torch.einsum("c,chw->hw", grey.new_tensor(YCC[0]), grey)
    shifted = [grey[top:, left:] for top in range(BLOCK) for left in range(BLOCK)]
    best = max((_coefficients(part) for part in shifted), key=lambda c: sum(_steps(c, FIRST).values()))
    found = _steps(best, PLACES)
    if len(found) < SEEN:
        return None
    table = torch.tensor(LUMINANCE, dtype=torch.float64)
    scale = torch.tensor([q / float(table[place]) for place, q in found.items()]).median()
    table = (table * scale).clamp_min(1.0)
    for place, q in found.items():
        table[place] = q
    return Compression(found, table_error(best.numpy(), table.numpy()) ** 0.5 / 255)


def _coefficients(grey: Tensor) -> Tensor:
    """DCT coefficients of whole blocks, (n, 8, 8), of (H, W)."""
    h, w = (n // BLOCK * BLOCK for n in grey.shape)
    blocks = (grey[:h, :w] - 128).unflatten(1, (-1, BLOCK)).unflatten(0, (-1, BLOCK)).transpose(1, 2)
    return dct(blocks).flatten(0, 1)


def _steps(coefficients: Tensor, places: tuple[tuple[int, int], ...]) -> dict[tuple[int, int], int]:
    """Steps of the frequencies whose coefficients are multiples of one."""
    found = {}
    steps = torch.tensor(STEPS, dtype=coefficients.dtype)[:, None]
    for u, v in places:
        c = coefficients[:, u, v]
        c = c[c.abs() > STEPS[0] / 2]
        if len(c) < FEWEST or len(c.mul(100).round().unique()) < DISTINCT * len(c):
            continue
        beyond = c.abs() > steps / 2  # (steps, n)
        n = beyond.sum(1)
        mean = (torch.cos(2 * torch.pi * c / steps) * beyond).sum(1) / n.clamp_min(1)
        good = (n >= FEWEST) & (mean > NEAR) & (mean * (2 * n).sqrt() > SURE)
        if bool(good.any()):  # of a step and its fractions, which fit as well, the step
            found[u, v] = int(steps[good & (mean > 0.8 * mean[good].max())].max())
    return found

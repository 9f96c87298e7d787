"""The spectrum of a measured picture, and the power law of pictures that is fitted to it."""

import math

import torch
from torch import Tensor

TILE, TILES = 192, 9  # pixels: side of a part whose periodogram is computed; parts along an axis at most
LOW = 3  # cycles per part: lower frequencies are those of the window
ITERATIONS, CONVERGED, STUCK = 40, 1e-7, 1e6  # of a fit: at most; nats of the last step; damping


def periodogram(y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean over parts of y (1, C, H, W) and colours, and its frequencies along both axes (n,), cycles per pixel."""
    height, width = (min(TILE, n) for n in y.shape[-2:])
    window = torch.hann_window(height + 1, False).double()[1:, None] * torch.hann_window(width + 1, False).double()[1:]
    total = torch.zeros(height, width // 2 + 1, dtype=torch.float64)
    starts = [_starts(n, side) for n, side in zip(y.shape[-2:], (height, width), strict=True)]
    for top in starts[0]:
        for left in starts[1]:
            part = y[0, :, top : top + height, left : left + width]
            part = part - part.mean((-2, -1), keepdim=True)
            total += torch.fft.rfft2(part * window).abs().square().mean(0)
    total /= window.square().sum() * len(starts[0]) * len(starts[1])
    rows = torch.fft.fftfreq(height, dtype=torch.float64)[:, None].expand_as(total)
    columns = torch.fft.rfftfreq(width, dtype=torch.float64).expand_as(total)
    used = rows.hypot(columns) > LOW / min(height, width)
    return total[used], rows[used], columns[used]


def _starts(n: int, side: int) -> list[int]:
    count = min(TILES, math.ceil(n / side))
    return sorted({(n - side) * k // max(count - 1, 1) for k in range(count)})


def design(rows: Tensor, columns: Tensor) -> Tensor:
    """X (..., 8) of frequencies (...): 1, log |v|, and both times cos and sin of 2 and 4 times the direction of v."""
    scale, angle = rows.hypot(columns).clamp_min(1e-4).log() + 2, torch.atan2(rows, columns)
    waves = [(2 * angle).cos(), (2 * angle).sin()]
    return torch.stack(
        [torch.ones_like(scale), scale, *waves, (4 * angle).cos(), (4 * angle).sin(), *(scale * w for w in waves)], -1
    )


def fitted(
    power: Tensor, response: Tensor, design: Tensor, noise: float, start: Tensor | None = None, known: bool = False
) -> tuple[float, Tensor]:
    """The likelihood of a periodogram P under the best power law behind an instrument, and that law.

    Formula: P is exponential with the mean m = sum_a response_a exp(X_a b) + c; log m + P / m is the misfit, and b and
    log c are found by scoring.
    Source: Whittle 1953.
    Arguments: power P (n,); response (n, a), the instrument's |H|^2 at the a frequencies that are seen as one; design X
    (n, a, 8), of them; noise: c at the start, or throughout if it is
    known; start (9,): b and log c.
    Returns: the mean of -log m - P / m, nats; b and log c (9,).
    """
    if start is None:
        start = design.new_zeros(design.shape[-1] + 1)
        start[1], start[-1] = -2.5, math.log(noise)
        shape = float((response * (design @ start[:-1]).exp()).sum(1).mean())
        start[0] = math.log(max(float(power.mean()) - noise, 1e-9 * float(power.mean())) / shape)

    def at(b: Tensor) -> tuple[float, Tensor, Tensor]:
        signal, rest = response * (design @ b[:-1]).clamp(-40, 40).exp(), b[-1].clamp(-40, 40).exp()
        mean = signal.sum(1) + rest
        slopes = (
            torch.cat([(design * signal[..., None]).sum(1), rest.expand(len(mean), 1) * (not known)], 1) / mean[:, None]
        )
        return float((mean.log() + power / mean).mean()), mean, slopes

    b, damping = start, 1e-3
    misfit, mean, slopes = at(b)
    for _ in range(ITERATIONS):
        information = slopes.mT @ slopes / len(power)
        information.diagonal().add_(damping * float(information.diagonal().mean()))
        step = torch.linalg.solve(information, slopes.mT @ (1 - power / mean) / len(power))
        other = at(b - step)
        if other[0] < misfit:
            done = misfit - other[0] < CONVERGED
            b, (misfit, mean, slopes), damping = b - step, other, max(damping / 5, 1e-6)
            if done:
                break
        elif (damping := damping * 5) > STUCK:
            break
    return -misfit, b

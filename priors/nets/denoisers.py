"""Plain denoisers (x (N, C, H, W), sigma (N,)) -> x0: FFDNet, DRUNet and DnCNN, for pictures of any size."""

from collections.abc import Iterable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FFDNet(nn.Module):
    """Convolutions on 2 x 2 blocks of pixels, with the noise level as a channel.

    Source: Zhang, Zuo & Zhang 2018. Odd sizes are padded by repetition.
    Arguments: channels of the picture; width of the hidden layers; depth (number of convolutions).
    """

    def __init__(self, channels: int, width: int, depth: int):
        super().__init__()
        self.model = nn.Sequential(*convolutions(4 * channels + 1, 4 * channels, width, depth))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        u = F.pixel_unshuffle(padded(x, 2), 2)
        level = sigma.to(u).view(-1, 1, 1, 1).expand(len(u), 1, *u.shape[-2:])
        return F.pixel_shuffle(self.model(torch.cat([u, level], dim=1)), 2)[..., :h, :w]


class DnCNN(nn.Module):
    """Convolutions that estimate the noise, whatever its level: D = x - n(x).

    Source: Zhang et al. 2017.
    Arguments: channels of the picture; width; depth (number of convolutions); norms: batch norms in between, which
    published files have merged into the convolutions.
    """

    def __init__(self, channels: int, width: int, depth: int, norms: bool):
        super().__init__()
        self.model = nn.Sequential(*convolutions(channels, channels, width, depth, norms))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return x - self.model(x)


class DRUNet(nn.Module):
    """A U-net of residual blocks without biases, with the noise level as a channel.

    Source: Zhang et al. 2021. Sizes that are no multiples of 8 are padded by repetition.
    Arguments: channels of the picture; widths of the four levels; blocks per level.
    """

    def __init__(self, channels: int, widths: tuple[int, ...], blocks: int):
        super().__init__()
        self.m_head = nn.Conv2d(channels + 1, widths[0], 3, padding=1, bias=False)
        for i, (n, m) in enumerate(pairwise(widths), 1):
            down, up = nn.Conv2d(n, m, 2, 2, bias=False), nn.ConvTranspose2d(m, n, 2, 2, bias=False)
            setattr(self, f"m_down{i}", nn.Sequential(*residuals(n, blocks), down))
            setattr(self, f"m_up{i}", nn.Sequential(up, *residuals(n, blocks)))
        self.m_body = nn.Sequential(*residuals(widths[-1], blocks))
        self.m_tail = nn.Conv2d(widths[0], channels, 3, padding=1, bias=False)
        self.levels = len(widths) - 1

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        x = padded(x, 2**self.levels)
        level = sigma.to(x).view(-1, 1, 1, 1).expand(len(x), 1, *x.shape[-2:])
        skips = [self.m_head(torch.cat([x, level], dim=1))]
        for i in range(1, self.levels + 1):
            skips.append(getattr(self, f"m_down{i}")(skips[-1]))
        u = self.m_body(skips[-1])
        for i in range(self.levels, 0, -1):
            u = getattr(self, f"m_up{i}")(u + skips[i])
        return self.m_tail(u + skips[0])[..., :h, :w]


class Residual(nn.Module):
    """x + conv(relu(conv(x)))."""

    def __init__(self, width: int):
        super().__init__()
        first, second = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.res = nn.Sequential(first, nn.ReLU(), second)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.res(x)


def residuals(width: int, n: int) -> Iterable[nn.Module]:
    return [Residual(width) for _ in range(n)]


def convolutions(n_in: int, n_out: int, width: int, depth: int, norms: bool = False) -> list[nn.Module]:
    """3 x 3 convolutions with biases and ReLUs, and batch norms after all but the first and last."""
    layers: list[nn.Module] = [nn.Conv2d(n_in, width, 3, padding=1), nn.ReLU()]
    for _ in range(depth - 2):
        layers += [nn.Conv2d(width, width, 3, padding=1), *([nn.BatchNorm2d(width, 1e-4)] if norms else []), nn.ReLU()]
    return [*layers, nn.Conv2d(width, n_out, 3, padding=1)]


def padded(x: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until the size is a multiple."""
    h, w = x.shape[-2:]
    return F.pad(x, (0, -w % multiple, 0, -h % multiple), mode="replicate") if h % multiple or w % multiple else x

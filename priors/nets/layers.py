"""Layers of the NCSN++ / DDPM++ family (Song et al. 2021, appendix H; Ho et al. 2020, appendix B)."""

import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SQRT_HALF = math.sqrt(0.5)
Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


def init_(layer: Layer, scale: float = 1.0) -> Layer:
    """Variance scaling by fan average, uniform; bias zero. scale 0 initialises a branch to the zero map."""
    fan_out, fan_in = nn.init._calculate_fan_in_and_fan_out(layer.weight)
    bound = math.sqrt(3.0 * max(scale, 1e-10) * 2.0 / (fan_in + fan_out))
    nn.init.uniform_(layer.weight, -bound, bound)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def conv(n_in: int, n_out: int, size: int = 3, scale: float = 1.0) -> nn.Conv2d:
    return init_(nn.Conv2d(n_in, n_out, size, padding=size // 2), scale)


def linear(n_in: int, n_out: int, scale: float = 1.0) -> nn.Linear:
    return init_(nn.Linear(n_in, n_out), scale)


def group_norm(channels: int, groups: int | None = None) -> nn.GroupNorm:
    # groups of one channel would remove the embedding
    groups = min(groups or 32, max(channels // 4, 1))
    while channels % groups:  # the paper's widths are divisible; smaller ones may not be
        groups -= 1
    return nn.GroupNorm(groups, channels, eps=1e-6)


class Embedding(nn.Module):
    """Frequencies W, which stay in single precision in a half-precision network: phases reach hundreds."""

    W: Tensor

    def _apply(self, fn, recurse=True):
        kept = self.W
        super()._apply(fn, recurse)
        if torch.finfo(self.W.dtype).bits < 32:
            self.W = kept.to(self.W.device)
        return self


class FourierEmbedding(Embedding):
    """Label c (N,) -> [sin, cos](2 pi W c) (N, 2 * width), W ~ N(0, scale^2) fixed (Tancik et al. 2020)."""

    def __init__(self, width: int, scale: float):
        super().__init__()
        self.register_buffer("W", torch.randn(width) * scale)

    def forward(self, c: Tensor) -> Tensor:
        phase = 2 * math.pi * c[:, None].float() * self.W
        return torch.cat([phase.sin(), phase.cos()], dim=1)


class PositionalEmbedding(Embedding):
    """Label c (N,) -> [sin, cos](c 10000^(-k / (width/2 - 1))) (N, width) (Vaswani et al. 2017)."""

    def __init__(self, width: int):
        super().__init__()
        half = width // 2
        self.register_buffer("W", torch.exp(-math.log(10000.0) * torch.arange(half) / (half - 1)), persistent=False)

    def forward(self, c: Tensor) -> Tensor:
        phase = c[:, None].float() * self.W
        return torch.cat([phase.sin(), phase.cos()], dim=1)


class CosineEmbedding(Embedding):
    """Label c (N,) -> [cos, sin](c 10000^(-k / (width/2))) (N, width), as ADM has it (Nichol & Dhariwal 2021)."""

    def __init__(self, width: int):
        super().__init__()
        half = width // 2
        # in single precision: an error of 1e-7 in a frequency is 1e-4 in the phase of label 1000
        frequencies = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float32) / half)
        self.register_buffer("W", frequencies, persistent=False)

    def forward(self, c: Tensor) -> Tensor:
        phase = c[:, None].float() * self.W
        return torch.cat([phase.cos(), phase.sin()], dim=1)


class Resample(nn.Module):
    """x2 up or down, (N, C, H, W) -> (N, C, 2H, 2W) or (N, C, H/2, W/2).

    fir=True filters by [1, 3, 3, 1] so that shifts do not alias (Zhang 2019; Karras et al. 2020);
    fir=False repeats pixels or averages 2 x 2.
    """

    taps: Tensor

    def __init__(self, factor: str, fir: bool):
        super().__init__()
        if factor not in ("up", "down"):
            raise ValueError(f"factor {factor!r}: expected 'up' or 'down'")
        self.factor, self.fir = factor, fir
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("taps", torch.outer(taps, taps) * (4 if factor == "up" else 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.fir:
            return F.interpolate(x, scale_factor=2.0) if self.factor == "up" else F.avg_pool2d(x, 2)
        c = x.shape[1]
        weight = self.taps.to(x.dtype).expand(c, 1, 4, 4)
        if self.factor == "down":
            return F.conv2d(x, weight, stride=2, padding=1, groups=c)
        # gain 4 and pad (2, 1) around a zero-stuffed image is the transposed convolution cropped by one pixel
        return F.conv_transpose2d(x, weight, stride=2, padding=1, groups=c)


class FIRConvDown(nn.Module):
    """Blur by [1, 3, 3, 1], then 3 x 3 convolution of stride 2: the learned half-size of a residual input pyramid."""

    taps: Tensor

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.conv = init_(nn.Conv2d(n_in, n_out, 3, stride=2))
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("taps", torch.outer(taps, taps), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        c = x.shape[1]
        blurred = F.conv2d(F.pad(x, (2, 2, 2, 2)), self.taps.to(x.dtype).expand(c, 1, 4, 4), groups=c)
        return self.conv(blurred)


class ConvResample(nn.Module):
    """DDPM's resampling: nearest x2 then 3 x 3 convolution, or 3 x 3 convolution of stride 2."""

    def __init__(self, channels: int, factor: str):
        super().__init__()
        self.factor = factor
        self.conv = init_(
            nn.Conv2d(channels, channels, 3, stride=1 if factor == "up" else 2, padding=int(factor == "up"))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0) if self.factor == "up" else F.pad(x, (0, 1, 0, 1)))


class ResBlock(nn.Module):
    """Pre-activation residual block, conditioned on an embedding; optionally resamples (BigGAN).

    h = conv1(act(norm1(conv0(act(norm0(x))) + dense(emb)))), output x + h, over sqrt 2 where ``rescale``.
    Arguments: n_in, n_out channels; n_emb width of the activated embedding; resample None, "up" or "down".
    """

    def __init__(self, n_in, n_out, n_emb, *, resample=None, dropout=0.0, fir=False, rescale=True, groups=None):
        super().__init__()
        self.norm0, self.conv0 = group_norm(n_in, groups), conv(n_in, n_out)
        self.dense = linear(n_emb, n_out)
        self.norm1, self.conv1 = group_norm(n_out, groups), conv(n_out, n_out, scale=0.0)
        self.dropout = nn.Dropout(dropout)
        self.resample = Resample(resample, fir) if resample else nn.Identity()
        self.shortcut = conv(n_in, n_out, size=1) if n_in != n_out or resample else nn.Identity()
        self.gain = SQRT_HALF if rescale else 1.0

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv0(self.resample(F.silu(self.norm0(x))))
        h = h + self.dense(emb)[:, :, None, None]
        h = self.conv1(self.dropout(F.silu(self.norm1(h))))
        return (self.shortcut(self.resample(x)) + h) * self.gain


class Attention(nn.Module):
    """Single-head self-attention over pixels with a residual (Ho et al. 2020), (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, channels: int, *, rescale=True, groups=None):
        super().__init__()
        self.norm = group_norm(channels, groups)
        self.q, self.k, self.v = (linear(channels, channels, scale=0.1) for _ in range(3))
        self.out = linear(channels, channels, scale=0.0)
        self.gain = SQRT_HALF if rescale else 1.0

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.q(h), self.k(h), self.v(h)
        # explicit: fused kernels have no second derivative, which densities of guided flows need
        h = self.out(torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), -1) @ v)
        return (x + h.transpose(1, 2).view_as(x)) * self.gain

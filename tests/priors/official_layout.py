"""The official score-SDE networks by definition, slow and plain: one flat list of modules, walked by a counter.

It shares nothing with `priors.nets`: filters are sums over shifted images, attention is written out, resampling is by
index. `checkpoint` writes what the official training loop would.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Spec:
    """A network in the words of the official configs."""

    name: str = "ncsnpp"
    size: int = 8
    nf: int = 16
    ch_mult: tuple[int, ...] = (1, 2)
    num_res_blocks: int = 1
    attn_resolutions: tuple[int, ...] = (4,)
    embedding_type: str = "positional"
    fir: bool = False
    progressive: str = "none"
    progressive_input: str = "none"
    centered: bool = True
    scale_by_sigma: bool = False
    sigma_max: float = 50.0
    num_scales: int = 1000
    channels: int = 3


# maps without parameters ----------------------------------------------------------------------------------------------


def blur(x: Tensor, gain: float, before: int, after: int) -> Tensor:
    """[1, 3, 3, 1] / 8 along both axes, padded by zeros, as a sum over 16 shifts."""
    taps = [1 / 8, 3 / 8, 3 / 8, 1 / 8]
    x = F.pad(x, (before, after, before, after))
    h, w = x.shape[2] - 3, x.shape[3] - 3
    return gain * sum(taps[i] * taps[j] * x[:, :, i : i + h, j : j + w] for i in range(4) for j in range(4))


def up(x: Tensor, fir: bool) -> Tensor:
    if not fir:
        return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    stuffed = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    stuffed[:, :, ::2, ::2] = x
    return blur(stuffed, 4.0, 2, 1)


def down(x: Tensor, fir: bool) -> Tensor:
    if fir:
        return blur(x, 1.0, 1, 1)[:, :, ::2, ::2]
    return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


def swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def sines(phase: Tensor) -> Tensor:
    return torch.cat([torch.sin(phase), torch.cos(phase)], dim=1)


# entries of the flat list ---------------------------------------------------------------------------------------------


class GaussianFourierProjection(nn.Module):
    def __init__(self, nf: int):
        super().__init__()
        self.W = nn.Parameter(16 * torch.randn(nf), requires_grad=False)

    def forward(self, x):
        return sines(x[:, None] * self.W[None] * 2 * math.pi)


class NIN(nn.Module):
    """A matrix per pixel, (in, out)."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.W, self.b = nn.Parameter(torch.empty(n_in, n_out)), nn.Parameter(torch.empty(n_out))

    def forward(self, x):
        return torch.einsum("nchw,cd->ndhw", x, self.W) + self.b[:, None, None]


def norm(n: int, spec: Spec) -> nn.GroupNorm:
    return nn.GroupNorm(32 if spec.name == "ddpm" else min(n // 4, 32), n, eps=1e-6)


class Res(nn.Module):
    def __init__(self, n_in: int, n_out: int, spec: Spec, resample=None):
        super().__init__()
        self.GroupNorm_0 = norm(n_in, spec)
        self.Conv_0 = nn.Conv2d(n_in, n_out, 3, padding=1)
        self.Dense_0 = nn.Linear(4 * spec.nf, n_out)
        self.GroupNorm_1 = norm(n_out, spec)
        self.Conv_1 = nn.Conv2d(n_out, n_out, 3, padding=1)
        if spec.name == "ddpm" and n_in != n_out:
            self.NIN_0 = NIN(n_in, n_out)
        if spec.name == "ncsnpp" and (n_in != n_out or resample):
            self.Conv_2 = nn.Conv2d(n_in, n_out, 1)
        self.spec, self.resample = spec, resample

    def forward(self, x, temb):
        h = swish(self.GroupNorm_0(x))
        if self.resample:
            h, x = self.resample(h, self.spec.fir), self.resample(x, self.spec.fir)
        h = self.Conv_0(h) + self.Dense_0(swish(temb))[:, :, None, None]
        h = self.Conv_1(swish(self.GroupNorm_1(h)))
        for shortcut in ("NIN_0", "Conv_2"):
            x = getattr(self, shortcut)(x) if hasattr(self, shortcut) else x
        return (x + h) / math.sqrt(2) if self.spec.name == "ncsnpp" else x + h


class Attn(nn.Module):
    def __init__(self, n: int, spec: Spec):
        super().__init__()
        self.GroupNorm_0 = norm(n, spec)
        self.NIN_0, self.NIN_1, self.NIN_2, self.NIN_3 = (NIN(n, n) for _ in range(4))
        self.spec = spec

    def forward(self, x):
        h = self.GroupNorm_0(x)
        q, k, v = (part(h).flatten(2) for part in (self.NIN_0, self.NIN_1, self.NIN_2))
        weights = torch.softmax(torch.einsum("ncp,ncr->npr", q, k) / math.sqrt(x.shape[1]), dim=2)
        h = self.NIN_3(torch.einsum("npr,ncr->ncp", weights, v).view_as(x))
        return (x + h) / math.sqrt(2) if self.spec.name == "ncsnpp" else x + h


class Combine(nn.Module):
    def __init__(self, n_image: int, n: int):
        super().__init__()
        self.Conv_0 = nn.Conv2d(n_image, n, 1)

    def forward(self, pyramid, h):
        return self.Conv_0(pyramid) + h


class Downsample(nn.Module):
    """Of a residual pyramid: ``Conv2d_0`` after a blur."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.Conv2d_0 = nn.Conv2d(n_in, n_out, 3)

    def forward(self, x):
        blurred = blur(x, 1.0, 2, 2)
        return F.conv2d(blurred, self.Conv2d_0.weight, self.Conv2d_0.bias, stride=2)


class PlainConv(nn.Module):
    """DDPM's resampling."""

    def __init__(self, n: int, factor):
        super().__init__()
        self.Conv_0, self.factor = nn.Conv2d(n, n, 3), factor

    def forward(self, x, temb=None):
        if self.factor is up:
            return F.conv2d(up(x, False), self.Conv_0.weight, self.Conv_0.bias, padding=1)
        return F.conv2d(F.pad(x, (0, 1, 0, 1)), self.Conv_0.weight, self.Conv_0.bias, stride=2)


# the network ----------------------------------------------------------------------------------------------------------


class Official(nn.Module):
    """(x, label) -> output, with label = sigma for Fourier features and the number of a level otherwise."""

    def __init__(self, spec: Spec):
        super().__init__()
        levels = np.exp(np.linspace(np.log(spec.sigma_max), np.log(0.01), spec.num_scales))
        self.register_buffer("sigmas", torch.tensor(levels))
        self.spec, s = spec, spec
        fourier, c, nf = s.embedding_type == "fourier", s.channels, s.nf
        skip_out, last = s.progressive == "output_skip", len(s.ch_mult) - 1
        rows: list[nn.Module] = [GaussianFourierProjection(nf)] if fourier else []
        rows += [nn.Linear((1 + fourier) * nf, 4 * nf), nn.Linear(4 * nf, 4 * nf), nn.Conv2d(c, nf, 3, padding=1)]
        n, size, kept, pyramid = nf, s.size, [nf], c
        for level, mult in enumerate(s.ch_mult):
            for _ in range(s.num_res_blocks):
                rows.append(Res(n, mult * nf, s))
                n = mult * nf
                rows += [Attn(n, s)] if size in s.attn_resolutions else []
                kept.append(n)
            if level < last:
                rows.append(PlainConv(n, down) if s.name == "ddpm" else Res(n, n, s, down))
                if s.progressive_input == "input_skip":
                    rows.append(Combine(pyramid, n))
                if s.progressive_input == "residual":
                    rows.append(Downsample(pyramid, n))
                    pyramid = n
                kept.append(n)
                size //= 2
        rows += [Res(n, n, s), Attn(n, s), Res(n, n, s)]
        for level in range(last, -1, -1):
            for _ in range(s.num_res_blocks + 1):
                rows.append(Res(n + kept.pop(), s.ch_mult[level] * nf, s))
                n = s.ch_mult[level] * nf
            rows += [Attn(n, s)] if size in s.attn_resolutions else []
            rows += [norm(n, s), nn.Conv2d(n, c, 3, padding=1)] if skip_out else []
            if level > 0:
                rows.append(PlainConv(n, up) if s.name == "ddpm" else Res(n, n, s, up))
                size *= 2
        rows += [] if skip_out else [norm(n, s), nn.Conv2d(n, c, 3, padding=1)]
        self.all_modules = nn.ModuleList(rows)

    def forward(self, x, label):
        s, row = self.spec, iter(self.all_modules)

        def go(*inputs):
            return next(row)(*inputs)

        if s.embedding_type == "fourier":
            used, temb = label, go(torch.log(label))
        else:
            used, half = self.sigmas[label.long()].float(), s.nf // 2
            frequencies = torch.tensor([10000.0 ** (-k / (half - 1)) for k in range(half)])
            temb = sines(label.float()[:, None] * frequencies[None])
        temb = go(swish(go(temb)))
        x = x if s.centered else 2 * x - 1
        pyramid, kept, size, last = x, [go(x)], s.size, len(s.ch_mult) - 1
        for level in range(last + 1):
            for _ in range(s.num_res_blocks):
                h = go(kept[-1], temb)
                kept.append(go(h) if size in s.attn_resolutions else h)
            if level < last:
                h = go(kept[-1], temb)
                if s.progressive_input == "input_skip":
                    pyramid = down(pyramid, s.fir)
                    h = go(pyramid, h)
                if s.progressive_input == "residual":
                    h = pyramid = (go(pyramid) + h) / math.sqrt(2)
                kept.append(h)
                size //= 2
        h = go(go(go(kept[-1], temb)), temb)
        image = None
        for level in range(last, -1, -1):
            for _ in range(s.num_res_blocks + 1):
                h = go(torch.cat([h, kept.pop()], dim=1), temb)
            h = go(h) if size in s.attn_resolutions else h
            if s.progressive == "output_skip":
                part = go(swish(go(h)))
                image = part if image is None else up(image, s.fir) + part
            if level > 0:
                h = go(h, temb)
                size *= 2
        h = go(swish(go(h))) if image is None else image
        assert next(row, None) is None and not kept
        return h / used[:, None, None, None] if s.scale_by_sigma else h


def randomised(spec: Spec, seed: int = 0) -> Official:
    """Weights of a size that keeps activations near 1 and every branch alive."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = Official(spec).eval()
        for parameter in network.parameters():
            if parameter.requires_grad:
                fan = parameter.numel() // len(parameter) if parameter.ndim > 1 else 25
                parameter.copy_(torch.randn(parameter.shape) / max(fan, 1) ** 0.5)
        for module in network.modules():
            if isinstance(module, nn.GroupNorm):
                module.weight.add_(1.0)
    return network


def checkpoint(
    path: Path, averaged: Official, last: Official | None = None, prefix: str = "module.", **changes
) -> Path:
    """The file that the official loop would have saved: ``averaged`` in 'ema', ``last`` in 'model'."""
    last = last or averaged
    optimizer = torch.optim.Adam(last.parameters(), lr=np.float64(2e-4) * np.minimum(7 / 5000, 1.0))
    state = {
        "optimizer": optimizer.state_dict(),
        "model": {prefix + name: value for name, value in last.state_dict().items()},
        "ema": {
            "decay": 0.999,
            "num_updates": 7,
            "shadow_params": [p.detach().clone() for p in averaged.parameters() if p.requires_grad],
        },
        "step": 7,
    }
    torch.save(state | changes, path)
    return path

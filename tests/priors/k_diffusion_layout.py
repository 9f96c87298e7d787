"""The U-net image_v1 of k-diffusion by definition, slow and plain, with the names of its state dict.

It shares nothing with `priors.nets`: filters are sums over shifted images, norms and attention are written out.
`checkpoint` writes what the training loop of k-diffusion would.
"""

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from tests.priors.official_layout import blur


def config(**changes) -> dict:
    """A small config in k-diffusion's words, which its `load_config` completes."""
    model = {
        "type": "image_v1", "input_channels": 3, "input_size": [8, 16], "mapping_out": 32, "depths": [1, 2],
        "channels": [32, 128], "self_attn_depths": [False, True], "sigma_data": 0.5, "sigma_min": 1e-2,
        "sigma_max": 80,
    }  # fmt: skip
    kept = {name: value for name, value in (model | changes).items() if value is not None}
    return {"model": kept, "dataset": {"type": "cifar10", "location": "data"}}


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def mirrored(x: Tensor) -> Tensor:
    """One pixel more on each side, mirrored without the border itself."""
    x = torch.cat([x[:, :, 1:2], x, x[:, :, -2:-1]], dim=2)
    return torch.cat([x[:, :, :, 1:2], x, x[:, :, :, -2:-1]], dim=3)


class Filter(nn.Module):
    def __init__(self, gain: float):
        super().__init__()
        taps = torch.tensor([[1.0, 3.0, 3.0, 1.0]]) / 8 * gain
        self.register_buffer("kernel", taps.T @ taps)


class Down(Filter):
    def __init__(self):
        super().__init__(1.0)

    def forward(self, x, emb):
        return blur(mirrored(x), 1.0, 0, 0)[:, :, ::2, ::2]


class Up(Filter):
    """Pixels spread apart, then filtered with a gain of 2 along each axis; three are cut off at each border."""

    def __init__(self):
        super().__init__(2.0)

    def forward(self, x, emb):
        x = mirrored(x)
        spread = x.new_zeros(*x.shape[:2], 2 * x.shape[2] - 1, 2 * x.shape[3] - 1)
        spread[:, :, ::2, ::2] = x
        return blur(spread, 4.0, 3, 3)[:, :, 3:-3, 3:-3]


class Same(nn.Module):
    def forward(self, x, emb=None):
        return x


class AdaGN(nn.Module):
    def __init__(self, width: int, channels: int):
        super().__init__()
        self.mapper, self.groups = nn.Linear(width, 2 * channels), max(1, channels // 32)

    def forward(self, x, emb):
        rows = x.reshape(len(x), self.groups, -1)
        rows = (rows - rows.mean(2, keepdim=True)) / (rows.var(2, keepdim=True, unbiased=False) + 1e-5).sqrt()
        c = x.shape[1]
        both = self.mapper(emb)
        return rows.view_as(x) * (both[:, :c, None, None] + 1) + both[:, c:, None, None]


class ResConv(nn.Module):
    def __init__(self, width: int, n_in: int, n_mid: int, n_out: int):
        super().__init__()
        first, second = nn.Conv2d(n_in, n_mid, 3, padding=1), nn.Conv2d(n_mid, n_out, 3, padding=1)
        rows = (AdaGN(width, n_in), Same(), first, Same(), AdaGN(width, n_mid), Same(), second, Same())
        self.main = nn.Sequential(*rows)
        self.skip = nn.Conv2d(n_in, n_out, 1, bias=False) if n_in != n_out else Same()

    def forward(self, x, emb):
        h = self.main[2](gelu(self.main[0](x, emb)))
        return self.main[6](gelu(self.main[4](h, emb))) + self.skip(x)


class SelfAttention(nn.Module):
    def __init__(self, width: int, c: int):
        super().__init__()
        self.norm_in, self.heads = AdaGN(width, c), max(1, c // 64)
        self.qkv_proj, self.out_proj = nn.Conv2d(c, 3 * c, 1), nn.Conv2d(c, c, 1)

    def forward(self, x, emb):
        n, c, h, w = x.shape
        q, k, v = self.qkv_proj(self.norm_in(x, emb)).split(c, dim=1)
        size, found = c // self.heads, []
        for i in range(self.heads):
            mine = slice(i * size, (i + 1) * size)
            a, b, d = (part[:, mine].flatten(2) for part in (q, k, v))
            weights = torch.softmax(torch.einsum("ncp,ncr->npr", a, b) / math.sqrt(size), dim=2)
            found.append(torch.einsum("npr,ncr->ncp", weights, d))
        return x + self.out_proj(torch.cat(found, dim=1).view(n, c, h, w))


class Features(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("weight", torch.randn(width // 2, 1))


class UNet(nn.Module):
    def __init__(self, down: list, up: list):
        super().__init__()
        self.d_blocks, self.u_blocks = nn.ModuleList(down), nn.ModuleList(up)


class ImageV1(nn.Module):
    """(c_in x, sigma) -> output, with the noise level itself."""

    def __init__(self, k: dict, augmented: bool):
        super().__init__()
        width, channels, depths, attended = k["mapping_out"], k["channels"], k["depths"], k["self_attn_depths"]
        self.k, self.skipped, self.patch = k, k.get("skip_stages", 0), k.get("patch_size", 1)
        pixels, first = k["input_channels"] * self.patch**2, channels[max(0, self.skipped - 1)]
        self.timestep_embed = Features(width)
        if augmented:
            self.mapping_cond = nn.Linear(9, width, bias=False)
        self.mapping = nn.Sequential(nn.Linear(width, width), Same(), nn.Linear(width, width), Same())
        self.proj_in = nn.Conv2d(pixels, first, 1)
        self.proj_out = nn.Conv2d(first, pixels + int(k.get("has_variance", False)), 1)
        down, up = [], []
        for i, n in enumerate(channels):
            outer, resampled, deepest = channels[max(0, i - 1)], i > self.skipped, i == len(channels) - 1
            coming, going = [], []
            for j in range(depths[i]):
                coming.append(ResConv(width, outer if j == 0 else n, n, n))
                out = outer if j == depths[i] - 1 else n
                going.append(ResConv(width, n if j > 0 or deepest else 2 * n, n, out))
                if attended[i]:
                    coming.append(SelfAttention(width, n))
                    going.append(SelfAttention(width, out))
            down.append(nn.Sequential(Down() if resampled else Same(), *coming))
            up.insert(0, nn.Sequential(*going, Up() if resampled else Same()))
        self.u_net = UNet(down, up)

    def forward(self, x, sigma):
        p, n, (h, w) = self.patch, len(x), x.shape[2:]
        phase = 2 * math.pi * (sigma.log() / 4)[:, None] * self.timestep_embed.weight[:, 0]
        emb = torch.cat([phase.cos(), phase.sin()], dim=1)
        emb = gelu(self.mapping[2](gelu(self.mapping[0](emb))))
        x = x.view(n, -1, h // p, p, w // p, p).permute(0, 1, 3, 5, 2, 4).reshape(n, -1, h // p, w // p)
        x, kept = self.proj_in(x), []
        for block in self.u_net.d_blocks[self.skipped :]:
            for layer in block:
                x = layer(x, emb)
            kept.append(x)
        x = None
        for block in self.u_net.u_blocks:
            if not kept:
                break
            x = kept.pop() if x is None else torch.cat([x, kept.pop()], dim=1)
            for layer in block:
                x = layer(x, emb)
        x = self.proj_out(x)
        x = x[:, : x.shape[1] - int(self.k.get("has_variance", False))]
        return x.view(n, -1, p, p, h // p, w // p).permute(0, 1, 4, 2, 5, 3).reshape(n, -1, h, w)


class Wrapped(nn.Module):
    """Under the wrapper of augmentation, whose labels are 0 outside training."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner_model = inner

    def forward(self, x, sigma):
        return self.inner_model(x, sigma)


def randomised(whole: dict, seed: int = 0) -> nn.Module:
    """The network of a config, with weights of a size that keeps activations near 1 and every branch alive."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        augmented = whole["model"].get("augment_wrapper", True)
        network = ImageV1(whole["model"], augmented)
        for parameter in network.parameters():
            fan = parameter[0].numel() if parameter.ndim > 1 else 25
            parameter.copy_(torch.randn(parameter.shape) / fan**0.5)
    return (Wrapped(network) if augmented else network).eval().requires_grad_(False)


def denoised(network: nn.Module, sigma_data: float, u: Tensor, sigma: float) -> Tensor:
    """D of table 1 of Karras et al. 2022, in the network's units."""
    total = sigma**2 + sigma_data**2
    out = network(u / total**0.5, torch.full((len(u),), sigma))
    return u * sigma_data**2 / total + out * sigma * sigma_data / total**0.5


def checkpoint(path: Path, averaged: nn.Module, last: nn.Module | None = None, **changes) -> Path:
    """The file that the training loop would have saved: ``averaged`` in 'model_ema', ``last`` in 'model'."""
    last = last or averaged
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))], lr=1e-4)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer)
    state = {
        "model": last.state_dict(), "model_ema": averaged.state_dict(), "opt": optimizer.state_dict(),
        "sched": schedule.state_dict(), "ema_sched": {"power": 0.6667, "max_value": 0.9999, "last_epoch": 7},
        "epoch": 1, "step": 7, "gns_stats": None,
    }  # fmt: skip
    torch.save(state | changes, path)
    return path

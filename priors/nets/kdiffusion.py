"""The U-net "image_v1" of k-diffusion."""

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from priors.arguments import counts, flag, number, settings
from priors.nets.layers import FourierEmbedding

GROUP, HEAD = 32, 64  # channels per group of a norm and per head of an attention


@dataclass(frozen=True)
class KDiffusionConfig:
    """The shape of a network; the defaults are those of k-diffusion's config for CIFAR-10.

    Arguments: image_channels; image_size (height, width) in pixels; width of the embedding; depths (blocks) and
    channels per level; attention (levels that have it, counted from 0); patch (pixels a side that are one position of
    the first level); skipped (first levels that are left out: those of a network that was to grow); variance: one more
    channel comes out, which is dropped; label_offset (float): is added to the label; dropout.
    Raises: TypeError or ValueError for entries of another type or out of range, and for sizes that do not divide.
    """

    image_channels: int = 3
    image_size: tuple[int, ...] = (32, 32)
    width: int = 256
    depths: tuple[int, ...] = (2, 4, 4)
    channels: tuple[int, ...] = (128, 256, 512)
    attention: tuple[int, ...] = (1, 2)
    patch: int = 1
    skipped: int = 0
    variance: bool = False
    label_offset: float = 0.0
    dropout: float = 0.0

    def __post_init__(self):
        settings(self, image_channels=1, width=2, patch=1, skipped=0, dropout="[0, 1)")
        number("label_offset", self.label_offset)
        flag("variance", self.variance)
        for name, least, fewest in (("image_size", 1, 2), ("depths", 1, 1), ("channels", 1, 1), ("attention", 0, 0)):
            object.__setattr__(self, name, counts(name, getattr(self, name), least, fewest))
        levels = len(self.depths)
        if len(self.image_size) != 2:
            raise ValueError(f"image_size = {self.image_size}: expected (height, width)")
        if self.width % 2:
            raise ValueError(f"width = {self.width}: expected an even number, of cosines and sines")
        if len(self.channels) != levels:
            raise ValueError(f"{len(self.channels)} channels for {levels} depths: expected one of each per level")
        if self.skipped >= levels or any(level >= levels for level in self.attention):
            raise ValueError(
                f"skipped = {self.skipped} and attention = {self.attention}: expected levels from 0 to {levels - 1}"
            )
        for n in {*self.channels, *(2 * n for n in self.channels[:-1])}:
            if n % max(1, n // GROUP) or n % max(1, n // HEAD):
                raise ValueError(f"channels = {self.channels}: {n} do not divide into groups of {GROUP} and {HEAD}")
        if any(side % (self.patch * 2 ** (levels - 1 - self.skipped)) for side in self.image_size):
            raise ValueError(
                f"image_size = {self.image_size}: expected multiples of patch * 2^(levels - 1) = "
                f"{self.patch * 2 ** (levels - 1 - self.skipped)}"
            )

    def spec(self) -> dict:
        """The config as plain data, for a checkpoint's card."""
        return asdict(self)


class AdaptiveNorm(nn.Module):
    """Group norm with gain and shift by the embedding: (N, C, H, W), (N, E) -> (N, C, H, W)."""

    def __init__(self, width: int, channels: int):
        super().__init__()
        self.groups, self.mapper = max(1, channels // GROUP), nn.Linear(width, 2 * channels)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        gain, shift = self.mapper(emb)[:, :, None, None].chunk(2, dim=1)
        return F.group_norm(x, self.groups) * (1 + gain) + shift


class Block(nn.Module):
    """Two convolutions, each after a norm and a GELU, beside the identity or a matrix per pixel."""

    def __init__(self, width: int, n_in: int, n_mid: int, n_out: int, dropout: float):
        super().__init__()
        # the numbers are those of k-diffusion's list of layers, of which these have weights
        self.main = nn.ModuleDict(
            {
                "0": AdaptiveNorm(width, n_in),
                "2": nn.Conv2d(n_in, n_mid, 3, padding=1),
                "4": AdaptiveNorm(width, n_mid),
                "6": nn.Conv2d(n_mid, n_out, 3, padding=1),
            }
        )
        self.skip = nn.Identity() if n_in == n_out else nn.Conv2d(n_in, n_out, 1, bias=False)
        self.dropout = dropout
        nn.init.zeros_(self.main["6"].weight)  # type: ignore  # torch types all attributes as tensors or modules
        nn.init.zeros_(self.main["6"].bias)  # type: ignore  # as above

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = x
        for norm, conv in (("0", "2"), ("4", "6")):
            h = F.dropout2d(self.main[conv](F.gelu(self.main[norm](h, emb))), self.dropout, self.training)
        return h + self.skip(x)


class Attention(nn.Module):
    """Self-attention over pixels after a norm, with a residual: (N, C, H, W), (N, E) -> (N, C, H, W)."""

    def __init__(self, width: int, channels: int):
        super().__init__()
        self.heads, self.norm_in = max(1, channels // HEAD), AdaptiveNorm(width, channels)
        self.qkv_proj, self.out_proj = nn.Conv2d(channels, 3 * channels, 1), nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)  # type: ignore  # a bias is there

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        n, c = x.shape[:2]
        q, key, v = self.qkv_proj(self.norm_in(x, emb)).reshape(n, 3, self.heads, c // self.heads, -1).unbind(1)
        # written out: fused kernels have no second derivative, which densities of guided flows need
        weight = torch.softmax(q.mT @ key / math.sqrt(c // self.heads), -1)
        return x + self.out_proj((v @ weight.mT).reshape(x.shape))


class Resample(nn.Module):
    """Half or twice the size by [1, 3, 3, 1], with the border mirrored."""

    taps: Tensor

    def __init__(self, factor: str):
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / (8 if factor == "down" else 4)
        self.register_buffer("taps", torch.outer(taps, taps), persistent=False)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        c = x.shape[1]
        x, weight = F.pad(x, (1, 1, 1, 1), "reflect"), self.taps.to(x.dtype).expand(c, 1, 4, 4)
        if self.factor == "down":
            return F.conv2d(x, weight, stride=2, groups=c)
        return F.conv_transpose2d(x, weight, stride=2, padding=3, groups=c)


class KDiffusionUNet(nn.Module):
    """A U-net of the noise level: (x (N, C, H, W), label c (N,)) -> (N, C, H, W).

    Source: the class ImageDenoiserModelV1 of github.com/crowsonkb/k-diffusion, whose parameters have these names.
    Where k-diffusion 0.0.16 and later have a dropout_rate, their attention drops weights in evaluation too, which makes
    D a random number; this one does not, as earlier ones did not.
    Arguments: config (KDiffusionConfig).
    """

    def __init__(self, config: KDiffusionConfig):
        super().__init__()
        self.config = k = config
        first = k.channels[max(0, k.skipped - 1)]
        self.timestep_embed = FourierEmbedding(k.width // 2, 1.0)
        self.mapping = nn.Sequential(nn.Linear(k.width, k.width), nn.GELU(), nn.Linear(k.width, k.width), nn.GELU())
        self.proj_in = nn.Conv2d(k.image_channels * k.patch**2, first, 1)
        self.proj_out = nn.Conv2d(first, k.image_channels * k.patch**2 + k.variance, 1)
        down, up, last = [], [], len(k.depths) - 1
        for i, n in enumerate(k.channels):
            outside = k.channels[max(0, i - 1)]
            down.append(self._level(i, outside, n, "down"))
            up.append(self._level(i, n if i == last else 2 * n, outside, "up"))
        self.u_net = nn.ModuleDict({"d_blocks": nn.ModuleList(down), "u_blocks": nn.ModuleList(up[::-1])})

    def _level(self, i: int, n_in: int, n_out: int, factor: str) -> nn.ModuleDict:
        """The layers of a level with their numbers in k-diffusion's lists: the resampling is first or last."""
        k, n, layers = self.config, self.config.channels[i], []
        for j in range(k.depths[i]):
            out = n_out if j == k.depths[i] - 1 else n
            layers.append(Block(k.width, n_in if j == 0 else n, n, out, k.dropout))
            if i in k.attention:
                layers.append(Attention(k.width, out))
        change = Resample(factor) if i > k.skipped else nn.Identity()
        layers = [change, *layers] if factor == "down" else [*layers, change]
        return nn.ModuleDict({str(j): layer for j, layer in enumerate(layers)})

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        k = self.config
        like = self.proj_in.weight
        # k-diffusion has cosines first
        emb = self.mapping(self.timestep_embed(c + k.label_offset).roll(k.width // 2, 1).to(like))
        h, skips = self.proj_in(F.pixel_unshuffle(x, k.patch)), []
        for level in list(self.u_net["d_blocks"])[k.skipped :]:  # type: ignore  # a list of levels
            skips.append(h := through(level, h, emb))
        for i, level in enumerate(list(self.u_net["u_blocks"])[: len(skips)]):  # type: ignore  # as above
            skip = skips.pop()
            h = through(level, torch.cat([h, skip], dim=1) if i else h, emb)
        return F.pixel_shuffle(self.proj_out(h)[:, : k.image_channels * k.patch**2], k.patch)


def through(level: nn.ModuleDict, h: Tensor, emb: Tensor) -> Tensor:
    """The layers of a level, one after the other."""
    for layer in level.values():
        h = layer(h, emb) if isinstance(layer, Block | Attention) else layer(h)
    return h

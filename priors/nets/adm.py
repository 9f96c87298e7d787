"""The ablated diffusion model (ADM): a U-net with scale-shift norms and attention by heads."""

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from priors.arguments import counts, flag, number, sequence, settings
from priors.nets.layers import CosineEmbedding


@dataclass(frozen=True)
class ADMConfig:
    """The shape of a network; the defaults are those of the FFHQ 256 x 256 network of Chung et al. 2023.

    Arguments: image_channels, image_size (pixels, square); channels, and ``multipliers`` of them per level, which may
    be fractions; res_blocks per level; attention (factors of downsampling that get it: 16 is 16 x 16 of 256 x 256);
    heads, or head_channels (0: by heads); new_order: queries, keys and values before heads in the attention's
    projection, not after; scale_shift: the embedding scales and shifts the norms, otherwise it is added; res_resample:
    residual blocks change the size, otherwise convolutions; conv_resample: those have weights; learned_sigma: twice the
    image's channels come out, of which the second half, a variance, is dropped; classes (0: unconditional); dropout.
    Raises: TypeError or ValueError for entries of another type or out of range, or sizes that do not divide.
    """

    image_channels: int = 3
    image_size: int = 256
    channels: int = 128
    multipliers: tuple[float, ...] = (1, 1, 2, 2, 4, 4)
    res_blocks: int = 1
    attention: tuple[int, ...] = (16,)
    heads: int = 4
    head_channels: int = 64
    new_order: bool = False
    scale_shift: bool = True
    res_resample: bool = True
    conv_resample: bool = True
    learned_sigma: bool = True
    classes: int = 0
    dropout: float = 0.0

    def __post_init__(self):
        settings(self, image_channels=1, image_size=1, channels=1, res_blocks=1, heads=1, head_channels=0, classes=0)
        settings(self, dropout="[0, 1)")
        multipliers = tuple(number("multipliers", m, "(0, inf)") for m in sequence("multipliers", self.multipliers))
        object.__setattr__(self, "multipliers", multipliers)
        object.__setattr__(self, "attention", counts("attention", self.attention, fewest=0))
        for name in ("new_order", "scale_shift", "res_resample", "conv_resample", "learned_sigma"):
            flag(name, getattr(self, name))
        if not multipliers or self.image_size % 2 ** (len(multipliers) - 1):
            raise ValueError(
                f"image_size {self.image_size} with {len(multipliers)} multipliers: expected at least one, and a "
                f"multiple of 2^(levels - 1) = {2 ** (len(multipliers) - 1)}"
            )
        if self.channels % 2 or any(width % 32 for width in self.widths):
            raise ValueError(
                f"channels {self.channels} x multipliers {multipliers}: expected multiples of 32, the number of groups"
            )
        for level, width in enumerate(self.widths):
            attends = 2**level in self.attention or level == len(multipliers) - 1  # the middle always does
            if attends and width % (self.head_channels or self.heads):
                what = f"head_channels = {self.head_channels}" if self.head_channels else f"heads = {self.heads}"
                raise ValueError(f"{what}: expected a divisor of the {width} channels of level {level}")

    @property
    def widths(self) -> list[int]:
        """Channels per level."""
        return [int(m * self.channels) for m in self.multipliers]

    def spec(self) -> dict:
        """The config as plain data, for a checkpoint's card."""
        return asdict(self)


class Block(nn.Sequential):
    """Layers in turn, of which residual blocks also take the embedding."""

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        for layer in self:
            h = layer(h, emb) if isinstance(layer, ResBlock) else layer(h)
        return h


class ResBlock(nn.Module):
    """Residual block with an embedding, which optionally resamples by 2: (N, C, H, W), (N, E) -> (N, C', H', W')."""

    def __init__(self, n_in: int, n_out: int, config: ADMConfig, factor: str | None = None):
        super().__init__()
        self.factor, self.scale_shift = factor, config.scale_shift
        self.in_layers = nn.Sequential(norm(n_in), nn.SiLU(), nn.Conv2d(n_in, n_out, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(4 * config.channels, n_out * (1 + config.scale_shift)))
        last = nn.Conv2d(n_out, n_out, 3, padding=1)
        self.out_layers = nn.Sequential(norm(n_out), nn.SiLU(), nn.Dropout(config.dropout), zero_(last))
        self.skip_connection = nn.Identity() if n_in == n_out else nn.Conv2d(n_in, n_out, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.in_layers[2](resample(self.in_layers[1](self.in_layers[0](x)), self.factor))
        emb = self.emb_layers(emb)[:, :, None, None]
        if self.scale_shift:
            scale, shift = emb.chunk(2, dim=1)
            h = self.out_layers[1:](self.out_layers[0](h) * (1 + scale) + shift)
        else:
            h = self.out_layers(h + emb)
        return self.skip_connection(resample(x, self.factor)) + h


class Attention(nn.Module):
    """Multi-head self-attention over pixels with a residual, (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, channels: int, config: ADMConfig):
        super().__init__()
        self.heads = channels // config.head_channels if config.head_channels else config.heads
        self.new_order = config.new_order
        self.norm, self.qkv = norm(channels), nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = zero_(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        n, c, k = len(x), x.shape[1], self.heads
        qkv = self.qkv(self.norm(x).flatten(2))
        if self.new_order:
            q, k_, v = (part.reshape(n * k, c // k, -1) for part in qkv.chunk(3, dim=1))
        else:
            q, k_, v = qkv.reshape(n * k, 3 * c // k, -1).chunk(3, dim=1)
        # written out: fused kernels have no second derivative, which densities of guided flows need
        weight = torch.softmax(q.mT @ k_ / math.sqrt(c // k), -1)
        return x + self.proj_out((v @ weight.mT).reshape(n, c, -1)).view_as(x)


class Downsample(nn.Module):
    """Half the size, by a 3 x 3 convolution of stride 2 or by averages."""

    def __init__(self, channels: int, weights: bool):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1) if weights else nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    """Twice the size by repetition, then optionally a 3 x 3 convolution."""

    def __init__(self, channels: int, weights: bool):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1) if weights else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(resample(x, "up"))


class ADMUNet(nn.Module):
    """A U-net of noise and class: (x (N, C, H, W), label c (N,), classes (N,) or None) -> (N, C, H, W).

    Source: Dhariwal & Nichol 2021; Nichol & Dhariwal 2021 (scale-shift norms, learned variance). Parameters have the
    names of their code's state dicts.
    Arguments: config (ADMConfig).
    Attributes: classes (int, 0 if unconditional); null: whether it serves without a class.
    Raises: ValueError in `forward` where a network of classes is given none.
    """

    null = False

    def __init__(self, config: ADMConfig):
        super().__init__()
        self.config = k = config
        self.classes, n_emb = k.classes, 4 * k.channels
        self.embedding = CosineEmbedding(k.channels)
        self.time_embed = nn.Sequential(nn.Linear(k.channels, n_emb), nn.SiLU(), nn.Linear(n_emb, n_emb))
        if k.classes:
            self.label_emb = nn.Embedding(k.classes, n_emb)
        n, levels = k.widths[0], len(k.widths)
        self.input_blocks = nn.ModuleList([Block(nn.Conv2d(k.image_channels, n, 3, padding=1))])
        skips = [n]
        for level, width in enumerate(k.widths):
            for _ in range(k.res_blocks):
                self.input_blocks.append(Block(ResBlock(n, width, k), *self._attention(level, width)))
                skips.append(n := width)
            if level < levels - 1:
                self.input_blocks.append(
                    Block(ResBlock(n, n, k, "down") if k.res_resample else Downsample(n, k.conv_resample))
                )
                skips.append(n)
        self.middle_block = Block(ResBlock(n, n, k), Attention(n, k), ResBlock(n, n, k))
        self.output_blocks = nn.ModuleList()
        for level, width in reversed(list(enumerate(k.widths))):
            for i in range(k.res_blocks + 1):
                layers = [ResBlock(n + skips.pop(), width, k), *self._attention(level, width)]
                if level and i == k.res_blocks:
                    up = ResBlock(width, width, k, "up") if k.res_resample else Upsample(width, k.conv_resample)
                    layers.append(up)
                self.output_blocks.append(Block(*layers))
                n = width
        last = nn.Conv2d(n, k.image_channels * (1 + k.learned_sigma), 3, padding=1)
        self.out = nn.Sequential(norm(n), nn.SiLU(), zero_(last))

    def _attention(self, level: int, width: int) -> list[nn.Module]:
        return [Attention(width, self.config)] if 2**level in self.config.attention else []

    def forward(self, x: Tensor, c: Tensor, classes: Tensor | None = None) -> Tensor:
        emb = self.time_embed(self.embedding(c).to(self.time_embed[0].weight))
        if self.classes:
            if classes is None:
                raise ValueError(f"this network is of {self.classes} classes: choose one, prior.conditioned(label)")
            emb = emb + self.label_emb(classes)
        h, skips = x, []
        for block in self.input_blocks:
            skips.append(h := block(h, emb))
        h = self.middle_block(h, emb)
        for block in self.output_blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), emb)
        return self.out(h)[:, : self.config.image_channels]


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels)


def zero_(layer: nn.Conv1d | nn.Conv2d) -> nn.Module:
    """A branch that starts as the zero map."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def resample(x: Tensor, factor: str | None) -> Tensor:
    if factor == "up":
        return F.interpolate(x, scale_factor=2.0)
    return F.avg_pool2d(x, 2) if factor == "down" else x

"""A fully convolutional network for images of any size with a known, bounded receptive field."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from priors.arguments import counts, settings
from priors.nets.layers import FourierEmbedding, init_, linear


@dataclass(frozen=True)
class LocalConfig:
    """The shape of a local network.

    Arguments: image_channels; channels (int per level; level l works at 1 / (2 * 2^l) of the image size); blocks
    (int per level, in the encoder and again in the decoder; the last level has them once); fourier_scale and embedding
    (width) of the noise label.
    Raises: ValueError for no level, for other than one number of blocks per level and for numbers below 1.
    """

    image_channels: int = 3
    channels: tuple[int, ...] = (32, 64, 128, 160)
    blocks: tuple[int, ...] = (1, 1, 1, 2)
    embedding: int = 64
    fourier_scale: float = 1.0

    def __post_init__(self):
        settings(self, image_channels=1, embedding=1, fourier_scale="(0, inf)")
        for name in ("channels", "blocks"):
            object.__setattr__(self, name, counts(name, getattr(self, name)))
        if len(self.blocks) != len(self.channels):
            raise ValueError(
                f"channels = {self.channels}, blocks = {self.blocks}: expected one entry per level in both"
            )

    def spec(self) -> dict:
        """The config as plain data, for a checkpoint's card."""
        return asdict(self)


class LocalBlock(nn.Module):
    """x + conv1(silu(a conv0(x) + b)), with a and b from the embedding; no norm, so the receptive field stays
    bounded."""

    def __init__(self, channels: int, n_emb: int):
        super().__init__()
        self.conv0, self.conv1 = conv(channels, channels), conv(channels, channels, scale=0.05)
        self.film = linear(n_emb, 2 * channels, scale=0.1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        gain, shift = self.film(emb)[:, :, None, None].chunk(2, dim=1)
        return x + self.conv1(F.silu(torch.addcmul(shift, self.conv0(x), 1 + gain)))


class LocalUNet(nn.Module):
    """(x (N, C, H, W), label c (N,)) -> (N, C, H, W), for every H and W of at least `minimum`.

    A U-net of plain residual blocks at 1/2, 1/4, ... of the image size with additive skips. No attention and no
    normalisation: an output pixel depends only on inputs within `receptive_radius` pixels, for any image size. Borders
    are padded with zeros at every level, and sizes that do not divide by `stride` with their mirror image at the end.
    Source: Zhang et al. 2021 (DRUNet: residual blocks without norms and biases, added skips), Zhang et al. 2018
    (FFDNet: half the size at once).
    Arguments: config (LocalConfig).
    Raises: ValueError when called with a picture below `minimum`.
    """

    encoder: Any  # lists of lists of blocks, which torch's types do not express
    decoder: Any

    def __init__(self, config: LocalConfig):
        super().__init__()
        self.config = k = config
        self.embed = FourierEmbedding(k.embedding // 2, k.fourier_scale)
        n_emb = k.embedding
        self.embed0, self.embed1 = linear(n_emb, n_emb), linear(n_emb, n_emb)
        self.conv_in = conv(4 * k.image_channels, k.channels[0])
        steps = list(zip(k.channels, k.channels[1:], strict=False))
        self.down = nn.ModuleList(init_(nn.Conv2d(a, b, 2, stride=2, bias=False)) for a, b in steps)
        self.up = nn.ModuleList(conv(b, 4 * a, size=1) for a, b in steps)
        self.encoder = nn.ModuleList(_blocks(n, c, n_emb) for n, c in zip(k.blocks, k.channels, strict=True))
        self.decoder = nn.ModuleList(_blocks(n, c, n_emb) for n, c in zip(k.blocks[:-1], k.channels[:-1], strict=True))
        self.conv_out = conv(k.channels[0], 4 * k.image_channels, scale=0.0)
        self.to(memory_format=torch.channels_last)

    @property
    def stride(self) -> int:
        """Translation equivariance: shifts of the image by multiples of this many pixels shift the output alike, away
        from borders."""
        return 2 ** len(self.config.channels)

    @property
    def minimum(self) -> int:
        """The least height and width, in pixels: below it a mirror image is too short to pad with."""
        return self.stride // 2 + 1

    @property
    def receptive_radius(self) -> int:
        """The largest distance, in pixels along one axis, from an output pixel to an input that it depends on."""
        return max(max(p - first, last - p) for p in range(self.stride) for first, last in [self._seen_by(p)])

    def _seen_by(self, pixel: int) -> tuple[int, int]:
        """First and last input, along one axis, of an output pixel: the network's path read backwards."""
        first = last = pixel // 2
        levels = len(self.config.channels)
        first, last = first - 1, last + 1  # conv_out
        for level in range(levels - 1):
            reach = 2 * len(self.decoder[level])  # two convolutions in a block
            first, last = (first - reach) // 2, (last + reach) // 2
        for level in reversed(range(levels)):
            reach = 2 * len(self.encoder[level])
            first, last = first - reach, last + reach
            if level:
                first, last = 2 * first, 2 * last + 1
        return 2 * (first - 1), 2 * (last + 1) + 1  # conv_in, and the two pixels of a cell

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        if min(h, w) < self.minimum:
            raise ValueError(f"a picture of {h} x {w} pixels: expected at least {self.minimum} each way; enlarge it")
        x = F.pad(x, (0, -w % self.stride, 0, -h % self.stride), mode="reflect")
        emb = F.silu(self.embed1(F.silu(self.embed0(self.embed(c).to(self.embed0.weight)))))
        x = self.conv_in(F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last))
        skips = []
        for level, blocks in enumerate(self.encoder):
            if level:
                skips.append(x)
                x = self.down[level - 1](x)
            for block in blocks:
                x = block(x, emb)
        for level in reversed(range(len(self.decoder))):
            x = skips.pop() + F.pixel_shuffle(self.up[level](x), 2)
            for block in self.decoder[level]:
                x = block(x, emb)
        return F.pixel_shuffle(self.conv_out(x), 2)[..., :h, :w]


def one_channel(weights: dict[str, Tensor], image_channels: int) -> dict[str, Tensor]:
    """The weights of a one-channel network that equals, on grey images, the channel mean of a colour network. The
    weights of the first convolution are summed over channels; those of the last are averaged.
    Arguments: weights (a `LocalUNet`'s state) and the image_channels that they are for.
    """
    first, last = weights["conv_in.weight"], weights["conv_out.weight"]
    return weights | {
        "conv_in.weight": first.unflatten(1, (image_channels, 4)).sum(1),
        "conv_out.weight": last.unflatten(0, (image_channels, 4)).mean(0),
    }


def conv(n_in: int, n_out: int, size: int = 3, scale: float = 1.0) -> nn.Conv2d:
    """A convolution without bias: the embedding adds the shifts."""
    return init_(nn.Conv2d(n_in, n_out, size, padding=size // 2, bias=False), scale)


def _blocks(n: int, channels: int, n_emb: int) -> nn.ModuleList:
    return nn.ModuleList(LocalBlock(channels, n_emb) for _ in range(n))

"""A noise-conditioned image classifier: the encoder half of the NCSN++ family."""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from priors.arguments import counts, settings
from priors.nets.layers import FourierEmbedding, ResBlock, conv, group_norm, linear


@dataclass(frozen=True)
class EncoderConfig:
    """The shape of a classifier.

    Arguments: image_channels, image_size (pixels, square); channels and ``multipliers`` per level (each level after the
    first halves the image); res_blocks per level; patch (pixels) as in `UNetConfig`; classes (int); dropout.
    Raises: TypeError or ValueError for entries of another type or out of range, and for sizes that do not divide.
    """

    image_channels: int = 3
    image_size: int = 32
    channels: int = 64
    multipliers: tuple[int, ...] = (1, 2, 4)
    res_blocks: int = 1
    patch: int = 1
    fourier_scale: float = 2.0
    dropout: float = 0.1
    classes: int = 10

    def __post_init__(self):
        settings(self, image_channels=1, image_size=1, channels=1, res_blocks=1, patch=1, classes=1)
        settings(self, fourier_scale="(0, inf)", dropout="[0, 1)")
        object.__setattr__(self, "multipliers", counts("multipliers", self.multipliers))
        total = self.patch * 2 ** (len(self.multipliers) - 1)
        if self.image_size % total:
            raise ValueError(f"image_size {self.image_size}: expected a multiple of {total}; use fewer multipliers")

    def spec(self) -> dict:
        """The config as plain data, for a checkpoint's card."""
        return asdict(self)


class Encoder(nn.Module):
    """(x (N, C, H, W), label c (N,)) -> logits (N, classes).

    Source: the noise-conditional classifier of Song et al. 2021, section 5 (there a Wide ResNet).
    Arguments: config (EncoderConfig).
    """

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.config = k = config
        n_emb = 2 * k.channels
        self.embed = FourierEmbedding(k.channels, k.fourier_scale)
        self.embed0 = linear(2 * k.channels, n_emb)
        n = k.channels
        self.conv_in = conv(k.image_channels * k.patch**2, n)
        self.blocks = nn.ModuleList()
        for level, multiplier in enumerate(k.multipliers):
            if level:
                self.blocks.append(ResBlock(n, n, n_emb, resample="down", dropout=k.dropout))
            for _ in range(k.res_blocks):
                self.blocks.append(ResBlock(n, k.channels * multiplier, n_emb, dropout=k.dropout))
                n = k.channels * multiplier
        self.norm, self.head = group_norm(n), linear(n, k.classes)
        self.to(memory_format=torch.channels_last)

    def features(self, x: Tensor, c: Tensor) -> Tensor:
        """The features before the linear classifier: the last channels, averaged over the image, (N, channels)."""
        emb = F.silu(self.embed0(self.embed(c).to(self.embed0.weight)))
        h = self.conv_in(F.pixel_unshuffle(x, self.config.patch).contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            h = block(h, emb)
        return F.silu(self.norm(h)).mean((2, 3))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.head(self.features(x, c))

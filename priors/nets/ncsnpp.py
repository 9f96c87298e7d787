"""The NCSN++ / DDPM++ / DDPM family of U-nets, from 0.1 GFLOP to the paper's sizes."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from priors.arguments import counts, flag, settings
from priors.nets.layers import (
    SQRT_HALF,
    Attention,
    ConvResample,
    FIRConvDown,
    FourierEmbedding,
    PositionalEmbedding,
    Resample,
    ResBlock,
    conv,
    group_norm,
    linear,
)


@dataclass(frozen=True)
class UNetConfig:
    """The shape of a network; its defaults are the paper's DDPM++ for CIFAR-10.

    Arguments: image_channels, image_size (pixels, square); channels at the first level and ``multipliers`` per level;
    res_blocks per level; attention (feature-map sizes in pixels that get it); patch (pixels): the image enters as (C
    patch^2) channels at 1/patch of its size, which reduces the cost; embedding "positional" or "fourier"; block
    "biggan" or "ddpm"; input_pyramid None, "sum" or "residual"; output_pyramid (bool); fir (bool): [1,3,3,1]
    resampling.
    Raises: TypeError or ValueError for entries of another type or out of range, sizes that do not divide, or an unknown
    choice.
    """

    image_channels: int = 3
    image_size: int = 32
    channels: int = 128
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    res_blocks: int = 4
    attention: tuple[int, ...] = (16,)
    patch: int = 1
    embedding: str = "positional"
    fourier_scale: float = 16.0
    block: str = "biggan"
    fir: bool = False
    input_pyramid: str | None = None
    output_pyramid: bool = False
    dropout: float = 0.1

    def __post_init__(self):
        settings(self, image_channels=1, image_size=1, channels=1, res_blocks=1, patch=1)
        settings(self, fourier_scale="(0, inf)", dropout="[0, 1)")
        object.__setattr__(self, "multipliers", counts("multipliers", self.multipliers))
        object.__setattr__(self, "attention", counts("attention", self.attention, fewest=0))
        for name in ("fir", "output_pyramid"):
            flag(name, getattr(self, name))
        total = self.patch * 2 ** (len(self.multipliers) - 1)
        if self.image_size % total:
            raise ValueError(
                f"image_size {self.image_size}: expected a multiple of patch x 2^(levels - 1) = {total}; "
                "use fewer multipliers or a smaller patch"
            )
        for name, allowed in (
            ("embedding", ("positional", "fourier")),
            ("block", ("biggan", "ddpm")),
            ("input_pyramid", (None, "sum", "residual")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} = {getattr(self, name)!r}: expected one of {allowed}")

    def spec(self) -> dict:
        """The config as plain data, for a checkpoint's card."""
        return asdict(self)


class NCSNpp(nn.Module):
    """U-net with noise-conditioned residual blocks: (x (N, C, H, W), label c (N,)) -> (N, C, H, W).

    Source: Song et al. 2021, appendix H. With block="ddpm" and positional embedding it is Ho et al. 2020's network.
    Arguments: config (UNetConfig). The prior that wraps the network defines the meaning of x, c and the output.
    """

    # containers and layers that only some configs have: Any avoids casts
    encoder: Any
    decoder: Any
    pyramid_up: Any
    norm_out: Any
    conv_out: Any

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = k = config
        rescale, groups = k.block == "biggan", 32 if k.block == "ddpm" else None
        n_emb = 4 * k.channels
        common = {"dropout": k.dropout, "fir": k.fir, "rescale": rescale, "groups": groups}

        def res(n_in: int, n_out: int, resample: str | None = None) -> nn.Module:
            return ResBlock(n_in, n_out, n_emb, resample=resample, **common)

        def resample(channels: int, factor: str) -> nn.Module:
            return res(channels, channels, factor) if k.block == "biggan" else ConvResample(channels, factor)

        def attend(channels: int, size: int) -> nn.Module | None:
            return Attention(channels, rescale=rescale, groups=groups) if size in k.attention else None

        fourier = k.embedding == "fourier"
        self.embed = FourierEmbedding(k.channels, k.fourier_scale) if fourier else PositionalEmbedding(k.channels)
        self.embed0, self.embed1 = linear(k.channels * (2 if fourier else 1), n_emb), linear(n_emb, n_emb)

        n_image = k.image_channels * k.patch**2
        self.conv_in = conv(n_image, k.channels)
        size, n = k.image_size // k.patch, k.channels
        skips, n_pyramid = [n], n_image
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        for level, multiplier in enumerate(k.multipliers):
            room: Any = nn.ModuleDict({"res": nn.ModuleList(), "attention": nn.ModuleList()})
            for _ in range(k.res_blocks):
                room["res"].append(res(n, k.channels * multiplier))
                n = k.channels * multiplier
                if (attention := attend(n, size)) is not None:
                    room["attention"].append(attention)
                skips.append(n)
            if level < len(k.multipliers) - 1:
                room["down"] = resample(n, "down")
                if k.input_pyramid == "sum":
                    room["pyramid"], room["combine"] = Resample("down", k.fir), conv(n_pyramid, n, size=1)
                elif k.input_pyramid == "residual":
                    room["pyramid"], n_pyramid = FIRConvDown(n_pyramid, n), n
                skips.append(n)
                size //= 2
            self.encoder.append(room)
        self.mid0, self.mid1 = res(n, n), res(n, n)
        self.mid_attention = Attention(n, rescale=rescale, groups=groups)
        for level, multiplier in reversed(list(enumerate(k.multipliers))):
            room: Any = nn.ModuleDict({"res": nn.ModuleList()})
            for _ in range(k.res_blocks + 1):
                room["res"].append(res(n + skips.pop(), k.channels * multiplier))
                n = k.channels * multiplier
            if (attention := attend(n, size)) is not None:
                room["attention"] = attention
            if k.output_pyramid:
                room["norm"], room["to_image"] = group_norm(n), conv(n, n_image, scale=0.0)
            if level > 0:
                room["up"] = resample(n, "up")
                size *= 2
            self.decoder.append(room)
        self.pyramid_up = Resample("up", k.fir) if k.output_pyramid else None
        self.norm_out = None if k.output_pyramid else group_norm(n, groups)
        self.conv_out = None if k.output_pyramid else conv(n, n_image, scale=0.0)
        self.to(memory_format=torch.channels_last)  # several times faster on CPUs, no slower on GPUs

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        emb = self.embed1(F.silu(self.embed0(self.embed(c).to(self.embed0.weight))))
        emb = F.silu(emb)
        x = F.pixel_unshuffle(x, self.config.patch).contiguous(memory_format=torch.channels_last)
        h = self._decode(*self._encode(x, emb), emb)
        return F.pixel_shuffle(h, self.config.patch)

    def _encode(self, x: Tensor, emb: Tensor) -> tuple[Tensor, list[Tensor]]:
        h, pyramid = self.conv_in(x), x
        skips = [h]
        for room in self.encoder:
            for i, block in enumerate(room["res"]):
                h = block(h, emb)
                if len(room["attention"]):
                    h = room["attention"][i](h)
                skips.append(h)
            if "down" in room:
                h = _apply(room["down"], h, emb)
                if "pyramid" in room:
                    pyramid = room["pyramid"](pyramid)
                    if "combine" in room:
                        h = h + room["combine"](pyramid)
                    else:
                        h = pyramid = (h + pyramid) * SQRT_HALF
                skips.append(h)
        return h, skips

    def _decode(self, h: Tensor, skips: list[Tensor], emb: Tensor) -> Tensor:
        h = self.mid1(self.mid_attention(self.mid0(h, emb)), emb)
        image = None
        for room in self.decoder:
            for block in room["res"]:
                h = block(torch.cat([h, skips.pop()], dim=1), emb)
            if "attention" in room:
                h = room["attention"](h)
            if "to_image" in room:
                part = room["to_image"](F.silu(room["norm"](h)))
                image = part if image is None else self.pyramid_up(image) + part
            if "up" in room:
                h = _apply(room["up"], h, emb)
        return image if image is not None else self.conv_out(F.silu(self.norm_out(h)))


def _apply(layer: nn.Module, h: Tensor, emb: Tensor) -> Tensor:
    return layer(h, emb) if isinstance(layer, ResBlock) else layer(h)

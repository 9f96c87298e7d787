"""The networks of EDM: DDPM++ and NCSN++ ("song") and ADM ("dhariwal") in one family of blocks."""

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from priors.arguments import choice, counts, flag, number, settings
from priors.nets.layers import SQRT_HALF, CosineEmbedding, Embedding, FourierEmbedding, Resample

KINDS = ("song", "dhariwal")
HEAD = 64  # channels per head of the ADM network


@dataclass(frozen=True)
class EDMConfig:
    """The shape of a network; the defaults are DDPM++ for CIFAR-10.

    Arguments: kind "song" (DDPM++, NCSN++) or "dhariwal" (ADM); image_channels, image_size (pixels, square); channels
    at the first level and ``multipliers`` per level; blocks per level; attention (sizes of feature maps in pixels that
    get it); fourier: embedding by random frequencies, as NCSN++ has it; pyramid: the input enters every level, as in
    NCSN++; fir: [1, 3, 3, 1] resampling; classes (0: unconditional); null: whether it was trained without a class, too;
    learned_sigma: twice the image's channels come out, of which the second half is dropped; label_offset (float): is
    added to the label; dropout.
    Raises: TypeError or ValueError for entries of another type or out of range, or sizes that do not divide.
    """

    kind: str = "song"
    image_channels: int = 3
    image_size: int = 32
    channels: int = 128
    multipliers: tuple[int, ...] = (2, 2, 2)
    blocks: int = 4
    attention: tuple[int, ...] = (16,)
    fourier: bool = False
    pyramid: bool = False
    fir: bool = False
    classes: int = 0
    null: bool = False
    learned_sigma: bool = False
    label_offset: float = 0.0
    dropout: float = 0.0

    def __post_init__(self):
        choice("kind", self.kind, KINDS)
        settings(self, image_channels=1, image_size=1, channels=4, blocks=1, classes=0, dropout="[0, 1)")
        number("label_offset", self.label_offset)
        object.__setattr__(self, "multipliers", counts("multipliers", self.multipliers))
        object.__setattr__(self, "attention", counts("attention", self.attention, fewest=0))
        for name in ("fourier", "pyramid", "fir", "null", "learned_sigma"):
            flag(name, getattr(self, name))
        if self.image_size % 2 ** (len(self.multipliers) - 1):
            raise ValueError(
                f"image_size {self.image_size}: expected a multiple of 2^(levels - 1) = "
                f"{2 ** (len(self.multipliers) - 1)}; use fewer multipliers"
            )
        if self.kind == "dhariwal" and (self.fourier or self.pyramid or self.fir):
            raise ValueError("kind = 'dhariwal' with fourier, pyramid or fir: these belong to kind = 'song'")

    def spec(self) -> dict:
        """The config as plain data, for a checkpoint's card."""
        return asdict(self)


class PowerEmbedding(Embedding):
    """Label c (N,) -> [sin, cos](c 10000^(-k / (width/2 - 1))) (N, width), its frequencies rounded as EDM's code does:
    an error of 1e-7 in a frequency is 1e-4 in the phase of label 1000."""

    def __init__(self, width: int):
        super().__init__()
        half = width // 2
        frequencies = (1 / 10000) ** (torch.arange(half, dtype=torch.float32) / (half - 1))
        self.register_buffer("W", frequencies, persistent=False)

    def forward(self, c: Tensor) -> Tensor:
        phase = c[:, None].float() * self.W
        return torch.cat([phase.sin(), phase.cos()], dim=1)


class Conv(nn.Module):
    """A convolution after an optional change of size by 2; size 0: the change alone."""

    def __init__(self, n_in: int, n_out: int, size: int, factor: str | None = None, fir: bool = False):
        super().__init__()
        self.n_in, self.size = n_in, size
        self.resample = Resample(factor, fir) if factor else nn.Identity()
        if size:
            self.weight = nn.Parameter(torch.empty(n_out, n_in, size, size))
            self.bias = nn.Parameter(torch.zeros(n_out))
            nn.init.kaiming_uniform_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        h = self.resample(x)
        return F.conv2d(h, self.weight, self.bias, padding=self.size // 2) if self.size else h


class PyramidDown(nn.Module):
    """[1, 3, 3, 1] filter and 3 x 3 convolution in one, at half the size: zeros are padded once, for both."""

    taps: Tensor

    def __init__(self, n_in: int, n_out: int, fir: bool):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in, 3, 3))
        self.bias = nn.Parameter(torch.zeros(n_out))
        nn.init.kaiming_uniform_(self.weight)
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0] if fir else [1.0, 1.0])
        self.register_buffer("taps", torch.outer(taps, taps) / taps.sum() ** 2, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        c, k = x.shape[1], len(self.taps)
        x = F.pad(x, [1 + (k - 1) // 2] * 4)
        x = F.conv2d(x, self.taps.to(x.dtype).expand(c, 1, k, k), groups=c)
        return F.conv2d(x, self.weight, self.bias, stride=2)


class Block(nn.Module):
    """Residual block with an embedding, optional change of size and self-attention: (N, C, H, W), (N, E) ->
    (N, C', H', W')."""

    def __init__(self, config: EDMConfig, n_in: int, n_out: int, factor: str | None = None, attention: bool = False):
        super().__init__()
        song, fir = config.kind == "song", config.fir
        eps, self.gain, self.n_in = (1e-6, SQRT_HALF, n_in) if song else (1e-5, 1.0, n_in)
        self.norm0, self.conv0 = norm(n_in, eps), Conv(n_in, n_out, 3, factor, fir)
        self.affine = nn.Linear(4 * config.channels, n_out if song else 2 * n_out)
        self.norm1, self.conv1 = norm(n_out, eps), Conv(n_out, n_out, 3)
        self.song, self.dropout = song, config.dropout
        changed = n_out != n_in
        self.skip = Conv(n_in, n_out, int(song or changed), factor, fir) if changed or factor else nn.Identity()
        self.heads = 0 if not attention else 1 if song else n_out // HEAD
        if attention:
            self.norm2, self.qkv, self.proj = norm(n_out, eps), Conv(n_out, 3 * n_out, 1), Conv(n_out, n_out, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv0(F.silu(self.norm0(x)))
        emb = self.affine(emb)[:, :, None, None]
        if self.song:
            h = self.norm1(h + emb)
        else:
            scale, shift = emb.chunk(2, dim=1)
            h = self.norm1(h) * (1 + scale) + shift
        h = self.conv1(F.dropout(F.silu(h), self.dropout, self.training))
        h = (h + self.skip(x)) * self.gain
        return (h + self._attended(h)) * self.gain if self.heads else h

    def _attended(self, h: Tensor) -> Tensor:
        n, c, k = len(h), h.shape[1], self.heads
        q, key, v = self.qkv(self.norm2(h)).reshape(n * k, c // k, 3, -1).unbind(2)
        # written out: fused kernels have no second derivative, which densities of guided flows need
        weight = torch.softmax(q.mT @ key / math.sqrt(c // k), -1)
        return self.proj((v @ weight.mT).reshape(h.shape))


class EDMUNet(nn.Module):
    """A U-net of noise and class: (x (N, C, H, W), label c (N,), classes (N,) or None) -> (N, C, H, W).

    Source: Karras et al. 2022, appendix F; Song et al. 2021 (DDPM++, NCSN++); Dhariwal & Nichol 2021 (ADM). Parameters
    have the names of EDM's code.
    Arguments: config (EDMConfig).
    Attributes: classes (int, 0 if unconditional); null: whether it was trained without a class, too.
    Raises: ValueError in `forward` where a network of classes alone is given none.
    """

    def __init__(self, config: EDMConfig):
        super().__init__()
        self.config = k = config
        self.classes, self.null = k.classes, k.null
        song, n, n_emb = k.kind == "song", k.channels, 4 * k.channels
        n_noise = n * (2 if k.fourier else 1)
        self.map_noise = FourierEmbedding(n, 16.0) if k.fourier else PowerEmbedding(n) if song else CosineEmbedding(n)
        if k.classes:
            self.map_label = nn.Linear(k.classes, n_noise if song else n_emb, bias=song)
        self.map_layer0, self.map_layer1 = nn.Linear(n_noise, n_emb), nn.Linear(n_emb, n_emb)
        n_pyramid = k.image_channels
        self.enc, skips = nn.ModuleDict(), []
        for level, multiplier in enumerate(k.multipliers):
            size = k.image_size >> level
            if level == 0:
                n = k.channels if song else k.channels * multiplier
                self.enc[f"{size}x{size}_conv"] = Conv(k.image_channels, n, 3)
            else:
                self.enc[f"{size}x{size}_down"] = Block(k, n, n, "down")
                if k.pyramid:
                    self.enc[f"{size}x{size}_aux_residual"] = PyramidDown(n_pyramid, n, k.fir)
                    n_pyramid = n
            skips.append(n)
            for i in range(k.blocks):
                block = Block(k, n, n := k.channels * multiplier, attention=size in k.attention)
                self.enc[f"{size}x{size}_block{i}"] = block
                skips.append(n)
        self.dec = nn.ModuleDict()
        for level, multiplier in reversed(list(enumerate(k.multipliers))):
            size = k.image_size >> level
            if level == len(k.multipliers) - 1:
                self.dec[f"{size}x{size}_in0"] = Block(k, n, n, attention=True)
                self.dec[f"{size}x{size}_in1"] = Block(k, n, n)
            else:
                self.dec[f"{size}x{size}_up"] = Block(k, n, n, "up")
            for i in range(k.blocks + 1):
                attention = size in k.attention and (not song or i == k.blocks)
                block = Block(k, n + skips.pop(), n := k.channels * multiplier, attention=attention)
                self.dec[f"{size}x{size}_block{i}"] = block
        last, n_out = Conv(n, k.image_channels * (1 + k.learned_sigma), 3), norm(n, 1e-6 if song else 1e-5)
        if song:
            self.dec[f"{k.image_size}x{k.image_size}_aux_norm"] = n_out
            self.dec[f"{k.image_size}x{k.image_size}_aux_conv"] = last
        else:
            self.out_norm, self.out_conv = n_out, last

    def forward(self, x: Tensor, c: Tensor, classes: Tensor | None = None) -> Tensor:
        emb, h, skips, pyramid = self._embedded(c, classes), x, [], x
        for name, layer in self.enc.items():
            if name.endswith("aux_residual"):
                h = skips[-1] = pyramid = (h + layer(pyramid)) * SQRT_HALF
            else:
                skips.append(h := layer(h, emb) if isinstance(layer, Block) else layer(h))
        for layer in self.dec.values():
            if isinstance(layer, Block):
                h = layer(torch.cat([h, skips.pop()], dim=1) if h.shape[1] != layer.n_in else h, emb)
        norm_, conv = list(self.dec.values())[-2:] if self.config.kind == "song" else (self.out_norm, self.out_conv)
        return conv(F.silu(norm_(h)))[:, : self.config.image_channels]

    def _embedded(self, c: Tensor, classes: Tensor | None) -> Tensor:
        song, like = self.config.kind == "song", self.map_layer0.weight
        emb = self.map_noise(c + self.config.label_offset).to(like)
        label: Tensor | float = 0.0
        if self.classes:
            if classes is None and not self.null:
                raise ValueError(f"this network is of {self.classes} classes: choose one, prior.conditioned(label)")
            chosen = emb.new_zeros(len(c), self.classes)
            if classes is not None:
                chosen = F.one_hot(classes, self.classes).to(like)
            label = self.map_label(chosen * math.sqrt(self.classes) if song else chosen)
        if song:
            return F.silu(self.map_layer1(F.silu(self.map_layer0(emb + label))))
        return F.silu(self.map_layer1(F.silu(self.map_layer0(emb))) + label)


def norm(channels: int, eps: float) -> nn.GroupNorm:
    return nn.GroupNorm(min(32, channels // 4), channels, eps)

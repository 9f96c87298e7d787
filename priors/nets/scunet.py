"""SCUNet: a U-net whose blocks are half convolution and half attention in windows, for pictures of any size."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from priors.nets.denoisers import padded

LEVELS = 3


class SCUNetConfig(NamedTuple):
    """Its sizes: channels of the picture; width of the first level; numbers of blocks, of the seven stages down, in the
    middle and up; width of an attention head; window in pixels."""

    channels: int
    width: int
    blocks: tuple[int, ...]
    head: int
    window: int


class SCUNet(nn.Module):
    """A blind denoiser: the noise level is not an input.

    Source: Zhang, Li, Liang, Cao, Zhang, Tang, Timofte & Van Gool 2023. Sizes that are no multiples of eight windows
    are padded by repetition.
    Arguments: config.
    """

    def __init__(self, config: SCUNetConfig):
        super().__init__()
        width, window = config.width, config.window
        self.multiple = 2**LEVELS * window

        def blocks(stage: int, width: int) -> list[nn.Module]:
            return [Block(width // 2, config.head, window, bool(i % 2)) for i in range(config.blocks[stage])]

        self.m_head = nn.Sequential(nn.Conv2d(config.channels, width, 3, padding=1, bias=False))
        for i in range(1, LEVELS + 1):
            n, m = width * 2 ** (i - 1), width * 2**i
            down, up = nn.Conv2d(n, m, 2, 2, bias=False), nn.ConvTranspose2d(m, n, 2, 2, bias=False)
            setattr(self, f"m_down{i}", nn.Sequential(*blocks(i - 1, n), down))
            setattr(self, f"m_up{i}", nn.Sequential(up, *blocks(2 * LEVELS + 1 - i, n)))
        self.m_body = nn.Sequential(*blocks(LEVELS, width * 2**LEVELS))
        self.m_tail = nn.Sequential(nn.Conv2d(width, config.channels, 3, padding=1, bias=False))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        skips = [self.m_head(padded(x, self.multiple))]
        for i in range(1, LEVELS + 1):
            skips.append(getattr(self, f"m_down{i}")(skips[-1]))
        u = self.m_body(skips[-1])
        for i in range(LEVELS, 0, -1):
            u = getattr(self, f"m_up{i}")(u + skips[i])
        return self.m_tail(u + skips[0])[..., :h, :w]


class Block(nn.Module):
    """One half of the channels through convolutions, the other through attention, mixed before and after.

    Arguments: half of the channels; head; window; shifted: windows start in the middle of those of the block before.
    """

    def __init__(self, half: int, head: int, window: int, shifted: bool):
        super().__init__()
        self.trans_block = Transformer(half, head, window, shifted)
        self.conv1_1, self.conv1_2 = (nn.Conv2d(2 * half, 2 * half, 1) for _ in range(2))
        first, second = (nn.Conv2d(half, half, 3, padding=1, bias=False) for _ in range(2))
        self.conv_block = nn.Sequential(first, nn.ReLU(), second)

    def forward(self, x: Tensor) -> Tensor:
        local, wide = self.conv1_1(x).chunk(2, dim=1)
        local = local + self.conv_block(local)
        wide = self.trans_block(wide.movedim(1, -1)).movedim(-1, 1)
        return x + self.conv1_2(torch.cat([local, wide], dim=1))


class Transformer(nn.Module):
    """Attention in windows and a perceptron, each on normed channels and added; x (N, H, W, C)."""

    def __init__(self, width: int, head: int, window: int, shifted: bool):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.msa = WindowAttention(width, head, window, shifted)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.msa(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class WindowAttention(nn.Module):
    """Self-attention of the pixels of a window, with a bias for each offset between two of them.

    Shifted windows are those of the picture rolled by half a window; where they wrap around its border, pixels of
    different sides do not see each other.
    Source: Liu et al. 2021 (Swin).
    """

    index: Tensor

    def __init__(self, width: int, head: int, window: int, shifted: bool):
        super().__init__()
        self.head, self.window, self.shift = head, window, window // 2 if shifted else 0
        self.embedding_layer, self.linear = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.relative_position_params = nn.Parameter(torch.zeros(width // head, 2 * window - 1, 2 * window - 1))
        pixels = torch.cartesian_prod(torch.arange(window), torch.arange(window))
        self.register_buffer("index", pixels[:, None] - pixels + window - 1, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        (n, h, w, c), p = x.shape, self.window
        x = x.roll((-self.shift, -self.shift), (1, 2)) if self.shift else x
        parts = x.view(n, h // p, p, w // p, p, c).transpose(2, 3).reshape(n, -1, p * p, c)  # (N, windows, pixels, C)
        qkv = self.embedding_layer(parts).unflatten(-1, (3, c // self.head, self.head))
        q, k, v = qkv.movedim(3, 0).transpose(-3, -2)  # (N, windows, heads, pixels, head) each
        bias = self.relative_position_params[:, self.index[..., 0], self.index[..., 1]]
        if self.shift:
            bias = bias + self._walls(h // p, w // p, x)[:, None]
        found = F.scaled_dot_product_attention(q, k, v, bias.to(q))
        found = self.linear(found.transpose(-3, -2).flatten(-2))
        found = found.view(n, h // p, w // p, p, p, c).transpose(2, 3).reshape(n, h, w, c)
        return found.roll((self.shift, self.shift), (1, 2)) if self.shift else found

    def _walls(self, rows: int, columns: int, like: Tensor) -> Tensor:
        """0 between pixels of one side, -inf otherwise, (windows, pixels, pixels)."""
        p = self.window
        side = torch.arange(p, device=like.device) >= p - self.shift
        down = (torch.arange(rows, device=like.device) == rows - 1)[:, None, None, None] & side[:, None]
        right = (torch.arange(columns, device=like.device) == columns - 1)[:, None, None] & side
        sides = (2 * down + right).view(rows * columns, p * p)
        apart = sides[:, :, None] != sides[:, None]
        return torch.zeros(apart.shape, dtype=like.dtype, device=like.device).masked_fill_(apart, -torch.inf)

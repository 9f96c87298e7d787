"""How long and how fast a network is trained."""

import math
from dataclasses import dataclass, replace

import torch

from priors.arguments import choice, flag, settings
from priors.arguments import seed as seeded
from priors.optimizers import NAMES
from priors.precision import fast_in_bfloat16


@dataclass(frozen=True)
class TrainingConfig:
    """How to train.

    Source: Song et al. 2021, appendix G (lr 2e-4, warm-up 5000, clip 1, EMA with decay min(d, (1 + n) / (10 + n))).
    Arguments: optimizer "adam" or "muon" (`priors.optimizers`); steps and minutes: whichever ends first (0: no such
    limit); batch_size over all processes; lr, decayed by a half cosine at the end of the run where ``cosine``: over its
    share ``decay``, 1 for the whole run; warmup (steps); clip (gradient norm); ema (decay); precision "float32",
    "bfloat16", "float16", or "auto": bfloat16 where the device is faster in it; held_out (images kept from the training
    set for the held-out loss); flip: mirror half of the images, left to right; save_minutes between checkpoints; seed.
    Raises: TypeError or ValueError, naming the entry, for another type or a value out of range.
    """

    steps: int = 0
    minutes: float = 0.0
    batch_size: int = 128
    lr: float = 2e-4
    cosine: bool = False
    decay: float = 1.0
    warmup: int = 5000
    clip: float = 1.0
    ema: float = 0.9999
    optimizer: str = "muon"
    precision: str = "float32"
    held_out: int = 1000
    flip: bool = False
    save_minutes: float = 5.0
    seed: int = 0

    def __post_init__(self):
        settings(self, steps=0, warmup=0, batch_size=1, held_out=1, minutes="[0, inf)", save_minutes="[0, inf)")
        settings(self, lr="(0, inf)", clip="(0, inf)", ema="[0, 1)", decay="(0, 1]")
        for name in ("cosine", "flip"):
            flag(name, getattr(self, name))
        choice("optimizer", self.optimizer, NAMES)
        choice("precision", self.precision, ("auto", "float32", "bfloat16", "float16"))
        seeded(self.seed)
        if self.steps == 0 and self.minutes == 0:
            raise ValueError("neither steps nor minutes is positive: set one of them")

    def on(self, device: torch.device) -> "TrainingConfig":
        """The same with the precision that "auto" is on this device."""
        if self.precision != "auto":
            return self
        return replace(self, precision="bfloat16" if fast_in_bfloat16(device) else "float32")

    def check_size(self, n: int) -> None:
        """Refuse, by a ValueError, n images that are too few."""
        if n < self.held_out + self.batch_size:
            raise ValueError(
                f"{n} images: too few for held_out = {self.held_out} and one batch of {self.batch_size}; "
                "lower these in [training], or use more images"
            )

    def progress(self, step: int, seconds: float) -> float:
        """The finished fraction of the run, in [0, 1]."""
        by_steps = step / self.steps if self.steps > 0 else 0.0
        by_time = seconds / (60 * self.minutes) if self.minutes > 0 else 0.0
        return min(1.0, max(by_steps, by_time))

    def rate(self, step: int, progress: float) -> float:
        falling = max(0.0, 1 - (1 - progress) / self.decay) if self.cosine else 0.0  # from 0 to 1 over the decay
        return self.lr * 0.5 * (1 + math.cos(math.pi * falling)) * min(1.0, (step + 1) / max(1, self.warmup))

"""In which precision a prior's network computes: bfloat16 where the hardware is fast in it and little is lost."""

import functools
import time

import torch

from priors.arguments import choice
from priors.base import Prior

PRECISIONS = ("auto", "float32", "bfloat16")
MOST_LOSS = 0.02  # dB of the denoising error, at any noise level
LEAST_GAIN = 1.2  # of a convolution's time: below it, conversions outweigh the gain


def at_precision(prior: Prior, precision: str = "auto") -> Prior:
    """The prior with a network that computes in this precision; states, noise and all else stay float32.

    bfloat16 has the exponents of float32 and 8 bits of mantissa. On GPUs, and on processors that are fast in it, a
    network of convolutions is 2 to 3 times as fast.
    Arguments: prior; precision: "float32" (the prior as it is), "bfloat16", or "auto": bfloat16 where the prior's
    ``bfloat16_loss`` was measured to be at most .02 dB and its device is faster in bfloat16 (`fast_in_bfloat16`).
    Returns: a copy that shares nothing that is changed, or the prior itself.
    Raises: ValueError for another precision, and for "bfloat16" of a prior without a network, such as an analytic one.
    """
    choice("precision", precision, PRECISIONS)
    if precision == "float32":
        return prior
    if precision == "auto":
        loss = prior.bfloat16_loss
        return prior if loss is None or loss > MOST_LOSS or not fast_in_bfloat16(prior.device) else prior.in_bfloat16()
    return prior.in_bfloat16()


def fast_in_bfloat16(device: torch.device) -> bool:
    """Whether a network of convolutions is faster in bfloat16 on this device.

    A GPU reports it. A CPU with instructions for bfloat16 may still be faster in float32, as AVX512-BF16 has half
    the rate of float32 on some processors and twice on others: one convolution is timed in both, once in a process.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported() and _gain_on_cpu() > LEAST_GAIN


@functools.cache
def _gain_on_cpu(channels: int = 64, size: int = 64, repeats: int = 7) -> float:
    """Processor time of a convolution in float32 over that in bfloat16: of each the shortest, which other programs
    disturb least."""
    shortest = []
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.ones(1, channels, size, size, dtype=dtype).contiguous(memory_format=torch.channels_last)
        weight = torch.ones(channels, channels, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
        times = []
        with torch.inference_mode():
            for _ in range(repeats):
                start = time.process_time()
                torch.conv2d(x, weight, padding=1)
                times.append(time.process_time() - start)
        shortest.append(min(times))
    return shortest[0] / shortest[1]

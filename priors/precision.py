"""In which precision a prior's network computes: bfloat16 where the hardware is fast in it and little is lost."""

import torch

from priors.arguments import choice
from priors.base import Prior

PRECISIONS = ("auto", "float32", "bfloat16")
MOST_LOSS = 0.02  # dB of the denoising error, at any noise level


def at_precision(prior: Prior, precision: str = "auto") -> Prior:
    """The prior with a network that computes in this precision; states, noise and all else stay float32.

    bfloat16 has the exponents of float32 and 8 bits of mantissa. On processors with instructions for it, and on GPUs, a
    network of convolutions is 2 to 3 times as fast.
    Arguments: prior; precision: "float32" (the prior as it is), "bfloat16", or "auto": bfloat16 where the prior's
    ``bfloat16_loss`` was measured to be at most .02 dB and the prior's device has instructions for it.
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
    """Whether the hardware multiplies bfloat16 itself; elsewhere it is emulated, and slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()

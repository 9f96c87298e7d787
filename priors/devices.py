"""Devices that a prior can be loaded on."""

import torch


def usable(device: str | torch.device) -> torch.device:
    """A device that torch can use here.

    Raises: ValueError for an unknown one, and one that this machine or this build of torch does not have.
    """
    if not isinstance(device, str | torch.device):
        raise TypeError(f"device of type {type(device).__name__}: expected a name such as 'cuda', or a torch.device")
    here = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    here += ["mps"] if torch.backends.mps.is_available() else []
    try:
        found = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device {device!r}: expected one of {here}") from None
    if found.type == "cuda" and (found.index or 0) < torch.cuda.device_count():
        return found
    if str(found).removesuffix(":0") not in here:
        build = "" if found.type != "cuda" or torch.version.cuda else f", and torch {torch.__version__} has no CUDA"
        raise ValueError(
            f"device {str(device)!r} is not on this machine{build}: expected one of {here}; for an NVIDIA GPU its "
            "driver and a build of torch with CUDA are needed"
        )
    return found

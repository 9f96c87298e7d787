"""Checkpoints of EDM (NVlabs), converted to safetensors by `priors.importers.edm_convert`."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from priors.files import FileError, regular
from priors.importers.edm_convert import ARGUMENTS, FORMAT
from priors.importers.torch_file import Uninitialised, fill
from priors.nets.edm import EDMConfig, EDMUNet
from priors.parsing import read_tensors_and_metadata
from priors.score_prior import DataRange, ScorePrior
from priors.sde import SDE, VESDE, VPSDE, LadderSDE

WHAT = "converted EDM checkpoint"
COMMAND = "python -m priors.importers.edm_convert FILE.pkl OUT.safetensors"
PICKLES = (".pkl", ".pickle", ".pt", ".pth")
SIZE = re.compile(r"enc\.(\d+)x\1_(conv|block(\d+))\..*")


def load(path: str | Path) -> ScorePrior:
    """The prior of a converted checkpoint, in image units [0, 1]; the network is deduced from the tensors.

    EDMPrecond is preconditioned, under `VESDE` of its sampler's noise levels (.002 to 80 of images in [-1, 1]) unless
        another SDE is given; VPPrecond, VEPrecond and iDDPMPrecond have the SDE of their training.
    Source: Karras et al. 2022, table 1; Song et al. 2021; Nichol & Dhariwal 2021.
    Arguments: path of a .safetensors file that `edm_convert` wrote. Pickles are not read here: they run code.
    Returns: `ScorePrior` in evaluation mode and without parameter gradients; of classes: see `ScorePrior.conditioned`.
    Raises: FileNotFoundError; ValueError for a pickle, a damaged or foreign file, and an unknown preconditioning.
    """
    path = regular(path, WHAT)
    if path.suffix.lower() in PICKLES:
        raise FileError(f"{path} is a pickle, which runs code when it is read: convert it once, by {COMMAND}")
    weights, metadata = read_tensors_and_metadata(path, WHAT)
    named = _named(path, metadata)
    precond, arguments = named["precond"]["class"], named["precond"][ARGUMENTS]
    if precond not in PRECONDITIONINGS:
        raise FileError(f"{path} has a {precond}: expected one of {', '.join(PRECONDITIONINGS)}")
    try:
        sde, prediction, scale, offset = PRECONDITIONINGS[precond](arguments)
        config = deduced(weights, bool(named["network"][ARGUMENTS].get("label_dropout")), offset)
    except (KeyError, IndexError, ValueError, TypeError, ZeroDivisionError) as error:
        raise FileError(f"{path} is of no network of EDM ({error}): convert the official file again") from None
    with Uninitialised():
        network = EDMUNet(config)
    fill(network, _ours(weights), path, WHAT)
    shape = (config.image_channels, config.image_size, config.image_size)
    return ScorePrior(network, sde, shape, prediction, DataRange(0.5, scale)).eval()


def _edm(arguments: Mapping[str, Any]) -> tuple[SDE, str, float, float]:
    """c_skip and the others are those of "preconditioned" for u / sigma_data, but for the label, log(sigma) / 4."""
    sigma_data = float(arguments.get("sigma_data", 0.5))
    return VESDE(0.001, 40.0), "preconditioned", 0.5 * sigma_data, 0.25 * math.log(sigma_data)


def _vp(arguments: Mapping[str, Any]) -> tuple[SDE, str, float, float]:
    if float(arguments.get("M", 1000)) != 1000:
        raise ValueError(f"M = {arguments['M']}: expected 1000 labels")
    least, rise = float(arguments.get("beta_min", 0.1)), float(arguments.get("beta_d", 19.9))
    return VPSDE(least, least + rise, scale=0.5), "noise", 0.5, 0.0


def _ve(arguments: Mapping[str, Any]) -> tuple[SDE, str, float, float]:
    least, most = float(arguments.get("sigma_min", 0.02)), float(arguments.get("sigma_max", 100.0))
    return VESDE(least / 2, most / 2), "score01", 0.5, 0.0


def _iddpm(arguments: Mapping[str, Any]) -> tuple[SDE, str, float, float]:
    """The levels u_j of table 1, from the least noise: alpha-bar = 1 / (1 + u^2)."""
    c1, c2, m = float(arguments.get("C_1", 0.001)), float(arguments.get("C_2", 0.008)), int(arguments.get("M", 1000))
    if m != 1000:
        raise ValueError(f"M = {m}: expected 1000 labels")
    curve = [math.sin(0.5 * math.pi * j / m / (c2 + 1)) ** 2 for j in range(m + 1)]
    u, bars = 0.0, []
    for j in range(m, 0, -1):
        u = math.sqrt((u**2 + 1) / max(curve[j - 1] / curve[j], c1) - 1)
        bars.append(1 / (1 + u**2))
    return LadderSDE.from_alphas_bar(bars, scale=0.5), "ddpm", 0.5, 0.0


# class of EDM's code -> (its arguments -> SDE, prediction, scale of the network's units, offset of its label)
PRECONDITIONINGS = {"EDMPrecond": _edm, "VPPrecond": _vp, "VEPrecond": _ve, "iDDPMPrecond": _iddpm}


def deduced(weights: Mapping[str, Tensor], null: bool, label_offset: float) -> EDMConfig:
    """The network of a state dict by its names and shapes.

    Arguments: weights by EDM's names; null: whether labels were dropped in training; label_offset: see `EDMConfig`.
    Raises: KeyError or ValueError for another layout.
    """
    found = [match for name in weights if (match := SIZE.fullmatch(name))]
    sizes = sorted({int(match[1]) for match in found}, reverse=True)
    blocks = 1 + max(int(match[3]) for match in found if match[3])
    if any("aux_skip" in name or "aux_up" in name for name in weights):
        raise ValueError("skips of the encoder or decoder as an image: not built here")
    channels = weights["map_layer0.weight"].shape[0] // 4
    song, big = "out_conv.weight" not in weights, sizes[0]
    widths = [weights[f"enc.{size}x{size}_block0.conv1.weight"].shape[0] for size in sizes]
    first = weights[f"enc.{big}x{big}_conv.weight"]
    last = weights[f"dec.{big}x{big}_aux_conv.weight" if song else "out_conv.weight"]
    filters = [value for name, value in weights.items() if name.endswith("resample_filter")]
    return EDMConfig(
        kind="song" if song else "dhariwal",
        image_channels=first.shape[1],
        image_size=big,
        channels=channels,
        multipliers=tuple(width // channels for width in widths),
        blocks=blocks,
        attention=tuple(size for size in sizes if f"enc.{size}x{size}_block0.qkv.weight" in weights),
        fourier="map_noise.freqs" in weights,
        pyramid=any("aux_residual" in name for name in weights),
        fir=bool(filters) and filters[0].shape[-1] == 4,
        classes=weights["map_label.weight"].shape[1] if "map_label.weight" in weights else 0,
        null=null,
        learned_sigma=last.shape[0] == 2 * first.shape[1],
        label_offset=label_offset,
    )


def _ours(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our names: without the constant filters, and the labels of augmentation, which are 0 outside training."""
    kept = {
        name: v for name, v in weights.items() if not name.endswith("resample_filter") and "map_augment" not in name
    }
    return {name.replace("map_noise.freqs", "map_noise.W"): value for name, value in kept.items()}


def _named(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """The classes and arguments in a file's header."""
    if metadata.get("format") != FORMAT:
        raise FileError(f"{path} has no header of {COMMAND}: convert the official pickle by that")
    try:
        named = json.loads(metadata["edm"])
        if all(isinstance(named[part]["class"], str) and isinstance(named[part][ARGUMENTS], dict) for part in
               ("precond", "network")):  # fmt: skip
            return named
    except (KeyError, TypeError, ValueError):
        pass
    raise FileError(f"{path} has a damaged header: convert the official pickle again, by {COMMAND}")

"""Checkpoints of guided-diffusion (ADM): the files of OpenAI, and those of DPS, DDRM and RePaint in the same layout."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from priors.arguments import choice
from priors.importers.torch_file import Uninitialised, fill, state_dict
from priors.nets.adm import ADMConfig, ADMUNet
from priors.score_prior import DataRange, ScorePrior
from priors.sde import LadderSDE

STEPS = 1000
WHAT = "guided-diffusion state dict"
SCHEDULES = ("linear", "cosine")
LARGE = ADMConfig(channels=256, res_blocks=2, attention=(8, 16, 32))
CLASSES = 1000


@dataclass(frozen=True)
class Preset:
    """A network and its schedule of noise, "linear" or "cosine"."""

    network: ADMConfig
    schedule: str = "linear"


PRESETS = {
    "ffhq-256": Preset(ADMConfig()),
    "imagenet-64": Preset(
        ADMConfig(
            image_size=64, channels=192, multipliers=(1, 2, 3, 4), res_blocks=3, attention=(2, 4, 8), new_order=True,
            classes=CLASSES,
        ),
        "cosine",
    ),
    "imagenet-128": Preset(
        replace(LARGE, image_size=128, multipliers=(1, 1, 2, 3, 4), attention=(4, 8, 16), head_channels=0,
                classes=CLASSES)
    ),
    "imagenet-256": Preset(replace(LARGE, classes=CLASSES)),
    "imagenet-256-uncond": Preset(LARGE),  # and LSUN, and RePaint's CelebA-HQ
    "imagenet-512": Preset(
        replace(LARGE, image_size=512, multipliers=(0.5, 1, 1, 2, 2, 4, 4), attention=(16, 32, 64), classes=CLASSES)
    ),
}  # fmt: skip
UP = re.compile(r"output_blocks\.(\d+)\.[12]\.(conv|in_layers\.0)\.weight")
NOT_IN_FILE = ("image_size", "heads", "head_channels", "new_order")  # what the shapes of the tensors leave open


def load(path: str | Path, config: str | Mapping[str, Any] | None = None) -> ScorePrior:
    """The prior of a checkpoint, in image units [0, 1]: a `LadderSDE` of 1000 levels.

    Channels, levels, blocks, attention, classes and the learned variance (dropped) are deduced from the tensors'
    shapes. Weights in half precision compute in single precision.
    Source: Dhariwal & Nichol 2021; Nichol & Dhariwal 2021 (cosine schedule); Chung et al. 2023 (the FFHQ file).
    Arguments: path of a .pt or .safetensors file; config: a name in `PRESETS`, or a mapping of what the file does not
    say: image_size (pixels), head_channels or heads, new_order (bool), schedule "linear" or "cosine"; None: the preset
    of such a network.
    Returns: `ScorePrior` in evaluation mode and without parameter gradients; of classes: see `ScorePrior.conditioned`.
    Raises: FileNotFoundError; ValueError for a damaged or foreign file, one that is not the config's, and a config that
    is missing or unknown.
    """
    weights = state_dict(path, WHAT)
    found = deduced(weights, path)
    network, schedule = chosen(found, path, config)
    with Uninitialised():
        unet = ADMUNet(network)
    fill(unet, weights, path, WHAT)
    shape = (network.image_channels, network.image_size, network.image_size)
    return ScorePrior(unet, ladder(schedule), shape, "ddpm", DataRange(0.5, 0.5)).eval()


def ladder(schedule: str) -> LadderSDE:
    """The levels of a schedule, in image units.

    Arguments: schedule "linear" (beta from 1e-4 to .02) or "cosine".
    """
    if schedule == "linear":
        return LadderSDE.ddpm(scale=0.5)
    t = torch.linspace(0, 1, STEPS + 1, dtype=torch.float64)
    curve = torch.cos((t + 0.008) / 1.008 * torch.pi / 2) ** 2
    betas = (1 - curve[1:] / curve[:-1]).clamp_max(0.999)
    return LadderSDE.from_alphas_bar((1 - betas).cumprod(0).tolist(), scale=0.5)


def chosen(found: ADMConfig, path: str | Path, config: str | Mapping[str, Any] | None) -> tuple[ADMConfig, str]:
    """The deduced network with what the config adds, and the schedule.

    Raises: as `load`.
    """
    fits = [name for name, preset in PRESETS.items() if _seen(preset.network) == _seen(found)]
    if config is None:
        if not fits:
            raise ValueError(
                f"config = None: {path} has the network of no preset ({', '.join(PRESETS)}); pass config = "
                "{'image_size': ..., 'head_channels': ..., 'new_order': ..., 'schedule': ...}, which a file does not "
                "say"
            )
        config = fits[0]
    if isinstance(config, Mapping):
        fields = dict(config)
        if unknown := set(fields) - {*NOT_IN_FILE, "schedule"}:
            raise ValueError(f"config with {sorted(unknown)}: expected keys among {[*NOT_IN_FILE, 'schedule']}")
        if "image_size" not in fields or not {"heads", "head_channels"} & set(fields):
            raise ValueError(f"config = {fields}: expected an image_size, and heads or head_channels")
        schedule = choice("config['schedule']", fields.pop("schedule", "linear"), SCHEDULES)
        if "heads" in fields:
            fields.setdefault("head_channels", 0)
        return replace(found, **fields), schedule
    preset = PRESETS[choice("config", config, tuple(PRESETS))]
    if config not in fits:
        differing = {
            name: (value, _seen(found)[name])
            for name, value in _seen(preset.network).items()
            if value != _seen(found)[name]
        }
        raise ValueError(
            f"{path} does not fit config = {config!r}: (config's, file's) {differing}; "
            + (f"it fits {fits}" if fits else "pass a mapping, such as config = {'image_size': 256}")
        )
    return preset.network, preset.schedule


def deduced(weights: Mapping[str, Tensor], path: str | Path) -> ADMConfig:
    """The network of a state dict, as far as its names and shapes say.

    Raises: ValueError for another layout.
    """
    needed = ("time_embed.0.weight", "input_blocks.0.0.weight", "middle_block.1.qkv.weight", "out.2.weight")
    if missing := [name for name in needed if name not in weights]:
        raise ValueError(f"{path} lacks {missing[0]}: expected a {WHAT}; fetch the official file")
    try:
        return _deduced(weights)
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise ValueError(f"{path} has tensors of no network of the family ({error}): expected a {WHAT}") from None


def _deduced(weights: Mapping[str, Tensor]) -> ADMConfig:
    names, channels = set(weights), weights["time_embed.0.weight"].shape[1]
    n = len({name.split(".")[1] for name in names if name.startswith("input_blocks.")})
    # an output block that ends with a change of size is the last of its level
    ends = [m for name in names if (m := UP.fullmatch(name))]
    res_blocks = min(int(m[1]) for m in ends) if ends else n - 1
    firsts = range(1, n, res_blocks + 1)  # the first residual block of each level
    widths = [weights[f"input_blocks.{i}.0.out_layers.3.weight"].shape[0] for i in firsts]
    attention = tuple(2**level for level, i in enumerate(firsts) if f"input_blocks.{i}.1.qkv.weight" in names)
    image, n_out = weights["input_blocks.0.0.weight"].shape[1], weights["out.2.weight"].shape[0]
    if n_out not in (image, 2 * image):
        raise ValueError(f"{image} channels in and {n_out} out")
    return ADMConfig(
        image_channels=image,
        image_size=2 ** (len(widths) - 1),
        channels=channels,
        multipliers=tuple(width / channels for width in widths),
        res_blocks=res_blocks,
        attention=attention,
        heads=1,
        head_channels=0,
        scale_shift=weights["input_blocks.1.0.emb_layers.1.weight"].shape[0] == 2 * widths[0],
        res_resample=not ends or ends[0][2] != "conv",
        learned_sigma=n_out == 2 * image,
        classes=len(weights["label_emb.weight"]) if "label_emb.weight" in names else 0,
    )


def _seen(config: ADMConfig) -> dict[str, Any]:
    """What the shapes of the tensors say of a network."""
    return {name: value for name, value in config.spec().items() if name not in (*NOT_IN_FILE, "dropout")}

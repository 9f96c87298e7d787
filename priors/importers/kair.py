"""Denoisers of KAIR: state dicts of FFDNet, DRUNet, DnCNN and SCUNet."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from priors.arguments import number, shape
from priors.importers.denoiser import DenoiserPrior, from_denoiser
from priors.importers.torch_file import Uninitialised, fill, state_dict
from priors.nets.denoisers import DnCNN, DRUNet, FFDNet
from priors.nets.scunet import SCUNet, SCUNetConfig
from priors.noising import SDE
from priors.spectrum import Spectrum

WHAT = "KAIR state dict"
LEVELS = {"ffdnet": (0.0, 75 / 255), "drunet": (0.0, 50 / 255), "dncnn-blind": (0.0, 55 / 255)}  # of their training
NAMES = {"dncnn": "DnCNN", "scunet": "SCUNet"}
LEAST = 8  # pixels
SIZE = (128, 128)  # that of the shipped priors of any size
SHIPPED = Path(__file__).parents[1] / "shipped"


class KAIRPrior(DenoiserPrior):
    """A `DenoiserPrior` of pictures of any size.

    Attributes: spectrum of the pictures, of which the moments are.
    """

    spectrum: Spectrum | None = None

    @property
    def least_size(self) -> int:
        """The least side in pixels."""
        return LEAST

    def resized(self, event_shape: tuple[int, ...]) -> "KAIRPrior":
        """The prior of the same network over pictures of another size.

        Arguments: event_shape (tuple (C, H, W)). The network is shared, not copied.
        Raises: ValueError for another number of channels and for a size below `least_size`.
        """
        found, channels = shape("event_shape", event_shape), self.event_shape[0]
        if found == self.event_shape:
            return self
        if len(found) != 3 or found[0] != channels or min(found[1:]) < LEAST:
            raise ValueError(
                f"event_shape = {found}: expected ({channels}, H, W) with H and W of at least {LEAST}; "
                "convert or enlarge the picture"
            )
        return _prior(self.denoiser, self.sde, found, (self.sigma_min, self.sigma_max), self.spectrum)


def load(
    path: str | Path,
    config: str | Mapping[str, float] | None = None,
    event_shape: tuple[int, ...] | None = None,
    sde: SDE | None = None,
) -> KAIRPrior:
    """The prior of a denoiser, in image units [0, 1]; network, widths and depth are deduced from the tensors.

    Above the noise levels of its training the prior is the Gaussian with the spectrum of natural pictures, which is
    that of the shipped priors "natural" and "natural-grey".
    Source: Zhang, Zuo & Zhang 2018 (FFDNet); Zhang et al. 2021 (DRUNet); Zhang et al. 2017 (DnCNN); Zhang et al. 2023
    (SCUNet).
    Arguments: path of a .pth, .safetensors or .npz file; config: {"sigma_min": ..., "sigma_max": ...}, the noise levels
    of the training in image units (FFDNet: 0 to 75 / 255, DRUNet: 0 to 50 / 255), or for a DnCNN of any level
    "dncnn-blind" (0 to 55 / 255). A DnCNN or SCUNet does not know the level, and its file does not say for which it is;
    event_shape (C, H, W): of your pictures, None: 128 x 128 pixels, see `KAIRPrior.resized`; sde: as of
    `priors.from_denoiser`.
    Returns: `KAIRPrior` in evaluation mode and without parameter gradients.
    Raises: FileNotFoundError; ValueError for a damaged or foreign file, a missing noise range, and another number
    of channels.
    """
    weights = state_dict(path, WHAT)
    if all(name[:1].isdigit() for name in weights):  # a sequence saved without its module
        weights = {f"model.{name}": value for name, value in weights.items()}
    try:
        with Uninitialised():
            kind, channels, network = built(weights)
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(
            f"{path} has tensors of no FFDNet, DRUNet, DnCNN or SCUNet ({error}); fetch the official file"
        ) from None
    fill(network, weights, path, WHAT)
    low, high = _levels(config, kind, path)
    default = _prior(network, sde, (channels, *SIZE), (low, high), natural(channels))
    return default if event_shape is None else default.resized(event_shape)


def _prior(
    network: Any, sde: SDE | None, event_shape: tuple[int, ...], levels: tuple[float, float], spectrum: Spectrum | None
) -> KAIRPrior:
    plain = from_denoiser(
        network, sde, event_shape=event_shape, sigma_min=levels[0], sigma_max=levels[1], moments=spectrum
    )
    moments: Any = plain.moments
    prior = KAIRPrior(network, plain.sde, event_shape, *levels, plain.variance, "rows", True, moments)
    prior.spectrum = spectrum
    return prior.eval()


def built(weights: Mapping[str, Tensor]) -> tuple[str, int, nn.Module]:
    """(Kind, channels of its pictures, network) of a state dict.

    Raises: KeyError or ValueError for another layout.
    """
    if "m_head.0.weight" in weights:
        config = scunet_sizes(weights)
        return "scunet", config.channels, SCUNet(config)
    if "m_head.weight" in weights:
        channels = weights["m_tail.weight"].shape[0]
        levels = 1 + len({name.split(".")[0] for name in weights if name.startswith("m_down")})
        widths = [weights["m_head.weight"].shape[0]]
        blocks = len({name.split(".")[1] for name in weights if name.startswith("m_body.")})
        for level in range(1, levels):
            widths.append(weights[f"m_down{level}.{blocks}.weight"].shape[0])
        return "drunet", channels, DRUNet(channels, tuple(widths), blocks)
    convolutions = sorted(
        (int(name.split(".")[1]), value)
        for name, value in weights.items()
        if name.startswith("model.") and name.endswith(".weight") and value.ndim == 4
    )
    if len(convolutions) < 2:
        raise ValueError("fewer than two convolutions")
    first, last = convolutions[0][1], convolutions[-1][1]
    n_in, n_out, width, depth = first.shape[1], last.shape[0], first.shape[0], len(convolutions)
    if n_in == n_out + 1 and n_out % 4 == 0:
        return "ffdnet", n_out // 4, FFDNet(n_out // 4, width, depth)
    if n_in == n_out:
        norms = any(name.endswith("running_mean") for name in weights)
        return "dncnn", n_out, DnCNN(n_out, width, depth, norms)
    raise ValueError(f"{n_in} channels in and {n_out} out")


def scunet_sizes(weights: Mapping[str, Tensor]) -> SCUNetConfig:
    """The sizes of a SCUNet with these tensors.

    Raises: KeyError or ValueError for another layout.
    """
    stages = ("m_down1", "m_down2", "m_down3", "m_body", "m_up3", "m_up2", "m_up1")
    names = [name.split(".") for name in weights if ".trans_block.ln1.weight" in name]
    blocks = tuple(sum(name[0] == stage for name in names) for stage in stages)
    width, channels = weights["m_head.0.weight"].shape[:2]
    name = next(name for name in [*weights, ""] if name.endswith("relative_position_params") or not name)
    offsets = weights[name or "relative_position_params"]
    if offsets.ndim != 3 or min(offsets.shape) < 1:
        raise ValueError(f"{name} of shape {tuple(offsets.shape)}")
    half = weights[name.replace("relative_position_params", "linear.weight")].shape[0]
    return SCUNetConfig(channels, width, blocks, half // offsets.shape[0], (offsets.shape[1] + 1) // 2)


def natural(channels: int) -> Spectrum | None:
    """The spectrum of natural pictures of so many channels, None if there is none."""
    name = {1: "natural-grey", 3: "natural"}.get(channels)
    if name is None:
        return None
    card = json.loads((SHIPPED / name / "card.json").read_text())
    return Spectrum(**card["spectrum"])


def _levels(config: Any, kind: str, path: str | Path) -> tuple[float, float]:
    if isinstance(config, Mapping):
        if set(config) - {"sigma_min", "sigma_max"} or "sigma_max" not in config:
            raise ValueError(f"config = {dict(config)}: expected sigma_max, and sigma_min or none (0)")
        return number("config['sigma_min']", config.get("sigma_min", 0.0)), number("config", config["sigma_max"])
    if config is None and kind in LEVELS:
        return LEVELS[kind]
    if config == "dncnn-blind" and kind == "dncnn":
        return LEVELS[config]
    if kind in ("dncnn", "scunet"):
        blind = "'dncnn-blind' for one of any level, or " if kind == "dncnn" else ""
        raise ValueError(
            f"config = {config!r}: {path} is a {NAMES[kind]}, and does not say for which noise levels; pass config = "
            f"{blind}{{'sigma_min': ..., 'sigma_max': ...}} in image units"
        )
    raise ValueError(f"config = {config!r}: {path} is a {kind}; pass none, or {{'sigma_max': ...}}")

"""Checkpoints of k-diffusion with the U-net image_v1: those of its training, and the slim ones for inference."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from priors.arguments import number
from priors.files import FileError, regular
from priors.importers.torch_file import Uninitialised, fill, is_tensors, unpickled
from priors.nets.kdiffusion import KDiffusionConfig, KDiffusionUNet
from priors.parsing import read_json, read_tensors_and_metadata
from priors.score_prior import DataRange, ScorePrior
from priors.sde import VESDE

WHAT = "k-diffusion checkpoint"
WRAPPER = "inner_model."  # what the wrapper of augmentation puts before the names
LABELS = 9  # of augmentation, which are 0 outside training
OTHERS = ("mapping_cond_dim", "unet_cond_dim", "cross_cond_dim")  # what a network may be conditioned on


def load(path: str | Path, config: str | Path | Mapping[str, Any] | None = None, ema: bool = True) -> ScorePrior:
    """The prior of a checkpoint, in image units [0, 1]: a preconditioned network under a `VESDE` of its noise levels.

    Formula: D(x, sigma) = c_skip x + c_out F(c_in x, log(sigma) / 4) with sigma_data of the config, for images in
    [-1, 1].
    Source: Karras et al. 2022, table 1; github.com/crowsonkb/k-diffusion.
    Arguments: path of a .pth that its training wrote ("model", "model_ema"), or a .safetensors of its
    convert_for_inference.py; config: its JSON file or what that holds; None: that in the checkpoint, which slim and
    newer ones have; ema: averaged weights, or those of the last step.
    Returns: `ScorePrior` in evaluation mode and without parameter gradients.
    Raises: FileNotFoundError; ValueError for a damaged or foreign file, one that would run code, a config that is
    missing, of another network or of none that is built here (transformers, conditioned networks), and a checkpoint
    that does not fit the config.
    """
    path = regular(path, WHAT)
    weights, held = _slim(path) if path.suffix == ".safetensors" else _trained(path, ema)
    model = _model(config, held, path)
    network_config = configured(model)
    with Uninitialised():
        network = KDiffusionUNet(network_config)
    fill(network, _ours(weights), path, f"{WHAT} of this config")
    sigma_data = _number(model, "sigma_data", 1.0)
    low, high = _number(model, "sigma_min"), _number(model, "sigma_max")
    if low >= high:
        raise ValueError(f"config with sigma_min = {low:g} and sigma_max = {high:g}: expected the lesser first")
    shape = (network_config.image_channels, *network_config.image_size)
    scale = DataRange(0.5, 0.5 * sigma_data)
    return ScorePrior(network, VESDE(low / 2, high / 2), shape, "preconditioned", scale).eval()


def configured(model: Mapping[str, Any]) -> KDiffusionConfig:
    """The network of the part "model" of a config, with k-diffusion's defaults.

    Raises: ValueError for another network, or a field that is missing or out of range.
    """
    if (kind := model.get("type")) != "image_v1":
        raise ValueError(f"config of a network {kind!r}: only 'image_v1' is built here")
    if conditions := [name for name in OTHERS if model.get(name, 0)]:
        raise ValueError(f"config with {conditions[0]} = {model[conditions[0]]}: only networks of the noise are built")
    try:
        return KDiffusionConfig(
            image_channels=model["input_channels"],
            image_size=model["input_size"],
            width=model["mapping_out"],
            depths=model["depths"],
            channels=model["channels"],
            attention=tuple(i for i, there in enumerate(model["self_attn_depths"]) if there),
            patch=model.get("patch_size", 1),
            skipped=model.get("skip_stages", 0),
            variance=model.get("has_variance", False),
            label_offset=0.25 * math.log(_number(model, "sigma_data", 1.0)),
        )
    except KeyError as error:
        raise ValueError(f"config without {error}: expected the JSON file that the network was trained by") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"config of no network of k-diffusion: {error}") from None


def _slim(path: Path) -> tuple[dict[str, Tensor], Any]:
    """Weights and config of a safetensors file."""
    weights, metadata = read_tensors_and_metadata(path, WHAT)
    try:
        return weights, json.loads(metadata["config"]) if "config" in metadata else None
    except ValueError:
        raise FileError(f"{path} has a damaged config in its header: pass config = the JSON file") from None


def _trained(path: Path, ema: bool) -> tuple[dict[str, Tensor], Any]:
    """Weights and config of a training's pickle, of which tensors and plain containers alone are read."""
    found, name = unpickled(path), "model_ema" if ema else "model"
    if not isinstance(found, dict) or not is_tensors(found.get(name)):
        held = sorted(map(str, found))[:8] if isinstance(found, dict) else type(found).__name__
        raise ValueError(f"{path} holds {held}: expected {name!r} with named tensors, as k-diffusion's training saves")
    return found[name], found.get("config")


def _model(config: Any, held: Any, path: Path) -> Mapping[str, Any]:
    """The part "model" of the given config, or of the one in the file."""
    if isinstance(config, str | Path):
        config = read_json(config, "config of k-diffusion")
    chosen = held if config is None else config
    if chosen is None:
        raise ValueError(f"config = None: {path} has none; pass the path of the JSON file that it was trained by")
    if not isinstance(chosen, Mapping) or not isinstance(chosen.get("model"), Mapping):
        keys = sorted(map(str, chosen))[:8] if isinstance(chosen, Mapping) else type(chosen).__name__
        raise ValueError(f"config with {keys}: expected 'model' with the fields of a network, as k-diffusion's JSON")
    return chosen["model"]


def _number(model: Mapping[str, Any], name: str, otherwise: float | None = None) -> float:
    """A positive number of a config."""
    if name not in model and otherwise is None:
        raise ValueError(f"config without {name!r}: expected the JSON file that the network was trained by")
    try:
        return number(f"config's {name}", model.get(name, otherwise), "(0, inf)")
    except TypeError as error:
        raise ValueError(str(error)) from None


def _ours(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our names: without the wrapper and the labels of augmentation, and the constant filters."""
    named = {name.removeprefix(WRAPPER): value for name, value in weights.items()}
    labels = named.get("mapping_cond.weight")
    if labels is not None and labels.ndim == 2 and labels.shape[1] == LABELS:
        del named["mapping_cond.weight"]
    if (frequencies := named.pop("timestep_embed.weight", None)) is not None:
        named["timestep_embed.W"] = frequencies.flatten()
    return {name: value for name, value in named.items() if not name.endswith(".kernel")}

"""`priors.load`: one entry for our checkpoints and those of other people, one format one file of `priors.importers`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from priors.arguments import place
from priors.checkpoints import available, load_folder, locate, save
from priors.devices import usable
from priors.importers import diffusers, edm, flow, guided_diffusion, hub, k_diffusion, kair, score_sde
from priors.score_prior import ScorePrior
from priors.sde import SDE


@dataclass(frozen=True)
class Format:
    """Other people's checkpoints of one kind.

    Arguments: load: (where, options as keywords) -> prior; options: those of `load` that it takes itself, among
    "config", "event_shape" and "sde".
    """

    load: Callable[..., Any]
    options: frozenset[str] = frozenset()


def _hub(where: str) -> ScorePrior:
    folder = hub.fetch(where)
    if hub.is_pipeline(folder) and not hub.is_checkpoint(folder):
        return diffusers.load(where)
    return load_folder(folder, "prior")


FORMATS: dict[str, Format] = {
    "score_sde": Format(score_sde.load, frozenset({"config"})),
    "guided-diffusion": Format(guided_diffusion.load, frozenset({"config"})),
    "edm": Format(edm.load),
    "k-diffusion": Format(k_diffusion.load, frozenset({"config"})),
    "kair": Format(kair.load, frozenset({"config", "event_shape", "sde"})),
    "diffusers": Format(diffusers.load),
    "flow": Format(flow.load),
    "hf": Format(_hub),
}


def load(
    source: str | Path,
    sde: SDE | None = None,
    config: str | Mapping[str, Any] | None = None,
    event_shape: tuple[int, ...] | None = None,
    device: str | torch.device | None = None,
) -> ScorePrior:
    """A trained prior: ours, or one of other people's (see `priors.importers`).

    Arguments: source: a shipped name (`available`), the path of a checkpoint folder, or "FORMAT:WHERE":
    "score_sde:FILE" (Song et al. 2021), "guided-diffusion:FILE" (Dhariwal & Nichol 2021), "edm:FILE" (Karras et al.
    2022, converted by `priors.importers.edm_convert`), "k-diffusion:FILE" (its U-net image_v1), "kair:FILE" (FFDNet,
    DRUNet, DnCNN, SCUNet; a `DenoiserPrior`), "diffusers:ID_OR_PATH" (a pipeline), "flow:ID_OR_PATH" (one with a
    flow-matching scheduler) or "hf:OWNER/NAME" (a hub repository of ours or of diffusers); sde: another noising than
    that it was trained with (see `ScorePrior.with_sde`); config: what a file does not say, by its format: see there;
    event_shape (C, H, W): the size of your pictures, for a network of any size (see `ScorePrior.resized`); None: that
    of the checkpoint; device: such as "cuda", where it computes; y and operator must be there too; None: the CPU.
    Raises: FileNotFoundError for an unknown name or missing file; ValueError for a broken or foreign checkpoint, for an
    sde or an event_shape that the network cannot serve, and for a config that is missing, unknown or not asked for.
    """
    there = None if device is None else usable(device)
    kind, _, where = str(place("source", source)).partition(":")
    kind = {name.replace("-", "_"): name for name in FORMATS}.get(kind.replace("-", "_"), kind)
    found = FORMATS.get(kind) if ":" in str(source) else None
    options = {"config": config, "event_shape": event_shape, "sde": sde}
    if config is not None and (found is None or "config" not in found.options):
        able = [name for name, format in FORMATS.items() if "config" in format.options]
        raise ValueError(f"config = {config!r} with source {str(source)!r}: only {able} take it; leave it out")
    if found is None and Path(source).is_file():
        raise ValueError(
            f"{str(source)!r} is a file: name its format, as in 'score_sde:{source}'; formats: {list(FORMATS)}"
        )
    if found is None and ":" in str(source) and not Path(source).exists():
        raise FileNotFoundError(
            f"no prior {str(source)!r}: expected one of {available()}, a checkpoint's folder, or FORMAT:WHERE with a "
            f"format of {list(FORMATS)}"
        )
    if found is None:
        prior: Any = load_folder(locate(source, "prior"), "prior")
        taken: frozenset[str] = frozenset()
    else:
        taken = found.options
        prior = found.load(where, **{name: options[name] for name in taken})
    if event_shape is not None and "event_shape" not in taken:
        prior = prior.resized(event_shape)
    if sde is not None and "sde" not in taken:
        prior = prior.with_sde(sde)
    return prior if there is None else prior.to(there)


def save_pretrained(prior: ScorePrior, folder: str | Path, **notes: Any) -> None:
    """Save a trained prior, ours or an imported one, as a folder that `priors.load` reads: weights.safetensors,
    card.json and, if known, moments.safetensors. The same files are a hub repository for "hf:OWNER/NAME".

    Arguments: prior; folder (path, made if absent); notes: what the card should say besides (data, licence), as plain
    data.
    Raises: TypeError for another prior than a `ScorePrior`; ValueError for a network or prediction that a card cannot
    describe, such as that of a diffusers pipeline.
    """
    if not isinstance(prior, ScorePrior):
        raise TypeError(f"prior of type {type(prior).__name__}: expected a priors.ScorePrior; keep its own file")
    if not isinstance(prior.prediction, str):
        raise ValueError(f"prediction = {prior.prediction!r}: a card has names only; keep the checkpoint as it came")
    save(folder, prior, **notes)

"""Checkpoints of trained networks: weights.safetensors and a card.json with all else. No pickle.

A prior of one size is stored with its moments, in half precision, which is more than enough for a preconditioner; of
one of any size the card has the power spectrum."""

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Literal, overload

from safetensors.torch import save_file
from torch import nn

from priors import nets
from priors.arguments import choice, place
from priors.data import ImageSet, read
from priors.files import FileError, atomic, reading, regular
from priors.importers.torch_file import Uninitialised
from priors.moments import Moments
from priors.nets.local import one_channel
from priors.parsing import read_json, read_tensors
from priors.score_prior import DataRange, NoisyClassifier, ScorePrior
from priors.sde import from_spec
from priors.spectrum import Spectrum
from priors.units import Units

FORMAT = 1
SHIPPED = Path(__file__).parent / "shipped"
NEXT = ".next"  # suffix of saved files, until the card is written
ESSENTIAL = (
    "format", "kind", "event_shape", "sde", "network", "range", "prediction", "units", "spectrum", "bfloat16_loss",
    "parameters",
    "sha256", "moments_sha256",
)  # fmt: skip
RESTORE = "restore it or train again"
WEIGHTS, CARD, MOMENTS, SAMPLES = "weights.safetensors", "card.json", "moments.safetensors", "samples.h5"


def save(folder: str | Path, trained: ScorePrior | NoisyClassifier, half: bool = False, **notes) -> None:
    """Save a trained prior or classifier as a folder that `priors.load` reads, and as "hf:" of a hub repository.

    Arguments: folder (path, made if absent); trained; half: kernels and matrices in half precision, with which it
    computes in float32 again when loaded: half the file, for errors of 5e-4 of a weight; notes: what the card should
    say besides (data, licence, training command, seconds, hardware, losses), as plain data.
    """
    folder = Path(folder)
    weights = {name: value.cpu().contiguous() for name, value in trained.network.state_dict().items()}
    files = {WEIGHTS: {name: v.half() if half and v.ndim > 1 else v for name, v in weights.items()}}
    spectrum = getattr(trained, "spectrum", None)
    if spectrum is None and (moments := getattr(trained, "moments", None)) is not None:
        kept = {name: value.cpu().contiguous() for name, value in vars(moments).items()}
        files[MOMENTS] = kept | {"basis": kept["basis"].half()}
    checksums = {}
    for name, tensors in files.items():
        with atomic(folder / (name + NEXT)) as temporary:
            save_file(tensors, temporary)
            checksums[name] = _sha256(temporary)
    card = {
        "format": FORMAT,
        "kind": "classifier" if isinstance(trained, NoisyClassifier) else "prior",
        "event_shape": list(trained.event_shape),
        "sde": trained.sde.spec(),
        "network": nets.spec(trained.network),
        "range": {"shift": trained.range.shift, "scale": trained.range.scale},
        **({"prediction": trained.prediction} if isinstance(trained, ScorePrior) else {}),
        **({"units": asdict(units)} if (units := getattr(trained, "units", None)) else {}),
        **({"spectrum": asdict(spectrum)} if spectrum else {}),
        **({} if (loss := getattr(trained, "bfloat16_loss", None)) is None else {"bfloat16_loss": loss}),
        "parameters": sum(p.numel() for p in trained.network.parameters()),
        "sha256": checksums[WEIGHTS],
        "moments_sha256": checksums.get(MOMENTS),
        **notes,
    }
    with atomic(folder / CARD) as temporary:
        temporary.write_text(json.dumps(card | {"checksum": checksum(card)}, indent=2) + "\n")
    # A process killed before writing the card leaves the old checkpoint, afterwards the new: `_whole` finds its files
    for name in files:
        os.replace(folder / (name + NEXT), folder / name)
    for name in {MOMENTS} - set(files):
        (folder / name).unlink(missing_ok=True)


def checksum(card: dict) -> str:
    """SHA-256 of the entries of a card that describe the trained prior or classifier, and not of its notes."""
    kept = {name: card[name] for name in ESSENTIAL if name in card}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def measured_in_bfloat16(name: str, loss: float) -> None:
    """Write to the card of a shipped prior how much its denoising error grows in bfloat16.

    Arguments: name; loss (dB >= 0), the largest over noise levels.
    """
    folder = SHIPPED / name
    card = read_card(folder) | {"bfloat16_loss": loss}
    with atomic(folder / CARD) as temporary:
        temporary.write_text(json.dumps(card | {"checksum": checksum(card)}, indent=2) + "\n")


def read_card(folder: str | Path) -> dict:
    """The card of a checkpoint folder.

    Raises: FileNotFoundError; ValueError if it is not a card of this library.
    """
    path = Path(folder) / CARD
    if not path.exists():
        raise FileNotFoundError(f"no checkpoint at {folder}: expected {CARD} and {WEIGHTS} in that folder")
    card = read_json(path, "card", RESTORE)
    found = card.get("format") if isinstance(card, dict) else None
    if found != FORMAT:
        raise FileError(f"{path} has format {found!r}: this version reads format {FORMAT}")
    if missing := {"kind", "event_shape", "sde", "network", "range", "sha256"} - set(card):
        raise FileError(f"{path} lacks {sorted(missing)}: it is not a card of this library; {RESTORE}")
    return card


@overload
def load_folder(folder: str | Path, kind: Literal["prior"]) -> ScorePrior: ...
@overload
def load_folder(folder: str | Path, kind: Literal["classifier"]) -> NoisyClassifier: ...
@overload
def load_folder(folder: str | Path, kind: str) -> ScorePrior | NoisyClassifier: ...
def load_folder(folder: str | Path, kind: str) -> ScorePrior | NoisyClassifier:
    """Load a checkpoint that `save` wrote, in evaluation mode and without parameter gradients.

    Arguments: folder (path); kind "prior" or "classifier": what the caller expects to find.
    Raises: FileNotFoundError for a missing file; ValueError for another kind, a wrong checksum, truncated weights or
    weights of another network.
    """
    folder = Path(folder)
    card = read_card(folder)
    if card["kind"] != kind:
        raise ValueError(f"{folder} is a {card['kind']}, expected a {kind}: use priors.load{_suffix(card['kind'])}")
    weights = _whole(folder, WEIGHTS, card["sha256"])
    place = folder / MOMENTS
    if "moments_sha256" in card:
        place = None if card["moments_sha256"] is None else _whole(folder, MOMENTS, card["moments_sha256"])
    elif not place.exists():  # missing in older cards
        place = None
    moments = None if place is None else read_tensors(place, "moments")
    with reading(folder / CARD, "card", RESTORE), Uninitialised():
        network = nets.build(card["network"])
        arguments = (network, from_spec(card["sde"]), tuple(card["event_shape"]))
        scaling = DataRange(**card["range"])
    _load_weights(network, weights)
    network.eval().requires_grad_(False)
    with reading(folder / CARD, "card", RESTORE):
        if kind == "classifier":
            trained = NoisyClassifier(*arguments, range=scaling).eval()
        else:
            told = None if moments is None else Moments(**{k: v.float() for k, v in moments.items()})
            units = Units(**card["units"]) if "units" in card else None
            spectrum = Spectrum(**card["spectrum"]) if "spectrum" in card else None
            trained = ScorePrior(
                *arguments, card["prediction"], scaling, told, units, spectrum, card.get("bfloat16_loss")
            ).eval()
    if "checksum" in card and card["checksum"] != checksum(card):
        raise FileError(
            f"{folder / CARD} does not match its checksum: {RESTORE}, or, if you edited it, remove its 'checksum'"
        )
    return trained


def _whole(folder: Path, name: str, expected: object) -> Path:
    """The file that a card names by its SHA-256, wherever a kill of `save` left it."""
    found = {}
    for path in (folder / name, folder / (name + NEXT)):
        if path.exists():
            found[path] = _sha256(path)
            if found[path] == expected:
                return path
    if not found:
        raise FileNotFoundError(f"no weights at {folder / name}" if name == WEIGHTS else f"no file at {folder / name}")
    path, checksum = next(iter(found.items()))
    raise FileError(
        f"{path} has sha256 {checksum[:12]}..., its card has {str(expected)[:12]}...: the file is truncated or "
        "a different one; download it again"
    )


def start_from(network: nn.Module, source: str | Path, kind: str) -> None:
    """Give a network the weights of a checkpoint of the same network, to train on from there.

    A one-channel `LocalUNet` takes those of one for colour pictures too: it then gives, of grey pictures, the mean over
    channels of what that one gives.
    Arguments: network (Module, changed in place); source and kind: as `locate`.
    Raises: ValueError for another network; and as `load_folder`.
    """
    other = load_folder(locate(source, kind), kind).network
    own, theirs, weights = nets.spec(network), nets.spec(other), other.state_dict()
    if own["type"] == "local" and own == theirs | {"image_channels": 1}:
        weights = one_channel(weights, theirs["image_channels"])
    elif differing := {key: (theirs.get(key), own.get(key)) for key in own | theirs if own.get(key) != theirs.get(key)}:
        raise ValueError(
            f"the network of {str(source)!r} differs, (its, expected): {differing}; change the recipe's [network], or "
            "start a new training"
        )
    network.load_state_dict(weights)


def history(source: str | Path, kind: str) -> list[dict]:
    """The trainings that led to a checkpoint, the first first, for the card of one that starts from it: the event
    shape, batch size, number of steps and seconds of each; empty where the card does not name them.

    Arguments: source and kind: as `locate`.
    """
    card = read_card(locate(source, kind))
    record = card.get("training")
    if not isinstance(record, dict):
        return []
    last = {name: record.get(name) for name in ("steps", "seconds")}
    batch = record.get("config", {}).get("batch_size")
    return [*card.get("history", []), {"event_shape": card["event_shape"], "batch_size": batch, **last}]


def _load_weights(network: nn.Module, path: Path) -> None:
    weights = read_tensors(path, "safetensors file")
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit the network of its card: {error}") from None


def _suffix(kind: str) -> str:
    return "" if kind == "prior" else f"_{kind}"


def _sha256(path: Path) -> str:
    with regular(path, "safetensors file").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def available(kind: str = "prior") -> list[str]:
    """Names of what is shipped.

    Arguments: kind "prior" or "classifier".
    """
    choice("kind", kind, ("prior", "classifier"))
    return sorted(card.parent.name for card in SHIPPED.glob(f"*/{CARD}") if read_card(card.parent)["kind"] == kind)


def locate(source: str | Path, kind: str) -> Path:
    """The checkpoint folder of a shipped name or a path.

    Arguments: source; kind "prior" or "classifier".
    Raises: FileNotFoundError, naming what is shipped.
    """
    place("source", source)
    if str(source) in available(kind):
        return SHIPPED / str(source)
    if Path(source).is_dir():
        return Path(source)
    raise FileNotFoundError(f"no {kind} {str(source)!r}: expected one of {available(kind)} or a checkpoint folder")


def load_classifier(source: str | Path) -> NoisyClassifier:
    """A trained noise-conditional classifier, for `operators.Classifier`.

    Arguments: source: a shipped name (``available("classifier")``) or the path of a checkpoint folder.
    Raises: as `priors.load`.
    """
    return load_folder(locate(source, "classifier"), "classifier")


def samples(source: str | Path) -> ImageSet:
    """Test images shipped with a prior, which it was not trained on: uint8 (n, C, H, W) with labels.

    Arguments: source: as `locate`.
    Raises: FileNotFoundError where the checkpoint has none.
    """
    return read(locate(source, "prior") / SAMPLES)


def labels(source: str | Path) -> list[str]:
    """The names of a classifier's classes, in the order of its logits.

    Arguments: source: as `load_classifier`.
    Raises: FileNotFoundError for an unknown name; ValueError where the card does not name them.
    """
    card = read_card(locate(source, "classifier"))
    if "labels" not in card:
        raise ValueError(f"the card of {source} has no labels: add them to the card, or to the recipe before training")
    return list(card["labels"])

"""Trained networks on disk: weights.safetensors beside a card.json that says everything else. No pickle.

Beside a prior of one size lie its moments, in half precision, which is more than enough for a preconditioner; of one
of any size the card has the power spectrum."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from priors import nets
from priors.arguments import choice, place
from priors.data import ImageSet, read
from priors.files import atomic
from priors.importers import diffusers, score_sde
from priors.moments import Moments
from priors.nets.local import one_channel
from priors.score_prior import DataRange, NoisyClassifier, ScorePrior
from priors.sde import SDE, from_spec
from priors.spectrum import Spectrum
from priors.units import Units

FORMAT = 1
SHIPPED = Path(__file__).parent / "shipped"
WEIGHTS, CARD, MOMENTS, SAMPLES = "weights.safetensors", "card.json", "moments.safetensors", "samples.h5"


def save(folder: str | Path, trained: ScorePrior | NoisyClassifier, half: bool = False, **notes) -> None:
    """Write a trained prior or classifier.

    Arguments: folder (path, made if absent); trained; half: kernels and matrices in half precision, with which it
    computes in float32 again when loaded: half the file, for errors of 5e-4 of a weight; notes: what the card should
    say besides (data, licence, training command, seconds, hardware, losses), as plain data.
    """
    folder = Path(folder)
    with atomic(folder / WEIGHTS) as temporary:
        weights = {name: value.contiguous() for name, value in trained.network.state_dict().items()}
        save_file({name: v.half() if half and v.ndim > 1 else v for name, v in weights.items()}, temporary)
        checksum = _sha256(temporary)
    spectrum = getattr(trained, "spectrum", None)
    if spectrum is None and (moments := getattr(trained, "moments", None)) is not None:
        kept = {name: value.contiguous() for name, value in vars(moments).items()}
        with atomic(folder / MOMENTS) as temporary:
            save_file(kept | {"basis": kept["basis"].half()}, temporary)
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
        "parameters": sum(p.numel() for p in trained.network.parameters()),
        "sha256": checksum,
        **notes,
    }
    with atomic(folder / CARD) as temporary:
        temporary.write_text(json.dumps(card, indent=2) + "\n")


def read_card(folder: str | Path) -> dict:
    """The card of a checkpoint folder.

    Raises: FileNotFoundError; ValueError where it is no card of ours.
    """
    path = Path(folder) / CARD
    if not path.exists():
        raise FileNotFoundError(f"no checkpoint at {folder}: expected {CARD} and {WEIGHTS} in that folder")
    try:
        card = json.loads(path.read_text())
    except ValueError as error:  # JSON or UTF-8
        raise ValueError(f"{path} is not JSON ({error}): restore it or train again") from None
    found = card.get("format") if isinstance(card, dict) else None
    if found != FORMAT:
        raise ValueError(f"{path} has format {found!r}: this version reads format {FORMAT}")
    if missing := {"kind", "event_shape", "sde", "network", "range", "sha256"} - set(card):
        raise ValueError(f"{path} lacks {sorted(missing)}: it is no card of ours; restore it or train again")
    return card


def load_folder(folder: str | Path, kind: str) -> ScorePrior | NoisyClassifier:
    """Load a checkpoint that `save` wrote, in evaluation mode and without parameter gradients.

    Arguments: folder (path); kind "prior" or "classifier": what the caller expects to find.
    Raises: FileNotFoundError for a missing file; ValueError for another kind, a wrong checksum, truncated weights or
    weights of another network.
    """
    folder = Path(folder)
    card = read_card(folder)
    if card["kind"] != kind:
        raise ValueError(f"{folder} holds a {card['kind']}, expected a {kind}: use priors.load{_suffix(card['kind'])}")
    path = folder / WEIGHTS
    if not path.exists():
        raise FileNotFoundError(f"no weights at {path}")
    if (found := _sha256(path)) != card["sha256"]:
        raise ValueError(
            f"{path} has sha256 {found[:12]}..., its card says {card['sha256'][:12]}...: "
            "the file is truncated or another one; fetch it again"
        )
    network = nets.build(card["network"])
    _load_weights(network, path)
    network.eval().requires_grad_(False)
    arguments = (network, from_spec(card["sde"]), tuple(card["event_shape"]))
    if kind == "classifier":
        return NoisyClassifier(*arguments, range=DataRange(**card["range"])).eval()
    path = folder / MOMENTS
    moments = Moments(**{k: v.float() for k, v in _read(path).items()}) if path.exists() else None
    units = Units(**card["units"]) if "units" in card else None
    spectrum = Spectrum(**card["spectrum"]) if "spectrum" in card else None
    return ScorePrior(*arguments, card["prediction"], DataRange(**card["range"]), moments, units, spectrum).eval()


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
            "start afresh"
        )
    network.load_state_dict(weights)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable safetensors file ({error}): fetch it again") from None


def _load_weights(network: nn.Module, path: Path) -> None:
    weights = _read(path)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit the network of its card: {error}") from None


def _suffix(kind: str) -> str:
    return "" if kind == "prior" else f"_{kind}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
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
    raise FileNotFoundError(f"no {kind} {str(source)!r}: expected one of {available(kind)} or a checkpoint's folder")


def load(
    source: str | Path,
    sde: SDE | None = None,
    config: str | None = None,
    event_shape: tuple[int, ...] | None = None,
) -> ScorePrior:
    """A trained prior: ours, or one of other people's (see `priors.importers`).

    Arguments: source: a shipped name (`available`), the path of a checkpoint folder, "score_sde:FILE" for a checkpoint
    of the official PyTorch code of Song et al. 2021, or "diffusers:ID_OR_PATH" for a pipeline; sde: another noising
    than that it was trained with (see `ScorePrior.with_sde`); config: DATASET/SDE/NETWORK, which an official file does
    not say, for example "cifar10/ve/ncsnpp_continuous"; event_shape (C, H, W): the size of your pictures, for a network
    of any size (see `ScorePrior.resized`); None: that of the checkpoint's card.
    Raises: FileNotFoundError for an unknown name or missing file; ValueError for a broken or foreign checkpoint, for an
    sde or an event_shape that the network cannot serve, and for a config that is missing, unknown or not asked for.
    """
    kind, _, where = str(place("source", source)).partition(":")
    if config is not None and kind != "score_sde":
        raise ValueError(
            f"config = {config!r} with source {str(source)!r}: only 'score_sde:FILE' takes it; leave it out"
        )
    if kind == "score_sde":
        prior = score_sde.load(where, config)
    elif kind == "diffusers":
        prior = diffusers.load(where)
    else:
        prior: ScorePrior = load_folder(locate(source, "prior"), "prior")  # type: ignore[assignment]
    prior = prior if event_shape is None else prior.resized(event_shape)
    return prior if sde is None else prior.with_sde(sde)


def load_classifier(source: str | Path) -> NoisyClassifier:
    """A trained noise-conditional classifier, for `operators.Classifier`.

    Arguments: source: a shipped name (``available("classifier")``) or the path of a checkpoint folder.
    Raises: as `load`.
    """
    return load_folder(locate(source, "classifier"), "classifier")  # type: ignore[return-value]


def samples(source: str | Path) -> ImageSet:
    """Test images that lie beside a prior, which it was not trained on: uint8 (n, C, H, W) with labels.

    Arguments: source: as `load`.
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
        raise ValueError(f"the card of {source} names no labels: add them to it, or to the recipe before training")
    return list(card["labels"])

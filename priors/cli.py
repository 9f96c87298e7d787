"""`inverse-train`: from an image set to a checkpoint folder."""

from __future__ import annotations

import os
import platform
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from priors.later import loaded, now

if TYPE_CHECKING or now():
    import torch
    import torch.distributed as dist

    from priors import checkpoints, nets, pictures, sde
    from priors.arguments import choice
    from priors.data import ImageSet, read
    from priors.losses import WEIGHTS
    from priors.objectives import OBJECTIVES, Focus, NoisyClassification, Objective
    from priors.parsing import read_toml
    from priors.score_prior import PREDICTIONS, DataRange, NoisyClassifier, ScorePrior
    from priors.training import STATE, Trainer, TrainingConfig
    from priors.units import Units

NEEDED = {"kind", "name", "licence", "sde", "range", "network", "training"}
OPTIONAL = {"prior", "units", "labels", "crops"}
TEXTS = {"kind", "name", "licence"}
SECTIONS = {"sde", "range", "network", "training", "prior", "units", "crops"}
T = TypeVar("T")
CONFIGS = Path(__file__).parent / "configs"
app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)


@app.command()
@loaded
def train(
    config: Annotated[str, typer.Argument(help="a TOML file, or the name of one in priors/configs")],
    data: Annotated[
        Path,
        typer.Option(
            help="image set: HDF5 or npz with images (n, C, H, W) uint8 or uint16 and labels (n,); for a config with "
            "\\[crops], pictures of any sizes as inverse-pack writes them"
        ),
    ],
    out: Annotated[Path, typer.Option(help="folder of the checkpoint, the state, the log and the sample sheet")],
    split: Annotated[str, typer.Option(help="prefix of the names in the file")] = "train",
    test_split: Annotated[
        str | None, typer.Option(help="prefix of the test images: their loss goes on the card")
    ] = None,
    init: Annotated[
        str | None, typer.Option(help="start with the weights of this checkpoint: a name or a folder, same network")
    ] = None,
    resume: Annotated[bool, typer.Option(help="go on from the state in the folder")] = False,
    minutes: Annotated[float | None, typer.Option(help="instead of the config's")] = None,
    steps: Annotated[int | None, typer.Option(help="instead of the config's")] = None,
    seed: Annotated[int | None, typer.Option(help="instead of the config's")] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="another entry of the config, such as network.channels=48")
    ] = None,
    device: Annotated[str | None, typer.Option(help="default: the accelerator if there is one")] = None,
) -> None:
    """Train a prior or a noise-conditional classifier; several processes: torchrun --nproc-per-node N -m priors.cli."""
    recipe = changed(read_recipe(config), change or [])
    overrides = {k: v for k, v in {"minutes": minutes, "steps": steps, "seed": seed}.items() if v is not None}
    with blamed(config):
        training = made("training", TrainingConfig, recipe["training"] | overrides)
    if (out / STATE).exists() and not resume:
        raise typer.BadParameter(f"{out} holds a training state: pass --resume to go on, or another folder")
    images = _read(data, split or None, recipe)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    distributed = "RANK" in os.environ
    if distributed:
        dist.init_process_group("nccl" if device == "cuda" else "gloo")
        device = f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" else device
    torch.manual_seed(training.seed)  # the same initial weights on every process
    notes = {
        "data": recipe["name"],
        "licence": recipe["licence"],
        **({"labels": recipe["labels"]} if "labels" in recipe else {}),
        "command": " ".join(["inverse-train", *sys.argv[1:]]),
        "hardware": hardware(device),
        "torch": torch.__version__,
    }
    with blamed(config):
        learnt = objective(recipe, images)
    if init:
        checkpoints.start_from(learnt.network, init, recipe["kind"])
    trainer = Trainer(learnt, images, training, out, device, notes)
    if resume:
        trainer.resume()
    trainer.run()
    if test_split:
        trainer.test(_read(data, test_split, recipe))
    if trainer.rank == 0:
        print(f"{trainer.step} steps, {trainer.seconds:.0f} s, losses {trainer.losses}, checkpoint in {out}")
    if distributed:
        dist.destroy_process_group()


def _read(path: Path, split: str | None, recipe: dict) -> ImageSet | pictures.Crops:
    """The images of a file, or random crops of its pictures as the recipe's [crops] says."""
    if "crops" in recipe:
        return made("crops", pictures.Crops, {"pictures": pictures.read(path, split)} | recipe["crops"])
    return read(path, split)


def read_recipe(config: str) -> dict:
    """A training recipe: a TOML file, or a name in priors/configs.

    Raises: FileNotFoundError, ValueError.
    """
    path = Path(config) if config.endswith(".toml") else CONFIGS / f"{config}.toml"
    if not path.exists():
        names = sorted(p.stem for p in CONFIGS.glob("*.toml"))
        raise FileNotFoundError(f"no training config {config!r}: expected a TOML file or one of {names}")
    return checked(read_toml(path, "training recipe in TOML"), str(path))


def checked(recipe: dict, source: str = "the recipe") -> dict:
    """A recipe with all entries that a training needs, and none that it would not look at.

    Raises: ValueError for an entry that is missing, unknown or of another type.
    """
    if missing := NEEDED - set(recipe):
        raise ValueError(f"{source} lacks {sorted(missing)}: add them, as a recipe in priors/configs has them")
    if unknown := set(recipe) - NEEDED - OPTIONAL:
        raise ValueError(
            f"{source} has {sorted(unknown)}, which nothing reads: expected of {sorted(NEEDED | OPTIONAL)}"
        )
    for name in sorted(TEXTS | SECTIONS & set(recipe)):
        kind, what = (str, "a text") if name in TEXTS else (dict, f"a section [{name}]")
        if not isinstance(recipe[name], kind):
            raise ValueError(f"{source}: {name} = {recipe[name]!r:.60}: expected {what}")
    choice(f"{source}: kind", recipe["kind"], ("prior", "classifier"))
    if recipe["kind"] == "classifier" and (foreign := {"prior", "units", "crops"} & set(recipe)):
        raise ValueError(f"{source} has {sorted(foreign)}: a classifier has none; leave them out")
    names = recipe.get("labels", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{source}: labels = {names!r:.60}: expected a list of texts, the classes' names")
    return recipe


@contextmanager
def blamed(config: str | Path) -> Iterator[None]:
    """A block that takes a recipe's values: errors about these name the recipe.

    Raises: ValueError.
    """
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:  # a text for a number, too large
        raise ValueError(f"{config}: {error}; correct the recipe, or leave --set out") from error


def made(section: str, factory: Callable[..., T], entries: Mapping[str, Any]) -> T:
    """What a section of a recipe describes.

    Raises: ValueError for unknown entries, and those that the factory refuses, naming the section.
    """
    if not isinstance(entries, Mapping):
        raise ValueError(f"[{section}] {entries!r:.60}: expected a section of entries")
    try:
        return factory(**entries)
    except (TypeError, ValueError) as error:
        raise ValueError(f"[{section}] {str(error).removeprefix(f'{factory.__name__}.__init__() ')}") from None


def changed(recipe: dict, changes: list[str]) -> dict:
    """A recipe with other entries: each change is "section.key=value", the value as TOML or else a text.

    A change of sde.type drops the other entries of [sde], which mean nothing to another SDE.
    Raises: ValueError for a change of another form or of a section that the recipe lacks.
    """
    recipe = {key: dict(value) if isinstance(value, dict) else value for key, value in recipe.items()}
    for change in changes:
        name, equals, text = change.partition("=")
        section, dot, key = name.partition(".")
        if not (equals and dot and key and isinstance(recipe.get(section), dict)):
            sections = sorted(name for name, value in recipe.items() if isinstance(value, dict))
            raise ValueError(f"--set {change!r}: expected section.key=value with a section of {sections}")
        if (section, key) == ("sde", "type"):
            recipe[section].clear()
        try:
            recipe[section][key] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            recipe[section][key] = text
    return checked(recipe, "the changed recipe")


def objective(recipe: dict, images: ImageSet | pictures.Crops) -> Objective:
    """What a recipe trains, on images of a given shape.

    Raises: TypeError or ValueError for entries that are unknown or out of range, and for images of another shape than
    the network's.
    """
    checked({"name": "", "licence": ""} | recipe)  # which only a card asks for
    network, noising = nets.build(recipe["network"]), sde.from_spec(recipe["sde"])
    _fits(network, images)
    arguments = (network, noising, images.event_shape)
    units_range = made("range", DataRange, recipe["range"])
    if recipe["kind"] == "classifier":
        return NoisyClassification(NoisyClassifier(*arguments, range=units_range))
    options = {"prediction": "preconditioned", "objective": "denoising", "weight": "score"} | recipe.get("prior", {})
    if unknown := set(options) - {"prediction", "objective", "weight", "focus"}:
        raise ValueError(f"[prior] {sorted(unknown)}: expected of prediction, objective, weight and focus")
    for name, known in (("prediction", PREDICTIONS), ("objective", OBJECTIVES), ("weight", WEIGHTS)):
        choice(f"[prior] {name}", options[name], sorted(known))
    focus = made("prior] [focus", Focus, options["focus"]) if "focus" in options else None
    units = made("units", Units, recipe["units"]) if "units" in recipe else None
    prior = ScorePrior(*arguments, options["prediction"], units_range, units=units)
    return OBJECTIVES[options["objective"]](prior, options["weight"]).focused(focus)


def _fits(network: Any, images: ImageSet | pictures.Crops) -> None:
    """Refuse images of another shape than the network is made for."""
    made_for = network.config
    size = getattr(made_for, "image_size", None)
    expected = (made_for.image_channels, *(images.event_shape[1:] if size is None else (size, size)))
    if images.event_shape != expected:
        raise ValueError(
            f"images of {images.event_shape}: the recipe's [network] is for {expected}; change image_channels and "
            "image_size there"
        )


def hardware(device: str) -> str:
    """What a training ran on, for the card."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(torch.device(device))
    return f"{os.cpu_count()} CPU cores, {platform.machine()}, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    app()

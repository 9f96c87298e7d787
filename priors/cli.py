"""`inverse-train`: from an image set to a checkpoint folder."""

import os
import platform
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import torch.distributed as dist
import typer

from priors import checkpoints, nets, pictures, sde
from priors.data import ImageSet, read
from priors.objectives import OBJECTIVES, Focus, NoisyClassification, Objective
from priors.parsing import read_toml
from priors.score_prior import DataRange, NoisyClassifier, ScorePrior
from priors.training import STATE, Trainer, TrainingConfig
from priors.units import Units

CONFIGS = Path(__file__).parent / "configs"
app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)


@app.command()
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
    overrides = {"minutes": minutes, "steps": steps, "seed": seed}
    with blamed(config):
        training = replace(
            TrainingConfig(**recipe["training"]), **{k: v for k, v in overrides.items() if v is not None}
        )
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
        return pictures.Crops(pictures.read(path, split), **recipe["crops"])
    return read(path, split)


def read_recipe(config: str) -> dict:
    """A training recipe: a TOML file, or a name in priors/configs.

    Raises: FileNotFoundError, ValueError.
    """
    path = Path(config) if config.endswith(".toml") else CONFIGS / f"{config}.toml"
    if not path.exists():
        names = sorted(p.stem for p in CONFIGS.glob("*.toml"))
        raise FileNotFoundError(f"no training config {config!r}: expected a TOML file or one of {names}")
    recipe = read_toml(path, "training recipe in TOML")
    missing = {"kind", "name", "licence", "sde", "range", "network", "training"} - set(recipe)
    if missing:
        raise ValueError(f"{path} lacks {sorted(missing)}")
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
    return recipe


def objective(recipe: dict, images: ImageSet | pictures.Crops) -> Objective:
    """What a recipe trains, on images of a given shape.

    Raises: ValueError for an unknown kind or objective.
    """
    network = nets.build(recipe["network"])
    arguments = (network, sde.from_spec(recipe["sde"]), images.event_shape)
    if recipe["kind"] == "classifier":
        return NoisyClassification(NoisyClassifier(*arguments, range=DataRange(**recipe["range"])))
    if recipe["kind"] == "prior":
        options = dict(recipe.get("prior", {}))
        name, weight = options.pop("objective", "denoising"), options.pop("weight", "score")
        focus = Focus(**options.pop("focus")) if "focus" in options else None
        if name not in OBJECTIVES:
            raise ValueError(f"[prior] objective = {name!r}: expected one of {sorted(OBJECTIVES)}")
        units = Units(**recipe["units"]) if "units" in recipe else None
        prior = ScorePrior(*arguments, range=DataRange(**recipe["range"]), units=units, **options)
        return OBJECTIVES[name](prior, weight).focused(focus)
    raise ValueError(f"kind = {recipe['kind']!r}: expected 'prior' or 'classifier'")


def hardware(device: str) -> str:
    """What a training ran on, for the card."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(torch.device(device))
    return f"{os.cpu_count()} CPU cores, {platform.machine()}, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    app()

"""A training from its recipe to its checkpoint, in one process or several."""

import math
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from priors import checkpoints, sets
from priors.arguments import number
from priors.data import ImageSet
from priors.pictures import Crops
from priors.recipes import blamed, changed, made, objective, read_recipe
from priors.terminal import say
from priors.training import STATE, Trainer, TrainingConfig


def train(
    config: str, data: Path, out: Path, split: str | None, test_split: str | None, init: str | None, resume: bool,
    overrides: dict[str, Any], changes: list[str], device: str | None, call_minutes: float | None = None,
    teacher: str | None = None,
) -> bool:  # fmt: skip
    """`inverse-train`; whether the training is finished, and not only this call of it.

    Arguments: as of the command; overrides: of the recipe's [training]; changes: of any of its entries.
    Raises: ValueError for a recipe that is wrong, and for a folder with a training to resume.
    """
    recipe = read_recipe(config)
    if teacher is not None:
        recipe["teacher"] = recipe.get("teacher", {}) | {"prior": teacher}
    recipe = changed(recipe, changes)
    with blamed(config):
        training = made("training", TrainingConfig, recipe["training"] | overrides)
    if call_minutes is not None:
        number("call_minutes", call_minutes, "(0, inf)", "minutes of this call")
        resume = True
    if (out / STATE).exists() and not resume:
        raise ValueError(f"{out} has a training state: pass --resume to continue, or use another folder")
    split = sets.training_split(data) if split is None else split
    images = _read(data, split or None, recipe)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    distributed = "RANK" in os.environ
    if distributed:
        dist.init_process_group("nccl" if device == "cuda" else "gloo")
        device = f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" else device
    torch.manual_seed(training.seed)  # the same initial weights on every process
    notes: dict[str, Any] = {
        "data": recipe["name"],
        "licence": recipe["licence"],
        **{name: recipe[name] for name in ("labels", "teacher") if name in recipe},
        "command": " ".join(["inverse-train", *sys.argv[1:]]),
        "hardware": hardware(device),
        "torch": torch.__version__,
    }
    with blamed(config):
        learnt = objective(recipe, images)
    if init:
        checkpoints.start_from(learnt.network, init, recipe["kind"])
        notes["history"] = checkpoints.history(init, recipe["kind"])
    trainer = Trainer(learnt, images, training, out, device, notes)
    if resume:
        trainer.resume()
    finished = trainer.run(math.inf if call_minutes is None else call_minutes)
    if finished and test_split:
        trainer.test(_read(data, test_split, recipe))
    if trainer.rank == 0:
        say(f"{trainer.step} steps, {trainer.seconds:.0f} s, losses {trainer.losses}, checkpoint in {out}")
        if not finished:
            done = training.progress(trainer.step, trainer.seconds)
            say(f"{done:.0%} of the training is done: run the same command again to continue")
    if distributed:
        dist.destroy_process_group()
    return finished


def _read(path: Path, split: str | None, recipe: dict) -> ImageSet | Crops:
    """The images of a file, or random crops of its pictures as the recipe's [crops] says."""
    if "crops" not in recipe:
        return sets.read_images(path, split)
    return made("crops", Crops, {"pictures": sets.read_pictures(path, split)} | recipe["crops"])


def hardware(device: str) -> str:
    """What a training ran on, for the card."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(torch.device(device))
    return f"{os.cpu_count()} CPU cores, {platform.machine()}, {torch.get_num_threads()} threads"

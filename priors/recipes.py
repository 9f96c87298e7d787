"""Training recipes in TOML: read, checked, changed, and made into what they describe."""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from priors import nets, sde
from priors.arguments import choice
from priors.data import ImageSet
from priors.losses import WEIGHTS
from priors.objectives import OBJECTIVES, Focus, NoisyClassification, Objective
from priors.parsing import read_toml
from priors.pictures import Crops
from priors.score_prior import PREDICTIONS, DataRange, NoisyClassifier, ScorePrior
from priors.teaching import Teacher
from priors.units import Units

NEEDED = {"kind", "name", "licence", "sde", "range", "network", "training"}
OPTIONAL = {"prior", "units", "labels", "crops", "teacher"}
TEXTS = {"kind", "name", "licence"}
SECTIONS = {"sde", "range", "network", "training", "prior", "units", "crops", "teacher"}
T = TypeVar("T")
CONFIGS = Path(__file__).parent / "configs"


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
            f"{source} has {sorted(unknown)}, unknown entries: expected some of {sorted(NEEDED | OPTIONAL)}"
        )
    for name in sorted(TEXTS | SECTIONS & set(recipe)):
        kind, what = (str, "a string") if name in TEXTS else (dict, f"a section [{name}]")
        if not isinstance(recipe[name], kind):
            raise ValueError(f"{source}: {name} = {recipe[name]!r:.60}: expected {what}")
    choice(f"{source}: kind", recipe["kind"], ("prior", "classifier"))
    if recipe["kind"] == "classifier" and (foreign := {"prior", "units", "crops", "teacher"} & set(recipe)):
        raise ValueError(f"{source} has {sorted(foreign)}: classifiers do not use them; remove them")
    names = recipe.get("labels", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{source}: labels = {names!r:.60}: expected a list of strings, the names of the classes")
    return recipe


@contextmanager
def blamed(config: str | Path) -> Iterator[None]:
    """A block that takes a recipe's values: errors about these name the recipe.

    Raises: ValueError.
    """
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:  # a string for a number, too large
        raise ValueError(f"{config}: {error}; correct the recipe, or omit --set") from error


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


def objective(recipe: dict, images: ImageSet | Crops) -> Objective:
    """What a recipe trains, on images of a given shape.

    Raises: TypeError or ValueError for entries that are unknown or out of range, and for images of another shape than
    the network's.
    """
    checked({"name": "", "licence": ""} | recipe)  # only required by the card
    network, noising = nets.build(recipe["network"]), sde.from_spec(recipe["sde"])
    _fits(network, images)
    arguments = (network, noising, images.event_shape)
    units_range = made("range", DataRange, recipe["range"])
    if recipe["kind"] == "classifier":
        return NoisyClassification(NoisyClassifier(*arguments, range=units_range))
    options = {"prediction": "preconditioned", "objective": "denoising", "weight": "score"} | recipe.get("prior", {})
    if unknown := set(options) - {"prediction", "objective", "weight", "focus"}:
        raise ValueError(f"[prior] {sorted(unknown)}: expected some of prediction, objective, weight and focus")
    for name, known in (("prediction", PREDICTIONS), ("objective", OBJECTIVES), ("weight", WEIGHTS)):
        choice(f"[prior] {name}", options[name], sorted(known))
    focus = made("prior] [focus", Focus, options["focus"]) if "focus" in options else None
    units = made("units", Units, recipe["units"]) if "units" in recipe else None
    prior = ScorePrior(*arguments, options["prediction"], units_range, units=units)
    teacher = made("teacher", Teacher, recipe["teacher"]) if "teacher" in recipe else None
    return OBJECTIVES[options["objective"]](prior, options["weight"]).focused(focus).taught(teacher)


def _fits(network: Any, images: ImageSet | Crops) -> None:
    """Refuse images of another shape than the network is made for."""
    made_for = network.config
    size = getattr(made_for, "image_size", None)
    expected = (made_for.image_channels, *(images.event_shape[1:] if size is None else (size, size)))
    if images.event_shape != expected:
        raise ValueError(
            f"images of {images.event_shape}: the recipe's [network] expects {expected}; change image_channels and "
            "image_size there"
        )

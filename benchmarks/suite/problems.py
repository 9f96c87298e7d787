"""Benchmark definitions in TOML, with errors that name file and key."""

import importlib
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.common.defaults import CONFIGS
from priors.parsing import read_toml

SHIPPED = "shipped"
NOISES = ("gaussian", "poisson")
FITS = ("resize", "crop")
COMMON = ("samples", "images")  # settings that the runner reads; the others are the method's own


@dataclass(frozen=True)
class Spec:
    """A problem as a TOML file specifies it: one data set measured by one operator.

    Attributes: name; task: a title to group by; prior: a shipped name, a checkpoint folder or what `priors.load` takes;
    data: "shipped" (test images beside the prior), an image set (.h5, .npz), pictures as `inverse-pack` writes them, or
    a folder of images; split: of a set (see `priors.data.read`); size: (H, W) pixels for a prior of any size, None for
    its own; fit: "resize" or "crop" (centred), where images may have another size, else None;
    images: how many, the first ones; seed: of the measurement noise; operator: name, and arguments of `operators.make`,
    or of the classmethod that `recipe` names; noise: {"gaussian": sigma_y} or {"poisson": peak}, or None; judge: the
    classifier that judges samples, default the one shipped beside the prior; methods: rows to run, None for all that
    serve; settings: row -> settings that replace the row's own on this problem.
    """

    name: str
    task: str
    prior: str
    operator: Mapping[str, Any]
    noise: Mapping[str, float] | None = None
    data: str = SHIPPED
    split: str | None = None
    size: tuple[int, int] | None = None
    fit: str | None = None
    images: int = 8
    seed: int = 0
    judge: str | None = None
    methods: tuple[str, ...] | None = None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def measured(self) -> dict[str, Any]:
        """All that a measurement depends on besides the images, as plain data."""
        spec = asdict(self)
        return {key: spec[key] for key in ("operator", "noise", "fit", "seed")}


@dataclass(frozen=True)
class Config:
    """A benchmark: its problems by name, its methods (row -> settings), and settings of all.

    Attributes: path of the TOML; problems; methods; samples K per image; seeds, of the methods; block: images per unit.
    """

    path: Path
    problems: dict[str, Spec]
    methods: dict[str, dict[str, Any]]
    samples: int = 8
    seeds: tuple[int, ...] = (0,)
    block: int = 4

    def of(self, data: str | Path | None) -> "Config":
        """The same of other images, where some are given: an image set, packed pictures or a folder."""
        if data is None:
            return self
        return replace(self, problems={n: replace(p, data=str(data)) for n, p in self.problems.items()})


def read(path: str | Path) -> Config:
    """A benchmark from TOML: [problems.NAME], [methods.NAME], and samples, seeds, block and modules for all.

    Arguments: path; what its paths are relative to is its folder. `modules` are imported, so that methods, metrics and
    operators of other packages register themselves.
    Raises: FileNotFoundError; ValueError that names the file, the key, what was given and what is expected.
    """
    shipped = sorted(file.name for file in CONFIGS.glob("*.toml"))
    missing = f"expected a TOML file; {shipped} are in {CONFIGS}"
    path, content = Path(path), read_toml(path, "benchmark", "correct the TOML", missing)
    table = Table(path, "", content)
    for module in table.take("modules", list, []):
        _load(module, table)
    problems = table.take("problems", dict, {})
    if not problems:
        raise table.wrong("problems", "none", "a table [problems.NAME] for at least one problem")
    config = Config(
        path,
        {name: _problem(name, Table(path, f"problems.{name}", value)) for name, value in problems.items()},
        {name: dict(Table(path, f"methods.{name}", v).content) for name, v in table.take("methods", dict, {}).items()},
        table.number("samples", 8, least=2),
        tuple(table.numbers("seeds", [0])),
        table.number("block", 4, least=1),
    )
    table.done()
    for name, problem in config.problems.items():
        for key, rows in (("methods", problem.methods or ()), ("settings", problem.settings)):
            if config.methods and (unknown := [row for row in rows if row not in config.methods]):
                place = Table(path, f"problems.{name}", {})
                raise place.wrong(key, unknown, f"rows of this file, {sorted(config.methods)}")
    return config


class Table:
    """A table of a TOML file whose values are taken one by one, each checked; what is left over is refused.

    Arguments: path of the file; place of the table in it; content.
    Raises: ValueError where the content is no table.
    """

    def __init__(self, path: Path, place: str, content: Any):
        self.path, self.place = path, place
        if not isinstance(content, dict):
            raise ValueError(f"{path}: {place} = {content!r}: expected a table [{place}]")
        self.content = dict(content)

    def wrong(self, key: str, given: Any, expected: str) -> ValueError:
        """The error for a key: what was given, and what was expected."""
        place = f"{self.place}.{key}" if self.place else key
        return ValueError(f"{self.path}: {place} = {given!r}: expected {expected}")

    def take(self, key: str, kind: type, default: Any = None, expected: str = "") -> Any:
        """The value at a key, of a type; ``default``, where there is none."""
        value = self.content.pop(key, None)
        if value is None:
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            names = {dict: "a table", str: "a text", list: "a list", int: "a whole number"}
            raise self.wrong(key, value, expected or names.get(kind, kind.__name__))
        return value

    def text(self, key: str, default: str | None = None, among: tuple[str, ...] = ()) -> str:
        """A text that must be there (unless it has a default), one of those in ``among``."""
        expected = f"one of {list(among)}" if among else "a text"
        value = self.take(key, str, default, expected)
        if value is None or (among and value not in among):
            raise self.wrong(key, value, expected)
        return value

    def number(self, key: str, default: int, least: int = 0) -> int:
        """A whole number of at least ``least``."""
        expected = f"a whole number >= {least}"
        value = self.take(key, int, default, expected)
        if value < least:
            raise self.wrong(key, value, expected)
        return value

    def numbers(self, key: str, default: list[int]) -> list[int]:
        """A list of whole numbers >= 0, with at least one."""
        values = self.take(key, list, default)
        if not values or not all(isinstance(v, int) and not isinstance(v, bool) and v >= 0 for v in values):
            raise self.wrong(key, values, "a list of whole numbers >= 0, such as [0, 1, 2]")
        return values

    def done(self) -> None:
        """Refuse the keys that nothing took."""
        if self.content:
            key = next(iter(self.content))
            raise self.wrong(key, self.content[key], "no such key; it may be misspelt, or belong into another table")


def _load(module: Any, table: Table) -> None:
    """Import a module that a benchmark names, but none that Python would find in the current folder by chance.

    `python -m` puts that folder first on the path: whoever can write there could have any code run by a TOML. A folder
    on PYTHONPATH is chosen by the user, and may be the current one.
    """
    if not isinstance(module, str):
        raise table.wrong("modules", module, "the names of modules, texts")
    here, path = Path.cwd(), list(sys.path)
    chance = path[:1] if path and not sys.flags.safe_path and Path(path[0]).resolve() == here else []
    try:
        sys.path[: len(chance)] = []
        importlib.import_module(module)
    except ImportError as error:
        remedy = f"; a module in {here} is taken with PYTHONPATH={here}, if you trust it" if chance else ""
        raise table.wrong("modules", module, f"the name of a module that can be imported ({error}){remedy}") from None
    except (ValueError, TypeError) as error:  # an empty or a relative name
        raise table.wrong("modules", module, f"the name of a module ({error})") from None
    finally:
        sys.path[:0] = chance


def _problem(name: str, table: Table) -> Spec:
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"{table.path}: problem {name!r}: expected letters, digits, - and _: files are named so")
    operator = table.take("operator", dict)
    if operator is None or not isinstance(operator.get("name"), str):
        raise table.wrong("operator", operator, "a table with a name, as `operators.available()` lists them")
    noise = table.take("noise", dict)
    if noise is not None and (len(noise) != 1 or not set(noise) <= set(NOISES) or not _positive(*noise.values())):
        raise table.wrong("noise", noise, "{ gaussian = SIGMA } or { poisson = PEAK }, a number > 0 in units of y")
    methods = table.take("methods", list)
    size = table.numbers("size", [0]) if "size" in table.content else None
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise table.wrong("size", size, "[height, width] in pixels")
    spec = Spec(
        name=name,
        task=table.text("task", name),
        prior=_place(table.path, table.text("prior")),
        operator=operator,
        noise=noise,
        data=_place(table.path, table.text("data", SHIPPED)),
        split=table.take("split", str),
        size=None if size is None else (size[0], size[1]),
        fit=table.text("fit", among=FITS) if "fit" in table.content else None,
        images=table.number("images", 8, least=1),
        seed=table.number("seed", 0),
        judge=table.take("judge", str),
        methods=None if methods is None else tuple(methods),
        settings=table.take("settings", dict, {}),
    )
    table.done()
    return spec


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _place(path: Path, text: str) -> str:
    """A path is relative to the TOML's folder, where something lies there; other texts are names."""
    beside = path.parent / text
    return str(beside) if text != SHIPPED and beside.exists() else text

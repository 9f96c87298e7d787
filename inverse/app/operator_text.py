"""Parse --operator: ``name:key=value,...`` or ``name.constructor:key=value,...``."""

import difflib
import inspect
import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from inspect import Parameter
from typing import Any

from torch import Tensor

import operators
import priors
from inverse.app.demo import CLASSIFIER
from inverse.app.operator_values import FILES, array, shown, value_of
from inverse.methods import METHODS
from operators import GaussianNoise, Operator

SHORT = {  # (name, short key): the constructor and its argument
    ("masking", "box"): ("box", "size"),
    ("blur", "sigma"): ("gaussian", "sigma_px"),
    ("blur", "width"): ("gaussian", "sigma_px"),
    ("blur", "motion"): ("motion", "size"),
}
NUMBERS = {"int", "float", "bool", "tuple", "None"}  # annotations of arguments that take no string
PATHS = ("file", "path")  # keys whose value is a file name, taken literally
GIVEN = ("event_shape", "noise")  # set by the picture and by --sigma, not in the text
COMPUTATIONAL = {
    "axis",
    "event_ndim",
    "boundary",
    "truncate",
    "nodes",
    "rounding",
    "softness",
    "channels",
    "antialias",  # what every program does but for speed; the spectrum of y is checked
}  # keep defaults
WRITABLE = (bool, int, float, str, tuple)  # defaults that can be written in --operator
UNKNOWN = ("?", "auto", "unknown")  # values that people try in place of a number
BLUR = 1.5  # pixels: default width of a Gaussian blur
KINDS = (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)


class DrawnInstrument(UserWarning):
    """The operator given for an existing measurement has random parameters, such as a random kernel."""


@dataclass(frozen=True)
class Named:
    """A parsed operator; the picture's size and the noise are set later.

    Attributes: text; name (in the registry); constructor: name of the class method, "" for the class itself; factory:
    that callable; values: its arguments, given or default; supplied: keys that the text leaves at a default; files:
    the files that values were read from.
    """

    text: str
    name: str
    constructor: str
    factory: Callable[..., Any]
    values: dict[str, Any]
    supplied: frozenset[str] = frozenset()
    files: dict[str, str] | None = None

    @property
    def takes_shape(self) -> bool:
        """Whether its constructor needs the picture's size."""
        found = takes(self.factory).get("event_shape")
        return found is not None and found.default is Parameter.empty

    @property
    def caution(self) -> str:
        """Why it may be the wrong instrument for an existing measurement; usually empty."""
        if "seed" not in self.values:
            return ""
        return (
            f"operator {self.text!r} is drawn at random from its seed: use it only for measurements simulated with the "
            "same seed; for a camera or scanner, give the parameters of the instrument"
        )

    def build(self, sigma: float, event_shape: tuple[int, ...] | None) -> Operator:
        """The operator for an event shape (None: any), with Gaussian noise of standard deviation sigma.

        Raises: ValueError and TypeError, as the operator's constructor.
        """
        known = takes(self.factory)
        given = {"noise": GaussianNoise(sigma)} | ({} if event_shape is None else {"event_shape": tuple(event_shape)})
        try:
            return self.factory(**self.values, **{key: value for key, value in given.items() if key in known})
        except TypeError as error:
            raise ValueError(f"operator {self.text!r}: {error}") from None

    def bordered(self, boundary: str) -> "Named":
        """The same with another boundary, unless the text sets one."""
        return replace(self, values=self.values | {"boundary": boundary}) if "boundary" in self.supplied else self

    @property
    def identity(self) -> tuple[Any, ...]:
        """The operator's arguments besides tensors, independent of how the text spells them."""
        values = {key: self.values.get(key, parameter.default) for key, parameter in takes(self.factory).items()}
        kept = {key: value for key, value in values.items() if key not in GIVEN and not isinstance(value, Tensor)}
        return self.name, self.constructor, tuple(sorted((key, repr(_plain(value))) for key, value in kept.items()))

    def used(self) -> str:
        """The constructor with all its arguments: Blur.gaussian: sigma_px=2, boundary=circular (default)."""
        texts = []
        for key, parameter in takes(self.factory).items():
            unused = parameter.default is None or (key == "seed" and "angle" in self.values)
            if key in GIVEN or (key not in self.values and unused):
                continue
            value = (self.files or {}).get(key) or shown(self.values.get(key, parameter.default))
            given = key in self.values and key not in self.supplied
            texts.append(f"{key}={value}" + ("" if given else " (default)"))
        head = getattr(operators.get(self.name), "__name__", self.name)
        return ".".join(filter(None, (head, self.constructor))) + (": " if texts else "") + ", ".join(texts)


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def read_operator(text: str, sigma: float, event_shape: tuple[int, ...], measured: bool = False) -> Operator:
    """Build the operator of a text (see `named`) with Gaussian noise ``sigma`` (operator's units), event shape E.

    Raises: as `named` and the operator's constructor.
    """
    return named(text, measured).build(sigma, event_shape)


def named(text: str, measured: bool = False, known: Mapping[str, Any] | None = None, volumes: bool = False) -> Named:
    """Parse ``name:key=value,...`` or ``name.constructor:key=value,...``.

    If no constructor is named, the first one that accepts all these keys and needs no others is used: the class, then
    its class methods. Omitted arguments have Python's defaults. If ``measured`` (an existing measurement), arguments
    that describe the instrument have no default, and the boundary of a blur is "valid", which is right for a crop of
    any scene.
    Arguments: text, such as masking:keep=0.5 | masking:box=12 | masking:file=mask.png (white is measured) |
    blur:sigma=1.5 | blur:length=15,angle=30 | blur:motion=15,seed=3 | blur:file=kernel.npy (or a picture; scaled to
    sum 1) | classifier:name=NAME; values are numbers, comma-separated numbers (corner=3,4), true, false, strings, or
    .npy files for arrays; measured; known: arguments besides, that the text may replace; volumes: may it be of volumes.
    Warns: DrawnInstrument if ``measured`` and the operator is drawn from a seed.
    Raises: ValueError for an unknown name or key, a string in place of a number, and missing arguments.
    """
    head, _, rest = text.partition(":")
    name, _, constructor = head.partition(".")
    name = spelled(name)
    if name in operators.available(volumes=True) and not volumes:
        raise ValueError(f"operator {text!r} measures volumes, not pictures: use `inverse volume`")
    choices = constructors(name)
    if constructor and constructor not in choices:
        has = sorted(choices)[1:]
        raise ValueError(f"operator {text!r}: {name} has no constructor {constructor!r}; it has {has}")
    # a comma that is not followed by a key is part of the value, as in a file name
    pairs = {key: value for key, _, value in (pair.partition("=") for pair in re.split(r",(?=\w+=)", rest) if pair)}
    raw, supplied = {*PATHS, FILES.get(name)}, set()
    values: dict[str, Any] = {key: value if key in raw else value_of(value) for key, value in pairs.items()}
    values = {key: value for key, value in (known or {}).items() if key not in values} | values
    if not constructor:
        if name in FILES and "file" in values:
            values[FILES[name]] = values.pop("file")
        for short in [key for key in values if (name, key) in SHORT]:
            constructor, long = SHORT[name, short]
            long = "length" if short == "motion" and "angle" in values else long
            values[long] = values.pop(short)
        if name == "blur" and not measured and not constructor and values.keys() <= {"boundary"}:
            constructor, values["sigma_px"] = "gaussian", BLUR
            supplied.add("sigma_px")
    constructor = constructor or _fitting(text, name, choices, values, measured)
    found = Named(text, name, constructor, choices[constructor], values)
    _check_keys(found, choices, pairs)
    if _lacking(found.factory, values, measured):
        head = ".".join(filter(None, (name, constructor)))
        raise _incomplete(text, {head: found.factory}, values, measured)
    if measured and name == "blur" and "boundary" not in values:
        values["boundary"] = "valid"
        supplied.add("boundary")
    files = {key: value for key, value in values.items() if isinstance(value, str) and _is_file(found, key)}
    arrays = {key: array(name, key, value) for key, value in files.items()}
    found = replace(found, values=values | arrays, supplied=frozenset(supplied), files=files)
    if measured and found.caution:
        warnings.warn(found.caution, DrawnInstrument, stacklevel=2)
    return found


def spelled(name: str) -> str:
    """The name of an operator that may be written with hyphens, such as cone-beam."""
    plain = name.replace("-", "_")
    return plain if plain in operators.available() + operators.available(volumes=True) else name


def constructors(name: str) -> dict[str, Callable[..., Any]]:
    """The constructors of an operator: "" for the class, then its public class methods in source order.

    Raises: ValueError for an unknown operator.
    """
    if name not in operators.available() and name.lower() in METHODS:
        raise ValueError(
            f"{name!r} is a method, not an operator: pass --method {name.lower()}, and as --operator what was "
            f"measured: one of {', '.join(operators.available())}"
        )
    factory = operators.get(name)
    if factory is operators.Classifier:
        return {"": _classifier}
    members = [item for cls in getattr(factory, "__mro__", ()) for item in vars(cls).items()]
    methods = [key for key, member in members if isinstance(member, classmethod) and not key.startswith("_")]
    return {"": factory} | {key: getattr(factory, key) for key in methods}


def takes(factory: Callable[..., Any]) -> dict[str, Parameter]:
    """The arguments of a constructor; for a class, those of ``__init__``."""
    found = dict(inspect.signature(factory.__init__ if inspect.isclass(factory) else factory).parameters)
    if inspect.isclass(factory):
        found.pop(next(iter(found)))  # self
    rest = any(p.kind is Parameter.VAR_KEYWORD for p in found.values())
    found = {key: p for key, p in found.items() if p.kind not in KINDS}
    cls = getattr(factory, "__self__", None)
    return {key: p for key, p in takes(cls).items() if p.default is not p.empty} | found if rest and cls else found


def keys(name: str) -> list[str]:
    """All keys that --operator accepts for an operator, over all constructors."""
    of_constructors = {key for factory in constructors(name).values() for key in takes(factory)} - set(GIVEN)
    return sorted(of_constructors | {key for n, key in SHORT if n == name} | ({"file"} if name in FILES else set()))


def _classifier(name: str = CLASSIFIER) -> Operator:
    """A shipped noise-conditional classifier; the measurement is a label."""
    return operators.Classifier(priors.load_classifier(name))


def _lacking(factory: Callable[..., Any], values: Iterable[str], measured: bool = False) -> list[str]:
    """The required arguments that are missing; if ``measured``, also those that describe the instrument."""
    known, values, found = takes(factory), set(values), []
    if "angle" in known and not ("size" in values and "angle" not in values):  # a random motion has no angle
        found = [key for key in ("length", "angle") if key not in values]
        values |= {"seed"}
    for key, p in known.items():
        stated = key not in COMPUTATIONAL and isinstance(p.default, WRITABLE)
        if key not in {*values, *GIVEN} and (p.default is p.empty or (measured and stated)):
            found.append(key if p.default is p.empty else f"{key} (without --measured {shown(p.default)})")
    return found


def _fitting(
    text: str, name: str, choices: dict[str, Callable[..., Any]], values: dict[str, Any], measured: bool
) -> str:
    """The first constructor that accepts all values and needs no others."""
    able = [key for key, factory in choices.items() if values.keys() <= takes(factory).keys()]
    ready = [key for key in able if not _lacking(choices[key], values, measured)]
    if ready or not able:  # `_check_keys` reports the unknown key
        return (ready or [""])[0]
    raise _incomplete(text, {".".join(filter(None, (name, key))): choices[key] for key in able}, values, measured)


def _incomplete(text: str, forms: dict[str, Callable[..., Any]], values: Iterable[str], measured: bool) -> ValueError:
    listed = ", or ".join(f"{form} lacks {' and '.join(_lacking(f, values, measured))}" for form, f in forms.items())
    why = "with --measured, arguments that describe the instrument have no default; " if measured else ""
    head = next(iter(forms)).partition(".")[0]
    other = "; or infer it: --unknown width, radius, or length,angle" if measured and head == "blur" else ""
    return ValueError(
        f"operator {text!r} lacks arguments: {listed}; {why}for examples, run inverse operators {head}{other}"
    )


def _check_keys(found: Named, choices: dict[str, Callable[..., Any]], pairs: dict[str, str]) -> None:
    known = takes(found.factory)
    for key, value in found.values.items():
        if key not in known or key in GIVEN:
            only = "." in found.text.partition(":")[0]
            there = sorted(set(known) - set(GIVEN)) if only else keys(found.name)
            close = difflib.get_close_matches(key, [k for k in there if k != key], n=1)
            raise ValueError(
                f"operator {found.text!r}: unknown argument {key!r}"
                + (f" (did you mean {close[0]!r}?)" if close else "")
                + f"; {found.text.partition(':')[0]} takes {there}"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"operator {found.text!r}: {key}={value}: expected a finite number")
        if (
            isinstance(value, str)
            and set(re.findall(r"\w+", inspect.formatannotation(known[key].annotation))) <= NUMBERS
        ):
            asked = ""
            if value in UNKNOWN or re.fullmatch(r"[-+.\de]+(:|\.\.)[-+.\de]+", value):
                asked = f"; for what you do not know, omit {key} and pass --unknown, such as --unknown width=0.5:4"
            raise ValueError(
                f"operator {found.text!r}: {key}={value}: expected a number, such as masking:keep=0.3{asked}"
            )


def _is_file(found: Named, key: str) -> bool:
    """Whether a value is the name of an array file."""
    annotation = inspect.formatannotation(takes(found.factory)[key].annotation)
    if key in PATHS or "str" in re.findall(r"\w+", annotation):
        return False
    return FILES.get(found.name) == key or str(found.values[key]).lower().endswith(".npy")

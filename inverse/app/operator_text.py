"""An operator as a command line names it: ``name:key=value,...`` or ``name.constructor:key=value,...``."""

import difflib
import inspect
import math
import re
import warnings
from collections.abc import Callable, Iterable
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

SHORT = {  # name, key: the constructor and its argument that they stand for
    ("masking", "box"): ("box", "size"),
    ("blur", "sigma"): ("gaussian", "sigma_px"),
    ("blur", "motion"): ("motion", "size"),
}
NUMBERS = {"int", "float", "bool", "tuple", "None"}  # in the annotation of an argument that takes no word
PATHS = ("file", "path")  # keys whose value is taken as it stands
GIVEN = ("event_shape", "noise")  # not to be named in a text: the picture's and sigma's
COMPUTATIONAL = {"event_ndim", "boundary", "truncate", "nodes", "rounding", "softness", "channels"}  # no instrument's
WRITABLE = (bool, int, float, str, tuple)  # defaults that a text can state
BLUR = 1.5  # pixels: a picture is blurred by a Gaussian of this width where the text names no kernel
KINDS = (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)


class DrawnInstrument(UserWarning):
    """A measurement from elsewhere is explained by an instrument that was drawn by chance, such as a random kernel."""


@dataclass(frozen=True)
class Named:
    """An operator that a text names; the picture's size and the noise are still open.

    Attributes: text; name (in the registry); constructor: of its class methods, "" for the class itself; factory: one
    of them; values: its arguments, as given or supplied; supplied: the keys that the text does not give; files: that
    values were read from.
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
        """Whether it cannot be made before the picture's size is known."""
        found = takes(self.factory).get("event_shape")
        return found is not None and found.default is Parameter.empty

    @property
    def caution(self) -> str:
        """What speaks against it as the instrument of a measurement from elsewhere; nothing as a rule."""
        if "seed" not in self.values:
            return ""
        return (
            f"operator {self.text!r} is drawn by chance, from its seed: that is right only for a measurement which was "
            "simulated with it; for one of a camera or scanner, give what is known of that instrument"
        )

    def build(self, sigma: float, event_shape: tuple[int, ...] | None) -> Operator:
        """The operator for pictures of a shape, with Gaussian noise of sigma; event_shape None: of any.

        Raises: ValueError and TypeError, as the operator.
        """
        known = takes(self.factory)
        given = {"noise": GaussianNoise(sigma)} | ({} if event_shape is None else {"event_shape": tuple(event_shape)})
        try:
            return self.factory(**self.values, **{key: value for key, value in given.items() if key in known})
        except TypeError as error:
            raise ValueError(f"operator {self.text!r}: {error}") from None

    def bordered(self, boundary: str) -> "Named":
        """With another border, where the text names none."""
        return replace(self, values=self.values | {"boundary": boundary}) if "boundary" in self.supplied else self

    @property
    def identity(self) -> tuple[Any, ...]:
        """What the operator is made of, besides the tensors that it keeps: the same however the text puts it."""
        values = {key: self.values.get(key, parameter.default) for key, parameter in takes(self.factory).items()}
        kept = {key: value for key, value in values.items() if key not in GIVEN and not isinstance(value, Tensor)}
        return self.name, self.constructor, tuple(sorted((key, repr(_plain(value))) for key, value in kept.items()))

    def used(self) -> str:
        """Every value that the operator is made with: Blur.gaussian: sigma_px=2, boundary=circular (default)."""
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
    """An operator from a text, see `named`, with Gaussian noise of ``sigma`` (operator's units) for pictures E.

    Raises: as `named` and as the operator raises.
    """
    return named(text, measured).build(sigma, event_shape)


def named(text: str, measured: bool = False) -> Named:
    """What a command line's ``name:key=value,...`` or ``name.constructor:key=value,...`` names.

    Without a constructor the first is taken that has all these keys and lacks none: that of the class, then its class
    methods. What the text leaves open has the defaults of Python. Of ``measured``, a measurement from elsewhere,
    nothing that describes the instrument has one, and a blur's boundary is "valid", which is right for a crop of any
    scene.
    Arguments: text, such as masking:keep=0.5 | masking:box=12 | masking:file=mask.png (white is measured) |
    blur:sigma=1.5 | blur:length=15,angle=30 | blur:motion=15,seed=3 | blur:file=kernel.npy (or a picture; scaled to
    sum 1) | classifier:name=NAME; values are numbers, several of them (corner=3,4), true, false, words, or for arrays
    the names of .npy files; measured.
    Warns: DrawnInstrument, where a measurement's instrument is drawn by a seed.
    Raises: ValueError for an unknown name or key, for a word where a number is expected, and for what is missing.
    """
    head, _, rest = text.partition(":")
    name, _, constructor = head.partition(".")
    choices = constructors(name)
    if constructor and constructor not in choices:
        known = sorted(choices)[1:]
        raise ValueError(f"operator {text!r}: {name} has no constructor {constructor!r}, but {known}")
    # a comma that no key follows belongs to the value, as in the name of a file
    pairs = {key: value for key, _, value in (pair.partition("=") for pair in re.split(r",(?=\w+=)", rest) if pair)}
    raw, supplied = {*PATHS, FILES.get(name)}, set()
    values: dict[str, Any] = {key: value if key in raw else value_of(value) for key, value in pairs.items()}
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


def constructors(name: str) -> dict[str, Callable[..., Any]]:
    """The ways to make an operator: "" for itself, then its public class methods, in the order of the source.

    Raises: ValueError for no such operator.
    """
    if name not in operators.available() and name.lower() in METHODS:
        raise ValueError(
            f"{name!r} is a method, not an operator: pass --method {name.lower()}, and as the operator what was "
            f"measured, one of {', '.join(operators.available())}"
        )
    factory = operators.get(name)
    if factory is operators.Classifier:
        return {"": _classifier}
    members = [item for cls in getattr(factory, "__mro__", ()) for item in vars(cls).items()]
    methods = [key for key, member in members if isinstance(member, classmethod) and not key.startswith("_")]
    return {"": factory} | {key: getattr(factory, key) for key in methods}


def takes(factory: Callable[..., Any]) -> dict[str, Parameter]:
    """The arguments of a constructor; of a class those of its ``__init__``."""
    found = dict(inspect.signature(factory.__init__ if inspect.isclass(factory) else factory).parameters)
    if inspect.isclass(factory):
        found.pop(next(iter(found)))  # self
    rest = any(p.kind is Parameter.VAR_KEYWORD for p in found.values())
    found = {key: p for key, p in found.items() if p.kind not in KINDS}
    cls = getattr(factory, "__self__", None)
    return {key: p for key, p in takes(cls).items() if p.default is not p.empty} | found if rest and cls else found


def keys(name: str) -> list[str]:
    """Every key that a text may give of an operator, whatever its constructor."""
    of_constructors = {key for factory in constructors(name).values() for key in takes(factory)} - set(GIVEN)
    return sorted(of_constructors | {key for n, key in SHORT if n == name} | ({"file"} if name in FILES else set()))


def _classifier(name: str = CLASSIFIER) -> Operator:
    """A noise-conditional classifier by name: its label is what was measured."""
    return operators.Classifier(priors.load_classifier(name))


def _lacking(factory: Callable[..., Any], values: Iterable[str], measured: bool = False) -> list[str]:
    """The arguments that must be given; of ``measured`` also those that describe the instrument by a default."""
    known, values, found = takes(factory), set(values), []
    if "angle" in known and not ("size" in values and "angle" not in values):  # unless it is a random shake
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
    """The first constructor that takes all values and lacks none."""
    able = [key for key, factory in choices.items() if values.keys() <= takes(factory).keys()]
    ready = [key for key in able if not _lacking(choices[key], values, measured)]
    if ready or not able:  # `_check_keys` says which key is unknown
        return (ready or [""])[0]
    raise _incomplete(text, {".".join(filter(None, (name, key))): choices[key] for key in able}, values, measured)


def _incomplete(text: str, forms: dict[str, Callable[..., Any]], values: Iterable[str], measured: bool) -> ValueError:
    listed = ", or ".join(f"{form} lacks {' and '.join(_lacking(f, values, measured))}" for form, f in forms.items())
    why = "what describes the instrument has no default with --measured; " if measured else ""
    head = next(iter(forms)).partition(".")[0]
    return ValueError(f"operator {text!r} is not complete: {listed}; {why}inverse operators {head} shows examples")


def _check_keys(found: Named, choices: dict[str, Callable[..., Any]], pairs: dict[str, str]) -> None:
    known = takes(found.factory)
    for key, value in found.values.items():
        if key not in known or key in GIVEN:
            only = "." in found.text.partition(":")[0]
            there = sorted(set(known) - set(GIVEN)) if only else keys(found.name)
            close = difflib.get_close_matches(key, [k for k in there if k != key], n=1)
            raise ValueError(
                f"operator {found.text!r}: it takes no {key!r} here"
                + (f" (did you mean {close[0]!r}?)" if close else "")
                + f"; arguments of {found.text.partition(':')[0]} are {there}"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"operator {found.text!r}: {key}={value}: expected a finite number")
        if (
            isinstance(value, str)
            and set(re.findall(r"\w+", inspect.formatannotation(known[key].annotation))) <= NUMBERS
        ):
            raise ValueError(f"operator {found.text!r}: {key}={value}: expected a number, such as masking:keep=0.3")


def _is_file(found: Named, key: str) -> bool:
    """Whether a word names the file of an array."""
    annotation = inspect.formatannotation(takes(found.factory)[key].annotation)
    if key in PATHS or "str" in re.findall(r"\w+", annotation):
        return False
    return FILES.get(found.name) == key or str(found.values[key]).lower().endswith(".npy")

"""Parse --unknown: parameters of the measurement that are not known, as NAME or NAME=LOW:HIGH."""

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from inverse.app.measured import of_pictures
from inverse.app.noise_text import NOISES, is_noise, read_noise
from inverse.app.operator_text import Named, named, takes
from inverse.solve.unknown.ranges import Range, Uniform, ranges
from operators import GaussianNoise, Noise, Operator
from operators.kernels import LARGEST, disc_kernel, gaussian_kernel, line_kernel

Values = dict[str, float]


@dataclass(frozen=True)
class Known:
    """What is known of a parameter before: its default range, its unit, what it is, and whether it is positive."""

    low: float
    high: float
    unit: str
    what: str
    positive: bool = True


OF_NOISE = {
    "sigma": Known(0.001, 0.2, "of the white of the picture", "the standard deviation of the noise"),
    "peak": Known(5, 5000, "photons at white", "the photon count of a white pixel"),
    "looks": Known(0.5, 50, "looks", "the number of averaged intensities of speckle"),
}
OF_BLUR = {
    "width": Known(0.3, 4, "pixels", "the standard deviation of a Gaussian blur"),
    "radius": Known(0.5, 8, "pixels", "the radius of a defocus disc"),
    "length": Known(2, 25, "pixels", "the length of a motion"),
    "angle": Known(-90, 90, "degrees", "the direction of a motion, counter-clockwise from along the rows", False),
}
FORMS = ({"width"}, {"radius"}, {"length", "angle"})  # of kernels
CONSTRUCTORS = {"width": "gaussian", "radius": "defocus", "length": "motion", "angle": "motion"}
SHAPING = {*OF_BLUR, "sigma", "sigma_px", "motion", "size", "seed", "file", "kernel", "truncate", "path"}
REACH = 3  # standard deviations of a Gaussian kernel on each side
LOWEST = 3e-4  # of sigma, of the root mean square of a y that is no picture, which is the highest
NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
RANGE = re.compile(rf"\s*{NUMBER}\s*(?::|\.\.)\s*{NUMBER}\s*")


@dataclass(frozen=True)
class Unknowns:
    """The unknown parameters of a command line.

    Attributes: ranges; stated: the operator in the middle of the ranges; noise: the same of the noise, or None if it
    has no unknown parameter; changed: the operator with other values of its parameters; described: the kernel.
    """

    ranges: dict[str, Range]
    stated: Named
    noise: Noise | None
    changed: Callable[[Named, Values], Named]

    def operator(self, stated: Named, noise: Noise, event_shape: tuple[int, ...]) -> Callable[..., Operator]:
        """The operator as a function of the unknown parameters.

        Arguments: stated: as the attribute, with its boundary set; noise, in the middle of its ranges; event_shape.
        """

        def make(**values: float) -> Operator:
            of_noise = {name: value for name, value in values.items() if name in noise.inferable and name in OF_NOISE}
            of_operator = {name: value for name, value in values.items() if name not in of_noise}
            op = (self.changed(stated, of_operator) if of_operator else stated).build(1.0, event_shape)
            return op.with_noise(noise.replaced(**of_noise) if of_noise else noise)

        return make

    def texts(self) -> list[str]:
        """Each parameter with its range and unit."""
        pictures = of_pictures(self.stated.text)
        return [f"{name}, {s.low:g} to {s.high:g} {unit(name, pictures)}".rstrip() for name, s in self.ranges.items()]


def unit(name: str, pictures: bool = True) -> str:
    """The unit of a parameter; empty if it is not known. pictures: whether y is one, whose white is 1."""
    if name == "sigma" and not pictures:
        return "in units of y"
    found = (OF_NOISE | OF_BLUR).get(name)
    return "" if found is None else found.unit


def unknowns(
    asked: Sequence[str], operator: str, sigma: str | None, measured: bool, scale: float | None = None
) -> Unknowns:
    """The unknown parameters of --unknown, with the operator of --operator and the noise of --sigma.

    Arguments: asked: texts such as "width", "width=0.5:4", "sigma,width" or "width=0.5..4"; operator, sigma: of the
    command line, without the unknown values; measured: whether the file is the measurement; scale: the root mean square
    of a y that is no picture, which the default range of sigma is relative to.
    Raises: ValueError for other texts, parameters that the operator or the noise do not have, values that are given as
    well, and without ``measured``.
    """
    if not measured:
        raise ValueError(
            "--unknown requires --measured: without it the picture is degraded here, by parameters that are known"
        )
    given = dict(_named_range(part) for text in asked for part in text.split(",") if part.strip())
    if not given:
        raise ValueError("--unknown: expected NAME or NAME=LOW:HIGH, such as width=0.5:4")
    head = operator.partition(":")[0].partition(".")[0]
    of_noise = [name for name in given if name in OF_NOISE]
    of_operator = [name for name in given if name not in OF_NOISE]
    if head == "blur" and "kernel" in given:
        raise ValueError(
            f"--unknown kernel: a whole kernel cannot be inferred, only one of a few parameters: {_blurs()}"
        )
    if head == "blur" and (foreign := [n for n in of_operator if n not in OF_BLUR]):
        raise ValueError(f"--unknown {foreign[0]}: expected {_blurs()}; or of the noise {', '.join(OF_NOISE)}")
    spread = {name: _range(name, text, operator, scale) for name, text in given.items()}
    checked = ranges(spread)
    noise = _noise(sigma, checked, of_noise)
    middle = {name: checked[name].at(0.5) for name in of_operator}
    if head == "blur" and of_operator:
        stated, changed = _blur(operator, checked, of_operator)
        return Unknowns(checked, stated, noise, changed)
    stated = _general(operator, middle)
    return Unknowns(checked, stated, noise, lambda one, values: replace(one, values=one.values | values))


def _blurs() -> str:
    return "width (of a Gaussian), radius (of a defocus disc), or length and angle (of a motion)"


def _named_range(text: str) -> tuple[str, str]:
    name, _, rest = (part.strip() for part in text.partition("="))
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise ValueError(f"--unknown {text!r}: expected NAME or NAME=LOW:HIGH, such as width=0.5:4")
    return name, rest


def _range(name: str, text: str, operator: str, scale: float | None) -> Range | tuple[float, float]:
    known = (OF_NOISE | OF_BLUR).get(name)
    if known is not None and name == "sigma" and scale is not None:
        known = replace(known, low=float(f"{LOWEST * scale:.2g}"), high=float(f"{scale:.2g}"))
    found = RANGE.fullmatch(text)
    if text and found is None:
        raise ValueError(f"--unknown {name}={text}: expected a range {name}=LOW:HIGH, such as {_example(name)}")
    if found is None and name in OF_BLUR and not operator.startswith("blur"):
        raise ValueError(f"--unknown {name}: {known.what if known else name} belongs to --operator blur, written so")
    if found is None and known is None:
        raise ValueError(f"--unknown {name}: it has no default range; give {name}=LOW:HIGH")
    low, high = (float(v) for v in found.groups()) if found else (known.low, known.high) if known else (0.0, 1.0)
    if not low < high:
        raise ValueError(f"--unknown {name}={text}: expected LOW < HIGH, such as {_example(name)}")
    if known is not None and known.positive and low <= 0:
        raise ValueError(f"--unknown {name}={text}: expected LOW > 0, as {known.what} is positive")
    return Uniform(low, high) if known is not None and not known.positive else (low, high)


def _example(name: str) -> str:
    known = (OF_NOISE | OF_BLUR).get(name)
    return f"{name}={known.low:g}:{known.high:g}" if known else f"{name}=1:2"


def _noise(sigma: str | None, spread: dict[str, Range], names: list[str]) -> Noise | None:
    """The noise in the middle of its ranges; None if none of its parameters is unknown."""
    if not names:
        return None
    kind = sigma.partition(":")[0].strip().lower() if sigma is not None and is_noise(sigma) else ""
    takes_ = NOISES[kind][1].lower().split(",") if kind else ["sigma"]
    if foreign := [name for name in names if name not in takes_]:
        raise ValueError(
            f"--unknown {foreign[0]}: {kind or 'Gaussian'} noise has no {foreign[0]}; say which noise it "
            "is: --sigma poisson or --sigma camera for peak, --sigma speckle for looks"
        )
    if not kind:
        if sigma not in (None, "auto"):
            raise ValueError(f"--sigma {sigma} gives what --unknown sigma infers: omit one of them")
        return GaussianNoise(spread["sigma"].at(0.5))
    assert sigma is not None
    middle = {name: spread[name].at(0.5) for name in names}
    if ":" in sigma:  # of its numbers, those of unknown parameters are not used
        if len(names) == len(takes_):
            raise ValueError(f"--sigma {sigma} gives what --unknown {','.join(names)} infers: write --sigma {kind}")
        return read_noise(sigma).replaced(**middle)
    if missing := [name for name in takes_ if name not in names]:
        raise ValueError(
            f"--sigma {sigma}: its {missing[0]} is neither given nor unknown: write --unknown {','.join(takes_)}, or "
            f"--sigma {kind}:{NOISES[kind][1]} with numbers, of which those of unknown parameters are not used"
        )
    return NOISES[kind][0](**middle)


def _blur(operator: str, spread: dict[str, Range], names: list[str]) -> tuple[Named, Callable[[Named, Values], Named]]:
    """A blur whose kernel has unknown parameters, in the middle of their ranges; and as a function of them."""
    form = next((form for form in FORMS if names[0] in form), set[str]())
    if mixed := set(names) - form:
        raise ValueError(
            f"--unknown {','.join(names)}: {names[0]} and {mixed.pop()} are of different blurs: {_blurs()}"
        )
    head, _, rest = operator.partition(":")
    constructor = head.partition(".")[2]
    if constructor and constructor != CONSTRUCTORS.get(names[0]):
        raise ValueError(f"operator {operator!r}: with --unknown {names[0]} write --operator blur")
    pairs = [pair.partition("=")[::2] for pair in re.split(r",(?=\w+=)", rest) if pair]
    fixed = {key: float(value) for key, value in pairs if key in form - set(names) and re.fullmatch(NUMBER, value)}
    if doubled := [key for key, _ in pairs if key in SHAPING and key not in fixed]:
        raise ValueError(
            f"operator {operator!r}: its {doubled[0]} gives the kernel that --unknown {','.join(names)} infers: omit "
            "one of them"
        )
    if missing := sorted(form - set(names) - set(fixed)):
        raise ValueError(
            f"--unknown {names[0]}: the {missing[0]} of the motion is neither given nor unknown: write --unknown "
            f"length,angle, or --operator blur:{missing[0]}={OF_BLUR[missing[0]].high / 3:.0f}"
        )
    tops = {name: spread[name].high for name in names} | fixed
    reach = REACH * tops["width"] if "width" in tops else tops["radius"] if "radius" in tops else tops["length"] / 2
    size = 2 * max(1, int(-(-reach // 1)) + ("radius" in tops)) + 1

    if size > LARGEST:
        raise ValueError(f"--unknown {','.join(names)}: up to {size} pixels of a kernel, expected {LARGEST}: narrow it")

    def kernel(values: Values) -> Tensor:
        values = values | fixed
        if "width" in values:
            return gaussian_kernel(values["width"], size)
        return disc_kernel(values["radius"], size) if "radius" in values else line_kernel(**values, size=size)

    def changed(stated: Named, values: Values) -> Named:
        return replace(stated, values=stated.values | {"kernel": kernel(values)})

    kept = [f"{key}={value}" for key, value in pairs if key not in fixed]
    middle = {name: spread[name].at(0.5) for name in names}
    stated = named("blur" + ":" * bool(kept) + ",".join(kept), True, {"kernel": kernel(middle)})
    return replace(stated, files={"kernel": f"unknown, of {size} x {size} pixels"}), changed


def _general(operator: str, middle: Values) -> Named:
    """Any operator with values of arguments that are numbers."""
    stated = named(operator, True, middle)
    for name in middle:
        if re.search(rf"[:,]{name}=", operator):
            raise ValueError(f"operator {operator!r} gives {name}, which --unknown {name} infers: omit one of them")
        argument = takes(stated.factory)[name]
        if not isinstance(argument.default, float) and "float" not in inspect.formatannotation(argument.annotation):
            raise ValueError(f"--unknown {name}: it cannot be inferred, as it is not a continuous number")
        if "seed" in takes(stated.factory):
            raise ValueError(f"--unknown {name}: it cannot be inferred, as {operator!r} is drawn at random")
    return stated


def words(name: str, draws: Any, pictures: bool = True) -> str:
    """A posterior in words: median and 90 % interval; draws (D,); pictures: as of `unit`."""
    low, middle, high = (float(draws.double().quantile(q)) for q in (0.05, 0.5, 0.95))
    digits = max(2, min(6, 2 - _magnitude(high - low) + _magnitude(max(abs(low), abs(high)))))
    shown = [f"{value:.{digits}g}" for value in (middle, low, high)]
    more = f" ({255 * middle:.2g} of 255 levels)" if name == "sigma" and pictures else ""
    return f"{shown[0]} {unit(name, pictures)}".rstrip() + f"{more}; 90 % interval {shown[1]} to {shown[2]}"


def _magnitude(value: float) -> int:
    return 0 if value == 0 else int(f"{value:e}".partition("e")[2])

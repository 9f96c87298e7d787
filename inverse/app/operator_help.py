"""Help on an operator for the command line: its constructors, their arguments and defaults, and two examples."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter
from typing import Any, Literal, get_args, get_origin

from rich.table import Table

import operators
from inverse.app.operator_text import GIVEN, SHORT, constructors, spelled, takes
from inverse.app.operator_values import FILES, shown
from priors.terminal import console, printable, say

GREY = "--prior fashion-mnist"
EXAMPLES = {  # two each: a picture that is degraded here, and an existing measurement
    "bayer": ("photo.png --operator bayer", "mosaic.png --measured --operator bayer:pattern=RGGB --sigma 0.02"),
    "blur": (
        "photo.png --operator blur:sigma=1.5",
        "blurred.png --measured --operator blur:length=9,angle=30",
    ),
    "classifier": (
        f"shirt.png --operator classifier {GREY} --resize",
        f"label.npy --measured --operator classifier:name=fashion-mnist-classifier {GREY}",
    ),
    "compressed_sensing": (
        "photo.png --operator compressed_sensing:keep=0.25",
        "y.npy --measured --operator compressed_sensing:keep=0.25,transform=dct,seed=0 --size 3x32x40 --sigma 0.05",
    ),
    "downsampling": (
        "photo.png --operator downsampling:factor=4",
        "small.png --measured --operator downsampling:factor=4 --sigma 0.01",
    ),
    "fan_beam": (
        "slice.png --operator fan_beam:angles=60,source=100 --prior ct",
        "sinogram.npy --measured --operator fan_beam:angles=60,source=100,detector=50,size=32,pixel=1,offset=0,"
        "curved=false --prior ct --sigma 0.5",
    ),
    "fourier": (
        "brain.png --operator fourier.cartesian:acceleration=4 --prior brain-mri --resize",
        "kspace.npy --measured --operator fourier:mask=mask.npy --prior brain-mri --size 64x64 --sigma 0.02",
    ),
    "grayscale": (
        "photo.png --operator grayscale",
        "grey.png --measured --operator grayscale:weights=0.299,0.587,0.114 --sigma 0.01",
    ),
    "identity": ("photo.png --operator identity --sigma 0.1", "noisy.png --measured --operator identity"),
    "jpeg": (
        "photo.png --operator jpeg:quality=20",
        "photo.jpg --measured --operator jpeg:quality=20,subsampling=4:2:0 --sigma 0.02",
    ),
    "linear": (
        f"shirt.png --operator linear:matrix=matrix.npy {GREY} --resize",
        f"y.npy --measured --operator linear:matrix=matrix.npy {GREY} --sigma 0.05",
    ),
    "masking": ("photo.png --operator masking:keep=0.5", "seen.png --measured --operator masking:file=mask.png"),
    "noncartesian": (
        "brain.png --operator noncartesian.radial:spokes=25 --prior brain-mri --resize",
        "kspace.npy --measured --operator noncartesian:trajectory=trajectory.npy --prior brain-mri --size 64x64 "
        "--sigma 0.02",
    ),
    "phase_retrieval": (
        f"shirt.png --operator phase_retrieval {GREY} --resize",
        f"y.npy --measured --operator phase_retrieval:oversampling=2 {GREY} --sigma 0.02",
    ),
    "radon": (
        "slice.png --operator radon:angles=60 --prior ct",
        "sinogram.npy --measured --operator radon:angles=60,size=32,pixel=1 --prior ct --sigma 0.5",
    ),
    "resize": (
        "photo.png --operator resize:factor=4",
        "small.png --measured --operator resize:factor=4,kernel=bicubic --sigma 0.01",
    ),
    "saturation": (
        "photo.png --operator saturation:gain=2",
        "bright.png --measured --operator saturation:gain=2,limit=1 --sigma 0.01",
    ),
    "transmission": (
        "slice.png --operator transmission --prior ct",
        "passed.npy --measured --operator transmission:offset=0 --prior ct --sigma 0.01",
    ),
    "varying_blur": (
        "photo.png --operator varying_blur.rotation:degrees=5",
        "turned.png --measured --operator varying_blur.rotation:degrees=5",
    ),
}


OF_VOLUMES = {
    "along_axis": (
        "stack.tif --operator along_axis:sigma=0.8,every=2 --range 0 4095",
        "stack.tif --operator along_axis:sigma=0.8,every=2 --operator blur:sigma=1,boundary=reflect --range 0 4095",
    ),
    "cone_beam": (
        "projections.npy --operator cone_beam:angles=60,source=128,detector=64,spacing=1.5,pixel=1,offset=0 --prior ct "
        "--size 64x64x64",
        "projections.npy --operator cone_beam.astra:angles=angles.npy,source=128,detector=64,spacing=1.5,pixel=1 "
        "--prior ct --size 64x64x64 --sigma 0.1",
    ),
}


@dataclass(frozen=True)
class Form:
    """One constructor of an operator: its name as written in --operator, its docstring, its (name, default, type)s."""

    head: str
    doc: str
    arguments: list[tuple[str, str, str]]


def show(name: str) -> None:
    """Print an operator's constructors, arguments and examples.

    Raises: ValueError for an unknown operator.
    """
    name = spelled(name)
    for form in forms(name):
        say(form.head, "bold")
        say(form.doc)
        if form.arguments:
            table = Table("argument", "default", "type")
            for row in form.arguments:
                table.add_row(*map(printable, row))
            console.print(table)
        say("")
    for key, stands_for in short(name).items():
        say(f"{key}= is short for {stands_for}=")
    if name in FILES:
        say(f"file= and {FILES[name]}= take a picture or an .npy file")
    if name == "blur":
        say("with --measured, a kernel that is not known is inferred by --unknown width, radius, or length,angle")
    whose = "--size" if name in operators.available(volumes=True) else "the picture"
    say(f"The noise is set by --sigma, the shape by {whose}. With --measured, arguments that describe the")
    say("instrument have no default. Examples:")
    for line in lines(name):
        say(f"  {line}")


def forms(name: str) -> list[Form]:
    """The constructors of an operator, starting with the class itself.

    Raises: ValueError for an unknown operator.
    """
    return [_form(".".join(filter(None, (name, key))), factory) for key, factory in constructors(name).items()]


def short(name: str) -> dict[str, str]:
    """Short keys of --operator and the argument that each one sets, such as sigma -> blur.gaussian:sigma_px."""
    return {key: f"{name}.{constructor}:{long}" for (n, key), (constructor, long) in SHORT.items() if n == name}


def lines(name: str) -> list[str]:
    """Two example commands for an operator; those of a plug-in are made from its required arguments."""
    if name in OF_VOLUMES:
        return [f"inverse volume {line}" for line in OF_VOLUMES[name]]
    if name in EXAMPLES:
        return [f"inverse solve {line}" for line in EXAMPLES[name]]
    needed, stated = [], []
    for key, p in takes(operators.get(name)).items():
        if key not in GIVEN:
            value = key.upper() if p.default is Parameter.empty else shown(p.default)
            needed += [f"{key}={value}"] if p.default is Parameter.empty else []
            stated += [f"{key}={value}"] if p.default is not None else []
    head, whole = (":".join(filter(None, (name, ",".join(pairs)))) for pairs in (needed, stated))
    return [
        f"inverse solve photo.png --operator {head}",
        f"inverse solve y.npy --measured --operator {whole} --size HEIGHTxWIDTH --sigma 0.05",
    ]


def _form(head: str, factory: Callable[..., Any]) -> Form:
    arguments = []
    for key, p in takes(factory).items():
        if key not in GIVEN:
            default = "needed" if p.default is Parameter.empty else "-" if p.default is None else shown(p.default)
            arguments.append((key, default, _kind(factory, p)))
    return Form(head, inspect.getdoc(factory) or "", arguments)


def _kind(factory: Callable[..., Any], parameter: Parameter) -> str:
    """The type of an argument; for a Literal, its values."""
    if parameter.annotation is Parameter.empty:
        return ""
    text = inspect.formatannotation(parameter.annotation).strip("'\"")
    function: Any = factory.__init__ if inspect.isclass(factory) else factory
    named = function.__globals__.get(text)
    return ", ".join(map(str, get_args(named))) if get_origin(named) is Literal else text

"""The registry of operators by name, plug-ins included.

A package offers operators by an entry point, in its pyproject.toml:

    [project.entry-points."inverse.operators"]
    motion = "theirs.operators:MotionBlur"
"""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Callable
from importlib import metadata
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from .base import Operator

GROUP = "inverse.operators"
REGISTRY: dict[str, Callable[..., Any]] = {}  # operators of pictures
VOLUMES: dict[str, Callable[..., Any]] = {}  # operators of volumes (C, D, H, W)
SUGGESTIONS = {  # common names of problems and operators -> the name here
    "inpainting": "masking", "missing": "masking", "mask": "masking", "superresolution": "resize' or 'downsampling",
    "sr": "resize' or 'downsampling", "upscaling": "resize' or 'downsampling", "upsampling": "resize' or 'downsampling",
    "denoising": "identity", "denoise": "identity", "noise": "identity", "colorization": "grayscale",
    "colourization": "grayscale", "colourisation": "grayscale", "color": "grayscale", "gray": "grayscale",
    "grey": "grayscale", "greyscale": "grayscale", "deblurring": "blur", "deblur": "blur", "deconvolution": "blur",
    "convolution": "blur", "motion": "blur", "motionblur": "blur", "gaussian": "blur", "gaussianblur": "blur",
    "defocus": "varying_blur", "demosaicing": "bayer", "demosaicking": "bayer", "mosaic": "bayer", "mri": "fourier",
    "kspace": "fourier", "fft": "fourier", "ct": "radon", "tomography": "radon", "xray": "radon",
    "cone": "cone_beam", "conebeam": "cone_beam", "cbct": "cone_beam", "fdk": "cone_beam", "thick": "along_axis",
    "alongaxis": "along_axis", "fan": "fan_beam", "fanbeam": "fan_beam", "fanflat": "fan_beam",
    "radial": "noncartesian", "spiral": "noncartesian", "nufft": "noncartesian", "nonuniform": "noncartesian",
    "sinogram": "radon", "hdr": "saturation", "clipping": "saturation", "matrix": "linear", "linearmap": "linear",
    "dejpeg": "jpeg", "compression": "jpeg", "phaseretrieval": "phase_retrieval",
    "compressedsensing": "compressed_sensing", "classification": "classifier", "label": "classifier",
}  # fmt: skip
_visited: set[tuple[str, str]] = set()  # entry points loaded or refused: each warns once

Factory = TypeVar("Factory", bound=Callable[..., Any])


def register(name: str, volumes: bool = False) -> Callable[[Factory], Factory]:
    """Decorator: give an operator class, or a function that returns an operator, a name.

    Arguments:
        name: by which `get`, `make` and the command line find it.
        volumes: it measures volumes (C, D, H, W), not pictures; for `inverse volume`.

    Raises:
        ValueError: the name is taken by another operator.
    """

    if not isinstance(name, str) or not name:
        raise TypeError(f"register: name = {name!r:.60}: expected a string; write @register('name') above the class")

    def add(factory: Factory) -> Factory:
        known, other = (VOLUMES, REGISTRY) if volumes else (REGISTRY, VOLUMES)
        if name in other or known.setdefault(name, factory) is not factory:
            taken = (other | known)[name]
            raise ValueError(f"operator name {name!r} is already used by {taken!r}; choose another name")
        return factory

    return add


def available(volumes: bool = False) -> list[str]:
    """The names of all operators of pictures, installed plug-ins included.

    Arguments:
        volumes: those of volumes instead. Operators of pictures serve volumes slice by slice (`operators.Slicewise`).
    """
    _discover()
    return sorted(VOLUMES if volumes else REGISTRY)


def get(name: str) -> Callable[..., Any]:
    """The class or function registered under a name.

    Arguments:
        name: one of `available()` or of `available(volumes=True)`.

    Raises:
        ValueError: no such name; lists the known names and suggests the closest.
    """
    if not isinstance(name, str):
        raise TypeError(f"operator name = {name!r:.60}: expected a string, one of operators.available()")
    _discover()
    if name in VOLUMES:
        return VOLUMES[name]
    if name not in REGISTRY:
        plain = re.sub(r"[\W_]", "", name).lower()
        close = [SUGGESTIONS[plain]] if plain in SUGGESTIONS else difflib.get_close_matches(name.lower(), REGISTRY, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise ValueError(
            f"no operator named {name!r}.{hint} Available: {', '.join(sorted(REGISTRY))}; of volumes: "
            + ", ".join(sorted(VOLUMES))
        )
    return REGISTRY[name]


def make(name: str, **kwargs: Any) -> Operator:
    """An operator by name: `make("blur", kernel=k)` is `Blur(kernel=k)`.

    Arguments:
        name: one of `available()`.
        kwargs: what that operator takes.

    Raises:
        ValueError: no such name; and as the operator itself raises.
    """
    return get(name)(**kwargs)


def _discover() -> None:
    for point in metadata.entry_points(group=GROUP):
        if (point.name, point.value) in _visited:
            continue
        _visited.add((point.name, point.value))
        try:
            factory = point.load()
            if not callable(factory):
                raise TypeError(f"{point.value} is {factory!r:.60}, expected a class or function")
            register(point.name)(factory)
        except Exception as error:  # a broken plug-in must not break this package
            source = point.dist.name if point.dist else "an unknown distribution"
            warnings.warn(
                f"operator {point.name!r} of the installed package {source!r} could not be loaded: "
                f"{type(error).__name__}: {error}. Update or uninstall that package.",
                stacklevel=3,
            )

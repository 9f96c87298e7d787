"""Options shared by the commands of `inverse`, and the options of `inverse solve`. Must import quickly."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

PriorOption = Annotated[
    str,
    typer.Option(
        "--prior",
        help="a shipped prior (see `inverse priors`), a checkpoint folder, or FORMAT:WHERE: score_sde:FILE, "
        "guided-diffusion:FILE, edm:FILE, k-diffusion:FILE, kair:FILE, diffusers:ID_OR_PATH or hf:OWNER/NAME",
    ),
]
ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config", help="what a file does not say: such as cifar10/ve/ncsnpp_continuous, or a JSON file of k-diffusion"
    ),
]
OutOption = Annotated[Path, typer.Option("--out", help="output folder")]
SeedOption = Annotated[int, typer.Option("--seed")]
StepsOption = Annotated[int | None, typer.Option("--steps", help="number of steps; default: that of the method")]
TimeOption = Annotated[
    str | None,
    typer.Option(
        "--budget",
        help="with --method auto: fast, balanced or exact; or, of any method, a time such as 60s, 2min or 1h for the "
        "samples of a picture or slice, which takes fewer steps if need be",
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="device of the prior: cpu, cuda, cuda:1 or mps")]
PrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision",
        help="of the network: float32, bfloat16, or auto: bfloat16 if it is fast on this hardware and loses little",
    ),
]
AntitheticOption = Annotated[
    bool, typer.Option("--antithetic", help="draw samples in pairs of opposite noise, for a better mean of few samples")
]
SigmaOption = Annotated[
    str | None,
    typer.Option(
        help="standard deviation of the noise, or another noise: poisson:PEAK, camera:PEAK,SIGMA, rician:SIGMA, "
        "speckle:LOOKS; default: estimated (auto) with --measured where y is a picture, otherwise .05"
    ),
]
UnknownOption = Annotated[
    list[str] | None,
    typer.Option(
        "--unknown",
        metavar="NAME[=LOW:HIGH]",
        help="with --measured, infer a parameter: sigma, peak or looks of the noise; width, radius, or length and "
        "angle of --operator blur; another number of the operator, with LOW:HIGH. Several: separate by commas",
    ),
]
SomePriorOption = Annotated[
    str | None, typer.Option("--prior", help="as for the other commands; default: chosen by the picture's size")
]
SizeOption = Annotated[
    str | None,
    typer.Option(help="HEIGHTxWIDTH or CHANNELSxHEIGHTxWIDTH of the image, if y does not determine it"),
]
RangeOption = Annotated[
    tuple[float, float] | None,
    typer.Option(
        "--range", metavar="LOW HIGH", help="black and white of NIfTI, FITS, DICOM, TIFF or OME-Zarr, in its units"
    ),
]
WindowOption = Annotated[
    str | None,
    typer.Option(
        help="in place of --range: file, what it states; prior, the units of --prior; or percentiles, .5 and 99.5"
    ),
]


@dataclass(frozen=True)
class ProblemOptions:
    """What `inverse solve` and `inverse batch` both take, by name."""

    operator: str
    sigma: str | None
    prior: str | None
    config: str | None
    samples: int
    method: str
    budget: str | None
    steps: int | None
    antithetic: bool
    seed: int
    size: str | None
    precision: str
    overwrite: bool
    dry: bool


@dataclass(frozen=True)
class SolveOptions(ProblemOptions):
    """Options of `inverse solve`, by name; they apply to each picture of a folder.

    memory is in GB.
    """

    measured: bool
    resize: bool
    tile: int | None
    memory: float
    processes: int
    device: str
    why: bool
    range: tuple[float, float] | None = None
    window: str | None = None
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class VolumeOptions(ProblemOptions):
    """Options of `inverse volume`, by name; operators: one or two texts, in the order in which they are applied."""

    operators: tuple[str, ...]
    coupling: str
    attenuation: float | None
    device: str
    range: tuple[float, float] | None = None
    window: str | None = None


@dataclass(frozen=True)
class BatchOptions(ProblemOptions):
    """Options of `inverse batch`, by name."""

    keep_samples: bool
    quantiles: tuple[float, ...]
    block: int | None
    processes: int
    backend: str
    device: str | None
    retry_failed: bool


@dataclass(frozen=True)
class CalibrateOptions:
    """Options of `inverse calibrate`, by name."""

    operator: str
    prior: str
    config: str | None
    sigma: str
    draws: int
    samples: int
    method: str
    budget: str | None
    steps: int | None
    truths: Path | None
    size: str | None
    resize: bool
    resolution: float | None
    seed: int
    out: Path
    device: str
    precision: str
    processes: int
    overwrite: bool
    dry: bool


@dataclass(frozen=True)
class LearnOptions:
    """Options of `inverse learn`, by name."""

    operator: str
    recipe: str | None
    start: str | None
    rounds: int
    minutes: float | None
    sigma: str | None
    samples: int
    size: str | None
    seed: int
    processes: int
    device: str

"""What the commands of `inverse` share in their signatures, and the options of `inverse solve`. Nothing heavy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

PriorOption = Annotated[
    str,
    typer.Option(
        "--prior",
        help="a shipped name (see `inverse priors`), a checkpoint folder, score_sde:FILE or diffusers:ID_OR_PATH",
    ),
]
ConfigOption = Annotated[
    str | None, typer.Option("--config", help="of a prior score_sde:FILE, such as cifar10/ve/ncsnpp_continuous")
]
OutOption = Annotated[Path, typer.Option("--out", help="folder for what is made")]
SeedOption = Annotated[int, typer.Option("--seed")]
StepsOption = Annotated[int | None, typer.Option("--steps", help="default: the method's")]
DeviceOption = Annotated[str, typer.Option("--device", help="where the prior computes: cpu, cuda, cuda:1 or mps")]
PrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision",
        help="of the network: float32, bfloat16, or auto: bfloat16 where the hardware is fast in it and little is lost",
    ),
]
AntitheticOption = Annotated[
    bool, typer.Option("--antithetic", help="samples in pairs of opposite noise: the mean of few is as good as of many")
]


@dataclass(frozen=True)
class SolveOptions:
    """What `inverse solve` does with every one of its pictures; each field is the option of that name.

    memory is in GB.
    """

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
    measured: bool
    resize: bool
    size: str | None
    tile: int | None
    memory: float
    device: str
    precision: str
    dry: bool
    why: bool
    overwrite: bool

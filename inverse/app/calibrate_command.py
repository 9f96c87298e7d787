"""The command `inverse calibrate`: its options."""

from pathlib import Path
from typing import Annotated

import typer

from inverse.app.options import (
    CalibrateOptions,
    ConfigOption,
    DeviceOption,
    OutOption,
    PrecisionOption,
    PriorOption,
    SeedOption,
    StepsOption,
)


def calibrate(
    operator: Annotated[str, typer.Option(help="as for `inverse solve`, such as masking:keep=0.3 or blur:sigma=1.5")],
    prior: PriorOption = "fashion-mnist",
    config: ConfigOption = None,
    sigma: Annotated[
        str, typer.Option(help="standard deviation of the noise, or another noise, as for `inverse solve`")
    ] = "0.05",
    draws: Annotated[int, typer.Option(help="truths, each with a measurement of its own")] = 100,
    samples: Annotated[int, typer.Option(help="posterior samples of each measurement")] = 20,
    method: str = "auto",
    budget: Annotated[str | None, typer.Option(help="with --method auto: fast, balanced or exact")] = None,
    steps: StepsOption = None,
    truths: Annotated[
        Path | None,
        typer.Option(
            help="pictures in place of draws of the prior: a folder, or an image set (.h5, .npz); tests the prior too"
        ),
    ] = None,
    size: Annotated[str | None, typer.Option(help="HEIGHTxWIDTH, for a prior of any size; default: its own")] = None,
    resize: Annotated[bool, typer.Option(help="resize picture files to the prior's size")] = False,
    resolution: Annotated[
        float | None, typer.Option(help="noise on truths and samples before they are compared; default: the prior's")
    ] = None,
    seed: SeedOption = 0,
    out: OutOption = Path("calibration"),
    device: DeviceOption = "cpu",
    precision: PrecisionOption = "float32",
    processes: Annotated[int, typer.Option(help="on this machine, of one thread each")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace solves of another problem in --out")] = False,
    dry: Annotated[bool, typer.Option(help="print the estimated time, then exit")] = False,
) -> None:
    """Test whether a method's samples are draws of the posterior, for your prior, operator and noise.

    Writes calibration.png, calibration.txt and calibration.h5. If interrupted, the same command resumes from finished
    solves. Exit status 1 if a test fails.
    """
    from inverse.app import calibrating

    calibrating.run(
        CalibrateOptions(
            operator=operator, prior=prior, config=config, sigma=sigma, draws=draws, samples=samples, method=method,
            budget=budget, steps=steps, truths=truths, size=size, resize=resize, resolution=resolution, seed=seed,
            out=out, device=device, precision=precision, processes=processes, overwrite=overwrite, dry=dry,
        )
    )  # fmt: skip

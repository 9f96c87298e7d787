"""`inverse`: the demo, one's own image, and lists of what there is."""

import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from inverse.app.options import (
    AntitheticOption,
    ConfigOption,
    DeviceOption,
    OutOption,
    PrecisionOption,
    PriorOption,
    SeedOption,
    SolveOptions,
    StepsOption,
)
from priors.terminal import explained, say

# a help text needs no torch: what a command does is imported inside it
app = typer.Typer(
    add_completion=False, pretty_exceptions_show_locals=False, rich_markup_mode=None, no_args_is_help=True
)


def _show_version(asked: bool) -> None:
    if asked:
        ours, torch = map(metadata.version, ("score-inverse", "torch"))
        say(f"inverse {ours}, torch {torch}, Python {sys.version.split()[0]}")
        raise typer.Exit


@app.callback(help=__doc__)
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="say the version, and stop")
    ] = False,
) -> None:
    """What all commands share."""


@app.command()
def demo(
    out: OutOption = Path("demo"), images: int = 4, samples: int = 4, seed: SeedOption = 0, device: DeviceOption = "cpu"
) -> None:
    """Solve every task of the demo on pictures beside the shipped priors; pictures, solutions and a table."""
    from inverse.app import demo
    from inverse.app.tables import print_table

    with explained():
        rows = demo.run(out, images, samples, seed, device=device)
    print_table("demo", rows)
    say(f"pictures and solutions are in {out}; all tasks on one sheet: {out / 'contact.png'}")


@app.command()
def solve(
    image: Annotated[
        Path,
        typer.Argument(
            help="a PNG, JPEG or TIFF, or a folder of such; with --measured, measurements: the same or .npy (1, *M)"
        ),
    ],
    operator: Annotated[
        str,
        typer.Option(
            help="name:key=value,... or name.constructor:key=value,... such as masking:keep=0.3, blur:sigma=1.5, "
            "blur:length=15,angle=30, blur:file=kernel.npy or masking:file=mask.png; see `inverse operators NAME`"
        ),
    ],
    sigma: Annotated[
        str | None,
        typer.Option(help="standard deviation of the noise; default: of a measurement auto, its estimate, else .05"),
    ] = None,
    prior: Annotated[
        str | None, typer.Option("--prior", help="as of the other commands; default: by the picture's size")
    ] = None,
    config: ConfigOption = None,
    samples: int = 4,
    method: str = "auto",
    budget: Annotated[str | None, typer.Option(help="of method auto: fast, balanced or exact")] = None,
    steps: StepsOption = None,
    antithetic: AntitheticOption = False,
    seed: SeedOption = 0,
    out: OutOption = Path("solution"),
    measured: Annotated[bool, typer.Option(help="the file is the measurement itself, not an image to measure")] = False,
    resize: Annotated[bool, typer.Option(help="resize the image to the prior's size")] = False,
    size: Annotated[
        str | None,
        typer.Option(help="HEIGHTxWIDTH or CHANNELSxHEIGHTxWIDTH of the picture, where a measurement does not tell it"),
    ] = None,
    tile: Annotated[
        int | None, typer.Option(help="pixels of tiles, for less memory; default: none where --memory is enough")
    ] = None,
    memory: Annotated[float, typer.Option(help="GB that one gradient of the prior may take untiled")] = 2.0,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = "auto",
    dry: Annotated[bool, typer.Option(help="say what would be done and how long it would take, and stop")] = False,
    why: Annotated[bool, typer.Option("--why", help="the measurements behind the method that auto takes")] = False,
    overwrite: Annotated[bool, typer.Option(help="replace samples of another problem in the folder")] = False,
) -> None:
    """Samples of the posterior for your own image: measured by the operator here, or measured already.

    Says first what it will do and how long it will take. Killed, it goes on with the same command from the samples that
    were finished.
    """
    from inverse.app import solving

    solving.solve(
        image,
        out,
        SolveOptions(
            operator=operator, sigma=sigma, prior=prior, config=config, samples=samples, method=method, budget=budget,
            steps=steps, antithetic=antithetic, seed=seed, measured=measured, resize=resize, size=size, tile=tile,
            memory=memory, device=device, precision=precision, dry=dry, why=why, overwrite=overwrite,
        ),
    )  # fmt: skip


@app.command()
def sample(
    prior: PriorOption = "fashion-mnist",
    config: ConfigOption = None,
    n: Annotated[int, typer.Option("--n", help="how many")] = 16,
    method: str = "pc",
    steps: StepsOption = None,
    seed: SeedOption = 0,
    out: OutOption = Path("samples"),
    device: DeviceOption = "cpu",
) -> None:
    """Unconditional samples of a prior, as a picture and as HDF5."""
    from inverse.app import unconditional

    with explained():
        unconditional.sample(prior, config, n, method, steps, seed, out, device)
    say(f"{n} samples in {out}")


@app.command()
def likelihood(
    files: Annotated[list[Path], typer.Argument(help="PNG or JPEG files, or image sets (.h5, .npz)")],
    prior: PriorOption = "fashion-mnist",
    config: ConfigOption = None,
    images: Annotated[int | None, typer.Option(help="only so many, the first ones; default: all")] = None,
    split: Annotated[str | None, typer.Option(help="of an image set: reads SPLIT_images, not images")] = None,
    seed: SeedOption = 0,
    resize: Annotated[bool, typer.Option(help="resize image files to the prior's size")] = False,
    device: DeviceOption = "cpu",
) -> None:
    """Bits per dimension that the prior spends on images of 8 bits, by its probability flow."""
    from inverse.app import unconditional

    unconditional.likelihood(files, prior, config, images, split, seed, resize, device)


@app.command("priors")
def list_priors() -> None:
    """The shipped priors."""
    from inverse.app import listings

    listings.list_priors()


@app.command("operators")
def list_operators(
    name: Annotated[str | None, typer.Argument(help="what this one takes, its constructors, two examples")] = None,
) -> None:
    """The operators, plug-ins included."""
    from inverse.app import listings

    listings.list_operators(name)


@app.command("methods")
def list_methods() -> None:
    """The methods, what they need of an operator, and their papers."""
    from inverse.app import listings

    listings.list_methods()


@app.command()
@explained()
def scan(
    file: Annotated[
        Path,
        typer.Argument(help="HDF5 as of fastMRI: kspace (slices, H, W) or (slices, coils, H, W); mask, sensitivity"),
    ],
    prior: Annotated[str, typer.Option(help="a shipped name or a checkpoint folder")] = "brain-mri",
    out: Annotated[Path, typer.Option(help="folder for what is made")] = Path("reconstruction"),
    slices: Annotated[str | None, typer.Option(help="such as 0,3,5-9; default: all")] = None,
    rows: Annotated[
        int | None, typer.Option(help="middle rows to keep, of an oversampled readout; default: all")
    ] = None,
    accelerate: Annotated[
        float | None, typer.Option(help="of a whole scan: leave out columns of k-space, 4 keeps a quarter of them")
    ] = None,
    calibration: Annotated[
        float | None,
        typer.Option(help="with --accelerate: share of all columns kept in the middle; default .08, at least 5"),
    ] = None,
    pattern: Annotated[str, typer.Option(help="with --accelerate: variable, equispaced or uniform")] = "variable",
    samples: Annotated[int, typer.Option(min=1, help="of the posterior, of every slice")] = 8,
    method: Annotated[str, typer.Option(help="see `inverse methods`")] = "auto",
    budget: Annotated[str | None, typer.Option(help="of method auto: fast, balanced or exact")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="default: the method's")] = None,
    antithetic: AntitheticOption = False,
    sigma: Annotated[
        str, typer.Option(help="noise in the file's units, or auto: from the border of k-space and what samples leave")
    ] = "auto",
    seed: Annotated[int, typer.Option(help="of the random numbers; every slice has its own, by its number")] = 0,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = "auto",
    dry: Annotated[bool, typer.Option(help="say what would be done and how long it would take, and stop")] = False,
) -> None:
    """Posterior samples of an MRI scan. What is done already is skipped, so that a killed run goes on, and a run with
    more --samples adds to those that the folder holds."""
    from inverse.app import scan

    scan.scan(
        file, prior, out, slices, rows, accelerate, calibration, pattern, samples, method, budget, steps, antithetic,
        sigma, seed, device, precision, dry,
    )  # fmt: skip


if __name__ == "__main__":
    app()

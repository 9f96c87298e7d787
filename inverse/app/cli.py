"""The command `inverse`."""

import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from inverse.app.batch_command import batch
from inverse.app.calibrate_command import calibrate
from inverse.app.early import present
from inverse.app.learn_command import learn
from inverse.app.options import (
    AntitheticOption,
    ConfigOption,
    DeviceOption,
    OutOption,
    PrecisionOption,
    PriorOption,
    RangeOption,
    SeedOption,
    SigmaOption,
    SizeOption,
    SolveOptions,
    SomePriorOption,
    StepsOption,
    TimeOption,
    UnknownOption,
    WindowOption,
)
from inverse.app.volume_command import volume
from priors.terminal import explained, say

# `--help` must not import torch: each command imports its implementation
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
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="print the version and exit")
    ] = False,
) -> None:
    """Options of all commands."""


@app.command()
def demo(
    out: OutOption = Path("demo"), images: int = 4, samples: int = 4, seed: SeedOption = 0, device: DeviceOption = "cpu"
) -> None:
    """Solve the demo tasks on test images of the shipped priors; write pictures, solutions and a table."""
    from inverse.app import demo
    from inverse.app.tables import print_table

    with explained():
        rows = demo.run(out, images, samples, seed, device=device)
    print_table("demo", rows)
    say(f"pictures and solutions are in {out}; all tasks in one picture: {out / 'contact.png'}")


@app.command()
def solve(
    image: Annotated[
        Path,
        typer.Argument(
            help="a PNG, JPEG or TIFF, or a folder of them; a stack: TIFF, .npy or HDF5 (N, H, W) or (N, H, W, 3); "
            "NIfTI, FITS, OME-Zarr, DICOM (a file, or the folder of a series); with --measured, measurements: the same "
            "or .npy (N, *M)"
        ),
    ],
    operator: Annotated[
        str,
        typer.Option(
            help="name:key=value,... or name.constructor:key=value,... such as masking:keep=0.3, blur:sigma=1.5, "
            "blur:length=15,angle=30, blur:file=kernel.npy or masking:file=mask.png; see `inverse operators NAME`"
        ),
    ],
    sigma: SigmaOption = None,
    unknown: UnknownOption = None,
    prior: SomePriorOption = None,
    config: ConfigOption = None,
    samples: int = 4,
    method: str = "auto",
    budget: TimeOption = None,
    steps: StepsOption = None,
    antithetic: AntitheticOption = False,
    seed: SeedOption = 0,
    out: OutOption = Path("solution"),
    measured: Annotated[bool, typer.Option(help="the file is the measurement y, not an image to degrade")] = False,
    resize: Annotated[bool, typer.Option(help="resize the image to the prior's size")] = False,
    size: SizeOption = None,
    tile: Annotated[
        int | None, typer.Option(help="tile size in pixels, to save memory; default: no tiles if --memory is enough")
    ] = None,
    memory: Annotated[float, typer.Option(help="GB available for one gradient of the prior without tiles")] = 2.0,
    processes: Annotated[int, typer.Option(help="that evaluate tiles, of one thread each")] = 1,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = "auto",
    dry: Annotated[bool, typer.Option(help="print the plan and its estimated time, then exit")] = False,
    why: Annotated[bool, typer.Option("--why", help="print the evidence behind the choice of --method auto")] = False,
    overwrite: Annotated[bool, typer.Option(help="replace samples of another problem in the output folder")] = False,
    range_: RangeOption = None,
    window: WindowOption = None,
) -> None:
    """Draw posterior samples for your image: degraded by the operator here, or measured already (--measured).

    Prints the plan and its estimated time first. If interrupted, the same command resumes from the finished samples.
    """
    with explained():
        present(image, "measurement" if measured and image.suffix.lower() == ".npy" else "image")
    from inverse.app import solving

    solving.solve(
        image,
        out,
        SolveOptions(
            operator=operator, sigma=sigma, prior=prior, config=config, samples=samples, method=method, budget=budget,
            steps=steps, antithetic=antithetic, seed=seed, measured=measured, resize=resize, size=size, tile=tile,
            memory=memory, processes=processes, device=device, precision=precision, dry=dry, why=why,
            overwrite=overwrite, range=range_, window=window, unknown=tuple(unknown or ()),
        ),
    )  # fmt: skip


app.command()(batch)
app.command()(calibrate)
app.command()(learn)
app.command()(volume)


@app.command()
def sample(
    prior: PriorOption = "fashion-mnist",
    config: ConfigOption = None,
    n: Annotated[int, typer.Option("--n", help="number of samples")] = 16,
    method: str = "pc",
    steps: StepsOption = None,
    seed: SeedOption = 0,
    out: OutOption = Path("samples"),
    device: DeviceOption = "cpu",
) -> None:
    """Draw unconditional samples of a prior; write a picture and an HDF5 file."""
    from inverse.app import unconditional

    with explained():
        unconditional.sample(prior, config, n, method, steps, seed, out, device)
    say(f"{n} samples in {out}")


@app.command()
def likelihood(
    files: Annotated[list[Path], typer.Argument(help="PNG or JPEG files, or image sets (.h5, .npz)")],
    prior: PriorOption = "fashion-mnist",
    config: ConfigOption = None,
    images: Annotated[int | None, typer.Option(help="use only the first so many images; default: all")] = None,
    split: Annotated[str | None, typer.Option(help="of an image set: read SPLIT_images instead of images")] = None,
    seed: SeedOption = 0,
    resize: Annotated[bool, typer.Option(help="resize image files to the prior's size")] = False,
    device: DeviceOption = "cpu",
) -> None:
    """Bits per dimension of 8-bit images under a prior, by its probability flow ODE."""
    with explained():
        for file in files:
            present(file, "image set" if file.suffix in (".h5", ".hdf5", ".npz") else "image")
    from inverse.app import unconditional

    unconditional.likelihood(files, prior, config, images, split, seed, resize, device)


@app.command("priors")
def list_priors() -> None:
    """List the shipped priors."""
    from inverse.app import listings

    listings.list_priors()


@app.command("operators")
def list_operators(
    name: Annotated[str | None, typer.Argument(help="show the constructors and two examples of this operator")] = None,
) -> None:
    """List the operators, including plug-ins."""
    from inverse.app import listings

    listings.list_operators(name)


@app.command("methods")
def list_methods() -> None:
    """List the methods, the operators that they require, and their papers."""
    from inverse.app import listings

    listings.list_methods()


@app.command()
@explained()
def scan(
    file: Annotated[
        Path,
        typer.Argument(
            help="HDF5 as of fastMRI: kspace (slices, H, W) or (slices, coils, H, W); mask, sensitivity; or ISMRMRD"
        ),
    ],
    prior: Annotated[str, typer.Option(help="a shipped name or a checkpoint folder; auto: brain-mri or -224")] = "auto",
    out: Annotated[Path, typer.Option(help="output folder")] = Path("reconstruction"),
    slices: Annotated[str | None, typer.Option(help="slices to solve, such as 0,3,5-9; default: all")] = None,
    rows: Annotated[
        int | None, typer.Option(help="middle rows to keep if the readout is oversampled; default: all")
    ] = None,
    accelerate: Annotated[
        float | None, typer.Option(help="undersample a fully sampled scan: 4 keeps a quarter of the k-space columns")
    ] = None,
    calibration: Annotated[
        float | None,
        typer.Option(help="with --accelerate: fraction of columns kept in the middle; default .08, at least 5 columns"),
    ] = None,
    pattern: Annotated[str, typer.Option(help="with --accelerate: variable, equispaced or uniform")] = "variable",
    samples: Annotated[int, typer.Option(min=1, help="posterior samples per slice")] = 8,
    method: Annotated[str, typer.Option(help="see `inverse methods`")] = "auto",
    budget: TimeOption = None,
    steps: Annotated[int | None, typer.Option(min=1, help="number of steps; default: that of the method")] = None,
    antithetic: AntitheticOption = False,
    sigma: Annotated[
        str, typer.Option(help="noise level in the file's units, or auto: estimated from k-space and from residuals")
    ] = "auto",
    seed: Annotated[int, typer.Option(help="random seed; every slice has its own stream")] = 0,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = "auto",
    dry: Annotated[bool, typer.Option(help="print the plan and its estimated time, then exit")] = False,
) -> None:
    """Reconstruct an MRI scan: posterior samples of every slice, with a page of each. Finished slices are skipped, so
    that an interrupted run can be resumed; a larger --samples adds samples to the folder."""
    present(file, "scan")
    from inverse.app import scan

    scan.scan(
        file, prior, out, slices, rows, accelerate, calibration, pattern, samples, method, budget, steps, antithetic,
        sigma, seed, device, precision, dry,
    )  # fmt: skip


if __name__ == "__main__":
    app()

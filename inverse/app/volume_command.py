"""The command `inverse volume`: its options."""

from pathlib import Path
from typing import Annotated

import typer

from inverse.app.early import present
from inverse.app.options import (
    AntitheticOption,
    ConfigOption,
    DeviceOption,
    OutOption,
    PrecisionOption,
    SeedOption,
    StepsOption,
    TimeOption,
    VolumeOptions,
)
from priors.terminal import explained


def volume(
    file: Annotated[
        Path,
        typer.Argument(
            help="projections (views, rows, columns) or measured slices (N, H, W): .npy, HDF5 (the dataset y), a TIFF "
            "of several pages, NIfTI, DICOM, OME-Zarr"
        ),
    ],
    operator: Annotated[
        list[str],
        typer.Option(
            help="cone_beam:..., or along_axis:sigma=0.8,every=2 (thick slices with gaps), or an operator of pictures "
            "for every slice; the last two also together, in this order; see `inverse operators cone_beam`"
        ),
    ],
    sigma: Annotated[
        str | None,
        typer.Option(
            help="standard deviation of the noise, in units of y, or another noise; default: estimated (auto)"
        ),
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option("--prior", help="of grey slices, as for `inverse solve`; default: ct for cone_beam, natural-grey"),
    ] = None,
    config: ConfigOption = None,
    size: Annotated[
        str | None, typer.Option(help="DEPTHxHEIGHTxWIDTH of the volume in voxels, if y does not determine it")
    ] = None,
    coupling: Annotated[
        str,
        typer.Option(
            help="root mean square difference of neighbouring slices, in image units; auto: estimated from a "
            "reconstruction without the prior; none: independent slices"
        ),
    ] = "auto",
    attenuation: Annotated[
        float | None,
        typer.Option(
            metavar="MM", help="y of cone_beam are -log(I / I0), and a voxel has this side in mm; omit pixel="
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="posterior samples")] = 2,
    method: str = "auto",
    budget: TimeOption = None,
    steps: StepsOption = None,
    antithetic: AntitheticOption = False,
    seed: SeedOption = 0,
    out: OutOption = Path("volume"),
    device: DeviceOption = "cpu",
    precision: PrecisionOption = "auto",
    dry: Annotated[bool, typer.Option(help="print the plan and its estimated time, then exit")] = False,
    overwrite: Annotated[bool, typer.Option(help="replace samples of another problem in the output folder")] = False,
    range_: Annotated[
        tuple[float, float] | None,
        typer.Option("--range", metavar="LOW HIGH", help="black and white of measured slices, in the file's units"),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(help="in place of --range: file, what it states; prior, the units of --prior; or percentiles"),
    ] = None,
) -> None:
    """Draw posterior samples of a volume from its measurement: cone-beam projections, or a stack of slices.

    Prints the plan and its estimated time first. If interrupted, the same command resumes from the finished samples; a
    larger --samples adds to them.
    """
    with explained():
        present(file, "measurement")
    from inverse.app.volumes import solving

    solving.solve(
        file,
        out,
        VolumeOptions(
            operator=" ".join(operator), operators=tuple(operator), sigma=sigma, prior=prior, config=config,
            samples=samples, method=method, budget=budget, steps=steps, antithetic=antithetic, seed=seed, size=size,
            precision=precision, overwrite=overwrite, dry=dry, coupling=coupling, attenuation=attenuation,
            device=device, range=range_, window=window,
        ),
    )  # fmt: skip

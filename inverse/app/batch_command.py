"""The command `inverse batch`: its options."""

from pathlib import Path
from typing import Annotated

import typer

from inverse.app.early import present
from inverse.app.options import (
    AntitheticOption,
    BatchOptions,
    ConfigOption,
    PrecisionOption,
    SeedOption,
    SizeOption,
    SomePriorOption,
    StepsOption,
)
from priors.terminal import explained


def batch(
    measurements: Annotated[
        Path,
        typer.Argument(
            help="HDF5 or Zarr with y (n, *M), and with n entries each what differs between measurements: sigma, or "
            "arguments of the operator such as mask; or .npy (n, *M)"
        ),
    ],
    operator: Annotated[str, typer.Option(help="as for `inverse solve --measured`; without what the file has")],
    out: Annotated[
        Path,
        typer.Option("--out", help="results, .h5 or .zarr; without an ending the format of y; parts are beside it"),
    ],
    prior: SomePriorOption = None,
    config: ConfigOption = None,
    sigma: Annotated[
        str | None,
        typer.Option(help="standard deviation of the noise, or auto; default: the file's, or estimated from each y"),
    ] = None,
    samples: Annotated[int, typer.Option(help="posterior samples of each measurement")] = 8,
    method: str = "auto",
    budget: Annotated[str | None, typer.Option(help="with --method auto: fast, balanced or exact")] = None,
    steps: StepsOption = None,
    antithetic: AntitheticOption = False,
    seed: SeedOption = 0,
    size: SizeOption = None,
    precision: PrecisionOption = "float32",
    keep_samples: Annotated[
        bool, typer.Option("--keep-samples", help="store all samples, not only statistics")
    ] = False,
    quantiles: Annotated[str, typer.Option(help="probabilities, separated by commas")] = "0.05,0.5,0.95",
    block: Annotated[int | None, typer.Option(help="measurements in a unit of work; default: a batch of solve")] = None,
    processes: Annotated[int, typer.Option(help="on this machine, of one thread each; or start by torchrun")] = 1,
    backend: Annotated[str, typer.Option(help="processes, or ray")] = "processes",
    device: Annotated[str | None, typer.Option("--device", help="cpu, mps, or cuda: a GPU for each process")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="compute failed units again")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace results of another problem")] = False,
    dry: Annotated[bool, typer.Option(help="print the estimated time, then exit")] = False,
) -> None:
    """Mean, standard deviation and quantiles of the posteriors of many measurements, by any number of processes.

    If interrupted or killed, the same command computes what is missing.
    """
    with explained():
        present(measurements, "measurement file")
    from inverse.app import batching

    batching.batch(
        measurements,
        out,
        BatchOptions(
            operator=operator, sigma=sigma, prior=prior, config=config, samples=samples, method=method, budget=budget,
            steps=steps, antithetic=antithetic, seed=seed, size=size, precision=precision, keep_samples=keep_samples,
            quantiles=batching.levels(quantiles), block=block, processes=processes, backend=backend, device=device,
            retry_failed=retry_failed, overwrite=overwrite, dry=dry,
        ),
    )  # fmt: skip

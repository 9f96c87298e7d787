"""The command `inverse learn`: its options."""

from pathlib import Path
from typing import Annotated

import typer

from inverse.app.early import present
from inverse.app.options import LearnOptions, SeedOption, SizeOption
from priors.terminal import explained


def learn(
    measurements: Annotated[
        Path, typer.Argument(help="HDF5 with y (n, *M) and what differs between measurements, as for `inverse batch`")
    ],
    operator: Annotated[str, typer.Option(help="as for `inverse solve --measured`; without what the file has")],
    out: Annotated[Path, typer.Option("--out", help="folder: samples and a prior of each round")],
    recipe: Annotated[
        str | None,
        typer.Option(help="a training recipe, a TOML file or a name in priors/configs; default: a local network"),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="the first prior, such as one of similar pictures; default: a Gaussian of up to 1,600 values"
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="of samples for every measurement and a training on them")] = 4,
    minutes: Annotated[
        float | None, typer.Option(help="of the training of each round; default: the recipe's, or 10")
    ] = None,
    sigma: Annotated[
        str | None,
        typer.Option(help="standard deviation of the noise, or auto; default: the file's, or estimated from each y"),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="posterior samples of each measurement in a round")] = 1,
    size: SizeOption = None,
    seed: SeedOption = 0,
    processes: Annotated[int, typer.Option(help="of the solves, of one thread each")] = 1,
    device: Annotated[str, typer.Option("--device", help="of the training: cpu, cuda or mps")] = "cpu",
) -> None:
    """Learn a prior from measurements alone, by expectation maximisation; pictures have values in [0, 1].

    If interrupted, the same command continues; more --rounds add to the folder.
    """
    with explained():
        present(measurements, "measurement file")
    from inverse.app import learn_file

    learn_file.learn(
        measurements,
        out,
        LearnOptions(
            operator=operator, recipe=recipe, start=start, rounds=rounds, minutes=minutes, sigma=sigma, samples=samples,
            size=size, seed=seed, processes=processes, device=device,
        ),
    )  # fmt: skip

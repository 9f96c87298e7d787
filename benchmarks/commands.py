"""The commands `inverse-bench measure`, `report`, `compare` and `moments`; their work is imported when they run."""

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common.defaults import CONFIGS, SHOWN, TOLERANCE


def measure(
    config: Annotated[Path, typer.Argument(help="the benchmark's TOML; default: what is shipped")] = CONFIGS
    / "shipped.toml",
    out: Annotated[Path, typer.Option(help="folder of the measurement sets, one HDF5 file per problem")] = Path(
        "measured"
    ),
    problem: Annotated[list[str] | None, typer.Option("--problem", help="only this; repeat for several")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="images in place of the TOML's: a set, packed pictures or a folder")
    ] = None,
) -> None:
    """Write the measurements of a benchmark for reuse: truths, y, operator, noise, checksums."""
    from benchmarks.suite import cli

    cli.measure(config, out, problem, data)


def report(
    records: Annotated[Path, typer.Argument(help="folder of records, made by `inverse-bench run suite`")],
    out: Annotated[Path, typer.Option(help="the page: one HTML file that needs no network")] = Path("report.html"),
    markdown: Annotated[Path | None, typer.Option(help="the same tables, for a repository")] = None,
    csv: Annotated[Path | None, typer.Option(help="every value: problem, method, seed, image, metric, value")] = None,
    heading: Annotated[str, typer.Option("--title", help="of the page")] = "",
    baseline: Annotated[str, typer.Option(help="method that differences are to; default: each column's best")] = "",
    pictures: Annotated[int, typer.Option(min=0, help="images per gallery at most")] = SHOWN,
) -> None:
    """Report of a benchmark's records: tables, plots and galleries."""
    from benchmarks.suite import report_cli

    report_cli.report(records, out, markdown, csv, heading, baseline, pictures)


def compare(
    first: Annotated[Path, typer.Argument(help="folder of records, the older ones")],
    second: Annotated[Path, typer.Argument(help="folder of records, the newer ones")],
    tolerance: Annotated[
        list[str] | None,
        typer.Option(
            help=f"a worsening up to this fraction of the old value is not a regression (default {TOLERANCE}); or "
            "METRIC=VALUE, in the metric's own units; repeat for several"
        ),
    ] = None,
    costs: Annotated[
        float | None, typer.Option(help="growth of seconds, NFE or VJP by more than this fraction is a regression too")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="also what stayed the same or within chance")] = False,
) -> None:
    """What changed between two folders of records; exit 1 on a significant regression, 2 on bad input."""
    from benchmarks.suite import report_cli

    report_cli.compare(first, second, tolerance, costs, everything)


def moments(data: Annotated[Path, typer.Option(help="the training images, HDF5 or npz")], split: str = "train") -> None:
    """Fit the Gaussian prior that linear MMSE takes: mean and covariance of the training images."""
    from benchmarks.common import baselines

    baselines.moments(data, split)

"""Shared by the benchmark commands: options and the final table."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markdown import Markdown

from benchmarks.common.provenance import provenance, write_table
from priors.terminal import console, say

SMALL_PRIORS = Path(__file__).parents[1] / "priors"  # as priors/configs/fashion-mnist-small, under several SDEs
WHOLE = "is not installed with the package: clone the repository, and run the command from there"
Out = Annotated[Path, typer.Option(help="folder of the tables")]
Seed = Annotated[int, typer.Option(help="of measurements and samples")]


def small_priors(*names: str) -> dict[str, Path]:
    """Name -> folder of priors that only the repository has.

    Raises: FileNotFoundError where the package was installed without them.
    """
    for name in names:
        if not (SMALL_PRIORS / name).is_dir():
            raise FileNotFoundError(f"prior {name!r} of the experiments {WHOLE}, or name other folders by --prior")
    return {name: SMALL_PRIORS / name for name in names}


def finish(name: str, title: str, table: list[dict[str, str]], notes: str, out: Path, **settings) -> None:
    path = write_table(name, title, table, provenance(**settings), notes, out)
    console.print(Markdown(path.read_text()))
    say(f"written to {path}")

"""`inverse-pack`: image files, or npz archives of encoded images or of values, as one HDF5 file to train on."""

from pathlib import Path
from typing import Annotated

import typer

from priors.terminal import explained

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False, rich_markup_mode=None)


@app.command()
@explained()
def pack(
    sources: Annotated[list[Path], typer.Argument(help="folders of picture files, or npz archives")],
    out: Annotated[Path, typer.Option(help="the HDF5 file to write")],
    split: Annotated[
        list[int] | None, typer.Option(help="for archives with 'split': the parts to pack; repeat for several")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="pack only these names, or those in a text file")] = None,
    leave_out: Annotated[list[str] | None, typer.Option(help="skip these names, or those in a text file")] = None,
    name: Annotated[str, typer.Option(help="prefix of the group in the file, such as train")] = "",
    add: Annotated[bool, typer.Option(help="add a group to an existing file, such as test to train")] = False,
    grey: Annotated[bool, typer.Option(help="one channel: average colours; grey pictures are unchanged")] = False,
    units: Annotated[
        tuple[str, float, float] | None,
        typer.Option(help="NAME ZERO ONE, such as HU -1024 3071: unit of the archives, and its values at 0 and 1"),
    ] = None,
    source: Annotated[str, typer.Option(help="origin of the pictures, stored in the file")] = "",
) -> None:
    """Pack the colour pictures of the sources, in their order; those with transparency, and grey ones unless --grey,
    are left out. With --units, the one-channel pictures of archives of physical values, in 16 bits."""
    from priors import archives
    from priors.units import Units

    archives.pack(sources, out, split, only, leave_out, name, add, grey, Units(*units) if units else None, source)


if __name__ == "__main__":
    app()

"""`inverse-train`: from an image set to a checkpoint folder."""

from pathlib import Path
from typing import Annotated

import typer

from priors.terminal import explained

UNFINISHED = 75  # exit status: EX_TEMPFAIL of sysexits.h, "try again later"
app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False, rich_markup_mode=None)


@app.command()
@explained()
def train(
    config: Annotated[str, typer.Argument(help="a recipe: a TOML file, or the name of one in priors/configs")],
    data: Annotated[
        Path,
        typer.Option(
            help="pictures written by inverse-pack: of one size, or of any sizes if the recipe has [crops]; or "
            "an image set, HDF5 or npz with images (n, C, H, W) uint8 or uint16 and labels (n,)"
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="output folder for the checkpoint, the training state, the log and samples")
    ],
    split: Annotated[
        str | None, typer.Option(help="prefix of the names in the file; default: train if it exists, else all")
    ] = None,
    test_split: Annotated[
        str | None, typer.Option(help="prefix of the test images, whose loss is written to the card")
    ] = None,
    init: Annotated[
        str | None, typer.Option(help="initialise from this checkpoint: a name or a folder, with the same network")
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="learn from this trained denoiser too, as priors.load names it: kair:ffdnet_color.pth; settings in "
            "the recipe's [teacher]"
        ),
    ] = None,
    resume: Annotated[bool, typer.Option(help="resume from the training state in the output folder")] = False,
    minutes: Annotated[float | None, typer.Option(help="overrides the recipe")] = None,
    steps: Annotated[int | None, typer.Option(help="overrides the recipe")] = None,
    seed: Annotated[int | None, typer.Option(help="overrides the recipe")] = None,
    call_minutes: Annotated[
        float | None,
        typer.Option(
            help="end this call after so many minutes, with exit status 75 unless the training is finished; the same "
            "command continues it"
        ),
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="override an entry of the recipe, such as network.channels=48")
    ] = None,
    device: Annotated[str | None, typer.Option(help="default: the accelerator, if available")] = None,
) -> None:
    """Train a prior or a noise-conditional classifier; several processes: torchrun --nproc-per-node N -m priors.cli."""
    from priors import runs

    overrides = {k: v for k, v in {"minutes": minutes, "steps": steps, "seed": seed}.items() if v is not None}
    given = (config, data, out, split, test_split, init, resume, overrides, change or [], device)
    if not runs.train(*given, call_minutes, teacher):
        raise typer.Exit(UNFINISHED)


if __name__ == "__main__":
    app()

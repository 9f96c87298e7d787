"""`inverse-train`: from an image set to a checkpoint folder."""

from pathlib import Path
from typing import Annotated

import typer

from priors.terminal import explained

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False, rich_markup_mode=None)


@app.command()
@explained()
def train(
    config: Annotated[str, typer.Argument(help="a recipe: a TOML file, or the name of one in priors/configs")],
    data: Annotated[
        Path,
        typer.Option(
            help="pictures as inverse-pack writes them: of one size, or of any sizes for a recipe with [crops]; or "
            "an image set, HDF5 or npz with images (n, C, H, W) uint8 or uint16 and labels (n,)"
        ),
    ],
    out: Annotated[Path, typer.Option(help="folder of the checkpoint, the state, the log and the sample sheet")],
    split: Annotated[
        str | None, typer.Option(help="prefix of the names in the file; default: train, or all where there is none")
    ] = None,
    test_split: Annotated[
        str | None, typer.Option(help="prefix of the test images: their loss is written to the card")
    ] = None,
    init: Annotated[
        str | None, typer.Option(help="initialise from this checkpoint: a name or a folder, same network")
    ] = None,
    resume: Annotated[bool, typer.Option(help="resume from the state in the folder")] = False,
    minutes: Annotated[float | None, typer.Option(help="instead of the config's")] = None,
    steps: Annotated[int | None, typer.Option(help="instead of the config's")] = None,
    seed: Annotated[int | None, typer.Option(help="instead of the config's")] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="another entry of the config, such as network.channels=48")
    ] = None,
    device: Annotated[str | None, typer.Option(help="default: the accelerator if there is one")] = None,
) -> None:
    """Train a prior or a noise-conditional classifier; several processes: torchrun --nproc-per-node N -m priors.cli."""
    from priors import runs

    overrides = {k: v for k, v in {"minutes": minutes, "steps": steps, "seed": seed}.items() if v is not None}
    runs.train(config, data, out, split, test_split, init, resume, overrides, change or [], device)


if __name__ == "__main__":
    app()

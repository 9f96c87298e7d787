"""Galleries: one row per image, one column per quantity."""

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from priors.files import atomic


class NotDrawn(UserWarning):
    """A picture of a result could not be drawn; the result itself is saved."""


@contextmanager
def drawing(what: str | Path) -> Generator[None]:
    """A block that draws a result saved before: its errors become a warning (`NotDrawn`).

    Arguments: what: description of the picture, for the message.
    """
    try:
        yield
    except Exception as error:
        text = f"{what} could not be drawn ({type(error).__name__}: {error}); the results themselves are saved"
        warnings.warn(text, NotDrawn, stacklevel=3)


@dataclass(frozen=True)
class Column:
    """One column of a gallery.

    Arguments: heading; cells: images (B, C, H, W) in image units, or B strings; two channels are drawn as the magnitude
    of a complex picture; spread: draw as a standard deviation, black for 0, scaled to the maximum of the column.
    """

    heading: str
    cells: Tensor | list[str]
    spread: bool = False


def gallery(path: str | Path, sections: dict[str, list[Column]]) -> None:
    """Draw sections of columns below each other into a PNG file (atomically).

    Arguments: path; sections: title -> columns, all with the same number of cells.
    Raises: ValueError if there are no sections.
    """
    from matplotlib.figure import Figure

    if not sections:
        raise ValueError("no sections to draw: expected at least one task with its columns")
    rows = {title: len(columns[0].cells) for title, columns in sections.items()}
    width = max(len(columns) for columns in sections.values())
    figure = Figure(figsize=(1.25 * width, 1.25 * sum(rows.values()) + 0.75 * len(rows)), dpi=130, facecolor="white")
    parts = figure.subfigures(len(rows), 1, height_ratios=[1.25 * n + 0.75 for n in rows.values()], squeeze=False)[:, 0]
    for part, (title, columns) in zip(parts, sections.items(), strict=True):
        part.suptitle(title, fontsize=11, x=0.02, ha="left", y=0.99, va="top", parse_math=False)
        height = 1.25 * rows[title] + 0.75
        margins = {"left": 0.02, "right": 0.98, "bottom": 0.02, "top": 1 - 0.55 / height}
        spaces = {"wspace": 0.06, "hspace": 0.06}
        axes = part.subplots(rows[title], width, squeeze=False, gridspec_kw=margins | spaces)
        for axis in axes.flat:
            axis.set_axis_off()
            axis.set_title("", y=1.0)  # a place that is given is not searched for, past ticks that are not drawn
        for j, column in enumerate(columns):
            axes[0, j].set_title(column.heading, fontsize=8, pad=3, y=1.0, parse_math=False)
            top = float(column.cells.max()) if isinstance(column.cells, Tensor) and column.spread else 1.0
            for i, cell in enumerate(column.cells):
                if isinstance(cell, str):
                    axes[i, j].set_box_aspect(1)
                    middle = {"ha": "center", "va": "center", "wrap": True, "parse_math": False}
                    axes[i, j].text(0.5, 0.5, cell, fontsize=9, **middle)
                    continue
                cell = cell.detach().cpu().float()
                cell = cell.norm(dim=0, keepdim=True) if len(cell) == 2 else cell
                image = cell.clamp(0, top).permute(1, 2, 0).numpy()
                if column.spread or image.shape[2] == 1:
                    image = image.mean(2)
                axes[i, j].imshow(image, cmap="magma" if column.spread else "gray", vmin=0, vmax=top)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png")

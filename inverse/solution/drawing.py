"""The plot of a solution: a row per measurement, a column per quantity."""

import io
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(columns: dict[str, Tensor], n: int, most: int, window: tuple[float, float]) -> "Figure":
    """Columns of pictures side by side; those whose name starts with "std" have a colour bar.

    Arguments: columns: name -> pictures (n, C, H, W); most rows; window: the values shown as black and white.
    Raises: ValueError for columns that are not pictures, or an empty window.
    """
    from matplotlib.figure import Figure

    if not window[0] < window[1]:
        raise ValueError(f"window = {window}: expected (low, high), low < high")
    shown = {name: _pictures(name, x, n)[:most] for name, x in columns.items()}
    rows = min(most, n)
    drawn = Figure(figsize=(1.6 * len(shown) + 0.5, 1.7 * rows + 0.2), layout="constrained")
    axes = drawn.subplots(rows, len(shown), squeeze=False)
    for j, (name, pictures) in enumerate(shown.items()):
        axes[0, j].set_title(name, fontsize=9)
        for axis, x in zip(axes[:, j], pictures.numpy(), strict=True):
            axis.set_axis_off()
            if name.startswith("std"):
                image = axis.imshow(x.mean(-1), cmap="magma", vmin=0)
                drawn.colorbar(image, ax=axis, shrink=0.8).ax.tick_params(labelsize=7)
            else:
                x = ((x - window[0]) / (window[1] - window[0])).clip(0, 1)
                axis.imshow(x if x.shape[-1] == 3 else x[..., 0], cmap="gray", vmin=0, vmax=1)
    setattr(drawn, "_repr_png_", partial(png, drawn))  # noqa: B010 - notebooks call it to display the figure
    return drawn


def png(drawn: "Figure", dpi: int = 80) -> bytes:
    """A figure as a PNG of some tens of kilobytes."""
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def _pictures(name: str, x: Tensor, n: int) -> Tensor:
    """Pictures (n, H, W, 1 or 3) for matplotlib."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} of type {type(x).__name__}: expected a tensor (B, C, H, W)")
    if x.ndim != 4 or x.shape[1] not in (1, 2, 3) or len(x) != n or x.is_complex():
        raise ValueError(
            f"{name} {tuple(x.shape)} of {x.dtype}: expected {n} real pictures (B, C, H, W) of 1 to 3 channels; for a "
            "measurement that is not a picture, pass operator.at(event_shape).pinv(y)"
        )
    x = x.detach().cpu().float()
    return (x.norm(dim=1, keepdim=True) if x.shape[1] == 2 else x).movedim(1, -1)

"""The output folder of a solve: PNG files, a contact sheet and an HTML page."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jinja2 import Environment, FileSystemLoader
from torch import Tensor

from inverse.app.figures import Column, gallery
from inverse.solution import Solution
from priors.data import rounded
from priors.files import atomic
from priors.png import write_png

TEMPLATES = Path(__file__).parent / "templates"
LARGEST, LOSSLESS = 1024, 2**16  # on the page: longest side in pixels; pixels up to which images stay lossless PNG
SHEET = 4  # samples on the contact sheet


@dataclass(frozen=True)
class Picture:
    """A picture of the page: its name, pixels uint8 (H, W) or (H, W, 3), and a caption."""

    name: str
    pixels: np.ndarray
    note: str = ""

    @property
    def source(self) -> str:
        """The picture as a data URL; large ones are reduced and stored as JPEG."""
        from PIL import Image

        image, file = Image.fromarray(self.pixels), io.BytesIO()
        image.thumbnail((LARGEST, LARGEST))
        kind = "png" if self.pixels.shape[0] * self.pixels.shape[1] <= LOSSLESS else "jpeg"
        image.save(file, kind, **({"quality": 93, "subsampling": 0} if kind == "jpeg" else {}))
        return f"data:image/{kind};base64," + base64.b64encode(file.getvalue()).decode()


def page_of(out: Path, file: Path) -> bool:
    """Whether a folder has a page newer than its file of samples."""
    page = out / "index.html"
    return page.exists() and page.stat().st_mtime_ns >= file.stat().st_mtime_ns


def write_folder(
    out: Path,
    title: str,
    solution: Solution,
    y: Tensor,
    truth: Tensor | None,
    figures: dict[str, str],
    cautions: list[str],
    dtype: str = "uint8",
    form: str = "",
) -> None:
    """Write mean.png, std.png (with its scale), sample-K.png, measurement.png and truth.png where these are pictures,
    solution.png (the contact sheet) and index.html, which is self-contained.

    PNG files have 8 bits. If the input picture was a PNG of 16 bits, mean.png and sample-K.png have 16 bits; for other
    pictures of 16 bits or floating point, mean.tif and sample-K.tif are written too, of that type.
    Arguments: out (folder); title; solution of one measurement; y (1, *M); truth (1, *E) or None; figures: label ->
    text on the page; cautions: warnings about the samples; dtype, form: of the input picture's file,
    such as "uint16" and ".png".
    Nothing is written for events that are not pictures.
    """
    samples, cells = solution.samples[0], {"mean": solution.mean[0]}
    if samples.ndim != 4 or samples.shape[1] not in (1, 3):
        return
    if y.ndim == 4 and y.shape[1] in (1, 3):
        cells = {"measurement": y[0]} | cells
    if truth is not None:
        cells = {"truth": truth[0]} | cells
    cells |= {f"sample {k}": x for k, x in enumerate(samples, 1)}
    shown = [Picture(name, pixels_of(cell)) for name, cell in cells.items()]
    for picture in shown:
        _save(out / f"{picture.name.replace(' ', '-')}.png", picture.pixels)
    if dtype == "uint16" or dtype.startswith("float"):
        for name, x in {"mean": solution.mean[0], **{f"sample-{k}": x for k, x in enumerate(samples, 1)}}.items():
            _save_deep(out / name, x, dtype, form)
    kept = ["truth", "measurement", *(f"sample {k}" for k in range(1, SHEET + 1)), "mean"]
    columns = [Column(name, cells[name][None]) for name in kept if name in cells]
    if len(samples) > 1:
        std = solution.std[0].mean(0).cpu().numpy()
        top = max(float(std.max()), 1e-12)
        _draw_std(out / "std.png", std, top)
        note = f"black is 0, white the maximum, {top:.3g}; averaged over channels"
        shown.insert(-len(samples), Picture("std", magma(std / top), note))
        columns.append(Column("std", solution.std, spread=True))
    gallery(out / "solution.png", {title: columns})
    height, width = samples.shape[2:]
    write_page(out / "index.html", title, shown, figures, cautions, size=(height, width))


def write_page(
    path: Path,
    title: str,
    shown: list[Picture],
    figures: dict[str, str],
    cautions: list[str],
    links: dict[str, str] | None = None,
    size: tuple[int, int] | None = None,
    what: str = "picture",
) -> None:
    """Write a self-contained HTML page that shows one picture at a time, or two beside each other.

    Arguments: path; title; shown: pictures; figures: label -> text; cautions; links: name of a picture -> address of
    its own page; size: height and width of the place of a picture, default that of the first; what the samples are.
    """
    page = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True).get_template("solution.html")
    height, width = size or shown[0].pixels.shape[:2]
    facts = {"title": title, "pictures": shown, "figures": figures, "cautions": cautions, "links": links or {}}
    with atomic(path) as temporary:
        temporary.write_text(page.render(what=what, width=width, height=height, **facts), encoding="utf-8")


def pixels_of(picture: Tensor) -> np.ndarray:
    """(C, H, W) in image units, C 1 or 3 -> uint8 (H, W) or (H, W, 3)."""
    pixels = rounded(picture.detach().cpu(), torch.uint8).permute(1, 2, 0).numpy()
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def _save(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    with atomic(path) as temporary:
        Image.fromarray(pixels).save(temporary, "png")


def _save_deep(path: Path, picture: Tensor, dtype: str, form: str) -> None:
    """(C, H, W) in image units, as a PNG of 16 bits, or as a TIFF of 16 bits or of floating point without clipping;
    path without its ending."""
    x = picture.detach().cpu()
    pixels = (rounded(x, torch.uint16) if dtype == "uint16" else x.float()).permute(1, 2, 0).numpy()
    grey = pixels.shape[2] == 1
    if dtype == "uint16" and form == ".png":
        write_png(path.with_name(f"{path.name}.png"), pixels)
        return
    import tifffile

    with atomic(path.with_name(f"{path.name}.tif")) as temporary:
        tifffile.imwrite(temporary, pixels[..., 0] if grey else pixels, photometric="minisblack" if grey else "rgb")


def magma(share: np.ndarray) -> np.ndarray:
    from matplotlib import colormaps

    return colormaps["magma"](share, bytes=True)[..., :3].copy()


def _draw_std(path: Path, std: np.ndarray, top: float) -> None:
    """Draw with a colour bar; small pictures are enlarged by a whole factor."""
    from matplotlib.figure import Figure

    times = max(1, 400 // max(std.shape))
    height, width = (n * times for n in std.shape)
    whole = (width + 110, height + 40)
    figure = Figure(figsize=(whole[0] / 100, whole[1] / 100), dpi=100, facecolor="white")
    axis = figure.add_axes((20 / whole[0], 20 / whole[1], width / whole[0], height / whole[1]))
    drawn = axis.imshow(std, cmap="magma", vmin=0, vmax=top, interpolation="nearest", aspect="auto")
    axis.set_axis_off()
    scale = figure.add_axes(((width + 30) / whole[0], 20 / whole[1], 15 / whole[0], height / whole[1]))
    figure.colorbar(drawn, cax=scale)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png")

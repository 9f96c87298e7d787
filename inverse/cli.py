"""`inverse`: the demo, one's own image, and lists of what there is."""

from contextlib import ContextDecorator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor

import operators
import priors
from inverse import demo as demonstration
from inverse.examination import FEWEST_DRAWS, examine
from inverse.figures import Column, gallery
from inverse.methods import METHODS
from inverse.quality import psnr
from inverse.scan_cli import scan
from inverse.solution import Solution
from inverse.solve import sample as draw
from inverse.solve import solve as solve_posterior
from operators import GaussianNoise, Operator
from priors.checkpoints import SHIPPED, read_card
from priors.data import ImageSet, read, write
from priors.likelihood import T_MIN

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False, no_args_is_help=True, help=__doc__)
console = Console()
LIKELIHOOD_BATCH, MOST_ROWS = 16, 20  # images at a time; images that are listed one by one

PriorOption = Annotated[
    str,
    typer.Option(
        "--prior",
        help="a shipped name (see `inverse priors`), a checkpoint folder, score_sde:FILE or diffusers:ID_OR_PATH",
    ),
]
ConfigOption = Annotated[
    str | None, typer.Option("--config", help="of a prior score_sde:FILE, such as cifar10/ve/ncsnpp_continuous")
]
OutOption = Annotated[Path, typer.Option("--out", help="folder for what is made")]
SeedOption = Annotated[int, typer.Option("--seed")]
StepsOption = Annotated[int | None, typer.Option("--steps", help="default: the method's")]


@app.command()
def demo(out: OutOption = Path("demo"), images: int = 4, samples: int = 4, seed: SeedOption = 0) -> None:
    """Solve every task of the demo on pictures beside the shipped priors; pictures, solutions and a table."""
    with _explained():
        rows = demonstration.run(out, images, samples, seed)
    console.print(_table("demo", rows))
    console.print(f"pictures and solutions are in {out}; all tasks on one sheet: {out / 'contact.png'}")


@app.command()
def solve(
    image: Annotated[Path, typer.Argument(help="a PNG or JPEG; with --measured, an .npy with the measurement (1, *M)")],
    operator: Annotated[
        str, typer.Option(help="name or name:key=value,... such as masking:keep=0.3 or blur:sigma=1.5")
    ],
    sigma: Annotated[float, typer.Option(help="standard deviation of the measurement noise")] = 0.05,
    prior: PriorOption = "fashion-mnist",
    config: ConfigOption = None,
    samples: int = 4,
    method: str = "auto",
    steps: StepsOption = None,
    seed: SeedOption = 0,
    out: OutOption = Path("solution"),
    measured: Annotated[bool, typer.Option(help="the file is the measurement itself, not an image to measure")] = False,
    resize: Annotated[bool, typer.Option(help="resize the image to the prior's size")] = False,
) -> None:
    """Samples of the posterior for your own image: measured by the operator here, or measured already."""
    with _explained():
        p = priors.load(prior, config=config)
        if not measured and not resize and getattr(p, "least_size", None) is not None:  # it takes the picture's size
            p = p.resized(tuple(read_image(image, (p.event_shape[0], None, None)).shape[1:]))  # type: ignore[union-attr]
        op = read_operator(operator, sigma, p.event_shape)
        truth = None if measured else read_image(image, p.event_shape, resize)
        y = read_measurement(image) if truth is None else op.measure(truth, seed=seed)
        solution = solve_posterior(p, op, y, n_samples=samples, method=method, n_steps=steps, seed=seed)
        solution.save(out / "solution.h5")
        shown = [Column(f"sample {k + 1}", solution.samples[:, k]) for k in range(min(4, samples))]
        shown.append(Column("mean", solution.mean))
        if samples > 1:
            shown.append(Column("std", solution.std, spread=True))
        if y.ndim == 4:
            shown.insert(0, Column("measurement", y))
        if truth is not None:
            shown.insert(0, Column("truth", truth))
        gallery(out / "solution.png", {f"{operator}, {solution.method}": shown})
    if truth is not None:
        console.print(f"PSNR of the posterior mean: {psnr(solution.mean, truth).item():.2f} dB")
    console.print(f"{solution.nfe} evaluations + {solution.nvjp} vjp per sample, {solution.seconds:.1f} s; see {out}")
    console.print(f"method: {solution.cite()}")
    for text in _cautions(solution, op, y, prior, p):
        console.print(f"[yellow]caution:[/yellow] {escape(text)}", highlight=False, soft_wrap=True)


@app.command()
def sample(
    prior: PriorOption = "fashion-mnist",
    config: ConfigOption = None,
    n: Annotated[int, typer.Option("--n", help="how many")] = 16,
    method: str = "pc",
    steps: StepsOption = None,
    seed: SeedOption = 0,
    out: OutOption = Path("samples"),
) -> None:
    """Unconditional samples of a prior, as a picture and as HDF5."""
    with _explained():
        p = priors.load(prior, config=config)
        x = draw(p, n_samples=n, method=method, n_steps=steps, seed=seed)
        pixels = (x.clamp(0, 1) * 255).round().to(torch.uint8).cpu()
        write(
            out / "samples.h5",
            ImageSet(pixels, source=f"inverse sample --prior {prior} --method {method} --seed {seed}"),
        )
        columns = [Column("", column) for column in x.split(-(-n // 8))]
        gallery(out / "samples.png", {f"{prior}, {method}": columns})
    console.print(f"{n} samples in {out}")


@app.command()
def likelihood(
    files: Annotated[list[Path], typer.Argument(help="PNG or JPEG files, or image sets (.h5, .npz)")],
    prior: PriorOption = "fashion-mnist",
    config: ConfigOption = None,
    images: Annotated[int | None, typer.Option(help="only so many, the first ones; default: all")] = None,
    split: Annotated[str | None, typer.Option(help="of an image set: reads SPLIT_images, not images")] = None,
    seed: SeedOption = 0,
    resize: Annotated[bool, typer.Option(help="resize image files to the prior's size")] = False,
) -> None:
    """Bits per dimension that the prior spends on images of 8 bits, by its probability flow."""
    with _explained():
        p = priors.load(prior, config=config)
        names, x = read_images(files, p.event_shape, split, resize, images)
        bits = priors.bits_per_dim(p, x, seed, batch_size=LIKELIHOOD_BATCH)
    if len(bits) <= MOST_ROWS:
        rows = [{"image": name, "bits/dim": f"{b:.3f}"} for name, b in zip(names, bits.tolist(), strict=True)]
        console.print(_table("likelihood", rows))
    error = f" +- {bits.std() / len(bits) ** 0.5:.3f} (standard error)" if len(bits) > 1 else ""
    console.print(f"{bits.mean():.3f}{error} bits/dim of {len(bits)} images, by one probe each, seed {seed}")
    console.print(f"p is the law at t = {T_MIN:g}, whose noise is {p.sde.sigma(T_MIN):.2g} on pixels in [0, 1]")


@app.command("priors")
def list_priors() -> None:
    """The shipped priors."""
    rows = []
    for name in priors.available():
        card = read_card(SHIPPED / name)
        rows.append(
            {
                "name": name,
                "shape": str(tuple(card["event_shape"])),
                "SDE": card["sde"]["type"],
                "parameters": f"{card['parameters']:,}",
                "data": card["data"],
                "licence": card["licence"],
            }
        )
    console.print(_table("priors", rows))


@app.command("operators")
def list_operators() -> None:
    """The operators, plug-ins included."""
    rows = []
    for name in operators.available():
        summary = (operators.get(name).__doc__ or "").strip().split("\n")[0]
        rows.append({"name": name, "what it measures": summary})
    console.print(_table("operators", rows))


@app.command("methods")
def list_methods() -> None:
    """The methods, what they need of an operator, and their papers."""
    rows = [
        {"name": m.name, "needs": ", ".join(sorted(m.needs)) or "-", "steps": str(m.n_steps), "paper": m.citation}
        for m in METHODS.values()
    ]
    console.print(_table("methods", rows))


def _cautions(solution: Solution, operator: Operator, y: Tensor, name: str, prior: priors.Prior) -> list[str]:
    """What speaks against a solution of one measurement; pictures beside a shipped prior stand for its draws."""
    able = {"linear", "gaussian"} <= operator.capabilities and prior.moments is not None
    pictures = priors.samples(name).floats() if able and name in priors.available() else y[:0]
    if len(pictures) < FEWEST_DRAWS:
        return examine(solution, operator, y).warnings[0]
    return examine(solution, operator, y, prior, pictures).warnings[0]


def read_operator(text: str, sigma: float, event_shape: tuple[int, ...]) -> Operator:
    """An operator from a command line's ``name:key=value,...``; masking, blur and classifier have short forms.

    Arguments: text: masking:keep=0.5 | masking:box=12 | blur:sigma=1.5 | classifier:name=NAME | any other registered
    name with numbers as arguments; sigma (float, the operator's units); event_shape (E).
    Raises: ValueError for an unknown name or an argument that is no number.
    """
    name, _, rest = text.partition(":")
    pairs = {key: value for key, _, value in (pair.partition("=") for pair in rest.split(",") if pair)}
    if name == "classifier":
        if unknown := set(pairs) - {"name"}:
            raise ValueError(f"operator {text!r} has {sorted(unknown)}: expected classifier:name=NAME")
        return operators.Classifier(priors.load_classifier(pairs.get("name", demonstration.CLASSIFIER)))
    try:
        numbers: dict[str, Any] = {key: _number(value) for key, value in pairs.items()}
    except ValueError:
        raise ValueError(f"operator {text!r}: expected name:key=number,... such as masking:keep=0.3") from None
    noise = GaussianNoise(sigma)
    try:
        if name == "masking" and "box" in numbers:
            return operators.Masking.box(event_shape, int(numbers.pop("box")), **numbers, noise=noise)
        if name == "masking":
            return operators.Masking.random(event_shape, **numbers, noise=noise)
        if name == "blur":
            width = numbers.pop("sigma", 1.5)
            return operators.Blur.gaussian(width, **numbers, boundary="reflect", noise=noise)
        return operators.make(name, **numbers, noise=noise)
    except TypeError as error:
        raise ValueError(f"operator {text!r}: {error}") from None


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdigit() else float(text)


def read_image(path: Path, event_shape: tuple[int | None, ...], resize: bool = False) -> Tensor:
    """An image file in image units, (1, C, H, W) float32; event_shape (C, H, W), H and W None for those of the file.

    Raises: FileNotFoundError; ValueError for no image, or one of another size without ``resize``.
    """
    from skimage import img_as_float
    from skimage.io import imread
    from skimage.transform import resize as to_size

    if not path.exists():
        raise FileNotFoundError(f"no image at {path}")
    try:
        pixels = np.atleast_3d(img_as_float(imread(path)))  # of 1, 8 or 16 bits, on [0, 1]
    except (OSError, ValueError, SyntaxError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} is no readable image: {reason}; with --measured an .npy file is expected") from None
    pixels = pixels[:, :, : 3 if pixels.shape[2] >= 3 else 1]  # without alpha
    c, h, w = event_shape[0] or 1, event_shape[1] or len(pixels), event_shape[2] or pixels.shape[1]
    if c == 1:
        pixels = pixels.mean(2, keepdims=True)
    elif pixels.shape[2] == 1:
        pixels = pixels.repeat(c, 2)
    if pixels.shape[:2] != (h, w):
        if not resize:
            raise ValueError(f"{path} has {pixels.shape[:2]} pixels, the prior {h, w}: pass --resize, or crop it first")
        pixels = to_size(pixels, (h, w), anti_aliasing=True)
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float()[None]


def read_images(
    paths: list[Path], event_shape: tuple[int, ...], split: str | None, resize: bool, limit: int | None
) -> tuple[list[str], Tensor]:
    """Image files and image sets as one batch of whole grey levels of 8 bits.

    Arguments: paths; event_shape (E); split: see `priors.data.read`; resize: as `read_image`, not of image sets;
    limit: take the first so many (int >= 1), or None.
    Returns: names, and images (N, C, H, W) in image units.
    Raises: FileNotFoundError; ValueError as `read_image` and `priors.data.read`, for an image set of another shape, and
    for no images.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"images = {limit}: expected at least 1")
    names: list[str] = []
    parts: list[Tensor] = []
    for path in paths:
        if path.suffix in (".h5", ".hdf5", ".npz"):
            held = read(path, split)
            if held.event_shape != tuple(event_shape):
                raise ValueError(f"{path} has images {held.event_shape}, the prior {tuple(event_shape)}: pick another")
            parts.append(held[: limit or len(held)].floats())
            names += [f"{path.name}[{i}]" for i in range(len(parts[-1]))]
        else:
            parts.append((read_image(path, event_shape, resize) * 255).round() / 255)
            names.append(path.name)
    if not names:
        raise ValueError(f"{', '.join(map(str, paths))}: no images in there; give an image set that has some")
    return names[:limit], torch.cat(parts)[:limit]


def read_measurement(path: Path) -> Tensor:
    """A measurement (B, *M) from an .npy file.

    Raises: FileNotFoundError; ValueError for another file.
    """
    if not path.exists():
        raise FileNotFoundError(f"no measurement at {path}")
    try:
        return torch.from_numpy(np.load(path, allow_pickle=False))
    except (ValueError, EOFError, TypeError):
        raise ValueError(
            f"{path} is no .npy file of numbers: with --measured expected what numpy.save writes"
        ) from None


class _explained(ContextDecorator):
    """Turns the errors that a user can mend into one line and exit status 2."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, ValueError | TypeError | FileNotFoundError | ArithmeticError):
            console.print(f"[red]error:[/red] {escape(str(error))}", highlight=False, markup=True, soft_wrap=True)
            raise typer.Exit(2) from error


app.command()(_explained()(scan))


def _table(title: str, rows: list[dict[str, str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in rows[0] if rows else ("nothing here",):
        table.add_column(name)
    for row in rows:
        table.add_row(*row.values())
    return table


if __name__ == "__main__":
    app()

"""`inverse`: the demo, one's own image, and lists of what there is."""

import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.table import Table
from rich.text import Text

import operators
import priors
from inverse.app import demo as demonstration
from inverse.app.arguments import read_images
from inverse.app.devices import DeviceOption, moved
from inverse.app.figures import Column, drawing, gallery
from inverse.app.operator_help import show
from inverse.app.page import page_of, write_folder
from inverse.app.photo import Problem, draw, finished, pictures_in, pose
from inverse.app.scan import AntitheticOption, scan
from inverse.examination import FEWEST_DRAWS, Examination, examine
from inverse.methods import METHODS
from inverse.plan import Decision, Plan, decide, span
from inverse.plan import plan as make_plan
from inverse.quality import psnr
from inverse.solution import Solution
from inverse.solve import sample as draw_prior
from priors.checkpoints import SHIPPED, read_card
from priors.data import ImageSet, rounded, write
from priors.likelihood import T_MIN
from priors.terminal import console, explained, printable, say

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False, no_args_is_help=True)
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


def _show_version(asked: bool) -> None:
    if asked:
        say(f"inverse {metadata.version('score-inverse')}, torch {torch.__version__}, Python {sys.version.split()[0]}")
        raise typer.Exit


@app.callback(help=__doc__)
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="say the version, and stop")
    ] = False,
) -> None:
    """What all commands share."""


@app.command()
def demo(
    out: OutOption = Path("demo"), images: int = 4, samples: int = 4, seed: SeedOption = 0, device: DeviceOption = "cpu"
) -> None:
    """Solve every task of the demo on pictures beside the shipped priors; pictures, solutions and a table."""
    with explained():
        rows = demonstration.run(out, images, samples, seed, device=device)
    console.print(_table("demo", rows))
    say(f"pictures and solutions are in {out}; all tasks on one sheet: {out / 'contact.png'}")


@app.command()
def solve(
    image: Annotated[
        Path,
        typer.Argument(
            help="a PNG, JPEG or TIFF, or a folder of such; with --measured, measurements: the same or .npy (1, *M)"
        ),
    ],
    operator: Annotated[
        str,
        typer.Option(
            help="name:key=value,... or name.constructor:key=value,... such as masking:keep=0.3, blur:sigma=1.5, "
            "blur:length=15,angle=30, blur:file=kernel.npy or masking:file=mask.png; see `inverse operators NAME`"
        ),
    ],
    sigma: Annotated[
        str | None,
        typer.Option(help="standard deviation of the noise; default: of a measurement auto, its estimate, else .05"),
    ] = None,
    prior: Annotated[
        str | None, typer.Option("--prior", help="as of the other commands; default: by the picture's size")
    ] = None,
    config: ConfigOption = None,
    samples: int = 4,
    method: str = "auto",
    budget: Annotated[str | None, typer.Option(help="of method auto: fast, balanced or exact")] = None,
    steps: StepsOption = None,
    antithetic: AntitheticOption = False,
    seed: SeedOption = 0,
    out: OutOption = Path("solution"),
    measured: Annotated[bool, typer.Option(help="the file is the measurement itself, not an image to measure")] = False,
    resize: Annotated[bool, typer.Option(help="resize the image to the prior's size")] = False,
    size: Annotated[
        str | None,
        typer.Option(help="HEIGHTxWIDTH or CHANNELSxHEIGHTxWIDTH of the picture, where a measurement does not tell it"),
    ] = None,
    tile: Annotated[
        int | None, typer.Option(help="pixels of tiles, for less memory; default: none where --memory is enough")
    ] = None,
    memory: Annotated[float, typer.Option(help="GB that one gradient of the prior may take untiled")] = 2.0,
    device: DeviceOption = "cpu",
    dry: Annotated[bool, typer.Option(help="say what would be done and how long it would take, and stop")] = False,
    why: Annotated[bool, typer.Option("--why", help="the measurements behind the method that auto takes")] = False,
    overwrite: Annotated[bool, typer.Option(help="replace samples of another problem in the folder")] = False,
) -> None:
    """Samples of the posterior for your own image: measured by the operator here, or measured already.

    Says first what it will do and how long it will take. Killed, it goes on with the same command from the samples that
    were finished.
    """
    with explained():
        paths = pictures_in(image, measured) if image.is_dir() else [image]
    failed = []
    for path in paths:
        if image.is_dir():
            say(f"{path.name}:", "bold")
        try:
            _solve_one(
                path, operator, sigma, prior, config, samples, method, budget, steps, antithetic, seed,
                out / path.name if image.is_dir() else out, measured, resize, size, tile, memory, dry, overwrite,
                device, why,
            )  # fmt: skip
        except typer.Exit:  # its reason was printed
            failed.append(path.name)
    if failed:
        if image.is_dir():
            say(f"error: {len(failed)} of {len(paths)} were not solved: {', '.join(failed)}", "red")
        raise typer.Exit(2)


def _solve_one(
    image: Path, operator: str, sigma: str | None, prior: str | None, config: str | None, samples: int, method: str,
    budget: str | None, steps: int | None, antithetic: bool, seed: int, out: Path, measured: bool, resize: bool,
    size: str | None, tile: int | None, memory: float, dry: bool, overwrite: bool, device: str,
    why: bool,
) -> None:  # fmt: skip
    """One picture or measurement of `solve`, in a folder of its own."""
    file = out / "solution.h5"
    with explained():
        problem = pose(image, operator, sigma, prior, config, seed, measured, resize, tile, memory * 1e9, size, device)
        posed = (problem.prior, *moved(problem.prior.device, problem.operator, problem.y))
        given = (*posed, samples, method, steps, seed, None, budget)
        decided = decide(*given, antithetic)
        if overwrite and not dry:
            file.unlink(missing_ok=True)
        held = None if overwrite else finished(problem, decided, seed, file)
    done = 0 if held is None else held.samples.shape[1]
    # at once: what it costs takes a moment
    _show(problem.facts | {"method": _method(decided)} | ({"why": decided.details} if why and decided.details else {}))
    if done >= samples and page_of(out, file):
        _show({"samples": f"{samples} asked for, {done} are in {file} already: nothing is left to do"})
        return
    with explained():
        chosen = make_plan(*given, antithetic)
    _show(_told(chosen, done, out))
    if dry:
        return
    with explained():
        command = printable(shlex.join(["inverse", *sys.argv[1:]]))
        solution = draw(
            problem, chosen, seed, file, {"command": command}, console.is_terminal,
            on_samples=lambda n: say(f"{n} of {samples} samples in {file}"),
        )  # fmt: skip
        checked = _examined(solution, problem)
        cautions = checked.warnings[0]
        kept = [*filter(None, [problem.caution]), *cautions]  # the first was printed before
        figures = _figures(solution, problem, chosen, checked) | problem.facts | {"command": command}
        with drawing(out):
            title = printable(f"{image.name}: {operator}")
            write_folder(out, title, solution, problem.y, problem.truth, figures, kept, problem.dtype)
    if problem.truth is not None:
        say(f"PSNR of the posterior mean: {psnr(solution.mean, problem.truth).item():.2f} dB")
    say(
        f"{solution.nfe} evaluations + {solution.nvjp} vjp per sample, {span(solution.seconds)} (said: "
        f"{span(chosen.seconds)}); see {out / 'index.html'}"
    )
    say(f"method: {solution.cite()}")
    for text in cautions:
        say(f"caution: {text}", "yellow")


@app.command()
def sample(
    prior: PriorOption = "fashion-mnist",
    config: ConfigOption = None,
    n: Annotated[int, typer.Option("--n", help="how many")] = 16,
    method: str = "pc",
    steps: StepsOption = None,
    seed: SeedOption = 0,
    out: OutOption = Path("samples"),
    device: DeviceOption = "cpu",
) -> None:
    """Unconditional samples of a prior, as a picture and as HDF5."""
    with explained():
        p = priors.load(prior, config=config, device=device)
        x = draw_prior(p, n_samples=n, method=method, n_steps=steps, seed=seed)
        write(
            out / "samples.h5",
            ImageSet(
                rounded(x, torch.uint8).cpu(),
                source=printable(f"inverse sample --prior {prior} --method {method} --seed {seed}"),
            ),
        )
        columns = [Column("", column) for column in x.cpu().split(-(-n // 8))]
        with drawing(out / "samples.png"):
            gallery(out / "samples.png", {printable(f"{prior}, {method}"): columns})
    say(f"{n} samples in {out}")


@app.command()
def likelihood(
    files: Annotated[list[Path], typer.Argument(help="PNG or JPEG files, or image sets (.h5, .npz)")],
    prior: PriorOption = "fashion-mnist",
    config: ConfigOption = None,
    images: Annotated[int | None, typer.Option(help="only so many, the first ones; default: all")] = None,
    split: Annotated[str | None, typer.Option(help="of an image set: reads SPLIT_images, not images")] = None,
    seed: SeedOption = 0,
    resize: Annotated[bool, typer.Option(help="resize image files to the prior's size")] = False,
    device: DeviceOption = "cpu",
) -> None:
    """Bits per dimension that the prior spends on images of 8 bits, by its probability flow."""
    with explained():
        p = priors.load(prior, config=config, device=device)
        names, x = read_images(files, p.event_shape, split, resize, images)
        bits = priors.bits_per_dim(p, x.to(p.device), seed, batch_size=LIKELIHOOD_BATCH).cpu()
    if len(bits) <= MOST_ROWS:
        rows = [{"image": name, "bits/dim": f"{b:.3f}"} for name, b in zip(names, bits.tolist(), strict=True)]
        console.print(_table("likelihood", rows))
    error = f" +- {bits.std() / len(bits) ** 0.5:.3f} (standard error)" if len(bits) > 1 else ""
    say(f"{bits.mean():.3f}{error} bits/dim of {len(bits)} images, by one probe each, seed {seed}")
    say(f"p is the law at t = {T_MIN:g}, whose noise is {p.sde.sigma(T_MIN):.2g} on pixels in [0, 1]")


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
def list_operators(
    name: Annotated[str | None, typer.Argument(help="what this one takes, its constructors, two examples")] = None,
) -> None:
    """The operators, plug-ins included."""
    if name is not None:
        with explained():
            show(name)
        return
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


def _show(facts: dict[str, str]) -> None:
    for name, text in facts.items():
        console.print(Text.assemble((f"{name:>9}", "bold"), "  ", printable(text)), soft_wrap=True)


def _told(chosen: Plan, done: int, out: Path) -> dict[str, str]:
    """What a plan costs, of which so many samples are finished."""
    left = max(0, chosen.n_samples - done)
    there = f", {min(done, chosen.n_samples)} of them finished before" if done else ""
    return {
        "samples": f"{chosen.n_samples}{there}; {chosen.rows} at a time{', in antithetic pairs' * chosen.antithetic}",
        "cost": f"{chosen.nfe} evaluations of the prior + {chosen.nvjp} backward passes per sample",
        "time": f"about {span(chosen.seconds * left / chosen.n_samples)}",
        "memory": f"about {chosen.bytes / 1e9:.2g} GB beyond what is in use now",
        "folder": str(out),
    }


def _method(chosen: Plan | Decision) -> str:
    steps = f"{chosen.method.name}, {chosen.n_steps} steps"
    return f"{steps}; chosen as {chosen.reason}" if chosen.reason else f"{steps}, as asked for"


def _figures(solution: Solution, problem: Problem, chosen: Plan, checked: Examination) -> dict[str, str]:
    """What the page tells of a solution."""
    found = {}
    if problem.truth is not None:
        each = [psnr(x, problem.truth).item() for x in solution.samples.unbind(1)]
        found["PSNR of the mean"] = f"{psnr(solution.mean, problem.truth).item():.2f} dB"
        found["PSNR of one sample"] = f"{sum(each) / len(each):.2f} dB, the mean of {len(each)}"
    if checked.chi2 is not None:
        found["chi^2 of the residual"] = f"{checked.chi2.item():.3f}, about 1 where samples explain the measurement"
    if solution.samples.shape[1] > 1:
        found["standard deviation"] = f"{solution.std.mean().item():.4f} per pixel, on average"
    return found | {
        "cost per sample": f"{solution.nfe} evaluations of the prior, {solution.nvjp} backward passes",
        "time": f"{span(solution.seconds)} for all samples; said before: {span(chosen.seconds)}",
        "method": _method(chosen),
        "its paper": solution.cite(),
    }


def _examined(solution: Solution, problem: Problem) -> Examination:
    """The checks of a solution of one measurement; pictures beside a shipped prior stand for its draws."""
    operator, prior, y = problem.operator, problem.prior, problem.y
    able = {"linear", "gaussian"} <= operator.capabilities and prior.moments is not None
    name = problem.facts["prior"].partition(",")[0]
    pictures = priors.samples(name).floats() if able and name in priors.available() else y[:0]
    if len(pictures) < FEWEST_DRAWS:
        return examine(solution, operator, y)
    return examine(solution, operator, y, prior, pictures)


app.command()(explained()(scan))


def _table(title: str, rows: list[dict[str, str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in rows[0] if rows else ("nothing here",):
        table.add_column(name)
    for row in rows:
        table.add_row(*map(printable, row.values()))
    return table


if __name__ == "__main__":
    app()

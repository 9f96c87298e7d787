"""`inverse scan`: an MRI scan, slice by slice."""

from __future__ import annotations

import hashlib
import warnings
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer
from rich.console import Console

from priors.later import now

if TYPE_CHECKING or now():
    from torch import Tensor

    import priors
    from inverse.choice import resolve
    from inverse.examination import examine
    from inverse.figures import Column, drawing, gallery
    from inverse.kspace_checks import KSpaceWarning
    from inverse.quality import PoorFit, psnr, ssim
    from inverse.scans import Problem, Reconstruction, Scan, read_reconstruction, read_scan, write_reconstruction
    from inverse.solution import Solution
    from inverse.solve import solve
    from operators.sampling import Kind, calibration_region

console = Console(highlight=False, soft_wrap=True, markup=False)
SHOWN = 3  # samples in a picture
AntitheticOption = Annotated[
    bool, typer.Option("--antithetic", help="samples in pairs of opposite noise: the mean of few is as good as of many")
]


def scan(
    file: Annotated[
        Path,
        typer.Argument(help="HDF5 as of fastMRI: kspace (slices, H, W) or (slices, coils, H, W); mask, sensitivity"),
    ],
    prior: Annotated[str, typer.Option(help="a shipped name or a checkpoint folder")] = "brain-mri",
    out: Annotated[Path, typer.Option(help="folder for what is made")] = Path("reconstruction"),
    slices: Annotated[str | None, typer.Option(help="such as 0,3,5-9; default: all")] = None,
    rows: Annotated[
        int | None, typer.Option(help="middle rows to keep, of an oversampled readout; default: all")
    ] = None,
    accelerate: Annotated[
        float | None, typer.Option(help="of a whole scan: leave out columns of k-space, 4 keeps a quarter of them")
    ] = None,
    calibration: Annotated[float, typer.Option(help="with --accelerate: middle columns that are kept, of all")] = 0.08,
    pattern: Annotated[str, typer.Option(help="with --accelerate: variable, equispaced or uniform")] = "variable",
    samples: Annotated[int, typer.Option(min=1, help="of the posterior, of every slice")] = 8,
    method: Annotated[str, typer.Option(help="see `inverse methods`")] = "auto",
    steps: Annotated[int | None, typer.Option(min=1, help="default: the method's")] = None,
    antithetic: AntitheticOption = False,
    sigma: Annotated[str, typer.Option(help="noise in the file's units, or auto: from the border of k-space")] = "auto",
    seed: Annotated[int, typer.Option(help="of the random numbers; every slice has its own, by its number")] = 0,
) -> None:
    """Posterior samples of an MRI scan. What is done already is skipped, so that a killed run goes on."""
    given = None if sigma == "auto" else _sigma(sigma)
    if pattern not in get_args(Kind):
        raise ValueError(f"--pattern {pattern!r}: expected one of {', '.join(get_args(Kind))}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KSpaceWarning)  # each slice is looked at when it is its turn
        total = read_scan(file, [0]).total
    numbers = range(total) if slices is None else _numbers(slices, total)
    p = priors.load(prior)
    if len(p.event_shape) != 3 or p.event_shape[0] not in (1, 2):
        raise ValueError(
            f"prior {prior!r} is of {p.event_shape}: expected (1, H, W), magnitudes, or (2, H, W), complex"
        )
    with file.open("rb") as stream:
        checksum = hashlib.file_digest(stream, "sha256").hexdigest()
    provenance: dict[str, str | float] = {
        "scan": file.name, "sha256": checksum, "rows": rows or 0, "prior": prior, "method": method, "steps": steps or 0,
        "n_samples": samples, "antithetic": int(antithetic), "seed": seed, "sigma_given": sigma,
        "accelerated": f"{accelerate:g}, {calibration:g}, {pattern}" if accelerate is not None else "",
        "software": f"score-inverse {_version()}",
    }  # fmt: skip
    path = out / "reconstruction.h5"
    found = _done(path, provenance)
    for n in numbers:
        if n in found:
            console.print(f"slice {n}: in {path} already")
            continue
        one, doubts = _read(file, n)
        whole = one if rows is None else one.cropped(rows)
        one = whole if accelerate is None else whole.undersampled(accelerate, calibration, cast(Kind, pattern))
        sized = p.resized((p.event_shape[0], *one.size))
        problem = one.problem(0, p.event_shape[0], given)
        choice = resolve(method, problem.operator, sized.event_shape, samples)
        console.print(_plan(one, problem, given is None) + f"; {prior}, {samples} samples by {choice.method.name}")
        if choice.reason:
            console.print(f"  auto: {choice.reason}")
        posed = (sized, problem.operator, problem.y)
        n_steps = steps or choice.n_steps
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PoorFit)  # `examine` speaks of it below
            solution = solve(*posed, samples, choice.method, n_steps, seed, antithetic=antithetic, numbers=[n])
        found[n] = Reconstruction.of(solution, problem)
        write_reconstruction(path, found, provenance | {"citation": solution.cite()})
        with drawing(out / f"slice-{n:03d}.png"):
            _draw(out / f"slice-{n:03d}.png", f"{file.name}, slice {n}, {solution.method}", problem, solution)
        checked = examine(solution, problem.operator, problem.y)
        chi2 = "" if checked.chi2 is None else f", mean squared residual {float(checked.chi2):.2f} sigma^2"
        console.print(f"  {solution.nfe} evaluations + {solution.nvjp} vjp per sample, {solution.seconds:.1f} s{chi2}")
        if accelerate is not None:
            console.print(f"  {_against(whole.zero_filled(0), found[n])}")
        for text in doubts + checked.warnings[0]:
            console.print(f"  caution: {text}", style="yellow")
    console.print(f"{len(found)} slices in {path}")


def _read(file: Path, n: int) -> tuple[Scan, list[str]]:
    """A slice, and what is doubtful of its k-space."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", KSpaceWarning)
        one = read_scan(file, [n])
    return one, [str(w.message) for w in caught if issubclass(w.category, KSpaceWarning)]


def _plan(one: Scan, problem: Problem, estimated: bool) -> str:
    """What is known of a slice before it is solved."""
    mask, (height, width) = one.mask[0], one.size
    rows, columns = calibration_region(mask)
    coils = "1 coil" if one.coils is None else f"{one.coils} coils"
    if one.coils is not None:
        coils += f" ({'estimated' if one.sensitivities is None else 'of the file'})"
    return (
        f"slice {one.slices[0]} of {one.total}: {height} x {width}, {coils}, acceleration "
        f"{1 / float(mask.float().mean()):.2f}, calibration {rows.stop - rows.start} x {columns.stop - columns.start}, "
        f"scale {problem.scale:.4g}, sigma {problem.sigma:.3g} ({'estimated' if estimated else 'given'}), that is "
        f"{problem.sigma / problem.scale:.3g} of the scale"
    )


def _against(whole: Tensor, found: Reconstruction) -> str:
    """How near the mean comes to the whole scan, (H, W), whose own noise counts as picture."""
    peak = whole.max()
    mean, truth = (z[None, None] / peak for z in (found.mean.abs(), whole))
    return (
        f"against the whole scan: PSNR of the mean {psnr(mean, truth).item():.2f} dB, SSIM "
        f"{ssim(mean, truth).item():.3f}"
    )


def _draw(path: Path, title: str, problem: Problem, solution: Solution) -> None:
    shown = [Column("zero-filled", problem.zero_filled), Column("mean", solution.mean)]
    shown += [Column(f"sample {k + 1}", x) for k, x in enumerate(solution.samples.unbind(1)[:SHOWN])]
    if solution.samples.shape[1] > 1:
        shown.insert(2, Column("std", solution.std, spread=True))
    gallery(path, {title: shown})


def _done(path: Path, provenance: dict[str, str | float]) -> dict[int, Reconstruction]:
    """What a run with the same arguments has left in the file.

    Raises: ValueError for what another run has.
    """
    if not path.exists():
        return {}
    found, held = read_reconstruction(path)
    if other := [
        f"{key} {held.get(key)!r}, now {value!r}" for key, value in provenance.items() if held.get(key) != value
    ]:
        raise ValueError(f"{path} was made otherwise ({'; '.join(other)}): give another --out, or remove it")
    return found


def _numbers(text: str, total: int) -> list[int]:
    """The numbers of "0,3,5-9"."""
    try:
        ends = [[int(end) for end in part.split("-", 1)] for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--slices {text!r}: expected numbers and ranges such as 0,3,5-9") from None
    numbers = sorted({n for part in ends for n in range(part[0], part[-1] + 1)})
    if not numbers or numbers[-1] >= total:
        raise ValueError(f"--slices {text!r}: expected some of 0 to {total - 1}, such as 0,3,5-9")
    return numbers


def _sigma(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"--sigma {text!r}: expected a number in the units of the file, or auto") from None


def _version() -> str:
    return metadata.version("score-inverse")

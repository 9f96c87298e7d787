"""`inverse scan`: reconstruct an MRI scan slice by slice."""

import hashlib
import shlex
import sys
import warnings
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import cast, get_args

from torch import Tensor

import priors
from inverse.app.budget import seconds_of
from inverse.app.devices import moved, solve_there
from inverse.app.fastmri import Problem, Scan, read_rss, read_scan
from inverse.app.figures import Column, drawing, gallery
from inverse.app.kspace.checks import KSpaceWarning
from inverse.app.raw import is_raw, read_raw
from inverse.app.reconstruction import Reconstruction, read_reconstruction, write_reconstruction
from inverse.app.scan_noise import suspects, with_errors
from inverse.app.scan_page import page_name, write_index, write_slice
from inverse.app.scan_text import coils_as_slices, noise_level_of, of_slice, slice_numbers
from inverse.app.variants import turned
from inverse.auto import resolve
from inverse.examination import examine
from inverse.plan import plan as make_plan
from inverse.plan import span
from inverse.quality import PoorFit, psnr, ssim
from inverse.quality.noise_stated import misjudged
from inverse.solution import Solution
from inverse.solve.checks import computes_in
from operators.sampling import Kind, calibration_region
from priors.terminal import printable, say

SHOWN = 3  # samples in a picture
CALIBRATION, LEAST_COLUMNS = 0.08, 5  # fully sampled middle columns of --accelerate: fraction of all, and at least
SMALL, LARGE, SMALL_BELOW = "brain-mri", "brain-mri-224", 80  # priors of slices of 64 pixels, and of 96 to 256
UNITS = 0.05  # relative difference in scale up to which a reference counts as being in the same units


def scan(
    file: Path, prior: str, out: Path, slices: str | None, rows: int | None, accelerate: float | None,
    calibration: float | None, pattern: str, samples: int, method: str, budget: str | None, steps: int | None,
    antithetic: bool, sigma: str, seed: int, device: str, precision: str, dry: bool,
) -> None:  # fmt: skip
    """Draw posterior samples for every slice that is not in the output folder yet.

    Arguments: as of the command.
    Raises: ValueError for invalid options, an unsuitable file or prior, and a folder of another run.
    """
    given = None if sigma == "auto" else noise_level_of(sigma)
    if pattern not in get_args(Kind):
        raise ValueError(f"--pattern {pattern!r}: expected one of {', '.join(get_args(Kind))}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KSpaceWarning)  # every slice is checked again when it is solved
        first = _reader(file)(file, [0])
    numbers = range(first.total) if slices is None else slice_numbers(slices, first.total)
    if prior == "auto":
        prior = SMALL if max(rows or first.size[0], first.size[1]) < SMALL_BELOW else LARGE
    p = priors.load(prior, device=device)
    if len(p.event_shape) != 3 or p.event_shape[0] not in (1, 2):
        raise ValueError(
            f"prior {prior!r} has events {p.event_shape}: expected (1, H, W), magnitudes, or (2, H, W), complex"
        )
    if p.units is not None:
        say(f"caution: {prior} is a prior of pictures in {p.units.name}, not of MRI", "yellow")
    if text := "" if is_raw(file) or first.coils is not None else coils_as_slices(file, first.total):
        say(f"caution: {text}", "yellow")
    with file.open("rb") as stream:
        checksum = hashlib.file_digest(stream, "sha256").hexdigest()
    provenance: dict[str, str | float] = {
        "scan": file.name, "sha256": checksum, "rows": rows or 0, "prior": prior, "method": method, "steps": steps or 0,
        "budget": budget or "", "n_samples": samples, "antithetic": int(antithetic), "seed": seed, "sigma_given": sigma,
        "precision": precision,
        "accelerated": "" if accelerate is None else f"{accelerate:g}, {calibration or 'default'}, {pattern}",
        "software": f"score-inverse {_version()}",
    }  # fmt: skip
    path = out / "reconstruction.h5"
    if (seconds := seconds_of(budget)) is not None:
        if steps is not None:
            raise ValueError(f"--budget {budget} with --steps {steps}: give one of them")
        steps = _steps_of(path)  # all slices and samples have as many
        provenance["steps"] = steps or 0
    found = _done(path, provenance)
    left = [n for n in numbers if n not in found or len(found[n].samples) < samples]
    for n in sorted(set(numbers) - set(left)):
        say(f"slice {n}: already in {path}")
    empty: list[int] = []
    command = {"command": printable(shlex.join(["inverse", *sys.argv[1:]]))}
    for n in left:
        one, doubts = _read(file, n)
        if not bool(one.kspace.any()):
            empty.append(n)
            continue
        of_slice(n, doubts)
        whole = one = one if rows is None else one.cropped(rows)
        if accelerate is not None:
            share = max(CALIBRATION, LEAST_COLUMNS / whole.size[1]) if calibration is None else calibration
            one = whole.undersampled(accelerate, share, cast(Kind, pattern))
        sized = p.resized((p.event_shape[0], *one.size))
        problem = _posed(one, p.event_shape[0], given, accelerate is not None)
        level = [] if given is None else misjudged(sized, problem.operator, problem.y)
        doubts += of_slice(n, level)
        done = len(found[n].samples) if n in found else 0
        named = None if seconds else budget
        choice = resolve(method, problem.operator, sized.event_shape, samples, named, network=not p.has_log_prob)
        if done and choice.method.weighted:
            raise ValueError(
                f"{path} has {done} weighted samples by {choice.method.name}, to which none can be added; "
                "give another --out"
            )
        sized = computes_in(sized, choice.method, precision)
        described = _plan(one, problem, given is None)
        say(f"{described}; {prior}, {samples} samples by {choice.method.name}")
        if choice.reason:
            say(f"  auto: {choice.reason}")
        planned = partial(
            make_plan, sized, *moved(p.device, problem.operator, problem.y), samples - done, seed=seed,
            antithetic=antithetic,
        )  # fmt: skip
        if seconds and steps is None:
            cost = planned(method=method, budget=seconds)
            steps = provenance["steps"] = cost.n_steps
            say(f"  {steps} steps{f': {cost.reason}' if cost.n_steps < choice.n_steps else ''}")
        n_steps = steps or choice.n_steps
        if dry:
            cost = planned(method=choice.method, n_steps=n_steps)
            say(
                f"  about {span(cost.seconds)} per slice, {span(cost.seconds * len(left))} for {len(left)} slices, and "
                f"{cost.bytes / 1e9:.2g} GB of additional memory"
            )
            return
        before, problem = problem, with_errors(problem, sized, seed, n)
        if problem is not before:
            say(
                f"  noise estimated from residuals: sigma {problem.sigma:.3g}; including the errors of the estimated "
                f"{', '.join(problem.estimated)}: {problem.excess**0.5:.2f} times that"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PoorFit)  # reported by `examine` below
            solution = solve_there(
                sized, problem.operator, problem.y, samples - done, choice.method, n_steps, seed, numbers=[n],
                first=done, antithetic=antithetic, noise_checks=False,
            )  # fmt: skip
        more = Reconstruction.of(solution, problem)
        found[n] = found[n].followed_by(more) if done else more
        write_reconstruction(path, found, provenance | {"citation": solution.cite()})
        with drawing(out / f"slice-{n:03d}.png"):
            _draw(out / f"slice-{n:03d}.png", f"{file.name}, slice {n}, {solution.method}", problem, solution)
        checked = examine(solution, problem.operator, problem.y, sigma_estimated="sigma" in problem.estimated)
        chi2 = "" if checked.chi2 is None else f", mean squared residual {float(checked.chi2):.2f} sigma^2"
        cost = f"{solution.nfe} evaluations + {solution.nvjp} backward passes per sample, {solution.seconds:.1f} s"
        say(f"  {cost}{chi2}")
        figures = {"slice": described, "samples": f"{len(found[n].samples)}; the last ones took {cost}"}
        if checked.chi2 is not None:
            figures["chi^2 of the residual"] = f"{float(checked.chi2):.3f}, about 1 if the samples explain k-space"
        reference = None
        for name, picture in _references(file, n, one, None if accelerate is None else whole).items():
            figures[f"compared with {name}"], reference = _against(picture, found[n])
            say(f"  compared with {name}: {figures[f'compared with {name}']}")
        oriented = turned(sized, solution.samples[0, :2])
        blamed = [] if any(level) else suspects(problem, before)  # a wrong sigma explains what they would report
        cautions = [*blamed, *checked.warnings[0], *filter(None, [oriented])]
        for text in cautions:
            say(f"  caution: {text}", "yellow")
        figures |= {"method": f"{solution.method}, {n_steps} steps", "paper": solution.cite()} | command
        with drawing(out / page_name(n)):
            zero_filled = problem.zero_filled[0, 0] * problem.scale
            write_slice(out, n, f"{file.name}, slice {n}", found[n], zero_filled, reference, figures, doubts + cautions)
    nothing = ", ".join(map(str, empty))
    if empty and len(empty) == len(numbers):
        raise ValueError(f"slices {nothing} are zero everywhere: nothing was measured; choose others by --slices")
    if found and (left or not (out / "index.html").exists()):
        with drawing(out / "index.html"):
            write_index(out, f"{file.name}: {len(found)} slices", found, {"prior": prior} | command)
        say(f"pages: {out / 'index.html'}")
    say(f"{len(found)} slices in {path}")
    if empty:
        say(f"caution: left out slices {nothing}, which are zero everywhere: nothing was measured", "yellow")


def _posed(one: Scan, channels: int, sigma: float | None, accelerated: bool) -> Problem:
    try:
        return one.problem(0, channels, sigma)
    except ValueError as error:
        if not accelerated:
            raise
        raise ValueError(f"{error}; set the fraction of columns kept in the middle by --calibration") from None


def _reader(file: Path) -> Callable[[Path, list[int]], Scan]:
    return read_raw if is_raw(file) else read_scan


def _read(file: Path, n: int) -> tuple[Scan, list[str]]:
    """A slice, and the warnings about its k-space."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", KSpaceWarning)
        one = _reader(file)(file, [n])
    return one, [str(w.message) for w in caught if issubclass(w.category, KSpaceWarning)]


def _plan(one: Scan, problem: Problem, estimated: bool) -> str:
    """The description of a slice, printed before it is solved."""
    mask, (height, width) = one.mask[0], one.size
    rows, columns = calibration_region(mask)
    coils = "1 coil" if one.coils is None else f"{one.coils} coils"
    if one.coils is not None:
        coils += f" ({'estimated' if one.sensitivities is None else 'from the file'})"
    coils += ", whitened by the noise scan, which changes the picture's unit and shading" * one.whitened
    if problem.noise_ratio > 1:
        coils += f", whitened as their noise differs by a factor of {problem.noise_ratio:.2g}"
    return (
        f"slice {one.slices[0]} of {one.total}: {height} x {width}, {coils}, acceleration "
        f"{1 / float(mask.float().mean()):.2f}, calibration {rows.stop - rows.start} x {columns.stop - columns.start}, "
        f"scale {problem.scale:.4g}, sigma {problem.sigma:.3g} ({'estimated' if estimated else 'given'}), "
        f"{problem.sigma / problem.scale:.3g} relative to the scale"
    )


def _references(file: Path, n: int, one: Scan, whole: Scan | None) -> dict[str, Tensor]:
    """Magnitudes that a slice can be compared with, by name: of the fully sampled scan, if that is given, and the
    file's."""
    found = {} if whole is None else {"the fully sampled scan": whole.zero_filled(0)}
    rss = read_rss(file, n)
    if rss is not None and all(a <= b for a, b in zip(rss.shape, one.size, strict=True)):
        found["the file's reconstruction_rss"] = rss
    return found


def _against(whole: Tensor, found: Reconstruction) -> tuple[str, Tensor]:
    """PSNR and SSIM of the mean against a reference magnitude (h, w), cropped to its middle; the mean is scaled to the
    reference by least squares. Noise of the reference counts as signal. Also the reference in units of the mean."""
    mean = found.mean.abs()
    top, left = (a // 2 - b // 2 for a, b in zip(mean.shape, whole.shape, strict=True))
    mean = mean[top : top + whole.shape[0], left : left + whole.shape[1]].double()
    factor = float((mean * whole).sum() / mean.square().sum().clamp_min(1e-300))
    if abs(factor - 1) < UNITS:
        factor = 1.0
    peak = whole.max()
    estimate, truth = (z[None, None].float() for z in (factor * mean / peak, whole / peak))
    text = f"PSNR of the mean {psnr(estimate, truth).item():.2f} dB, SSIM {ssim(estimate, truth).item():.3f}"
    return text + (f", after scaling by {factor:.4g}" if factor != 1 else ""), whole / (factor or 1.0)


def _draw(path: Path, title: str, problem: Problem, solution: Solution) -> None:
    shown = [Column("zero-filled", problem.zero_filled), Column("mean", solution.mean)]
    shown += [Column(f"sample {k + 1}", x) for k, x in enumerate(solution.samples.unbind(1)[:SHOWN])]
    if solution.samples.shape[1] > 1:
        shown.insert(2, Column("std", solution.std, spread=True))
    gallery(path, {title: shown})


def _steps_of(path: Path) -> int | None:
    """The number of steps of the slices in the file; None without one."""
    return None if not path.exists() else int(read_reconstruction(path)[1].get("steps", 0)) or None


def _done(path: Path, provenance: dict[str, str | float]) -> dict[int, Reconstruction]:
    """The slices already in the file, if it is of a run with the same arguments.

    Raises: ValueError for a file of another run.
    """
    if not path.exists():
        return {}
    found, held = read_reconstruction(path)
    if other := [
        f"{key} {held.get(key)!r}, now {value!r}"
        for key, value in provenance.items()
        if key != "n_samples" and held.get(key) != value
    ]:
        raise ValueError(f"{path} is of another run ({'; '.join(other)}): give another --out, or remove the file")
    return found


def _version() -> str:
    return metadata.version("score-inverse")

"""Cone-beam CT of volumes: a prior of slices beside the reconstruction of Feldkamp and total variation."""

import time
import warnings
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor
from torch.nn.functional import interpolate

import priors
from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.keys import code_behind, key
from benchmarks.common.processes import apart
from benchmarks.common.provenance import RESULTS
from benchmarks.common.records import Records
from benchmarks.common.tv import total_variation
from benchmarks.suite.scores import crps
from benchmarks.trained.plan_accuracy import Growth
from benchmarks.trained.volumes import volumes
from inverse import solve
from inverse.costs import work as clocked
from inverse.plan import plan
from inverse.quality import psnr, residual_chi2
from inverse.quality.ranks import ranks
from operators import ConeBeam, GaussianNoise
from priors import Slices
from priors.heap import separate_blocks

PRIOR, VIEWS = "ct", 60
SIGMA = 0.3  # of [4095 HU x voxel] for 128 voxels along a side; proportional to the side, as the integrals are
TURN, SHRINK = 30.0, 0.2  # of the body: degrees over the volume, and the share by which its ends are smaller
TRUTH, FITTED = 0, 1  # test slices of the prior: of the truth, and of the volume that the coupling is taken from
PHANTOMS = ("body", "ellipsoids")
METHODS = ("FDK", "FDK, Hann window", "total variation", "slices", "coupled slices")
AIR, SKIN, LUNG, BONE = -1000.0, 40.0, -800.0, 700.0  # HU
# (HU, semi-axes and centre along slices, rows and columns; half a side is 1; degrees about the axis of the slices)
ELLIPSOIDS = (
    (SKIN, (0.95, 0.62, 0.86), (0.0, 0.0, 0.0), 0.0),
    (LUNG, (0.75, 0.40, 0.26), (-0.1, -0.08, -0.42), 8.0),
    (LUNG, (0.70, 0.42, 0.28), (-0.1, -0.06, 0.42), -6.0),
    (60.0, (0.40, 0.24, 0.22), (0.1, -0.12, 0.06), 20.0),
    (BONE, (1.20, 0.09, 0.10), (0.0, 0.40, 0.0), 0.0),
    (0.0, (1.20, 0.035, 0.04), (0.0, 0.40, 0.0), 0.0),
    (90.0, (0.30, 0.30, 0.36), (0.7, -0.05, -0.25), 12.0),
    (-100.0, (0.12, 0.10, 0.16), (0.55, 0.2, 0.4), 40.0),
    (BONE, (0.08, 0.03, 0.12), (-0.5, -0.5, 0.2), 25.0),
    (30.0, (0.07, 0.07, 0.07), (-0.2, 0.1, -0.42), 0.0),
)


def body(n: int, slice_: int) -> Tensor:
    """(1, 1, n, n, n): a test slice of the prior that turns and shrinks along the axis, image units."""
    picture = interpolate(priors.samples(PRIOR).floats(slice(slice_, slice_ + 1)), (n, n), mode="area")
    return volumes(picture, n, TURN / n, 2 * SHRINK / n)


def ellipsoids(n: int, moved: float = 0.0, fine: int = 2) -> Tensor:
    """(1, 1, n, n, n): organs as ellipsoids of constant HU, later ones over earlier ones, image units.

    Arguments: moved: by which all but the first are moved along the slices, in half sides; fine: subvoxels of a side.
    """
    line = (torch.arange(n * fine) - (n * fine - 1) / 2) / (n * fine / 2)
    units = priors.load(PRIOR).units
    assert units is not None
    z, y, x = line[:, None, None], line[:, None], line
    hu = torch.full((n * fine,) * 3, AIR)
    for i, (value, axes, centre, turn) in enumerate(ELLIPSOIDS):
        angle = torch.tensor(turn).deg2rad()
        w, v, u = z - centre[0] - moved * (i > 0), y - centre[1], x - centre[2]
        v, u = v * angle.cos() - u * angle.sin(), v * angle.sin() + u * angle.cos()
        hu[((w / axes[0]) ** 2 + (v / axes[1]) ** 2 + (u / axes[2]) ** 2 < 1).expand_as(hu)] = value
    means = torch.nn.functional.avg_pool3d(hu[None, None], fine)
    return (means - units.zero) / (units.one - units.zero)


def made(phantom: str, n: int) -> tuple[Tensor, float]:
    """A phantom, and the coupling: the root mean square difference of neighbouring slices of a similar one."""
    truth, other = (body(n, TRUTH), body(n, FITTED)) if phantom == "body" else (ellipsoids(n), ellipsoids(n, 0.15))
    return truth, float(other.diff(dim=2).square().mean().sqrt())


def scanner(n: int) -> ConeBeam:
    """60 views of n x n detectors, which cover a cube of n^3 voxels; the source is at two sides of it."""
    seen = max(ConeBeam(VIEWS, 2.0 * n, n, n).detectors_for(n))
    spacing = 1.5 * seen / n
    return ConeBeam(VIEWS, 2.0 * n, n, n, (n, n), spacing, GaussianNoise(SIGMA * n / 128))


def measured(phantom: str, n: int, method: str, samples: int, steps: int, tv_steps: int, seed: int) -> dict[str, Any]:
    """One method on a phantom, in this process, as plain data."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    separate_blocks()  # memory as it is needed, not as it is kept
    clocked.clock = time.process_time
    (truth, tau), operator, facts = made(phantom, n), scanner(n), {}
    y = operator.measure(truth, seed=seed)
    operator.adjoint(y)  # the matrix is made once
    if "slices" in method:
        network = priors.load(PRIOR, event_shape=(1, n, n))
        prior = Slices(network, n, coupling=tau if "coupled" in method else None)
        given: Any = (prior, operator, y, samples, "auto", steps or None)
        predicted = plan(*given)
    with Growth() as growth:
        start = time.process_time()
        if "slices" in method:
            solution = solve(*given, seed=seed, progress=False)
            found = solution.mean
        elif method == "total variation":
            found = total_variation(operator, y, tv_steps)
        else:
            found = operator.fdk(y, "hann" if "Hann" in method else "ramp")
        seconds = time.process_time() - start
    if "slices" in method:
        judged = ranks(truth, solution.samples)
        facts = {
            "crps": crps(truth, solution.samples, torch.full((1, samples), 1 / samples)).item(),
            "coverage80": judged.coverage(0.8).item(),
            "coverage95": judged.coverage(0.95).item(),
            "method": f"{solution.method}, {solution.nfe} evaluations and {solution.nvjp} backward passes per sample",
            "predicted seconds": predicted.seconds,
            "predicted bytes": predicted.bytes,
        }
    return {
        "psnr": psnr(found, truth).item(),
        "rms": (found.clamp(0, 1) - truth).square().mean().sqrt().item(),
        "crps": (found - truth).abs().mean().item(),
        "chi2": residual_chi2(operator, y, found).item(),
        "seconds": seconds,
        "bytes": growth.bytes,
        "coupling": tau,
    } | facts


def run(
    phantoms: list[str], n: int, methods: list[str], samples: int, steps: int, tv_steps: int, seed: int, work: Path
) -> list[dict[str, str]]:
    """A row of texts per phantom and method; finished runs in ``work`` are reused."""
    kept, rows = Records(work / "cone.jsonl"), []
    own = code_behind((ConeBeam, Slices, volumes, total_variation, measured), ())
    for phantom in phantoms:
        for method in methods:
            facts = {"phantom": phantom, "n": n, "method": method, "samples": samples, "seed": seed}
            facts |= {"steps": steps} if "slices" in method else {"steps": tv_steps} if "total" in method else {}
            name = key("cone", code=own, **facts)
            if name not in kept.found:
                kept.add(name, apart(measured, phantom, n, method, samples, steps, tv_steps, seed))
            rows.append(_row(phantom, method, samples, tv_steps, kept.found[name]))
    return rows


def _row(phantom: str, method: str, samples: int, tv_steps: int, found: dict[str, Any]) -> dict[str, str]:
    def shown(name: str, digits: int, factor: float = 1.0) -> str:
        return f"{factor * found[name]:.{digits}f}" if name in found else "-"

    label = {
        "total variation": f"total variation, {tv_steps} iterations",
        "slices": f"solve, independent slices: mean of {samples} samples ({found.get('method', '')})",
        "coupled slices": f"solve, coupled slices: mean of {samples} samples ({found.get('method', '')})",
    }.get(method, method)
    return {
        "phantom": phantom,
        "method": label,
        "PSNR, dB": shown("psnr", 2),
        "RMS error, HU": shown("rms", 1, 4095),
        "CRPS, HU": shown("crps", 1, 4095),
        "coverage of 80 %": shown("coverage80", 1, 100),
        "coverage of 95 %": shown("coverage95", 1, 100),
        "chi^2": shown("chi2", 2),
        "seconds": shown("seconds", 1),
        "predicted": shown("predicted seconds", 1),
        "memory, MB": shown("bytes", 0, 1e-6),
        "memory predicted": shown("predicted bytes", 0, 1e-6),
    }


def run_cone(
    size: Annotated[int, typer.Option(help="voxels along a side, and detectors; 128 takes half an hour")] = 64,
    phantom: Annotated[list[str] | None, typer.Option(help="body or ellipsoids; default: both")] = None,
    method: Annotated[list[str] | None, typer.Option(help=f"one of {', '.join(METHODS)}; default: all")] = None,
    samples: int = 4,
    steps: Annotated[int, typer.Option(help="of solve; 0: as many as solve takes by itself")] = 0,
    tv_steps: Annotated[int, typer.Option(help="iterations of total variation")] = 200,
    seed: Seed = 0,
    work: Annotated[Path, typer.Option(help="finished work is stored here and reused")] = Path("runs/cone"),
    out: Out = RESULTS,
) -> None:
    """Volumes from 60 cone-beam views: the prior `ct` of slices, Feldkamp's reconstruction and total variation."""
    for given, known, what in ((phantom, PHANTOMS, "phantom"), (method, METHODS, "method")):
        if given and (wrong := {*given} - {*known}):
            raise ValueError(f"--{what} {', '.join(wrong)}: expected one of {', '.join(known)}")
    phantoms, methods = phantom or list(PHANTOMS), method or list(METHODS)
    table = run(phantoms, size, methods, samples, steps, tv_steps, seed, work)
    notes = (
        f"{size}^3 voxels from {VIEWS} views of {size} x {size} detectors on a whole turn, the source at two sides of "
        "the cube from the axis, the detector at one; measured by the operator that reconstructs, with noise "
        f"{SIGMA * size / 128:.3g} of [4095 HU x voxel]. Phantoms: `body`, a test slice of prior `{PRIOR}` that turns "
        f"by {TURN:g} degrees and shrinks by {100 * SHRINK:g} % towards the ends, as the data has no volumes; "
        "`ellipsoids`, ten ellipsoids of constant HU, which is the assumption of total variation and is unlike the "
        "prior's slices. One volume each: a trial. The coupling is the root mean square difference of neighbouring "
        "slices of a similar phantom. CRPS of a single estimate is its mean absolute error. Seconds of the processor, "
        "of all samples; memory: growth of the resident set. Predicted: by `inverse.plan` before the solve."
    )
    settings = {"size": size, "samples": samples, "steps": steps, "tv_steps": tv_steps, "seed": seed}
    finish("cone", "Volumes from cone-beam views", table, notes, out, **settings)

"""Time against quality on trained priors: our methods and those of other toolkits, each at several numbers of steps."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from torch import Tensor

import priors
from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.keys import fingerprint, key
from benchmarks.common.provenance import RESULTS
from benchmarks.common.records import Records
from benchmarks.peers import PEERS
from benchmarks.peers.base import MODULES, require
from benchmarks.trained.efficiency import SCENES, SIGMA, Scene, crops, gathered, scored
from inverse import METHODS, solve
from inverse.auto import NETWORK_VARIANTS
from inverse.methods import Sampler
from operators import Operator
from priors import Prior
from priors.files import atomic

SAMPLES, IMAGES = 4, 2
WORK = Path("runs/curves")


@dataclass(frozen=True)
class Entry:
    """A method at one number of steps. Attributes: curve (the method's name); steps (None: what "auto" takes); default:
    whether these are the steps that it takes if none are given; peer: whether it is another toolkit's; antithetic:
    whether samples come in pairs of opposite noise, whose mean is the better estimate."""

    curve: str
    steps: int | None
    default: bool = False
    peer: bool = False
    antithetic: bool = False

    @property
    def name(self) -> str:
        """In tables."""
        return self.curve + ", antithetic" * self.antithetic + " (default)" * self.default


def _ours(name: str, *steps: int) -> list[Entry]:
    default = (METHODS | NETWORK_VARIANTS)[name].n_steps
    return [Entry(name, n, n == default) for n in steps]


def _theirs(name: str, *steps: int) -> list[Entry]:
    return [Entry(name, n, n == PEERS[name].defaults["steps"], peer=True) for n in steps]


ENTRIES = (
    Entry("auto", None, True),
    Entry("auto", None, antithetic=True),
    *_ours("mmps, one pass", 4, 6, 10, 16),
    *_ours("mmps", 6, 10, 16, 32),
    *_ours("ddrm", 10, 20, 50),
    *_ours("diffpir", 25, 100),
    *_ours("dps", 25, 100),
    *_theirs("deepinv ddrm", 25, 100),
    *_theirs("deepinv diffpir", 25, 100),
    *_theirs("deepinv moment matching", 25, 100),
    *_theirs("deepinv dps", 1000),
    *_theirs("azula mmps", 16, 64),
    *_theirs("azula dps", 16, 64),
)
OF = ("natural, 64 px", "brain-mri", "fashion-mnist")  # scenes


def measured(prior: Prior, operator: Operator, truth: Tensor, entry: Entry, samples: int, seed: int) -> dict:
    """Quality of the samples of one image (1, *E), and passes and processor time of a sample, as plain data."""
    y = operator.measure(truth, seed=seed)
    if entry.peer:
        for module in MODULES[PEERS[entry.curve].package]:  # now: imports are not to be timed
            require(PEERS[entry.curve].package, module)
    start = time.process_time()
    if entry.peer:
        draws = PEERS[entry.curve].run(prior, operator, y, samples, seed, steps=entry.steps)
        drawn, nfe, nvjp = draws.samples[None], draws.nfe, draws.nvjp
    else:
        method: str | Sampler = entry.curve if entry.curve in (*METHODS, "auto") else NETWORK_VARIANTS[entry.curve]
        settings = {"seed": seed, "precision": "auto", "antithetic": entry.antithetic, "progress": False}
        solution = solve(prior, operator, y, samples, method, entry.steps, **settings)
        drawn, nfe, nvjp = solution.samples, solution.nfe, solution.nvjp
    seconds = (time.process_time() - start) / samples
    found = scored(drawn, truth)
    if entry.antithetic:  # CRPS and coverage are of independent samples: those of each half
        first, second = (scored(drawn[:, half::2], truth) for half in (0, 1))
        found["crps"] = (first["crps"] + second["crps"]) / 2
        found["covers"] = [(a + b) / 2 for a, b in zip(first["covers"], second["covers"], strict=True)]
    return found | {"nfe": nfe, "nvjp": nvjp, "seconds": seconds}


Found = list[tuple[str, str, Entry, dict | None]]  # label of the scene, measurement, entry and record, None if refused


def run(scenes: Sequence[Scene], entries: Sequence[Entry], work: Path, seed: int = 0) -> Found:
    """Label of the scene, measurement, entry and record of each; those that lie in ``work`` are read."""
    kept, found = Records(work / "curves.jsonl"), []
    for scene in scenes:
        prior = priors.load(scene.prior)
        if scene.side is not None:
            prior = prior.resized((prior.event_shape[0], scene.side, scene.side))
        truth = crops(scene.prior, prior.event_shape[-1], scene.images)
        for title, make in scene.operators.items():
            operator = make(tuple(prior.event_shape))
            for entry in entries:
                if entry.peer and PEERS[entry.curve].needs - operator.capabilities:
                    found.append((scene.label, title, entry, None))
                    continue
                records = []
                for image in range(scene.images):
                    facts = {"prior": fingerprint(prior), "task": title, "shape": tuple(prior.event_shape)}
                    facts |= {"curve": entry.curve, "steps": entry.steps, "samples": scene.samples}
                    facts |= {"antithetic": True} if entry.antithetic else {}
                    name = key("curves", image=image, seed=seed + image, **facts)
                    if name not in kept.found:
                        one = truth[image : image + 1]
                        kept.add(name, measured(prior, operator, one, entry, scene.samples, seed + image))
                    records.append(kept.found[name])
                found.append((scene.label, title, entry, gathered(records)))
    return found


def table(found: Found) -> list[dict[str, str]]:
    """A row per entry, and its time over that of our cheapest entry that is at least as good by CRPS and PSNR."""
    rows = []
    for label, title, entry, record in found:
        if record is None:
            continue
        ours = [r for lab, t, e, r in found if (lab, t) == (label, title) and r is not None and not e.peer]
        rows.append(
            {
                "prior": label,
                "measurement": title,
                "method": entry.name,
                "evaluations + passes": f"{record['nfe']:.0f} + {record['nvjp']:.0f}",
                "PSNR of the mean, dB": f"{record['psnr']:.2f}",
                "CRPS, thousandths": f"{_mean(record['crps']):.2f}",
                "80 %, 95 % intervals cover": "{:.1f}, {:.1f}".format(*record["covers"]),
                "seconds a sample": f"{_mean(record['seconds']):.3f}",
                "our time to its CRPS": _share(record, [r for r in ours if _mean(r["crps"]) <= _mean(record["crps"])]),
                "our time to its PSNR": _share(record, [r for r in ours if r["psnr"] >= record["psnr"]]),
            }
        )
    return rows


def _share(record: dict, better: list[dict]) -> str:
    """The least time of those over that of a record."""
    if not better:
        return "not reached"
    return f"{min(_mean(r['seconds']) for r in better) / _mean(record['seconds']):.3f}"


def plot(found: Found, path: Path) -> None:
    """Seconds a sample against CRPS, a panel per measurement and a curve per method; a PNG, written atomically."""
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys((label, title) for label, title, _, _ in found))
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.4 * rows), dpi=110, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis, panel in zip(axes, panels, strict=False):
        curves: dict[str, list[tuple[float, float, Entry]]] = {}
        for label, title, entry, record in found:
            if (label, title) == panel and record is not None and not entry.antithetic:
                point = (_mean(record["seconds"]), _mean(record["crps"]), entry)
                curves.setdefault(entry.curve, []).append(point)
        for curve, points in curves.items():
            points.sort(key=lambda point: point[0])
            style: dict[str, Any] = {"linestyle": "--", "marker": "s"} if points[0][2].peer else {"marker": "o"}
            style |= {"markersize": 9, "marker": "*", "color": "black"} if curve == "auto" else {"markersize": 4}
            axis.plot([p[0] for p in points], [p[1] for p in points], label=curve, linewidth=1.2, **style)
        axis.set(xscale="log", yscale="log", title=", ".join(panel), xlabel="seconds a sample", ylabel="CRPS / 1000")
        axis.title.set_fontsize(9)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def run_curves(
    prior: Annotated[list[str] | None, typer.Option(help="of the scenes; default: all; repeat")] = None,
    images: Annotated[int, typer.Option(help="of each measurement")] = IMAGES,
    samples: Annotated[int, typer.Option(help="of each image")] = SAMPLES,
    seed: Seed = 0,
    work: Annotated[Path, typer.Option(help="folder of the records; a killed run continues there")] = WORK,
    out: Out = RESULTS,
) -> None:
    """Time against CRPS and PSNR of our methods and other toolkits', on trained priors."""
    scenes = [replace(s, images=images, samples=samples) for s in SCENES if s.label in OF]
    found = run([s for s in scenes if not prior or s.prior in prior], ENTRIES, work, seed)
    notes = (
        f"Images shipped with the priors, sigma_y {SIGMA:g}; {images} images, {samples} samples of each, the same y "
        "for all. Each toolkit's methods draw from the same prior with its own settings, at its default number of "
        "steps (marked) and at others. Seconds are of processor time, one thread. Our networks compute in bfloat16 "
        "where precision='auto' does, those of other toolkits in float32. Our time to its CRPS (PSNR): the time of our "
        "cheapest row that is at least as good, over that of this row. A method that a toolkit does not have for an "
        "operator is left out. The plot is peers/curves.png."
    )
    finish("curves", "Time against quality", table(found), notes, out / "peers", seed=seed)
    plot(found, out / "peers" / "curves.png")

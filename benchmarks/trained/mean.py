"""The posterior mean by antithetic pairs against independent samples: how many it takes, and its actual error."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

import priors
from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.keys import code, fingerprint, key
from benchmarks.common.provenance import RESULTS
from benchmarks.common.records import Records
from benchmarks.trained.efficiency import SCENES, Scene, crops
from inverse import posterior_mean, solve
from inverse.app import mean as estimator
from inverse.quality import psnr
from operators import Operator
from priors import Prior

ERRORS = (0.3, 0.1)
REFERENCE, MOST = 96, 48  # samples of the reference, in pairs of their own random numbers, and of an estimate
LABELS = ("natural, 64 px", "brain-mri", "fashion-mnist")


@dataclass(frozen=True)
class Reference:
    """A mean of many pairs. Attributes: mean (1, *E); error: its relative standard error; std: root mean square of the
    posterior's standard deviation."""

    mean: Tensor
    error: float
    std: float

    @classmethod
    def of(cls, prior: Prior, operator: Operator, y: Tensor, seed: int) -> "Reference":
        found = solve(prior, operator, y, REFERENCE, seed=seed, antithetic=True, progress=False, precision="auto")
        return cls(found.mean, float(estimator.relative_error(found)), float(found.std.square().mean().sqrt()))

    def away(self, mean: Tensor) -> float:
        """The relative error of another estimate (1, *E), without that of this one."""
        squared = float(((mean - self.mean) / self.std).square().mean())
        return max(squared - self.error**2, 0.0) ** 0.5


def execute(prior: Prior, operator: Operator, truth: Tensor, seed: int) -> dict:
    """The figures of one image, as plain data."""
    y = operator.measure(truth, seed=seed)
    reference = Reference.of(prior, operator, y, seed + 1)
    record: dict = {"reference": psnr(reference.mean, truth).item(), "reference error": reference.error}
    for error in ERRORS:
        start = time.process_time()
        found = posterior_mean(prior, operator, y, error, MOST, seed=seed, progress=False, precision="auto")
        seconds, n = time.process_time() - start, found.n_samples
        plain = solve(prior, operator, y, n, seed=seed, progress=False, precision="auto")
        record[f"{error:g}"] = {
            "samples": n,
            "seconds": seconds,
            "stated": float(found.error),
            "actual": reference.away(found.mean),
            "independent": reference.away(plain.mean),
            "psnr": psnr(found.mean, truth).item(),
            "psnr independent": psnr(plain.mean, truth).item(),
        }
    return record


def rows(scene: Scene, title: str, records: list[dict]) -> list[dict[str, str]]:
    """A row per error asked for, of the records of all images of one measurement."""
    found = []
    for error in ERRORS:
        of = [record[f"{error:g}"] for record in records]

        def mean(name: str, of: list[dict] = of) -> float:
            return sum(one[name] for one in of) / len(of)

        def rms(name: str, of: list[dict] = of) -> float:
            return (sum(one[name] ** 2 for one in of) / len(of)) ** 0.5

        samples = sorted(one["samples"] for one in of)
        loss = sum(record["reference"] for record in records) / len(records)
        found.append(
            {
                "prior": scene.label,
                "measurement": title,
                "error asked": f"{error:g}",
                "samples": f"{samples[0]} to {samples[-1]}",
                "seconds": f"{mean('seconds'):.1f}",
                "stated error": f"{rms('stated'):.3f}",
                "actual error": f"{rms('actual'):.3f}",
                "of as many independent samples": f"{rms('independent'):.3f}",
                "independent samples for the asked error": f"{1 / error**2:.0f}",
                "PSNR, dB (independent; reference)": f"{mean('psnr'):.2f} ({mean('psnr independent'):.2f}; {loss:.2f})",
            }
        )
    return found


def run_mean(
    prior: Annotated[list[str] | None, typer.Option(help="; ".join(LABELS) + "; default: all; repeat")] = None,
    images: Annotated[int, typer.Option(help="of each measurement")] = 3,
    seed: Seed = 0,
    work: Annotated[Path, typer.Option(help="folder of the records; a killed run continues there")] = Path("runs/mean"),
    out: Out = RESULTS,
) -> None:
    """The posterior mean by antithetic pairs: samples, seconds, stated and actual error."""
    if wrong := [name for name in prior or () if name not in LABELS]:
        raise typer.BadParameter(f"{wrong}: expected of {list(LABELS)}", param_hint="--prior")
    torch.set_num_threads(1)
    kept, table = Records(work / "mean.jsonl"), []
    for scene in [scene for scene in SCENES if scene.label in (prior or LABELS)]:
        network = priors.load(scene.prior)
        if scene.side is not None:
            network = network.resized((network.event_shape[0], scene.side, scene.side))
        shape = tuple(network.event_shape)
        truth = crops(scene.prior, shape[-1], images)
        for title, make in scene.operators.items():
            records = []
            for image in range(images):
                facts = {"prior": fingerprint(network), "shape": shape, "task": title, "image": image, "seed": seed}
                name = key("mean", code=code(execute, Reference, posterior_mean), most=[REFERENCE, MOST], **facts)
                if name not in kept.found:
                    kept.add(name, execute(network, make(shape), truth[image : image + 1], seed + image))
                records.append(kept.found[name])
            table += rows(scene, title, records)
    notes = (
        "`inverse.posterior_mean` at its defaults on images shipped with the priors, one thread. Errors are root mean "
        "squares over the values of a picture and the images, as multiples of the posterior's standard deviation, with "
        f"regard to the mean of {REFERENCE} samples in pairs of other random numbers, whose own error is taken off. At "
        f"most {MOST} samples. Seconds are of processor time."
    )
    finish("mean", "The posterior mean to a stated error", table, notes, out, images=images, seed=seed)

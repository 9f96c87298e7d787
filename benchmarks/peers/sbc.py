"""Simulation-based calibration of whole posteriors: ours and other toolkits' samplers, truths drawn from the prior."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

import priors
from benchmarks.common.commands import Out, Seed, finish
from benchmarks.common.provenance import RESULTS
from benchmarks.exact.problems import image_mixture
from benchmarks.peers import PEERS, Peer, installed
from inverse import METHODS, Calibration, Solution, calibrate
from inverse.app.calibration.quantities import DATA, INTENSITY, LIKELIHOOD, MEAN
from operators import GaussianNoise, Masking, Operator
from priors import VPSDE, GaussianMixture, Prior

MIXTURE = "image-mixture"  # 20 components of 8 x 8 pixels in about [-1, 1], whose posterior is known
EXACT, IGNORANT = CONTROLS = ("exact-control", "prior-control")  # draws of the posterior; of the prior, whatever y is
Foreign = Callable[[Operator, Tensor, int, int], "Tensor | Solution"]


def run(
    prior_name: str,
    names: Sequence[str],
    n_draws: int,
    n_samples: int,
    seed: int,
    work: Path,
    peer_draws: int | None = None,
    progress: bool = True,
) -> dict[str, Calibration]:
    """The calibration of every method: half of the pixels are seen, with noise.

    Arguments: prior_name: "image-mixture", or as `priors.load`; names: in METHODS, "auto", in `PEERS`, or of the image
    mixture in `CONTROLS`, which must pass and fail; n_draws; n_samples; seed; work (folder): finished solves are kept
    there; peer_draws: of peers, default n_draws; progress.
    Returns: name -> `Calibration`.
    Raises: ValueError for unknown names.
    """
    known = ["auto", *METHODS, *PEERS, *CONTROLS]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{unknown}: expected of {known}")
    prior = image_mixture(VPSDE()) if prior_name == MIXTURE else priors.load(prior_name)
    # noise of the same size relative to the pictures' range
    noise = GaussianNoise(0.1 if prior_name == MIXTURE else 0.05)
    operator = Masking.random(tuple(prior.event_shape), keep=0.5, seed=0, noise=noise)
    methods = {name: method_of(name, prior) for name in names}
    return {
        name: calibrate(
            prior, operator, method, (peer_draws or n_draws) if name in PEERS else n_draws, n_samples, seed=seed,
            work=work / prior_name / name.replace(" ", "-"), progress=progress,
        )
        for name, method in methods.items()
    }  # fmt: skip


def method_of(name: str, prior: Prior) -> str | Foreign:
    """What `inverse.calibrate` takes for a name; as `run`.

    Raises: ValueError for a control of a prior whose posterior is unknown.
    """
    if name in PEERS:
        return peer_method(PEERS[name], prior)
    if name not in CONTROLS:
        return name
    if not isinstance(prior, GaussianMixture):
        raise ValueError(f"{name!r}: expected --prior {MIXTURE}, whose posterior is known")

    def exact_control(operator: Operator, y: Tensor, n_samples: int, seed: int) -> Tensor:
        return prior.posterior(operator, y).sample(n_samples, seed)

    def prior_control(operator: Operator, y: Tensor, n_samples: int, seed: int) -> Tensor:
        return prior.sample(n_samples, seed)

    return exact_control if name == EXACT else prior_control


def peer_method(peer: Peer, prior: Prior) -> Foreign:
    """A peer with its default settings, as a function that `inverse.calibrate` takes. Arguments: peer; prior."""

    def method(operator: Operator, y: Tensor, n_samples: int, seed: int) -> Solution:
        found = peer.run(prior, operator, y, n_samples, seed)
        weights = torch.zeros(1, n_samples)
        return Solution(found.samples[None], weights, peer.name, found.nfe, found.nvjp, found.seconds, seed)

    method.__name__ = peer.name.replace(" ", "-")
    return method


def row(name: str, found: Calibration) -> dict[str, str]:
    """The row of a method. Arguments: name; found."""
    tests = found.tests
    failed = sorted((test for test in tests if not test.passed), key=lambda test: test.adjusted)
    shown = {"intensity": INTENSITY, "likelihood": LIKELIHOOD, "to mean": MEAN, "to y": DATA}
    means = {
        f"rank, {title}": f"{float(found.ranks[what].mean()):.2f}" if what in found.ranks else "-"  # few samples
        for title, what in shown.items()
    }
    covered, low, high = found.coverage("pixels")
    return {
        "method": f"{name} ({found.method})" if name == "auto" else name,
        "draws x samples": f"{found.n_draws} x {found.n_samples}",
        "tests that fail": f"{len(failed)} of {len(tests)}",
        "80 % of pixels": f"{100 * covered:.0f} [{100 * low:.0f}, {100 * high:.0f}]",
        **means,
        "classifier, %": f"{100 * (found.accuracy or 0.0):.0f}",
        "strongest": f"{failed[0].name}, {failed[0].adjusted:.1g}" if failed else "-",
        "NFE": f"{found.nfe} + {found.nvjp} vjp" if found.nfe else "-",
        "seconds": f"{found.seconds:.0f}",
    }


def run_sbc(
    prior: Annotated[str, typer.Option(help=f"{MIXTURE}, a shipped prior or a checkpoint folder")] = MIXTURE,
    method: Annotated[
        list[str] | None,
        typer.Option(help="of METHODS, auto, a peer or a control; repeat; default: auto, ddrm, peers and controls"),
    ] = None,
    draws: int = 100,
    samples: int = 19,
    peer_draws: Annotated[int | None, typer.Option(help="draws of the peers; default: as the others")] = None,
    seed: Seed = 0,
    work: Annotated[Path, typer.Option(help="finished solves are stored here and reused")] = Path("runs/sbc"),
    out: Out = RESULTS,
) -> None:
    """Are samples draws of the posterior? Truths of the prior, ranks, expected coverage, a classifier; with peers."""
    peers = [name for name, peer in PEERS.items() if installed(peer)]
    names = method or ["auto", "ddrm", *peers, *(CONTROLS if prior == MIXTURE else ())]
    found = run(prior, names, draws, samples, seed, work, peer_draws)
    table = [row(name, calibration) for name, calibration in found.items()]
    for name, calibration in found.items():
        if name in PEERS:
            continue
        calibration.draw(Path(out) / "sbc" / f"{prior}-{name.replace(' ', '-')}.png", f"{prior}, {name}")
    noise = ".1" if prior == MIXTURE else ".05"
    notes = (
        f"Prior {prior}; half of the pixels are seen, with noise of {noise}. Truths are draws of the prior, so only "
        "the method is tested. Tests that fail: of `inverse.calibrate`, at 5 % over all tests of a method. 80 % of "
        "pixels: truths within central 80 % intervals, with a 95 % confidence interval. Rank: the mean rank of the "
        "truth among its samples, .50 if right: of the mean intensity; of the likelihood of y (low: samples fit y too "
        "well); of the distance to the mean of half of the samples (high: samples are too narrow, or off); of the "
        "distance to a point made of y. Classifier: pairs in which it tells the truth from a sample, 50 by chance. "
        "Strongest: the test of the least adjusted p-value. Peers have their default settings."
    )
    if prior == MIXTURE:
        notes += (
            f" {EXACT} draws from the known posterior and must pass; {IGNORANT} draws from the prior, whatever y is, "
            "and must fail."
        )
    finish(
        f"sbc-{prior}", f"Simulation-based calibration, {prior}", table, notes, Path(out), samples=samples, seed=seed
    )

"""Distance of samples to the exact distribution, relative to exact draws (1 is a second set of exact draws)."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from torch import Tensor

from benchmarks.common.commands import Out, finish
from benchmarks.common.provenance import RESULTS
from benchmarks.exact.metrics import sliced_wasserstein, wasserstein2
from benchmarks.exact.problems import correlated_gaussian, image_mixture, random_map, two_pixels
from inverse import METHODS, Method, sample, solve
from inverse.auto import VARIANTS
from inverse.correctors import CORRECTORS, Langevin
from inverse.grids import uniform
from inverse.guidance import DPS, MMPS, Unconditional
from inverse.methods import ORDERS, Sampler
from inverse.predictors import DDIM, PREDICTORS, ProbabilityFlow, StochasticRungeKutta
from operators import GaussianNoise, Masking
from priors import SDE, VESDE, VPSDE, RectifiedFlowSDE, SubVPSDE

SDES: dict[str, SDE] = {"VE": VESDE(), "VP": VPSDE(), "sub-VP": SubVPSDE(), "flow": RectifiedFlowSDE()}
FLOOR_DRAWS = 4


def compositions(n_steps: int) -> Iterator[tuple[str, Sampler]]:
    """Name and method of every predictor alone and with every corrector, in both orders, and of every corrector alone.

    Arguments: n_steps with a predictor; correctors alone take the steps of the method "corrector".
    """
    predictors = {**{name: cls() for name, cls in PREDICTORS.items()}, "ddim, eta .5": DDIM(0.5)}
    for name, predictor in predictors.items():
        method = Method("exactness", Unconditional(), predictor, (), uniform, n_steps)
        yield name, method
        for corrector, order in product(CORRECTORS, ORDERS):
            yield f"{name}, {corrector}, {order}", replace(method, correctors=(CORRECTORS[corrector](),), order=order)
    alone = METHODS["corrector"]
    yield "annealed_langevin alone", alone
    yield "langevin alone", replace(alone, correctors=(Langevin(0.3),))


def unconditional(n: int, n_steps: int) -> Iterator[dict[str, str]]:
    """Every SDE x composition on a correlated Gaussian of 16 dimensions; W2 of n samples."""
    for sde_name, sde in SDES.items():
        prior = correlated_gaussian(sde)
        floor, reference = _floor(wasserstein2, prior, n)
        for name, method in compositions(n_steps):
            distance = wasserstein2(sample(prior, n, method, progress=False), reference)
            what = "Gaussian, d = 16, unconditional"
            yield _row(what, f"{sde_name}, {name}", method.n_steps, "W2", distance, floor)


def linear_gaussian(n: int, n_steps: int) -> Iterator[dict[str, str]]:
    """MMPS on 6 random measurements of the same Gaussian; W2 of n samples to the exact posterior."""
    for sde_name, sde in SDES.items():
        prior, operator = correlated_gaussian(sde), random_map(16, 6, 0.1)
        y = operator.measure(prior.sample(1, seed=1), seed=0)
        floor, reference = _floor(wasserstein2, prior.posterior(operator, y), n)
        solution = solve(prior, operator, y, n, METHODS["mmps"], n_steps, progress=False)
        distance = wasserstein2(solution.samples[0], reference)
        yield _row("Gaussian, d = 16, 6 measurements", f"{sde_name}, mmps", n_steps, "W2", distance, floor)


def pixels(n: int) -> Iterator[dict[str, str]]:
    """The two-pixel test: the second pixel is N(1.20, .60^2)."""
    for sde_name, sde in SDES.items():
        prior, operator, y = two_pixels(sde)
        for name in ("mmps", "pigdm", "replacement"):
            second = solve(prior, operator, y, n, name, progress=False).samples[0, :, 1]
            found = f"{second.mean():.3f} +- {second.std():.3f}"
            yield {"problem": "two pixels", "method": f"{sde_name}, {name}", "steps": str(METHODS[name].n_steps),
                   "measure": "second pixel", "found": found, "exact draws": "1.200 +- 0.600",
                   "ratio": "-"}  # fmt: skip


def mixture(n: int, instances: int) -> Iterator[dict[str, str]]:
    """The image mixture, 40 % of the pixels, sigma_y .1: sliced W2 to the exact posterior, mean over instances."""
    prior = image_mixture(VPSDE())
    methods = {
        "mmps": (METHODS["mmps"], None),
        "mmps, fast": (VARIANTS["mmps, fast"], None),
        "mmps, stochastic Runge-Kutta, 5 CG": (Method("mmps", MMPS(5), StochasticRungeKutta()), 50),
        "mmps, Heun flow, 5 CG": (Method("mmps", MMPS(5), ProbabilityFlow()), 50),
        "mmps, ancestral, 5 CG": (Method("mmps", MMPS(5)), 100),
        "pigdm": (METHODS["pigdm"], None),
        "replacement": (METHODS["replacement"], None),
        **{f"dps, zeta {zeta:g}": (replace(METHODS["dps"], guidance=DPS(zeta)), 250) for zeta in (3.0, 10.0, 30.0)},
    }
    found: dict[str, list[float]] = {name: [] for name in methods}
    floors = []
    for i in range(instances):
        operator = Masking.random(prior.event_shape, keep=0.4, seed=i, noise=GaussianNoise(0.1))
        y = operator.measure(prior.sample(1, seed=100 + i), seed=i)
        floor, reference = _floor(sliced_wasserstein, prior.posterior(operator, y), n)
        floors.append(floor)
        for name, (method, steps) in methods.items():
            samples = solve(prior, operator, y, n, method, steps, seed=i, progress=False).samples[0]
            found[name].append(sliced_wasserstein(samples, reference))
    floor = sum(floors) / instances
    for name, (method, steps) in methods.items():
        distance = sum(found[name]) / instances
        yield _row("image mixture, 8 x 8", name, steps or method.n_steps, "sliced W2", distance, floor)


def run(n: int = 500, n_steps: int = 200, instances: int = 4) -> list[dict[str, str]]:
    """All of the above, as rows of texts.

    Arguments: n samples per set; n_steps of the Gaussian problems; instances of the mixture problem.
    """
    return [*unconditional(n, n_steps), *linear_gaussian(n, n_steps), *pixels(2000), *mixture(n, instances)]


def _floor(distance, law, n: int) -> tuple[float, Tensor]:
    """Mean distance between pairs of exact sets, and the reference set for samples."""
    reference = law.sample(n, seed=1000)
    return sum(distance(law.sample(n, seed=2000 + i), reference) for i in range(FLOOR_DRAWS)) / FLOOR_DRAWS, reference


def _row(problem: str, method: str, steps: int, measure: str, distance: float, floor: float) -> dict[str, str]:
    return {"problem": problem, "method": method, "steps": str(steps), "measure": measure,
            "found": f"{distance:.4f}", "exact draws": f"{floor:.4f}", "ratio": f"{distance / floor:.2f}"}  # fmt: skip


def run_exactness(samples: int = 500, steps: int = 200, instances: int = 4, out: Out = RESULTS) -> None:
    """Distance to exact distributions on analytic priors, beside that between two exact sets."""
    rows = run(samples, steps, instances)
    pairs = FLOOR_DRAWS
    notes = (
        f"{samples} samples per set; exact draws: the mean distance between {pairs} pairs of exact sets of that size."
    )
    finish("exactness", "Exactness", rows, notes, out, samples=samples, steps=steps, instances=instances)

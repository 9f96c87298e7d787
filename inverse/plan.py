"""What a solve will cost, told before it starts."""

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from inverse.methods import Method
from inverse.quality import PoorFit
from inverse.scale import ImplausibleScale
from inverse.solve import checked, rows_at_once, solve
from inverse.weights import UnreliableWeights
from operators import Operator
from priors import Prior, Tiled
from priors.base import Wrapped, expand
from priors.modes import own_modes
from priors.wording import Concise

PROBE = 64  # pixels: a network of any size keeps as much per pixel of this picture as of a large one
LIVE = 3.4  # peak memory over what a backward pass keeps, as `inverse-bench run large` measured: two graphs, gradients
TIMED = 0.5  # seconds for which calls are timed, at least one after the first
HALFWAY = torch.tensor(0.5)


@dataclass(frozen=True, repr=False)
class Plan(Concise):
    """The cost of one solve, as `solve` takes it: ``solve(..., method=plan.method, n_steps=plan.n_steps)``.

    Attributes: method; n_steps; reason: of the choice, if it was "auto"'s; n_samples per measurement; rows: at a time;
    nfe and nvjp: evaluations of the prior and backward passes through it per sample; seconds: of all samples of all
    measurements; bytes: about the most memory in use at once, beyond what is in use before; antithetic.
    """

    method: Method
    n_steps: int
    reason: str = field(repr=False)
    n_samples: int
    rows: int
    nfe: int
    nvjp: int
    seconds: float
    bytes: int
    antithetic: bool = False


@own_modes
def plan(
    prior: Prior,
    operator: Operator,
    y: Tensor,
    n_samples: int = 8,
    method: str | Method = "auto",
    n_steps: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    budget: str | None = None,
    antithetic: bool = False,
) -> Plan:
    """What `solve` would do with these arguments, and what it would cost.

    Evaluations and passes are counted in a solve of one batch with a prior of the same shape that costs next to nothing
    (`StandIn`); so they are exact but of methods that act by what they see: of particles, which are resampled when it
    is time. What that solve takes is what all but the network costs; an evaluation of the network and a backward pass
    through it are timed on rows of the real size.
    Formula: seconds = batches (t_solve + nfe t_evaluation + nvjp t_backward). bytes = 3.4 times what autograd keeps of
    a batch, measured on a small picture where the network takes any size, and the samples.
    Arguments: as `solve`; y (B, *M).
    Returns: `Plan`.
    Raises: TypeError and ValueError as `solve`, before the prior is evaluated.
    """
    choice, operator = checked(prior, operator, y, n_samples, method, n_steps, seed, batch_size, budget, 0, antithetic)
    n_steps = n_steps or choice.n_steps
    rows = min(rows_at_once(choice.method, prior.event_shape, n_samples, batch_size), len(y) * n_samples)
    n = n_samples if choice.method.population.coupled else rows
    one = (operator.rows(torch.zeros(1, dtype=torch.long, device=y.device)), y[:1])
    with warnings.catch_warnings():
        for known in (UnreliableWeights, PoorFit, ImplausibleScale):  # the solve itself warns
            warnings.simplefilter("ignore", known)
        stand_in = StandIn(prior)
        zeros = torch.zeros(1, *prior.event_shape, device=prior.device)
        stand_in.denoise_vjp(zeros, HALFWAY)[1](zeros)  # autograd's first call of all takes seconds
        rehearsal = solve(stand_in, *one, n, choice.method, n_steps, seed, batch_size, progress=False)
    x = torch.randn(rows, *prior.event_shape, generator=torch.Generator().manual_seed(seed)).to(prior.device)
    batches = len(y) * n_samples / rows
    network = rehearsal.nfe * _seconds(lambda: prior.denoise(x, HALFWAY))
    if rehearsal.nvjp:
        denoised, vjp = prior.denoise_vjp(x, HALFWAY)
        network += rehearsal.nvjp * _seconds(lambda: vjp(denoised))
    return Plan(
        choice.method,
        n_steps,
        choice.reason,
        n_samples,
        rows,
        rehearsal.nfe,
        rehearsal.nvjp,
        batches * (rehearsal.seconds * rows / n + network),
        round(LIVE * rows * activations(prior)) + 4 * len(y) * n_samples * math.prod(prior.event_shape),
        antithetic,
    )


def span(seconds: float) -> str:
    """A time as it is said: 42 s, 3 min 10 s, 1 h 5 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    s = round(seconds)
    if s < 60:
        return f"{s} s"
    return f"{s // 60} min {s % 60} s" if s < 3600 else f"{s // 3600} h {s % 3600 // 60} min"


class StandIn(Wrapped):
    """Nearly a Gaussian in place of a prior: of its shape and noising, its coordinates independent.

    Their variances are unlike, a hundredth of the prior's to all of it, so that iterations which end early on a simple
    law do not; and the denoiser is slightly bent, so that a derivative of its derivative exists and is counted.
    """

    def __init__(self, prior: Prior):
        super().__init__(prior)
        drawn = torch.rand(prior.event_shape, generator=torch.Generator().manual_seed(0))
        self.variances = (prior.variance * 10 ** (-2 * drawn)).to(prior.device)

    def denoise(self, x: Tensor, t: Tensor | float) -> Tensor:
        alpha, sigma = expand(self.sde.alpha(t), x), expand(self.sde.sigma(t), x)
        variances = self.variances.to(x.dtype)
        return alpha * variances / (alpha**2 * variances + sigma**2) * (x + 0.01 * x.sin())


def activations(prior: Prior) -> int:
    """Bytes that autograd keeps of one evaluation of one row: of one tile, of a prior that is `Tiled`."""
    shape, share = tuple(prior.event_shape), 1.0
    if isinstance(prior, Tiled):
        side = prior.tile + 2 * prior.margin
        shape, prior = (shape[0], *(min(n, side) for n in shape[1:])), prior.prior
    if getattr(prior, "least_size", None) is not None:
        share = shape[1] * shape[2] / PROBE**2
        prior = prior.resized((shape[0], PROBE, PROBE))  # type: ignore[attr-defined]
    weights = {w.untyped_storage().data_ptr() for w in getattr(prior, "parameters", tuple)()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        prior.denoise_vjp(torch.zeros(1, *prior.event_shape, device=prior.device), HALFWAY)
    return round(share * sum(kept.values()))


@torch.no_grad()
def _seconds(call: Callable[[], object]) -> float:
    """Of one call, the mean of several after the first."""
    call()
    start, calls = time.perf_counter(), 0
    while not calls or time.perf_counter() - start < TIMED:
        call()
        calls += 1
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / calls

"""The one loop: unconditional, guided and weighted sampling are all this."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from inverse.protocols import RNG, Kernel, Population, Posterior
from inverse.types import Gaussian, NonFiniteState, State


@torch.no_grad()
def run(
    posterior: Posterior,
    grid: Tensor,
    predictor: Kernel | None,
    correctors: Sequence[Kernel],
    population: Population,
    rng: RNG,
    n_rows: int,
    on_step: Callable[[], None] = lambda: None,
    openers: Sequence[Kernel] = (),
    start: Tensor | None = None,
) -> State:
    """Carry rows from noise to data (Song et al. 2021, algorithm 1).

    Arguments: posterior (its prior alone for unconditional sampling); grid (n + 1,) decreasing times; predictor,
    correctors (Kernel; no predictor: correctors alone anneal); population; rng (RowRNG of the rows); n_rows N;
    on_step: called after every step; openers: correctors at the first time, before any prediction; start (N, *E): the
    rows at the first time, default a draw (`Posterior.start`).
    Returns: the state at the last time, its x denoised: E[x0 | x_t, y], (N, *E) in data units.
    Raises: ValueError, before the prior is evaluated, for what the population cannot weight; NonFiniteState with the
    step and time at which a state stopped being finite.
    """
    population.check(posterior, correctors)
    x = posterior.start(n_rows, grid[0], rng) if start is None else start

    def drawn(state: State, q: Gaussian, kernel: Kernel, t: Tensor, s: Tensor) -> State:
        q, memory = posterior.edit(q, state.x, t, s, state.guidance)
        state = replace(state, guidance=memory)
        return population.update(state, q.sample(rng), q, kernel, posterior, t, s, rng)

    def correct(state: State, kernels: Sequence[Kernel], t: Tensor) -> State:
        for corrector in kernels:
            state = drawn(state, corrector.transition(posterior, state.x, t, t, rng), corrector, t, t)
        return state

    state = population.init(x, posterior, grid[0])
    del x  # states may be large
    state = correct(state, openers, grid[0])
    for step, (t, s) in enumerate(pairwise(grid)):
        if predictor is not None:
            q, memory = predictor.step(posterior, state.x, t, s, rng, state.kernel)
            state = drawn(replace(state, kernel=memory), q, predictor, t, s)
            del q
        state = correct(state, correctors, s)
        if not _finite(state.x):
            raise _not_finite(f"step {step + 1} of {len(grid) - 1}, from t = {t:.6g} to {s:.6g}")
        on_step()
    state = population.finish(state, posterior, grid[-1], rng)
    x = posterior.result(state.x, grid[-1], rng, state.guidance)
    if not _finite(x):
        raise _not_finite(f"the denoising after the last of {len(grid) - 1} steps, at t = {grid[-1]:.6g}")
    return replace(state, x=x)


def _finite(x: Tensor) -> bool:
    return math.isfinite(x.sum())  # one reduction: nan and inf survive a sum


def _not_finite(where: str) -> NonFiniteState:
    return NonFiniteState(f"{where}: the state is not finite; take more steps, a weaker guidance or a smaller snr")

"""Solve on the device of the prior, such as a GPU, for command lines that build problems on the CPU."""

import copy
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from inverse.solution import Solution
from inverse.solve import solve
from inverse.solve.unknown.family import Make
from operators import Operator
from priors import Prior


def moved(device: torch.device, operator: Operator, y: Tensor) -> tuple[Operator, Tensor]:
    """The operator and its measurement on a device; copied if they are elsewhere."""
    homes = {y.device.type, *(part.device.type for part in (*operator.buffers(), *operator.parameters()))}
    if torch.device(device).type == "cpu" and homes == {"cpu"}:
        return operator, y
    return copy.deepcopy(operator).to(device), y.to(device)


def solve_there(prior: Prior, operator: Operator | Make, y: Tensor, *rest: Any, **more: Any) -> Solution:
    """`inverse.solve` on the prior's device, for an operator (or a function that makes it) and a y on the CPU.

    The solution is on the CPU.

    Arguments, errors and warnings: as `inverse.solve`.
    """
    device = prior.device
    if isinstance(operator, Operator):
        solution = solve(prior, *moved(device, operator, y), *rest, **more)
    else:
        solution = solve(prior, lambda **v: moved(device, operator(**v), y)[0], y.to(device), *rest, **more)
    found = {f.name: getattr(solution, f.name) for f in fields(solution)}
    unknown = None if solution.unknown is None else {name: v.cpu() for name, v in solution.unknown.items()}
    on_cpu = {name: v.cpu() for name, v in found.items() if isinstance(v, Tensor)}
    return replace(solution, **on_cpu, unknown=unknown)

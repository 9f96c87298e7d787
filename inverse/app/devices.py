"""Solve on the device of the prior, such as a GPU, for command lines that build problems on the CPU."""

import copy
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from inverse.solution import Solution
from inverse.solve import solve
from operators import Operator
from priors import Prior


def moved(device: torch.device, operator: Operator, y: Tensor) -> tuple[Operator, Tensor]:
    """The operator and its measurement on a device; copied if they are elsewhere."""
    if torch.device(device).type == "cpu":
        return operator, y
    return copy.deepcopy(operator).to(device), y.to(device)


def solve_there(prior: Prior, operator: Operator, y: Tensor, *rest: Any, **more: Any) -> Solution:
    """`inverse.solve` on the prior's device, for an operator and a y on the CPU; the solution is on the CPU.

    Arguments, errors and warnings: as `inverse.solve`.
    """
    solution = solve(prior, *moved(prior.device, operator, y), *rest, **more)
    found = {f.name: getattr(solution, f.name) for f in fields(solution)}
    return replace(solution, **{name: v.cpu() for name, v in found.items() if isinstance(v, Tensor)})

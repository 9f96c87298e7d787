"""A call that works, and what spoils an argument: the material of the sweep in test_sweep.py."""

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

import priors
from operators import GaussianNoise
from priors import VESDE, VPSDE

NAN, INF = math.nan, math.inf
SPOILT: dict[str, Any] = {
    "None": None,
    "text": "yes",
    "empty text": "",
    "True": True,
    "nan": NAN,
    "inf": INF,
    "-1": -1,
    "0": 0,
    "1.5": 1.5,
    "1e30": 1e30,
    "huge int": 10**30,
    "complex": 1j,
    "list": [1.0, 2.0],
    "empty list": [],
    "list of texts": ["a", "b"],
    "dict": {"a": 1},
    "object": object(),
    "class": dict,
    "function": len,
    "numpy": np.ones((1, 1, 8, 8)),
    "0-d nan": torch.tensor(NAN),
    "empty tensor": torch.zeros(0),
    "no rows": torch.zeros(0, 1, 8, 8),
    "another size": torch.ones(1, 1, 5, 7),
    "another batch": torch.ones(3, 1, 8, 8),
    "no batch": torch.ones(8, 8),
    "five axes": torch.ones(1, 1, 1, 8, 8),
    "int tensor": torch.ones(1, 1, 8, 8, dtype=torch.int64),
    "bool tensor": torch.ones(1, 1, 8, 8, dtype=torch.bool),
    "complex tensor": torch.ones(1, 1, 8, 8, dtype=torch.complex64),
    "nan tensor": torch.full((1, 1, 8, 8), NAN),
    "huge tensor": torch.full((1, 1, 8, 8), 1e38),
    "meta tensor": torch.ones(1, 1, 8, 8, device="meta"),
}


@dataclass(frozen=True)
class Good:
    """A call that works: a function and its arguments by name."""

    name: str
    call: Callable[..., Any]
    arguments: dict[str, Any]

    def spoilt(self) -> Iterator[tuple[str, str, Callable[[], Any]]]:
        """(argument, spoil, call) for every argument and all that spoils one."""
        for argument in self.arguments:
            for label, value in SPOILT.items():
                yield argument, label, functools.partial(self.call, **(self.arguments | {argument: value}))


X = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
G = GaussianNoise(0.1)
KERNEL = torch.ones(3, 3) / 9
MASK = torch.ones(8, 8)
GAUSSIAN = priors.Gaussian(torch.full((64,), 0.5), 0.04 * torch.eye(64), VESDE(), event_shape=(1, 8, 8))
SMALL = priors.Gaussian(torch.zeros(2), torch.eye(2), VPSDE())


class Logits(nn.Module):
    n_classes = 3

    def forward(self, x, t):
        return x.flatten(1)[:, :3]

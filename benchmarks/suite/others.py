"""Samplers of other toolkits on the same priors, measurements and seeds."""

from collections.abc import Mapping
from importlib import metadata
from typing import Any, ClassVar

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.peers import PEERS, Peer
from benchmarks.suite.methods import Answer, Row, method, source_of
from operators import Operator
from priors import Prior


class Sampler(Row):
    """A posterior sampler of another toolkit (`benchmarks.peers`), one measurement at a time.

    Arguments: name; settings: changes of the sampler's defaults, which are those of its documentation.
    Raises: ValueError for settings that it does not have.
    """

    peer: ClassVar[Peer]

    def __init__(self, name: str, **settings: Any):
        super().__init__(name)
        if unknown := set(settings) - set(self.peer.defaults):
            raise ValueError(f"method {name!r}: settings {sorted(unknown)}: expected of {sorted(self.peer.defaults)}")
        self.settings: Mapping[str, Any] = settings

    def serves(self, operator: Operator, prior: Prior) -> bool:
        return peers.installed(self.peer) and self.peer.needs <= operator.capabilities

    def facts(self, operator: Operator, prior: Prior, n_samples: int) -> dict[str, Any]:
        return {"toolkit": f"{self.peer.package} {metadata.version(self.peer.package)}"} | {
            **self.peer.defaults,
            **self.settings,
        }

    def identity(self, operator: Operator, prior: Prior, n_samples: int) -> list[Any]:
        code = source_of(self.peer.run, ("benchmarks.peers",))
        return ["peer", self.peer.name, self.facts(operator, prior, n_samples), code]

    def run(self, prior: Prior, operator: Operator, y: Tensor, n_samples: int, seed: int) -> Answer:
        drawn = [
            self.peer.run(prior, operator.rows(torch.tensor([b])), y[b : b + 1], n_samples, seed + b, **self.settings)
            for b in range(len(y))
        ]
        samples = torch.stack([d.samples for d in drawn])
        spread = samples.std(1) if n_samples > 1 else None
        return Answer(samples.mean(1), samples, spread, None, drawn[0].nfe, drawn[0].nvjp)


for _peer in PEERS.values():
    method(_peer.name)(type("Sampler", (Sampler,), {"peer": _peer, "__module__": __name__, "__doc__": _peer.citation}))

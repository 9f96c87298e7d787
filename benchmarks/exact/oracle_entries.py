"""The entries of the oracle: our methods, other toolkits' samplers, exact draws and the prior."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any, ClassVar, Protocol

from torch import Tensor

from benchmarks.common.keys import code_behind
from benchmarks.exact.metrics import equally_weighted
from benchmarks.peers import PEERS, installed
from inverse import METHODS, solve
from inverse.auto import NETWORK_VARIANTS, VARIANTS, choose, serves
from inverse.engine import run as engine
from inverse.methods import Sampler, composition
from inverse.predictors import Travelling
from operators import Operator

EXACT, PRIOR = "exact draws", "prior, y ignored"
OTHERS = VARIANTS | NETWORK_VARIANTS  # settings besides the methods' own


@dataclass(frozen=True)
class Drawn:
    """Equally weighted samples (n, *E), their cost per sample, and further outputs of the method.

    Attributes: samples; nfe; nvjp; seconds; ess, log_evidence, log_evidence_std: where a method has them, else None.
    """

    samples: Tensor
    nfe: int = 0
    nvjp: int = 0
    seconds: float = 0.0
    ess: float | None = None
    log_evidence: float | None = None
    log_evidence_std: float | None = None


class Draws(Protocol):
    """A law that can be sampled."""

    def sample(self, n: int, seed: int = 0) -> Tensor: ...


class Known(Protocol):
    """A problem of one measurement, y (1, *M), and its exact posterior."""

    @property
    def prior(self) -> Any: ...
    @property
    def operator(self) -> Operator: ...
    @property
    def y(self) -> Tensor: ...
    @property
    def posterior(self) -> Draws: ...


class Entry(ABC):
    """One row of the oracle's table.

    Attributes: name; repeats: how many sets are drawn per instance, whose measures are averaged.
    """

    name: str
    repeats: ClassVar[int] = 1

    @property
    @abstractmethod
    def identity(self) -> list:
        """All that its samples depend on besides the instance, the seed and their number, as plain data."""

    @property
    def facts(self) -> dict[str, Any]:
        """Its entries in a record: n_steps and settings, None where it has none."""
        return {"n_steps": None, "settings": None}

    @abstractmethod
    def draw(self, instance: Known, n: int, seed: int) -> Drawn:
        """n samples given the instance's y."""


@dataclass(frozen=True)
class Exact(Entry):
    """Draws of the exact posterior: the reference for all distances."""

    name: str = EXACT
    repeats = 8

    @property
    def identity(self):
        return [self.name, self.repeats]

    def draw(self, instance, n, seed):
        return Drawn(instance.posterior.sample(n, seed=seed))


@dataclass(frozen=True)
class PriorDraws(Entry):
    """Draws of the prior, which ignore y."""

    name: str = PRIOR

    @property
    def identity(self):
        return [self.name]

    def draw(self, instance, n, seed):
        return Drawn(instance.prior.sample(n, seed=seed))


@dataclass(frozen=True)
class Ours(Entry):
    """`inverse.solve` by a method.

    Arguments: name ("auto": what it chooses); method; n_steps (None: the method's own).
    """

    name: str
    method: Sampler
    n_steps: int | None = None

    @property
    def facts(self):
        settings = None if self.name == self.method.name or self.name in OTHERS else {"method": self.method.name}
        return {"n_steps": self.n_steps or self.method.n_steps, "settings": settings}

    @property
    def identity(self):
        # of the parts all that they use, but not all methods for one's sake
        kinds: list[Any] = [
            part if hasattr(part, "__name__") else type(part) for part in (*self.method.parts, self.method)
        ]
        behind = [code_behind((engine, *kinds), ("inverse",)), code_behind((solve,), ())]
        return ["solve", composition(self.method), self.facts["n_steps"], behind]

    def draw(self, instance, n, seed):
        found = solve(instance.prior, instance.operator, instance.y, n, self.method, self.n_steps, seed, progress=False)
        weighted = bool((found.log_weights != found.log_weights[:, :1]).any()) or found.log_evidence is not None
        return Drawn(
            equally_weighted(found.samples[0], found.log_weights[0], seed),
            found.nfe,
            found.nvjp,
            found.seconds,
            found.ess.item() if weighted else None,
            None if found.log_evidence is None else found.log_evidence.item(),
            None if found.log_evidence_std is None else found.log_evidence_std.item(),
        )


@dataclass(frozen=True)
class Theirs(Entry):
    """A sampler of another toolkit.

    Arguments: name; peer (a name in PEERS); settings: changes of its defaults, as JSON.
    """

    name: str
    peer: str
    settings: str = "{}"

    @property
    def facts(self):
        settings = PEERS[self.peer].defaults | json.loads(self.settings)
        return {"n_steps": settings.get("steps"), "settings": settings}

    @property
    def identity(self):
        peer = PEERS[self.peer]
        behind = code_behind((type(peer), peer.run), ("benchmarks.peers",))
        return ["peer", self.peer, self.facts["settings"], metadata.version(peer.package), behind]

    def draw(self, instance, n, seed):
        settings = json.loads(self.settings)
        found = PEERS[self.peer].run(instance.prior, instance.operator, instance.y, n, seed, **settings)
        return Drawn(found.samples, found.nfe, found.nvjp, found.seconds)


def ours(instance: Known, names: Sequence[str] | None, n_steps: Sequence[int | None], n: int) -> list[Entry]:
    """Our entries that support an instance's operator: "auto", and every conditional method of METHODS and OTHERS.

    Arguments: instance; names (None: all, else some of these); n_steps: upper limit of a method's default steps, None
    for no limit; it does not apply to methods that travel back in time, or to variants, which differ in their steps; n
    samples, which the choice of "auto" depends on.
    Raises: ValueError for an unknown name.
    """
    operator, event_shape = instance.operator, instance.prior.event_shape
    known = {"auto", *(name for name, m in METHODS.items() if m.conditional), *OTHERS}
    if unknown := set(names or ()) - known:
        raise ValueError(f"methods {sorted(unknown)}: expected of {sorted(known)}")
    auto = choose(operator, event_shape, n)
    listed: dict[tuple[str, int], Entry] = {("auto", auto.n_steps): Ours("auto", auto.method, auto.n_steps)}
    for most in n_steps:
        for name, method in METHODS.items():
            travels = any(isinstance(part, Travelling) for part in method.parts)
            steps = method.n_steps if most is None or travels else min(most, method.n_steps)
            listed[name, steps] = Ours(name, method, steps)
    for name, method in OTHERS.items():
        listed[name, method.n_steps] = Ours(name, method, method.n_steps)
    return [
        entry
        for (name, _), entry in listed.items()
        if isinstance(entry, Ours) and serves(entry.method, operator) and (names is None or name in names)
    ]


def theirs(operator: Operator) -> list[str]:
    """The names of the installed peers that support an operator."""
    return [name for name, peer in PEERS.items() if peer.needs <= operator.capabilities and installed(peer)]

"""What can be run: the interface of `Method` and of methods that run the engine more than once."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import Field
from typing import Any, ClassVar, Self

from torch import Tensor

from inverse.protocols import RNG
from inverse.types import State
from operators import Operator
from priors import Prior


class Sampler(ABC):
    """What `solve` and `sample` can run. Subclasses are frozen dataclasses, so `dataclasses.replace` makes variants.

    Attributes: name; n_steps (int): default number of steps; needs: operator capabilities that it relies on;
    differentiates: whether it needs the derivative of the prior's denoiser; conditional: whether it uses a measurement;
    samples: whether its draws claim to be samples of p(x | y); calibrated: as of `Guidance`; evidence: whether it
    estimates log p(y); weighted: whether rows are weighted; coupled: whether the samples of one measurement must share
    a batch; separate: whether a batch must hold one measurement only; largest: the most numbers that a measurement may
    have; parts: the objects that it is composed of, whose code determines its samples, a guidance first; citation: its
    paper.
    """

    name: str
    n_steps: int
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @abstractmethod
    def carry(
        self,
        prior: Prior,
        operator: Operator | None,
        y: Tensor | None,
        rng: RNG,
        n_rows: int,
        n_steps: int | None = None,
        on_step: Callable[[], None] = lambda: None,
    ) -> State:
        """n_rows from noise to data.

        Arguments: prior; operator and y (N, *M) of the rows, or None; rng (`RowRNG` of the rows); n_rows N; n_steps:
        default the method's; on_step: called after every step.
        """

    @abstractmethod
    def steps(self, prior: Prior, n_steps: int | None = None) -> int:
        """How often `carry` calls on_step; n_steps: default the method's.

        Raises: ValueError for a number of steps, or a prior, that it cannot run with.
        """

    @abstractmethod
    def sized(self, n_samples: int) -> Self:
        """The same for n_samples rows per measurement."""

    @property
    @abstractmethod
    def parts(self) -> tuple[Any, ...]: ...

    @property
    @abstractmethod
    def needs(self) -> frozenset[str]: ...

    @property
    @abstractmethod
    def differentiates(self) -> bool: ...

    @property
    @abstractmethod
    def citation(self) -> str: ...

    def caution(self, operator: Operator) -> str:
        """As `Guidance.caution`."""
        return ""

    @property
    def conditional(self) -> bool:
        return True

    @property
    def samples(self) -> bool:
        return True

    @property
    def calibrated(self) -> bool:
        return False

    @property
    def evidence(self) -> bool:
        return False

    @property
    def weighted(self) -> bool:
        return False

    @property
    def coupled(self) -> bool:
        return False

    @property
    def separate(self) -> bool:
        return False

    @property
    def largest(self) -> float:
        return math.inf

"""What a solve returns, and its file."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from inverse.types import weighted_mean
from inverse.weights import complaints, effective_size, kinship, pareto_k, systematic
from priors import RowRNG
from priors.arguments import count, number, place
from priors.files import atomic

ARRAYS = ("samples", "log_weights", "log_evidence", "log_evidence_std", "lineages")  # optional but the first two
RECORDED = ("method", "nfe", "nvjp", "seconds", "seed", "citation", "reason", "antithetic")  # attributes in HDF5


@dataclass(frozen=True)
class Solution:
    """Samples of p(x0 | y) and what they cost.

    Attributes: samples (B, K, *E), data units; log_weights (B, K), zeros where samples are equally weighted; method
    (name); nfe: evaluations of the prior per sample; nvjp: backward passes through it per sample; seconds: wall time of
    all; seed; citation: the method's paper; reason: of the choice, if it was "auto"'s; log_evidence (B,): an estimate
    of log p(y) in nats, of the methods that make one, else None; log_evidence_std (B,): its standard error, of "exact";
    lineages (B,): of particles that were resampled, the effective number of first ones that they descend from (see
    `inverse.weights.lineages`); antithetic: samples 2 j and 2 j + 1 are pairs of opposite noise, not independent (see
    `solve`).
    """

    samples: Tensor
    log_weights: Tensor
    method: str
    nfe: int
    nvjp: int
    seconds: float
    seed: int
    citation: str = ""
    reason: str = ""
    antithetic: bool = False
    log_evidence: Tensor | None = None
    log_evidence_std: Tensor | None = None
    lineages: Tensor | None = None

    @property
    def mean(self) -> Tensor:
        """The posterior mean, the estimate of least squared error, (B, *E)."""
        return weighted_mean(self.samples, self.log_weights)

    @property
    def std(self) -> Tensor:
        """The posterior standard deviation per coordinate, (B, *E); with n equal weights the n / (n - 1) of a sample.

        Formula: of antithetic pairs with half sums m and half differences h, Var x = E h^2 + Var m, unbiased for any
        correlation; of one pair alone, whose Var m is not known, E h^2.
        Raises: ValueError for one sample, which has no spread.
        """
        if self.samples.shape[1] < 2:
            raise ValueError("one sample has no standard deviation: solve with n_samples >= 2")
        if self.antithetic:
            a, b = self.samples[:, ::2], self.samples[:, 1::2]
            sums, differences = (a + b) / 2, (a - b) / 2
            return (differences.square().mean(1) + (sums.var(1) if sums.shape[1] > 1 else 0.0)).sqrt()
        squares = weighted_mean((self.samples - self.mean[:, None]) ** 2, self.log_weights)
        bias = 1 - 1 / self.ess
        return (squares / bias.to(squares).view(-1, *[1] * (squares.ndim - 1)).clamp_min(1e-12)).sqrt()

    @property
    def ess(self) -> Tensor:
        """Effective sample size 1 / sum w^2, (B,); K where samples are equally weighted."""
        return effective_size(self.log_weights)

    @property
    def pareto_k(self) -> Tensor:
        """How heavy the tail of the weights is, (B,): averages are good below .7 (see `inverse.weights.pareto_k`)."""
        return pareto_k(self.log_weights)

    def check(self) -> list[str]:
        """Why the weights of each measurement are not to be trusted, B texts, empty where they are.

        Of particles that were resampled on the way, whose weights tell of the time since then alone, it asks for their
        lineages too.
        """
        equal = (self.log_weights == self.log_weights[:, :1]).all(1).tolist()
        found = ["" if e else text for e, text in zip(equal, complaints(self.log_weights), strict=True)]
        if self.lineages is None:
            return found
        kin = kinship(self.lineages, self.samples.shape[1])
        return ["; ".join(filter(None, both)) for both in zip(found, kin, strict=True)]

    def resample(self, n: int | None = None, seed: int = 0) -> Tensor:
        """Samples of equal weight, by systematic resampling: sample k about n w_k times.

        Source: Kitagawa 1996; Douc, Cappe & Moulines 2005.
        Arguments: n (int >= 1) per measurement (None: as many as there are); seed (int >= 0): measurement b's draw
        depends on (seed, b) alone.
        Returns: (B, n, *E), in random order.
        Raises: ValueError for n < 1.
        """
        n = self.samples.shape[1] if n is None else count("n", n)
        u = RowRNG.rows(seed, len(self.samples), dtype=torch.float64).uniform((len(self.samples), 1 + n))
        w = torch.softmax(self.log_weights.double().cpu(), 1)
        order = u[:, 1:].argsort(1)
        chosen = systematic(w, u[:, :1], n).gather(1, order).to(self.samples.device)
        return torch.stack([x[index] for x, index in zip(self.samples, chosen, strict=True)])

    def quantiles(self, q: float | list[float] | Tensor) -> Tensor:
        """Weighted quantiles per coordinate: the least sample whose cumulated weight reaches q.

        Arguments: q: a probability or a list of Q in [0, 1].
        Returns: (Q, B, *E), or (B, *E) for one number.
        Raises: ValueError for q outside [0, 1].
        """
        if not isinstance(q, Tensor):
            many = isinstance(q, list | tuple)
            q = [number("q", p) for p in q] if many else number("q", q, "[0, 1]", "a probability, or a list of them")
        elif q.is_meta or q.is_complex():
            raise TypeError(f"q on {q.device} of {q.dtype}: expected real probabilities that have values")
        probabilities = torch.as_tensor(q, dtype=torch.float64).reshape(-1)
        if len(probabilities) == 0 or not bool(((probabilities >= 0) & (probabilities <= 1)).all()):
            raise ValueError(f"q = {q}: expected probabilities in [0, 1]")
        x, order = self.samples.sort(dim=1)
        w = torch.softmax(self.log_weights.double(), 1)
        cumulated = w.view(*w.shape, *[1] * (x.ndim - 2)).expand(x.shape).gather(1, order).cumsum(1)
        last = x.shape[1] - 1
        found = [(cumulated < p - 1e-9).sum(1, keepdim=True).clamp_max(last) for p in probabilities.tolist()]
        out = torch.stack([x.gather(1, index)[:, 0] for index in found])
        return out if torch.as_tensor(q).ndim else out[0]

    def cite(self) -> str:
        """The paper whose method made these samples."""
        return self.citation

    def followed_by(self, more: "Solution") -> "Solution":
        """These samples and then ``more``'s: of the same solve, at its ``first``, as if all had been drawn in one.

        Raises: ValueError for samples that weigh each other or another cost per sample: they were not drawn alike.
        """
        if not isinstance(more, Solution):
            raise TypeError(f"more of type {type(more).__name__}: expected a Solution")
        if more.samples.shape[0] != len(self.samples) or more.samples.shape[2:] != self.samples.shape[2:]:
            raise ValueError(
                f"samples {tuple(self.samples.shape)} and {tuple(more.samples.shape)}: expected those of the same "
                "measurements and the same event shape"
            )
        weighed = any(s.log_evidence is not None or s.lineages is not None or s.log_weights.any() for s in (self, more))
        how = [(s.method, s.nfe, s.nvjp, s.seed, s.antithetic) for s in (self, more)]
        if weighed or how[0] != how[1]:
            raise ValueError(
                f"samples of {self.method!r}, seed {self.seed}, and of {more.method!r}, seed {more.seed}: expected "
                "equal weights and the same method, seed, evaluations, passes and pairing; solve for all in one call"
            )
        return replace(
            self,
            samples=torch.cat([self.samples, more.samples], 1),
            log_weights=torch.cat([self.log_weights, more.log_weights], 1),
            seconds=self.seconds + more.seconds,
        )

    def save(self, path: str | Path, facts: dict[str, Any] | None = None) -> None:
        """Write to HDF5, atomically.

        Arguments: path; facts: what else the file should tell, tensors as datasets and the rest as attributes.
        """
        with atomic(path) as temporary, h5py.File(temporary, "w") as file:
            file.create_dataset("samples", data=self.samples.cpu().numpy(), compression="gzip")
            file["log_weights"] = self.log_weights.cpu().numpy()
            for name in ARRAYS[2:]:
                if (values := getattr(self, name)) is not None:
                    file[name] = values.cpu().numpy()
            for name in RECORDED:
                file.attrs[name] = getattr(self, name)
            for name, fact in (facts or {}).items():
                if isinstance(fact, Tensor):
                    file.create_dataset(name, data=fact.cpu().numpy(), compression="gzip" if fact.ndim else None)
                else:
                    file.attrs[name] = fact

    @staticmethod
    def fact(path: str | Path, name: str) -> Any:
        """One of the facts of a file that `save` wrote, an attribute; None where it has no such."""
        try:
            with h5py.File(path) as file:
                return file.attrs.get(name)
        except OSError:
            return None

    @classmethod
    def load(cls, path: str | Path) -> "Solution":
        """Read what `save` wrote.

        Raises: FileNotFoundError; ValueError for a truncated or foreign file.
        """
        if not Path(place("path", path)).exists():
            raise FileNotFoundError(f"no solution at {path}")
        try:
            with h5py.File(path) as file:
                arrays = [np.asarray(file[name]) if name in file else None for name in ARRAYS]
                samples, log_weights, *optional = (None if a is None else torch.from_numpy(a) for a in arrays)
                if samples is None or log_weights is None:
                    raise KeyError(f"it has no {' or '.join(ARRAYS[:2])}")
                found = {"reason": "", "antithetic": False} | dict(file.attrs)  # older files have neither
                attrs: dict[str, Any] = {name: found[name] for name in RECORDED}
        except (OSError, KeyError) as error:
            raise ValueError(f"{path} is no solution that Solution.save wrote, or is truncated: {error}") from None
        return cls(
            samples,
            log_weights,
            method=str(attrs["method"]),
            citation=str(attrs["citation"]),
            reason=str(attrs["reason"]),
            seconds=float(attrs["seconds"]),
            nfe=int(attrs["nfe"]),
            nvjp=int(attrs["nvjp"]),
            antithetic=bool(attrs["antithetic"]),
            seed=int(attrs["seed"]),
            **dict(zip(ARRAYS[2:], optional, strict=True)),
        )

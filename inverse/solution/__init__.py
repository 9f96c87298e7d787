"""The result of a solve, and its file."""

import base64
import html
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import torch
from torch import Tensor

from inverse.solution import drawing
from inverse.types import weighted_mean
from inverse.weights import ancestry_warnings, complaints, effective_size, pareto_k, systematic
from priors import RowRNG
from priors.arguments import count, number
from priors.files import FileError, atomic, hdf5_path
from priors.hdf5 import SEAL, checksum, opened
from priors.wording import Concise

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# all but the first two are optional
ARRAYS = ("samples", "log_weights", "log_evidence", "log_evidence_std", "lineages", "numbers")
UNKNOWN = "unknown"  # draws of numbers (B, D, P), and an attribute with all names; others have an array of their own
RECORDED: dict[str, Callable[[Any], Any]] = {  # attributes in HDF5
    "method": str, "nfe": int, "nvjp": int, "seconds": float, "seed": int, "citation": str, "reason": str,
    "antithetic": bool, "calibrated": bool,
}  # fmt: skip


class UncalibratedSpread(UserWarning):
    """The spread of a method's samples is not known to be that of the posterior, or known not to be."""


@dataclass(frozen=True, repr=False, eq=False)
class Solution(Concise):
    """Samples of p(x0 | y) and their cost.

    Attributes: samples (B, K, *E), data units; log_weights (B, K), zeros if samples are equally weighted; method
    (name); nfe: evaluations of the prior per sample; nvjp: backward passes through it per sample; seconds: total wall
    time; seed; citation: the method's paper; reason: why "auto" chose the method; log_evidence (B,): an estimate of log
    p(y) in nats, or None if the method gives none; log_evidence_std (B,): its standard error, for "exact"; lineages
    (B,): for resampled particles, the effective number of initial ones that they descend from (see
    `inverse.weights.lineages`); antithetic: samples 2 j and 2 j + 1 are pairs with opposite noise, not independent (see
    `solve`); calibrated: whether the method's spread was measured to be right (see `inverse.protocols.Guidance`); if
    not, `std` warns; numbers (B,): of the measurements, as given to `solve`; unknown: draws (B, D) of each unknown
    parameter of the measurement, by name, the first K of which belong to the samples; of a "kernel" (B, D, kH, kW),
    whose mean and standard deviation are ``unknown["kernel"].mean(1)`` and ``.std(1)``.
    """

    samples: Tensor
    log_weights: Tensor = field(repr=False)
    method: str
    nfe: int
    nvjp: int
    seconds: float
    seed: int
    citation: str = field(default="", repr=False)
    reason: str = field(default="", repr=False)
    antithetic: bool = False
    calibrated: bool = True
    log_evidence: Tensor | None = None
    log_evidence_std: Tensor | None = None
    lineages: Tensor | None = None
    numbers: Tensor | None = None
    unknown: dict[str, Tensor] | None = field(default=None, repr=False)

    @property
    def mean(self) -> Tensor:
        """The posterior mean, the estimate of least mean squared error, (B, *E)."""
        return weighted_mean(self.samples, self.log_weights)

    @property
    def std(self) -> Tensor:
        """The posterior standard deviation per coordinate, (B, *E); for n equal weights with Bessel's correction.

        Formula: for antithetic pairs with half sums m and half differences h, Var x = E h^2 + Var m, unbiased for any
        correlation; for a single pair, whose Var m is unknown, E h^2.
        Warns: UncalibratedSpread, if the method is not known to have the posterior's spread.
        Raises: ValueError for a single sample.
        """
        if self.samples.shape[1] < 2:
            raise ValueError("one sample has no standard deviation: solve with n_samples >= 2")
        if not self.calibrated:
            warnings.warn(
                f"the standard deviation of {self.method!r} samples is not that of the posterior in general: on some "
                "problems with a known posterior it is off by over 25 % (inverse-bench run spread); for intervals use "
                "'mmps' or 'exact', if the operator is linear with Gaussian noise and the denoiser is differentiable",
                UncalibratedSpread,
                stacklevel=2,
            )
        if self.antithetic:
            a, b = self.samples[:, ::2], self.samples[:, 1::2]
            sums, differences = (a + b) / 2, (a - b) / 2
            return (differences.square().mean(1) + (sums.var(1) if sums.shape[1] > 1 else 0.0)).sqrt()
        squares = weighted_mean((self.samples - self.mean[:, None]) ** 2, self.log_weights)
        bias = 1 - 1 / self.ess
        return (squares / bias.to(squares).view(-1, *[1] * (squares.ndim - 1)).clamp_min(1e-12)).sqrt()

    @property
    def ess(self) -> Tensor:
        """Effective sample size 1 / sum w^2, (B,); K if samples are equally weighted."""
        return effective_size(self.log_weights)

    @property
    def pareto_k(self) -> Tensor:
        """Tail index of the weights, (B,): averages are reliable below .7 (see `inverse.weights.pareto_k`)."""
        return pareto_k(self.log_weights)

    def check(self) -> list[str]:
        """Messages on unreliable weights, B strings, empty where they are reliable.

        For resampled particles, whose weights only reflect the time since the last resampling, lineages are checked
        too.
        """
        equal = (self.log_weights == self.log_weights[:, :1]).all(1).tolist()
        found = ["" if e else text for e, text in zip(equal, complaints(self.log_weights), strict=True)]
        if self.lineages is None:
            return found
        ancestry = ancestry_warnings(self.lineages, self.samples.shape[1])
        return ["; ".join(filter(None, both)) for both in zip(found, ancestry, strict=True)]

    def resample(self, n: int | None = None, seed: int = 0) -> Tensor:
        """Equally weighted samples by systematic resampling: sample k appears about n w_k times.

        Source: Kitagawa 1996; Douc, Cappe & Moulines 2005.
        Arguments: n (int >= 1) per measurement (None: K); seed (int >= 0): the draw for measurement b depends only on
        (seed, b), b its number.
        Returns: (B, n, *E), in random order.
        Raises: ValueError for n < 1.
        """
        n = self.samples.shape[1] if n is None else count("n", n)
        u = RowRNG(seed, ((b,) for b in self._named()), dtype=torch.float64).uniform((len(self.samples), 1 + n))
        w = torch.softmax(self.log_weights.double().cpu(), 1)
        order = u[:, 1:].argsort(1)
        chosen = systematic(w, u[:, :1], n).gather(1, order).to(self.samples.device)
        return torch.stack([x[index] for x, index in zip(self.samples, chosen, strict=True)])

    def quantiles(self, q: float | list[float] | Tensor) -> Tensor:
        """Weighted quantiles per coordinate: the smallest sample whose cumulative weight reaches q.

        Arguments: q: a probability or a list of Q in [0, 1].
        Returns: (Q, B, *E), or (B, *E) for a single q.
        Raises: ValueError for q outside [0, 1].
        """
        if not isinstance(q, Tensor):
            many = isinstance(q, list | tuple)
            q = [number("q", p) for p in q] if many else number("q", q, "[0, 1]", "a probability, or a list of them")
        elif q.is_meta or q.is_complex():
            raise TypeError(f"q on {q.device} of {q.dtype}: expected real probabilities, not on the meta device")
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

    def plot(
        self,
        y: Tensor | None = None,
        truth: Tensor | None = None,
        most: int = 4,
        window: tuple[float, float] = (0.0, 1.0),
    ) -> "Figure":
        """Plot the solution, a row per measurement: truth, measurement, samples, mean and standard deviation.

        Arguments: y (B, C, H, W): measurements that are pictures (for others, `operator.pinv(y)` is one); truth (B,
        *E); most (int >= 1): largest number of rows, and of samples per row; window: the values shown as black and
        white. Two channels are shown as the magnitude of a complex picture.
        Returns: a matplotlib Figure, for `figure.savefig(path)`; notebooks display it.
        Raises: ValueError for events, y or truth that are not pictures (C, H, W) of one to three channels, and for an
        empty window.
        """
        with warnings.catch_warnings():  # the column heading says that it is uncalibrated
            warnings.simplefilter("ignore", UncalibratedSpread)
            std = self.std if self.samples.shape[1] > 1 else None
        most = count("most", most)
        shown = {"truth": truth, "measurement": y}
        shown |= {f"sample {k + 1}": x for k, x in enumerate(self.samples.unbind(1)[:most])}
        shown |= {"mean": self.mean, "std" if self.calibrated else "std (uncalibrated)": std}
        return drawing.figure({name: x for name, x in shown.items() if x is not None}, len(self.samples), most, window)

    def _repr_html_(self) -> str:
        """The HTML for notebooks: the figures as text, and a plot if the samples are pictures."""
        text = f"<code>{html.escape(repr(self))}</code>"
        if self.samples.ndim != 5 or self.samples.shape[2] > 3:
            return text
        png = base64.b64encode(drawing.png(self.plot())).decode()
        return f'{text}<br><img alt="samples, mean and standard deviation" src="data:image/png;base64,{png}">'

    def cite(self) -> str:
        """The paper of the method."""
        return self.citation

    def followed_by(self, more: "Solution") -> "Solution":
        """These samples followed by those of ``more``, as if drawn in one solve; ``more`` was solved with ``first``.

        Raises: ValueError for weighted samples and for different settings or costs per sample.
        """
        if not isinstance(more, Solution):
            raise TypeError(f"more of type {type(more).__name__}: expected a Solution")
        if more.samples.shape[0] != len(self.samples) or more.samples.shape[2:] != self.samples.shape[2:]:
            raise ValueError(
                f"samples {tuple(self.samples.shape)} and {tuple(more.samples.shape)}: expected the same number of "
                "measurements and the same event shape"
            )
        weighed = any(s.log_evidence is not None or s.lineages is not None or s.log_weights.any() for s in (self, more))
        how = [(s.method, s.nfe, s.nvjp, s.seed, s.antithetic, s._named()) for s in (self, more)]
        if weighed or how[0] != how[1]:
            raise ValueError(
                f"samples of {self.method!r}, seed {self.seed}, and of {more.method!r}, seed {more.seed}: expected "
                "equal weights and the same method, seed, numbers, evaluations, passes and pairing; solve for all in "
                "one call"
            )
        return replace(
            self,
            samples=torch.cat([self.samples, more.samples], 1),
            log_weights=torch.cat([self.log_weights, more.log_weights], 1),
            seconds=self.seconds + more.seconds,
        )

    def _named(self) -> list[int]:
        return list(range(len(self.samples))) if self.numbers is None else self.numbers.tolist()

    def save(self, path: str | Path, facts: dict[str, Any] | None = None) -> None:
        """Write to HDF5, atomically.

        Arguments: path; facts: further metadata, tensors are stored as datasets and the rest as attributes.
        Raises: ValueError if the path has the ending of another format, such as "run.npz".
        """
        path = hdf5_path(path, "solution")
        attrs = {name: getattr(self, name) for name in RECORDED}
        arrays = {name: x.cpu().numpy() for name in ARRAYS if (x := getattr(self, name)) is not None}
        if self.unknown:
            attrs[UNKNOWN] = ",".join(self.unknown)  # names of arguments have no comma
            numbers = [draws for draws in self.unknown.values() if draws.ndim == 2]
            arrays |= {UNKNOWN: torch.stack(numbers, 2).cpu().numpy()} if numbers else {}
            arrays |= {f"{UNKNOWN}_{name}": x.cpu().numpy() for name, x in self.unknown.items() if x.ndim > 2}
        with atomic(path) as temporary, h5py.File(temporary, "w") as file:
            for name, values in arrays.items():
                file.create_dataset(name, data=values, compression="gzip" if name == "samples" else None)
            file.attrs.update(attrs | {SEAL: checksum(attrs, arrays)})
            for name, fact in (facts or {}).items():
                if isinstance(fact, Tensor):
                    file.create_dataset(name, data=fact.cpu().numpy(), compression="gzip" if fact.ndim else None)
                else:
                    file.attrs[name] = fact

    @staticmethod
    def fact(path: str | Path, name: str) -> Any:
        """An attribute of a file written by `save`, one of its ``facts``; None if it has none of this name."""
        try:
            with opened(path, "solution") as file:
                return file.attrs.get(name)
        except (FileNotFoundError, FileError):
            return None

    @classmethod
    def load(cls, path: str | Path) -> "Solution":
        """Read a file written by `save`.

        Raises: FileNotFoundError; ValueError for a truncated or foreign file.
        """
        with opened(path, "solution", "solve again; expected a file by Solution.save") as file:
            there = [name for name in ARRAYS if name in ARRAYS[:2] or name in file]
            kinds = {"numbers": "i"}
            names = str(file.attrs[UNKNOWN]).split(",") if UNKNOWN in file.attrs else []
            there += [name for name in (UNKNOWN, *(f"{UNKNOWN}_{name}" for name in names)) if name in file]
            arrays = {name: torch.from_numpy(file.array(name, kinds.get(name, "f"))) for name in there}
            found = {"reason": "", "antithetic": False, "calibrated": True} | file.attrs  # missing in older files
            told = {name: found[name] for name in (*RECORDED, *([UNKNOWN] if names else []))}
            attrs = {name: kind(told[name]) for name, kind in RECORDED.items()}
        if SEAL in found and found[SEAL] != checksum(told, {name: value.numpy() for name, value in arrays.items()}):
            raise FileError(f"{path}: the data do not match their checksum: solve again")
        samples = arrays["samples"]
        whole = {name: x for name in names if (x := arrays.pop(f"{UNKNOWN}_{name}", None)) is not None}  # kernels
        numbers, draws = [name for name in names if name not in whole], arrays.pop(UNKNOWN, None)
        shape = () if draws is None else draws.shape
        if (numbers or draws is not None) and (len(shape) != 3 or shape[::2] != (len(samples), len(numbers))):
            raise FileError(f"{path}: {UNKNOWN} {tuple(shape)}: expected (B, D, {len(numbers)}) for {numbers}")
        each = whole | ({} if draws is None else dict(zip(numbers, draws.unbind(2), strict=True)))
        unknown = {name: each[name] for name in names} or None
        shapes = {name: tuple(value.shape) for name, value in arrays.items()}
        rows = [samples.shape[:2], *[samples.shape[:1]] * len(ARRAYS[2:])]  # all arrays but the samples, in this order
        if samples.ndim < 3 or any(shapes.get(n, tuple(r)) != tuple(r) for n, r in zip(ARRAYS[1:], rows, strict=True)):
            raise FileError(f"{path} has {shapes}: expected samples (B, K, *E), log_weights (B, K), the rest (B,)")
        return cls(**arrays, **attrs, unknown=unknown)

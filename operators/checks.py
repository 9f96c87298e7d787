"""Numerical tests of an operator's declared properties."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from .arguments import rows, shape
from .arguments import seed as seeded
from .base import Operator, Shape
from .capabilities import NOISE, STRUCTURE
from .check_models import entrywise, generalized_linear
from .exam import ROWS, Exam, norm, ratio
from .linear_operator import LinearOperator
from .noise import GaussianNoise
from .solvers import dot
from .svd import SVDOperator


def check(op: Operator, event_shape: Shape, *, seed: int = 0, x: Tensor | None = None) -> dict[str, float]:
    """Test an operator for the properties that methods rely on.

    Row independence, measurement and its seed, noise moments, likelihood, vjp against finite differences, and where
    declared: linearity, dot test, Moore-Penrose, Gram solve, SVD, orthogonal rows, noisy likelihood. Figures are
    relative errors, or standard errors for statistical ones. Nothing here is random beyond `seed`.

    Arguments:
        op: the operator.
        event_shape: E, e.g. (3, 32, 32).
        seed: of the test images and directions.
        x: (n, *E), n >= 2, test images; default uniform on [0, 1].

    Returns:
        name of the test -> figure.

    Raises:
        OperatorCheckError: a figure beyond its tolerance.
        ValueError: x of another shape.
    """
    if not isinstance(op, Operator):
        raise TypeError(f"op of type {type(op).__name__}: expected an operators.Operator")
    exam = Exam(op, shape("event_shape", event_shape), seeded(seed), x if x is None else rows("x", x, "event"))
    _capabilities(exam)
    _rows(exam)
    if isinstance(exam.op, LinearOperator):
        _linear(exam, exam.op)
    if isinstance(exam.op, SVDOperator):
        _svd(exam, exam.op)
    if "differentiable" in op.capabilities:
        _vjp(exam)
    _measure(exam)
    _moments(exam)
    if not exam.op.noise.noiseless:
        _likelihood(exam)
    if "generalized_linear" in op.capabilities and not generalized_linear(exam):
        exam.fail("capabilities", "it declares 'generalized_linear'", "but `linear_part` has another likelihood")
    likelihood: Callable[[Tensor, Tensor, Tensor], Tensor] | None = getattr(exam.op, "noisy_log_likelihood", None)
    if "noisy_likelihood" in op.capabilities and likelihood is not None:
        _noisy_likelihood(exam, likelihood)
    return exam.report


def _capabilities(exam: Exam) -> None:
    op, says = exam.original, exam.original.capabilities
    noise = exam.op.noise
    spread = noise.variance(exam.clean).reshape(ROWS, -1)
    truth = {
        "linear": isinstance(op, LinearOperator),
        "svd": isinstance(op, SVDOperator),
        "gaussian": isinstance(noise, GaussianNoise),
        "isotropic": isinstance(noise, GaussianNoise) and bool((spread.amax(1) == spread.amin(1)).all()),
        "noisy_likelihood": callable(getattr(op, "noisy_log_likelihood", None)),
        "entrywise": entrywise(exam) if "entrywise" in says else True,
    }
    for name in says - STRUCTURE - NOISE:
        exam.fail("capabilities", repr(name), f"is not one of {sorted(STRUCTURE | NOISE)}")
    for name, has in truth.items():
        if name in says and not has:
            exam.fail("capabilities", f"it declares {name!r}", "without having it")
    for name in ("linear", "svd"):
        if truth[name] and name not in says:
            exam.fail("capabilities", f"it derives the methods of {name!r}", "without declaring it")
    if "orthogonal_rows" in says and not truth["linear"]:
        exam.fail("capabilities", "it declares 'orthogonal_rows'", "without being linear")
    exam.report["capabilities"] = 0.0


def _rows(exam: Exam) -> None:
    """Each row must be independent of the rest of its batch."""
    for i in range(ROWS):
        alone = exam.serving(torch.tensor([i % (exam.original.batch or 1)]))(exam.x[i : i + 1])
        exam.close("rows", "forward of one image, alone against in a batch", alone, exam.clean[i : i + 1], 1e-5)
    mates = torch.cat([exam.x[:1], 0.5 * exam.x[1:].flip(0)])
    exam.close("rows", "forward of an image with other images in the batch", exam.op(mates)[:1], exam.clean[:1], 1e-5)


def _measure(exam: Exam) -> None:
    state = torch.get_rng_state()
    y = exam.op.measure(exam.x, seed=0)
    exam.require("seed", "the global random state's change", float((state != torch.get_rng_state()).any()), 0)
    exam.require("seed", "measuring twice with seed 0: the difference", (y - exam.op.measure(exam.x, seed=0)).abs(), 0)
    few = exam.serving(torch.arange(2) % (exam.original.batch or 1)).measure(exam.x[:2], seed=0)
    exam.require("seed", "dependence on the batch size", (few - y[:2]).abs() / (1 + y[:2].abs()), 1e-5)
    # Labels can coincide by chance: several seeds are tried, unless one class is almost certain.
    if bool((exam.op.noise.variance(exam.clean) > (0 if y.is_floating_point() else 0.1)).any()):
        same = all(torch.equal(y, exam.op.measure(exam.x, seed=s)) for s in range(1, 20))
        exam.require("seed", "whether measurements are the same for every seed", float(same), 0)


def _repeated(exam: Exam, image: Tensor) -> tuple[Operator, Tensor, Tensor]:
    """The operator, rows and measurements of one image (1, *E), many times."""
    size = max(exam.x[0].numel(), exam.clean[0].numel())
    n = max(64, min(2000, 2**20 // size))
    op, x = exam.serving(torch.zeros(n, dtype=torch.int64)), image.expand(n, *image.shape[1:])
    return op, x, op.measure(x, seed=exam.seed)


def _moments(exam: Exam) -> None:
    op, x, y = _repeated(exam, exam.x[:1])
    with torch.no_grad():
        clean = op(x)
    z, var = (op.noise.encode(y, clean) - op.noise.mean(clean)).double(), op.noise.variance(clean).double()
    if op.support is not None:
        exam.require("support", "the largest entry outside the support", torch.where(op.support, 0, y).abs().max(), 0)
        z, var = torch.where(op.support, z, 0), torch.where(op.support, var, 0)
    stray = torch.where(var > 0, 0, z).abs().amax() / exam.clean.abs().amax().clamp(min=1e-30)
    exam.require("noise_none", "noise where its variance is 0, relative to the measurement,", stray, 1e-5)
    seen = (var > 0).reshape(len(y), -1)[0]
    if not seen.any():
        return
    z = (z / var.clamp(min=1e-300).sqrt()).reshape(len(y), -1)[:, seen]
    # Entry by entry, over all entries, and with random signs, so that errors cannot cancel.
    signs = (2 * torch.randint(2, (z.shape[1],), generator=exam.rng) - 1).to(z)
    exam.require("noise_mean", "an entry's mean, in standard errors,", z.mean(0) * len(z) ** 0.5, 8)
    exam.require("noise_mean", "the mean, in standard errors,", _t(z.mean(1)), 6)
    exam.require("noise_variance", "the variance's misfit, in standard errors,", _t((z**2 - 1).mean(1)), 6)
    exam.require("noise_variance", "the variances' misfit, in standard errors,", _t(((z**2 - 1) * signs).mean(1)), 6)


def _t(draws: Tensor) -> Tensor:
    """The mean of draws (n,), in its standard errors."""
    return draws.mean() / (draws.std() / len(draws) ** 0.5).clamp(min=1e-9)


def _likelihood(exam: Exam) -> None:
    """E log p(y|x) is largest at the truth, and E p(y|x') / p(y|x) = 1: likelihood and measurement agree."""
    # The truth is half-way to the other image: for photon counts, ratios to a dark pixel have no usable mean.
    op, x, y = _repeated(exam, (exam.x[:1] + exam.x[1:2]) / 2)
    other, c = exam.x[1:2], 1.0
    with torch.no_grad():
        drop = truth = op.log_likelihood(y, x)
        if truth.shape != (len(y),):
            exam.fail("likelihood", "log_likelihood", f"has shape {tuple(truth.shape)}, expected {(len(y),)}")
        for _ in range(20):
            drop = truth.double() - op.log_likelihood(y, (1 - c) * x + c * other).double()
            exam.require(
                "likelihood", "how much likelier another image is, in standard errors,", _t(drop).clamp(max=0), 6
            )
            # Near the truth the mean grows as c^2 and the std as c; the test is most powerful at about 1.
            size = max(float(drop.mean()) ** 0.5 if drop.mean() > 0 else 0.0, float(drop.std()))
            if size <= 1:
                break
            c *= 0.9 / size
    exam.require("likelihood", "its ratios' mean less 1, in standard errors,", _t((-drop).exp() - 1), 6)


def _vjp(exam: Exam) -> None:
    twin, h, tolerance = copy.deepcopy(exam.op), 1e-6, 1e-4
    x, u, v = exam.x.double(), exam.normal(exam.x).double(), exam.normal(exam.clean).double()
    try:
        twin = twin.double()
        clean = twin(x)
        if clean.dtype != torch.float64 or torch.equal(clean, clean.float().double()):  # rounded inside
            raise RuntimeError
    except RuntimeError:  # operator only works in single precision: a coarser test
        twin, h, tolerance = exam.op, 1e-2, 5e-2
        x, u, v = x.to(exam.x), u.to(exam.x), v.to(exam.x)
    with torch.no_grad():
        slope = (twin(x + h * u) - twin(x - h * u)).double() / (2 * h)
    pulled = twin.vjp(x, v)
    if pulled.shape != x.shape:
        exam.fail("vjp", "J^T v", f"has shape {tuple(pulled.shape)}, expected {tuple(x.shape)}")
    if not pulled.any() and not torch.equal(exam.clean[0], exam.clean[1]):
        how = "is 0 everywhere, though forward is not constant (rounding or thresholds inside?)"
        exam.fail("vjp", "J^T v", how + ": define a vjp, or remove 'differentiable' from its `structure`")
    error = dot(slope, v.double()) - dot(pulled.double(), u.double())
    exam.require("vjp", "J^T v against a finite difference", ratio(error, norm(slope) * norm(v)), tolerance)


def _linear(exam: Exam, op: LinearOperator) -> None:
    a, b, u, v = exam.x, exam.normal(exam.x), exam.normal(exam.x), exam.normal(exam.clean)
    with torch.no_grad():
        exam.close(
            "linearity",
            "forward(2a - 3b) against 2 forward(a) - 3 forward(b)",
            op(2 * a - 3 * b),
            2 * op(a) - 3 * op(b),
            1e-5,
        )
        exam.require("linearity", "|forward(0)| / |forward(x)|", ratio(norm(op(a * 0)), norm(op(a))), 1e-6)
        image, pulled = op(u), op.adjoint(v)
        if pulled.shape != u.shape:
            exam.fail("adjoint", "A^T y", f"has shape {tuple(pulled.shape)}, expected {tuple(u.shape)}")
        error = dot(image.double(), v.double()) - dot(u.double(), pulled.double())
        exam.require(
            "adjoint", "<A x, y> - <x, A^T y>", ratio(error, norm(image) * norm(v) + norm(u) * norm(pulled)), 1e-5
        )
        _pinv(exam, op)
        if "gaussian" in exam.original.capabilities:
            _gram(exam, op)
        if "orthogonal_rows" in exam.original.capabilities:
            # A^T A a must be c a on the row space: compare A A^T (A a) with c A a.
            there = op(op.adjoint(exam.clean))
            c = ratio(norm(there), norm(exam.clean)).reshape(-1, *[1] * (there.ndim - 1))
            exam.close(
                "orthogonal_rows", "A A^T on the range of A, against a multiple of 1,", there, c * exam.clean, 1e-4
            )


def _pinv(exam: Exam, op: LinearOperator) -> None:
    back = op.pinv(exam.clean)
    if back.shape != exam.x.shape:
        exam.fail("pinv", "A^+ y", f"has shape {tuple(back.shape)}, expected {tuple(exam.x.shape)}")
    exam.close("pinv", "A A^+ A x against A x", op(back), exam.clean, 1e-3)
    alone = op.rows(torch.tensor([0])).pinv(exam.clean[:1])
    again = op.pinv(op(back))
    # With singular values near rounding A^+ A is not a projection in floating point, and norms are meaningless.
    if bool((norm(again - back) < 1e-3 * norm(back)).all()):
        exam.close("pinv", "A^+ y of a single y against the same y in a batch", alone, back[:1], 1e-3)
        overlap = dot(back, exam.x - back) / dot(exam.x, exam.x)
        exam.require("pinv", "the part of A^+ A x in the null space", overlap, 1e-3)


def _gram(exam: Exam, op: LinearOperator) -> None:
    y, support = op.measure(exam.x, seed=exam.seed), op.support
    r2 = torch.linspace(0.1, 1.0, ROWS).to(y)
    v = op.solve_gram(y, r2)
    there = r2.reshape(-1, *[1] * (y.ndim - 1)) * op(op.adjoint(v)) + op.noise.variance(exam.clean) * v
    if support is not None:
        exam.require("solve_gram", "the solution outside the support", torch.where(support, 0, v).abs().max(), 0)
        there, y = torch.where(support, there, 0), torch.where(support, y, 0)
    exam.close("solve_gram", "(r2 A A^T + sigma_y^2) v against y", there, y, 1e-2)


def check_svd(op: SVDOperator, event_shape: Shape, seed: int = 0) -> None:
    """The tests of `check` that concern singular values.

    Raises:
        OperatorCheckError: the first test that fails.
        TypeError: an operator without singular values.
    """
    exam = Exam(op, shape("event_shape", event_shape), seed, None)
    if not isinstance(exam.op, SVDOperator):
        raise TypeError(f"op of type {type(op).__name__}: expected an operators.SVDOperator")
    _svd(exam, exam.op)


def _svd(exam: Exam, op: SVDOperator) -> None:
    x, z, y = exam.x, exam.normal(exam.x), exam.normal(exam.clean)
    with torch.no_grad():
        s = op.singular_values.to(x).expand_as(x)
        seen = torch.where(s > 0, z, 0)
        exam.require("svd", "the most negative singular value", s.min().clamp(max=0), 0)
        same: list[tuple[str, Callable[[], Tensor], Tensor]] = [
            ("V V^T x against x", lambda: op.V(op.Vt(x)), x),
            ("V^T V z against z", lambda: op.Vt(op.V(z)), z),
            ("U S V^T x against forward(x)", lambda: op.U(s * op.Vt(x)), exam.clean),
            ("V S U^T y against the adjoint", lambda: op.V(s * op.Ut(y)), op.adjoint(y)),
            ("U^T U z against z where S > 0, 0 elsewhere,", lambda: op.Ut(op.U(z)), seen),
            ("U z's dependence on z where S = 0: it", lambda: op.U(z), op.U(seen)),
        ]
        for what, left, right in same:
            exam.close("svd", what, left(), right, 1e-4)
        exam.require("svd", "|V^T x| / |x| - 1", norm(op.Vt(x)) / norm(x) - 1, 1e-4)
        exam.require("svd", "<V^T x, z> - <x, V z>", (dot(op.Vt(x), z) - dot(x, op.V(z))) / (norm(x) * norm(z)), 1e-5)
        exam.require("svd", "<U z, y> - <z, U^T y>", (dot(op.U(z), y) - dot(z, op.Ut(y))) / (norm(z) * norm(y)), 1e-5)
        exam.require("svd", "U^T y where S = 0", torch.where(s > 0, 0, op.Ut(y)).abs().max(), 0)


def _noisy_likelihood(exam: Exam, likelihood: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    y = exam.op.measure(exam.x, seed=exam.seed)
    with torch.no_grad():
        known = exam.op.log_likelihood(y, exam.x)
        for t in (exam.x.new_zeros(()), exam.x.new_zeros(ROWS)):
            noisy = likelihood(y, exam.x, t)
            if noisy.shape != known.shape:
                exam.fail("noisy_likelihood", "its", f"shape is {tuple(noisy.shape)}, expected {tuple(known.shape)}")
            exam.require("noisy_likelihood", "its difference from log_likelihood at t = 0", noisy - known, 1e-3)

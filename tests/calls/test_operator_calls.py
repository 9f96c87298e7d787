"""Bad calls of operators' methods: each is refused at once, by an error that names what was wrong."""

import math

import pytest
import torch

import operators
from operators import (
    Blur,
    Downsampling,
    GaussianNoise,
    Grayscale,
    Masking,
    PoissonNoise,
    Radon,
    Resize,
    Saturation,
    Transmission,
)  # fmt: skip
from tests.calls.good import Logits
from tests.calls.refusal import refused

NAN, INF = math.nan, math.inf
G = GaussianNoise(0.1)
X = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
KERNEL, MASK = torch.ones(3, 3) / 9, torch.ones(8, 8)
MASKING, BLUR, SMALLER = Masking(MASK, G), Blur(KERNEL, "valid", G), Downsampling(2, G)
SATURATION, TRANSMISSION = Saturation(noise=G), Transmission(PoissonNoise(9.0))
LABELS = operators.Classifier(Logits())
MIRROR = Blur(KERNEL, "reflect", G)

# (the call's name, the call, words of its message)
CALLS = [
    # operators: what y and x are
    ("pinv of nan", lambda: MASKING.pinv(X * NAN), "pinv", "nan", "mask"),
    ("pinv of inf, by iterations", lambda: MIRROR.pinv(X / 0), "pinv", "infinite"),
    ("pinv of integers", lambda: MASKING.pinv(X.long()), "y must be a floating tensor", "int64", ".float()"),
    ("pinv of complex numbers", lambda: MASKING.pinv(X + 0j), "complex64", "torch.stack((y.real, y.imag), -3)"),
    ("pinv of a list", lambda: MASKING.pinv([[1.0]]), "y must be a floating tensor", "list"),
    ("pinv without a batch", lambda: MASKING.pinv(X[0, 0, 0]), "(N, *measurement)", "x[None]"),
    ("adjoint of None", lambda: BLUR.adjoint(None), "y must be a floating tensor", "NoneType"),
    ("adjoint of another size", lambda: MASKING.adjoint(X[..., :5]), "(8, 8)", "(1, 8, 5)"),
    ("adjoint of colours", lambda: Grayscale(G).adjoint(X.expand(2, 3, 8, 8)), "expected y", "(N, 1, 8, 8)"),
    ("adjoint of flat rows", lambda: SMALLER.adjoint(X.flatten(1)), "Downsampling", "(N, C, H, W)"),
    ("adjoint of no rows", lambda: SMALLER.adjoint(X[:0]), "N >= 1", "(0, 1, 8, 8)"),
    ("adjoint elsewhere", lambda: MASKING.adjoint(X.to("meta")), "cpu", "meta", "operator.to(y.device)"),
    ("solve_gram, r2 of -1", lambda: MASKING.solve_gram(X, -1.0), "r2 = -1", ">= 0"),
    ("solve_gram, r2 of nan", lambda: MASKING.solve_gram(X, NAN), "r2 = nan", "finite"),
    ("solve_gram, r2 of inf", lambda: MIRROR.solve_gram(X, INF), "r2 = inf", "finite"),
    ("solve_gram, r2 a text", lambda: MASKING.solve_gram(X, "1"), "r2 = '1'", "number"),
    ("solve_gram, r2 a bool", lambda: MASKING.solve_gram(X, True), "r2 = True", "number"),
    ("solve_gram, r2 of another length", lambda: MASKING.solve_gram(X, torch.ones(3)), "r2", "(3,)", "(2,)"),
    ("solve_gram, r2 nan in a row", lambda: MIRROR.solve_gram(X, torch.tensor([1.0, NAN])), "r2", "finite"),
    ("solve_gram, r2 of integers", lambda: MASKING.solve_gram(X, torch.ones(2).long()), "r2", "int64"),
    ("solve_gram of another size", lambda: SMALLER.solve_gram(X[0], 1.0), "Downsampling", "(N, C, H, W)"),
    ("solve_gram of integers", lambda: SMALLER.solve_gram(X.long(), 1.0), "y must be a floating tensor"),
    ("vjp, v of another size", lambda: SATURATION.vjp(X, X[..., :5]), "v of shape (2, 1, 8, 5)", "(2, 1, 8, 8)"),
    ("vjp, v of fewer rows", lambda: SATURATION.vjp(X, X[:1]), "v of shape (1, 1, 8, 8)", "(2, 1, 8, 8)"),
    ("vjp, v of integers", lambda: SATURATION.vjp(X, X.long()), "v must be a floating tensor", "int64"),
    ("vjp, x a list", lambda: SATURATION.vjp([1.0], X), "x must be a floating tensor", "list"),
    ("vjp of a blur", lambda: BLUR.vjp(X, X), "v of shape (2, 1, 8, 8)", "(2, 1, 6, 6)"),
    ("log_likelihood, y of another size", lambda: MASKING.log_likelihood(X[..., :5], X), "y", "(2, 1, 8, 5)"),
    ("log_likelihood, y of other rows", lambda: MASKING.log_likelihood(torch.ones(3, 1, 8, 8), X), "3 measure", "2"),
    ("log_likelihood, y a list", lambda: MASKING.log_likelihood([1.0], X), "y", "list", "floating"),
    ("log_likelihood, y complex", lambda: MASKING.log_likelihood(X + 0j, X), "y", "torch.stack"),
    ("log_likelihood, y elsewhere", lambda: MASKING.log_likelihood(X.to("meta"), X), "meta", "cpu"),
    ("measurement_shape of a number", lambda: MASKING.measurement_shape(8), "event_shape = 8", "(1, 28, 28)"),
    ("measurement_shape of a text", lambda: MASKING.measurement_shape("888"), "event_shape = '888'", "tuple"),
    ("measurement_shape of floats", lambda: MASKING.measurement_shape((1.0, 8, 8)), "event_shape", "integer"),
    ("measurement_shape below 1", lambda: MASKING.measurement_shape((1, 0, 8)), "event_shape", ">= 1"),
    ("measurement_shape of nothing", lambda: MASKING.measurement_shape(()), "event_shape", "axis"),
    ("measuring integers", lambda: MASKING.measure(X.long()), "x must be a floating tensor", "int64"),
    ("measuring complex pictures", lambda: MASKING.measure(X + 0j), "torch.stack((x.real, x.imag), -3)"),
    ("measuring with seed -1", lambda: MASKING.measure(X, seed=-1), "seed = -1", ">= 0"),
    ("measuring with seed 1.5", lambda: MASKING.measure(X, seed=1.5), "seed = 1.5", "integer"),
    ("measuring with seed None", lambda: MASKING.measure(X, seed=None), "seed = None", "integer"),
    ("measuring with a text for a seed", lambda: MASKING.measure(X, seed="0"), "seed = '0'", "integer"),
    ("rows of floats", lambda: MASKING.rows(torch.ones(2)), "LongTensor", "torch.arange"),
    ("noisy labels of floats", lambda: LABELS.noisy_log_likelihood(X, X, 0.5), "int64"),
    ("fbp of another size", lambda: Radon(6, 8).fbp(X), "sinograms", "(1, 8, 8)"),
    ("fbp by an unknown filter", lambda: Radon(6, 8).fbp(Radon(6, 8)(X), filter="none"), "filter = 'none'", "hann"),
    ("fbp by a list", lambda: Radon(6, 8).fbp(Radon(6, 8)(X), filter=[]), "filter", "ramp"),
    ("an offset that does not fit", lambda: Transmission(G, torch.ones(5))(X), "offset", "(5,)", "(2, 1, 8, 8)"),
    ("a sigma that does not fit", lambda: Masking(MASK, GaussianNoise(torch.ones(5), 1)).measure(X), "sigma", "(5,)"),
    ("estimate_sigma, operator a text", lambda: operators.estimate_sigma(X, "blur"), "operator", "str"),
    ("check of a function", lambda: operators.check(torch.relu, (1, 8, 8)), "op of type", "Operator"),
    ("check of a size", lambda: operators.check(MASKING, 8), "event_shape = 8"),
    ("check with x a list", lambda: operators.check(MASKING, (1, 8, 8), x=[1.0]), "x must be a floating tensor"),
    ("at a number", lambda: MASKING.at(8), "event_shape = 8", "tuple"),
    ("at floats", lambda: MASKING.at((1.0, 8, 8)), "event_shape", "integer"),
    ("at None", lambda: MASKING.at(None), "event_shape = None", "tuple"),
    ("at colours, for grey pictures", lambda: Radon(6, 8).at((1, 9, 9)), "(C, 8, 8)", "(1, 9, 9)"),
    ("x of another shape", lambda: MASKING.at((1, 8, 8))(X.expand(2, 3, 8, 8)), "(1, 8, 8)", "(3, 8, 8)", "r.at"),
    ("largest of two numbers", lambda: Resize(2.0).largest((8, 8)), "Resize", "(N, C, H, W)"),
]  # fmt: skip


@pytest.mark.parametrize("call", CALLS, ids=[call[0] for call in CALLS])
def test_a_bad_call_is_refused_by_name(call):
    refused(*call)


@pytest.mark.filterwarnings("ignore::operators.NotConverged")
def test_a_row_of_nan_stays_nan_in_iterations():
    y = MIRROR(X)
    y[1, 0, 3, 3] = NAN
    v = MIRROR.solve_gram(y, 0.1)
    assert bool(v[1].isnan().all()) and bool(v[0].isfinite().all())

"""Every registered operator, against the public self-test."""

import pytest
import torch
from operator_cases import ALL, CASES, uniform

import operators


def test_every_registered_name_has_a_case():
    missing = set(operators.available()) - set(CASES)
    assert not missing, f"add examples of {missing} to tests/operators/cases.py"


@pytest.mark.parametrize("case", [case for _, case in ALL], ids=[label for label, _ in ALL])
def test_check(case):
    report = operators.check(case.make(), case.event_shape)
    expected = {"rows", "seed", "noise_none"} | (
        {"adjoint", "pinv"} if "linear" in case.make().capabilities else {"vjp"}
    )
    assert expected <= set(report)


CASTABLE = [(label, case) for label, case in ALL if "fixed to single precision" not in label]


@pytest.mark.parametrize("case", [case for _, case in CASTABLE], ids=[label for label, _ in CASTABLE])
def test_in_double_precision_it_measures_the_same(case):
    """Also with complex parameters, whose imaginary parts a cast to a real dtype would drop."""
    x = uniform(case.make().batch or 2, *case.event_shape)
    clean, double = case.make()(x), case.make().to(torch.float64)
    torch.testing.assert_close(double(x.double()), clean.double(), rtol=1e-4, atol=1e-5)
    complex_ = {name for name, value in case.make().named_buffers() if value.is_complex()}
    assert all(value.dtype == torch.complex128 for name, value in double.named_buffers() if name in complex_)


def test_complex_parameters_have_no_low_precision():
    maps = operators.Fourier.cartesian((1, 8, 8), 2, coils=2)
    with pytest.raises(TypeError, match="expected float32 or float64"):
        maps.to(torch.bfloat16)


@pytest.mark.parametrize("case", [case for _, case in ALL], ids=[label for label, _ in ALL])
def test_it_shows_itself_in_one_line(case):
    """Its arguments and its noise, never the numbers of a tensor or an address."""
    operator = case.make()
    text = repr(operator)
    assert "\n" not in text and "tensor(" not in text and " at 0x" not in text and len(text) < 600
    made_of_parts = isinstance(operator, operators.Composition | operators.Stack | operators.Classifier)
    assert made_of_parts or repr(operator.noise) in text


def test_what_it_shows():
    noise = operators.GaussianNoise(0.05)
    mask = operators.Masking.random((1, 8, 8), keep=0.25, noise=noise)
    assert repr(mask) == "Masking(mask=<25 % of (1, 8, 8)>, noise=GaussianNoise(sigma=0.05))"
    two = operators.Downsampling(2, operators.PoissonNoise(100.0)) @ operators.Resize(3)
    assert repr(two).startswith("Downsampling(factor=2, noise=PoissonNoise(peak=100)) @ Resize(factor=3, ")
    assert "event_shape=(1, 8, 8)" in repr(operators.Downsampling(2).at((1, 8, 8)))


@pytest.mark.parametrize(
    ("name", "label", "structure"),
    [
        ("masking", "plane", {"linear", "svd", "orthogonal_rows", "differentiable", "gaussian", "isotropic"}),
        ("masking", "batched", {"linear", "svd", "orthogonal_rows", "differentiable", "gaussian", "isotropic"}),
        ("masking", "sigma per entry", {"linear", "svd", "orthogonal_rows", "differentiable", "gaussian"}),
        ("masking", "photons", {"linear", "svd", "orthogonal_rows", "differentiable"}),
        ("grayscale", "luma", {"linear", "svd", "orthogonal_rows", "differentiable", "gaussian", "isotropic"}),
        ("downsampling", "by 3", {"linear", "svd", "orthogonal_rows", "differentiable", "gaussian", "isotropic"}),
        ("downsampling", "photons", {"linear", "svd", "orthogonal_rows", "differentiable"}),
        ("blur", "circular", {"linear", "svd", "differentiable", "gaussian", "isotropic"}),
        ("blur", "reflect", {"linear", "differentiable", "gaussian", "isotropic"}),
        ("blur", "valid", {"linear", "differentiable", "gaussian", "isotropic"}),
        ("linear", "wide", {"linear", "svd", "differentiable", "gaussian", "isotropic"}),
        ("linear", "orthogonal", {"linear", "svd", "orthogonal_rows", "differentiable", "gaussian", "isotropic"}),
        ("linear", "tall, sigma per entry", {"linear", "svd", "differentiable", "gaussian"}),
        ("resize", "bicubic by 4", {"linear", "svd", "differentiable", "gaussian", "isotropic"}),
        ("varying_blur", "circular", {"linear", "differentiable", "gaussian", "isotropic"}),
        ("compressed_sensing", "dct", {"linear", "svd", "orthogonal_rows", "differentiable", "gaussian", "isotropic"}),
        ("bayer", "RGGB", {"linear", "svd", "orthogonal_rows", "differentiable", "gaussian", "isotropic"}),
        ("jpeg", "gray", {"differentiable", "gaussian", "isotropic"}),
        ("phase_retrieval", "coded", {"differentiable", "gaussian", "isotropic"}),
        ("saturation", "clipped", {"differentiable", "gaussian", "isotropic"}),
        ("classifier", "tiny", {"differentiable", "noisy_likelihood"}),
    ],
)
def test_capabilities(name, label, structure):
    case = next(case for case in CASES[name] if case.label == label)
    noise = set() if name == "classifier" else {"numeric", "density"}
    linear = {"generalized_linear"} if structure & {"linear", "entrywise"} else set()
    assert case.make().capabilities == structure | noise | linear


def test_check_takes_the_users_images():
    op = operators.Masking.random((1, 4, 4), noise=operators.GaussianNoise(0.1))
    assert operators.check(op, (1, 4, 4), x=5 * uniform(2, 1, 4, 4) - 3)["adjoint"] < 1e-6
    with pytest.raises(ValueError, match="two images"):
        operators.check(op, (1, 4, 4), x=uniform(1, 1, 4, 4))

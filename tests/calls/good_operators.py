"""Good calls of operators."""

from collections.abc import Iterator
from typing import Any

import torch

import operators
from operators import GaussianNoise, Masking, coils, kernels, sampling
from tests.calls.good import KERNEL, MASK, G, Good, Logits, X


def linear_operators() -> dict[str, Any]:
    """Operators of one channel of 8 x 8 pixels."""
    return {
        "Masking": Masking(MASK, G),
        "Blur": operators.Blur(KERNEL, noise=G),
        "PaddedBlur": operators.Blur(KERNEL, "valid", noise=G),
        "Downsampling": operators.Downsampling(2, G),
        "Resize": operators.Resize(2.0, noise=G),
        "Radon": operators.Radon(6, 8, noise=G),
        "FanBeam": operators.FanBeam(6, 20.0, noise=G),
        "LinearMap": operators.LinearMap(torch.eye(64), G, (1, 8, 8)),
        "Fourier": operators.Fourier(MASK, noise=G),
        "NonCartesian": operators.NonCartesian.radial((1, 8, 8), 4, noise=G),
        "CompressedSensing": operators.CompressedSensing(0.5, noise=G, event_shape=(1, 8, 8)),
        "VaryingBlur": operators.VaryingBlur.defocus((1, 8, 8), noise=G),
        "Stack": operators.Stack([Masking(MASK, G), operators.Downsampling(2, G)]),
        "Composition": Masking(torch.ones(4, 4), G) @ operators.Downsampling(2, G),
    }


def other_operators() -> dict[str, Any]:
    return {
        "Saturation": operators.Saturation(noise=G),
        "JPEG": operators.JPEG(noise=G),
        "PhaseRetrieval": operators.PhaseRetrieval(noise=G),
        "Transmission": operators.Transmission(operators.PoissonNoise(100.0)),
        "Classifier": operators.Classifier(Logits()),
    }


def of_operators() -> Iterator[Good]:
    for name, op in linear_operators().items():
        op = op.at((1, 8, 8))
        y = op.measure(X, seed=0)
        yield Good(f"{name}()", op, {"x": X})
        yield Good(f"{name}.measure", op.measure, {"x": X, "seed": 0})
        yield Good(f"{name}.adjoint", op.adjoint, {"y": y})
        yield Good(f"{name}.pinv", op.pinv, {"y": y})
        yield Good(f"{name}.solve_gram", op.solve_gram, {"y": y, "r2": 0.1})
        yield Good(f"{name}.vjp", op.vjp, {"x": X, "v": y})
        yield Good(f"{name}.log_likelihood", op.log_likelihood, {"y": y, "x": X})
        yield Good(f"{name}.measurement_shape", op.measurement_shape, {"event_shape": (1, 8, 8)})
        yield Good(f"{name}.validate_y", op.validate_y, {"y": y, "event_shape": (1, 8, 8)})
        yield Good(f"{name}.rows", op.rows, {"index": torch.arange(1)})
        yield Good(f"{name}.at", op.at, {"event_shape": (1, 8, 8)})
    for name, op in other_operators().items():
        y = op.measure(X, seed=0)
        v = op(X)
        yield Good(f"{name}()", op, {"x": X})
        yield Good(f"{name}.measure", op.measure, {"x": X, "seed": 0})
        yield Good(f"{name}.vjp", op.vjp, {"x": X, "v": v})
        yield Good(f"{name}.log_likelihood", op.log_likelihood, {"y": y, "x": X})
        yield Good(f"{name}.measurement_shape", op.measurement_shape, {"event_shape": (1, 8, 8)})
        yield Good(f"{name}.validate_y", op.validate_y, {"y": y, "event_shape": (1, 8, 8)})
    classifier = other_operators()["Classifier"]
    labels = torch.tensor([0, 1])
    yield Good("noisy_log_likelihood", classifier.noisy_log_likelihood, {"y": labels, "x": X, "t": torch.tensor(0.5)})
    yield Good("fbp", linear_operators()["Radon"].fbp, {"y": linear_operators()["Radon"](X), "filter": "ramp"})
    fan = linear_operators()["FanBeam"].at((1, 8, 8))
    yield Good("FanBeam.fbp", fan.fbp, {"y": fan(X), "filter": "hann"})
    cone = operators.ConeBeam(6, 20.0, noise=G).at((1, 2, 8, 8))
    yield Good("ConeBeam.fdk", cone.fdk, {"y": cone(X[:, :, None].repeat(1, 1, 2, 1, 1)), "filter": "hann"})
    transmission = other_operators()["Transmission"]
    yield Good("line_integrals", transmission.line_integrals, {"y": transmission(X)})
    yield from (
        Good("Masking", Masking, {"mask": MASK, "noise": G, "event_ndim": 2}),
        Good("Masking.random", Masking.random, {"event_shape": (1, 8, 8), "keep": 0.5, "seed": 0, "noise": G}),
        Good("Masking.box", Masking.box, {"event_shape": (1, 8, 8), "size": 2, "corner": (1, 1), "noise": G}),
        Good("Masking.half", Masking.half, {"event_shape": (1, 8, 8), "seen": "left", "noise": G}),
        Good("Blur", operators.Blur, {"kernel": KERNEL, "boundary": "circular", "noise": G}),
        Good("Blur.gaussian", operators.Blur.gaussian, {"sigma_px": 1.0, "boundary": "valid", "truncate": 3.0}),
        Good("Blur.defocus", operators.Blur.defocus, {"radius": 1.5, "boundary": "valid"}),
        Good("Blur.motion", operators.Blur.motion, {"size": 5, "seed": 0, "length": 3.0, "boundary": "circular"}),
        Good("Blur.motion, straight", operators.Blur.motion, {"size": 5, "length": 3.0, "angle": 30.0}),
        Good("Downsampling", operators.Downsampling, {"factor": 2, "noise": G}),
        Good("Resize", operators.Resize, {"factor": 2.0, "kernel": "bicubic", "noise": G}),
        Good("Grayscale", operators.Grayscale, {"noise": G, "weights": (0.3, 0.3, 0.4)}),
        Good("Bayer", operators.Bayer, {"pattern": "RGGB", "noise": G}),
        Good("JPEG", operators.JPEG, {"quality": 50, "subsampling": "4:2:0", "noise": G, "rounding": "smooth"}),
        Good("Radon", operators.Radon, {"angles": 6, "size": 8, "detectors": 12, "noise": G, "pixel": 1.0}),
        Good("Radon's axis", operators.Radon, {"angles": 6, "centre": 3.0, "origin": (4.0, 4.0), "unit": "degrees"}),
        Good("FanBeam", operators.FanBeam, {"angles": 6, "source": 20.0, "detector": 10.0, "size": 8, "detectors": 12}),
        Good("FanBeam, oblong", operators.FanBeam, {"angles": 6, "source": 20.0, "size": (8, 6), "spacing": 1.5}),
        Good(
            "FanBeam's arc",
            operators.FanBeam,
            {"angles": 6, "source": 20.0, "centre": 3.0, "origin": (4.0, 4.0), "offset": 1.0, "curved": True},
        ),
        Good(
            "FanBeam.astra",
            operators.FanBeam.astra,
            {"size": 8, "angles": [0.1, 0.2], "source": 20.0, "detector": 10.0, "detectors": 12, "spacing": 1.0},
        ),
        Good(
            "ConeBeam", operators.ConeBeam, {"angles": 6, "source": 20.0, "detector": 10.0, "size": 8, "detectors": 12}
        ),
        Good(
            "ConeBeam, oblong",
            operators.ConeBeam,
            {"angles": 6, "source": 20.0, "size": (4, 8, 6), "detectors": (8, 12), "spacing": (1.0, 1.5)},
        ),
        Good(
            "ConeBeam, shifted",
            operators.ConeBeam,
            {
                "angles": 6,
                "source": 20.0,
                "spacing": 1.5,
                "centre": (3.0, 5.0),
                "origin": (2.0, 4.0, 3.0),
                "offset": 1.0,
            },
        ),
        Good(
            "ConeBeam.astra",
            operators.ConeBeam.astra,
            {"size": 8, "angles": [0.1, 0.2], "source": 20.0, "detector": 10.0, "detectors": (8, 12), "spacing": 1.0},
        ),
        Good("Slicewise", operators.Slicewise, {"operator": operators.Radon(6, 8, noise=G), "axis": 0}),
        Good("AlongAxis", operators.AlongAxis, {"matrix": torch.eye(4)[:2], "axis": 1, "noise": G}),
        Good("AlongAxis.gaussian", operators.AlongAxis.gaussian, {"depth": 4, "sigma": 1.0, "every": 2, "axis": 0}),
        Good("Radon.skimage", operators.Radon.skimage, {"size": 8, "angles": 6, "circle": True, "noise": G}),
        Good("Radon.sparse_view", operators.Radon.sparse_view, {"size": 8, "views": 6, "noise": G}),
        Good(
            "Radon.limited_angle", operators.Radon.limited_angle, {"size": 8, "degrees": 90.0, "views": 6, "start": 0}
        ),
        Good("LinearMap", operators.LinearMap, {"matrix": torch.eye(4), "noise": G, "event_shape": (4,)}),
        Good("Fourier", operators.Fourier, {"mask": MASK, "noise": G, "channels": 1}),
        Good(
            "Fourier of coils",
            operators.Fourier,
            {"mask": MASK, "sensitivities": torch.ones(2, 8, 8, dtype=torch.complex64), "phase": torch.zeros(8, 8)},
        ),
        Good(
            "Fourier.cartesian",
            operators.Fourier.cartesian,
            {
                "event_shape": (1, 8, 8),
                "acceleration": 2.0,
                "calibration": 0.2,
                "kind": "variable",
                "seed": 0,
                "coils": 2,
            },
        ),
        Good("Fourier.radial", operators.Fourier.radial, {"event_shape": (1, 8, 8), "spokes": 3, "coils": 2}),
        Good(
            "Fourier.poisson_disc",
            operators.Fourier.poisson_disc,
            {"event_shape": (1, 8, 8), "acceleration": 2.0, "calibration": 0.2, "seed": 0, "coils": None},
        ),
        Good(
            "NonCartesian",
            operators.NonCartesian,
            {
                "trajectory": torch.rand(9, 2, generator=torch.Generator().manual_seed(0)) - 0.5,
                "sensitivities": torch.ones(2, 8, 8, dtype=torch.complex64),
                "phase": torch.zeros(8, 8),
                "channels": 1,
                "event_shape": (1, 8, 8),
            },
        ),
        Good(
            "NonCartesian.radial",
            operators.NonCartesian.radial,
            {"event_shape": (1, 8, 8), "spokes": 3, "samples": 8, "order": "golden", "coils": 2},
        ),
        Good(
            "NonCartesian.spiral",
            operators.NonCartesian.spiral,
            {"event_shape": (1, 8, 8), "interleaves": 3, "turns": 2.0, "samples": 9, "coils": 2},
        ),
        Good(
            "CompressedSensing",
            operators.CompressedSensing,
            {"keep": 0.5, "transform": "dct", "seed": 0, "noise": G, "event_shape": (1, 8, 8)},
        ),
        Good(
            "PhaseRetrieval", operators.PhaseRetrieval, {"oversampling": 2.0, "noise": G, "masks": torch.ones(1, 8, 8)}
        ),
        Good("coded", operators.PhaseRetrieval.coded, {"event_shape": (1, 8, 8), "n_masks": 2, "seed": 0}),
        Good("Saturation", operators.Saturation, {"gain": 2.0, "limit": 1.0, "softness": 0.0, "noise": G}),
        Good("Transmission", operators.Transmission, {"noise": G, "offset": 0.0}),
        Good("attenuation", operators.attenuation, {"hu": 0.0, "water": 0.02}),
        Good(
            "VaryingBlur",
            operators.VaryingBlur,
            {"kernels": torch.ones(2, 3, 3) / 9, "windows": torch.ones(2, 8, 8) / 2, "boundary": "reflect", "noise": G},
        ),
        Good("grid", operators.VaryingBlur.grid, {"kernels": torch.ones(2, 2, 3, 3) / 9, "event_shape": (1, 8, 8)}),
        Good("rotation", operators.VaryingBlur.rotation, {"event_shape": (1, 8, 8), "degrees": 5.0, "nodes": 2}),
        Good(
            "defocus", operators.VaryingBlur.defocus, {"event_shape": (1, 8, 8), "top": 0.0, "bottom": 2.0, "nodes": 2}
        ),
        Good("Classifier", operators.Classifier, {"network": Logits()}),
        Good("Composition", operators.Composition, {"outer": Masking(MASK), "inner": Masking(MASK)}),
        Good("Stack", operators.Stack, {"operators": [Masking(MASK)]}),
        Good("GaussianNoise", GaussianNoise, {"sigma": 0.1, "event_ndim": None}),
        Good("PoissonNoise", operators.PoissonNoise, {"peak": 10.0, "event_ndim": None}),
        Good("check", operators.check, {"op": Masking(MASK, G), "event_shape": (1, 8, 8), "seed": 0, "x": X}),
        Good(
            "estimate_sigma", operators.estimate_sigma, {"y": torch.rand(1, 1, 64, 64), "operator": None, "floor": 0.1}
        ),
        Good("get", operators.get, {"name": "blur"}),
        Good("make", operators.make, {"name": "masking", "mask": MASK}),
        Good("register", operators.register, {"name": "masking"}),
        Good("line_kernel", kernels.line_kernel, {"length": 3.0, "angle": 30.0, "size": 5}),
        Good("motion_kernel", kernels.motion_kernel, {"size": 5, "seed": 0, "length": 3.0}),
        Good(
            "sampling.cartesian",
            sampling.cartesian,
            {"shape": (8, 8), "acceleration": 2.0, "kind": "uniform", "seed": 0},
        ),
        Good("sampling.radial", sampling.radial, {"shape": (8, 8), "spokes": 2}),
        Good("smooth_sensitivities", coils.smooth_sensitivities, {"coils": 2, "shape": (8, 8)}),
        Good(
            "estimate_sensitivities",
            coils.estimate_sensitivities,
            {
                "y": torch.rand(1, 2, 2, 16, 16),
                "mask": torch.ones(16, 16, dtype=torch.bool),
                "kernel": 5,
                "threshold": 0.05,
            },
        ),
        Good("estimate_phase", coils.estimate_phase, {"y": torch.rand(1, 2, 8, 8), "mask": torch.ones(8, 8).bool()}),
    )

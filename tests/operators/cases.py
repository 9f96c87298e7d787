"""Examples of every operator. A registered name without an example fails the tests: add yours here."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

import operators
from operators import GaussianNoise, Operator, PoissonGaussianNoise, PoissonNoise, RicianNoise, SpeckleNoise
from operators.coils import smooth_sensitivities


@dataclass(frozen=True)
class Case:
    label: str
    make: Callable[[], Operator]
    event_shape: tuple[int, ...]


class TinyClassifier(torch.nn.Module):
    """Logits of flattened images, flatter as t grows: a stand-in for a noise-conditional network."""

    def __init__(self, d: int, n_classes: int) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.weight = torch.nn.Parameter(uniform(n_classes, d, seed=5) * 2 - 1)

    def forward(self, x, t):
        return torch.tanh(x.flatten(1) @ self.weight.T) / (1 + torch.as_tensor(t, dtype=x.dtype).reshape(-1, 1))


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def mask(*shape: int, seed: int = 0) -> torch.Tensor:
    return uniform(*shape, seed=seed) > 0.4


def peaked(*shape: int, seed: int = 0) -> torch.Tensor:
    """Kernels with a well-conditioned spectrum, symmetric in nothing."""
    kernel = 0.04 * uniform(*shape, seed=seed)
    kernel[..., shape[-2] // 2, shape[-1] // 2] += 1
    return kernel


G = GaussianNoise
IMAGE = (3, 6, 5)
PER_ENTRY = 0.05 + 0.1 * uniform(1, 6, 5, seed=3)
COILS = smooth_sensitivities(3, (6, 5))
PHASE = 3 * uniform(6, 5, seed=4)

CASES: dict[str, list[Case]] = {
    "masking": [
        Case("plane", lambda: operators.Masking(mask(6, 5), noise=G(0.1)), IMAGE),
        Case("channels", lambda: operators.Masking(mask(3, 6, 5), noise=G(0.1)), IMAGE),
        Case("random", lambda: operators.Masking.random(IMAGE, keep=0.3, noise=G(0.02)), IMAGE),
        Case("box", lambda: operators.Masking.box(IMAGE, (2, 3), noise=G(0.02)), IMAGE),
        Case("half", lambda: operators.Masking.half(IMAGE, "bottom", noise=G(0.02)), IMAGE),
        Case("noiseless", lambda: operators.Masking(mask(6, 5)), IMAGE),
        Case("batched", lambda: operators.Masking(mask(3, 1, 6, 5), noise=G(torch.tensor([0.1, 0.2, 0.3]))), IMAGE),
        Case("two vectors", lambda: operators.Masking(mask(2, 9), noise=G(0.1), event_ndim=1), (9,)),
        Case("sigma per entry", lambda: operators.Masking(mask(6, 5), noise=G(PER_ENTRY, event_ndim=3)), IMAGE),
        Case("photons", lambda: operators.Masking(mask(6, 5), noise=PoissonNoise(30.0)), IMAGE),
    ],
    "grayscale": [
        Case("mean", lambda: operators.Grayscale(noise=G(0.1)), IMAGE),
        Case("luma", lambda: operators.Grayscale(noise=G(0.1), weights=(0.299, 0.587, 0.114)), IMAGE),
        Case("red", lambda: operators.Grayscale(noise=G(torch.tensor([0.1, 0.2])), weights=(1.0, 0.0, 0.0)), IMAGE),
        Case("negative red", lambda: operators.Grayscale(noise=G(0.1), weights=(-1.0, 0.0, 0.0)), IMAGE),
        Case("difference", lambda: operators.Grayscale(noise=G(0.1), weights=(-1.0, 2.0)), (2, 4, 4)),
    ],
    "identity": [
        Case("colour", lambda: operators.Identity(G(0.1)), IMAGE),
        Case("vectors, noiseless", lambda: operators.Identity(), (9,)),
        Case("batched", lambda: operators.Identity(G(torch.tensor([0.1, 0.2, 0.3]))), (1, 4, 5)),
        Case("sigma per entry", lambda: operators.Identity(G(PER_ENTRY, event_ndim=3)), IMAGE),
        Case("photons", lambda: operators.Identity(PoissonNoise(30.0)), IMAGE),
        Case("camera", lambda: operators.Identity(PoissonGaussianNoise(30.0, 0.05)), IMAGE),
        Case("magnitudes", lambda: operators.Identity(RicianNoise(0.1)), IMAGE),
        Case("speckle", lambda: operators.Identity(SpeckleNoise(4.0)), IMAGE),
    ],
    "downsampling": [
        Case("by 2", lambda: operators.Downsampling(2, noise=G(0.1)), (3, 6, 10)),
        Case("by 3", lambda: operators.Downsampling(3, noise=G(0.1)), (3, 9, 6)),
        Case("by 3, one row of blocks", lambda: operators.Downsampling(3, noise=G(0.1)), (1, 3, 15)),
        Case("by 1", lambda: operators.Downsampling(1, noise=G(0.1)), (2, 3, 5)),
        Case("noiseless", lambda: operators.Downsampling(2), (1, 4, 6)),
        Case("batched", lambda: operators.Downsampling(2, noise=G(torch.tensor([0.1, 0.2, 0.3]))), (3, 6, 4)),
        Case(
            "sigma per entry", lambda: operators.Downsampling(2, noise=G(PER_ENTRY[:, :3, :2], event_ndim=3)), (3, 6, 4)
        ),
        Case("photons", lambda: operators.Downsampling(3, noise=PoissonNoise(30.0)), (3, 6, 9)),
    ],
    "blur": [
        Case("circular", lambda: operators.Blur(peaked(3, 4), noise=G(0.1)), IMAGE),
        Case("circular gaussian", lambda: operators.Blur.gaussian(0.6, noise=G(0.05)), (2, 8, 7)),
        Case("motion", lambda: operators.Blur.motion(5, seed=1, noise=G(0.05)), IMAGE),
        Case("defocus", lambda: operators.Blur.defocus(1.5, noise=G(0.05)), IMAGE),
        Case("straight motion", lambda: operators.Blur.motion(length=3, angle=30, noise=G(0.05)), IMAGE),
        Case("motion, reflect", lambda: operators.Blur.motion(3, seed=2, boundary="reflect", noise=G(0.05)), IMAGE),
        Case("circular with a null space", lambda: operators.Blur(torch.ones(2, 2) / 4, noise=G(0.1)), (1, 6, 6)),
        Case("circular per channel", lambda: operators.Blur(peaked(3, 3, 2), noise=G(0.1)), IMAGE),
        Case("circular batched", lambda: operators.Blur(peaked(2, 1, 3, 3), noise=G(torch.tensor([0.1, 0.2]))), IMAGE),
        Case(
            "circular, sigma per entry", lambda: operators.Blur(peaked(3, 3), noise=G(PER_ENTRY, event_ndim=3)), IMAGE
        ),
        Case("reflect", lambda: operators.Blur(peaked(4, 3), "reflect", noise=G(0.1)), IMAGE),
        Case("reflect batched", lambda: operators.Blur(peaked(3, 3, 3, 3), "reflect", noise=G(0.1)), IMAGE),
        Case("reflect, large", lambda: operators.Blur(peaked(2, 3, 8, 9), "reflect", noise=G(0.1)), (3, 11, 10)),
        Case("valid", lambda: operators.Blur(peaked(3, 2), "valid", noise=G(0.1)), IMAGE),
        Case("valid batched", lambda: operators.Blur(peaked(2, 3, 3, 3), "valid", noise=G(0.1)), IMAGE),
        Case("photons", lambda: operators.Blur.gaussian(0.6, "reflect", noise=PoissonNoise(50.0)), IMAGE),
    ],
    "radon": [
        Case("odd", lambda: operators.Radon(12, noise=G(0.1)), (1, 7, 7)),
        Case("even, few detectors", lambda: operators.Radon(5, detectors=5, noise=G(0.1), pixel=0.5), (1, 8, 8)),
        Case("limited angle", lambda: operators.Radon.limited_angle(9, 60, 4, noise=G(0.1), start=20), (1, 9, 9)),
        Case("sparse view, noiseless", lambda: operators.Radon.sparse_view(6, 3), (1, 6, 6)),
        Case("batched", lambda: operators.Radon([0, 30.5, 90], noise=G(torch.tensor([0.1, 0.2]))), (2, 5, 5)),
        Case("sigma per entry", lambda: operators.Radon(2, 6, noise=G(0.1 + uniform(2, 10), event_ndim=2)), (1, 6, 6)),
        Case("photons", lambda: operators.Radon(4, noise=PoissonNoise(30.0)), (1, 5, 5)),
    ],
    "fan_beam": [
        Case("default", lambda: operators.FanBeam(7, 15.0, noise=G(0.1)), (1, 7, 7)),
        Case("oblong, shifted", lambda: operators.FanBeam(5, 9.0, 4.0, (6, 5), offset=0.7, noise=G(0.1)), IMAGE),
        Case(
            "arc, few detectors",
            lambda: operators.FanBeam([0, 40.5, 200], 20.0, 5.0, None, 6, 2.0, G(0.1), 0.5, 2.2, curved=True),
            (1, 5, 8),
        ),
        Case("batched", lambda: operators.FanBeam(4, 12.0, noise=G(torch.tensor([0.1, 0.2]))), (2, 5, 5)),
        Case("noiseless", lambda: operators.FanBeam(3, 12.0), (1, 6, 6)),
        Case("photons", lambda: operators.FanBeam(4, 12.0, noise=PoissonNoise(30.0)), (1, 5, 5)),
    ],
    "transmission": [
        Case("photons", lambda: operators.Transmission(PoissonNoise(100.0)), (1, 4, 3)),
        Case("offset", lambda: operators.Transmission(G(0.01), 0.2 * uniform(4, 3)), (1, 4, 3)),
        Case("offsets, batched", lambda: operators.Transmission(G(0.01), uniform(2, 1, 4, 3)), (1, 4, 3)),
    ],
    "fourier": [
        Case("real", lambda: operators.Fourier(mask(6, 5), noise=G(0.1)), (1, 6, 5)),
        Case("real, columns", lambda: operators.Fourier(mask(1, 8), noise=G(0.1)), (1, 7, 8)),
        Case("real, all", lambda: operators.Fourier(torch.ones(4, 6), noise=G(0.1)), (1, 4, 6)),
        Case("real, noiseless", lambda: operators.Fourier(mask(5, 7)), (1, 5, 7)),
        Case(
            "real batched", lambda: operators.Fourier(mask(3, 6, 4), noise=G(torch.tensor([0.1, 0.2, 0.3]))), (1, 6, 4)
        ),
        Case("complex", lambda: operators.Fourier(mask(5, 6), noise=G(0.1), channels=2), (2, 5, 6)),
        Case("complex batched", lambda: operators.Fourier(mask(2, 1, 7), noise=G(0.1), channels=2), (2, 3, 7)),
        Case("complex, phase", lambda: operators.Fourier(mask(6, 5), None, PHASE, G(0.1), channels=2), (2, 6, 5)),
        Case("real, phase", lambda: operators.Fourier(mask(6, 5), phase=PHASE, noise=G(0.1)), (1, 6, 5)),
        Case(
            "real, phases",
            lambda: operators.Fourier(mask(6, 5), phase=torch.stack([PHASE, -PHASE]), noise=G(0.1)),
            (1, 6, 5),
        ),
        Case("coils, real", lambda: operators.Fourier(mask(6, 5), COILS, noise=G(0.1)), (1, 6, 5)),
        Case("coils, complex", lambda: operators.Fourier(mask(1, 5), COILS, PHASE, G(0.1), channels=2), (2, 6, 5)),
        Case(
            "coils batched",
            lambda: operators.Fourier(mask(2, 6, 5), torch.stack([COILS, COILS.flip(1)]), noise=G(0.1), channels=2),
            (2, 6, 5),
        ),
        Case("cartesian", lambda: operators.Fourier.cartesian((1, 5, 9), 2, 0.3, coils=2, noise=G(0.1)), (1, 5, 9)),
        Case("radial", lambda: operators.Fourier.radial((2, 8, 7), 3, noise=G(0.05)), (2, 8, 7)),
        Case("Poisson disc", lambda: operators.Fourier.poisson_disc((1, 9, 9), 3, noise=G(0.05)), (1, 9, 9)),
        Case("sigma per entry", lambda: operators.Fourier(mask(6, 5), noise=G(PER_ENTRY, 3), channels=2), (2, 6, 5)),
    ],
    "noncartesian": [
        Case("radial, real", lambda: operators.NonCartesian.radial((1, 6, 5), 4, noise=G(0.1)), (1, 6, 5)),
        Case("spiral, complex", lambda: operators.NonCartesian.spiral((2, 5, 6), 2, noise=G(0.1)), (2, 5, 6)),
        Case("few points", lambda: operators.NonCartesian(uniform(9, 2) - 0.5, noise=G(0.1)), (1, 4, 5)),
        Case(
            "coils, phase",
            lambda: operators.NonCartesian(uniform(20, 2) - 0.5, COILS, PHASE, noise=G(0.1)),
            (1, 6, 5),
        ),
        Case(
            "coils batched",
            lambda: operators.NonCartesian(
                uniform(24, 2) - 0.5,
                torch.stack([COILS, COILS.flip(1)]),
                noise=G(torch.tensor([0.1, 0.2])),
                channels=2,
            ),
            (2, 6, 5),
        ),
        Case(
            "sigma per entry",
            lambda: operators.NonCartesian(uniform(20, 2) - 0.5, noise=G(0.1 + uniform(2, 20), 2)),
            (1, 4, 4),
        ),
    ],
    "linear": [
        Case("wide", lambda: operators.LinearMap(uniform(4, 9), noise=G(0.1)), (9,)),
        Case("tall", lambda: operators.LinearMap(uniform(9, 4), noise=G(0.1)), (4,)),
        Case(
            "tall, sigma per entry", lambda: operators.LinearMap(uniform(9, 4), G(0.1 + uniform(9), event_ndim=1)), (4,)
        ),
        Case("rank one", lambda: operators.LinearMap(uniform(5, 1) @ uniform(1, 6), noise=G(0.1)), (6,)),
        Case("orthogonal", lambda: operators.LinearMap(torch.linalg.qr(uniform(6, 6)).Q[:3], noise=G(0.1)), (6,)),
        Case("image", lambda: operators.LinearMap(uniform(4, 12), noise=G(0.1), event_shape=(1, 4, 3)), (1, 4, 3)),
        Case("batched", lambda: operators.LinearMap(uniform(2, 4, 12), G(0.1), event_shape=(3, 4)), (3, 4)),
        Case("double", lambda: operators.LinearMap(uniform(4, 9).double(), noise=G(0.1)), (9,)),
    ],
    "classifier": [
        Case("tiny", lambda: operators.Classifier(TinyClassifier(12, 5)), (3, 2, 2)),
        Case(
            "fixed to single precision",
            lambda: operators.Classifier(lambda x, t: torch.tanh(x @ uniform(4, 3).to(x.device))),
            (4,),
        ),
        Case("function", lambda: operators.Classifier(lambda x, t: 3 * x / (1 + t.reshape(-1, 1))), (4,)),
    ],
    "resize": [
        Case("bicubic by 4", lambda: operators.Resize(4, noise=G(0.1)), (3, 8, 12)),
        Case("bicubic by 3, odd", lambda: operators.Resize(3, noise=G(torch.tensor([0.1, 0.2]))), (1, 7, 11)),
        Case("bilinear by 1.5", lambda: operators.Resize(1.5, "bilinear", noise=G(0.1)), (2, 5, 6)),
        Case("lanczos of a small picture", lambda: operators.Resize(2, "lanczos", noise=G(0.1)), (1, 3, 4)),
        Case("one pixel of 2", lambda: operators.Resize(2, "nearest", noise=G(0.1)), (2, 5, 6)),
        Case("the first pixel of 3", lambda: operators.Resize(3, "nearest", noise=G(0.1), offset=0), (2, 7, 6)),
        Case("not antialiased", lambda: operators.Resize(3, "bilinear", G(0.1), antialias=False), (1, 7, 8)),
        Case("by 1", lambda: operators.Resize(1), (1, 4, 5)),
        Case("photons", lambda: operators.Resize(2, "bilinear", noise=PoissonNoise(30.0)), (1, 5, 4)),
    ],
    "varying_blur": [
        Case("grid", lambda: operators.VaryingBlur.grid(peaked(2, 3, 3, 4), IMAGE, noise=G(0.1)), IMAGE),
        Case("circular", lambda: operators.VaryingBlur.grid(peaked(2, 1, 3, 3), IMAGE, "circular", G(0.1)), IMAGE),
        Case("valid", lambda: operators.VaryingBlur.grid(peaked(2, 2, 3, 2), (1, 7, 5), "valid", G(0.1)), (1, 7, 5)),
        Case("rotation", lambda: operators.VaryingBlur.rotation(IMAGE, 15, nodes=3, noise=G(0.1)), IMAGE),
        Case("defocus", lambda: operators.VaryingBlur.defocus((1, 7, 5), bottom=0.8, noise=G(0.1)), (1, 7, 5)),
        Case("batched", lambda: operators.VaryingBlur(peaked(2, 3, 3, 3), uniform(3, 6, 5), noise=G(0.1)), IMAGE),
        Case(
            "windows batched",
            lambda: operators.VaryingBlur(peaked(2, 3, 3), uniform(3, 2, 6, 5), "circular", noise=G(0.1)),
            IMAGE,
        ),
    ],
    "compressed_sensing": [
        Case("dct", lambda: operators.CompressedSensing(0.3, noise=G(0.1)), IMAGE),
        Case("hartley", lambda: operators.CompressedSensing(0.4, "hartley", seed=1, noise=G(0.1)), (1, 7, 5)),
        Case("hadamard", lambda: operators.CompressedSensing(0.5, "hadamard", noise=G(0.1)), (3, 4, 8)),
        Case("vector", lambda: operators.CompressedSensing(0.5, noise=G(torch.tensor([0.1, 0.2]))), (9,)),
        Case("all of a plane", lambda: operators.CompressedSensing(1.0, "hartley"), (3, 4)),
    ],
    "bayer": [
        Case("RGGB", lambda: operators.Bayer(noise=G(0.1)), (3, 4, 6)),
        Case("GBRG, odd", lambda: operators.Bayer("GBRG", noise=G(torch.tensor([0.1, 0.2, 0.3]))), (3, 5, 7)),
        Case("one row", lambda: operators.Bayer("BGGR", noise=PoissonNoise(30.0)), (3, 1, 3)),
    ],
    "jpeg": [
        Case("gray", lambda: operators.JPEG(50, noise=G(0.1)), (1, 8, 8)),
        Case("4:2:0, odd", lambda: operators.JPEG(20, noise=G(0.1)), (3, 9, 17)),
        Case("4:4:4", lambda: operators.JPEG(75, "4:4:4", noise=G(0.1)), (3, 12, 10)),
        Case("batched", lambda: operators.JPEG(torch.tensor([10, 90]), noise=G(torch.tensor([0.1, 0.2]))), (3, 8, 7)),
    ],
    "phase_retrieval": [
        Case("oversampled", lambda: operators.PhaseRetrieval(noise=G(0.1)), (3, 5, 4)),
        Case("odd", lambda: operators.PhaseRetrieval(1.5, noise=G(0.1)), (1, 7, 5)),
        Case("coded", lambda: operators.PhaseRetrieval.coded((2, 5, 4), noise=G(0.1)), (2, 5, 4)),
        Case(
            "masks batched",
            lambda: operators.PhaseRetrieval(1.0, G(torch.tensor([0.1, 0.2])), masks=uniform(2, 3, 5, 4)),
            (1, 5, 4),
        ),
    ],
    "saturation": [
        Case("clipped", lambda: operators.Saturation(noise=G(0.1)), IMAGE),
        Case("soft", lambda: operators.Saturation(3.0, limit=0.8, softness=0.05, noise=G(0.1)), (1, 7, 5)),
        Case("batched", lambda: operators.Saturation(torch.tensor([1.0, 4.0]), noise=G(0.1)), (1, 3, 4)),
        Case("vector", lambda: operators.Saturation(2.0, noise=PoissonNoise(30.0)), (9,)),
    ],
}

MADE_OF_OTHERS = [
    Case("gray @ blur", lambda: operators.Grayscale(noise=G(0.1)) @ operators.Blur(peaked(3, 3)), IMAGE),
    Case(
        "mask @ valid blur, batched",
        lambda: (
            operators.Masking(mask(2, 1, 4, 3), noise=G(torch.tensor([0.1, 0.2])))
            @ operators.Blur(peaked(3, 3), "valid")
        ),
        IMAGE,
    ),
    Case(
        "photons through a picture",
        lambda: operators.Transmission(PoissonNoise(200.0), 0.1) @ operators.Radon(4, pixel=0.2),
        (1, 5, 5),
    ),
    Case("slicewise", lambda: operators.Slicewise(operators.Masking(mask(5, 4), noise=G(0.1))), (2, 3, 5, 4)),
    Case("slicewise along W", lambda: operators.Slicewise(operators.Blur(peaked(3, 3), noise=G(0.1)), 2), (1, 6, 5, 3)),
    Case(
        "slicewise, batched",
        lambda: operators.Slicewise(operators.Masking(mask(2, 1, 5, 4), noise=G(torch.tensor([0.1, 0.2]))), 1),
        (1, 5, 3, 4),
    ),
    Case(
        "slices of counts",
        lambda: operators.Slicewise(operators.FanBeam(3, 12.0, noise=PoissonNoise(30.0))),
        (1, 2, 5, 4),
    ),
    Case("cone beam", lambda: operators.ConeBeam(4, 15.0, noise=G(0.1)), (1, 3, 5, 4)),
    Case(
        "cone beam, shifted",
        lambda: operators.ConeBeam(
            [0, 40.5, 200], 9.0, 4.0, (4, 5, 3), (4, 6), (2.0, 1.5), G(0.1), 0.5, (1.2, 2.2), (1.0, 2.5, 1.0), 0.7
        ),
        (2, 4, 5, 3),
    ),
    Case("cone beam, batched", lambda: operators.ConeBeam(3, 12.0, noise=G(torch.tensor([0.1, 0.2]))), (1, 3, 4, 4)),
    Case("cone beam of counts", lambda: operators.ConeBeam(3, 12.0, noise=PoissonNoise(30.0)), (1, 2, 4, 4)),
    Case("slices of phases", lambda: operators.Slicewise(operators.PhaseRetrieval(noise=G(0.1))), (1, 2, 5, 4)),
    Case("along D", lambda: operators.AlongAxis.gaussian(5, 0.8, 2, noise=G(0.1)), (2, 5, 3, 4)),
    Case("along W", lambda: operators.AlongAxis(uniform(4, 3), 2, G(torch.tensor([0.1, 0.2]))), (1, 2, 4, 3)),
    Case("along H, noiseless", lambda: operators.AlongAxis(uniform(2, 4), 1), (1, 2, 4, 3)),
    Case(
        "blur in three dimensions",
        lambda: (
            operators.Slicewise(operators.Blur(peaked(3, 3), noise=G(0.1))) @ operators.AlongAxis.gaussian(4, 0.6, 2)
        ),
        (1, 4, 5, 6),
    ),
    Case("down @ blur", lambda: operators.Downsampling(2, noise=G(0.1)) @ operators.Blur(peaked(3, 3)), (3, 6, 4)),
    Case("classifier @ gray", lambda: operators.Classifier(TinyClassifier(30, 4)) @ operators.Grayscale(), IMAGE),
    Case(
        "stack",
        lambda: operators.Stack(
            [
                operators.Masking(mask(6, 5), noise=G(0.1)),
                operators.Blur(peaked(3, 3), "valid", noise=G(0.2)),
                operators.Grayscale(noise=G(PER_ENTRY, event_ndim=3)),
            ]
        ),
        IMAGE,
    ),
    Case(
        "stack, batched, one sigma",
        lambda: operators.Stack(
            [operators.Masking(mask(2, 1, 6, 5), noise=G(0.1)), operators.Grayscale(noise=G(0.1))],
        ),
        IMAGE,
    ),
    Case(
        "mask @ stack of a stack",
        lambda: (
            operators.Masking(mask(2, 84), noise=G(0.1), event_ndim=1)
            @ operators.Stack(
                [
                    operators.Stack([operators.Blur(peaked(3, 3), "valid"), operators.Grayscale()]),
                    operators.Blur(peaked(4, 4), "valid"),
                ]
            )
        ),
        IMAGE,
    ),
]

ALL = [
    *((f"{name}: {case.label}", case) for name, cases in CASES.items() for case in cases),
    *((case.label, case) for case in MADE_OF_OTHERS),
]
LINEAR = [(label, case) for label, case in ALL if "linear" in case.make().capabilities]

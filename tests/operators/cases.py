"""Examples of every operator. A registered name without an example fails the tests: add yours here."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

import operators
from operators import GaussianNoise, Operator, PoissonNoise


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
            "fixed to single precision", lambda: operators.Classifier(lambda x, t: torch.tanh(x @ uniform(4, 3))), (4,)
        ),
        Case("function", lambda: operators.Classifier(lambda x, t: 3 * x / (1 + t.reshape(-1, 1))), (4,)),
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

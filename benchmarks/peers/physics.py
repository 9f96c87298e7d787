"""deepinv's physics, one small example of each class that constructs offline, for the bridge's table and tests."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

import operators
from benchmarks.peers.base import require

GREY, COLOUR = (1, 16, 16), (3, 16, 16)


@dataclass(frozen=True)
class Example:
    """A physics with images that it takes.

    Attributes: make: the physics of deepinv.physics; event_shape, of one image as deepinv has it; arguments: of
    `operators.from_deepinv`; needs: optional packages without which it does not construct; slow: of which
    `operators.check` takes minutes.
    """

    make: Callable[[Any], Any]
    event_shape: Any
    arguments: Any = None
    needs: tuple[str, ...] = ()
    slow: bool = False

    @property
    def missing(self) -> list[str]:
        """The packages that it needs and that are not installed."""
        return [package for package in self.needs if find_spec(package) is None]

    def physics(self) -> Any:
        """A new physics, always the same.

        Raises: ImportError where deepinv or a package that it needs is missing.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made = self.make(require("deepinv", "physics"))
        if not made.__class__.__name__.startswith(("Stacked", "Pansharpen", "SinglePhoton")):
            made.set_noise_model(require("deepinv", "physics").GaussianNoise(0.05))
        return made


def uniform(*shape: int, seed: int = 0) -> Tensor:
    """Numbers in [0, 1] of a shape, always the same. Arguments: shape; seed."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def kernel(*shape: int) -> Tensor:
    """A well-conditioned kernel, symmetric in nothing, (1, 1, *shape). Arguments: shape."""
    values = 0.1 * uniform(*shape)
    values[tuple(n // 2 for n in shape)] += 1
    return (values / values.sum())[None, None]


def mask(*shape: int, seed: int = 1) -> Tensor:
    """0 and 1 of a shape. Arguments: shape; seed."""
    return (uniform(*shape, seed=seed) > 0.4).float()


def coils(n: int, *shape: int) -> Tensor:
    """Sensitivities (1, n, *shape), complex. Arguments: n; shape."""
    return torch.complex(uniform(1, n, *shape, seed=2), uniform(1, n, *shape, seed=3))


def generator() -> torch.Generator:
    """A seeded generator."""
    return torch.Generator().manual_seed(0)


def ultrasound(p: Any) -> Any:
    """Three plane waves on eight elements. Arguments: p, deepinv.physics."""
    return p.UltrasoundPlaneWave(
        img_size=(16, 16),
        angles=torch.deg2rad(torch.linspace(-16.0, 16.0, 3)),
        element_positions=torch.stack([(torch.arange(8) - 3.5) * 3e-4, torch.zeros(8)], -1),
        n_samples=128,
        sampling_frequency=20e6,
        pixel_size=(1540.0 / 5e6 / 2, 1540 / 5e6 / 2),
        normalize=True,
    )


def ptychography(p: Any, kind: str) -> Any:
    """Four overlapping probes. Arguments: p, deepinv.physics; kind: the class."""
    module = require("deepinv", "physics.phase_retrieval")
    size = (1, 16, 16)
    probe = module.build_probe(size, type="disk", probe_radius=6)
    shifts = module.generate_shifts(size, n_img=4, fov=8)
    return getattr(p, kind)(img_size=size, probe=probe, shifts=shifts)


def virtual(p: Any) -> Any:
    """Inpainting of rotated images. Arguments: p, deepinv.physics."""
    rotate = require("deepinv", "transform").Rotate(n_trans=1, multiples=90, positive=True)
    parameters = next(iter(rotate.iterate_params(rotate.get_params(torch.zeros(1, *COLOUR)))))
    physics = p.Inpainting(img_size=COLOUR, mask=mask(*COLOUR))
    return p.VirtualLinearPhysics(physics=physics, transform=rotate, g_params=parameters)


def scattering(p: Any) -> Any:
    """Four transmitters and four receivers around a box. Arguments: p, deepinv.physics."""
    transmitters, receivers = require("deepinv", "physics.scattering").circular_sensors(4, radius=2.0)
    return p.Scattering(img_width=8, receivers=receivers, transmitters=transmitters, background_wavenumber=5.0)


EXAMPLES: dict[str, Example] = {
    "Denoising": Example(lambda p: p.Denoising(), COLOUR),
    "Inpainting": Example(lambda p: p.Inpainting(COLOUR, mask=mask(1, 16, 16)), COLOUR),
    "Inpainting, a mask each": Example(lambda p: p.Inpainting(COLOUR, mask=mask(4, 1, 16, 16)), COLOUR),
    "Demosaicing": Example(lambda p: p.Demosaicing(COLOUR), COLOUR),
    "Decolorize": Example(lambda p: p.Decolorize(), COLOUR),
    "Blur, circular": Example(lambda p: p.Blur(kernel(5, 3), padding="circular"), COLOUR),
    "Blur, valid": Example(lambda p: p.Blur(kernel(5, 3), padding="valid"), COLOUR),
    "Blur, reflect": Example(lambda p: p.Blur(kernel(5, 3), padding="reflect"), COLOUR),
    "Blur, replicate": Example(lambda p: p.Blur(kernel(5, 3), padding="replicate"), COLOUR),
    "Blur, constant": Example(lambda p: p.Blur(kernel(5, 3), padding="constant"), COLOUR),
    "Blur, 3D": Example(lambda p: p.Blur(kernel(3, 4, 5), padding="circular"), (1, 7, 6, 8)),
    "BlurFFT": Example(lambda p: p.BlurFFT(COLOUR, kernel(5, 3)), COLOUR),
    "BlurFFT, odd": Example(lambda p: p.BlurFFT((3, 17, 15), kernel(5, 3)), (3, 17, 15)),
    "SpaceVaryingBlur": Example(
        lambda p: p.SpaceVaryingBlur(
            filters=torch.stack([kernel(3, 3), kernel(3, 3).flip(-1)], 2),
            multipliers=uniform(1, 3, 2, 16, 16),
            padding="circular",
        ),
        COLOUR,
    ),
    "TiledSpaceVaryingBlur": Example(
        lambda p: p.TiledSpaceVaryingBlur(
            filters=kernel(3, 3)
            .unsqueeze(2)
            .repeat(
                1,
                3,
                torch.Size(
                    p.TiledSpaceVaryingBlur.num_filters(img_size=(16, 16), patch_size=(8, 8), stride=(4, 4))
                ).numel(),
                1,
                1,
            ),
            patch_size=(8, 8),
            stride=(4, 4),
        ),
        COLOUR,
    ),
    "Downsampling, aliased": Example(lambda p: p.Downsampling(COLOUR, filter=None, factor=2), COLOUR),
    "Downsampling, circular": Example(lambda p: p.Downsampling(COLOUR, filter="gaussian", factor=2), COLOUR),
    "Downsampling, bicubic, reflect": Example(
        lambda p: p.Downsampling(COLOUR, filter="bicubic", factor=2, padding="reflect"), COLOUR
    ),
    "DownsamplingMatlab": Example(lambda p: p.DownsamplingMatlab(factor=2), COLOUR),
    "Upsampling": Example(lambda p: p.Upsampling((3, 16, 16), filter="bilinear", factor=2), (3, 8, 8)),
    "CompressedSensing": Example(lambda p: p.CompressedSensing(40, GREY, rng=generator()), GREY),
    "CompressedSensing, channelwise": Example(
        lambda p: p.CompressedSensing(40, COLOUR, channelwise=True, rng=generator()), COLOUR
    ),
    "CompressedSensing, complex": Example(
        lambda p: p.CompressedSensing(40, (1, 8, 8), dtype=torch.complex64, rng=generator()), (1, 8, 8)
    ),
    "StructuredRandom": Example(lambda p: p.StructuredRandom(GREY, (1, 12, 12), rng=generator()), GREY),
    "SinglePixelCamera": Example(lambda p: p.SinglePixelCamera(60, GREY, rng=generator()), GREY),
    "SinglePixelCamera, dense": Example(lambda p: p.SinglePixelCamera(60, GREY, fast=False, rng=generator()), GREY),
    "MRI": Example(lambda p: p.MRI(mask=mask(16, 16)), (2, 16, 16)),
    "MRI, a mask each": Example(lambda p: p.MRI(mask=mask(3, 1, 16, 16).expand(3, 2, 16, 16)), (2, 16, 16)),
    "MRI, 3D": Example(lambda p: p.MRI(mask=mask(1, 1, 6, 8, 8).expand(1, 2, 6, 8, 8), three_d=True), (2, 6, 8, 8)),
    "MultiCoilMRI": Example(lambda p: p.MultiCoilMRI(mask=mask(16, 16), coil_maps=coils(4, 16, 16)), (2, 16, 16)),
    "MultiCoilMRI, birdcage": Example(
        lambda p: p.MultiCoilMRI(coil_maps=4, img_size=(2, 16, 16)), (2, 16, 16), needs=("sigpy",)
    ),
    "DynamicMRI": Example(lambda p: p.DynamicMRI(mask=mask(1, 1, 5, 12, 12).expand(1, 2, 5, 12, 12)), (2, 5, 12, 12)),
    "SequentialMRI": Example(
        lambda p: p.SequentialMRI(mask=mask(1, 1, 5, 12, 12).expand(1, 2, 5, 12, 12)), (2, 12, 12)
    ),
    "NonCartesianMRI": Example(lambda p: p.NonCartesianMRI((16, 16)), (2, 16, 16), needs=("mrinufft",)),
    "Tomography": Example(lambda p: p.Tomography(12, 16), GREY),
    "Tomography, circle": Example(lambda p: p.Tomography(12, 16, circle=True), GREY),
    "Tomography, own adjoint": Example(lambda p: p.Tomography(12, 16, adjoint_via_backprop=False), GREY),
    "Tomography, fan beam": Example(lambda p: p.Tomography(12, 16, fan_beam=True), GREY),
    "TomographyWithAstra": Example(
        lambda p: p.TomographyWithAstra(img_size=(16, 16), angles=12), GREY, needs=("astra",)
    ),
    "PET": Example(lambda p: p.PET(GREY), GREY, needs=("parallelproj",)),
    "Pansharpen": Example(lambda p: p.Pansharpen(COLOUR), COLOUR),
    "HyperSpectralUnmixing": Example(lambda p: p.HyperSpectralUnmixing(E=5, C=12), (5, 8, 8)),
    "CompressiveSpectralImaging, ss": Example(
        lambda p: p.CompressiveSpectralImaging((7, 12, 10), mode="ss", rng=generator()), (7, 12, 10)
    ),
    "CompressiveSpectralImaging, sd": Example(
        lambda p: p.CompressiveSpectralImaging((7, 12, 10), mode="sd", rng=generator()), (7, 12, 10)
    ),
    "CompressiveSpectralImaging, larger": Example(
        lambda p: p.CompressiveSpectralImaging((3, 16, 16), mode="ss", rng=generator()), COLOUR
    ),
    "RadioInterferometry": Example(
        lambda p: p.RadioInterferometry((16, 16), samples_loc=2 * torch.pi * (uniform(2, 60) - 0.5)),
        GREY,
        needs=("torchkbnufft",),
    ),
    "UltrasoundPlaneWave": Example(ultrasound, GREY),
    "PtychographyLinearOperator": Example(
        lambda p: ptychography(p, "PtychographyLinearOperator"), GREY, {"complex_images": True}
    ),
    "VirtualLinearPhysics": Example(virtual, COLOUR),
    "PhysicsCropper": Example(lambda p: p.PhysicsCropper(p.Blur(kernel(3, 3), padding="circular"), (2, 2)), COLOUR),
    "Composition": Example(
        lambda p: p.Downsampling(COLOUR, filter=None, factor=2) * p.BlurFFT(COLOUR, kernel(3, 3)), COLOUR
    ),
    "Stack": Example(
        lambda p: p.stack(
            p.Blur(kernel(3, 3), padding="circular", noise_model=p.GaussianNoise(0.05)),
            p.Downsampling(COLOUR, filter="gaussian", factor=2, noise_model=p.GaussianNoise(0.1)),
        ),
        COLOUR,
    ),
    "PhaseRetrieval, random": Example(lambda p: p.RandomPhaseRetrieval(80, (1, 8, 8), rng=generator()), (1, 8, 8)),
    "PhaseRetrieval, structured": Example(
        lambda p: p.StructuredRandomPhaseRetrieval((1, 8, 8), (1, 8, 8), n_layers=2), (1, 8, 8)
    ),
    "Ptychography": Example(lambda p: ptychography(p, "Ptychography"), GREY, {"complex_images": True}),
    "Haze": Example(lambda p: p.Haze(), ((3, 8, 8), (1, 8, 8), (1, 1, 1))),
    "SinglePhotonLidar": Example(lambda p: p.SinglePhotonLidar(bins=20), (3, 6, 6)),
    "SpatialUnwrapping": Example(lambda p: p.SpatialUnwrapping(), GREY),
    "SpatialUnwrapping, noise stated": Example(
        lambda p: p.SpatialUnwrapping(), GREY, {"noise": operators.GaussianNoise(0.05)}
    ),
    "Scattering": Example(scattering, (1, 8, 8), slow=True),
}

PICTURE, SCAN = (3, 256, 256), (2, 320, 320)
_SIZED = {
    "Denoising": Example(lambda p: p.Denoising(), PICTURE),
    "Inpainting": Example(lambda p: p.Inpainting(PICTURE, mask=mask(*PICTURE)), PICTURE),
    "Demosaicing": Example(lambda p: p.Demosaicing(PICTURE), PICTURE),
    "Decolorize": Example(lambda p: p.Decolorize(), PICTURE),
    "Blur": Example(lambda p: p.Blur(kernel(9, 9), padding="circular"), PICTURE),
    "BlurFFT": Example(lambda p: p.BlurFFT(PICTURE, kernel(9, 9)), PICTURE),
    "Downsampling": Example(lambda p: p.Downsampling(PICTURE, filter="bicubic", factor=4), PICTURE),
    "MRI": Example(lambda p: p.MRI(mask=mask(320, 320)), SCAN),
    "MRI, a mask each": Example(lambda p: p.MRI(mask=mask(4, 1, 320, 320).expand(4, 2, 320, 320)), SCAN),
    "MultiCoilMRI": Example(lambda p: p.MultiCoilMRI(mask=mask(320, 320), coil_maps=coils(4, 320, 320)), SCAN),
    "Tomography": Example(lambda p: p.Tomography(60, 128), (1, 128, 128)),
    "PhaseRetrieval": Example(lambda p: p.RandomPhaseRetrieval(4000, (1, 32, 32), rng=generator()), (1, 32, 32)),
}
# at sizes of pictures that people have
SIZED = {f"{name}, {' x '.join(map(str, example.event_shape))}": example for name, example in _SIZED.items()}

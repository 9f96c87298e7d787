"""Classical baselines for the same measurements."""

from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from operators import Blur, Masking, Operator
from priors import SDE, Gaussian
from priors.conditioning import read as read_measurement
from priors.data import ImageSet, read
from priors.files import atomic
from priors.hdf5 import opened
from priors.terminal import say

DATA = Path(__file__).parents[1] / "data"
MOMENTS = DATA / "fashion-mnist-moments.h5"


def fit_moments(images: ImageSet, path: Path = MOMENTS) -> None:
    """Mean and covariance of an image set in image units, to HDF5.

    Arguments: images (ImageSet); path.
    """
    mean, covariance = _moments(images)
    rows, columns = np.tril_indices(len(mean))
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        file["mean"] = mean.numpy()
        packed = covariance.numpy()[rows, columns].astype(np.float32)  # symmetric: the lower triangle is enough
        file.create_dataset("covariance_lower", data=packed, compression="gzip", shuffle=True)
        file.attrs["event_shape"], file.attrs["n"] = images.event_shape, len(images)


def load_gaussian(sde: SDE, path: Path = MOMENTS) -> Gaussian:
    """The Gaussian prior with the moments of the training images.

    Arguments: sde (data units); path of what `fit_moments` wrote.
    Raises: FileNotFoundError.
    """
    remedy = "clone the repository, which has them, or make them with `inverse-bench moments`"
    with opened(path, "moments", remedy, remedy) as file:
        mean = torch.from_numpy(file.array("mean"))
        packed = torch.from_numpy(file.array("covariance_lower").astype(np.float64))
        event_shape = tuple(int(n) for n in file.attrs["event_shape"])
    d = len(mean)
    covariance = torch.zeros(d, d, dtype=torch.float64)
    rows, columns = torch.tril_indices(d, d)
    covariance[rows, columns] = covariance[columns, rows] = packed
    return _gaussian(mean, covariance, sde, event_shape)


def fit_gaussian(images: ImageSet, sde: SDE) -> Gaussian:
    """The Gaussian prior with the moments of these images.

    Arguments: images (ImageSet); sde (data units).
    """
    return _gaussian(*_moments(images), sde, images.event_shape)


def _moments(images: ImageSet) -> tuple[Tensor, Tensor]:
    """Mean (d,) and covariance (d, d), float64; in blocks, so that the images are never all floats at once."""
    d = images.images[0].numel()
    total, squares = torch.zeros(d, dtype=torch.float64), torch.zeros(d, d, dtype=torch.float64)
    for rows in torch.arange(len(images)).split(5000):
        x = images.floats(rows).flatten(1) - 0.5  # products of float32 pairs, summed in float64
        total += x.double().sum(0)
        squares += (x.T @ x).double()
    mean = total / len(images)
    covariance = (squares - len(images) * mean.outer(mean)) / (len(images) - 1)
    return mean + 0.5, covariance


def _gaussian(mean: Tensor, covariance: Tensor, sde: SDE, event_shape: tuple[int, ...]) -> Gaussian:
    # float32 sums and packing leave eigenvalues of about -1e-7 where pixels never vary
    jitter = 1e-6 * torch.eye(len(mean), dtype=torch.float64)
    return Gaussian(mean, covariance + jitter, sde=sde, event_shape=event_shape)


def linear_mmse(prior: Gaussian, operator: Operator, y: Tensor) -> Tensor:
    """The exact posterior mean under a Gaussian prior, for many measurements by one operator.

    Formula: mu + C A' (A C A' + Sigma_y)^-1 (y - A mu), `Gaussian.posterior(...).mean` with the gain computed once.
    Arguments: prior; operator: linear, Gaussian noise of positive sigma; y (B, *M).
    Returns: (B, *E).
    """
    operator = operator.at(prior.event_shape)
    measured = read_measurement(operator, y[:1], prior.event_shape, prior.means)
    seen = torch.ones_like(y[0], dtype=torch.bool) if operator.support is None else operator.support.expand_as(y[0])
    a, c, mu = measured.matrix, prior.covariance, prior.mean.reshape(-1)
    gain = torch.linalg.solve(a @ c @ a.T + torch.diag(measured.sigma**2), a @ c)
    residual = y[:, seen].reshape(len(y), -1).double() - a @ mu
    return (mu + residual @ gain).view(len(y), *prior.event_shape).float()


def biharmonic(operator: Masking, y: Tensor) -> Tensor:
    """scikit-image's biharmonic inpainting; the measured pixels are kept, including their noise.

    Source: Damelin & Hoang 2018.
    Arguments: operator (Masking); y (B, C, H, W).
    Returns: (B, C, H, W).
    """
    from skimage.restoration import inpaint_biharmonic

    hidden = ~operator.mask.expand_as(y[0]).numpy()
    filled = [
        np.stack([inpaint_biharmonic(channel, hidden[i]) for i, channel in enumerate(image)])
        for image in y.double().numpy()
    ]
    return torch.from_numpy(np.stack(filled)).float()


def wiener(operator: Blur, y: Tensor, balance: float) -> Tensor:
    """scikit-image's Wiener deconvolution with a Laplacian prior.

    Source: Orieux, Giovannelli, Rodet 2010.
    Arguments: operator (circular Blur, one kernel); y (B, C, H, W); balance between data and smoothness.
    Returns: (B, C, H, W).
    """
    from skimage.restoration import wiener as restore

    kernel = operator.kernel.squeeze().double().numpy()
    images = [[restore(channel, kernel, balance, clip=False) for channel in image] for image in y.double().numpy()]
    return torch.from_numpy(np.array(images)).float()


def unsupervised_wiener(operator: Blur, y: Tensor, seed: int = 0) -> Tensor:
    """scikit-image's unsupervised Wiener deconvolution, which samples its own noise and smoothness levels.

    Source: Orieux, Giovannelli, Rodet 2010.
    Arguments: as `wiener`; seed.
    Returns: (B, C, H, W).
    """
    from skimage.restoration import unsupervised_wiener as restore

    kernel = operator.kernel.squeeze().double().numpy()
    images = [
        [restore(channel, kernel, clip=False, rng=np.random.default_rng(seed))[0] for channel in image]
        for image in y.double().numpy()
    ]
    return torch.from_numpy(np.array(images)).float()


def moments(data: Path, split: str) -> None:
    """`inverse-bench moments`."""
    images = read(data, split or None)
    fit_moments(images)
    say(f"moments of {len(images)} images in {MOMENTS}")

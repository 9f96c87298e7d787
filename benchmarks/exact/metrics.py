"""Distances between sets of samples."""

import torch
from torch import Tensor

from inverse.weights import systematic
from priors import GaussianMixture


def wasserstein2(a: Tensor, b: Tensor) -> float:
    """Exact 2-Wasserstein distance between two equal-sized point sets.

    Formula: sqrt(min over permutations of mean |a_i - b_pi(i)|^2), by the assignment problem; cost grows as n^3.
    Source: Villani 2009, chapter 6; solver of scipy.
    Arguments: a, b (n, *E) in one unit.
    Returns: the distance in that unit.
    Raises: ValueError for sets of different shape.
    """
    from scipy.optimize import linear_sum_assignment

    a, b = _sets(a, b)
    cost = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square().numpy()
    return float(cost[linear_sum_assignment(cost)].mean() ** 0.5)


def sliced_wasserstein(a: Tensor, b: Tensor, p: int = 2, n_projections: int = 200, seed: int = 0) -> float:
    """Sliced p-Wasserstein distance between two equal-sized point sets.

    Formula: (mean over random unit directions of the 1-D distance^p)^(1/p); in one dimension sorting solves it.
    Source: Bonneel, Rabin, Peyre, Pfister 2015.
    Arguments: a, b (n, *E) in one unit; p 1 or 2; n_projections; seed of the directions.
    Returns: the distance in that unit.
    Raises: ValueError for sets of different shape.
    """
    a, b = _sets(a, b)
    directions = torch.randn(a.shape[1], n_projections, generator=torch.Generator().manual_seed(seed), dtype=a.dtype)
    directions = directions / directions.norm(dim=0)
    gaps = ((a @ directions).sort(0)[0] - (b @ directions).sort(0)[0]).abs()
    return float(gaps.pow(p).mean() ** (1 / p))


def frechet(a: Tensor, b: Tensor) -> float:
    """Frechet distance between the Gaussians with the moments of two sets; the sets may differ in size.

    Formula: |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^1/2). It is biased upwards for small sets: compare sets of equal
    size, and with the distance between two sets of real images.
    Source: Dowson & Landau 1982; Heusel et al. 2017, of Inception features.
    Arguments: a (n, d), b (m, d) features.
    Returns: the distance, in units of a feature squared.
    Raises: ValueError for sets of other dimensions or with fewer than 2 points.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(f"features {tuple(a.shape)} and {tuple(b.shape)}: expected (n, d) and (m, d), n and m >= 2")
    a, b = a.double(), b.double()
    n, m = (x.sub(x.mean(0)).div((len(x) - 1) ** 0.5) for x in (a, b))
    # the eigenvalues of C_a C_b are the squared singular values of the product of the factors: no matrix root
    cross = torch.linalg.svdvals(n @ m.T).sum()
    return float((a.mean(0) - b.mean(0)).square().sum() + n.square().sum() + m.square().sum() - 2 * cross)


def mean_error(x: Tensor, law: GaussianMixture) -> float:
    """Error of the mean of a point set, relative to the spread of the distribution.

    Formula: |mean(x) - mean| / sqrt(tr Cov); of n exact draws about 1 / sqrt(n).
    Arguments: x (n, *E); law.
    """
    error = (x.flatten(1).double().mean(0) - law.mean.flatten()).norm()
    return float(error / (law.variance * error.new_tensor(law.means.shape[1])).sqrt())


def covariance_error(x: Tensor, law: GaussianMixture) -> float:
    """Relative error of the covariance of a point set.

    Formula: |Cov(x) - Cov|_F / |Cov|_F.
    Arguments: x (n, *E), n >= 2; law.
    Raises: ValueError for one point.
    """
    if len(x) < 2:
        raise ValueError("one point has no covariance: expected n >= 2")
    exact = law.covariance
    return float((torch.cov(x.flatten(1).double().mT).view_as(exact) - exact).norm() / exact.norm())


def weight_error(x: Tensor, law: GaussianMixture) -> float:
    """Error of the component weights of a point set under a mixture.

    Formula: 1/2 sum_k |mean_i r_k(x_i) - w_k|, the total variation, with r_k(x) the probability of component k given x.
    Arguments: x (n, *E); law, of components with densities.
    """
    return float(0.5 * (responsibilities(x, law).mean(0) - law.weights).abs().sum())


def responsibilities(x: Tensor, law: GaussianMixture) -> Tensor:
    """The responsibilities of the components of a mixture for each point, in batches.

    Source: Bishop, Pattern Recognition and Machine Learning, 2006, section 9.2; see `GaussianMixture.responsibilities`.
    Arguments: x (n, *E); law.
    Returns: (n, K) float64.
    Raises: ValueError for a singular covariance.
    """
    parts = x.double().split(max(1, 2**22 // law.means.numel()))  # (n, K, d) numbers at a time
    return torch.cat([law.responsibilities(part) for part in parts])


def equally_weighted(x: Tensor, log_weights: Tensor, seed: int = 0) -> Tensor:
    """Equally weighted samples from weighted ones, by systematic resampling; equal weights leave them unchanged.

    Source: Kitagawa 1996; Douc, Cappe & Moulines 2005.
    Arguments: x (n, *E); log_weights (n,) up to a common constant; seed.
    Returns: (n, *E), sample k about n w_k times.
    """
    if bool((log_weights == log_weights[0]).all()):
        return x
    u = torch.rand(1, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    weights = torch.softmax(log_weights.double(), 0)[None]
    return x[systematic(weights, u.expand(1, len(x)))[0]]


def _sets(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if a.shape != b.shape or a.ndim < 2:
        raise ValueError(f"point sets {tuple(a.shape)} and {tuple(b.shape)}: expected two of the same shape (n, *E)")
    return a.flatten(1).double().cpu(), b.flatten(1).double().cpu()

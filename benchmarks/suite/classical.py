"""Classical baselines: point estimates without a network."""

import copy

import torch
from torch import Tensor

from benchmarks.common import baselines, tv
from benchmarks.suite.methods import Answer, Row, method
from inverse.gaussian import Wiener
from operators import Blur, FanBeam, Fourier, LinearOperator, Masking, Radon


class Estimate(Row):
    """A row of single estimates: no samples, no evaluation of the prior."""

    posterior = False


@method("linear-mmse")
class LinearMMSE(Estimate):
    """The linear MMSE estimate for the prior's mean and covariance.

    Formula: m + C A' (A C A' + Sigma_y)^-1 (y - A m), by conjugate gradients.
    Source: Wiener 1949. The moments are those that lie beside the prior (`Prior.moments`), of its training images.
    """

    def serves(self, operator, prior):
        return {"linear", "gaussian"} <= operator.capabilities and not operator.noise.noiseless and bool(prior.moments)

    def run(self, prior, operator, y, n_samples, seed):
        assert isinstance(operator, LinearOperator) and prior.moments is not None  # as it serves
        operator = operator.at(prior.event_shape)
        moments = prior.moments.to(y.device)
        mean: Tensor = moments.mean.expand(len(y), *moments.mean.shape)
        residual = y - operator(mean)
        if operator.support is not None:
            residual = torch.where(operator.support, residual, 0)
        explained = Wiener(moments, operator).solve(residual, float("inf"), rtol=1e-5, max_steps=1000)
        return Answer(mean + moments.apply(lambda variances: variances, operator.adjoint(explained)))


@method("tv")
class TotalVariation(Estimate):
    """Total variation at the noise level (`benchmarks.common.tv`).

    Arguments: name; steps: of the primal-dual method.
    """

    def __init__(self, name: str, steps: int = tv.STEPS):
        super().__init__(name)
        self.steps = steps

    def serves(self, operator, prior):
        return tv.serves(operator) and len(prior.event_shape) == 3

    def facts(self, operator, prior, n_samples):
        return {"steps": self.steps}

    def run(self, prior, operator, y, n_samples, seed):
        assert isinstance(operator, LinearOperator)
        return Answer(tv.total_variation(operator.at(prior.event_shape), y, self.steps))


@method("pinv")
class MinimumNorm(Estimate):
    """The least-squares solution of minimum norm, A^+ y."""

    def serves(self, operator, prior):
        return "linear" in operator.capabilities

    def run(self, prior, operator, y, n_samples, seed):
        assert isinstance(operator, LinearOperator)
        return Answer(operator.at(prior.event_shape).pinv(y))


@method("zero-filled")
class ZeroFilled(Estimate):
    """The inverse transform of k-space with 0 where nothing was measured, coils combined: A' y.

    Source: Roemer et al. 1990 (the combination by sensitivities). Unlike A^+ y of several coils it amplifies no noise.
    """

    def serves(self, operator, prior):
        return isinstance(operator, Fourier)

    def run(self, prior, operator, y, n_samples, seed):
        assert isinstance(operator, Fourier)
        return Answer(operator.adjoint(y))


@method("fbp")
class FilteredBackProjection(Estimate):
    """Filtered back-projection of a sinogram (`Radon.fbp`, `FanBeam.fbp`).

    Arguments: name; filter: see there.
    """

    def __init__(self, name: str, filter: str = "hann"):
        super().__init__(name)
        self.filter = filter

    def serves(self, operator, prior):
        return isinstance(operator, Radon | FanBeam)

    def facts(self, operator, prior, n_samples):
        return {"steps": 1, "filter": self.filter}

    def run(self, prior, operator, y, n_samples, seed):
        assert isinstance(operator, Radon | FanBeam)
        return Answer(operator.at(prior.event_shape).fbp(y, self.filter))


@method("biharmonic")
class Biharmonic(Estimate):
    """scikit-image's biharmonic inpainting of masked pictures."""

    def serves(self, operator, prior):
        return isinstance(operator, Masking) and operator.batch is None and len(prior.event_shape) == 3

    def run(self, prior, operator, y, n_samples, seed):
        assert isinstance(operator, Masking)
        return Answer(baselines.biharmonic(copy.deepcopy(operator).cpu(), y.cpu()).to(y.device))


@method("wiener")
class UnsupervisedWiener(Estimate):
    """scikit-image's unsupervised Wiener deconvolution, which estimates its own balance."""

    def serves(self, operator, prior):
        if not isinstance(operator, Blur) or operator.boundary != "circular" or "gaussian" not in operator.capabilities:
            return False
        return operator.kernel.squeeze().ndim == 2  # one kernel for all channels and measurements

    def run(self, prior, operator, y, n_samples, seed):
        assert isinstance(operator, Blur)
        return Answer(baselines.unsupervised_wiener(copy.deepcopy(operator).cpu(), y.cpu(), seed).to(y.device))

"""The posterior mean of a Gaussian by iterations on pictures, for any linear operator and noise of any sizes."""

from collections.abc import Callable

import torch
from torch import Tensor

from operators import LinearOperator
from operators.solvers import Map, conjugate_gradients
from priors.moments import SecondMoments
from priors.spectrum import StationaryMoments, cosine, frequencies

PROBES = 2  # pictures of random signs for each colour axis


def uneven(operator: LinearOperator) -> bool:
    """Whether noise differs between entries of an operator without singular values, such as counts behind `Radon`."""
    return not operator.noise.noiseless and not {"isotropic", "svd"} & operator.capabilities


class Pictures:
    """C A' (S + A C A')^-1 r, (N, *E), by conjugate gradients on pictures, which may end early.

    Formula: C^1/2 w with (1 + C^1/2 A' S^-1 A C^1/2) w = C^1/2 A' S^-1 r. Every iteration lowers the negative
    logarithm of the posterior. Iterations on measurements do not: where the variances of C differ a thousandfold, as
    those of photographs do, or those of S, as behind an absorber, the ones that end early leave estimates far outside
    both prior and likelihood.
    With stationary moments, C is diagonal in cosines, and w is preconditioned by (1 + C^1/2 D C^1/2)^-1 with the
    blocks D of A' S^-1 A that belong to a frequency, a number for each two colour axes. Behind a blur, tomography or
    k-space they depend little on more than |frequency|: pictures z of random signs in one colour axis find them, as the
    means of z A' S^-1 A z over rings of equal frequency.
    Source: Gratton & Tshimanga, An observation-space formulation of variational assimilation, Q. J. R. Meteorol. Soc.
    2009, on iterations in both spaces; Bekas, Kokiopoulou & Saad 2007 on probes of a diagonal. Rings are ours.
    Arguments: moments; operator, S the variances of its noise (none of them 0); preconditioned: False for few
    iterations behind noise that varies a thousandfold, where the preconditioner leaves larger errors in the first ten
    (with it 20 to 50 are nearer than 100 without).
    """

    def __init__(self, moments: SecondMoments, operator: LinearOperator, preconditioned: bool = True) -> None:
        self.moments, self.operator, self.preconditioned = moments, operator, preconditioned
        self._blocks: Tensor | None = None

    def estimate(self, r: Tensor, filtered: Callable[[Tensor], Tensor], rtol: float, max_steps: int) -> Tensor:
        """Of r (N, *M), (N, *E); filtered: variances of x0 -> those of C; rtol, max_steps: as of
        `conjugate_gradients`."""
        precision = self._precision(r)
        root, back, precondition = self._coordinates(filtered, precision, len(r))

        def system(w: Tensor) -> Tensor:
            return w + back(self.operator.adjoint(precision * self.operator(root(w))))

        rhs = back(self.operator.adjoint(precision * r))
        return root(conjugate_gradients(system, rhs, rtol=rtol, max_steps=max_steps, precondition=precondition))

    def _precision(self, r: Tensor) -> Tensor:
        """1 / S of rows like r (N, *M), 0 where nothing is measured."""
        precision = (self.operator.noise.aligned("sigma", r).to(r) ** -2).expand_as(r)
        return precision if self.operator.support is None else precision * self.operator.support.to(r)

    def _coordinates(
        self, filtered: Callable[[Tensor], Tensor], precision: Tensor, n: int
    ) -> tuple[Map, Map, Map | None]:
        """w -> C^1/2 w as pictures, its adjoint, and a preconditioner of w, for n rows."""
        moments = self.moments
        if not (self.preconditioned and isinstance(moments, StationaryMoments)):

            def half(x: Tensor) -> Tensor:
                return moments.apply(lambda variances: filtered(variances).clamp_min(0).sqrt(), x)

            return half, half, None
        deviation = filtered(moments.variances).sqrt()
        eye = torch.eye(len(deviation)).to(deviation)
        blocks = self._probed(moments, precision, n)
        inverse = torch.linalg.inv(eye + _outer(deviation, deviation) * blocks)

        def root(w: Tensor) -> Tensor:
            return moments.channels(cosine(deviation * w, inverse=True))

        def back(x: Tensor) -> Tensor:
            return deviation * cosine(moments.axes(x))

        return root, back, lambda w: torch.einsum("nhwcd,ndhw->nchw", inverse.expand(len(w), *inverse.shape[1:]), w)

    def _probed(self, moments: StationaryMoments, precision: Tensor, n: int) -> Tensor:
        """The blocks of A' S^-1 A, (1, H, W, C, C), or (n, H, W, C, C) where rows differ in A or S: the same for a row
        in any batch."""
        count = 1 if self.operator.batch is None else n
        if self._blocks is None or len(self._blocks) != count:
            shape, generator = moments.variances.shape, torch.Generator().manual_seed(0)
            total = moments.variances.new_zeros(count, *shape[1:], shape[0], shape[0])
            for axis in (*range(shape[0]),) * PROBES:
                signs = (2 * torch.randint(2, shape[1:], generator=generator) - 1).to(total)
                z = torch.zeros(count, *shape).to(total)
                z[:, axis] = signs
                x = moments.channels(cosine(z, inverse=True))
                seen = cosine(moments.axes(self.operator.adjoint(precision[:count] * self.operator(x))))
                total[..., axis] += (signs * seen).movedim(1, -1)
            self._blocks = _over_rings(total / PROBES)
        return self._blocks


def _outer(a: Tensor, b: Tensor) -> Tensor:
    """a_c b_d, (..., H, W, C, C), of (..., C, H, W) each."""
    return a.movedim(-3, -1)[..., :, None] * b.movedim(-3, -1)[..., None, :]


def _over_rings(z: Tensor) -> Tensor:
    """Averages of z (N, H, W, C, C) over rings of equal frequency: a cycle per picture wide, with its neighbours; and
    of these the nearest symmetric positive semi-definite matrices."""
    h, w = z.shape[1:3]
    ring = (frequencies(h, w) * max(h, w)).round().long().flatten().to(z.device)
    size = int(ring.max()) + 3  # an empty ring at either end
    sums = torch.zeros(len(z), size, *z.shape[3:], dtype=z.dtype, device=z.device)
    sums.index_add_(1, ring + 1, z.flatten(1, 2))
    counts = torch.bincount(ring + 1, minlength=size).to(z).view(-1, 1, 1)

    def smooth(v: Tensor, axis: int) -> Tensor:
        return v.narrow(axis, 0, size - 2) + v.narrow(axis, 1, size - 2) + v.narrow(axis, 2, size - 2)

    means = smooth(sums, 1) / smooth(counts, 0)
    values, vectors = torch.linalg.eigh((means + means.mT) / 2)
    return ((vectors * values.clamp_min(0)[..., None, :]) @ vectors.mT)[:, ring].view(z.shape)

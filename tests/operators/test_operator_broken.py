"""Operators broken on purpose, each in one way: check() must name the way."""

import pytest
import torch
from operator_cases import TinyClassifier, peaked, uniform

import operators
from operators import (
    Blur,
    Classifier,
    GaussianNoise,
    Grayscale,
    LinearMap,
    LinearOperator,
    Masking,
    Operator,
    PoissonNoise,
)

E = (3, 6, 5)
G = GaussianNoise(0.1)


class Identity(LinearOperator):
    def forward(self, x):
        return x


class ScaledAdjoint(Grayscale):
    def adjoint(self, y):
        return 3 * super().adjoint(y)


class FlatAdjoint(Identity):
    def adjoint(self, y):
        return y.flatten(1)


class TransposedAdjoint(LinearOperator):
    """Right for pictures of one row."""

    def forward(self, x):
        return x.mT

    def adjoint(self, y):
        return y.reshape(len(y), y.shape[1], y.shape[3], y.shape[2])


class CorrelatedAdjoint(operators.LinearOperator):
    """Forgets to turn the kernel round."""

    def __init__(self):
        super().__init__(G)
        self.blur = Blur(peaked(3, 3), noise=G)

    def forward(self, x):
        return self.blur(x)

    def adjoint(self, y):
        return self.blur(y)


class BatchMean(Identity):
    def forward(self, x):
        return x - x.mean(0)


class Affine(Identity):
    def forward(self, x):
        return x + 0.5


class Rectified(Identity):
    def forward(self, x):
        return x.relu()


class LastAxisOnly(Identity):
    """Conjugate gradients with inner products over the last axis: a step off for every picture."""

    def forward(self, x):
        return x * torch.linspace(0.5, 2, x[0].numel()).to(x).reshape(x.shape[1:])

    def pinv(self, y):
        b = self.adjoint(y)
        q = self.adjoint(self(b))
        return b * (b * b).sum(-1, keepdim=True) / (b * q).sum(-1, keepdim=True)


class NullSpacePinv(Grayscale):
    def pinv(self, y):
        return super().pinv(y) + y * torch.tensor([1.0, -1.0, 0.0]).to(y)[:, None, None]


class NoSigmaGram(Masking):
    def solve_gram(self, y, r2):
        return super().solve_gram(y, r2) * 2


class SkewV(Masking):
    def V(self, z):
        return z * torch.tensor([1.0, 2.0, 1.0]).to(z)[:, None, None]


class FullUt(Masking):
    def Ut(self, y):
        return y


class Says(Identity):
    def __init__(self, *names):
        super().__init__(G)
        self.structure = self.structure | set(names)


class SaysLinear(Operator):
    structure = frozenset({"linear", "differentiable"})

    def forward(self, x):
        return x**2


class SaysOrthogonal(LinearMap):
    def __init__(self):
        super().__init__(uniform(4, 9), noise=G)
        self.structure = self.structure | {"orthogonal_rows"}


class SaysIsotropic(GaussianNoise):
    @property
    def capabilities(self):
        return frozenset({"gaussian", "isotropic"})


class TwiceTheNoise(Grayscale):
    def measure(self, x, seed=0):
        return 2 * super().measure(x, seed) - self(x)


class Biased(Grayscale):
    def measure(self, x, seed=0):
        return super().measure(x, seed) + 0.03


class NoiseEverywhere(Masking):
    def measure(self, x, seed=0):
        return self.noise.sample(self(x), torch.Generator().manual_seed(seed))


class GlobalSeed(Grayscale):
    def measure(self, x, seed=0):
        torch.manual_seed(seed)
        return self(x) + 0.1 * torch.randn_like(x[:, :1])


class IfSeed(Grayscale):
    calls = 0

    def measure(self, x, seed=0):
        IfSeed.calls += 1
        return super().measure(x, seed or 1000 + IfSeed.calls)


class DeafToSeed(Grayscale):
    def measure(self, x, seed=0):
        return super().measure(x, 0)


class OneDraw(GaussianNoise):
    """One randn for all rows: the last rows decide the first."""

    def sample(self, clean, generator):
        return clean + self.sigma * torch.randn(clean.shape, generator=generator)


class NoHalf(GaussianNoise):
    def log_prob(self, y, clean):
        return -(((y - clean) / self.sigma) ** 2)


class CountUnits(PoissonNoise):
    """Forgets that y is a count over the peak."""

    def log_prob(self, y, clean):
        return super().log_prob(y / self.peak, clean)


class MeanLikelihood(Grayscale):
    """A mean over pixels instead of a sum."""

    def log_likelihood(self, y, x):
        return super().log_likelihood(y, x) / 30


class WrongVjp(Operator):
    def forward(self, x):
        return x**2

    def vjp(self, x, v):
        return x * v


class Detached(Operator):
    def forward(self, x):
        return x * x.detach()


class ClassifierAtOne(Classifier):
    def noisy_log_likelihood(self, y, x, t):
        return super().noisy_log_likelihood(y, x, t + 1)


BROKEN = {
    "adjoint scaled": (lambda: ScaledAdjoint(G), E, "adjoint"),
    "adjoint flat": (lambda: FlatAdjoint(G), E, "adjoint"),
    "adjoint transposed": (lambda: TransposedAdjoint(G), E, "adjoint"),
    "adjoint correlates": (CorrelatedAdjoint, E, "adjoint"),
    "rows coupled": (lambda: BatchMean(G), E, "rows"),
    "affine": (lambda: Affine(G), E, "linearity"),
    "rectified": (lambda: Rectified(G), E, "linearity"),
    "cg over the last axis": (lambda: LastAxisOnly(G), E, "pinv"),
    "pinv with a null space": (lambda: NullSpacePinv(G), E, "pinv"),
    "gram": (lambda: NoSigmaGram(uniform(6, 5) > 0.5, G), E, "solve_gram"),
    "V not orthogonal": (lambda: SkewV(uniform(6, 5) > 0.5, G), E, "svd"),
    "Ut outside the mask": (lambda: FullUt(uniform(6, 5) > 0.5, G), E, "svd"),
    "says svd": (lambda: Says("svd"), E, "capabilities"),
    "says a new word": (lambda: Says("fast"), E, "capabilities"),
    "says noisy likelihood": (lambda: Says("noisy_likelihood"), E, "capabilities"),
    "says linear": (lambda: SaysLinear(G), E, "capabilities"),
    "says orthogonal rows": (SaysOrthogonal, (9,), "orthogonal_rows"),
    "says isotropic": (lambda: Grayscale(SaysIsotropic(0.1 + uniform(6, 5), event_ndim=2)), E, "capabilities"),
    "noise twice": (lambda: TwiceTheNoise(G), E, "noise_variance"),
    "noise biased": (lambda: Biased(G), E, "noise_mean"),
    "noise outside the mask": (lambda: NoiseEverywhere(uniform(6, 5) > 0.5, G), E, "support"),
    "global seed": (lambda: GlobalSeed(G), E, "seed"),
    "if seed": (lambda: IfSeed(G), E, "seed"),
    "deaf to the seed": (lambda: DeafToSeed(G), E, "seed"),
    "one draw for all rows": (lambda: Grayscale(OneDraw(0.1)), E, "seed"),
    "likelihood without its half": (lambda: Grayscale(NoHalf(0.1)), E, "likelihood"),
    "likelihood in counts": (lambda: Grayscale(CountUnits(50.0)), E, "likelihood"),
    "likelihood of a mean": (lambda: MeanLikelihood(G), E, "likelihood"),
    "vjp without its factor": (lambda: WrongVjp(G), E, "vjp"),
    "vjp detached": (lambda: Detached(G), E, "vjp"),
    "noisy likelihood at another time": (lambda: ClassifierAtOne(TinyClassifier(90, 4)), E, "noisy_likelihood"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_check_catches(what):
    make, event_shape, test = BROKEN[what]
    state = torch.get_rng_state()
    with pytest.raises(operators.OperatorCheckError, match=f"fails the test '{test}'"):
        operators.check(make(), event_shape)
    torch.set_rng_state(state)


def test_the_message_has_figure_and_tolerance():
    with pytest.raises(
        AssertionError, match=r"ScaledAdjoint fails.*<A x, y> - <x, A\^T y> is [\d.e-]+, tolerance 1e-05"
    ):
        operators.check(ScaledAdjoint(G), E)


def test_the_sound_ones_pass():
    """The classes the broken ones derive from, so that what fails above is the fault and nothing else."""
    for op in (Identity(G), Grayscale(G), Grayscale(PoissonNoise(50.0)), Masking(uniform(6, 5) > 0.5, G)):
        operators.check(op, E)


class Staircase(Operator):
    def forward(self, x):
        return (8 * x).round() / 8


class Complex(Operator):
    def forward(self, x):
        return torch.fft.fft2(x)


@pytest.mark.parametrize(("kind", "words"), [(Staircase, "0 everywhere"), (Complex, "is complex")])
def test_forwards_that_no_method_can_use(kind, words):
    with pytest.raises(operators.OperatorCheckError, match=words):
        operators.check(kind(operators.GaussianNoise(0.1)), (1, 6, 6))


def test_a_matrix_in_half_precision_keeps_its_singular_values():
    matrix = torch.randn(40, 90, generator=torch.Generator().manual_seed(0)).half()
    half, single = (operators.LinearMap(m, operators.GaussianNoise(0.1)) for m in (matrix, matrix.float()))
    torch.testing.assert_close(half.singular_values, single.singular_values)
    y = single(torch.ones(1, 90))
    torch.testing.assert_close(half.adjoint(half.solve_gram(y, 0.3)), single.adjoint(single.solve_gram(y, 0.3)))

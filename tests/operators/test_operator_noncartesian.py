"""NonCartesian against direct sums, `Fourier` on the grid, and closed forms of its trajectories."""

import math
import pickle

import pytest
import torch
from operator_cases import uniform

import operators
from operators import Fourier, GaussianNoise, LinearOperator, NonCartesian, nufft
from operators.coils import smooth_sensitivities
from operators.nufft import circulant, density_weights, toeplitz
from operators.trajectories import radial_trajectory, spiral_trajectory

NOISE = GaussianNoise(0.1)


def direct(op: NonCartesian, x: torch.Tensor) -> torch.Tensor:
    """The sums as the docstring has them, in double precision, (N, coils, M)."""
    h, w = x.shape[-2:]
    z = torch.complex(x[:, :1], x[:, 1:] if op.channels == 2 else torch.zeros_like(x)).to(torch.complex128) * op.maps
    rows, columns = torch.meshgrid(torch.arange(h) - h // 2, torch.arange(w) - w // 2, indexing="ij")
    phase = op.trajectory[:, 0, None, None] * rows + op.trajectory[:, 1, None, None] * columns
    return torch.einsum("ncij,mij->ncm", z, torch.exp(-2j * math.pi * phase)) / math.sqrt(h * w)


@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 15, 22), (1, 33, 8)])
@pytest.mark.parametrize("kind", ["radial", "spiral", "random"])
@pytest.mark.parametrize("coils", [None, 3])
def test_it_is_the_direct_sum(shape, kind, coils):
    if kind == "random":
        maps = None if coils is None else smooth_sensitivities(coils, shape[1:])
        op = NonCartesian(uniform(50, 2) - 0.5, maps, channels=shape[0])
    else:
        op = (
            NonCartesian.radial(shape, 7, coils=coils)
            if kind == "radial"
            else NonCartesian.spiral(shape, 3, coils=coils)
        )
    for x, tolerance in ((uniform(2, *shape), 1e-5), (uniform(2, *shape).double(), 1e-10)):
        op = op.double() if x.dtype == torch.float64 else op
        expected = direct(op, x.double())
        y = op(x)
        found = torch.complex(y[..., 0, :], y[..., 1, :]).reshape(expected.shape)
        assert (found - expected).norm() < tolerance * expected.norm()
        v = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(x)
        dot = (y.double() * v.double()).sum() - (x.double() * op.at(shape).adjoint(v).double()).sum()
        assert abs(dot) < 1e-7 * y.norm() * v.norm()
        twice = op.at(shape).adjoint(y)
        assert (op.gram(x) - twice).norm() < tolerance * twice.norm()


@pytest.mark.parametrize("size", [(8, 8), (9, 6)])
def test_on_the_grid_it_is_fourier(size):
    h, w = size
    grid = torch.meshgrid((torch.arange(h) - h // 2) / h, (torch.arange(w) - w // 2) / w, indexing="ij")
    trajectory, maps = torch.stack(grid, -1).reshape(-1, 2), smooth_sensitivities(2, size)
    op, x = NonCartesian(trajectory, maps), uniform(1, 1, h, w)
    fourier = Fourier(torch.ones(h, w), maps)
    torch.testing.assert_close(op(x), fourier(x).flatten(-2), atol=1e-5, rtol=0)
    torch.testing.assert_close(density_weights(op.trajectory, size), torch.ones(h * w, dtype=torch.float64))
    torch.testing.assert_close(op.gridding(op(x)), x, atol=1e-5, rtol=0)


def test_density_of_a_dense_radial_acquisition_is_the_ramp():
    """A sample has the area |k| dk dtheta, away from k = 0 and from the edge: w is that times H W."""
    n, spokes = 32, 101
    points = radial_trajectory((n, n), spokes, order="uniform")
    radius = points.norm(dim=1)
    ramp = radius * (1 / (2 * n)) * (math.pi / spokes) * n * n
    inside = (radius > 0.1) & (radius < 0.4)
    ratio = density_weights(points, (n, n))[inside] / ramp[inside]
    assert abs(ratio.mean() - 1) < 0.05 and ratio.std() < 0.05


def test_gridding_of_a_dense_acquisition_is_the_picture():
    place = (torch.arange(32) - 15.5) / 32
    x = torch.exp(-(place[:, None] ** 2 + place**2) / 0.02)[None, None]
    op = NonCartesian.radial((1, 32, 32), 80)
    assert (op.gridding(op(x)) - x).norm() < 0.05 * x.norm()
    assert (op.adjoint(op(x)) - x).norm() > x.norm()  # without compensation the middle of k-space counts many times


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("r2", [0.3, torch.tensor([0.1, 2.0])])
def test_the_solve_in_images_is_that_in_measurements(channels, r2):
    op = NonCartesian.radial((channels, 6, 5), 4, coils=2, noise=NOISE)
    y = op.measure(uniform(2, channels, 6, 5)) + uniform(2, 2, 2, len(op.trajectory), seed=3)
    torch.testing.assert_close(op.solve_gram(y, r2), LinearOperator.solve_gram(op, y, r2), atol=1e-4, rtol=1e-5)


def test_the_preconditioner_is_the_diagonal_of_the_normal_operator_in_frequency():
    size, maps = (4, 5), smooth_sensitivities(3, (4, 5))
    op = NonCartesian.radial((2, *size), 3).double()
    basis = torch.eye(20, dtype=torch.float64).reshape(20, 1, *size)
    op = NonCartesian(op.trajectory, maps, channels=2).double()
    columns = op.gram(torch.cat((basis, torch.zeros_like(basis)), 1))
    normal = torch.complex(columns[:, 0], columns[:, 1]).reshape(20, 20).T
    f = torch.fft.fft2(basis[:, 0].to(torch.complex128)).reshape(20, 20).T / math.sqrt(20)
    expected = (f @ normal @ f.mH).diagonal().real.reshape(size)
    torch.testing.assert_close(circulant(toeplitz(op.trajectory, size), op.maps, size), expected)


def test_the_preconditioner_saves_steps(monkeypatch):
    op = NonCartesian.radial((1, 32, 32), 50, coils=4, noise=GaussianNoise(0.05))
    y, gram, calls = op.measure(uniform(1, 1, 32, 32)), NonCartesian.gram, []
    monkeypatch.setattr(NonCartesian, "gram", lambda self, x: calls.append(1) or gram(self, x))
    preconditioned = op.solve_gram(y, 0.5)
    few = len(calls)
    monkeypatch.setattr(NonCartesian, "_nearly_inverse", lambda self, r2, s2: lambda x: x)
    torch.testing.assert_close(op.solve_gram(y, 0.5), preconditioned, atol=1e-4, rtol=1e-4)
    assert few < 0.5 * (len(calls) - few), (few, len(calls) - few)


def test_it_can_be_differentiated_twice():
    op = NonCartesian.radial((1, 4, 4), 2, coils=2).double()
    x = uniform(1, 1, 4, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(op, (x,)) and torch.autograd.gradgradcheck(op, (x,))
    assert torch.autograd.gradcheck(op.adjoint, (op(x).detach().requires_grad_(),))
    assert torch.autograd.gradcheck(op.gram, (x,))


def test_trajectories():
    radial = radial_trajectory((8, 6), 3, 10).reshape(3, 10, 2)
    assert radial[0, :, 0].abs().max() == 0 and radial[0, 0, 1] == -0.5  # along a row
    assert (radial[:, 5] == 0).all()  # through k = 0
    angle = torch.atan2(radial[1, -1, 0], radial[1, -1, 1])
    torch.testing.assert_close(math.degrees(angle), 111.246, atol=1e-3, rtol=0)
    even = radial_trajectory((8, 8), 4, 2, "uniform").reshape(4, 2, 2)[:, 0]
    torch.testing.assert_close(torch.atan2(-even[:, 0], -even[:, 1]), torch.arange(4).double() * math.pi / 4)
    spiral = spiral_trajectory((32, 32), 4).reshape(4, -1, 2)
    radius, step = spiral.norm(dim=-1), spiral.diff(dim=1).norm(dim=-1)
    assert (radius[:, 0] == 0).all() and (radius.diff() > 0).all() and 0.48 < radius.max() <= 0.5
    assert step.max() < 1.02 / 64 and step.min() > 0.9 / 64  # two samples per 1 / 32
    turned = torch.atan2(spiral[1, -1, 0], spiral[1, -1, 1]) - torch.atan2(spiral[0, -1, 0], spiral[0, -1, 1])
    torch.testing.assert_close(math.degrees(turned) % 360, 222.492, atol=1e-3, rtol=0)


def test_copies_and_sizes():
    op = NonCartesian(uniform(30, 2) - 0.5, noise=NOISE)
    x = uniform(1, 1, 6, 7)
    assert torch.equal(pickle.loads(pickle.dumps(op))(x), op(x))
    assert op.measurement_shape((1, 9, 4)) == (2, 30) and op(x).shape == (1, 2, 30)
    with pytest.raises(ValueError, match=r"operator\.at\(event_shape\)"):
        op.adjoint(op(x))
    assert op.at((1, 6, 7)).adjoint(op(x)).shape == x.shape
    assert "trajectory=<(30, 2)>" in repr(op)
    other = NonCartesian(uniform(30, 2, seed=1) - 0.5)
    other.load_state_dict(op.state_dict())  # by which the command line knows finished samples of a problem
    assert torch.equal(other(x), op(x)) and op.float().trajectory.dtype == torch.float64
    index = torch.tensor([1, 0])
    maps = torch.stack([smooth_sensitivities(2, (6, 7)), smooth_sensitivities(2, (6, 7)).flip(0)])
    batched, pair = NonCartesian(uniform(9, 2) - 0.5, maps), uniform(2, 1, 6, 7)
    batched.gram(pair)  # fills its caches
    torch.testing.assert_close(batched.rows(index).gram(pair), batched.gram(pair.flip(0)).flip(0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: NonCartesian(uniform(2, 9) - 0.5), "give its transpose"),
        (lambda: NonCartesian(uniform(3, 9, 2) - 0.5), r"reshape\(-1, 2\)"),
        (lambda: NonCartesian(3.1 * uniform(9, 2)), "divide radians per pixel by 2 pi"),
        (lambda: NonCartesian(uniform(9, 2) * math.nan), "finite"),
        (lambda: NonCartesian(uniform(9, 2) / 2, channels=3), "2 for complex ones"),
        (lambda: NonCartesian(uniform(9, 2) / 2, phase=uniform(4)), "NonCartesian: expected phase"),
        (lambda: NonCartesian(uniform(9, 2) / 2)(uniform(1, 2, 4, 4)), "channels=2"),
        (lambda: NonCartesian(uniform(9, 2) / 2, event_shape=(3, 4, 4)), "channels=2"),
        (lambda: NonCartesian.radial((1, 8, 8), 0), "spokes = 0"),
        (lambda: NonCartesian.radial((1, 8, 8), 3, order="even"), "golden, uniform"),  # type: ignore
        (lambda: NonCartesian.radial((3, 8, 8), 3), "NonCartesian: event_shape"),
        (lambda: NonCartesian.spiral((1, 8, 8), 2, turns=-1.0), "turns = -1"),
        (lambda: NonCartesian.radial((1, 8, 8), 3).adjoint(uniform(1, 2, 7)), "expected y of shape"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_without_finufft_it_names_the_extra(monkeypatch):
    monkeypatch.setattr(nufft.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install "score-inverse\[mri\]"'):
        operators.make("noncartesian", trajectory=uniform(9, 2) / 2)

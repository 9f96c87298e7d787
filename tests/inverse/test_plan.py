"""What a plan says, against what the solve then costs."""

import importlib

import pytest
import torch

import priors
from inverse import METHODS, plan, solve
from inverse.costs import rehearsal, work
from inverse.costs.evaluation import Evaluation, activations
from inverse.costs.rehearsal import Scene, smaller
from inverse.costs.work import scaled
from inverse.plan import OWN, counted, span
from inverse.population import SMC
from operators import Blur, Classifier, ConeBeam, GaussianNoise, Masking, Operator, Resize
from operators.estimation import estimate_sigma
from priors import RowRNG, Slices, Tiled
from priors.base import Wrapped
from tests.cases import score_prior

SHAPE = (1, 8, 8)
OPERATOR = Masking.random(SHAPE, keep=0.5, noise=GaussianNoise(0.05))
Y = OPERATOR.measure(torch.full((1, *SHAPE), 0.4), seed=0)
SERVING = [name for name, m in METHODS.items() if m.conditional and m.needs <= OPERATOR.capabilities]


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    """Nothing is timed on more than the least part, and walks are counted to their end however slow the machine is."""
    monkeypatch.setattr(importlib.import_module("inverse.costs.evaluation"), "TIMED", 0.0)
    monkeypatch.setattr(rehearsal, "LIMIT", float("inf"))


SLOW = pytest.param("exact", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", [SLOW if name == "exact" else name for name in SERVING])
@pytest.mark.filterwarnings("ignore::inverse.UnreliableWeights")
def test_counts_are_those_of_the_solve(name):
    """Particles are resampled when their weights ask for it, which no stand-in tells: there an evaluation or two."""
    prior = score_prior()
    steps, n = (2, 1) if name == "exact" else (12, 3)  # exact pays dearly, per measured number
    operator = Masking.random(SHAPE, keep=0.1, noise=GaussianNoise(0.05)) if name == "exact" else OPERATOR
    said = plan(prior, operator, Y, n, name, steps)
    solution = solve(prior, operator, Y, n, name, steps, progress=False)
    away = 2 if any(isinstance(part, SMC) for part in said.method.parts) else 0
    assert abs(said.nfe - solution.nfe) <= away and abs(said.nvjp - solution.nvjp) <= away
    assert (said.method.name, said.n_steps, said.n_samples, said.reason) == (name, steps, n, "")


def test_a_label_is_planned_for_too():
    operator = Classifier(lambda x, t: torch.tanh(x.flatten(1)[:, :3]))
    y = torch.tensor([1])
    said = plan(score_prior(), operator, y, 2, n_steps=4)
    solution = solve(score_prior(), operator, y, 2, n_steps=4, progress=False)
    assert said.method.name == "classifier" and (said.nfe, said.nvjp) == (solution.nfe, solution.nvjp)


@pytest.mark.parametrize("budget", ["fast", "balanced", SLOW])
def test_counts_of_auto(budget):
    """A trained network, whose denoiser is not linear, on a blur without an SVD."""
    prior = priors.load("natural", event_shape=(3, 24, 32))
    operator = Blur.gaussian(1.0, "reflect", noise=GaussianNoise(0.05))
    y = operator.measure(torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0)), seed=0)
    said = plan(prior, operator, y, 1, budget=budget)
    solution = solve(prior, operator, y, 1, budget=budget, progress=False)
    assert (said.nfe, said.nvjp) == (solution.nfe, solution.nvjp) and said.reason == solution.reason != ""


class Slow(Wrapped):
    """A prior that takes a known time: 40 ms for an evaluation, 80 ms for a backward pass."""

    def __init__(self, prior, clock):
        super().__init__(prior)
        self.clock = clock

    def denoise(self, x, t):
        self.clock.now += 0.04
        return super().denoise(x, t)

    def denoise_vjp(self, x, t):
        denoised, vjp = super().denoise_vjp(x, t)

        def slow(v):
            self.clock.now += 0.08
            return vjp(v)

        return denoised, slow


@pytest.mark.parametrize(("method", "batches"), [("ddrm", 1), ("mmps", 2)])
def test_seconds_are_those_of_evaluations_and_backward_passes(method, batches, clock, monkeypatch):
    """By a clock that only the prior moves."""
    monkeypatch.setattr(importlib.import_module("inverse.costs.evaluation"), "TIMED", 100.0)  # all rows at once
    prior = Slow(score_prior(), clock)
    said = plan(prior, OPERATOR, Y, 2, method, 6, batch_size=2 // batches)
    start = clock.now
    solve(prior, OPERATOR, Y, 2, method, 6, batch_size=2 // batches, progress=False)
    assert said.seconds == pytest.approx(clock.now - start)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(work, "clock", made)
    return made


def large(operator, size=(144, 192)):
    """A problem of a large picture, as `inverse.costs.rehearsal` takes it, with a y that the prior may give: of another
    a solve ends iterations early."""
    prior = priors.load("natural", event_shape=(3, *size))
    op = operator((3, *size)).at((3, *size))
    return Scene(prior, op, op.measure(prior.moments.draw(1, RowRNG.rows(0, 1)).clamp(0, 1), seed=0))


NOISE = GaussianNoise(0.05)
OPERATORS = {
    "masking": lambda shape: Masking.random(shape, 0.3, noise=NOISE),
    "blur": lambda shape: Blur.gaussian(1.0, "reflect", noise=NOISE),
    "resize": lambda shape: Resize(2, noise=NOISE),
    "noise by pixel": lambda shape: Blur.gaussian(
        1.0, noise=GaussianNoise(torch.full((1, *shape[1:]), 0.1), event_ndim=3)
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_the_work_on_a_large_picture_is_that_of_small_ones_scaled(name):
    """Counted on the large one itself: within .3 where it is most of the work, whatever the machine does. How many
    iterations a solve takes depends on the size too."""
    scene, method = large(OPERATORS[name]), METHODS["mmps"]
    small = smaller(scene)
    assert [s.area * 9 <= scene.area for s in small] == [True, True] or small[1].area == 4 * small[0].area
    less, more, whole = (counted(s, method, 2, 1)[1] for s in (*small, scene))
    said = scaled(less, more, (small[0].area, small[1].area), scene.area).done
    kinds = [kind for kind in ("memory", "product", "fft") if whole.done[kind] > 0.01 * whole.done["memory"]]
    assert kinds and {kind: said[kind] / whole.done[kind] for kind in kinds} == {
        kind: pytest.approx(1.0, rel=0.3) for kind in kinds
    }


def test_a_small_picture_is_taken_as_it_is_and_an_operator_that_serves_no_other():
    assert smaller(large(OPERATORS["blur"], (96, 128))) == []
    assert smaller(large(lambda shape: Fixed(noise=NOISE))) == []


class Fixed(Operator):
    """Serves pictures of one size alone."""

    def forward(self, x):
        return x.reshape(-1, 3 * 144, 192)


def test_a_long_walk_is_counted_by_its_first_steps(monkeypatch):
    monkeypatch.setattr(rehearsal, "LIMIT", 0.0)
    prior = score_prior()
    said = plan(prior, OPERATOR, Y, 1, "mmps", 12)
    solution = solve(prior, OPERATOR, Y, 1, "mmps", 12, progress=False)
    assert abs(said.nfe - solution.nfe) <= 1 and abs(said.nvjp - solution.nvjp) <= 6


class Dear(ConeBeam):
    """A projection of a volume, which takes a second of the clock, forwards and back; by its matrix (voxels, values),
    which is quick."""

    clock: object
    matrix: torch.Tensor

    def forward(self, x):
        self.clock.now += 1.0
        return (x.flatten(1) @ self.matrix.to(x)).view(len(x), *self.measurement_shape(tuple(x.shape[1:])))

    def adjoint(self, y):
        self.clock.now += 1.0
        return (y.flatten(1) @ self.matrix.mT.to(y)).view(len(y), 1, 8, 8, 8)


class DearStart(Slices):
    """Slices whose moments, which a solve asks for at its start, take a hundred seconds of the clock."""

    clock: object

    @property
    def moments(self):
        self.clock.now += 100.0
        return super().moments


@pytest.fixture(scope="module")
def rays():
    return ConeBeam(20, 24.0, size=8)(torch.eye(512).view(512, 1, 8, 8, 8)).flatten(1)


@pytest.mark.parametrize("steps", [4, 10])
def test_the_start_of_a_slow_solve_is_not_counted_for_every_step(monkeypatch, clock, rays, steps):
    """A volume starts from the posterior of a Gaussian, which takes longer than some steps do."""
    monkeypatch.setattr(DearStart, "clock", clock, raising=False)
    monkeypatch.setattr(Dear, "clock", clock, raising=False)
    monkeypatch.setattr(Dear, "matrix", rays, raising=False)
    prior = DearStart(score_prior(), 8, coupling=0.1)
    operator = Dear(20, 24.0, size=8, noise=GaussianNoise(0.01)).at((1, 8, 8, 8))
    y = operator.measure(torch.rand(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0)), seed=0)
    given = (Scene(prior, operator, y), METHODS["mmps"], steps, 1)
    whole = rehearsal.counts(*given)  # LIMIT is infinite
    monkeypatch.setattr(rehearsal, "LIMIT", 0.3)
    found = rehearsal.counts(*given)
    assert found.seconds == pytest.approx(whole.seconds, rel=0.25)
    assert abs(found.nfe - whole.nfe) <= 1 and abs(found.nvjp - whole.nvjp) <= 1


def test_memory_of_tensors_that_are_alive():
    """Three of a thousand numbers at once: the two factors and a product, of which one goes before the next."""
    with work.Counted() as seen:
        x, y = torch.ones(1000), torch.ones(1000)
        for _ in range(3):
            z = x * y
            del z
    assert seen.peak == 12_000


class Whole(Wrapped):
    """Of no known least size, so that it is measured as it is."""

    def parameters(self):
        return self.prior.network.parameters()


@pytest.mark.parametrize(
    ("name", "graphs", "doubled"), [("ddrm", 0, 0), ("mmps", 1, 0), ("dps", 1, 0), ("exact", 2, 2)]
)
def test_graphs_that_a_method_has_at_once(name, graphs, doubled):
    """As counted with a network in place of the stand-in, by hand."""
    operator = Masking.random(SHAPE, keep=0.1, noise=GaussianNoise(0.05))
    scene = Scene(score_prior(), operator.at(SHAPE), operator.measure(torch.full((1, *SHAPE), 0.4), seed=0))
    found = rehearsal.counts(scene, METHODS[name].sized(2), 2, 2)
    assert (found.graphs, found.doubled) == (graphs, doubled)


@pytest.mark.slow
def test_memory_of_a_method_that_differentiates_its_steps():
    prior = priors.load("fashion-mnist")
    operator = Masking.random(prior.event_shape, keep=0.01, noise=GaussianNoise(0.05)).at(prior.event_shape)
    y = operator.measure(priors.samples("fashion-mnist").floats([0]), seed=0)
    predicted = plan(prior, operator, y, 2, "exact", 2).bytes - OWN
    with work.Counted() as seen:
        solve(prior, operator, y, 2, "exact", 2, progress=False, noise_checks=False)
    assert predicted == pytest.approx(seen.peak, rel=0.1)


def test_activations_grow_with_the_picture_or_with_the_tile():
    """What a small picture tells of a large one, against the large one itself."""
    prior = priors.load("natural", event_shape=(3, 96, 160))
    whole = activations(Whole(prior))
    assert activations(prior) == pytest.approx(whole, rel=0.01) and whole > 96 * 160 * 100
    large = prior.resized((3, 1024, 2048))
    tiled = Tiled(large, 64)
    side = tiled.tile + 2 * tiled.margin
    assert activations(tiled) == pytest.approx(activations(prior) * side**2 / (96 * 160), rel=1e-3)
    assert activations(Tiled(prior, 512)) == activations(prior)


def test_rows_and_memory():
    prior = score_prior()
    one, two, three, four = (plan(prior, OPERATOR, Y, 6, "dps", 2, batch_size=n) for n in (1, 2, 3, 4))
    assert (one.rows, two.rows) == (1, 2) and plan(prior, OPERATOR, Y, 6, "dps", 2).rows == 6
    row = three.bytes - two.bytes
    assert four.bytes - three.bytes == pytest.approx(row, abs=2)
    # what is of no row: curves of the SDE, and of one row, whose tensors are few, the times at which they are found
    fixed = OWN + 4 * 6 * 64
    assert 0 < two.bytes - fixed - 2 * row < 80 * 8
    assert 0 <= one.bytes - fixed - row < 5 * 31 * 4 * 8


class Untouched(Wrapped):
    def denoise(self, x, t):
        raise AssertionError("evaluated")


@pytest.mark.parametrize(
    ("changed", "fragment"),
    [
        ({"method": "nobody"}, "nobody"),
        ({"method": "ode"}, "ignores y"),
        ({"n_samples": 0}, "n_samples = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"budget": "cheap"}, "cheap"),
        ({"y": Y[..., :7]}, "expected shape"),
    ],
)
def test_refusals_come_before_any_evaluation(changed, fragment):
    given = {"prior": Untouched(score_prior()), "operator": OPERATOR, "y": Y, "n_steps": 3} | changed
    with pytest.raises(ValueError, match=fragment):
        plan(**given)


@pytest.fixture
def clockwork(monkeypatch):
    """An evaluation takes a second of the plan, a backward pass two, and nothing else takes time."""
    module = importlib.import_module("inverse.plan")
    monkeypatch.setattr(module, "evaluation", lambda prior, rows, derivative: Evaluation(1.0, 2.0, 0.0))
    monkeypatch.setattr(module, "_rest", lambda *_: (0.0, 0.0, 0.0))
    monkeypatch.setattr(module, "_looked", lambda *_: (0.0, 0))


@pytest.mark.parametrize("method", ["auto", "mmps", "pigdm", "ddrm"])
def test_seconds_buy_steps(clockwork, method):
    given = (score_prior(), OPERATOR, Y, 2, method)
    default = plan(*given)
    for part in (2.0, 0.7):
        found = plan(*given, budget=part * default.seconds)
        assert found.seconds <= part * default.seconds
        assert found.method.name == default.method.name
        assert found.n_steps == default.n_steps if part > 1 else 0.7 * part < found.n_steps / default.n_steps < part
        assert ("fewer than the default" in found.reason) == (part < 1)
    with pytest.raises(ValueError, match=r"5 steps of .*, the fewest"):
        plan(*given, budget=2.0)
    solved = solve(*given[:4], plan(*given, budget=0.7 * default.seconds).method, found.n_steps, progress=False)
    assert solved.nfe + 2 * solved.nvjp == pytest.approx(found.seconds)


def test_seconds_are_for_plans_alone():
    given = (score_prior(), OPERATOR, Y)
    with pytest.raises(ValueError, match=r"plan = inverse.plan\(..., budget=60.0\)"):
        solve(*given, budget=60.0, progress=False)
    for wrong in ({"budget": 0.0}, {"budget": float("nan")}, {"budget": 60.0, "n_steps": 4}):
        with pytest.raises(ValueError, match="budget"):
            plan(*given, **wrong)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "0.2 s"), (42.4, "42 s"), (190, "3 min 10 s"), (3900, "1 h 5 min")]
)
def test_times_as_they_are_said(seconds, text):
    assert span(seconds) == text


def test_memory_is_the_larger_of_the_state_and_of_an_evaluation_beside_it(monkeypatch):
    """An operator's temporary tensors are freed before the prior is evaluated."""
    module = importlib.import_module("inverse.plan")
    prior = priors.load("natural-grey").resized((1, 160, 160))
    uneven = GaussianNoise(torch.full((1, 160, 160), 0.05), event_ndim=3)  # which is not looked for in y
    operator = Blur.gaussian(1.0, noise=uneven)
    y = operator.measure(torch.rand(1, 1, 160, 160), seed=0)
    network = module.evaluation(prior, 1, False).bytes
    found = plan(prior, operator, y, 1, "diffpir", 2).bytes
    monkeypatch.setattr(module, "evaluation", lambda *_: Evaluation(1.0, 0.0, 0.0))
    state = plan(prior, operator, y, 1, "diffpir", 2).bytes
    assert max(state, network) < found < 0.98 * (state + network)


def test_memory_of_the_search_for_noise(monkeypatch):
    """Of a small picture it is more than that of an evaluation without derivatives, and does not grow with the area."""
    monkeypatch.setattr(importlib.import_module("inverse.plan"), "evaluation", lambda *_: Evaluation(1.0, 0.0, 0.0))
    found = {}
    for side in (160, 320):
        prior = priors.load("natural-grey").resized((1, side, side))
        operator = Blur.gaussian(1.0, noise=GaussianNoise(0.05)).at((1, side, side))
        y = operator.measure(torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(0)), seed=0)
        with work.Counted() as seen:
            estimate_sigma(y, operator)
        found[side] = plan(prior, operator, y, 1, "diffpir", 2).bytes - 4 * side**2
        assert found[side] == pytest.approx(seen.peak, rel=0.01)
    assert found[320] < 2 * found[160]

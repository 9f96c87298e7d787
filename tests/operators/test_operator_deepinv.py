"""deepinv's physics as operators, and operators as deepinv's physics."""

import copy
import warnings

import pytest
import torch

import operators
from benchmarks.peers.bridge import bridged, kind
from benchmarks.peers.physics import COLOUR, EXAMPLES, GREY, coils, kernel, mask, uniform
from operators import GaussianNoise, InexactAdjoint, PoissonNoise
from operators.bridges.packing import Packing
from tests.operators.cases import CASES

deepinv = pytest.importorskip("deepinv")
THEIRS = deepinv.physics
NOISE = GaussianNoise(0.05)
# not as deepinv has it: V of these is no orthogonal map of images, or A is not U S V^T
CONVOLUTIONS = {"Blur, circular"}  # without coordinates of deepinv's: theirs are ours
LINEAR_ONLY = {"SinglePixelCamera, dense", "SequentialMRI"}
REFUSED = {"SpatialUnwrapping": "not A\\(x\\) plus noise .* noise=operators.GaussianNoise"}
INEXACT = {"SequentialMRI", "CompressiveSpectralImaging, ss", "CompressiveSpectralImaging, sd",
           "CompressiveSpectralImaging, larger", "Tomography, own adjoint"}  # fmt: skip
SERVED = [name for name in EXAMPLES if not EXAMPLES[name].missing and name not in REFUSED]
QUICK = ("Inpainting, a mask each", "Decolorize", "BlurFFT, odd", "CompressedSensing, complex", "Haze")


def images(op, rows=2, seed=0):
    return uniform(op.batch or rows, *op.event_shape, seed=seed)


@pytest.mark.parametrize("name", [n for n in SERVED if not EXAMPLES[n].slow])
def test_each_physics_is_bridged_as_it_is(name):
    op, warned = bridged(EXAMPLES[name])
    physics = EXAMPLES[name].physics()
    decomposable = (isinstance(physics, THEIRS.DecomposablePhysics) and name not in LINEAR_ONLY) or name in CONVOLUTIONS
    linear = isinstance(physics, THEIRS.LinearPhysics)
    assert kind(op) == ("SVD" if decomposable else "linear" if linear else "nonlinear")
    assert bool(warned) == (name in INEXACT)
    x = images(op)
    with torch.no_grad():
        parts = [op.events.unpack(row) for row in x.split(1 if op.layout.alone else len(x))]
        theirs = [physics.A(deepinv.utils.TensorList(p) if op.events.listed else p) for p in parts]
        torch.testing.assert_close(op(x), torch.cat([op.measurements.pack(y) for y in theirs]), check_dtype=False)


@pytest.mark.parametrize("name", ["MRI", "BlurFFT", "Decolorize", "Inpainting"])
def test_no_coordinates_are_no_coordinates(name):
    """As of a prior whose moments have no components; deepinv's own map fails on some."""
    op = bridged(EXAMPLES[name])[0]
    x = torch.empty(0, *op.event_shape)
    assert op.Vt(x).shape == op.V(x).shape == x.shape


@pytest.mark.parametrize("name", [n for n in SERVED if n in QUICK])
def test_bridged_physics_pass_the_check(name):
    op, _ = bridged(EXAMPLES[name])
    operators.check(op, op.event_shape)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in SERVED if n not in QUICK])
def test_all_bridged_physics_pass_the_check(name):
    op, _ = bridged(EXAMPLES[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", operators.NotConverged)
        operators.check(op, op.event_shape)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_is_refused(name):
    with pytest.raises(ValueError, match=REFUSED[name]):
        bridged(EXAMPLES[name])


def test_a_sensor_model_is_refused():
    physics = THEIRS.Denoising(THEIRS.GaussianNoise(0.1), sensor_model=lambda y: y.clamp(0, 1))
    with pytest.raises(ValueError, match="sensor model"):
        operators.from_deepinv(physics, GREY)


SLOW_TWINS = {"DownsamplingMatlab", "Blur, reflect"}  # conjugate gradients
# Example: our own operator, and how its y follows from theirs
TWINS = {
    "Denoising": (lambda: operators.Identity(noise=NOISE), None),
    "Inpainting": (lambda: operators.Masking(mask(1, 16, 16), NOISE), None),
    "Inpainting, a mask each": (lambda: operators.Masking(mask(4, 1, 16, 16), NOISE), None),
    "Demosaicing": (lambda: operators.Bayer("BGGR", NOISE), lambda y: y.sum(1, keepdim=True)),
    "Decolorize": (
        lambda: operators.Grayscale(NOISE, EXAMPLES["Decolorize"].physics().srf.flatten()), None
    ),
    "Blur, circular": (lambda: operators.Blur(kernel(5, 3)[0, 0], noise=NOISE), None),
    "Blur, valid": (lambda: operators.Blur(kernel(5, 3)[0, 0], "valid", NOISE), None),
    "Blur, reflect": (lambda: operators.Blur(kernel(5, 3)[0, 0], "reflect", NOISE), None),
    "BlurFFT": (lambda: operators.Blur(kernel(5, 3)[0, 0], noise=NOISE), None),
    "DownsamplingMatlab": (lambda: operators.Resize(2, noise=NOISE), None),
    "MRI": (lambda: operators.Fourier(mask(16, 16), channels=2, noise=NOISE), None),
    "MRI, a mask each": (lambda: operators.Fourier(mask(3, 16, 16, seed=1), channels=2, noise=NOISE), None),
    "MultiCoilMRI": (
        lambda: operators.Fourier(mask(16, 16), coils(4, 16, 16)[0], channels=2, noise=NOISE),
        lambda y: y.transpose(1, 2),
    ),
    "CompressedSensing": (
        lambda: operators.LinearMap(EXAMPLES["CompressedSensing"].physics()._A, NOISE, event_shape=GREY), None
    ),
}  # fmt: skip


def pull(x, sigma):
    """A stand-in for a denoiser: smooth, bounded and mixing neighbours."""
    near = (x + x.roll(1, -1) + x.roll(1, -2)) / 3 - 0.5
    return 0.5 + 0.5 * torch.tanh(2 * near / (1 + sigma**2))


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW_TWINS else []) for n in TWINS])
def test_a_posterior_is_that_of_our_own_operator(name):
    import priors
    from inverse import solve

    make, turned = TWINS[name]
    op, ours = bridged(EXAMPLES[name])[0], make()
    y = op.measure(images(op), seed=1)
    prior = priors.from_denoiser(pull, event_shape=op.event_shape)
    method = "pigdm" if turned is None else "dps"  # the last draw of pigdm has noise in the order of y
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = [
            solve(prior, o, z, n_samples=1, method=method, n_steps=5, progress=False).samples
            for o, z in ((op, y), (ours, y if turned is None else turned(y)))
        ]
    assert (samples[0] - samples[1]).norm() < 1e-5 * samples[1].norm()


def test_moment_matching_with_moments_of_no_components():
    """The moments of an unknown denoiser: its preconditioner applies V^T to none of them."""
    import priors
    from inverse import solve

    op, ours = bridged(EXAMPLES["MRI"])[0], TWINS["MRI"][0]()
    y, prior = op.measure(images(op, 1), seed=1), priors.from_denoiser(pull, event_shape=op.event_shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [solve(prior, o, y, n_samples=2, method="mmps", n_steps=3, progress=False).samples for o in (op, ours)]
    assert (found[0] - found[1]).norm() < 1e-5 * found[1].norm()


def test_a_circular_convolution_has_our_closed_forms():
    """Found by what the physics does: a kernel of each channel counts, one that mixes channels or a border does not."""
    ours = operators.Blur(kernel(5, 3)[0, 0], noise=NOISE)
    op, _ = bridged(EXAMPLES["Blur, circular"])
    assert isinstance(op, operators.SVDOperator) and op.capabilities == ours.capabilities
    y = ours.measure(images(op), seed=1)
    for found, expected in (
        (op.pinv(y), ours.pinv(y)), (op.solve_gram(y, 0.3), ours.solve_gram(y, 0.3)), (op(images(op)), ours(images(op)))
    ):  # fmt: skip
        assert (found - expected).norm() < 1e-5 * expected.norm()
    each = torch.cat([kernel(5, 3), kernel(3, 5).mT, kernel(5, 3).flip(-1)], 1)
    op = operators.from_deepinv(THEIRS.Blur(each, padding="circular"), (3, 16, 16))
    assert isinstance(op, operators.SVDOperator)
    operators.check(op, op.event_shape)
    for padding in ("reflect", "replicate", "constant"):
        op = operators.from_deepinv(THEIRS.Blur(kernel(5, 3), padding=padding), (1, 16, 16))
        assert not isinstance(op, operators.SVDOperator)

    class Mixed(THEIRS.LinearPhysics):
        def A(self, x, **_):
            return x + x.roll(1, 1)

        def A_adjoint(self, y, **_):
            return y + y.roll(-1, 1)

    assert not isinstance(operators.from_deepinv(Mixed(), (3, 16, 16)), operators.SVDOperator)


def test_downsampling_by_a_box_is_ours():
    physics = THEIRS.Downsampling(COLOUR, filter=torch.ones(1, 1, 2, 2) / 4, factor=2)
    op, x = operators.from_deepinv(physics, COLOUR), uniform(2, *COLOUR)
    torch.testing.assert_close(op(x), operators.Downsampling(2)(x))


class TestNoise:
    @pytest.mark.parametrize("rows", [None, 3])
    def test_gaussian_has_the_same_sigma(self, rows):
        sigma = 0.3 if rows is None else torch.tensor([0.1, 0.2, 0.3])
        op = operators.from_deepinv(THEIRS.Denoising(THEIRS.GaussianNoise(sigma)), GREY)
        assert isinstance(op.noise, GaussianNoise) and op.batch == rows
        torch.testing.assert_close(op.noise.sigma, torch.as_tensor(sigma))

    def test_that_of_a_complex_number_is_shared_by_its_parts(self):
        physics = EXAMPLES["CompressedSensing, complex"].physics()
        op = operators.from_deepinv(physics, (1, 8, 8))
        x = uniform(1, 2, 8, 8)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            given = op.events.unpack(x.expand(400, -1, -1, -1))
            y = op.measurements.pack(physics(given))
        spread = (y - op(x)).std()
        assert abs(float(spread / op.noise.sigma) - 1) < 4 / (2 * y.numel()) ** 0.5

    def test_photons_have_the_same_variance(self):
        physics = THEIRS.Denoising(THEIRS.PoissonNoise(0.1))
        op, x = operators.from_deepinv(physics, GREY), torch.full((4000, *GREY), 0.6)
        assert isinstance(op.noise, PoissonNoise)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            variance = physics(x).var()
        assert abs(float(variance / op.noise.variance(x[:1]).mean()) - 1) < 0.01  # 4 standard errors are .006

    def test_the_parts_of_a_stack_keep_theirs(self):
        op, _ = bridged(EXAMPLES["Stack"])
        sigma = op.noise.sigma
        assert sigma.shape == op.measurements.shape
        torch.testing.assert_close(sigma.unique(), torch.tensor([0.05, 0.1]))

    def test_others_are_refused_unless_stated(self):
        physics = THEIRS.Denoising(THEIRS.LaplaceNoise(0.1))
        with pytest.raises(ValueError, match=r"LaplaceNoise has no counterpart.*noise="):
            operators.from_deepinv(physics, GREY)
        assert operators.from_deepinv(physics, GREY, noise=NOISE).noise is NOISE
        with pytest.raises(ValueError, match="normalize=True"):
            operators.from_deepinv(THEIRS.Denoising(THEIRS.PoissonNoise(0.1, normalize=False)), GREY)


class TestParameters:
    def test_at_call_time(self):
        physics, other = EXAMPLES["Inpainting"].physics(), mask(1, 16, 16, seed=9)
        op = operators.from_deepinv(physics, COLOUR, mask=other, sigma=0.2)
        x = uniform(2, *COLOUR)
        torch.testing.assert_close(op(x), x * other)
        assert float(op.noise.sigma) == pytest.approx(0.2)
        assert not torch.equal(physics.A(x), op(x))  # the original is unchanged

    def test_unknown_ones_are_refused(self):
        with pytest.raises(ValueError, match=r"no parameter 'kernel'; it has .*mask"):
            operators.from_deepinv(EXAMPLES["Inpainting"].physics(), COLOUR, kernel=mask(3, 3))

    def test_later_changes_do_not_reach_the_operator(self):
        physics = EXAMPLES["BlurFFT"].physics()
        op, x = operators.from_deepinv(physics, COLOUR), uniform(2, *COLOUR)
        before = op(x)
        physics.update(filter=kernel(3, 3))
        assert torch.equal(op(x), before) and not torch.allclose(physics.A(x), before)

    def test_a_row_has_those_of_its_measurement(self):
        op, _ = bridged(EXAMPLES["MRI, a mask each"])
        x = images(op)
        torch.testing.assert_close(op.rows(torch.tensor([2]))(x[2:]), op(x)[2:])
        assert op.physics.mask.shape[0] == 3


class TestErrors:
    def test_no_physics(self):
        with pytest.raises(TypeError, match=r"expected a deepinv\.physics\.Physics"):
            operators.from_deepinv(torch.nn.Identity())

    def test_no_shape(self):
        with pytest.raises(ValueError, match="state event_shape"):
            operators.from_deepinv(THEIRS.Denoising())

    def test_a_shape_that_it_does_not_take(self):
        with pytest.raises(ValueError, match=r"MRI.A fails on events of shape \(3, 8, 8\)"):
            operators.from_deepinv(EXAMPLES["MRI"].physics(), (3, 8, 8))
        op, _ = bridged(EXAMPLES["Denoising"])
        with pytest.raises(ValueError, match="made for events"):
            op.at((1, 4, 4))

    def test_no_adjoint_at_all(self):
        class Detached(THEIRS.LinearPhysics):
            def A(self, x, **_):
                return x.detach()

            def A_adjoint(self, y, **_):
                return 2 * y

        with pytest.raises(ValueError, match=r"neither Detached\.A_adjoint nor the derivative"):
            operators.from_deepinv(Detached(), GREY)

    def test_a_wrong_adjoint_is_replaced(self):
        class Rolled(THEIRS.LinearPhysics):
            def A(self, x, **_):
                return x.roll(1, -1)

            def A_adjoint(self, y, **_):
                return y.roll(1, -1)

        with pytest.warns(InexactAdjoint, match="off the adjoint"):
            op = operators.from_deepinv(Rolled(), GREY)
        y = uniform(2, *GREY)
        torch.testing.assert_close(op.adjoint(y), y.roll(-1, -1))


def test_a_packed_tensor_is_unpacked():
    pair = [torch.complex(uniform(2, 3, 4), uniform(2, 3, 4, seed=1)), uniform(2, 5)]
    for theirs in (pair, pair[0], pair[1]):
        packing = Packing.of(theirs)
        back = packing.unpack(packing.pack(theirs))
        for a, b in zip([back] if torch.is_tensor(back) else back, [theirs] if torch.is_tensor(theirs) else theirs,
                        strict=True):  # fmt: skip
            torch.testing.assert_close(a, b)
    with pytest.raises(ValueError, match="expected"):
        Packing.of(pair[0]).pack(pair[1])


def test_bridged_operators_can_be_copied_and_moved():
    op, _ = bridged(EXAMPLES["CompressedSensing"])  # it holds a random generator
    x = images(op)
    wide = copy.deepcopy(op).double()
    torch.testing.assert_close(wide.adjoint(wide(x.double())).float(), op.adjoint(op(x)))


class Plan:
    """What another library holds by a pointer."""

    def __deepcopy__(self, memo):
        raise ValueError("ctypes objects containing pointers cannot be pickled")


def test_what_cannot_be_copied_is_shared():
    physics = THEIRS.Inpainting((1, 4, 4), mask=torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0)))
    physics.plan, physics.noise_model.plan, physics.weights = Plan(), Plan(), torch.ones(2)
    x, twins = uniform(2, 1, 4, 4), [operators.from_deepinv(physics, (1, 4, 4), noise=NOISE)]
    before = physics.A(x)
    twins.append(copy.deepcopy(twins[0]))
    twins.append(copy.deepcopy([twins[1], twins[1]])[1])
    for op in twins:
        assert op.physics.plan is physics.plan and op.physics.noise_model.plan is physics.noise_model.plan
        assert op.physics.weights is not physics.weights and op.physics.mask is not physics.mask
    assert len({id(op.physics) for op in twins}) == 3
    physics.mask.zero_()
    twins[0].physics.mask.mul_(0)
    assert torch.equal(twins[1](x), before) and torch.equal(twins[2](x), before)
    operators.check(twins[1], (1, 4, 4))


LONG = ("jpeg", "saturation", "transmission", "phase_retrieval")  # 100 steps of the power method with a Jacobian
EXPORTED = [
    pytest.param(name, case, id=f"{name} {case.label}", marks=[pytest.mark.slow] if i and name in LONG else [])
    for name in CASES
    for i, case in enumerate(CASES[name])
    if name != "classifier" and (i < 2 or "batched" in case.label or "per entry" in case.label)
]


@pytest.mark.parametrize(("name", "case"), EXPORTED)
def test_operators_pass_the_tests_of_deepinv(name, case):
    op = case.make()
    if "per entry" in case.label:
        with pytest.raises(ValueError, match="differs from entry to entry"):
            operators.to_deepinv(op, case.event_shape)
        return
    physics = operators.to_deepinv(op, case.event_shape)
    rows = op.batch or 2
    x = uniform(rows, *case.event_shape)
    torch.testing.assert_close(physics.A(x), op(x))
    if "linear" not in op.capabilities:
        if name != "jpeg":  # seconds
            assert float(physics.compute_norm(x[:1] if op.batch is None else x)) > 0
        return
    assert physics.adjointness_test(x, num_samples=rows) < 1e-5
    norm = physics.compute_sqnorm(x if op.batch else x[:1], verbose=False, tol=1e-5)
    if "svd" in op.capabilities:
        assert isinstance(physics, THEIRS.DecomposablePhysics)
        top = float(op.at(case.event_shape).singular_values.max()) ** 2
        assert top * 0.95 < float(norm) < top * 1.001  # from below, by 100 steps of the power method
        with torch.no_grad():
            torch.testing.assert_close(physics.A_dagger(op(x)), op.at(case.event_shape).pinv(op(x)))


def test_an_exported_operator_measures_where_it_does():
    op = operators.Masking(mask(1, 16, 16), NOISE)
    physics = operators.to_deepinv(op, COLOUR)
    with torch.random.fork_rng():
        y = physics(uniform(50, *COLOUR))
    assert bool((y[:, mask(1, 16, 16).expand(COLOUR) == 0] == 0).all())
    spread = (y - op(uniform(50, *COLOUR)))[:, mask(1, 16, 16).expand(COLOUR) == 1].std()
    assert float(spread) == pytest.approx(0.05, rel=0.03)


def test_there_and_back_is_the_same():
    op = operators.Blur(kernel(5, 3)[0, 0], noise=NOISE)
    back, x = operators.from_deepinv(operators.to_deepinv(op, COLOUR)), uniform(2, *COLOUR)
    torch.testing.assert_close(back(x), op(x))
    assert "svd" in back.capabilities and float(back.noise.sigma) == pytest.approx(0.05)


def test_what_deepinv_cannot_have_is_refused():
    with pytest.raises(ValueError, match="no noise model like Categorical"):
        operators.to_deepinv(CASES["classifier"][0].make(), CASES["classifier"][0].event_shape)
    with pytest.raises(ValueError, match="state event_shape"):
        operators.to_deepinv(operators.Identity())
    with pytest.raises(TypeError, match=r"expected an operators\.Operator"):
        operators.to_deepinv(THEIRS.Denoising())
    with pytest.raises(ValueError, match="given mask: make another operator"):
        operators.to_deepinv(operators.Masking(mask(1, 4, 4)), (1, 4, 4)).A(uniform(1, 1, 4, 4), mask=mask(1, 4, 4))

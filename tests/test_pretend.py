"""Everything under a pretend device (`tests.pretend`): results are where the prior is, and those of the CPU."""

import copy
import dataclasses
import functools
import types
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import inverse
import operators
import priors
from inverse import METHODS, Method, Solution, sample, solve
from inverse.app.devices import solve_there
from inverse.correctors import CORRECTORS
from inverse.grids import GRIDS
from inverse.guidance import GUIDANCES
from inverse.population import SMC
from inverse.predictors import PREDICTORS
from inverse.weights import RESAMPLINGS
from operators import GaussianNoise, LinearMap, Masking
from priors import Gaussian, Latent, Moments, Slices, Tiled
from priors.nets import NETWORKS
from priors.sde import SDES as EVERY_SDE
from tests.calls.good_inverse import of_inverse
from tests.calls.good_operators import of_operators
from tests.calls.good_priors import of_priors
from tests.cases import SDES, picture
from tests.inverse.test_solve import CONDITIONAL, UNCONDITIONAL, problem
from tests.operators.cases import ALL
from tests.pretend import DEVICE, Pretend, pretended
from tests.priors.cases import KINDS, classifier, data_set, made, mixture, score_prior

FEW = {"n_samples": 2, "n_steps": 3, "progress": False}
CASES = dict(ALL)
FIRST = {label.split(":")[0]: label for label in reversed(CASES)}  # of every name in the registry, and the compositions
pytestmark = pytest.mark.filterwarnings("ignore")


def there(x):
    """A thing on the pretend device: tensors, modules, solutions, what holds them, and what is called on them."""
    if isinstance(x, nn.Module):
        return copy.deepcopy(x).to(DEVICE)
    if isinstance(x, Tensor | Moments):
        return x.to(DEVICE)
    if isinstance(x, Solution):
        return replace(x, **{f.name: there(getattr(x, f.name)) for f in dataclasses.fields(x)})
    if isinstance(x, list | tuple):
        return type(x)(map(there, x))
    if isinstance(x, functools.partial):
        return functools.partial(there(x.func), *x.args, **x.keywords)
    if isinstance(x, types.MethodType) and not isinstance(x.__self__, type):
        return types.MethodType(x.__func__, there(x.__self__))
    if isinstance(x, priors.Prior):  # one around another
        moved = copy.copy(x)
        moved.__dict__ |= {name: there(value) for name, value in vars(x).items() if isinstance(value, nn.Module)}
        return moved
    return x


def tensors(x) -> list[Tensor]:
    """Those in a result of one or more dimensions."""
    if isinstance(x, Tensor):
        return [x] if x.ndim else []
    if isinstance(x, list | tuple):
        return [t for each in x for t in tensors(each)]
    if isinstance(x, nn.Module):
        return tensors(list(x.state_dict().values()))
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        return tensors([getattr(x, f.name) for f in dataclasses.fields(x)])
    return []


def on_cpu(x):
    return [t.detach().cpu().double() if not t.is_complex() else t.detach().cpu() for t in tensors(x)]


def compare(call, *arguments, tolerance: float = 2e-4):
    """A call on both devices: equal results, all of them on the device."""
    expected = call(*arguments)
    with pretended():
        found = call(*there(arguments))
        away = [t.shape for t in tensors(found) if not isinstance(t, Pretend)]
        assert not away, f"results on the CPU: {away}"
        found = on_cpu(found)
    for a, b in zip(found, on_cpu(expected), strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * max(1.0, float(b.abs().max())))
    return expected


class TestTheDevice:
    def test_it_refuses_what_a_gpu_refuses(self):
        with pretended() as device:
            x = torch.ones(2, 3, device=device)
            assert x.device == device != torch.device("cpu") and isinstance(x * 2 + torch.tensor(1.0), Pretend)
            for mixed in (
                lambda: x + torch.ones(3), lambda: torch.cat([x, torch.ones(2, 3)]), lambda: torch.ones(2, 3) @ x.T,
                lambda: torch.where(x > 0, x, torch.zeros(2, 3)), lambda: x.mul_(torch.ones(2, 3)),
            ):  # fmt: skip
                with pytest.raises(RuntimeError, match="tensors on pretend:0 and on cpu"):
                    mixed()
            with pytest.raises(TypeError, match="to numpy"):
                x.numpy()

    def test_what_it_computes_is_right(self):
        x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.complex64)
        for f in (
            lambda x: x.conj() @ x.mT, lambda x: (x.mH @ x).real, lambda x: torch.fft.fft2(x).imag,
            lambda x: x.clone().mul_(2)[1:, ::2], lambda x: torch.linalg.svdvals(x), lambda x: x.abs().sort(1).values,
        ):  # fmt: skip
            compare(f, x, tolerance=1e-6)

    def test_gradients(self):
        def gradient(x, w):
            x = x.clone().requires_grad_()
            return torch.autograd.grad((torch.nn.functional.conv2d(x, w).tanh() ** 2).sum(), x)[0]

        compare(gradient, torch.rand(2, 1, 6, 6), torch.rand(3, 1, 3, 3))

    def test_nothing_of_it_stays(self):
        with pretended():
            pass
        assert torch.zeros(2).device == torch.device("cpu") and torch.ones(2, 2).numpy().sum() == 4


def check_operator(label: str) -> None:
    case = CASES[label]
    operator = case.make().at(case.event_shape)
    parameters = [*operator.buffers(), *operator.parameters()]
    double = any(b.dtype == torch.float64 for b in parameters)
    x = torch.rand(operator.batch or 2, *case.event_shape, generator=torch.Generator().manual_seed(1))
    x = x.double() if double else x
    y = compare(lambda op, x: op.measure(x, seed=0), operator, x)
    clean = compare(lambda op, x: op(x), operator, x)
    if not isinstance(operator.noise, GaussianNoise) or bool((operator.noise.sigma > 0).all()):
        compare(lambda op, y, x: op.log_likelihood(y, x), operator, y, x)
    if "differentiable" in operator.capabilities:
        compare(lambda op, x, v: op.vjp(x, v), operator, x, clean)
    if "linear" in operator.capabilities:
        compare(lambda op, y: op.adjoint(y), operator, clean)
        compare(lambda op, y: op.pinv(y), operator, clean, tolerance=5e-3)
    if {"linear", "gaussian"} <= operator.capabilities:
        compare(lambda op, y: op.solve_gram(y, 0.1), operator, clean, tolerance=5e-3)
    with pretended():
        moved = there(operator)
        moved.validate_y(there(y), case.event_shape)
        assert tuple(moved.measurement_shape(case.event_shape)) == tuple(clean.shape[1:]) and repr(moved)
        for name, value in moved.named_buffers():
            assert isinstance(value, Pretend), name
        rows = moved.rows(torch.tensor([0], device=DEVICE))
        assert isinstance(rows(there(x[:1])), Pretend)
        if parameters:
            with pytest.raises(ValueError, match=r"it is on pretend:0, but x is on cpu; move it"):
                moved(x)


@pytest.mark.parametrize("label", FIRST.values())
def test_operators(label):
    check_operator(label)


@pytest.mark.slow
@pytest.mark.parametrize("label", [label for label in CASES if label not in FIRST.values()])
def test_all_examples_of_operators(label):
    check_operator(label)


@pytest.mark.slow
@pytest.mark.parametrize("label", FIRST.values())
def test_operators_pass_their_check(label):
    case = CASES[label]
    with pretended():
        operators.check(there(case.make()), case.event_shape)


@pytest.mark.parametrize("name", CONDITIONAL)
def test_methods(name):
    prior, operator, y = problem(name)

    def run(prior, operator, y):
        return solve(prior, operator, y, method=name, **FEW)

    run(prior, operator, y[:2])
    tolerance = 2e-2 if METHODS[name].weighted else 2e-3  # sums in another order, over few particles
    compare(lambda *given: run(*given).samples, prior, operator, y[:2], tolerance=tolerance)
    with pretended():
        with pytest.raises(ValueError, match="y is on cpu and the prior on pretend:0: move one"):
            run(there(prior), there(operator), y[:2])
        with pytest.raises(ValueError, match="y is on pretend:0 and the prior on cpu: move one"):
            run(prior, operator, there(y[:2]))
        if list(operator.buffers()):
            with pytest.raises(ValueError, match="is on cpu and the prior on pretend:0: move it"):
                run(there(prior), operator, there(y[:2]))


@pytest.mark.parametrize("name", UNCONDITIONAL)
def test_unconditional_methods(name):
    compare(lambda prior: sample(prior, 2, name, 3, progress=False), picture(SDES["vp"]))


def test_a_solution_is_whole_and_can_be_written(tmp_path):
    prior, operator, y = problem("exact")
    for method in ("exact", "mmps"):
        expected = solve(prior, operator, y, method=method, **FEW)
        with pretended():
            found = there(expected)
            for of in (
                lambda s: s.mean, lambda s: s.std, lambda s: s.quantiles([0.1, 0.5]), lambda s: s.resample(3),
                lambda s: s.ess, lambda s: s.pareto_k,
            ):  # fmt: skip
                result = of(found)
                torch.testing.assert_close(result.cpu(), of(expected))
                assert isinstance(result, Pretend) or result.dtype == torch.float64  # figures in double precision
            assert found.check() == expected.check() and repr(found) == repr(expected)
            found.plot(there(y), there(prior.sample(3)))
            assert "img" in found._repr_html_()
            found.save(tmp_path / "s.h5", {"y": there(y)})
            if method == "mmps":
                found.followed_by(found)
        read = Solution.load(tmp_path / "s.h5")
        assert type(read.samples) is Tensor and torch.equal(read.samples, expected.samples)


def test_solutions_land_where_the_prior_is_and_command_lines_bring_them_back():
    prior, operator, y = problem("mmps")
    expected = solve(prior, operator, y, method="mmps", antithetic=True, **FEW)
    with pretended():
        found = solve(there(prior), there(operator), there(y), method="mmps", antithetic=True, **FEW)
        assert all(isinstance(t, Pretend) for t in (found.samples, found.log_weights, found.mean, found.std))
        back = solve_there(there(prior), operator, y, method="mmps", antithetic=True, **FEW)
        assert all(type(t) is Tensor for t in tensors(back))
    torch.testing.assert_close(back.samples, expected.samples, rtol=2e-3, atol=2e-3)


def part(registry, name):
    """A method with one part of a registry."""
    part = registry[name]
    made = part() if isinstance(part, type) else part
    return {
        id(PREDICTORS): lambda: replace(METHODS["ode"], predictor=made),
        id(CORRECTORS): lambda: replace(METHODS["pc"], correctors=(made,)),
        id(GRIDS): lambda: replace(METHODS["ode"], grid=made),
        id(GUIDANCES): lambda: Method("mine", made),
    }[id(registry)]()


def serves(name: str) -> bool:
    """Whether a part can be made without arguments."""
    try:
        PREDICTORS[name]()
    except TypeError:
        return False
    return True


# in the methods that are run above
USED = {
    name for name, kind in GUIDANCES.items() for m in METHODS.values() if type(getattr(m, "guidance", None)) is kind
}


@pytest.mark.parametrize("name", [n for n in PREDICTORS if serves(n)])
def test_predictors(name):
    compare(lambda prior: sample(prior, 2, part(PREDICTORS, name), 3, progress=False), picture(SDES["vp"]))


@pytest.mark.parametrize("name", CORRECTORS)
def test_correctors(name):
    compare(lambda prior: sample(prior, 2, part(CORRECTORS, name), 3, progress=False), picture(SDES["vp"]))


@pytest.mark.parametrize("name", GRIDS)
def test_grids(name):
    compare(lambda prior: sample(prior, 2, part(GRIDS, name), 3, progress=False), picture(SDES["vp"]))


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in USED)) for n in GUIDANCES])
def test_guidances(name):
    method = part(GUIDANCES, name)
    prior, operator, y = problem("classifier" if "noisy_likelihood" in method.needs else "mmps")
    with pretended():
        if method.conditional:
            found = solve(there(prior), there(operator), there(y), method=method, **FEW).samples
        else:
            found = sample(there(prior), 2, method, 3, progress=False)
        assert isinstance(found, Pretend) and bool(found.isfinite().all())


@pytest.mark.parametrize("name", RESAMPLINGS)
def test_resampling(name):
    prior, operator, y = problem("tds")
    method = replace(METHODS["tds"], population=SMC(1.0, RESAMPLINGS[name]))
    with pretended():
        found = solve(there(prior), there(operator), there(y), 4, method, 3, progress=False)
        assert all(isinstance(t, Pretend) for t in (found.samples, found.log_weights))


def of_prior(prior, x, t):
    """What every prior has."""
    found = [prior.score(x, t), prior.denoise(x, t)]
    denoised, vjp = prior.denoise_vjp(x, t)
    found += [denoised, vjp(x)]
    return [*found, prior.log_prob(x, t)] if prior.has_log_prob else found


ANALYTIC = {f"{kind}, {sde}": functools.partial(mixture, SDES[sde], kind) for kind in KINDS for sde in SDES}
ANALYTIC |= {f"pictures, {h}": functools.partial(data_set, SDES["vp"], h) for h in (0.0, 0.3)}
TRAINED = {
    **{f"network, {sde}": functools.partial(score_prior, SDES[sde]) for sde in SDES},
    "network, score": lambda: score_prior(prediction="score"),
    "network, noise": lambda: score_prior(SDES["vp"], prediction="noise"),
    "denoiser": lambda: priors.from_denoiser(Shrink(), event_shape=(1, 8, 8), sigma_as="pixels"),
    "velocity": lambda: priors.from_velocity(Velocity(), event_shape=(1, 8, 8), range=priors.DataRange()),
    "latent": lambda: Latent(score_prior(), None, nn.Upsample(scale_factor=2)),
    "tiled": lambda: Tiled(priors.load("natural-grey").resized((1, 40, 40)), 16),
    "slices": lambda: Slices(score_prior(), 3, coupling=0.1),
    "other sde": lambda: score_prior().with_sde(SDES["flow"]),
    "natural": lambda: priors.load("natural-grey").resized((1, 16, 16)),
}


class Velocity(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([0.5]))

    def forward(self, x, t):
        return self.scale * x


class Shrink(Velocity):
    def forward(self, x, sigma):
        return self.scale * x / (1 + sigma)


LONG = (
    "tiled",
    "natural",
    "diagonal, ve",
    "tied, ve",
    "diagonal, flow",
    "tied, subvp",
    "VaryingBlur.pinv",
    "Radon.pinv",
    "FanBeam.pinv",
)


def marked(labels):
    """Those that take long are slow."""
    return [pytest.param(n, marks=[pytest.mark.slow] * any(word in n for word in LONG)) for n in labels]


@pytest.mark.parametrize("label", marked([*ANALYTIC, *TRAINED]))
def test_priors(label):
    prior = (ANALYTIC | TRAINED)[label]()
    x = 0.3 + 0.2 * torch.randn(2, *prior.event_shape, generator=torch.Generator().manual_seed(2))
    for t in (0.4, torch.tensor([0.2, 0.9])):
        compare(lambda prior, x, t=t: of_prior(prior, x, t), prior, x)
        compare(of_prior, prior, x, torch.as_tensor(t))
    compare(lambda prior: sample(prior, 2, "predictor", 3, progress=False), prior)
    with pretended():
        moved = there(prior)
        assert moved.device == DEVICE and repr(moved) == repr(prior)
        with pytest.raises(ValueError, match="on cpu"):
            moved.score(x, 0.4)


@pytest.mark.parametrize("kind", KINDS)
def test_analytic_priors(kind, tmp_path):
    prior = mixture(SDES["vp"], kind)
    operator = Masking(torch.tensor([1.0, 0.0, 1.0]), GaussianNoise(0.1), event_ndim=1)
    y = operator.measure(torch.ones(1, 3))
    compare(lambda p: [p.mean, p.covariance, p.weights, p.sample(3, seed=0), p.moments.mean], prior)
    compare(lambda p, op, y: p.posterior(op, y), prior, operator, y)
    compare(lambda p, op, y: p.log_evidence(op, y), prior, operator, y)
    with pretended():  # figures in double precision, on the CPU
        nats = priors.log_likelihood(there(prior), torch.zeros(1, 3, device=DEVICE), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(nats, priors.log_likelihood(prior, torch.zeros(1, 3), rtol=1e-2, atol=1e-2))
    compare(lambda p, x: [priors.encode(p, x, n_steps=3), priors.decode(p, x, n_steps=3)], prior, torch.ones(1, 3))


@pytest.mark.parametrize("bandwidth", [0.0, 0.3])
def test_pictures_as_a_prior(bandwidth):
    prior = data_set(SDES["vp"], bandwidth)
    operator = Masking(torch.tensor([1.0, 0.0, 1.0]), GaussianNoise(0.3), event_ndim=1)
    y, labels = operator.measure(torch.ones(1, 3)), torch.arange(9) % 3
    compare(lambda p: [p.mean, p.covariance, p.sample(3, seed=0), p.moments.mean, p.moments.basis.abs()], prior)
    compare(lambda p, x: [p.nearest(x), p.responsibilities(x, 0.3)], prior, torch.ones(2, 3))
    compare(
        lambda p, op, y, labels: [
            (q := p.posterior(op, y)).mean, q.std, q.weights, q.sample(3, seed=0), q.class_probabilities(labels)
        ],
        prior, operator, y, labels,
    )  # fmt: skip


@pytest.mark.parametrize("name", EVERY_SDE)
def test_sdes(name):
    sde = EVERY_SDE[name]
    sde = SDES.get(name) or (sde.ddpm(n=50) if hasattr(sde, "ddpm") else sde())
    t = torch.tensor([0.2, 0.7], dtype=torch.float64)
    compare(lambda t: [sde.alpha(t), sde.sigma(t), sde.f(t), sde.g2(t), *sde.bridge(t, t / 2), sde.time(t)], t)


SMALL = {
    "ncsnpp": {"image_size": 16, "channels": 8, "multipliers": (1, 2), "res_blocks": 1, "fir": True},
    "encoder": {"image_size": 16, "channels": 8, "multipliers": (1, 2)},
    "local": {"channels": (8, 8), "blocks": (1, 1)},
    "adm": {"image_size": 16, "channels": 32, "multipliers": (1, 1), "heads": 1, "head_channels": 32},
    "kdiffusion": {"image_size": (16, 16), "width": 16, "depths": (1, 1), "channels": (8, 16), "attention": (1,)},
    "edm": {"image_size": 16, "channels": 8, "multipliers": (1, 2), "blocks": 1, "fourier": True},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name):
    kind, config = NETWORKS[name]
    network = made(kind, config(image_channels=1, **SMALL[name])).eval()
    x = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    compare(lambda net, x, label: net(x, label), network, x, torch.tensor([0.3, 0.6]))


def test_solves_through_a_decoder_in_bfloat16_and_with_masks_of_their_own():
    prior = Latent(Gaussian(torch.zeros(4), torch.eye(4), SDES["vp"]), None, nn.Linear(4, 6))
    operator = LinearMap(torch.rand(3, 6), GaussianNoise(0.1))
    y = operator.measure(torch.rand(2, 6))
    compare(lambda *g: solve(*g, method="dps", **FEW).samples, prior, operator, y, tolerance=2e-3)
    prior = score_prior()
    masks = torch.stack([Masking.random((1, 8, 8), 0.5, seed=k).mask for k in range(2)])
    operator = Masking(masks, GaussianNoise(torch.tensor([0.1, 0.2])))
    y = operator.measure(torch.rand(2, 1, 8, 8))
    for precision in ("float32", "bfloat16"):
        with pretended():
            how = FEW | {"method": "mmps", "batch_size": 3, "precision": precision}
            assert isinstance(solve(there(prior), there(operator), there(y), **how).samples, Pretend)


def test_a_noisy_classifier():
    network = classifier()
    compare(lambda net, x: net(x, torch.tensor(0.3, device=x.device)), network, torch.rand(2, 1, 8, 8))
    operator = operators.Classifier(network)
    labels = torch.tensor([0, 2])
    compare(lambda *g: solve(*g, method="classifier", **FEW).samples, score_prior(), operator, labels, tolerance=2e-3)


GOODS = {
    f"{room}: {good.name}, {k}": good
    for room, of in {"operators": of_operators, "priors": of_priors, "inverse": of_inverse}.items()
    for k, good in enumerate(of())
}
# of these the results are on the CPU by design: generators of instruments from numbers alone, and tables
ANYWHERE = ("line_kernel", "motion_kernel", "sampling", "samples")
# its points stay on the CPU, where the transform is computed
ANYWHERE += ("NonCartesian",)
# figures (nats, dB), computed in double precision, which some devices lack
ANYWHERE += ("log_likelihood", "bits_per_dim", "ssim", "pareto_k", "resample", "interval_of")
# tests and factors, of samples that are brought to the CPU
ANYWHERE += ("calibrate", "conformal")


@pytest.mark.parametrize("label", marked(GOODS))
def test_public_calls(label):
    """Every good call of the sweep (tests/calls) with its tensors, priors and operators on the device."""
    good = GOODS[label]
    with pretended():
        arguments = {name: there(value) for name, value in good.arguments.items()}
        call = there(good.call)
        found = call(**arguments)
        given = [call.__self__] if isinstance(call, types.MethodType) else []
        inside = any(isinstance(t, Pretend) for x in [*given, call, *arguments.values()] for t in tensors(x))
        inside |= any(getattr(x, "device", None) == DEVICE for x in arguments.values())
        if inside and not any(word in good.name for word in ANYWHERE):
            assert [t.shape for t in tensors(found) if not isinstance(t, Pretend)] == []


def test_a_batch_comes_back_from_the_device(tmp_path):
    prior, operator, y = problem("mmps")
    how = {"n_samples": 2, "n_steps": 3, "method": "mmps", "progress": False, "keep_samples": True}
    expected = inverse.solve_batch(prior, operator, y, tmp_path / "cpu.h5", **how)
    with pretended():
        found = inverse.solve_batch(there(prior), operator, y, tmp_path / "there.h5", **how)
    torch.testing.assert_close(found.samples[:], expected.samples[:], rtol=2e-3, atol=2e-3)


def test_trained_priors_are_written_from_the_device(tmp_path):
    prior = score_prior()
    with pretended():
        priors.save_pretrained(there(prior), tmp_path / "saved")
        half = priors.at_precision(there(prior), "bfloat16")
        assert isinstance(half.denoise(torch.rand(1, 1, 8, 8, device=DEVICE), 0.5), Pretend)
    x = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(priors.load(tmp_path / "saved").denoise(x, 0.5), prior.denoise(x, 0.5))

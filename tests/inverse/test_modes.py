"""Torch's modes belong to the caller: samples do not depend on them, and what cannot work is refused with a remedy."""

import contextlib
import threading

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import priors
from inverse import METHODS, plan, sample, solve
from operators import Blur, Classifier, GaussianNoise, LinearMap, Masking
from tests.cases import SDES, Untouchable, picture, score_prior
from tests.inverse.test_solve import CONDITIONAL, UNCONDITIONAL, close, halves

pytestmark = pytest.mark.filterwarnings("ignore::inverse.UnreliableWeights")  # of two particles
SHAPE = (1, 8, 8)
STEPS = 3


@contextlib.contextmanager
def switched(switch, on, off):
    switch(on)
    try:
        yield
    finally:
        switch(off)


MODES = {
    "no_grad": torch.no_grad,
    "set_grad_enabled(False)": lambda: torch.set_grad_enabled(False),
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "float64": lambda: switched(torch.set_default_dtype, torch.float64, torch.float32),
    "deterministic": lambda: switched(torch.use_deterministic_algorithms, True, False),
    "default device": lambda: torch.device("meta"),
}
PRIORS = {"analytic": lambda: picture(SDES["vp"]), "network": score_prior}


def operator_for(name: str):
    able = (Masking.random(SHAPE, 0.5, noise=GaussianNoise(0.1)), Classifier(halves))
    return next(op for op in able if name == "auto" or METHODS[name].needs <= op.capabilities)


def measured(operator, n: int = 2):
    return operator.measure(torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(0)), seed=1)


def run(prior, operator, y, name, **arguments):
    return solve(prior, operator, y, **({"n_samples": 2, "n_steps": STEPS, "progress": False} | arguments), method=name)


@pytest.fixture(scope="module")
def plain():
    """Samples without any mode, made once."""
    kept = {}

    def get(kind, name):
        if (kind, name) not in kept:
            operator = operator_for(name)
            kept[kind, name] = run(PRIORS[kind](), operator, measured(operator), name).samples
        return kept[kind, name]

    return get


EVERYWHERE = ("inference_mode", "autocast", "float64")  # where methods failed; in the others some stand for all
SOME = ("mmps", "scoremri", "classifier", "auto")


@pytest.mark.parametrize(
    ("kind", "name", "mode"),
    [
        pytest.param(kind, name, mode, marks=() if mode in EVERYWHERE or name in SOME else pytest.mark.slow)
        for mode in MODES
        for kind, name in [
            *(("analytic", name) for name in (*CONDITIONAL, "auto")),
            ("network", "mmps"),
            ("network", "scoremri"),
        ]
    ],
)
def test_samples_do_not_depend_on_the_caller_s_modes(kind, name, mode, plain):
    prior, operator = PRIORS[kind](), operator_for(name)
    y = measured(operator)
    with MODES[mode]():
        samples = run(prior, operator, y, name).samples
    assert samples.dtype == torch.float32 and not samples.is_inference() and not samples.requires_grad
    close(samples, plain(kind, name))


def all_else(prior, y):
    """What is computed besides `solve`."""
    return [
        *(sample(prior, 2, name, n_steps=STEPS, progress=False) for name in UNCONDITIONAL),
        priors.log_likelihood(prior, y, rtol=0.1, atol=0.1),
        priors.encode(prior, y, 2),
        priors.decode(prior, y, 2),
        priors.log_density(prior, y, 0.5, 1),
        priors.log_density_along(prior, y, 0.5, 2),
    ]


@pytest.fixture(scope="module")
def all_else_plain():
    return all_else(score_prior(), measured(operator_for("mmps")))


@pytest.mark.parametrize("mode", MODES)
def test_what_else_is_computed_does_not_depend_on_them(mode, all_else_plain):
    prior, operator = score_prior(), operator_for("mmps")
    y = measured(operator)
    with MODES[mode]():
        found = all_else(prior, y)
        assert plan(prior, operator, y, 2, "mmps", STEPS).nfe > 0
    for a, b in zip(found, all_else_plain, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("kind", PRIORS)
def test_tensors_made_in_inference_mode(kind):
    """y, operator and prior: autograd would refuse whatever is computed with them."""
    with torch.inference_mode():
        prior = PRIORS[kind]()
        operator = LinearMap(torch.ones(2, 64) / 8, GaussianNoise(0.1), event_shape=SHAPE)
        y = measured(operator)
        assert y.is_inference()
    expected = run(PRIORS[kind](), LinearMap(torch.ones(2, 64) / 8, GaussianNoise(0.1), event_shape=SHAPE), y, "mmps")
    close(run(prior, operator, y, "mmps").samples, expected.samples)
    x = torch.rand(2, *SHAPE)
    torch.testing.assert_close(prior.denoise_vjp(x, 0.5)[1](x), PRIORS[kind]().denoise_vjp(x, 0.5)[1](x))


@pytest.mark.parametrize("boundary", ["circular", "reflect"])
def test_a_blur_under_autocast(boundary):
    prior, operator = score_prior(), Blur.gaussian(0.6, boundary, noise=GaussianNoise(0.1))
    y = measured(operator)
    expected = run(prior, operator, y, "mmps").samples
    with torch.autocast("cpu", torch.bfloat16):
        close(run(prior, operator, y, "mmps").samples, expected)


def test_in_a_thread():
    found = {}
    prior, operator = picture(SDES["vp"]), operator_for("mmps")
    y = measured(operator)
    thread = threading.Thread(target=lambda: found.update(x=run(prior, operator, y, "mmps").samples))
    with torch.inference_mode():
        thread.start()
        thread.join()
    close(found["x"], run(prior, operator, y, "mmps").samples)


class Solved(Dataset):
    """Each entry is a solve, in whatever process asks for it."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        prior, operator = picture(SDES["vp"]), operator_for("mmps")
        return run(prior, operator, measured(operator), "mmps").samples


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch refuses autograd in a fork of a process that used a GPU")
def test_in_a_forked_worker():
    expected = Solved()[0]  # so that the parent has used autograd
    found = next(iter(DataLoader(Solved(), None, num_workers=1, multiprocessing_context="fork", timeout=60)))
    close(found, expected)


class TestRefused:
    """Before the prior is evaluated."""

    prior = Untouchable(SHAPE)

    def test_a_y_that_requires_a_gradient(self):
        operator = operator_for("mmps")
        y = measured(operator).requires_grad_()
        with pytest.raises(ValueError, match=r"y requires a gradient, solve is not differentiable: pass y\.detach\(\)"):
            run(self.prior, operator, y, "mmps")
        prior = picture(SDES["vp"])
        close(run(prior, operator, y.detach(), "mmps").samples, run(prior, operator, y.detach(), "mmps").samples)
        with torch.no_grad():
            run(prior, operator, y, "mmps")

    @pytest.mark.parametrize("function", [priors.log_likelihood, priors.encode, priors.decode])
    def test_an_x_that_requires_a_gradient(self, function):
        with pytest.raises(ValueError, match=r"[xz] requires a gradient, \w+ is not differentiable"):
            function(self.prior, torch.rand(1, *SHAPE, requires_grad=True))

    def test_an_operator_whose_parameters_require_one(self):
        kernel = torch.full((3, 3), 1 / 9, requires_grad=True)
        operator = Blur(kernel, noise=GaussianNoise(0.1))
        with pytest.raises(ValueError, match=r"CircularBlur\.kernel requires a gradient.*detached"):
            run(self.prior, operator, torch.rand(1, *SHAPE), "mmps")

    def test_weights_that_require_one_are_left_alone(self):
        prior, operator = score_prior(), operator_for("mmps")
        assert all(w.requires_grad for w in prior.parameters())
        assert not run(prior, operator, measured(operator), "mmps").samples.requires_grad

    def test_vmap(self):
        operator = operator_for("mmps")
        with pytest.raises(ValueError, match=r"y, on cpu, has no values here.*vmap"):
            torch.func.vmap(lambda y: run(self.prior, operator, y[None], "mmps").samples)(measured(operator))

    def test_the_meta_device(self):
        operator = operator_for("mmps")
        with pytest.raises(ValueError, match="y, on meta, has no values here"):
            run(self.prior, operator, measured(operator).to("meta"), "mmps")
        with pytest.raises(ValueError, match="prior is on the meta device, without values"):
            sample(score_prior().to("meta"), 1)

    def test_a_classifier_without_gradients(self):
        operator = Classifier(torch.no_grad()(halves))
        with pytest.raises(ValueError, match=r"Classifier: the network .* has no gradient"):
            run(self.prior, operator, torch.tensor([0]), "classifier")

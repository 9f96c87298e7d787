"""A picture in tiles is the picture untiled: denoised, scored, and differentiated."""

import copy
import gc
import pickle
import time
import warnings
from functools import partial

import pytest
import torch

import operators
from inverse import solve
from priors import VESDE, DataRange, ScorePrior
from priors.crew import LostProcess, in_order
from priors.nets import LocalConfig, LocalUNet
from priors.threads import one_thread
from priors.tiling import Tiled
from tests.priors.cases import draws, made, score_prior


def prior(size=(70, 93)) -> ScorePrior:
    net = made(LocalUNet, LocalConfig(3, (4, 6), (1, 1), embedding=8))
    return ScorePrior(net, VESDE(0.01, 10.0), (3, *size), range=DataRange(0.4, 0.3)).eval().requires_grad_(False)


@pytest.mark.parametrize("size", [(70, 93), (16, 16), (33, 17), (5, 100)])
@pytest.mark.parametrize("tile", [1, 16, 50])
def test_score_and_denoiser_are_those_untiled(size, tile):
    whole = prior(size)
    tiled, x, t = Tiled(whole, tile), draws(2, 3, *size).float(), torch.tensor([0.2, 0.7])
    assert tiled.tile % 4 == 0 and tiled.margin % 4 == 0 and tiled.margin >= whole.network.receptive_radius
    torch.testing.assert_close(tiled.denoise(x, t), whole.denoise(x, t), rtol=1e-4, atol=1e-5)
    scale = whole.score(x, t).abs().max()
    assert (tiled.score(x, t) - whole.score(x, t)).abs().max() < 1e-4 * scale


def test_a_margin_below_the_radius_would_show():
    whole, x = prior(), draws(1, 3, 70, 93).float()
    tiled = Tiled(whole, 16)
    tiled.margin -= 8
    assert (tiled.denoise(x, 0.5) - whole.denoise(x, 0.5)).abs().max() > 1e-4


def test_backward_passes_are_those_untiled():
    """As often as asked, as methods with conjugate gradients ask, and again with a graph."""
    whole, x = prior(), draws(2, 3, 70, 93).float()
    tiled = Tiled(whole, 32)
    denoised, vjp = tiled.denoise_vjp(x, 0.5)
    expected, expected_vjp = whole.denoise_vjp(x, 0.5)
    torch.testing.assert_close(denoised, expected, rtol=1e-4, atol=1e-5)
    for seed in (1, 2):
        v = draws(2, 3, 70, 93, seed=seed).float()
        torch.testing.assert_close(vjp(v), expected_vjp(v), rtol=1e-3, atol=1e-5)
    second = []
    for p in (tiled, whole):
        u = x.clone().requires_grad_()
        (_, vjp), v = p.denoise_vjp(u, 0.5), draws(2, 3, 70, 93, seed=3).float()
        second.append(torch.autograd.grad(vjp(v).square().sum(), u)[0])
    torch.testing.assert_close(second[0], second[1], rtol=1e-3, atol=1e-4 * float(second[1].abs().max()))


def test_memory_is_that_of_a_tile():
    """What autograd keeps between the passes: the parts that go in, not what is computed of them."""
    kept = {}
    for name, p in (("whole", prior((256, 256))), ("tiled", Tiled(prior((256, 256)), 64))):
        storages: dict[int, int] = {}

        def pack(tensor, storages=storages):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        x = draws(1, 3, 256, 256).float()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            _graph = p.denoise_vjp(x, 0.5)
        kept[name] = sum(storages.values())
    assert kept["tiled"] < 0.2 * kept["whole"]


def test_what_cannot_be_tiled_is_refused():
    with pytest.raises(ValueError, match="does not declare its receptive field"):
        Tiled(score_prior())
    with pytest.raises(ValueError, match="tile = 0: expected an integer >= 1; pixels"):
        Tiled(prior(), 0)


@pytest.fixture(scope="module")
def several():
    tiled = Tiled(prior(), 16, processes=2)
    yield tiled
    if tiled._crew is not None:
        tiled._crew.close()


@pytest.mark.parametrize("t", [0.5, torch.tensor(0.5), torch.tensor([0.2, 0.7])])
def test_two_processes_compute_what_one_does(several, t):
    """Bit for bit: denoiser and backward passes, whose tiles overlap and are added in one order."""
    with one_thread():
        one, x, v = Tiled(several.prior, 16), draws(2, 3, 70, 93).float(), draws(2, 3, 70, 93, seed=1).float()
        assert torch.equal(several.denoise(x, t), one.denoise(x, t))
        assert torch.equal(several.denoise_vjp(x, t)[1](v), one.denoise_vjp(x, t)[1](v))
        assert torch.equal(several.denoise(x.double(), t), one.denoise(x.double(), t))
    assert all(process.is_alive() for process in several._crew.processes)
    assert "processes=2" in repr(several) and "processes" not in repr(one)


def test_a_solve_does_not_depend_on_the_number_of_processes(several):
    operator = operators.Blur.gaussian(1.0, noise=operators.GaussianNoise(0.05))
    warnings.simplefilter("ignore")  # the network is not trained
    y = operator.measure(draws(1, 3, 70, 93).float() * 0.1 + 0.5, seed=0)
    with one_thread():
        found = [
            solve(p, operator, y, 1, "mmps", 2, progress=False).samples for p in (several, Tiled(several.prior, 16))
        ]
    assert torch.equal(*found)


def test_an_error_in_a_process_is_shown(several):
    several.denoise(draws(1, 3, 70, 93).float(), 0.5)
    with pytest.raises(RuntimeError, match=r"a process that evaluates tiles failed:(.|\n)*Traceback"):
        several._crew.evaluate(0, "denoised", torch.zeros(1, 7, 16, 16), 0.5, None)


def test_a_killed_process_is_an_error_and_no_hang(several):
    x = draws(1, 3, 70, 93).float()
    several.denoise(x, 0.5)
    crew = several._crew
    crew.processes[0].kill()
    with pytest.raises(LostProcess, match=r"ended, with the exit code -9: .* smaller tiles"):
        several.denoise(x, 0.5)
    assert several._crew is None and not crew.processes[0].is_alive()


def test_processes_end_with_the_prior():
    tiled = Tiled(prior((40, 40)), 16, processes=2)
    tiled.denoise(draws(1, 3, 40, 40).float(), 0.5)
    process = tiled._crew.processes[0]
    twin = copy.deepcopy(tiled)
    assert twin._crew is None and pickle.loads(pickle.dumps(tiled))._crew is None
    assert twin.in_bfloat16().processes == 2
    del tiled
    gc.collect()
    process.join(5)
    assert not process.is_alive()


@pytest.mark.parametrize("fails", [0, 1, 2, None])
def test_results_are_taken_in_order(fails):
    """By evaluators of unlike speed; the error of one ends all."""

    def evaluator(k):
        def evaluate(task):
            time.sleep(0.002 * k)
            if k == fails and task > 5:
                raise ValueError(f"of {k}")
            return task**2

        return evaluate

    taken = []
    call = partial(in_order, range(60), [evaluator(k) for k in range(3)], lambda task, found: taken.append(found))
    if fails is None:
        call()
    else:
        with pytest.raises(ValueError, match=f"of {fails}"):
            call()
    # after an error any number may have been taken: an earlier task can still be in work when a later one fails
    assert taken == [n**2 for n in range(60)][: 60 if fails is None else len(taken)]


def test_processes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="processes = 0: expected an integer >= 1"):
        Tiled(prior(), 16, processes=0)
    strange = prior()
    strange.predict = lambda *_: None
    with pytest.raises(TypeError, match="cannot be sent to another process"):
        Tiled(strange, 16, processes=2).denoise(torch.zeros(1, 3, 40, 40), 0.5)

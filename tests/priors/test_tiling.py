"""A picture in tiles is the picture untiled: denoised, scored, and differentiated."""

import pytest
import torch

from priors import VESDE, DataRange, ScorePrior
from priors.nets import LocalConfig, LocalUNet
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

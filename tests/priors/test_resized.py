"""One network, pictures of any size: the event shape is what the caller says."""

import pytest
import torch

import priors
from priors import VESDE, DataRange, Moments, ScorePrior, checkpoints
from priors.nets import LocalConfig, LocalUNet
from tests.priors.cases import draws, made, score_prior


def prior() -> ScorePrior:
    net = made(LocalUNet, LocalConfig(3, (4, 6), (1, 1), embedding=8))
    return ScorePrior(net, VESDE(0.01, 10.0), (3, 16, 16), range=DataRange(0.4, 0.3)).eval()


def test_it_is_the_same_function():
    small = prior()
    large = small.resized((3, 21, 40))
    x = draws(2, 3, 21, 40).float()
    assert large.event_shape == (3, 21, 40) and small.event_shape == (3, 16, 16) and not large.training
    assert large.network is small.network and large.variance == small.variance
    torch.testing.assert_close(large.denoise(x, 0.4), small.denoise(x, 0.4))
    assert small.resized((3, 16, 16)) is small


def test_samples_have_the_shape_and_moments_of_one_size_stay_behind():
    small = prior()
    small.moments = Moments.isotropic((3, 16, 16))
    large = small.resized((3, 20, 24))
    assert large.moments is None and small.resized((3, 16, 16)).moments is not None
    z = large.sde.sample_terminal((2, *large.event_shape), priors.RowRNG.rows(0, 2))
    assert priors.decode(large, z, n_steps=3).shape == (2, 3, 20, 24)


@pytest.mark.parametrize("shape", [(1, 20, 20), (3, 20), (3, 2, 20), (3, 20, 2)])
def test_shapes_it_cannot_have(shape):
    with pytest.raises(ValueError, match=r"expected \(3, H, W\) with H and W of at least 3"):
        prior().resized(shape)


def test_a_network_of_one_size_refuses():
    with pytest.raises(ValueError, match=r"network only takes \(1, 8, 8\); resize pictures to that size"):
        score_prior().resized((1, 16, 16))


def test_loading_for_a_size(tmp_path):
    checkpoints.save(tmp_path, prior())
    assert priors.load(tmp_path).event_shape == (3, 16, 16)
    large = priors.load(tmp_path, event_shape=(3, 30, 17), sde=priors.VPSDE())
    assert large.event_shape == (3, 30, 17) and large.sde == priors.VPSDE()
    checkpoints.save(tmp_path / "fixed", score_prior())
    assert priors.load(tmp_path / "fixed", event_shape=(1, 8, 8)).event_shape == (1, 8, 8)
    with pytest.raises(ValueError, match="resize pictures to that size"):
        priors.load(tmp_path / "fixed", event_shape=(1, 9, 9))

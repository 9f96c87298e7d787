"""The network for pictures of any size: what it sees, where it works, and that its rows are independent."""

import pytest
import torch

from priors.nets import LocalConfig, LocalUNet, build, spec
from priors.nets.local import one_channel
from tests.priors.cases import draws, made

SHAPES = [((6,), (1,)), ((4, 6), (1, 2)), ((4, 4, 4), (2, 1, 1)), ((4, 4, 6), (1, 2, 1))]


def local(channels=(4, 6), blocks=(1, 2), image_channels=1) -> LocalUNet:
    return made(LocalUNet, LocalConfig(image_channels, channels, blocks, embedding=8)).double()


@pytest.mark.parametrize(("channels", "blocks"), SHAPES)
def test_the_receptive_field_is_what_gradients_say(channels, blocks):
    """The inputs of an output pixel, for one of every phase of the grid: exactly up to the radius, and none beyond."""
    net = local(channels, blocks)
    n, middle = 2 * (net.receptive_radius // net.stride + 2) * net.stride, (net.receptive_radius // net.stride + 2)
    x = draws(1, 1, n, n).requires_grad_()
    y, reached = net(x, draws(1)), []
    for phase in range(net.stride):
        p = middle * net.stride + phase
        (gradient,) = torch.autograd.grad(y[0, 0, p, p], x, retain_graph=True)
        for seen in (gradient[0, 0].abs().sum(0), gradient[0, 0].abs().sum(1)):
            where = seen.nonzero().flatten()
            reached += [int(p - where.min()), int(where.max() - p)]
    assert max(reached) == net.receptive_radius


def test_one_changed_pixel_changes_its_neighbourhood_only():
    net, x = local(), draws(1, 1, 96, 80)
    other = x.clone()
    other[0, 0, 40, 30] += 1.0
    changed = (net(other, draws(1)) - net(x, draws(1))).abs()[0, 0]
    rows, columns = changed.nonzero().unbind(1)
    r = net.receptive_radius
    assert 40 - r <= rows.min() and rows.max() <= 40 + r and 30 - r <= columns.min() and columns.max() <= 30 + r
    assert len(rows) > 500


@pytest.mark.parametrize("size", [(5, 5), (5, 8), (17, 9), (31, 46), (64, 64)])
def test_pictures_of_any_size(size):
    net = local((4, 4, 6), (1, 1, 1), image_channels=3)
    assert net.stride == 8 and net.minimum == 5
    x = draws(2, 3, *size)
    y = net(x, draws(2))
    assert y.shape == x.shape
    torch.testing.assert_close(net(x[1:], draws(2)[1:]), y[1:])


def test_what_a_size_adds_is_only_near_its_border():
    """The upper left of a picture is that of its upper left part, away from where the part was cut."""
    net, x, c = local(), draws(1, 1, 64, 71), draws(1)
    far = 40 - net.receptive_radius
    torch.testing.assert_close(net(x[..., :40, :40], c)[..., :far, :far], net(x, c)[..., :far, :far])


def test_it_moves_with_the_picture():
    net, c = local(), draws(1)
    x = draws(1, 1, 96, 96)
    r, s = net.receptive_radius, net.stride
    moved = net(x[..., s:, s:], c)[..., r:-r, r:-r]
    torch.testing.assert_close(moved, net(x, c)[..., s + r : -r, s + r : -r])


@pytest.mark.parametrize("size", [(4, 8), (8, 4), (1, 1)])
def test_too_small_a_picture_is_refused(size):
    with pytest.raises(ValueError, match="expected at least 5 each way; enlarge it"):
        local((4, 4, 6), (1, 1, 1))(draws(1, 1, *size), draws(1))


@pytest.mark.parametrize("fields", [{"channels": ()}, {"blocks": (1,)}, {"channels": (4, 0), "blocks": (1, 1)}])
def test_shapes_that_are_none(fields):
    with pytest.raises(ValueError, match=r"expected (one entry per level|a list of at least 1|an integer >= 1)"):
        LocalConfig(**fields)


def test_a_card_describes_it_and_gradients_reach_all_of_it():
    net = local((4, 4, 6), (1, 2, 1))
    assert spec(build(spec(net))) == spec(net)
    net(draws(2, 1, 16, 16), draws(2)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


def test_one_channel_of_colours_is_their_mean_on_grey_pictures():
    colour, grey, x, c = local(image_channels=3), local(), draws(2, 1, 12, 14), draws(2)
    grey.load_state_dict(one_channel(colour.state_dict(), 3))
    torch.testing.assert_close(grey(x, c), colour(x.expand(-1, 3, -1, -1), c).mean(1, keepdim=True))
    assert (grey(x, c) - x).abs().max() > 0.1  # not a map that any weights would give

import itertools
import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from priors.nets import Encoder, EncoderConfig, NCSNpp, UNetConfig, build, spec
from priors.nets.layers import Attention, FIRConvDown, FourierEmbedding, PositionalEmbedding, Resample
from tests.priors.cases import draws, made, network

NCSNPP = {"embedding": "fourier", "fir": True, "input_pyramid": "residual"}
FFHQ = {"image_size": 256, "multipliers": (1, 1, 2, 2, 2, 2, 2), "res_blocks": 2, "embedding": "fourier", "fir": True}


@pytest.mark.parametrize(
    ("fields", "millions", "tensors"),
    [
        (NCSNPP, 62.76, 570),
        (NCSNPP | {"res_blocks": 8}, 107.59, 962),
        ({}, 61.80, 564),
        ({"res_blocks": 8}, 106.63, 956),
        ({"block": "ddpm", "res_blocks": 2}, 35.22, 308),
        (FFHQ | {"input_pyramid": "sum", "output_pyramid": True}, 65.57, 644),
    ],
    ids=["ncsnpp", "ncsnpp deep", "ddpmpp", "ddpmpp deep", "ddpm", "ffhq256"],
)
def test_the_papers_networks_have_the_papers_parameters(fields, millions, tensors):
    with torch.device("meta"):
        parameters = list(NCSNpp(UNetConfig(**fields)).parameters())
    assert len(parameters) == tensors
    assert round(sum(p.numel() for p in parameters) / 1e6, 2) == millions


CHOICES = [
    {"block": block, "input_pyramid": into, "output_pyramid": out, "embedding": embedding, "fir": fir, "patch": patch}
    for block, into, out, embedding, fir, patch in itertools.product(
        ("biggan", "ddpm"), (None, "sum", "residual"), (False, True), ("positional", "fourier"), (False, True), (1, 2)
    )
]


@pytest.mark.parametrize("fields", CHOICES, ids=lambda fields: "-".join(map(str, fields.values())))
def test_every_choice(fields):
    """Shape kept, rows independent, and the label and every pixel matter."""
    net = network(image_channels=2, multipliers=(1, 2), attention=(4,), **fields).eval()
    x, c = draws(3, 2, 8, 8).float(), torch.tensor([0.1, 0.5, 0.9])
    with torch.no_grad():
        y = net(x, c)
        alone = net(x[1:2], c[1:2])
        other_label = net(x[1:2], c[2:])
    assert y.shape == x.shape
    torch.testing.assert_close(alone, y[1:2], rtol=1e-4, atol=1e-5)
    assert (other_label - alone).abs().max() > 1e-4
    x.requires_grad_()
    gradient = torch.autograd.grad(net(x, c)[0].square().sum(), x)[0]
    assert gradient[0].abs().min() > 0 and gradient[1:].abs().max() == 0


@pytest.mark.parametrize("fields", CHOICES[::7], ids=lambda fields: "-".join(map(str, fields.values())))
def test_a_gradient_reaches_every_parameter(fields):
    # in float64, where a gradient of rounding is told from one that is there
    net = network(multipliers=(1, 2), attention=(4, 8), **fields).double()
    net(draws(2, 1, 8, 8), torch.tensor([0.3, 0.7], dtype=torch.float64)).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        if not name.endswith(".k.bias"):  # adds the same to every key, which the softmax does not see
            assert parameter.grad.abs().max() > 1e-9, name


def test_a_fresh_network_answers_about_zero():
    with torch.no_grad():
        y = NCSNpp(UNetConfig(1, 8, 8, (1, 2), 1, (4,)))(torch.randn(2, 1, 8, 8), torch.tensor([0.1, 0.9]))
    assert y.abs().max() < 1e-3


def filtered(image, taps, up, down, pad):
    """Stuff zeros, pad, correlate with the (symmetric) taps, keep one pixel in ``down``: by loops."""
    h, w = image.shape
    stuffed = torch.zeros(h * up, w * up, dtype=image.dtype)
    stuffed[::up, ::up] = image
    padded = F.pad(stuffed, (*pad, *pad))
    rows, columns = padded.shape[0] - len(taps) + 1, padded.shape[1] - len(taps) + 1
    kernel = torch.outer(taps, taps)
    out = torch.stack(
        [(padded[i : i + len(taps), j : j + len(taps)] * kernel).sum() for i in range(rows) for j in range(columns)]
    )
    return out.view(rows, columns)[::down, ::down]


TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 8


def test_fir_resampling_by_loops():
    x = draws(1, 2, 6, 6)
    up, down = Resample("up", fir=True).double()(x), Resample("down", fir=True).double()(x)
    for c in range(2):
        torch.testing.assert_close(up[0, c], filtered(x[0, c], 2 * TAPS, up=2, down=1, pad=(2, 1)))
        torch.testing.assert_close(down[0, c], filtered(x[0, c], TAPS, up=1, down=2, pad=(1, 1)))


def test_fir_convolution_by_loops():
    x, layer = draws(1, 1, 6, 6), FIRConvDown(1, 1).double()
    nn.init.constant_(layer.get_parameter("conv.bias"), 0.3)
    weight = layer.get_parameter("conv.weight")[0, 0]
    blurred = filtered(x[0, 0], TAPS, up=1, down=1, pad=(2, 2))
    windows = [[blurred[i : i + 3, j : j + 3] for j in range(0, 6, 2)] for i in range(0, 6, 2)]
    expected = torch.stack([torch.stack([(w * weight).sum() for w in row]) for row in windows]) + 0.3
    torch.testing.assert_close(layer(x)[0, 0], expected)


def test_plain_resampling():
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    expected = torch.tensor([[1.0, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]])
    assert torch.equal(Resample("up", fir=False)(x)[0, 0], expected)
    assert Resample("down", fir=False)(x).item() == 2.5


def test_embeddings():
    c = torch.tensor([0.0, 3.0])
    positional = PositionalEmbedding(6)(c)
    phase = 3 / torch.tensor([1, 100, 1e4])
    torch.testing.assert_close(positional[1], torch.cat([phase.sin(), phase.cos()]))
    fourier = FourierEmbedding(5, scale=16.0)
    phase = 2 * torch.pi * 3 * fourier.get_buffer("W")
    torch.testing.assert_close(fourier(c)[1], torch.cat([phase.sin(), phase.cos()]))
    assert "W" in fourier.state_dict()  # drawn at random, so it must travel with the weights


def test_attention_by_hand():
    layer, x = made(Attention, 4).double(), draws(1, 4, 2, 3)
    h = layer.norm(x)[0].flatten(1).T
    weights = (layer.q(h) @ layer.k(h).T / 4**0.5).softmax(1)
    expected = (x[0] + layer.out(weights @ layer.v(h)).T.view(4, 2, 3)) / 2**0.5
    torch.testing.assert_close(layer(x)[0], expected)


def test_encoder():
    net = made(Encoder, EncoderConfig(1, 8, channels=8, multipliers=(1, 2), classes=3)).eval()
    x, c = draws(3, 1, 8, 8).float(), torch.tensor([0.1, 0.5, 0.9])
    logits = net(x, c)
    assert logits.shape == (3, 3)
    torch.testing.assert_close(net(x[1:2], c[1:2]), logits[1:2], rtol=1e-4, atol=1e-5)
    assert (net(x[:1], c[1:2]) - logits[:1]).abs().max() > 1e-3
    logits.square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("net", [network(patch=2), Encoder(EncoderConfig(1, 8, channels=8, classes=3))])
def test_a_spec_builds_the_same(net):
    again = build(json.loads(json.dumps(spec(net))))
    assert again.config == net.config
    again.load_state_dict(net.state_dict())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UNetConfig(image_size=28), "image_size 28: expected a multiple of .* = 8; use fewer multipliers"),
        (lambda: UNetConfig(patch=3), "image_size 32: expected a multiple .* = 24"),
        (lambda: UNetConfig(embedding="learned"), "embedding = 'learned': expected one of"),
        (lambda: UNetConfig(block="resnet"), "block = 'resnet'"),
        (lambda: UNetConfig(input_pyramid="skip"), "input_pyramid = 'skip'"),
        (lambda: EncoderConfig(image_size=30), "image_size 30: expected a multiple of 4"),
        (lambda: build({"type": "vit"}), "network type 'vit': expected one of"),
        (lambda: build({"type": "ncsnpp", "width": 3}), "of network 'ncsnpp': .*width"),
        (lambda: Resample("sideways", fir=True), "factor 'sideways': expected 'up' or 'down'"),
    ],
)
def test_bad_configs_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_network_that_is_not_ours_has_no_card():
    with pytest.raises(ValueError, match="cannot describe a Linear"):
        spec(torch.nn.Linear(2, 2))


def test_attention_can_be_differentiated_twice():
    """Fused kernels cannot, and densities of guided flows need it."""
    layer, x = made(Attention, 4).double(), draws(2, 4, 2, 3)
    assert torch.autograd.gradgradcheck(layer, (x.requires_grad_(),))

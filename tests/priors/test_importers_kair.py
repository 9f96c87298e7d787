"""State dicts in KAIR's layout against deepinv's networks with the same random weights."""

import numpy as np
import pytest
import torch

import priors
from priors.importers.kair import natural
from tests.priors.cases import draws

LEVELS = (0.01, 0.05, 0.1, 0.15, 0.19)


@pytest.fixture(scope="module")
def models():
    return pytest.importorskip("deepinv.models")


def randomised(network):
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for parameter in network.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape))
    return network.eval().requires_grad_(False)


def sequence(layers, step=2):
    """Convolutions as a sequence with a ReLU after each."""
    return {f"model.{step * i}.{name}": v for i, layer in enumerate(layers) for name, v in layer.state_dict().items()}


def ffdnet(models, channels=3):
    """(deepinv's network, state dict): KAIR gives the level as one channel where deepinv gives one of each pixel."""
    network = randomised(models.FFDNet(4, 8, channels, pretrained=None))
    weights = sequence([getattr(block, "0", block) for block in network.blocks])
    first, n = weights["model.0.weight"], 4 * channels
    weights["model.0.weight"] = torch.cat([first[:, :n], first[:, n:].sum(1, keepdim=True)], 1)
    return network, weights


def drunet(models, channels=3):
    network = randomised(models.DRUNet(channels, channels, (4, 8, 8, 8), 2, pretrained=None))
    return network, network.state_dict()


def dncnn(models, channels=3):
    """deepinv adds what KAIR takes away."""
    network = randomised(models.DnCNN(channels, channels, 4, nf=8, pretrained=None))
    weights = sequence([network.in_conv, *network.conv_list, network.out_conv])
    return network, weights | {name: -weights[name] for name in ("model.6.weight", "model.6.bias")}


def scunet(models, channels=3):
    """Two blocks in one stage, so that windows are shifted too; all weights random, of attention too."""
    network = models.SCUNet(channels, [2, 1, 1, 1, 1, 1, 1], 64, pretrained=None)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for name, value in network.named_parameters():
            scale = value[0].numel() ** -0.5 if name.endswith("weight") and value.ndim > 1 else 0.5
            value.copy_(scale * torch.randn(value.shape))
    return network.eval().requires_grad_(False), network.state_dict()


RANGE = {"sigma_min": 0.01, "sigma_max": 50 / 255}
NETWORKS = {"ffdnet": (ffdnet, None), "drunet": (drunet, None), "dncnn": (dncnn, "dncnn-blind"),
            "scunet": (scunet, RANGE)}  # fmt: skip
LARGEST = {"ffdnet": 75 / 255, "drunet": 50 / 255, "dncnn": 55 / 255, "scunet": 50 / 255}


def saved(path, weights):
    torch.save(weights, path)
    return f"kair:{path}"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_denoiser_is_the_official_one(tmp_path, models, name, channels):
    make, config = NETWORKS[name]
    network, weights = make(models, channels)
    prior = priors.load(saved(tmp_path / "a.pth", weights), config=config, event_shape=(channels, 32, 40))
    assert prior.sigma_max == LARGEST[name] and prior.differentiable
    x0, z = draws(2, channels, 32, 40).sigmoid().float(), draws(2, channels, 32, 40, seed=1).float()
    for sigma in LEVELS:
        x = x0 + sigma * z
        expected, found = network(x, sigma), prior.denoise(x, prior.sde.time(torch.tensor(sigma)))
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
    levels = torch.tensor(LEVELS[:2])
    each = torch.cat([network(x0[i : i + 1], float(levels[i])) for i in range(2)])
    assert (prior.denoise(x0, prior.sde.time(levels)) - each).abs().max() < 1e-5 * each.abs().max()


def test_plain_arrays_are_the_same_prior(tmp_path, models):
    _, weights = ffdnet(models)
    np.savez(tmp_path / "a.npz", **{name: value.numpy() for name, value in weights.items()})
    found, expected = (
        priors.load(source, event_shape=(3, 16, 16))
        for source in (f"kair:{tmp_path / 'a.npz'}", saved(tmp_path / "a.pth", weights))
    )
    x = draws(1, 3, 16, 16).float()
    assert torch.equal(found.denoise(x, 0.5), expected.denoise(x, 0.5))


@pytest.mark.parametrize("name", ["ffdnet", "drunet", "scunet"])
def test_other_sizes_are_padded_by_repetition(tmp_path, models, name):
    network, weights = NETWORKS[name][0](models)
    prior = priors.load(saved(tmp_path / "a.pth", weights), config=NETWORKS[name][1], event_shape=(3, 33, 37))
    x = draws(1, 3, 33, 37).float()
    by = {"ffdnet": (34, 38), "drunet": (40, 40), "scunet": (64, 64)}[name]
    rows, columns = (torch.arange(n).clamp_max(m - 1) for n, m in zip(by, (33, 37), strict=True))
    expected = network(x[:, :, rows][:, :, :, columns], 0.1)[..., :33, :37]
    found = prior.denoise(x, prior.sde.time(torch.tensor(0.1)))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_batch_norms(tmp_path, models):
    """Of older files: merged into the convolutions by hand, they give a file of today."""
    _, weights = dncnn(models)
    norm = {"weight": 1 + 0.1 * draws(8), "bias": draws(8, seed=1), "running_mean": draws(8, seed=2),
            "running_var": draws(8, seed=3).square() + 0.5}  # fmt: skip
    norm = {name: value.float() for name, value in norm.items()}
    gain = norm["weight"] / (norm["running_var"] + 1e-4).sqrt()
    old, merged = {}, dict(weights)
    for i in range(4):
        at = (0, 2, 5, 8)[i]
        old |= {f"model.{at}.{name}": weights[f"model.{2 * i}.{name}"] for name in ("weight", "bias")}
        if i in (1, 2):
            old |= {f"model.{at + 1}.{name}": value for name, value in norm.items()}
            old[f"model.{at + 1}.num_batches_tracked"] = torch.tensor(1)
            merged[f"model.{2 * i}.weight"] = weights[f"model.{2 * i}.weight"] * gain.view(-1, 1, 1, 1)
            shifted = weights[f"model.{2 * i}.bias"] - norm["running_mean"]
            merged[f"model.{2 * i}.bias"] = shifted * gain + norm["bias"]
    found, expected = (
        priors.load(saved(tmp_path / f"{n}.pth", w), config="dncnn-blind", event_shape=(3, 9, 9))
        for n, w in enumerate((old, merged))
    )
    x = draws(1, 3, 9, 9).float()
    torch.testing.assert_close(found.denoise(x, 0.5), expected.denoise(x, 0.5), rtol=1e-4, atol=1e-5)


def test_above_its_levels_it_is_the_gaussian_of_natural_pictures(tmp_path, models):
    _, weights = ffdnet(models)
    bare = {name.removeprefix("model."): value for name, value in weights.items()}  # without the module
    wide = priors.VESDE(0.01, 50.0)
    prior = priors.load(saved(tmp_path / "a.pth", bare), wide, event_shape=(3, 16, 16))
    assert prior.sde == wide
    x, s2 = draws(2, 3, 16, 16).float(), 4.0
    moments = natural(3).sized((3, 16, 16))
    expected = moments.mean + moments.apply(lambda v: v / (v + s2), x - moments.mean)
    torch.testing.assert_close(prior.denoise(x, wide.time(torch.tensor(2.0))), expected, rtol=1e-4, atol=1e-5)
    default = priors.load(saved(tmp_path / "b.pth", weights))
    assert default.sde.sigma_max == 75 / 255 and default.event_shape == (3, 128, 128)
    again = default.resized((3, 16, 16))
    assert torch.equal(again.moments.variances, moments.variances) and again.denoiser is default.denoiser


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("ffdnet", {"event_shape": (1, 8, 8)}, r"event_shape = \(1, 8, 8\): expected \(3, H, W\) .* at least 8"),
        ("ffdnet", {"event_shape": (3, 8, 7)}, r"event_shape = \(3, 8, 7\): expected \(3, H, W\) .* at least 8"),
        ("ffdnet", {"event_shape": (3, 8, 8), "config": "dncnn-blind"}, "is a ffdnet; pass none"),
        ("dncnn", {"event_shape": (3, 8, 8)}, "config = None: .* does not say for which noise levels"),
        ("scunet", {"event_shape": (3, 8, 8)}, "is a SCUNet, and does not say .* pass config = {'sigma_min'"),
        ("scunet", {"event_shape": (3, 8, 8), "config": "dncnn-blind"}, "is a SCUNet"),
        ("ffdnet", {"event_shape": (3, 8, 8), "config": {"sigma": 1}}, "expected sigma_max"),
        ("ffdnet", {"event_shape": (3, 8, 8), "config": {"sigma_max": -1.0}}, "sigma_max = -1.0"),
    ],
)
def test_bad_arguments(tmp_path, models, name, arguments, message):
    source = saved(tmp_path / "a.pth", NETWORKS[name][0](models)[1])
    with pytest.raises(ValueError, match=message):
        priors.load(source, **arguments)


def test_other_files(tmp_path, models):
    _, weights = ffdnet(models)
    contents = {
        "of no FFDNet, DRUNet, DnCNN or SCUNet": {"a.weight": torch.zeros(1)},
        "5 channels in and 12 out": weights | {"model.0.weight": torch.zeros(8, 5, 3, 3)},
        "1 tensors missing, the first model.2.bias": {k: v for k, v in weights.items() if k != "model.2.bias"},
        "m_tail.weight": {"m_head.weight": torch.zeros(1)},
        r"of no .* SCUNet \('relative_position_params'\)": {"m_head.0.weight": torch.zeros(64, 3, 3, 3)},
        "1 tensors missing, the first m_body.0.conv1_1.bias": {
            k: v for k, v in scunet(models)[1].items() if k != "m_body.0.conv1_1.bias"
        },
    }
    for message, content in contents.items():
        with pytest.raises(ValueError, match=message):
            priors.load(saved(tmp_path / "a.pth", content), event_shape=(3, 8, 8))


def test_a_pickle_that_would_run_code(tmp_path):
    class Prints:
        def __reduce__(self):
            return print, ("run",)

    with pytest.raises(ValueError, match=r"names [\w.]*print, which may run code"):
        priors.load(saved(tmp_path / "a.pth", {"model.0.weight": Prints()}), event_shape=(3, 8, 8))

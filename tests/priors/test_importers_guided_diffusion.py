"""A state dict of guided-diffusion against azula's copy of the authors' network, with random weights."""

import numpy as np
import pytest
import torch

import priors
from priors.importers import guided_diffusion
from priors.importers.guided_diffusion import PRESETS, deduced, ladder
from priors.importers.torch_file import Uninitialised
from priors.nets.adm import ADMConfig, ADMUNet
from tests.priors.cases import draws

TINY = {"image_size": 8, "head_channels": 16, "schedule": "linear"}
NETWORKS = {  # fields of the authors' UNetModel; config
    "ffhq": ({}, {}),
    "new order of attention": ({"use_new_attention_order": True}, {"new_order": True, "schedule": "cosine"}),
    "classes": ({"num_classes": 4, "channel_mult": (0.5, 1), "num_res_blocks": 2}, {}),
    "heads, sums and convolutions": (
        {"use_scale_shift_norm": False, "resblock_updown": False, "num_heads": 2, "num_head_channels": -1},
        {"heads": 2},
    ),
    "fixed variance": ({"out_channels": 3}, {}),
}


@pytest.fixture
def official(monkeypatch):
    """Makes the authors' network; without checkpoints of activations, for which torch loads its compiler."""
    unet = pytest.importorskip("azula.plugins.adm._src.unet")
    monkeypatch.setattr(unet, "checkpoint", lambda function, *arguments, use_reentrant: function(*arguments))
    return lambda **fields: made(unet, fields)


def made(unet, fields):
    small = {
        "image_size": 8, "in_channels": 3, "model_channels": 64, "out_channels": 6, "num_res_blocks": 1,
        "attention_resolutions": (2,), "channel_mult": (1, 2), "num_head_channels": 16, "use_scale_shift_norm": True,
        "resblock_updown": True,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = unet.UNetModel(**(small | fields)).eval().requires_grad_(False)
        for parameter in network.parameters():  # layers that start as the zero map included
            parameter.copy_(0.1 * torch.randn(parameter.shape))
    return network


def saved(path, network, **extra):
    torch.save(network.state_dict() if not extra else {"state_dict": network.state_dict(), **extra}, path)
    return f"guided-diffusion:{path}"


def alphas_bar(schedule):
    """The product of 1 - beta, as the paper of each schedule has it."""
    if schedule == "linear":
        return np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    f = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.cumprod(1 - np.minimum(1 - f[1:] / f[:-1], 0.999))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_denoiser_is_the_official_one(tmp_path, official, name):
    fields, added = NETWORKS[name]
    network, config = official(**fields), TINY | added
    if "heads" in config:
        del config["head_channels"]
    prior = priors.load(saved(tmp_path / "a.pt", network), config=config)
    labels = None
    if network.num_classes:
        prior, labels = prior.conditioned(3), torch.tensor([3, 3])
    bars, z = alphas_bar(config.get("schedule", "linear")), draws(2, 3, 8, 8, seed=1).float()
    for i in (0, 10, 250, 700, 980):
        alpha, sigma = float(bars[i] ** 0.5), float((1 - bars[i]) ** 0.5)
        u = alpha * draws(2, 3, 8, 8).sigmoid().float() + sigma * z
        with torch.no_grad():
            eps = network(u, torch.tensor([i, i]), labels)[:, :3]
            found = prior.denoise((u + alpha) / 2, (i + 1) / 1000)
        expected = ((u - sigma * eps) / alpha + 1) / 2
        assert float(prior.sde.sigma((i + 1) / 1000)) == pytest.approx(sigma / 2, rel=1e-5)
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_the_steps_between_levels_are_the_schedules():
    for schedule in ("linear", "cosine"):
        sde, bars = ladder(schedule), alphas_bar(schedule)
        for i in (1, 500, 999):
            a, v = sde.bridge((i + 1) / 1000, i / 1000)
            assert float(a) ** 2 == pytest.approx(bars[i] / bars[i - 1], rel=1e-6)
            assert float(v) == pytest.approx((1 - bars[i] / bars[i - 1]) / 4, rel=1e-6)


@pytest.mark.parametrize("name", PRESETS)
def test_the_preset_of_an_official_file_is_found(name):
    """By its shapes alone; two of the size of the released files, of which the millions of parameters are known."""
    with Uninitialised(), torch.device("meta"):
        weights = ADMUNet(PRESETS[name].network).state_dict()
    network, schedule = guided_diffusion.chosen(deduced(weights, "file"), "file", None)
    assert (network, schedule) == (PRESETS[name].network, PRESETS[name].schedule)
    millions = {"ffhq-256": 93.6, "imagenet-256-uncond": 552.8, "imagenet-64": 295.9, "imagenet-128": 421.5}
    if name in millions:
        assert sum(v.numel() for v in weights.values()) / 1e6 == pytest.approx(millions[name], abs=0.06)


def test_half_precision_and_wrapped_state_dicts(tmp_path, official):
    network = official()
    expected = priors.load(saved(tmp_path / "a.pt", network.half()), config=TINY)
    assert {p.dtype for p in expected.network.parameters()} == {torch.float32}
    found = priors.load(saved(tmp_path / "b.pt", network, step=3), config=TINY)
    x = draws(1, 3, 8, 8).float()
    assert torch.equal(found.denoise(x, 0.4), expected.denoise(x, 0.4)) and not found.training


def test_save_pretrained_gives_the_same_prior(tmp_path, official):
    prior = priors.load(saved(tmp_path / "a.pt", official(num_classes=4)), config=TINY)
    priors.save_pretrained(prior, tmp_path / "folder", data="none")
    again, x = priors.load(tmp_path / "folder"), draws(1, 3, 8, 8).float()
    assert again.sde == prior.sde
    assert torch.equal(again.conditioned(2).denoise(x, 0.4), prior.conditioned(2).denoise(x, 0.4))
    with pytest.raises(ValueError, match="cannot describe a Labelled"):
        priors.save_pretrained(prior.conditioned(1), tmp_path / "other")
    with pytest.raises(TypeError, match=r"prior of type Gaussian: expected a priors.ScorePrior"):
        priors.save_pretrained(priors.Gaussian(torch.zeros(2), torch.eye(2), priors.VESDE()), tmp_path / "other")


class TestErrors:
    @pytest.mark.parametrize(
        ("config", "message"),
        [
            (None, "config = None: .* no preset .*ffhq-256"),
            ("ffhq-256", r"does not fit config = 'ffhq-256': .*'channels': \(128, 64\)"),
            ("ffhq", "config = 'ffhq': expected one of ffhq-256"),
            ({"image_size": 8}, "expected an image_size, and heads or head_channels"),
            ({"image_size": 9, "heads": 1}, "image_size 9 with 2 multipliers"),
            ({"image_size": 8, "heads": 5}, "heads = 5: expected a divisor"),
            ({"image_size": 8, "heads": 1, "channels": 3}, r"config with \['channels'\]: expected keys among"),
            ({"image_size": 8, "heads": 1, "schedule": "sigmoid"}, "expected one of linear, cosine"),
        ],
    )
    def test_configs(self, tmp_path, official, config, message):
        with pytest.raises(ValueError, match=message):
            priors.load(saved(tmp_path / "a.pt", official()), config=config)

    def test_damaged_and_foreign_files(self, tmp_path, official):
        state = official().state_dict()
        files = {
            "lacks time_embed.0.weight": {"conv.weight": torch.zeros(1)},
            "1 tensors missing, the first input_blocks.1.0.in_layers.0.bias": {
                k: v for k, v in state.items() if k != "input_blocks.1.0.in_layers.0.bias"
            },
            "1 tensors unknown, the first extra": state | {"extra": torch.zeros(1)},
            "tensors of no network of the family": state | {"out.2.weight": torch.zeros(5, 64, 3, 3)},
            r"has a dict of \['step'\]": {"step": 3},
            "has a list": [1],
        }
        for message, content in files.items():
            torch.save(content, tmp_path / "a.pt")
            with pytest.raises(ValueError, match=message):
                priors.load(f"guided-diffusion:{tmp_path}/a.pt", config=TINY)
        torch.save(state, tmp_path / "a.pt")
        (tmp_path / "b.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:-1000])
        with pytest.raises(ValueError, match=r"b.pt is not a readable torch file|b.pt is no pickle"):
            priors.load(f"guided-diffusion:{tmp_path}/b.pt", config=TINY)
        with pytest.raises(FileNotFoundError, match="no guided-diffusion state dict at"):
            priors.load(f"guided-diffusion:{tmp_path}/none.pt", config=TINY)

    def test_a_class_is_needed(self, tmp_path, official):
        prior = priors.load(saved(tmp_path / "a.pt", official(num_classes=4)), config=TINY)
        with pytest.raises(ValueError, match=r"of 4 classes: choose one, prior.conditioned\(label\)"):
            prior.denoise(draws(1, 3, 8, 8).float(), 0.5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channels": 30}, "multiples of 32"),
        ({"multipliers": ()}, "expected at least one"),
        ({"image_size": 100}, "a multiple of"),
        ({"head_channels": 60}, "head_channels = 60: expected a divisor of the 512"),
        ({"new_order": "no"}, "new_order = 'no'"),
    ],
)
def test_configs_of_the_network_are_checked(fields, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ADMConfig(**fields)

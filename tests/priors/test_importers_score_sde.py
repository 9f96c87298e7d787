"""An official file must give, through our network, what the official network's definition gives."""

import io
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import priors
from priors import VESDE, checkpoints
from priors.importers import score_sde
from priors.importers.score_sde_configs import CONFIGS
from priors.importers.torch_file import Uninitialised
from tests.priors.cases import draws
from tests.priors.official_layout import Official, Spec, checkpoint, randomised

VE = {"centered": False, "scale_by_sigma": True}
TINY = {"image_size": 8, "channels": 16, "multipliers": (1, 2), "res_blocks": 1, "attention": (4,)}

# config that stands for the family -> (official network, ours), both tiny; DDPM's groups of 32 need 128 channels
FAMILIES: dict[str, tuple[Spec, dict]] = {
    "cifar10/ve/ncsnpp_continuous": (
        Spec(embedding_type="fourier", fir=True, progressive_input="residual", ch_mult=(1, 2, 2), **VE),
        TINY | {"multipliers": (1, 2, 2)},
    ),
    "ffhq_256/ve/ncsnpp_continuous": (
        Spec(
            embedding_type="fourier", fir=True, progressive_input="input_skip", progressive="output_skip", nf=32,
            ch_mult=(1, 1, 2), num_res_blocks=2, sigma_max=348.0, num_scales=2000, **VE,
        ),
        TINY | {"channels": 32, "multipliers": (1, 1, 2), "res_blocks": 2},
    ),
    "cifar10/ve/ncsnpp": (Spec(fir=True, progressive_input="residual", **VE), TINY),
    "cifar10/ve/ddpm": (Spec(name="ddpm", nf=128, **VE), TINY | {"channels": 128}),
    "cifar10/vp/ddpmpp_continuous": (Spec(num_res_blocks=2), TINY | {"res_blocks": 2}),
    "cifar10/vp/ncsnpp_continuous": (Spec(fir=True, progressive_input="residual"), TINY),
    "cifar10/vp/ddpmpp": (Spec(), TINY),
    "cifar10/vp/ddpm": (Spec(name="ddpm", nf=128), TINY | {"channels": 128}),
    "cifar10/subvp/ddpm_continuous": (Spec(name="ddpm", nf=128), TINY | {"channels": 128}),
    "cifar10/subvp/ncsnpp_continuous": (Spec(fir=True, progressive_input="residual"), TINY),
}  # fmt: skip


@pytest.fixture
def tiny(monkeypatch):
    """Shrink every config of `FAMILIES`, SDE and prediction as they are."""
    for name, (_, fields) in FAMILIES.items():
        monkeypatch.setitem(CONFIGS, name, replace(CONFIGS[name], network=replace(CONFIGS[name].network, **fields)))


def official_score(config: str, network: Official, x, i: int):
    """Score in image units at the time of level i of 1000 (0: least noise), and that time, by the paper's formulas."""
    _, sde, kind = config.split("/")
    continuous = kind.endswith("continuous")
    if sde == "ve":
        t = i / 999
        sigma = 0.01 * (network.spec.sigma_max / 0.01) ** t
        label = torch.full((len(x),), sigma if continuous else float(999 - i))
        return network(x, label), t, sigma  # the network divides by sigma itself
    if continuous:
        t = max(i, 1) / 999  # there is no noise at 0
        integral = 0.1 * t + 0.5 * 19.9 * t**2
        std = (1 - np.exp(-integral)) ** (0.5 if sde == "vp" else 1.0)
        alpha, label = np.exp(-0.5 * integral), 999 * t
    else:
        t, label = (i + 1) / 1000, float(i)
        bar = np.prod(1 - np.linspace(0.1 / 1000, 20.0 / 1000, 1000)[: i + 1])
        alpha, std = bar**0.5, (1 - bar) ** 0.5
    # x = (u + alpha) / 2 for u = alpha (2 x0 - 1) + std z, so d/dx = 2 d/du
    u = 2 * x - float(alpha)
    return -2 * network(u, torch.full((len(x),), label)) / float(std), t, float(std) / 2


@pytest.mark.parametrize("level", [0, 7, 400, 999])
@pytest.mark.parametrize("config", FAMILIES)
def test_the_score_is_the_official_one(tiny, tmp_path, config, level):
    # 1e-4 of the score's size: float32 sums in another order; log sigma times frequencies of 100 costs 4e-5 alone
    network = randomised(FAMILIES[config][0])
    prior = priors.load(f"score_sde:{checkpoint(tmp_path / 'c.pth', network)}", config=config)
    x0, z = draws(2, 3, 8, 8).sigmoid().float(), draws(2, 3, 8, 8, seed=1).float()
    with torch.no_grad():
        _, t, sigma = official_score(config, network, x0, level)
        x = float(prior.sde.alpha(t)) * x0 + sigma * z
        expected, _, _ = official_score(config, network, x, level)
        found = prior.score(x, t)
    assert float(prior.sde.sigma(t)) == pytest.approx(sigma, rel=1e-5)
    assert expected.std() * sigma > 0.1  # the network says something
    # the score is (alpha D - x) / sigma^2: cancellation of |x| ulps over sigma
    lost = 4 * 2**-24 * float(x.abs().max()) / sigma
    torch.testing.assert_close(
        found * sigma, expected * sigma, rtol=1e-4, atol=1e-4 * float(expected.std() * sigma) + lost
    )


COUNTS = {
    "cifar10/ve/ncsnpp_continuous": (59, 62.76, 570),
    "cifar10/ve/ncsnpp_deep_continuous": (95, 107.59, 962),
    "cifar10/vp/ddpmpp_continuous": (55, 61.80, 564),
    "cifar10/subvp/ddpmpp_continuous": (55, 61.80, 564),
    "cifar10/vp/ddpmpp_deep_continuous": (91, 106.63, 956),
    "cifar10/vp/ncsnpp_continuous": (58, 62.69, 570),
    "cifar10/vp/ddpm": (37, 35.22, 308),
    "ffhq_256/ve/ncsnpp_continuous": (77, 65.57, 644),
}


@pytest.mark.parametrize("config", COUNTS)
def test_full_size_networks_have_the_official_modules(config):
    with Uninitialised():
        network = score_sde.NCSNpp(CONFIGS[config].network)
    entries = score_sde.layout(network).values()
    trained = [entry for entry in entries if entry.trained]
    millions = sum(torch.Size(entry.shape).numel() for entry in trained) / 1e6
    assert (len(list(score_sde.modules(network))), round(millions, 2), len(trained)) == COUNTS[config]


FULL = Spec(size=32, nf=128, ch_mult=(1, 2, 2, 2), num_res_blocks=4, attn_resolutions=(16,))
LARGE = replace(
    FULL, embedding_type="fourier", fir=True, progressive="output_skip", progressive_input="input_skip", **VE
)
SPECS = {
    "cifar10/ve/ncsnpp_continuous": replace(
        FULL, embedding_type="fourier", fir=True, progressive_input="residual", **VE
    ),
    "cifar10/vp/ddpmpp_deep_continuous": replace(FULL, num_res_blocks=8),
    "cifar10/vp/ddpm": replace(FULL, name="ddpm", num_res_blocks=2),
    "church/vp/ddpm": replace(FULL, name="ddpm", size=256, ch_mult=(1, 1, 2, 2, 4, 4), num_res_blocks=2),
    "ffhq_256/ve/ncsnpp_continuous": replace(LARGE, size=256, ch_mult=(1, 1, 2, 2, 2, 2, 2), num_res_blocks=2),
    "ffhq/ve/ncsnpp_continuous": replace(
        LARGE, size=1024, nf=16, ch_mult=(1, 2, 4, 8, 16, 32, 32, 32), num_res_blocks=1
    ),
}


@pytest.mark.parametrize("config", SPECS)
def test_full_size_networks_have_the_official_names_in_order(config):
    with Uninitialised():
        official, ours = Official(SPECS[config]), score_sde.NCSNpp(CONFIGS[config].network)
    expected = {name: (tuple(value.shape), value.requires_grad) for name, value in official.named_parameters()}
    found = {name: (entry.shape, entry.trained) for name, entry in score_sde.layout(ours).items()}
    assert list(found.items()) == list(expected.items())


def test_every_network_has_each_tensor_once():
    for config in {config.network for config in CONFIGS.values()}:
        with Uninitialised():
            network = score_sde.NCSNpp(config)
        assert sorted(e.name for e in score_sde.layout(network).values()) == sorted(network.state_dict()), config


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_predicts_by_its_name(name):
    continuous = name.endswith("continuous")
    by_sde = {"ve": "score01" if continuous else "smld", "vp": "noise" if continuous else "ddpm", "subvp": "noise"}
    assert CONFIGS[name].prediction == by_sde[name.split("/")[1]]
    assert type(CONFIGS[name].sde).__name__ == {
        "score01": "VESDE", "smld": "VESDE", "ddpm": "LadderSDE",
        "noise": "SubVPSDE" if "/subvp/" in name else "VPSDE",
    }[CONFIGS[name].prediction]  # fmt: skip


CONFIG = "cifar10/ve/ncsnpp_continuous"
SPEC = FAMILIES[CONFIG][0]


class TestWhichWeights:
    def test_averages_by_default_and_the_last_step_on_request(self, tiny, tmp_path):
        averaged, last = randomised(SPEC, seed=0), randomised(SPEC, seed=1)
        with torch.no_grad():  # the frozen matrix is in 'model' alone
            last.all_modules[0].W.copy_(averaged.all_modules[0].W)
        path = checkpoint(tmp_path / "c.pth", averaged, last)
        x = draws(2, 3, 8, 8).float()
        for ema, network in ((True, averaged), (False, last)):
            prior = score_sde.load(path, CONFIG, ema=ema)
            with torch.no_grad():
                expected = network(x, torch.full((2,), 0.01 * 5000**0.5))
                torch.testing.assert_close(prior.score(x, 0.5), expected, rtol=1e-4, atol=1e-4)

    def test_names_without_module_and_the_old_file_format(self, tiny, tmp_path):
        network, path = randomised(SPEC), tmp_path / "c.pth"
        state = torch.load(checkpoint(path, network, prefix=""), weights_only=False)
        expected = score_sde.load(path, CONFIG).network.state_dict()
        torch.save(state, path, _use_new_zipfile_serialization=False)
        found = score_sde.load(path, CONFIG).network.state_dict()
        assert all(torch.equal(found[name], value) for name, value in expected.items())

    def test_numpy_floats_under_their_old_and_new_names(self, tiny, tmp_path):
        """The optimizer's learning rate is one; files written before numpy 2 call its maker numpy.core."""
        path = checkpoint(tmp_path / "new.pth", randomised(SPEC))
        with pytest.raises(pickle.UnpicklingError):  # so the test's file holds what the official ones hold
            torch.load(path, weights_only=True)
        names = set()
        with zipfile.ZipFile(path) as new, zipfile.ZipFile(tmp_path / "old.pth", "w") as old:
            for item in new.infolist():
                data = new.read(item)
                names |= {name for name in (b"numpy._core.multiarray", b"numpy.core.multiarray") if name in data}
                old.writestr(item, data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
        assert names
        for name in ("new.pth", "old.pth"):
            assert score_sde.load(tmp_path / name, CONFIG).event_shape == (3, 8, 8)

    def test_it_is_ready_for_use(self, tiny, tmp_path):
        prior = score_sde.load(checkpoint(tmp_path / "c.pth", randomised(SPEC)), CONFIG)
        assert not prior.training and not any(p.requires_grad for p in prior.parameters())
        assert prior.event_shape == (3, 8, 8) and prior.sde == VESDE(0.01, 50.0) and prior.variance == 0.25

    def test_it_can_be_kept_as_a_checkpoint_of_ours(self, tiny, tmp_path):
        prior = score_sde.load(checkpoint(tmp_path / "c.pth", randomised(SPEC)), CONFIG)
        checkpoints.save(tmp_path / "ours", prior)
        x = draws(2, 3, 8, 8).float()
        assert torch.equal(priors.load(tmp_path / "ours").denoise(x, 0.3), prior.denoise(x, 0.3))


class Dangerous:
    def __reduce__(self):
        return (print, ("code ran while a checkpoint was read",))


def broken(kind: str, path, tmp):
    state = torch.load(path, weights_only=False)
    if kind == "missing":
        return tmp / "none.pth"
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if kind == "empty":
        path.write_bytes(b"")
    if kind == "text":
        path.write_text("<html>quota exceeded</html>")
    if kind == "dangerous":
        torch.save(state | {"step": Dangerous()}, path)
    if kind == "dangerous pickle":
        path.write_bytes(pickle.dumps(Dangerous(), protocol=2))
    if kind == "weights alone":
        torch.save(state["model"], path)
    if kind == "no averages":
        torch.save({"model": state["model"]}, path)
    if kind == "few averages":
        state["ema"]["shadow_params"].pop()
        torch.save(state, path)
    if kind == "shifted averages":  # of the right number, as if the frozen matrix had been among them
        shadow = state["ema"]["shadow_params"]
        state["ema"]["shadow_params"] = [torch.zeros(16), *shadow[:-1]]
        torch.save(state, path)
    if kind == "a tensor less":
        name = "module.all_modules.3.weight"
        del state["model"][name]
        del state["ema"]["shadow_params"][4]
        torch.save(state, path)
    return path


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("missing", FileNotFoundError, "no file at .*none.pth"),
        ("truncated", ValueError, "not a readable torch file|no pickle of tensors"),
        ("empty", ValueError, "not a readable torch file"),
        ("text", ValueError, "no pickle of tensors|not a readable torch file"),
        ("dangerous", ValueError, "no pickle of tensors and numbers alone.*may run code"),
        ("dangerous pickle", ValueError, "no pickle of tensors and numbers alone.*may run code"),
        ("weights alone", ValueError, "expected 'model' with named tensors"),
        ("no averages", ValueError, "no moving averages.*ema=False"),
        ("few averages", ValueError, r"\d+ moving averages for \d+ trained tensors"),
        ("shifted averages", ValueError, "the first of another shape at all_modules.1.weight"),
        ("a tensor less", ValueError, "1 tensors missing, the first all_modules.3.weight"),
    ],
)
def test_bad_files_are_refused(tiny, tmp_path, capfd, kind, error, message):
    path = broken(kind, checkpoint(tmp_path / "c.pth", randomised(SPEC)), tmp_path)
    with pytest.raises(error, match=message):
        priors.load(f"score_sde:{path}", config=CONFIG)
    assert "code ran" not in capfd.readouterr().out


def test_a_number_of_another_kind_is_refused(tmp_path):
    """Only numpy's float64 is let through besides what torch allows."""
    buffer = io.BytesIO()
    torch.save({"model": {"a": torch.zeros(1)}, "step": np.complex64(1)}, buffer)
    (tmp_path / "c.pth").write_bytes(buffer.getvalue())
    assert zipfile.is_zipfile(tmp_path / "c.pth")
    with pytest.raises(ValueError, match="no pickle of tensors and numbers alone"):
        score_sde.load(tmp_path / "c.pth", CONFIG)


class TestWrongConfig:
    def test_the_misfit_and_what_fits_are_named(self, tiny, tmp_path):
        path = checkpoint(tmp_path / "c.pth", randomised(SPEC))
        with pytest.raises(ValueError, match=rf"config = 'ffhq_256/ve.*another shape.*it fits \['{CONFIG}'\]"):
            score_sde.load(path, "ffhq_256/ve/ncsnpp_continuous")

    def test_a_ladder_of_other_noise_is_told_apart(self, monkeypatch, tmp_path):
        """Bedroom and FFHQ have one network and 378 or 348 as the largest noise."""
        spec, fields = FAMILIES["ffhq_256/ve/ncsnpp_continuous"]
        for name in ("bedroom/ve/ncsnpp_continuous", "ffhq_256/ve/ncsnpp_continuous"):
            monkeypatch.setitem(CONFIGS, name, replace(CONFIGS[name], network=replace(CONFIGS[name].network, **fields)))
        path = checkpoint(tmp_path / "c.pth", randomised(spec))
        assert score_sde.load(path, "ffhq_256/ve/ncsnpp_continuous").sde == VESDE(0.01, 348.0)
        with pytest.raises(ValueError, match="its largest noise level is 348 for 378"):
            score_sde.load(path, "bedroom/ve/ncsnpp_continuous")

    @pytest.mark.parametrize(
        ("source", "config", "message"),
        [
            ("score_sde:c.pth", None, "config = None: .*cifar10/ve/ncsnpp_continuous"),
            ("score_sde:c.pth", "cifar10/ve/ncsn", "NCSN and NCSNv2 .* not built here"),
            ("score_sde:c.pth", "celeba/ve/ncsnv2_64", "NCSN and NCSNv2 .* not built here"),
            ("score_sde:c.pth", "cifar10/ve/vit", "expected DATASET/SDE/NETWORK, one of .*church/vp/ddpm"),
            ("fashion-mnist", CONFIG, "only .*'score_sde'.* take it"),
        ],
    )
    def test_bad_names(self, tmp_path, monkeypatch, source, config, message):
        monkeypatch.chdir(tmp_path)
        Path("c.pth").touch()
        with pytest.raises(ValueError, match=message):
            priors.load(source, config=config)

    def test_another_noising_is_refused(self, tiny, tmp_path):
        path = checkpoint(tmp_path / "c.pth", randomised(SPEC))
        with pytest.raises(ValueError, match="only a preconditioned network can be used with another SDE"):
            priors.load(f"score_sde:{path}", priors.VPSDE(), config=CONFIG)


def test_this_reference_can_tell():
    """Swapping two of the query, key and value matrices is seen: the comparison is no tautology."""
    network, x = randomised(FAMILIES["cifar10/vp/ddpmpp"][0]), draws(1, 3, 8, 8).float()
    before = network(x, torch.tensor([3.0]))
    attention = next(module for module in network.all_modules if type(module).__name__ == "Attn")
    attention.NIN_0, attention.NIN_2 = attention.NIN_2, attention.NIN_0
    assert (network(x, torch.tensor([3.0])) - before).abs().max() > 1e-2


def test_a_missing_file_is_named_before_a_missing_config(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file at .*none\.pth"):
        priors.load(f"score_sde:{tmp_path / 'none.pth'}")
    (tmp_path / "a.pth").touch()
    with pytest.raises(ValueError, match="config = None: an official file does not say"):
        priors.load(f"score_sde:{tmp_path / 'a.pth'}")

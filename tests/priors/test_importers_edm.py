"""A converted pickle against deepinv's copy of EDM's networks, with random weights.

The pickle is of the layout that EDM's code writes: classes by their source, inside a plain pickle of torch modules.
"""

import io
import json
import pickle
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import priors
from priors import VESDE, VPSDE
from priors.importers import edm, edm_convert
from priors.sde import LadderSDE
from tests.priors.cases import draws

OWN = {"UpDownConv2d": "Conv2d", "UNetBlock": "UNetBlock", "Linear": "Linear", "GroupNorm": "GroupNorm",
       "PositionalEmbedding": "PositionalEmbedding", "FourierEmbedding": "FourierEmbedding", "NCSNpp": "SongUNet",
       "ADMUNet": "DhariwalUNet"}  # fmt: skip
SMALL = {
    "img_resolution": 8, "model_channels": 128, "channel_mult": (1, 2), "num_blocks": 1, "attn_resolutions": (4,),
    "pretrained": None,
}  # fmt: skip
NETWORKS = {
    "DDPM++": ("NCSNpp", {"model_type": "ddpm"}),
    "NCSN++": ("NCSNpp", {"model_type": "ncsn", "label_dim": 3}),
    "ADM": ("ADMUNet", {"label_dim": 3, "augment_dim": 2}),
}


@pytest.fixture(scope="module")
def networks():
    models = pytest.importorskip("deepinv.models")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = {name: getattr(models, cls)(**SMALL | fields) for name, (cls, fields) in NETWORKS.items()}
        for network in found.values():
            network.eval().requires_grad_(False)
            for parameter in network.parameters():  # layers that start near zero included
                parameter.copy_(0.05 * torch.randn(parameter.shape))
    return found


class Persistent:
    """An object whose pickle is that of EDM's persistent classes: source, name and state."""

    def __init__(self, name, state):
        self.meta = sys.modules["dnnlib.util"].EasyDict(
            type="class", version=6, module_src="raise SystemExit('the source was run')", class_name=name, state=state
        )

    def __reduce__(self):
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,), None


@pytest.fixture
def pickled(tmp_path, monkeypatch):
    """Writes the pickle of a network: (network, class of its preconditioning, its arguments, the network's) -> path."""
    util, persistence = ModuleType("dnnlib.util"), ModuleType("torch_utils.persistence")
    util.EasyDict = type("EasyDict", (dict,), {"__module__": "dnnlib.util"})
    exec("def _reconstruct_persistent_obj(meta): raise SystemExit", persistence.__dict__)
    persistence._reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    for name in ("dnnlib", "torch_utils"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "dnnlib.util", util)
    monkeypatch.setitem(sys.modules, "torch_utils.persistence", persistence)

    def persistent(module, **arguments):
        modules = {name: None if child is None else persistent(child) for name, child in module._modules.items()}
        if (name := OWN.get(type(module).__name__)) is None:
            shell = torch.nn.ModuleDict()
            shell.__dict__["_modules"] = modules
            return shell
        return Persistent(name, vars(module) | {"_modules": modules, "_init_args": (), "_init_kwargs": arguments})

    def write(network, precond="EDMPrecond", arguments=(), **of_network):
        inner = persistent(network, **{"dropout": 0.1, "resample_filter": [1, 1]} | of_network)
        state = {"_modules": {"model": inner}, "_parameters": {}, "_buffers": {}, "skip_scale": np.sqrt(0.5)}
        outer = Persistent(precond, state | {"_init_args": (), "_init_kwargs": util.EasyDict(arguments)})
        path = tmp_path / "network.pkl"
        path.write_bytes(pickle.dumps({"ema": outer, "loss_fn": Persistent("EDMLoss", {"P_mean": -1.2})}))
        return path

    return write


def load(path):
    edm_convert.convert(path, path.with_suffix(".safetensors"))
    return priors.load(f"edm:{path.with_suffix('.safetensors')}")


@pytest.mark.parametrize("name", NETWORKS)
def test_the_denoiser_is_the_official_one(networks, pickled, name):
    network = networks[name]
    prior, labels = load(pickled(network)), None
    if "label_dim" in NETWORKS[name][1]:
        prior, labels = prior.conditioned(2), torch.eye(3)[[2, 2]]
    network._was_trained_on_minus_one_one, network.pixel_std = True, 0.5
    x0, z = draws(2, 3, 8, 8).sigmoid().float(), draws(2, 3, 8, 8, seed=1).float()
    for sigma in (0.002, 0.03, 0.4, 5.0, 39.0):
        t, x = prior.sde.time(torch.tensor(sigma)), x0 + sigma * z
        with torch.no_grad():
            expected, found = network(x, sigma, labels), prior.denoise(x, t)
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_preconditionings_of_a_discrete_or_variance_preserving_network(networks, pickled):
    """c_skip, c_out, c_in and c_noise of table 1 of the paper, written out."""
    network, x0, z = networks["DDPM++"], draws(2, 3, 8, 8).sigmoid(), draws(2, 3, 8, 8, seed=1)
    curve = [np.sin(np.pi / 2 * j / 1000 / 1.008) ** 2 for j in range(1001)]
    u = np.zeros(1001)
    for j in range(1000, 0, -1):
        u[j - 1] = np.sqrt((u[j] ** 2 + 1) / max(curve[j - 1] / curve[j], 0.001) - 1)

    def vp(sigma):  # t = (sqrt(beta_min^2 + 2 beta_d ln(1 + sigma^2)) - beta_min) / beta_d
        return 999 * (np.sqrt(0.01 + 2 * 19.9 * np.log1p(sigma**2)) - 0.1) / 19.9

    tables = {  # class -> (SDE, sigmas of u, c_in, c_noise)
        "VPPrecond": (VPSDE(0.1, 20.0, scale=0.5), (0.1, 1.0, 20.0), lambda s: (s**2 + 1) ** -0.5, vp),
        "VEPrecond": (VESDE(0.01, 50.0), (0.1, 1.0, 20.0), lambda s: 1.0, lambda s: np.log(0.5 * s)),
        "iDDPMPrecond": (
            None, (u[995], u[500], u[20]), lambda s: (s**2 + 1) ** -0.5, lambda s: 999 - np.abs(u - s).argmin(),
        ),
    }  # fmt: skip
    for name, (sde, sigmas, c_in, c_noise) in tables.items():
        prior = load(pickled(network, name))
        assert prior.sde == sde if sde else isinstance(prior.sde, LadderSDE)
        for sigma in sigmas:
            noised = (2 * x0 - 1 + sigma * z).float()  # alpha = 1, as the paper has it
            label = torch.full((2,), float(c_noise(sigma)))
            expected = noised - sigma * network.forward_unet(c_in(sigma) * noised, label)
            if name == "VEPrecond":
                expected = noised + sigma * network.forward_unet(noised, label)
            t = prior.sde.time(torch.tensor(sigma / 2)).float()
            found = prior.denoise(float(prior.sde.alpha(t)) * (noised + 1) / 2, t)
            # the time at which the noise is this is known to 1e-7, of labels up to 1000
            assert (2 * found - 1 - expected).abs().max() < 2e-4 * expected.abs().max(), (name, sigma)


def test_any_sde_serves_a_preconditioned_network(networks, pickled):
    path = pickled(networks["DDPM++"])
    prior, sde = load(path), VPSDE(scale=0.5)
    other = priors.load(f"edm:{path.with_suffix('.safetensors')}", sde)
    x, t = draws(1, 3, 8, 8).sigmoid().float(), 0.5
    ratio = sde.sigma(t) / sde.alpha(t)
    same = other.denoise(float(sde.alpha(t)) * x, t)
    torch.testing.assert_close(same, prior.denoise(x, prior.sde.time(ratio)), rtol=1e-4, atol=1e-4)


class TestClasses:
    def test_guidance_is_affine_in_the_scale(self, networks, pickled):
        prior = load(pickled(networks["ADM"], label_dropout=0.1))
        x, t = draws(2, 3, 8, 8).float(), 0.6
        without, of_class = prior.denoise(x, t), prior.conditioned(1).denoise(x, t)
        assert (without - of_class).abs().max() > 1e-3
        for scale in (0.0, 2.5):
            found = prior.conditioned(1, scale).denoise(x, t)
            torch.testing.assert_close(found, without + scale * (of_class - without), rtol=1e-4, atol=1e-4)
        assert torch.equal(prior.conditioned(2, 3.0).conditioned(1).denoise(x, t), of_class)
        by_number = prior.conditioned(1, 0.0, null=2).denoise(x, t)
        torch.testing.assert_close(by_number, prior.conditioned(2).denoise(x, t))

    def test_a_network_of_classes_alone(self, networks, pickled):
        prior = load(pickled(networks["ADM"]))
        x = draws(1, 3, 8, 8).float()
        with pytest.raises(ValueError, match=r"of 3 classes: choose one, prior.conditioned\(label\)"):
            prior.denoise(x, 0.5)
        with pytest.raises(ValueError, match="guidance_scale = 2: this network was not trained without a class"):
            prior.conditioned(1, 2.0)
        with pytest.raises(ValueError, match="label = 3: expected an integer >= 0 and <= 2"):
            prior.conditioned(3)
        with pytest.raises(ValueError, match="knows no classes"):
            load(pickled(networks["DDPM++"])).conditioned(0)


def test_save_pretrained_gives_the_same_prior(networks, pickled, tmp_path):
    prior = load(pickled(networks["NCSN++"])).conditioned(1)
    with pytest.raises(ValueError, match="cannot describe a Labelled"):
        priors.save_pretrained(prior, tmp_path / "folder")
    whole = load(pickled(networks["NCSN++"]))
    priors.save_pretrained(whole, tmp_path / "folder", data="none")
    again, x = priors.load(tmp_path / "folder").conditioned(1), draws(1, 3, 8, 8).float()
    assert again.sde == prior.sde and torch.equal(again.denoise(x, 0.4), prior.denoise(x, 0.4))


class Opens:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


class TestHostileAndDamagedFiles:
    @pytest.mark.parametrize("where", ["top", "state", "storage"])
    def test_a_pickle_that_would_write_a_file_is_refused(self, tmp_path, networks, pickled, where):
        path, written = tmp_path / "network.pkl", tmp_path / "written"
        if where == "top":
            path.write_bytes(pickle.dumps({"ema": Opens(written)}))
        elif where == "state":
            pickled(networks["DDPM++"], arguments={"model_type": Opens(written)})
        else:  # what the rebuilding of a storage would unpickle in turn
            inner = io.BytesIO()
            torch.save(Opens(written), inner, _use_new_zipfile_serialization=False)
            content = pickle.dumps(inner.getvalue())
            path.write_bytes(b"\x80\x02ctorch.storage\n_load_from_bytes\n" + content[2:-1] + b"\x85R.")
        with pytest.raises(ValueError, match=r"names (io|_io|builtins|__builtin__).open, which|not a readable network"):
            edm_convert.convert(path, tmp_path / "out.safetensors")
        assert not written.exists() and not (tmp_path / "out.safetensors").exists()
        pickle.loads(pickle.dumps(Opens(written))).close()
        assert written.exists()  # so that the test's pickle is one that does

    @pytest.mark.parametrize("name", ["os.system", "builtins.eval", "torch.load", "torch.hub.load", "numpy.load"])
    def test_other_names_are_refused(self, tmp_path, name):
        module, _, function = name.rpartition(".")
        path = tmp_path / "a.pkl"
        path.write_bytes(f"c{module}\n{function}\n(S'x'\ntR.".encode())
        with pytest.raises(ValueError, match=f"names {name}, which may run code, and is not converted"):
            edm_convert.convert(path, tmp_path / "out.safetensors")

    def test_other_contents(self, tmp_path, networks, pickled):
        path = pickled(networks["DDPM++"])
        whole = path.read_bytes()
        for content, message in {
            whole[: len(whole) // 2]: "is not a readable network pickle of EDM, or is truncated",
            b"": "truncated",
            pickle.dumps([1]): "no network under 'ema'",
            pickle.dumps({"ema": 3}): "no network under 'ema'",
        }.items():
            path.write_bytes(content)
            with pytest.raises(ValueError, match=message):
                edm_convert.convert(path, tmp_path / "out.safetensors")
        with pytest.raises(FileNotFoundError, match="no network pickle of EDM"):
            edm_convert.convert(tmp_path / "none.pkl", tmp_path / "out.safetensors")

    def test_the_loader_reads_no_pickle(self, networks, pickled):
        path = pickled(networks["DDPM++"])
        with pytest.raises(ValueError, match=r"network.pkl is a pickle.*python -m priors.importers.edm_convert"):
            priors.load(f"edm:{path}")

    def test_headers_and_weights(self, tmp_path, networks, pickled):
        path = pickled(networks["DDPM++"])
        load(path)
        weights, target = load_file(path.with_suffix(".safetensors")), tmp_path / "a.safetensors"
        names = {part: {"class": cls, "arguments": {}} for part, cls in
                 {"precond": "EDMPrecond", "network": "SongUNet"}.items()}  # fmt: skip
        good = {"format": "edm", "edm": json.dumps(names)}
        unknown = {"format": "edm", "edm": json.dumps(names | {"precond": {"class": "Other", "arguments": {}}})}
        cases = [
            (weights, {}, "has no header of python -m"),
            (weights, {"format": "edm", "edm": "{"}, "has a damaged header"),
            (weights, {"format": "edm", "edm": "{}"}, "has a damaged header"),
            (weights, unknown, "has a Other: expected one of EDMPrecond"),
            ({"a": torch.zeros(1)}, good, "is of no network of EDM"),
            ({k: v for k, v in weights.items() if k != "map_layer1.bias"}, good, "1 tensors missing, the first map_l"),
            (weights | {"extra": torch.zeros(1)}, good, "1 tensors unknown, the first extra"),
        ]
        for tensors, metadata, message in cases:
            save_file(tensors, target, metadata)
            with pytest.raises(ValueError, match=message):
                edm.load(target)
        save_file(weights, target, good)
        assert edm.load(target).event_shape == (3, 8, 8)
        target.write_bytes(target.read_bytes()[:-100])
        with pytest.raises(ValueError, match="is not a readable converted EDM checkpoint"):
            edm.load(target)


def test_the_command(tmp_path, networks, pickled, capsys):
    path, target = pickled(networks["DDPM++"]), tmp_path / "out.safetensors"
    assert edm_convert.main([str(path), str(target)]) == 0 and "EDMPrecond with a SongUNet" in capsys.readouterr().out
    assert edm_convert.main([str(tmp_path / "none.pkl"), str(target)]) == 1
    assert "no network pickle of EDM" in capsys.readouterr().err
    assert edm_convert.main([]) == 2
    assert "usage: python -m priors.importers.edm_convert FILE.pkl OUT.safetensors" in capsys.readouterr().err

"""Checkpoints of k-diffusion against a network written again from the definition, with random weights."""

import json
import math
import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

import priors
from priors import VESDE
from priors.importers import k_diffusion
from priors.nets import KDiffusionConfig
from tests.priors.cases import draws
from tests.priors.k_diffusion_layout import checkpoint, config, denoised, randomised

NETWORKS = {
    "usual": config(),
    "without augmentation, any sigma_data": config(augment_wrapper=False, sigma_data=0.6162),
    "patches and a variance": config(patch_size=2, has_variance=True, sigma_data=None),
    "levels left out": config(skip_stages=1, channels=[32, 64, 64], depths=[1, 1, 2], self_attn_depths=[0, 1, 1]),
    "one channel": config(input_channels=1, input_size=[12, 12], channels=[16, 96, 128], depths=[2, 1, 1],
                          self_attn_depths=[True, False, True]),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_the_denoiser_is_that_of_the_definition(tmp_path, name):
    whole = NETWORKS[name]
    network, model = randomised(whole), whole["model"]
    prior = priors.load(f"k-diffusion:{checkpoint(tmp_path / 'a.pth', network)}", config=whole)
    shape = (model["input_channels"], *model["input_size"])
    assert prior.sde == VESDE(0.005, 40.0) and prior.event_shape == shape and not prior.training
    u0, z = 2 * draws(2, *shape).sigmoid().float() - 1, draws(2, *shape, seed=1).float()
    for sigma in (0.01, 0.1, 0.7, 6.0, 80.0):
        u = u0 + sigma * z
        expected = (denoised(network, model.get("sigma_data", 1.0), u, sigma) + 1) / 2
        t = prior.sde.time(torch.tensor(sigma / 2))
        with torch.no_grad():
            found = prior.denoise((u + 1) / 2, t)
        assert (found - expected).abs().max() < 2e-5 * expected.abs().max()


def test_configs_of_a_file_a_slim_checkpoint_and_the_last_step(tmp_path):
    whole, x = config(), draws(1, 3, 8, 16).float()
    averaged, last = randomised(whole), randomised(whole, seed=1)
    path = checkpoint(tmp_path / "a.pth", averaged, last)
    (tmp_path / "a.json").write_text(json.dumps(whole))
    expected = priors.load(f"k-diffusion:{path}", config=whole).denoise(x, 0.5)
    for source, given in (
        (path, str(tmp_path / "a.json")),
        (checkpoint(tmp_path / "b.pth", averaged, config=whole), None),
    ):
        assert torch.equal(priors.load(f"k-diffusion:{source}", config=given).denoise(x, 0.5), expected)
    slim = tmp_path / "a.safetensors"
    save_file(averaged.state_dict(), slim, {"config": json.dumps(whole, indent=4)})
    assert torch.equal(priors.load(f"k-diffusion:{slim}").denoise(x, 0.5), expected)
    save_file({k: v.half() for k, v in averaged.state_dict().items()}, slim, {"config": json.dumps(whole)})
    half = priors.load(f"k-diffusion:{slim}")
    assert {p.dtype for p in half.network.parameters()} == {torch.float32}
    assert 0 < float((half.denoise(x, 0.5) - expected).norm() / expected.norm()) < 0.02
    other = k_diffusion.load(path, whole, ema=False).denoise(x, 0.5)
    assert torch.equal(other, k_diffusion.load(checkpoint(tmp_path / "c.pth", last), whole).denoise(x, 0.5))
    assert not torch.allclose(other, expected)


def test_save_pretrained_gives_the_same_prior(tmp_path):
    prior = priors.load(f"k-diffusion:{checkpoint(tmp_path / 'a.pth', randomised(config()))}", config=config())
    priors.save_pretrained(prior, tmp_path / "folder")
    again, x = priors.load(tmp_path / "folder"), draws(1, 3, 8, 16).float()
    assert again.sde == prior.sde and torch.equal(again.denoise(x, 0.4), prior.denoise(x, 0.4))


def test_the_network_has_derivatives_of_both_orders(tmp_path):
    """Of attention too, whose fused kernels have no second one."""
    prior = priors.load(f"k-diffusion:{checkpoint(tmp_path / 'a.pth', randomised(config()))}", config=config())
    x, v = draws(1, 3, 8, 16).float().requires_grad_(), draws(1, 3, 8, 16, seed=2).float()
    (first,) = torch.autograd.grad((prior.denoise(x, 0.6) * v).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    assert math.isfinite(float(second.norm())) and float(second.norm()) > 0


class Malicious:
    """A folder is made where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class TestErrors:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (None, r"config = None: .*a.pth has none; pass the path of the JSON file"),
            ({"type": "image_v1"}, r"config with \['type'\]: expected 'model'"),
            ({"model": 3}, "expected 'model' with the fields of a network"),
            (config(type="image_transformer_v1"), "config of a network 'image_transformer_v1': only 'image_v1'"),
            (config(type=None), "config of a network None"),
            (config(mapping_cond_dim=10), "mapping_cond_dim = 10: only networks of the noise"),
            (config(channels=None), "config without 'channels': expected the JSON file"),
            (config(sigma_max=None), "config without 'sigma_max': expected the JSON file"),
            (config(sigma_max="80"), "config's sigma_max = '80': expected a finite number > 0"),
            (config(sigma_data=-1), "config's sigma_data = -1: expected a finite number > 0"),
            (config(sigma_min=90), "sigma_min = 90 and sigma_max = 80: expected the lesser first"),
            (config(depths=3), "config of no network of k-diffusion: depths = 3: expected a list"),
            (config(channels=[32]), "1 channels for 2 depths"),
            (config(input_size=[9, 16]), r"image_size = \(9, 16\): expected multiples of .* = 2"),
            (config(channels=[32, 192]), r"a.pth is not a k-diffusion checkpoint of this config .*another shape, the"),
            (config(depths=[2, 2]), r"tensors missing, the first u_net.d_blocks.0.2"),
            (config(self_attn_depths=[False, False]), "tensors unknown, the first u_net.d_blocks.1.2.norm_in"),
        ],
    )
    def test_configs(self, tmp_path, given, message):
        path = checkpoint(tmp_path / "a.pth", randomised(config()))
        with pytest.raises(ValueError, match=message):
            priors.load(f"k-diffusion:{path}", config=given)

    def test_config_files(self, tmp_path):
        path = checkpoint(tmp_path / "a.pth", randomised(config()))
        with pytest.raises(FileNotFoundError, match=r"none.json"):
            priors.load(f"k-diffusion:{path}", config=f"{tmp_path}/none.json")
        (tmp_path / "b.json").write_text("{")
        with pytest.raises(ValueError, match=r"b.json is not a readable config of k-diffusion"):
            priors.load(f"k-diffusion:{path}", config=f"{tmp_path}/b.json")

    def test_damaged_foreign_and_malicious_files(self, tmp_path):
        network, path, trace = randomised(config()), tmp_path / "a.pth", tmp_path / "trace"
        for content, message in (
            ({"ema": 3}, r"holds \['ema'\]: expected 'model_ema' with named tensors"),
            ([1], "holds list: expected 'model_ema'"),
            ({"model_ema": {"conv.weight": torch.zeros(1)}}, "is not a k-diffusion checkpoint of this config"),
            ({"model_ema": network.state_dict(), "opt": Malicious(trace)}, "which may run code"),
        ):
            torch.save(content, path)
            with pytest.raises(ValueError, match=message):
                priors.load(f"k-diffusion:{path}", config=config())
        path.write_bytes(pickle.dumps(Malicious(trace), protocol=2))
        with pytest.raises(ValueError, match=r"a.pth is no pickle of tensors and numbers|a.pth is not a readable"):
            priors.load(f"k-diffusion:{path}", config=config())
        assert not trace.exists()
        pickle.loads(path.read_bytes())
        assert trace.exists(), "the file does run code"
        whole = checkpoint(path, network).read_bytes()
        path.write_bytes(whole[:-1000])
        with pytest.raises(ValueError, match=r"a.pth is not a readable torch file|a.pth is no pickle"):
            priors.load(f"k-diffusion:{path}", config=config())
        slim = tmp_path / "a.safetensors"
        save_file(network.state_dict(), slim)
        with pytest.raises(ValueError, match=r"config = None: .*a.safetensors has none"):
            priors.load(f"k-diffusion:{slim}")
        save_file(network.state_dict(), slim, {"config": "{"})
        with pytest.raises(ValueError, match=r"a.safetensors has a damaged config in its header"):
            priors.load(f"k-diffusion:{slim}")
        slim.write_bytes(slim.read_bytes()[:-100])
        with pytest.raises(ValueError, match="is not a readable k-diffusion checkpoint"):
            priors.load(f"k-diffusion:{slim}", config=config())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 31}, "width = 31: expected an even number"),
        ({"image_size": (8, 8, 8)}, r"expected \(height, width\)"),
        ({"skipped": 3}, "skipped = 3 and attention"),
        ({"attention": (3,)}, r"attention = \(3,\): expected levels from 0 to 2"),
        ({"channels": (32, 64, 130)}, "130 do not divide"),
        ({"variance": "no"}, "variance = 'no'"),
    ],
)
def test_configs_of_the_network_are_checked(fields, message):
    with pytest.raises((ValueError, TypeError), match=message):
        KDiffusionConfig(**fields)

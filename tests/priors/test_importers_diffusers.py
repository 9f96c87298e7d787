"""A pipeline's prior against what its UNet and its scheduler say, on pipelines saved here: nothing is downloaded."""

import json
import sys

import pytest
import torch

import priors
from priors import VESDE, VPSDE
from tests.priors.cases import draws

diffusers = pytest.importorskip("diffusers")


def unet(**fields):
    small = {
        "sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1, "block_out_channels": (8, 16),
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "norm_num_groups": 4, "attention_head_dim": 8,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        return diffusers.UNet2DModel(**(small | fields)).eval()


def scheduler(kind="DDPM", **fields):
    return getattr(diffusers, f"{kind}Scheduler")(**({"num_train_timesteps": 50} | fields))


def saved(tmp_path, kind="DDPM", network=None, **fields):
    """(Folder, UNet, scheduler) of a pipeline that diffusers itself wrote."""
    network, steps = network or unet(), scheduler(kind, **fields)
    getattr(diffusers, f"{kind}Pipeline")(unet=network, scheduler=steps).save_pretrained(tmp_path / "pipeline")
    return tmp_path / "pipeline", network, steps


LADDERS = {
    "linear": {"beta_schedule": "linear"},
    "scaled_linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "1000 steps": {"num_train_timesteps": 1000},
}
PREDICTIONS = ("epsilon", "sample", "v_prediction")


def noised(steps, i):
    """x0 in [0, 1] and the network's u of it at timestep i, by the scheduler itself."""
    x0, z = draws(2, 1, 8, 8).sigmoid().float(), draws(2, 1, 8, 8, seed=1).float()
    return x0, steps.add_noise(2 * x0 - 1, z, torch.tensor([i, i]))


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("ladder", LADDERS)
@pytest.mark.parametrize("kind", ["DDPM", "DDIM"])
def test_the_denoiser_is_the_schedulers_at_every_level(tmp_path, kind, ladder, prediction):
    """The scheduler's own estimate of x0, which its step returns, is the expected answer."""
    options = LADDERS[ladder] | {"prediction_type": prediction, "clip_sample": False}
    folder, network, steps = saved(tmp_path, kind, **options)
    prior = priors.load(f"diffusers:{folder}")
    n = len(steps.alphas_cumprod)
    steps.set_timesteps(n)
    assert prior.sde.t_min == pytest.approx(1 / n) and prior.event_shape == (1, 8, 8)
    for i in (0, 1, n // 3, n - 2):
        _, u = noised(steps, i)
        t = (i + 1) / n
        alpha = steps.alphas_cumprod[i].double() ** 0.5
        torch.testing.assert_close(prior.sde.alpha(t), alpha)
        torch.testing.assert_close(prior.sde.sigma(t), 0.5 * (1 - alpha**2) ** 0.5)
        with torch.no_grad():
            output = network(u, i).sample
            expected = steps.step(output, i, u).pred_original_sample / 2 + 0.5
            found = prior.denoise((u + alpha.float()) / 2, t)
        # x = (u + alpha) / 2 costs an ulp of u, and the division by alpha multiplies it
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 / float(alpha))


def exchanged(tmp_path, network, steps):
    """A pipeline's folder with another scheduler, as its users exchange it."""
    folder, _, _ = saved(tmp_path, network=network)
    steps.save_pretrained(folder / "scheduler")
    index = json.loads((folder / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", type(steps).__name__]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize("kind", ["PNDM", "DPMSolverMultistep", "EulerDiscrete", "HeunDiscrete", "UniPCMultistep"])
def test_schedulers_of_the_same_levels_give_the_same_prior(tmp_path, kind):
    network = unet()
    expected = priors.load(f"diffusers:{saved(tmp_path, network=network, prediction_type='v_prediction')[0]}")
    options = {"num_train_timesteps": 50, "prediction_type": "v_prediction", "beta_schedule": "linear"}
    options |= {"beta_start": 0.0001, "beta_end": 0.02}  # some have other defaults
    found = priors.load(f"diffusers:{exchanged(tmp_path, network, getattr(diffusers, f'{kind}Scheduler')(**options))}")
    x = draws(2, 1, 8, 8).float()
    assert found.sde == expected.sde and torch.equal(found.denoise(x, 0.4), expected.denoise(x, 0.4))


@pytest.mark.parametrize("kind", ["EDMEuler", "EDMDPMSolverMultistep"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_schedulers_of_edm(tmp_path, kind, prediction):
    """The scheduler's own preconditioning is the expected answer."""
    steps = getattr(diffusers, f"{kind}Scheduler")(prediction_type=prediction, sigma_data=0.6)
    network = unet()
    prior = priors.load(f"diffusers:{exchanged(tmp_path, network, steps)}")
    assert prior.sde == VESDE(0.001, 40.0)
    x0, z = draws(2, 1, 8, 8).sigmoid().float(), draws(2, 1, 8, 8, seed=1).float()
    for sigma in (0.004, 0.1, 1.0, 10.0, 70.0):
        u = 2 * x0 - 1 + sigma * z
        with torch.no_grad():
            output = network(steps.precondition_inputs(u, sigma), steps.precondition_noise(sigma)).sample
            expected = steps.precondition_outputs(u, output, sigma) / 2 + 0.5
            found = prior.denoise((u + 1) / 2, prior.sde.time(torch.tensor(sigma / 2)))
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
    other = priors.load(f"diffusers:{exchanged(tmp_path / 'other', network, steps)}", VPSDE(scale=0.5))
    assert other.sde == VPSDE(scale=0.5)


def test_classes(tmp_path):
    folder, network, _ = saved(tmp_path, network=unet(num_class_embeds=3), clip_sample=False)
    prior, x = priors.load(f"diffusers:{folder}"), draws(2, 1, 8, 8).float()
    with pytest.raises(ValueError, match=r"of 3 classes: choose one, prior.conditioned\(label\)"):
        prior.denoise(x, 0.5)
    alpha, sigma = float(prior.sde.alpha(0.5)), float(prior.sde.sigma(0.5))
    with torch.no_grad():
        eps, none = (network(2 * x - alpha, 24.0, class_labels=torch.tensor([k, k])).sample for k in (1, 2))
        for found, z in (
            (prior.conditioned(1), eps),
            (prior.conditioned(1, guidance_scale=3.0, null=2), none + 3 * (eps - none)),
        ):
            expected = (x - sigma * z - alpha / 2) / alpha + 0.5
            torch.testing.assert_close(found.denoise(x, 0.5), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="a card has names only"):
        priors.save_pretrained(prior, tmp_path / "folder")


@pytest.mark.parametrize("i", [0, 10, 49])
def test_the_score_is_minus_eps_over_sigma(tmp_path, i):
    folder, network, steps = saved(tmp_path)
    prior = priors.load(f"diffusers:{folder}")
    _, u = noised(steps, i)
    bar = float(steps.alphas_cumprod[i])
    with torch.no_grad():
        expected = -2 * network(u, i).sample / (1 - bar) ** 0.5  # d/dx = 2 d/du
        found = prior.score((u + bar**0.5) / 2, (i + 1) / 50)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)  # (alpha D - x) / sigma^2 cancels


def test_the_chain_between_levels_is_the_schedulers(tmp_path):
    folder, _, steps = saved(tmp_path)
    sde = priors.load(f"diffusers:{folder}").sde
    for i in (1, 20, 49):
        a, v = sde.bridge((i + 1) / 50, i / 50)
        assert float(a) == pytest.approx(float((1 - steps.betas[i].double()) ** 0.5), rel=1e-6)
        assert float(v) == pytest.approx(0.25 * float(steps.betas[i]), rel=1e-3)  # of float32 alphas_cumprod


def test_the_label_between_levels_is_a_fraction(tmp_path):
    folder, network, _ = saved(tmp_path)
    prior, t = priors.load(f"diffusers:{folder}"), 0.333
    x = draws(2, 1, 8, 8).float()
    alpha, sigma = float(prior.sde.alpha(t)), float(prior.sde.sigma(t))
    with torch.no_grad():
        eps = network(2 * x - alpha, torch.tensor(50 * t - 1)).sample
        torch.testing.assert_close(
            prior.denoise(x, t), (x - sigma * eps - alpha / 2) / alpha + 0.5, rtol=1e-4, atol=1e-5
        )


def test_learned_embeddings_take_whole_timesteps(tmp_path):
    folder, network, _ = saved(tmp_path, network=unet(time_embedding_type="learned", num_train_timesteps=50))
    prior, x = priors.load(f"diffusers:{folder}"), draws(2, 1, 8, 8).float()
    with torch.no_grad():
        torch.testing.assert_close(prior.network(x, torch.full((2,), 6.7)), network(x, torch.tensor(7)).sample)


def test_a_learned_variance_is_left_out(tmp_path):
    folder, network, _ = saved(tmp_path, network=unet(out_channels=2), variance_type="learned_range")
    prior, x = priors.load(f"diffusers:{folder}"), draws(2, 1, 8, 8).float()
    with torch.no_grad():
        assert torch.equal(prior.network(x, torch.full((2,), 3.0)), network(x, 3.0).sample[:, :1])
    assert prior.denoise(x, 0.5).shape == x.shape


class TestVE:
    @pytest.fixture
    def parts(self, tmp_path):
        network = unet(time_embedding_type="fourier", center_input_sample=True)
        return saved(tmp_path, "ScoreSdeVe", network, sigma_min=0.01, sigma_max=90.0)

    @pytest.mark.parametrize("t", [1e-5, 0.4, 1.0])
    def test_the_score_is_the_networks(self, parts, t):
        folder, network, _ = parts
        prior = priors.load(f"diffusers:{folder}")
        assert prior.sde == VESDE(0.01, 90.0) and prior.variance == 0.25
        sigma = 0.01 * 9000**t
        x = draws(2, 1, 8, 8).sigmoid().float() + sigma * draws(2, 1, 8, 8, seed=1).float()
        with torch.no_grad():
            expected = network(x, torch.full((2,), sigma)).sample
            # the score comes back from D: cancellation of |x| ulps over sigma
            lost = 4 * 2**-24 * float(x.abs().max()) / sigma
            torch.testing.assert_close(prior.score(x, t) * sigma, expected * sigma, rtol=1e-3, atol=1e-3 + lost)

    def test_the_schedulers_noise_levels_are_the_sdes(self, parts):
        folder, _, steps = parts
        steps.set_timesteps(20)
        steps.set_sigmas(20)
        sde = priors.load(f"diffusers:{folder}").sde
        torch.testing.assert_close(sde.sigma(steps.timesteps.double()).float(), steps.sigmas.float())


def test_parts_side_by_side_as_old_pipelines_have_them(tmp_path):
    folder, network, steps = saved(tmp_path)
    expected = priors.load(f"diffusers:{folder}")
    old = tmp_path / "old"
    network.save_pretrained(old)
    steps.save_pretrained(old)
    (old / "model_index.json").write_text((folder / "model_index.json").read_text())
    x = draws(2, 1, 8, 8).float()
    prior = priors.load(f"diffusers:{old}")
    assert torch.equal(prior.denoise(x, 0.3), expected.denoise(x, 0.3)) and prior.sde == expected.sde


def test_it_is_ready_for_use(tmp_path):
    prior = priors.load(f"diffusers:{saved(tmp_path)[0]}")
    assert not prior.training and not any(p.requires_grad for p in prior.parameters())
    x = draws(2, 1, 8, 8).float()
    denoised, vjp = prior.denoise_vjp(x, 0.5)
    assert vjp(denoised).abs().max() > 0
    with pytest.raises(ValueError, match="only a preconditioned network can be used with another SDE"):
        priors.load(f"diffusers:{saved(tmp_path)[0]}", VESDE())


class TestErrors:
    def edited(self, tmp_path, change, name="model_index.json", **fields):
        folder, _, _ = saved(tmp_path, **fields)
        path = folder / name
        path.write_text(json.dumps(change(json.loads(path.read_text()))))
        return folder

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                lambda index: index | {"_class_name": "LDMPipeline", "vqvae": ["diffusers", "VQModel"]},
                "is a LDMPipeline of .*VQModel.*expected a UNet2DModel as unet and a scheduler alone",
            ),
            (lambda index: index | {"unet": ["diffusers", "UNet2DConditionModel"]}, "'unet': 'UNet2DConditionModel'"),
            (
                lambda index: index | {"scheduler": ["diffusers", "UNet2DModel"]},
                "has a UNet2DModel: expected a scheduler",
            ),
            (lambda index: index | {"scheduler": ["diffusers", "absent"]}, "has a absent: expected a scheduler"),
        ],
    )
    def test_pipelines_of_another_kind(self, tmp_path, change, message):
        with pytest.raises(ValueError, match=message):
            priors.load(f"diffusers:{self.edited(tmp_path, change)}")

    def test_a_network_that_embeds_classes_otherwise(self, tmp_path):
        folder, _, _ = saved(tmp_path, network=unet(class_embed_type="timestep"))
        with pytest.raises(ValueError, match="embeds classes by 'timestep': expected a table"):
            priors.load(f"diffusers:{folder}")

    def test_continuous_timesteps(self, tmp_path):
        steps = diffusers.EulerDiscreteScheduler(timestep_type="continuous", prediction_type="v_prediction")
        folder = exchanged(tmp_path, unet(), steps)
        with pytest.raises(ValueError, match="has a EulerDiscreteScheduler: expected one of discrete timesteps"):
            priors.load(f"diffusers:{folder}")

    def test_a_network_without_a_size(self, tmp_path):
        folder, _, _ = saved(tmp_path, network=unet(sample_size=None))
        with pytest.raises(ValueError, match="does not say its image size"):
            priors.load(f"diffusers:{folder}")

    def test_an_unknown_prediction(self, tmp_path):
        change, name = lambda config: config | {"prediction_type": "flow"}, "scheduler/scheduler_config.json"
        with pytest.raises(
            ValueError, match=r"predicts 'flow': expected one of \['epsilon', 'sample', 'v_prediction'\]"
        ):
            priors.load(f"diffusers:{self.edited(tmp_path, change, name)}")

    def test_a_ladder_that_ends_without_signal(self, tmp_path):
        folder, _, _ = saved(tmp_path, trained_betas=[0.1, 0.5, 1.0], num_train_timesteps=3)
        with pytest.raises(ValueError, match=r"the scheduler of .* is no ladder of noise"):
            priors.load(f"diffusers:{folder}")

    @pytest.mark.parametrize("source", ["/no/such/folder", "./none", "none", "a/b/c", ""])
    def test_no_such_folder(self, source):
        with pytest.raises(FileNotFoundError, match="no folder at"):
            priors.load(f"diffusers:{source}")

    def test_a_folder_without_a_pipeline(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no model_index.json: expected what .*save_pretrained"):
            priors.load(f"diffusers:{tmp_path}")

    def test_without_the_package(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "diffusers", None)
        with pytest.raises(ValueError, match=r"needs the package diffusers: install score-inverse\[diffusers\]"):
            priors.load(f"diffusers:{tmp_path}")


class TestHub:
    """The hub stands in a function: what it was asked, and what was said before."""

    def hub(self, monkeypatch, answer):
        asked = []

        def download(name, local_files_only=False):
            asked.append("disk" if local_files_only else "network")
            return answer(local_files_only)

        monkeypatch.setattr(diffusers.DiffusionPipeline, "download", download)
        return asked

    def test_what_lies_on_disk_is_not_downloaded(self, tmp_path, monkeypatch, capsys):
        folder, _, _ = saved(tmp_path)
        asked = self.hub(monkeypatch, lambda local: str(folder))
        assert priors.load("diffusers:owner/name").event_shape == (1, 8, 8)
        assert asked == ["disk"] and "downloading" not in capsys.readouterr().err

    def test_a_download_is_announced(self, tmp_path, monkeypatch, capsys):
        folder, _, _ = saved(tmp_path)
        said = []

        def answer(local):
            if local:
                raise OSError("not there")
            said.append(capsys.readouterr().err)
            return str(folder)

        asked = self.hub(monkeypatch, answer)
        assert priors.load("diffusers:owner/name").event_shape == (1, 8, 8)
        assert asked == ["disk", "network"] and "downloading owner/name from the Hugging Face hub" in said[0]

    def test_offline(self, monkeypatch):
        def answer(local):
            raise ConnectionError("no route to host\nand more")

        self.hub(monkeypatch, answer)
        with pytest.raises(
            FileNotFoundError, match=r"ConnectionError: no route to host\).*go online, or give the folder"
        ):
            priors.load("diffusers:owner/name")

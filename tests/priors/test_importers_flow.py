"""Priors of velocities: against Gaussians and mixtures whose velocity is known, and against diffusers' scheduler."""

import json

import pytest
import torch

import priors
from inverse.predictors import DDIM
from priors import VESDE, VPSDE, DataRange, Gaussian, GaussianMixture, RectifiedFlowSDE, RowRNG, from_velocity
from priors.data import ImageSet
from tests.priors.cases import F64, covariances, draws

END = RectifiedFlowSDE().end
TIMES = [1e-4, 0.03, 0.4, 0.9, 1.0]
ROOT = covariances("dense", 1, 4)[0]
MEAN = 0.5 + 0.3 * draws(4, seed=3)


def curves(path, tau):
    """alpha, sigma and their derivatives by tau, float64, of standard normal noise."""
    tau = tau.double().clone().requires_grad_()
    if path == "linear":
        alpha, sigma = 1 - tau, tau
    else:
        integral = 0.1 * tau + 0.5 * 19.9 * tau**2
        alpha, sigma = torch.exp(-integral / 2), torch.sqrt(-torch.expm1(-integral))
    rates = [torch.autograd.grad(curve.sum(), tau, retain_graph=True)[0] for curve in (alpha, sigma)]
    return [value.detach()[:, None] for value in (alpha, sigma, *rates)]


def of_gaussian(mean, covariance, path, data_at=0, time_scale=1.0):
    """The velocity E[alpha' u0 + sigma' z | u] of N(mean, covariance): by the joint Gaussian of both, row by row."""

    def velocity(u, label):
        tau = label.double() / time_scale
        alpha, sigma, up, rise = curves(path, 1 - tau if data_at else tau)
        rows = []
        for x, a, s, da, ds in zip(u.double(), alpha, sigma, up, rise, strict=True):
            eye = torch.eye(len(mean), dtype=F64)
            cross = a * da * covariance + s * ds * eye
            rows.append(da * mean + cross @ torch.linalg.solve(a**2 * covariance + s**2 * eye, x - a * mean))
        return (torch.stack(rows) * (-1 if data_at else 1)).to(u)

    return velocity


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("data_at", [0, 1])
@pytest.mark.parametrize("path", ["linear", "vp"])
def test_denoiser_and_score_of_a_gaussian(path, data_at, t):
    """In image units, of a network on 2 x - 1 whose times go to 1000."""
    half = of_gaussian(2 * MEAN - 1, 4 * ROOT, path, data_at, 1000.0)
    prior = from_velocity(half, path, event_shape=(4,), range=DataRange(0.5, 0.5), data_at=data_at, time_scale=1000.0)
    exact = Gaussian(MEAN, ROOT, RectifiedFlowSDE(0.5) if path == "linear" else VPSDE(scale=0.5))
    assert prior.sde == exact.sde
    x = draws(3, 4, seed=5)
    torch.testing.assert_close(prior.denoise(x, t), exact.denoise(x, t), rtol=1e-7, atol=1e-8)
    # (alpha D - x) / sigma^2 cancels
    torch.testing.assert_close(
        prior.score(x, t), exact.score(x, t), rtol=1e-6, atol=1e-10 / float(prior.sde.sigma(t)) ** 2
    )


def test_the_velocity_of_a_mixture_on_a_line():
    """In one dimension continuity gives it, p v = -dF / dtau with F the distribution function, whatever the law."""
    weights, means, stds = (
        torch.tensor([0.3, 0.7], dtype=F64),
        torch.tensor([-1.0, 0.6], dtype=F64),
        torch.tensor([0.2, 0.4], dtype=F64),
    )

    def distribution(u, tau):
        spread = torch.sqrt((1 - tau) ** 2 * stds**2 + tau**2)
        return (weights * torch.special.ndtr((u - (1 - tau) * means) / spread)).sum(1)

    def velocity(u, tau):
        u, tau = u.clone().requires_grad_(), tau[:, None].clone().requires_grad_()
        density, change = torch.autograd.grad(distribution(u, tau).sum(), (u, tau))
        return -change / density

    exact = GaussianMixture(means[:, None], (stds**2).view(2, 1, 1), weights, RectifiedFlowSDE())
    prior = from_velocity(velocity, event_shape=(1,), range=DataRange())
    for t in (0.02, 0.3, 0.8):
        x = float(exact.sde.alpha(t)) * exact.sample(50, dtype=F64) + float(exact.sde.sigma(t)) * draws(50, 1, seed=2)
        torch.testing.assert_close(prior.denoise(x, t), exact.denoise(x, t), rtol=1e-6, atol=1e-6)


def test_a_time_per_row_and_another_sde():
    """Any SDE serves as a path, in its own time: VE, whose velocity is sigma' E[z]."""
    exact, times = Gaussian(MEAN, ROOT, VESDE(0.01, 5.0)), torch.tensor([0.1, 0.5, 0.9], dtype=F64)

    def velocity(x, t):
        sigma = exact.sde.sigma(t)[:, None]
        return (x - exact.denoise(x, t)) / sigma * (exact.sde.g2(t)[:, None] / (2 * sigma))

    prior = from_velocity(velocity, exact.sde, event_shape=(4,), range=DataRange())
    x = draws(3, 4, seed=1)
    torch.testing.assert_close(prior.denoise(x, times), exact.denoise(x, times), rtol=1e-9, atol=1e-9)


def test_a_ddim_step_is_an_euler_step_of_the_flow():
    """Rectified flow integrates dx / dtau = v: on the linear path that is DDIM, to rounding."""
    velocity = of_gaussian(MEAN, ROOT, "linear")
    prior = from_velocity(velocity, event_shape=(4,), range=DataRange())
    x, t, s = draws(3, 4, seed=1), torch.tensor(0.8, dtype=F64), torch.tensor(0.5, dtype=F64)
    step = DDIM(0.0).transition(prior, x, t, s, RowRNG.rows(0, 3)).mean
    torch.testing.assert_close(step, x - END * (t - s) * velocity(x, (END * t).expand(3)), rtol=1e-9, atol=1e-9)


def test_it_is_a_prior_like_others():
    network = torch.nn.Conv2d(1, 1, 3, padding=1)

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = network

        def forward(self, x, t):
            return self.conv(x) * t.view(-1, 1, 1, 1)

    images = ImageSet((draws(12, 1, 8, 8).sigmoid() * 255).to(torch.uint8)).floats(torch.arange(12))
    moments = priors.Moments.of_images(images)
    prior = from_velocity(Net(), event_shape=(1, 8, 8), range=DataRange(0.5, 0.5), moments=moments)
    assert prior.variance == pytest.approx(moments.average(lambda v: v)) and prior.moments is moments
    assert from_velocity(Net(), event_shape=(1, 8, 8), range=DataRange(0.5, 0.5)).variance == 0.25
    assert from_velocity(Net(), event_shape=(1, 8, 8), range=DataRange(), variance=0.1).variance == 0.1
    x = draws(2, 1, 8, 8).float()
    denoised, vjp = prior.denoise_vjp(x, 0.5)
    assert denoised.dtype == torch.float32 and vjp(x).abs().max() > 0
    assert prior.double().denoise(x, 0.5).dtype == torch.float32  # the network computes in its own precision


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"path": "cosine"}, ValueError, r"path = 'cosine': expected one of linear, vp"),
        ({"range": (-1, 1)}, TypeError, r"expected a DataRange, DataRange\(0.5, 0.5\) for images in \[-1, 1\]"),
        ({"data_at": 2}, ValueError, "data_at = 2: expected an integer >= 0 and <= 1"),
        ({"time_scale": 0.0}, ValueError, "time_scale = 0.0"),
        ({"variance": -1.0}, ValueError, "variance = -1.0"),
        ({"velocity": 3}, TypeError, "velocity = 3: expected an object with __call__"),
        ({"event_shape": (0,)}, ValueError, "event_shape"),
    ],
)
def test_bad_arguments_are_named(change, error, message):
    with pytest.raises(error, match=message):
        from_velocity(**({"velocity": lambda x, t: x, "event_shape": (4,), "range": DataRange()} | change))


@pytest.mark.parametrize("output", [lambda x, t: x[:, :2], lambda x, t: (x,)])
def test_a_velocity_of_another_shape(output):
    with pytest.raises(ValueError, match=r"expected a tensor of the same shape; wrap it"):
        from_velocity(output, event_shape=(4,), range=DataRange()).denoise(draws(2, 4), 0.5)


class TestDiffusers:
    """Pipelines that diffusers writes here, and its scheduler's own arithmetic."""

    @pytest.fixture
    def package(self):
        return pytest.importorskip("diffusers")

    def saved(self, package, folder, kind="FlowMatchEulerDiscreteScheduler", **fields):
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            network = package.UNet2DModel(
                sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8, 16),
                down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
                norm_num_groups=4, attention_head_dim=8,
            ).eval()  # fmt: skip
        steps = getattr(package, kind)(**fields)
        package.DDPMPipeline(unet=network, scheduler=steps).save_pretrained(folder)
        return network, steps

    @pytest.mark.parametrize("fields", [{}, {"shift": 3.0}, {"num_train_timesteps": 50}], ids=str)
    def test_the_denoiser_is_a_step_of_the_scheduler_to_no_noise(self, package, tmp_path, fields):
        network, steps = self.saved(package, tmp_path, **fields)
        prior = priors.load(f"flow:{tmp_path}")
        assert prior.sde == RectifiedFlowSDE(0.5) and prior.event_shape == (1, 8, 8) and not prior.training
        x0, z = draws(2, 1, 8, 8).sigmoid().float(), draws(2, 1, 8, 8, seed=1).float()
        shift, n = fields.get("shift", 1.0), len(steps.timesteps)
        for i in (n // 2, n - 1):
            label, tau = steps.timesteps[i], float(steps.sigmas[i])
            u = steps.scale_noise(2 * x0 - 1, label.expand(2), z)
            to_data = type(steps).from_config(steps.config)
            to_data.set_timesteps(sigmas=[tau / (shift - (shift - 1) * tau)])  # which it shifts again
            with torch.no_grad():
                expected = to_data.step(network(u, label).sample, to_data.timesteps[0], u).prev_sample / 2 + 0.5
                found = prior.denoise((u + 1 - tau) / 2, tau / END)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)

    def test_inverted_times(self, package, tmp_path):
        """Data at 1, velocities from noise to data."""
        network, _ = self.saved(package, tmp_path, invert_sigmas=True)
        u = draws(2, 1, 8, 8).float()
        with torch.no_grad():
            expected = (u + 0.3 * network(u, 700.0).sample) / 2 + 0.5
            prior = priors.load(f"flow:{tmp_path}")
            found = prior.denoise((u + 0.7) / 2, 0.3 / END)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    def test_other_pipelines(self, package, tmp_path):
        self.saved(package, tmp_path / "noise", "DDPMScheduler")
        with pytest.raises(ValueError, match=r"scheduler DDPMScheduler: expected .*FlowMatchEuler.*'diffusers:'"):
            priors.load(f"flow:{tmp_path / 'noise'}")
        self.saved(package, tmp_path / "latent")
        index = tmp_path / "latent" / "model_index.json"
        index.write_text(json.dumps(json.loads(index.read_text()) | {"vae": ["diffusers", "AutoencoderKL"]}))
        with pytest.raises(ValueError, match=r"over the latents of its vae: .*priors.from_velocity .*priors.Latent"):
            priors.load(f"flow:{tmp_path / 'latent'}")
        with pytest.raises(FileNotFoundError, match="no folder at"):
            priors.load("flow:./none")
        config = tmp_path / "latent" / "unet" / "config.json"
        index.write_text(
            (tmp_path / "noise" / "model_index.json").read_text().replace("DDPMS", "FlowMatchEulerDiscreteS")
        )
        config.write_text(json.dumps(json.loads(config.read_text()) | {"sample_size": None}))
        with pytest.raises(ValueError, match="does not say its image size"):
            priors.load(f"flow:{tmp_path / 'latent'}")

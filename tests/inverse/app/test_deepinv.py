"""Our methods in deepinv, and deepinv's methods with our prior and operator."""

import shutil
from pathlib import Path

import pytest
import torch

import inverse
import operators
import priors
from inverse import solve
from priors import VPSDE, Gaussian

deepinv = pytest.importorskip("deepinv")
SHAPE, D, SIGMA = (1, 8, 8), 64, 0.05
NEAR = torch.exp(-((torch.arange(8.0, dtype=torch.float64)[:, None] - torch.arange(8.0)) ** 2) / 8)
PRIOR = Gaussian(
    torch.full((D,), 0.5, dtype=torch.float64),
    0.05 * torch.kron(NEAR, NEAR) + 1e-4 * torch.eye(D, dtype=torch.float64),
    sde=VPSDE(),
    event_shape=SHAPE,
)
MASK = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)) > 0.5
OWN = operators.Masking(MASK, operators.GaussianNoise(SIGMA))
X = PRIOR.sample(3, seed=1).float()
Y = OWN.measure(X, seed=0)


def inpainting():
    return deepinv.physics.Inpainting(SHAPE, mask=MASK.float(), noise_model=deepinv.physics.GaussianNoise(SIGMA))


def test_a_reconstructor_is_the_mean_of_our_solve():
    reconstructor = inverse.to_deepinv("mmps", PRIOR, n_samples=4, n_steps=10, seed=2)
    assert isinstance(reconstructor, deepinv.models.Reconstructor)
    ours = solve(PRIOR, OWN, Y, n_samples=4, n_steps=10, seed=2, method="mmps", progress=False)
    for physics in (inpainting(), operators.to_deepinv(OWN, SHAPE)):
        torch.testing.assert_close(reconstructor(Y, physics), ours.mean, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(reconstructor(Y, physics, samples=True), ours.samples, rtol=1e-5, atol=1e-5)
    assert reconstructor.solution.nfe == ours.nfe


def test_it_goes_into_the_test_of_deepinv():
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), batch_size=3)
    reconstructor = inverse.to_deepinv("mmps", PRIOR, n_samples=8, n_steps=10)
    found = deepinv.test(reconstructor, data, inpainting(), verbose=False, show_progress_bar=False)
    exact = torch.cat([PRIOR.posterior(OWN, y[None]).mean.view(1, *SHAPE) for y in Y])
    best = float(deepinv.loss.metric.PSNR()(exact.float(), X).mean())
    # the mean of 8 draws has 9/8 of the posterior mean's error, .5 dB; and 2 for three pictures
    assert found["PSNR"] > max(best - 2.5, found["PSNR no learning"] + 5)


def test_it_goes_into_the_benchmarks_of_deepinv():
    """As their solver and objective call it: moved, with a device set, of pictures without a size, measured there."""
    reconstructor = inverse.to_deepinv("mmps-wiener", priors.load("natural-small"), n_samples=1, n_steps=2)
    reconstructor.to("cpu").device = "cpu"
    waves = 0.5 + 0.3 * torch.sin(torch.arange(24.0)[:, None] / 4 + torch.arange(32.0) / 6)
    pictures = deepinv.datasets.TensorDataset(x=waves.expand(1, 3, 24, 32).contiguous())
    noise = deepinv.physics.GaussianNoise(0.05)
    blur = deepinv.physics.blur.gaussian_blur(1.0)
    for physics in (
        deepinv.physics.Denoising(noise),
        deepinv.physics.Blur(blur, padding="circular", noise_model=noise),
        deepinv.physics.Downsampling(factor=2, filter="bicubic", noise_model=noise),
        deepinv.physics.Inpainting((3, 24, 32), mask=0.7, noise_model=noise),
    ):
        found = deepinv.test(
            reconstructor,
            torch.utils.data.DataLoader(pictures),
            physics,
            online_measurements=True,
            device=reconstructor.device,
            metrics=[deepinv.loss.metric.PSNR()],
            compare_no_learning=False,
            verbose=False,
            show_progress_bar=False,
        )
        assert found["PSNR"] > 20  # their mean has 13 dB, a picture with noise of .05 has 26
        assert reconstructor.solution.samples.shape == (1, 1, 3, 24, 32)
    assert reconstructor.prior.event_shape != (3, 24, 32), "the prior itself stays as it is"


@pytest.mark.slow
def test_the_example_runs_in_benchopt(tmp_path):
    """Where benchopt is installed: the folder of examples, by its own interface, with few steps."""
    benchopt = pytest.importorskip("benchopt")
    pandas = pytest.importorskip("pandas")
    folder = shutil.copytree(Path(__file__).parents[3] / "examples" / "benchopt", tmp_path / "benchopt")
    found = benchopt.run_benchmark(
        str(folder),
        solver_names=["score-inverse[method=ddrm,n_samples=2,n_steps=5]"],
        dataset_names=["fashion-mnist[n_pictures=2]"],
        plot_result=False,
        no_cache=True,
        output_file=str(tmp_path / "found.parquet"),
    )
    table = pandas.read_parquet(found)
    assert len(table) == 1 and table["solver_name"][0].startswith("score-inverse[method=ddrm")
    assert table["objective_PSNR"][0] > 15  # half of the pixels alone have 9 dB


def test_complex_images_come_back_complex():
    module = deepinv.physics
    physics = module.CompressedSensing(6, (1, 2, 2), dtype=torch.complex64, rng=torch.Generator().manual_seed(0))
    physics.set_noise_model(module.GaussianNoise(0.1))
    prior = Gaussian(torch.zeros(8), torch.eye(8), sde=VPSDE(), event_shape=(2, 2, 2))
    x = torch.complex(*prior.sample(2, seed=0).float().split(1, 1))
    reconstructor = inverse.to_deepinv("mmps", prior, n_samples=2, n_steps=5)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        y = physics(x)
    assert reconstructor(y, physics).shape == x.shape and reconstructor(y, physics).is_complex()
    # 12 real numbers of noise .1 determine 8: the mean is near
    assert (reconstructor(y, physics) - x).norm() < 0.5 * x.norm()
    assert reconstructor(y, physics, samples=True).shape == (2, 2, *x.shape[1:])


def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match=r"expected a priors\.Prior"):
        inverse.to_deepinv("mmps", torch.nn.Identity())
    with pytest.raises(TypeError, match=r"unknown settings \['steps'\]"):
        inverse.to_deepinv("mmps", PRIOR, steps=3)


SAMPLERS = {
    "dps": lambda network: deepinv.sampling.DPS(network, num_steps=10, weight=50.0),
    "diffpir": lambda network: deepinv.sampling.DiffPIR(network, deepinv.optim.L2(), sigma=SIGMA, max_iter=10),
    "ddrm": lambda network: deepinv.sampling.DDRM(network),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_deepinvs_methods_give_what_they_give_natively(name):
    """Our prior and operator against deepinv's own physics and a denoiser in closed form, with the same seed."""

    class Wiener(deepinv.models.Denoiser):
        def forward(self, x, sigma, **_):
            variance = torch.as_tensor(sigma, dtype=torch.float64).flatten()[0] ** 2
            gain = torch.linalg.solve(PRIOR.covariance + variance * torch.eye(D), PRIOR.covariance)
            return (0.5 + (x.double().flatten(1) - 0.5) @ gain).view_as(x).to(x.dtype)

    found = []
    for network, physics in (
        (Wiener(), inpainting()),
        (priors.to_deepinv(PRIOR), inpainting()),
        (priors.to_deepinv(PRIOR), operators.to_deepinv(OWN, SHAPE)),
    ):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            arguments = {"x_init": X.shape} if name == "dps" else {}
            found.append(SAMPLERS[name](network)(Y, physics, **arguments))
    native, prior_only, both = found
    assert (prior_only - both).norm() < 1e-5 * native.norm()  # the operator
    assert (native - both).norm() < 5e-4 * native.norm()  # the prior, whose levels go through times in float64

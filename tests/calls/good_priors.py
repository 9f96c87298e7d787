"""Good calls of priors."""

from collections.abc import Iterator

import torch

import priors
from operators import Masking
from priors import VESDE, VPSDE, DataRange, RectifiedFlowSDE
from priors.losses import denoising_score_matching
from priors.objectives import Focus
from priors.pictures import Crops, Pictures
from priors.sde import LadderSDE
from priors.training import TrainingConfig
from tests.calls.good import GAUSSIAN, SMALL, G, Good, X
from tests.cases import score_prior

IMAGES = priors.Empirical(torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)), VESDE())
PICTURES = priors.Empirical(torch.rand(4, 2, generator=torch.Generator().manual_seed(0)), VPSDE(), 0.1)


def of_priors() -> Iterator[Good]:
    network = score_prior()
    for name, sde in {
        "VESDE": VESDE(),
        "VPSDE": VPSDE(),
        "RectifiedFlowSDE": RectifiedFlowSDE(),
        "LadderSDE": LadderSDE.ddpm(n=50),
    }.items():
        for curve in ("alpha", "sigma", "f", "g2"):
            yield Good(f"{name}.{curve}", getattr(sde, curve), {"t": 0.5})
        yield Good(f"{name}.bridge", sde.bridge, {"t": 0.5, "s": 0.2})
    for name, prior in {"Gaussian": GAUSSIAN, "ScorePrior": network, "Empirical": IMAGES}.items():
        yield Good(f"{name}.score", prior.score, {"x": X, "t": 0.5})
        yield Good(f"{name}.denoise", prior.denoise, {"x": X, "t": 0.5})
        yield Good(f"{name}.denoise_vjp", prior.denoise_vjp, {"x": X, "t": 0.5})
        yield Good(f"log_density of {name}", priors.log_density_along, {"prior": prior, "x": X, "t": 0.5, "nodes": 2})
    pixels = Masking(torch.ones(2), G, event_ndim=1)
    y = pixels.measure(torch.ones(1, 2))
    yield from (
        Good("VESDE", VESDE, {"sigma_min": 0.01, "sigma_max": 50.0}),
        Good("VPSDE", VPSDE, {"beta_min": 0.1, "beta_max": 20.0, "scale": 1.0}),
        Good("SubVPSDE", priors.SubVPSDE, {"beta_min": 0.1, "beta_max": 20.0, "scale": 1.0}),
        Good("RectifiedFlowSDE", RectifiedFlowSDE, {"scale": 1.0, "end": 0.99}),
        Good("LadderSDE", LadderSDE, {"alphas": (1.0, 1.0), "sigmas": (0.1, 1.0)}),
        Good("smld", LadderSDE.smld, {"sigma_min": 0.1, "sigma_max": 1.0, "n": 10}),
        Good("ddpm", LadderSDE.ddpm, {"beta_min": 0.1, "beta_max": 5.0, "n": 10, "scale": 1.0}),
        Good("from_alphas_bar", LadderSDE.from_alphas_bar, {"alphas_bar": [0.9, 0.5], "scale": 1.0}),
        Good("DataRange", DataRange, {"shift": 0.5, "scale": 0.5}),
        Good("Units", priors.Units, {"name": "HU", "zero": -1000.0, "one": 1000.0}),
        Good(
            "ScorePrior",
            priors.ScorePrior,
            {
                "network": network.network,
                "sde": VESDE(),
                "event_shape": (1, 8, 8),
                "prediction": "preconditioned",
                "range": DataRange(),
                "moments": None,
                "units": None,
                "spectrum": None,
            },
        ),
        Good("with_sde", network.with_sde, {"sde": VPSDE()}),
        Good("resized", network.resized, {"event_shape": (1, 8, 8)}),
        Good("Tiled", priors.Tiled, {"prior": priors.load("natural-grey"), "tile": 8}),
        Good("Slices", priors.Slices, {"prior": network, "depth": 3, "axis": 0, "coupling": 0.1}),
        Good(
            "Gaussian",
            priors.Gaussian,
            {"mean": torch.zeros(2), "covariance": torch.eye(2), "sde": VESDE(), "event_shape": (2,)},
        ),
        Good(
            "GaussianMixture",
            priors.GaussianMixture,
            {"means": torch.zeros(1, 2), "covariances": torch.eye(2)[None], "weights": torch.ones(1), "sde": VESDE()},
        ),
        Good(
            "Empirical",
            priors.Empirical,
            {"images": torch.rand(4, 1, 8, 8), "sde": VESDE(), "bandwidth": 0.1},
        ),
        Good("nearest", PICTURES.nearest, {"x": torch.zeros(1, 2)}),
        Good("sample of pictures", PICTURES.sample, {"n": 2, "seed": 0, "dtype": torch.float32}),
        Good("posterior of pictures", PICTURES.posterior, {"operator": pixels, "y": y}),
        Good("class_probabilities", PICTURES.posterior(pixels, y).class_probabilities, {"labels": [0, 1, 0, 1]}),
        Good("sample", SMALL.sample, {"n": 2, "seed": 0, "dtype": torch.float32}),
        Good("log_prob", SMALL.log_prob, {"x": torch.zeros(1, 2), "t": 0.5}),
        Good("posterior", SMALL.posterior, {"operator": pixels, "y": y}),
        Good("log_evidence", SMALL.log_evidence, {"operator": pixels, "y": y}),
        Good(
            "log_likelihood",
            priors.log_likelihood,
            {
                "prior": SMALL,
                "x": torch.zeros(1, 2),
                "seed": 0,
                "probe": "exact",
                "n_probes": 1,
                "standard_error": False,
                "rtol": 0.01,
                "atol": 0.01,
                "t_min": 1e-3,
                "batch_size": None,
            },
        ),
        Good(
            "bits_per_dim",
            priors.bits_per_dim,
            {"prior": SMALL, "x": torch.zeros(1, 2), "seed": 0, "levels": 2, "dequantize": False, "rtol": 0.01},
        ),
        Good("log_density", priors.log_density, {"prior": SMALL, "x": torch.zeros(1, 2), "t": 0.5, "n_steps": 2}),
        Good("encode", priors.encode, {"prior": SMALL, "x": torch.zeros(1, 2), "n_steps": 2, "t_min": 1e-3}),
        Good("decode", priors.decode, {"prior": SMALL, "z": torch.zeros(1, 2), "n_steps": 2, "denoise": False}),
        Good("slerp", priors.slerp, {"z0": torch.ones(1, 2), "z1": torch.zeros(1, 2) + 0.1, "weight": 0.5}),
        Good("temper", priors.temper, {"z": torch.ones(1, 2), "temperature": 0.5}),
        Good(
            "from_denoiser",
            priors.from_denoiser,
            {
                "denoiser": lambda x, s: x,
                "sde": VESDE(),
                "event_shape": (1, 8, 8),
                "sigma_min": 0.0,
                "sigma_max": 60.0,
                "variance": 0.25,
                "moments": None,
                "sigma_as": None,
                "differentiable": None,
            },
        ),
        Good(
            "from_velocity",
            priors.from_velocity,
            {
                "velocity": lambda x, t: x,
                "path": "linear",
                "event_shape": (1, 8, 8),
                "range": DataRange(),
                "data_at": 0,
                "time_scale": 1.0,
                "variance": 0.25,
                "moments": None,
            },
        ),
        Good("Latent", priors.Latent, {"prior": network, "encoder": None, "decoder": torch.nn.Identity()}),
        Good("Moments.isotropic", priors.Moments.isotropic, {"event_shape": (1, 8, 8), "variance": 1.0}),
        Good("Moments.of_images", priors.Moments.of_images, {"images": torch.rand(4, 1, 8, 8), "rank": 2}),
        Good("of_covariance", priors.Moments.of_covariance, {"mean": torch.zeros(2), "covariance": torch.eye(2)}),
        Good("Spectrum.of_crops", priors.Spectrum.of_crops, {"crops": torch.rand(4, 1, 16, 16)}),
        Good("RowRNG", priors.RowRNG, {"seed": 0, "keys": [(0,)]}),
        Good("RowRNG.rows", priors.RowRNG.rows, {"seed": 0, "n": 2}),
        Good("load", priors.load, {"source": "fashion-mnist", "sde": None, "config": None, "event_shape": None}),
        Good("load_classifier", priors.load_classifier, {"source": "fashion-mnist-classifier"}),
        Good("samples", priors.samples, {"source": "fashion-mnist"}),
        Good("labels", priors.labels, {"source": "fashion-mnist-classifier"}),
        Good("available", priors.available, {"kind": "prior"}),
        Good("Focus", Focus, {"sigma": 0.2, "spread": 1.0, "share": 0.5}),
        Good(
            "Crops",
            Crops,
            {
                "pictures": Pictures((torch.zeros(1, 9, 9, dtype=torch.uint8),)),
                "size": 8,
                "scales": (1.0,),
                "turns": True,
            },
        ),
        Good("TrainingConfig", TrainingConfig, {"steps": 1} | {f: getattr(TrainingConfig(1), f) for f in FIELDS}),
        Good(
            "loss",
            denoising_score_matching,
            {"prior": network, "x0": X, "t": torch.tensor([0.1, 0.2]), "z": X, "weight": "score"},
        ),
    )


FIELDS = (
    "minutes", "batch_size", "lr", "cosine", "warmup", "clip", "ema", "precision", "held_out", "flip", "save_minutes",
    "seed",
)  # fmt: skip

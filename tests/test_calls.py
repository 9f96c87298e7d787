"""Bad calls over the whole public surface: each is refused at once, by an error that names what was wrong."""

import math
import re
import signal
import traceback
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import inverse
import operators
import priors
from inverse import METHODS, Method, correctors, flow, grids, guidance, population, predictors, quality
from inverse.methods import Handover
from operators import (
    JPEG,
    Bayer,
    Blur,
    CompressedSensing,
    Downsampling,
    Fourier,
    GaussianNoise,
    Grayscale,
    LinearMap,
    Masking,
    PhaseRetrieval,
    PoissonNoise,
    Radon,
    Resize,
    Saturation,
    Transmission,
    VaryingBlur,
    kernels,
    sampling,
)
from priors import VESDE, VPSDE, DataRange, Gaussian, GaussianMixture, Moments, SubVPSDE, Units
from priors import arguments as prior_arguments
from priors.cli import changed, objective
from priors.data import ImageSet
from priors.objectives import Focus
from priors.pictures import Crops, Pictures
from priors.sde import LadderSDE
from priors.training import TrainingConfig
from tests.bad_calls import ROOMS, Logits
from tests.cases import Untouchable, score_prior

NAN, INF = math.nan, math.inf
G = GaussianNoise(0.1)
X = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
KERNEL, MASK = torch.ones(3, 3) / 9, torch.ones(8, 8)
MASKING, BLUR, SMALLER = Masking(MASK, G), Blur(KERNEL, "valid", G), Downsampling(2, G)
SATURATION, TRANSMISSION = Saturation(noise=G), Transmission(PoissonNoise(9.0))
LABELS = operators.Classifier(Logits())
PRIOR = Untouchable((1, 8, 8))  # fails if it is evaluated
GAUSSIAN = Gaussian(torch.zeros(2), torch.eye(2), VESDE())
LATENT, NETWORK = torch.zeros(1, 2), score_prior()
MIRROR = Blur(KERNEL, "reflect", G)
MIRROR(X)
BLUR(X)
BYTES = Pictures((torch.zeros(1, 9, 9, dtype=torch.uint8),))
SOLUTION = inverse.Solution(torch.rand(1, 2, 1, 8, 8), torch.zeros(1, 2), "mmps", 1, 0, 0.0, 0)
RECIPE = {
    "kind": "prior",
    "name": "stars",
    "licence": "CC0",
    "sde": {"type": "VESDE"},
    "range": {"shift": 0.5, "scale": 0.3},
    "network": {"type": "ncsnpp", "image_channels": 1, "image_size": 8, "channels": 8, "multipliers": [1, 2]},
    "training": {"steps": 2, "batch_size": 4, "held_out": 4},
}
STARS = ImageSet(torch.zeros(9, 1, 8, 8, dtype=torch.uint8))


def solve(**spoilt):
    given = {"prior": PRIOR, "operator": MASKING, "y": X, "n_samples": 2, "method": "mmps", "progress": False}
    return lambda: inverse.solve(**(given | spoilt))


def plan(**spoilt):
    return lambda: inverse.plan(**({"prior": PRIOR, "operator": MASKING, "y": X} | spoilt))


def sample(**spoilt):
    return lambda: inverse.sample(**({"prior": PRIOR, "n_samples": 2, "progress": False} | spoilt))


def recipe(**sections):
    """What is trained by a recipe of which some entries differ; a section's entries are added to it."""
    spoilt = {k: RECIPE.get(k, {}) | v if isinstance(v, dict) else v for k, v in sections.items()}
    return lambda: objective(RECIPE | spoilt, STARS)


def config(**spoilt):
    return lambda: TrainingConfig(**({"steps": 2} | spoilt))


def likelihood(**spoilt):
    return lambda: priors.log_likelihood(**({"prior": GAUSSIAN, "x": LATENT} | spoilt))


# (the call's name, the call, words of its message)
CALLS = [
    # operators: what y and x are
    ("pinv of nan", lambda: MASKING.pinv(X * NAN), "pinv", "nan", "mask"),
    ("pinv of inf, by iterations", lambda: MIRROR.pinv(X / 0), "pinv", "infinite"),
    ("pinv of integers", lambda: MASKING.pinv(X.long()), "y must be a floating tensor", "int64", ".float()"),
    ("pinv of complex numbers", lambda: MASKING.pinv(X + 0j), "complex64", "torch.stack((y.real, y.imag), -3)"),
    ("pinv of a list", lambda: MASKING.pinv([[1.0]]), "y must be a floating tensor", "list"),
    ("pinv without a batch", lambda: MASKING.pinv(X[0, 0, 0]), "(N, *measurement)", "x[None]"),
    ("adjoint of None", lambda: BLUR.adjoint(None), "y must be a floating tensor", "NoneType"),
    ("adjoint of another size", lambda: MASKING.adjoint(X[..., :5]), "(8, 8)", "(1, 8, 5)"),
    ("adjoint of colours", lambda: Grayscale(G).adjoint(X.expand(2, 3, 8, 8)), "expected y", "(N, 1, 8, 8)"),
    ("adjoint of flat rows", lambda: SMALLER.adjoint(X.flatten(1)), "Downsampling", "(N, C, H, W)"),
    ("adjoint of no rows", lambda: SMALLER.adjoint(X[:0]), "N >= 1", "(0, 1, 8, 8)"),
    ("adjoint elsewhere", lambda: MASKING.adjoint(X.to("meta")), "cpu", "meta", "operator.to(y.device)"),
    ("solve_gram, r2 of -1", lambda: MASKING.solve_gram(X, -1.0), "r2 = -1", ">= 0"),
    ("solve_gram, r2 of nan", lambda: MASKING.solve_gram(X, NAN), "r2 = nan", "finite"),
    ("solve_gram, r2 of inf", lambda: MIRROR.solve_gram(X, INF), "r2 = inf", "finite"),
    ("solve_gram, r2 a text", lambda: MASKING.solve_gram(X, "1"), "r2 = '1'", "number"),
    ("solve_gram, r2 a bool", lambda: MASKING.solve_gram(X, True), "r2 = True", "number"),
    ("solve_gram, r2 of another length", lambda: MASKING.solve_gram(X, torch.ones(3)), "r2", "(3,)", "(2,)"),
    ("solve_gram, r2 nan in a row", lambda: MIRROR.solve_gram(X, torch.tensor([1.0, NAN])), "r2", "finite"),
    ("solve_gram, r2 of integers", lambda: MASKING.solve_gram(X, torch.ones(2).long()), "r2", "int64"),
    ("solve_gram of another size", lambda: SMALLER.solve_gram(X[0], 1.0), "Downsampling", "(N, C, H, W)"),
    ("solve_gram of integers", lambda: SMALLER.solve_gram(X.long(), 1.0), "y must be a floating tensor"),
    ("vjp, v of another size", lambda: SATURATION.vjp(X, X[..., :5]), "v of shape (2, 1, 8, 5)", "(2, 1, 8, 8)"),
    ("vjp, v of fewer rows", lambda: SATURATION.vjp(X, X[:1]), "v of shape (1, 1, 8, 8)", "(2, 1, 8, 8)"),
    ("vjp, v of integers", lambda: SATURATION.vjp(X, X.long()), "v must be a floating tensor", "int64"),
    ("vjp, x a list", lambda: SATURATION.vjp([1.0], X), "x must be a floating tensor", "list"),
    ("vjp of a blur", lambda: BLUR.vjp(X, X), "v of shape (2, 1, 8, 8)", "(2, 1, 6, 6)"),
    ("log_likelihood, y of another size", lambda: MASKING.log_likelihood(X[..., :5], X), "y", "(2, 1, 8, 5)"),
    ("log_likelihood, y of other rows", lambda: MASKING.log_likelihood(torch.ones(3, 1, 8, 8), X), "3 measure", "2"),
    ("log_likelihood, y a list", lambda: MASKING.log_likelihood([1.0], X), "y", "list", "floating"),
    ("log_likelihood, y complex", lambda: MASKING.log_likelihood(X + 0j, X), "y", "torch.stack"),
    ("log_likelihood, y elsewhere", lambda: MASKING.log_likelihood(X.to("meta"), X), "meta", "cpu"),
    ("measurement_shape of a number", lambda: MASKING.measurement_shape(8), "event_shape = 8", "(1, 28, 28)"),
    ("measurement_shape of a text", lambda: MASKING.measurement_shape("888"), "event_shape = '888'", "tuple"),
    ("measurement_shape of floats", lambda: MASKING.measurement_shape((1.0, 8, 8)), "event_shape", "integer"),
    ("measurement_shape below 1", lambda: MASKING.measurement_shape((1, 0, 8)), "event_shape", ">= 1"),
    ("measurement_shape of nothing", lambda: MASKING.measurement_shape(()), "event_shape", "axis"),
    ("measuring integers", lambda: MASKING.measure(X.long()), "x must be a floating tensor", "int64"),
    ("measuring complex pictures", lambda: MASKING.measure(X + 0j), "torch.stack((x.real, x.imag), -3)"),
    ("measuring with seed -1", lambda: MASKING.measure(X, seed=-1), "seed = -1", ">= 0"),
    ("measuring with seed 1.5", lambda: MASKING.measure(X, seed=1.5), "seed = 1.5", "integer"),
    ("measuring with seed None", lambda: MASKING.measure(X, seed=None), "seed = None", "integer"),
    ("measuring with a text for a seed", lambda: MASKING.measure(X, seed="0"), "seed = '0'", "integer"),
    ("rows of floats", lambda: MASKING.rows(torch.ones(2)), "LongTensor", "torch.arange"),
    ("noisy labels of floats", lambda: LABELS.noisy_log_likelihood(X, X, 0.5), "int64"),
    ("fbp of another size", lambda: Radon(6, 8).fbp(X), "sinograms", "(2, 1, 8, 8)"),
    ("fbp by an unknown filter", lambda: Radon(6, 8).fbp(Radon(6, 8)(X), filter="none"), "filter = 'none'", "hann"),
    ("fbp by a list", lambda: Radon(6, 8).fbp(Radon(6, 8)(X), filter=[]), "filter", "ramp"),
    ("an offset that does not fit", lambda: Transmission(G, torch.ones(5))(X), "offset", "(5,)", "(2, 1, 8, 8)"),
    ("a sigma that does not fit", lambda: Masking(MASK, GaussianNoise(torch.ones(5), 1)).measure(X), "sigma", "(5,)"),
    ("estimate_sigma, operator a text", lambda: operators.estimate_sigma(X, "blur"), "operator", "str"),
    ("check of a function", lambda: operators.check(torch.relu, (1, 8, 8)), "op of type", "Operator"),
    ("check of a size", lambda: operators.check(MASKING, 8), "event_shape = 8"),
    ("check with x a list", lambda: operators.check(MASKING, (1, 8, 8), x=[1.0]), "x must be a floating tensor"),
    # operators: how they are made
    ("mask a text", lambda: Masking("left"), "Masking", "'left'", "tensor"),
    ("mask None", lambda: Masking(None), "Masking", "None", "tensor"),
    ("mask of complex numbers", lambda: Masking(MASK + 0j), "complex64", "0 or 1"),
    ("mask of nothing", lambda: Masking(torch.zeros(0)), "mask", "(0,)", "empty"),
    ("mask of one number", lambda: Masking(True), "mask of one number", "size"),
    ("mask of nan", lambda: Masking(MASK * NAN), "0 and 1"),
    ("mask, event_ndim of -1", lambda: Masking(MASK, event_ndim=-1), "event_ndim = -1", ">= 1"),
    ("mask, event_ndim a text", lambda: Masking(MASK, event_ndim="2"), "event_ndim = '2'", "integer"),
    ("keep nan", lambda: Masking.random((1, 8, 8), keep=NAN), "keep = nan", "[0, 1]"),
    ("keep True", lambda: Masking.random((1, 8, 8), keep=True), "keep = True", "number"),
    ("keep a text", lambda: Masking.random((1, 8, 8), keep="half"), "keep = 'half'", "number"),
    ("random mask of a number", lambda: Masking.random(8), "event_shape = 8", "tuple"),
    ("random mask, seed of nan", lambda: Masking.random((1, 8, 8), seed=NAN), "seed = nan", "integer"),
    ("box of a float", lambda: Masking.box((1, 8, 8), 2.5), "size = 2.5", "integer"),
    ("box of three numbers", lambda: Masking.box((1, 8, 8), (2, 2, 2)), "size = (2, 2, 2)", "two"),
    ("box of True", lambda: Masking.box((1, 8, 8), True), "size = True", "integer"),
    ("box of a vector", lambda: Masking.box((8,), 2), "(8,)", "(C, H, W)"),
    ("box at a text", lambda: Masking.box((1, 8, 8), 2, corner="ab"), "corner = 'ab'", "integer"),
    ("half of a number", lambda: Masking.half((1, 8, 8), seen=1), "seen = 1", "left, right, top, bottom"),
    ("kernel of zeros", lambda: Blur(torch.zeros(3, 3)), "kernel of zeros", "light"),
    ("one kernel of zeros of two", lambda: Blur(torch.stack([KERNEL, 0 * KERNEL])), "kernel of zeros"),
    ("kernel of bools", lambda: Blur(KERNEL > 0), "kernel of torch.bool"),
    ("kernel of integers", lambda: Blur(torch.ones(3, 3).int()), "kernel of integers", "kernel / kernel.sum()"),
    ("kernel of complex numbers", lambda: Blur(KERNEL + 0j), "kernel of torch.complex64", "real"),
    ("kernel of nan", lambda: Blur(KERNEL * NAN), "kernel", "finite"),
    ("kernel of nothing", lambda: Blur(torch.zeros(0, 3)), "kernel", "empty"),
    ("kernel a text", lambda: Blur("kernel.png"), "kernel = 'kernel.png'", "tensor"),
    ("kernel None", lambda: Blur(None), "kernel = None", "tensor"),
    ("kernel of ragged lists", lambda: Blur([[1.0], [1.0, 2.0]]), "kernel", "lists"),
    ("boundary None", lambda: Blur(KERNEL, None), "boundary = None", "circular, reflect, valid"),
    ("sigma_px of nan", lambda: Blur.gaussian(NAN), "sigma_px = nan", "> 0"),
    ("sigma_px of inf", lambda: Blur.gaussian(INF), "sigma_px = inf", "finite"),
    ("sigma_px of 1e9", lambda: Blur.gaussian(1e9), "sigma_px", "1000000000.0", "at most"),
    ("sigma_px True", lambda: Blur.gaussian(True), "sigma_px = True", "number"),
    ("truncate of -1", lambda: Blur.gaussian(1.0, truncate=-1), "truncate = -1", "> 0"),
    ("motion of 1e9 pixels", lambda: Blur.motion(10**9 + 1), "size = 1000000001", "<="),
    ("motion of an even size", lambda: Blur.motion(4), "size = 4", "odd"),
    ("motion of a length of nan", lambda: Blur.motion(5, length=NAN), "length = nan", "> 0"),
    ("motion of a length of text", lambda: Blur.motion(5, length="3"), "length = '3'", "number"),
    ("motion of seed -1", lambda: kernels.motion_kernel(5, seed=-1), "seed = -1", ">= 0"),
    ("factor True", lambda: Downsampling(True), "factor = True", "integer"),
    ("factor None", lambda: Downsampling(None), "factor = None", "integer"),
    ("resize by nan", lambda: Resize(NAN), "factor = nan", "[1, 16384]"),
    ("resize by True", lambda: Resize(True), "factor = True", "number"),
    ("resize by a text", lambda: Resize("4"), "factor = '4'", "number"),
    ("resize, kernel None", lambda: Resize(4, kernel=None), "kernel = None", "bicubic"),
    ("weights of texts", lambda: Grayscale(weights=["a", "b"]), "weights", "numbers"),
    ("weights of nan", lambda: Grayscale(weights=(NAN, 1.0, 1.0)), "weights", "finite"),
    ("weights of bools", lambda: Grayscale(weights=torch.ones(3).bool()), "weights", "bool"),
    ("Bayer RRRR", lambda: Bayer("RRRR"), "'RRRR'", "each at least once"),
    ("Bayer RGGG", lambda: Bayer("RGGG"), "'RGGG'", "each at least once"),
    ("Bayer None", lambda: Bayer(None), "pattern = None", "RGGB"),
    ("Bayer in small letters", lambda: Bayer("rggb"), "'rggb'", "R, G, B"),
    ("Bayer of a list", lambda: Bayer(["R", "G", "G", "B"]), "pattern", "text"),
    ("quality True", lambda: JPEG(quality=True), "quality", "bool"),
    ("quality nan", lambda: JPEG(quality=NAN), "quality", "finite"),
    ("quality a text", lambda: JPEG(quality="high"), "quality = 'high'", "number"),
    ("quality complex", lambda: JPEG(quality=50j), "quality", "complex"),
    ("subsampling 420", lambda: JPEG(subsampling=420), "subsampling = 420", "4:2:0"),
    ("rounding True", lambda: JPEG(rounding=True), "rounding = True", "smooth"),
    ("angles True", lambda: Radon(True), "angles = True", "integer"),
    ("angles 0", lambda: Radon(0), "angles = 0", ">= 1"),
    ("angles of texts", lambda: Radon(["a"]), "angles", "numbers"),
    ("angles None", lambda: Radon(None), "angles = None", "numbers"),
    ("10^9 views", lambda: Radon(10**9), "angles = 1000000000", "<="),
    ("Radon of size 8.5", lambda: Radon(6, 8.5), "size = 8.5", "integer"),
    ("Radon of detectors True", lambda: Radon(6, 8, detectors=True), "detectors = True", "integer"),
    ("Radon of pixel nan", lambda: Radon(6, 8, pixel=NAN), "pixel = nan", "> 0"),
    ("limited angle, views 0", lambda: Radon.limited_angle(8, 90.0, 0), "views = 0", ">= 1"),
    ("limited angle, start nan", lambda: Radon.limited_angle(8, 90.0, 3, start=NAN), "start = nan", "finite"),
    ("matrix of bools", lambda: LinearMap(torch.eye(3).bool()), "matrix", "bool"),
    ("matrix of complex numbers", lambda: LinearMap(torch.eye(3) + 0j), "matrix", "complex64"),
    ("matrix None", lambda: LinearMap(None), "matrix = None", "tensor"),
    ("matrix, event shape of a number", lambda: LinearMap(torch.eye(4), event_shape=4), "event_shape = 4", "tuple"),
    ("k-space mask of nan", lambda: Fourier(MASK * NAN), "0 and 1"),
    ("k-space of channels True", lambda: Fourier(MASK, channels=True), "channels = True", "1 for real"),
    ("k-space of 3 channels", lambda: Fourier(MASK, channels=3), "channels = 3", "2 for complex"),
    ("real coils", lambda: Fourier(MASK, torch.ones(2, 8, 8)), "sensitivities", "complex"),
    ("phase of nan", lambda: Fourier(MASK, phase=MASK * NAN), "phase", "finite"),
    ("acceleration nan", lambda: Fourier.cartesian((1, 8, 8), NAN), "acceleration = nan", "[1, 8]"),
    ("acceleration True", lambda: Fourier.cartesian((1, 8, 8), True), "acceleration = True", "number"),
    ("calibration of 2", lambda: Fourier.cartesian((1, 8, 8), 2.0, 2), "calibration = 2", "[0, 1]"),
    ("kind None", lambda: sampling.cartesian((8, 8), kind=None), "kind = None", "uniform, variable"),
    ("cartesian of (C, H, W)", lambda: sampling.cartesian((1, 8, 8)), "shape = (1, 8, 8)", "(H, W)"),
    ("cartesian of a number", lambda: sampling.cartesian(8), "shape = 8", "tuple"),
    ("Fourier of three channels", lambda: Fourier.radial((3, 8, 8), 2), "event_shape = (3, 8, 8)", "(2, H, W)"),
    ("spokes of nan", lambda: Fourier.radial((1, 8, 8), NAN), "spokes = nan", "integer"),
    ("coils of -1", lambda: Fourier.radial((1, 8, 8), 2, coils=-1), "coils = -1", ">= 1"),
    ("sensing keep nan", lambda: CompressedSensing(NAN), "keep = nan", "(0, 1]"),
    ("sensing seed True", lambda: CompressedSensing(seed=True), "seed = True", "integer"),
    ("oversampling nan", lambda: PhaseRetrieval(NAN), "oversampling = nan", "[1, 64]"),
    ("oversampling 1e9", lambda: PhaseRetrieval(1e9), "oversampling = 1000000000.0", "[1, 64]"),
    ("masks of texts", lambda: PhaseRetrieval(masks="random"), "masks = 'random'", "tensor"),
    ("n_masks 0", lambda: PhaseRetrieval.coded((1, 8, 8), 0), "n_masks = 0", ">= 1"),
    ("gain nan", lambda: Saturation(NAN), "gain", "finite"),
    ("gain a text", lambda: Saturation("2"), "gain = '2'", "number"),
    ("limit nan", lambda: Saturation(limit=NAN), "limit = nan", "> 0"),
    ("softness -1", lambda: Saturation(softness=-1), "softness = -1", ">= 0"),
    ("offset nan", lambda: Transmission(offset=NAN), "offset", "finite"),
    ("water of 0", lambda: operators.attenuation(0.0, water=0), "water = 0", "> 0"),
    ("Hounsfield units of text", lambda: operators.attenuation("bone"), "hu = 'bone'", "number"),
    ("windows of nan", lambda: VaryingBlur(KERNEL[None], MASK[None] * NAN), "windows", "finite"),
    ("rotation by nan", lambda: VaryingBlur.rotation((1, 8, 8), NAN), "degrees = nan", "[-360, 360]"),
    ("nodes of 10^6", lambda: VaryingBlur.rotation((1, 8, 8), nodes=10**6), "nodes = 1000000", "<="),
    ("defocus of text", lambda: VaryingBlur.defocus((1, 8, 8), bottom="3"), "bottom = '3'", "number"),
    ("network None", lambda: operators.Classifier(None), "network = None", "callable"),
    ("composition of a number", lambda: operators.Composition(MASKING, 2), "inner", "int", "Operator"),
    ("stack of functions", lambda: operators.Stack([torch.relu]), "part 0", "Operator"),
    ("stack of one operator", lambda: operators.Stack(MASKING), "operators", "list"),
    ("sigma True", lambda: GaussianNoise(True), "sigma", "bool"),
    ("sigma a text", lambda: GaussianNoise("0.1"), "sigma = '0.1'", "number"),
    ("sigma None", lambda: GaussianNoise(None), "sigma = None", "number"),
    ("sigma complex", lambda: GaussianNoise(1j), "sigma", "complex"),
    ("sigma, event_ndim 1.5", lambda: GaussianNoise(0.1, 1.5), "event_ndim = 1.5", "integer"),
    ("peak inf", lambda: PoissonNoise(INF), "peak", "finite"),
    ("operator name None", lambda: operators.get(None), "operator name = None", "available"),
    ("registering None", lambda: operators.register(None), "name = None", "text"),
    # priors
    ("VESDE True", lambda: VESDE(True), "sigma_min = True", "number"),
    ("VESDE nan", lambda: VESDE(sigma_max=NAN), "sigma_max = nan", "finite"),
    ("VESDE text", lambda: VESDE("0.01"), "sigma_min = '0.01'", "number"),
    ("VPSDE scale 0", lambda: VPSDE(scale=0), "scale = 0", "> 0"),
    ("VPSDE None", lambda: SubVPSDE(beta_min=None), "beta_min = None", "number"),
    ("sigma at t = nan", lambda: VESDE().sigma(NAN), "t = nan", "time"),
    ("sigma at t = 2", lambda: VPSDE().sigma(2), "t = 2", "time"),
    ("sigma at t = -1", lambda: VESDE().sigma(-1), "t = -1", "time"),
    ("alpha at t = True", lambda: VPSDE().alpha(True), "t = True", "number"),
    ("g2 at t a text", lambda: VESDE().g2("0.5"), "t = '0.5'", "number"),
    ("bridge to t = None", lambda: VPSDE().bridge(0.5, None), "t = None", "number"),
    ("ladder of one level", lambda: LadderSDE([1.0], [1.0]), "1 alphas", "per level"),
    ("ladder of nan", lambda: LadderSDE([1.0, NAN], [0.1, 1.0]), "alphas", "nan"),
    ("ladder of numbers", lambda: LadderSDE(1.0, 2.0), "alphas = 1.0", "sequence"),
    ("ladder without terminal signal", lambda: LadderSDE.from_alphas_bar([0.9, 0.0]), "zero terminal SNR"),
    ("ladder of n = nan", lambda: LadderSDE.ddpm(n=NAN), "n = nan", "integer"),
    ("range of scale 0", lambda: DataRange(scale=0), "scale = 0", "> 0"),
    ("range of scale -1", lambda: DataRange(scale=-1), "scale = -1", "> 0"),
    ("range of scale nan", lambda: DataRange(scale=NAN), "scale = nan", "finite"),
    ("range of shift None", lambda: DataRange(shift=None), "shift = None", "number"),
    ("units of text", lambda: Units("HU", "air", 1.0), "zero = 'air'", "number"),
    ("units of no name", lambda: Units(3, 0.0, 1.0), "name = 3", "unit"),
    ("Gaussian of text", lambda: Gaussian("zero", torch.eye(2), VESDE()), "mean", "str"),
    ("Gaussian of complex numbers", lambda: Gaussian(torch.zeros(2) + 0j, torch.eye(2), VESDE()), "mean", "complex"),
    ("Gaussian without noising", lambda: Gaussian(torch.zeros(2), torch.eye(2), None), "sde = None", "VESDE"),
    ("Gaussian of an event number", lambda: Gaussian([0.0], [[1.0]], VESDE(), event_shape=1), "event_shape = 1"),
    ("mixture of weight nan", lambda: GaussianMixture(LATENT, torch.eye(2)[None], [NAN], VESDE()), "weights", "nan"),
    ("score of integers", lambda: GAUSSIAN.score(LATENT.long(), 0.5), "x of torch.int64", "x.float()"),
    ("score of a list", lambda: GAUSSIAN.score([0.0, 0.0], 0.5), "x of type list", "(N, 2)"),
    ("score of another shape", lambda: GAUSSIAN.score(X, 0.5), "(2, 1, 8, 8)", "(N, 2)"),
    ("score at t a text", lambda: GAUSSIAN.score(LATENT, "0.5"), "t = '0.5'", "time"),
    ("score at t of other rows", lambda: GAUSSIAN.score(LATENT, torch.ones(3)), "t of shape (3,)", "(1,)"),
    ("draws of -1", lambda: GAUSSIAN.sample(-1), "n = -1", ">= 0"),
    ("draws in integers", lambda: GAUSSIAN.sample(1, dtype=torch.int64), "dtype = torch.int64", "floating"),
    ("posterior of a function", lambda: GAUSSIAN.posterior(torch.relu, LATENT), "operator of type", "Operator"),
    ("posterior of y None", lambda: GAUSSIAN.posterior(LinearMap(torch.eye(2), G), None), "y of NoneType", "(1, *M)"),
    ("network a function", lambda: priors.ScorePrior(len, VESDE(), (1, 8, 8)), "network of type", "Module"),
    ("network's range a pair", lambda: priors.ScorePrior(NETWORK.network, VESDE(), (1,), range=(0, 1)), "DataRange"),
    ("network's prediction 3", lambda: priors.ScorePrior(NETWORK.network, VESDE(), (1,), 3), "prediction = 3", "noise"),
    ("denoising integers", lambda: NETWORK.denoise(X.long(), 0.5), "x of torch.int64", "x.float()"),
    ("denoising at t = nan", lambda: NETWORK.denoise(X, NAN), "t = nan"),
    ("another noising, a text", lambda: NETWORK.with_sde("VPSDE"), "sde = 'VPSDE'", "VESDE"),
    ("resized to a number", lambda: NETWORK.resized(64), "event_shape = 64", "tuple"),
    ("tiles of 0", lambda: priors.Tiled("natural"), "prior of type str", "priors.load"),
    ("denoiser of sigma_min nan", lambda: priors.from_denoiser(len, event_shape=(1,), sigma_min=NAN), "sigma_min"),
    ("denoiser of variance 0", lambda: priors.from_denoiser(len, event_shape=(1,), variance=0), "variance = 0"),
    ("denoiser of a shape of text", lambda: priors.from_denoiser(len, event_shape="1"), "event_shape = '1'"),
    ("moments of two numbers", lambda: Moments.of_images([1.0, 2.0]), "images of type list"),
    ("moments of nan", lambda: Moments.of_images(X * NAN), "images", "nan"),
    ("moments of other shapes", lambda: Moments(X[0], X, X, X), "basis", "(d, k)"),
    ("moments of variance -1", lambda: Moments.isotropic((1,), -1), "variance = -1", ">= 0"),
    ("covariance of another size", lambda: Moments.of_covariance(torch.zeros(2), torch.eye(3)), "covariance (3, 3)"),
    ("crops of one axis", lambda: priors.Spectrum.of_crops(torch.ones(9)), "crops", "(9,)"),
    ("log_likelihood, rtol nan", likelihood(rtol=NAN), "rtol = nan", "(0, 1)"),
    ("log_likelihood, atol a text", likelihood(atol="1e-5"), "atol = '1e-5'", "number"),
    ("log_likelihood, t_min 0", likelihood(t_min=0), "t_min = 0", "(0, 1)"),
    ("log_likelihood, probe None", likelihood(probe=None), "probe = None", "rademacher"),
    ("log_likelihood, n_probes True", likelihood(n_probes=True), "n_probes = True", "integer"),
    ("log_likelihood, seed nan", likelihood(seed=NAN), "seed = nan", "integer"),
    ("log_likelihood, x nan", likelihood(x=LATENT * NAN), "x", "nan"),
    ("log_likelihood, x a list", likelihood(x=[0.0]), "x of type list"),
    ("log_likelihood, batch_size 0", likelihood(batch_size=0), "batch_size = 0", ">= 1"),
    ("log_likelihood of a text", likelihood(prior="natural"), "prior of type str", "priors.load"),
    ("bits_per_dim, levels 1.5", lambda: priors.bits_per_dim(GAUSSIAN, LATENT, levels=1.5), "levels = 1.5"),
    ("bits_per_dim, dequantize no", lambda: priors.bits_per_dim(GAUSSIAN, LATENT, dequantize="no"), "dequantize"),
    ("encode in nan steps", lambda: priors.encode(GAUSSIAN, LATENT, NAN), "n_steps = nan", "integer"),
    ("encode in 10^12 steps", lambda: priors.encode(GAUSSIAN, LATENT, 10**12), "n_steps", "<= 1000000"),
    ("decode, denoise yes", lambda: priors.decode(GAUSSIAN, LATENT, denoise="yes"), "denoise = 'yes'", "True or"),
    ("slerp by nan", lambda: priors.slerp(LATENT + 1, LATENT + 1, NAN), "weight = nan", "finite"),
    ("slerp of lists", lambda: priors.slerp([1.0], [2.0], 0.5), "z0 of type list"),
    ("temperature nan", lambda: priors.temper(LATENT, NAN), "temperature = nan", ">= 0"),
    ("temperature of a list", lambda: priors.temper([1.0], 1.0), "z of type list"),
    ("log_density in 0 steps", lambda: priors.log_density(GAUSSIAN, LATENT, 0.5, 0), "n_steps = 0", ">= 1"),
    ("log_density at t = 3", lambda: priors.log_density(GAUSSIAN, LATENT, 3), "t = 3", "time"),
    ("nodes True", lambda: priors.log_density_along(GAUSSIAN, LATENT, 0.5, True), "nodes = True", "integer"),
    ("streams of -1 rows", lambda: priors.RowRNG.rows(0, -1), "n = -1", ">= 0"),
    # recipes
    ("an unknown section", recipe(trainning={"lr": 1.0}), "['trainning']", "training"),
    ("a section that is a number", recipe(sde=3), "sde = 3", "[sde]"),
    ("a kind of nothing", recipe(kind=None), "kind = None", "text"),
    ("an unknown kind", recipe(kind="gan"), "kind = 'gan'", "prior, classifier"),
    ("labels of numbers", recipe(kind="classifier", labels=[1]), "labels = [1]", "texts"),
    ("a section without a name", lambda: changed(RECIPE | {"name": 3}, []), "name = 3", "text"),
    ("an unknown entry of range", recipe(range={"mean": 1.0}), "[range]", "'mean'"),
    ("a range of scale 0", recipe(range={"scale": 0.0}), "[range]", "scale = 0.0"),
    ("an unknown SDE", recipe(sde={"type": "cosine"}), "'cosine'", "VESDE"),
    ("an SDE of text", recipe(sde={"sigma_min": "low"}), "sigma_min = 'low'"),
    ("multipliers []", recipe(network={"multipliers": []}), "multipliers = []", "at least 1"),
    ("multipliers of floats", recipe(network={"multipliers": [1.5]}), "multipliers", "integer"),
    ("channels 0", recipe(network={"channels": 0}), "channels = 0", ">= 1"),
    ("dropout nan", recipe(network={"dropout": NAN}), "dropout = nan", "[0, 1)"),
    ("images of another size", recipe(network={"image_size": 16}), "(1, 8, 8)", "(1, 16, 16)", "image_size"),
    ("an unknown objective", recipe(prior={"objective": "gan"}), "objective = 'gan'", "denoising"),
    ("an unknown weight", recipe(prior={"weight": 3}), "weight = 3", "unit"),
    ("an unknown entry of prior", recipe(prior={"lr": 1.0}), "[prior]", "'lr'"),
    ("a focus of nan", recipe(prior={"focus": {"sigma": NAN, "spread": 1.0}}), "focus", "sigma = nan"),
    ("a focus that is a number", recipe(prior={"focus": 3}), "focus", "3"),
    ("lr inf", config(lr=INF), "lr = inf", "finite"),
    ("lr nan", config(lr=NAN), "lr = nan", "finite"),
    ("warmup -5", config(warmup=-5), "warmup = -5", ">= 0"),
    ("clip nan", config(clip=NAN), "clip = nan", "> 0"),
    ("clip 0", config(clip=0), "clip = 0", "> 0"),
    ("minutes nan", config(minutes=NAN), "minutes = nan", ">= 0"),
    ("minutes a text", config(minutes="ten"), "minutes = 'ten'", "number"),
    ("steps a float", config(steps=2.5), "steps = 2.5", "integer"),
    ("batch_size True", config(batch_size=True), "batch_size = True", "integer"),
    ("flip yes", config(flip="yes"), "flip = 'yes'", "True or False"),
    ("cosine 1", config(cosine=1), "cosine = 1", "True or False"),
    ("precision None", config(precision=None), "precision = None", "bfloat16"),
    ("save_minutes inf", config(save_minutes=INF), "save_minutes = inf", "finite"),
    ("ema nan", config(ema=NAN), "ema = nan", "[0, 1)"),
    ("training seed -1", config(seed=-1), "seed = -1", ">= 0"),
    ("focus share 2", lambda: Focus(1.0, 1.0, 2), "share = 2", "[0, 1]"),
    ("crops of scale nan", lambda: Crops(BYTES, 8, (NAN,)), "scales", "nan"),
    ("crops of size 0", lambda: Crops(BYTES, 0), "size = 0", ">= 1"),
    # solve, plan, sample
    ("antithetic yes", solve(antithetic="yes"), "antithetic = 'yes'", "True or False"),
    ("antithetic 1", plan(antithetic=1), "antithetic = 1", "True or False"),
    ("progress a text", solve(progress="no"), "progress = 'no'", "True or False"),
    ("n_samples nan", solve(n_samples=NAN), "n_samples = nan", "integer"),
    ("n_samples 10^12", solve(n_samples=10**12), "n_samples", "<= 10000000"),
    ("n_steps 10^12", solve(n_steps=10**12), "n_steps", "<= 1000000"),
    ("n_steps inf", solve(n_steps=INF), "n_steps = inf", "integer"),
    ("batch_size True", solve(batch_size=True), "batch_size = True", "integer"),
    ("first -1", solve(first=-1), "first = -1", ">= 0"),
    ("first 1.5", solve(first=1.5), "first = 1.5", "integer"),
    ("budget a number", solve(method="auto", budget=30), "budget 30", "fast"),
    ("budget a list", solve(method="auto", budget=[]), "budget []", "fast"),
    ("y complex", solve(y=X + 0j), "complex64", "torch.stack((y.real, y.imag), -3)"),
    ("y in half a batch axis", solve(y=X[0]), "(1, 8, 8)", "y[None]"),
    ("plan of a text", plan(prior="natural"), "prior of type str", "priors.load"),
    ("plan with a function", plan(operator=torch.relu), "operator of type", "Operator"),
    ("plan of n_samples 0", plan(n_samples=0), "n_samples = 0", ">= 1"),
    ("plan of n_steps a text", plan(n_steps="5"), "n_steps = '5'", "integer"),
    ("plan of seed nan", plan(seed=NAN), "seed = nan", "integer"),
    ("plan of y a list", plan(y=[1.0]), "y", "list", "floating"),
    ("sample of seed nan", sample(seed=NAN), "seed = nan", "integer"),
    ("sample of n_samples 10^12", sample(n_samples=10**12), "n_samples", "<="),
    ("sample with a bar of text", sample(progress="yes"), "progress = 'yes'", "True or False"),
    ("sample by a list", sample(method=["pc"]), "['pc']", "expected one of"),
    # parts of a method
    ("steps True", lambda: guidance.MMPS(True), "steps = True", "integer"),
    ("zeta nan", lambda: guidance.DPS(NAN), "zeta = nan", "> 0"),
    ("zeta inf", lambda: guidance.MCG(INF), "zeta = inf", "finite"),
    ("eta nan", lambda: predictors.DDIM(NAN), "eta = nan", "[0, 1]"),
    ("eta of a solver a text", lambda: predictors.DPMSolver("1"), "eta = '1'", "number"),
    ("snr nan", lambda: correctors.Langevin(NAN), "snr = nan", "(0, 0.5)"),
    ("probes nan", lambda: flow.Flow(probes=NAN), "probes = nan", "integer"),
    ("threshold nan", lambda: population.SMC(NAN), "threshold = nan", "[0, 1]"),
    ("jump 0", lambda: grids.TimeTravel(0), "jump = 0", ">= 1"),
    ("decay nan", lambda: grids.Sawtooth(decay=NAN), "decay = nan", "(0, 1)"),
    ("a grid of 0 steps", lambda: grids.uniform(VESDE(), 0), "n = 0", ">= 1"),
    ("a grid from nan", lambda: grids.karras(VESDE(), 4, NAN), "start = nan", "(0, 1]"),
    ("a grid of no SDE", lambda: grids.log_snr("VESDE", 4), "sde = 'VESDE'", "VESDE()"),
    ("a grid that ends above its start", lambda: grids.quadratic(VESDE(), 4, 0.5, 0.7), "end = 0.7", "(0, 0.5)"),
    ("a guidance of text", lambda: Method("mine", "dps"), "guidance of type str", "Guidance"),
    ("a class for a kernel", lambda: Method("mine", guidance.DPS(), predictors.Ancestral), "transition", "kernel"),
    ("a corrector alone", lambda: Method("m", guidance.DPS(), correctors=correctors.Langevin()), "correctors", "list"),
    ("a grid of text", lambda: Method("mine", guidance.DPS(), grid="karras"), "grid = 'karras'", "__call__"),
    ("a head of nan", lambda: Method("mine", guidance.DPS(), head=NAN), "head = nan", "> 0"),
    ("an order of 1", lambda: Method("mine", guidance.DPS(), order=1), "order = 1", "predict-first"),
    ("steps of 0", lambda: Method("mine", guidance.DPS(), n_steps=0), "n_steps = 0", ">= 1"),
    ("a share of nan", lambda: Handover(METHODS["mmps"], 0.1, NAN), "share = nan", "(0, 1)"),
    ("a handover to a text", lambda: Handover("mmps", 0.1, 0.5), "method of type str", "METHODS"),
    # after a solve
    ("quantile of text", lambda: SOLUTION.quantiles("0.5"), "q = '0.5'", "probability"),
    ("quantile of nan", lambda: SOLUTION.quantiles(NAN), "q = nan", "[0, 1]"),
    ("no quantiles", lambda: SOLUTION.quantiles([]), "q = []", "probabilities"),
    ("resampled to 1.5", lambda: SOLUTION.resample(1.5), "n = 1.5", "integer"),
    ("followed by a tensor", lambda: SOLUTION.followed_by(X), "more of type Tensor", "Solution"),
    ("examination of a tensor", lambda: inverse.examine(X, MASKING, X), "solution of type Tensor", "Solution"),
    ("examination of y None", lambda: inverse.examine(SOLUTION, MASKING, None), "y of type NoneType", "Tensor"),
    ("psnr of arrays", lambda: quality.psnr(np.ones((1, 1)), X), "estimate of type ndarray", "tensor"),
    ("ssim of 6 x 6", lambda: quality.ssim(X[..., :6, :6], X[..., :6, :6]), "7 x 7", "psnr"),
    ("ssim of vectors", lambda: quality.ssim(X.flatten(1), X.flatten(1)), "(B, C, H, W)"),
    ("chi2 of another size", lambda: quality.residual_chi2(MASKING, X[..., :5], X), "y", "(2, 1, 8, 5)"),
    ("predictive_p of lists", lambda: quality.predictive_p(MASKING, [1.0], [1.0]), "tensors"),
]  # fmt: skip
NAMES = [f"{i}: {call[0]}" for i, call in enumerate(CALLS)]


@pytest.mark.parametrize("call", CALLS, ids=NAMES)
def test_a_bad_call_is_refused_by_name(call):
    """Before any network call: `Untouchable` fails by an AssertionError if it is evaluated."""
    _, act, *words = call
    with pytest.raises((ValueError, TypeError)) as caught:
        act()
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, str(caught.value)


def test_there_are_hundreds():
    assert len(CALLS) >= 200 and len({call[0] for call in CALLS}) >= 200


@pytest.mark.parametrize("value", [np.int64(3), np.int32(3), 3])
def test_numpy_integers_are_counts(value):
    assert Downsampling(value).factor == 3 and TrainingConfig(steps=value).steps == 3
    assert Radon(value, 8).angles.shape == (3,)
    assert type(prior_arguments.count("n", value)) is int


@pytest.mark.parametrize("value", [np.float32(0.5), np.float64(0.5), torch.tensor(0.5), 0.5])
def test_numbers_of_numpy_and_torch_are_numbers(value):
    assert type(VESDE(sigma_min=value).sigma_min) is float and DataRange(scale=value).scale == 0.5
    assert predictors.DDIM(value).eta == 0.5


def test_both_rooms_check_alike():
    """`operators.arguments` and `priors.arguments` cannot import each other, but say the same."""
    values = [0, 1, -1, 0.5, NAN, INF, True, None, "1", np.int64(2), torch.tensor(0.25), torch.ones(2), 1j, [1]]
    for check, more in (
        ("number", "[0, 1)"),
        ("number", "(0, inf)"),
        ("count", 1),
        ("choice", ["1", "2"]),
        ("shape", None),
    ):
        for value in values:
            said = []
            for room in (operators.arguments, prior_arguments):
                try:
                    given = (value,) if more is None else (value, more)
                    said.append(getattr(room, check)("n", *given))
                except (TypeError, ValueError) as error:
                    said.append((type(error), str(error)))
            assert said[0] == said[1]


@pytest.mark.parametrize("sde", [VPSDE(), SubVPSDE(), VESDE()], ids=["vp", "subvp", "ve"])
@pytest.mark.parametrize("t", [0.0, torch.tensor(0.0), torch.zeros(2)], ids=["float", "scalar", "rows"])
def test_a_network_at_time_0_is_that_of_clean_images(sde, t):
    """VP and sub-VP have no noise there: log(sigma / alpha) is -inf, and (alpha D - x) / sigma^2 is 0 / 0."""
    prior = score_prior(sde)
    at = sde.least  # 0 for VE, which has noise at every time
    assert torch.equal(prior.denoise(X, t), prior.denoise(X, at)) and torch.equal(prior.score(X, t), prior.score(X, at))
    assert bool(prior.score(X, t).isfinite().all())
    if sde.sigma(0.0) == 0:
        torch.testing.assert_close(prior.denoise(X, t), X, atol=1e-2, rtol=0)


def test_a_row_of_nan_stays_nan_in_iterations():
    y = MIRROR(X)
    y[1, 0, 3, 3] = NAN
    v = MIRROR.solve_gram(y, 0.1)
    assert bool(v[1].isnan().all()) and bool(v[0].isfinite().all())


# the sweep ------------------------------------------------------------------------------------------------------------

ROOT = str(Path(inverse.__file__).parents[1])
CLEAR = (ValueError, TypeError, FileNotFoundError, ArithmeticError)


class Hanging(BaseException):
    pass


def outcome(call) -> str:
    """ "accepted", "clear" or what is wrong with the way in which it was refused."""

    def late(*_):
        raise Hanging

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, 20)  # of this process's own time: what else the machine does is no matter
    try:
        call()
        return "accepted"
    except Hanging:
        return "it hangs"
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        named = "unexpected keyword argument" in str(error)
        if isinstance(error, CLEAR) and (named or (last.filename.startswith(ROOT) and "raise" in (last.line or ""))):
            return "clear"
        said = re.sub(r"\s+", " ", str(error))[:150]
        return f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}: {said}"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@pytest.mark.slow
@pytest.mark.parametrize("room", ROOMS)
def test_a_spoilt_argument_is_refused_or_serves(room):
    """Every argument of every public call, spoilt in every way: no raw error of torch or Python, and no hang."""

    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for good in ROOMS[room]():
            for argument, label, call in good.spoilt():
                found[f"{good.name}, {argument} = {label}"] = outcome(call)
    assert not {name: what for name, what in found.items() if what not in ("accepted", "clear")}
    assert list(found.values()).count("clear") > len(found) / 2

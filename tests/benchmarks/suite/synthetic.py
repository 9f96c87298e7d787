"""Records as a runner would leave them, of real pictures and made-up methods; no sampler runs."""

from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter

import priors
from benchmarks.suite.records import Record, Scale

SCALES = {
    "psnr_mean": Scale("PSNR of the mean, dB", "higher"),
    "ssim_mean": Scale("SSIM of the mean", "higher", 3), "crps": Scale("CRPS", "lower", 4),
    "coverage95": Scale("coverage of central 95 % intervals, %", 0.95, 1, percent=True),
    "chi2": Scale("residual chi^2 of a sample", 1.0),
    "width95": Scale("width of central 95 % intervals", "none", 3),
}  # fmt: skip
METHODS = {  # name: blur of its mean, spread, coverage, NFE, seconds per image, samples
    "mmps": (0.9, 0.10, 0.945, 100, 6.1), "tmpd": (0.95, 0.10, 0.94, 100, 6.3), "pigdm": (1.0, 0.11, 0.93, 100, 3.2),
    "dps": (1.5, 0.14, 0.90, 250, 8.5), "ddrm": (1.2, 0.06, 0.71, 20, 0.5), "ddnm": (1.25, 0.07, 0.73, 100, 2.4),
    "diffpir": (1.15, 0.07, 0.75, 100, 2.9), "daps": (1.05, 0.09, 0.88, 400, 13.0),
    "splitgibbs": (1.1, 0.12, 0.955, 600, 21.0), "exact": (0.85, 0.10, 0.949, 200, 32.0),
    "replacement": (1.9, 0.17, 0.86, 100, 2.3), "scoremri": (1.8, 0.15, 0.87, 200, 4.4),
}  # fmt: skip
ESTIMATES = {"linear MMSE": (1.4, 0.01), "biharmonic": (2.0, 0.03), "reddiff": (1.2, 2.6)}
PROVENANCE = {
    "command": "inverse-bench run suite benchmarks/configs/smoke.toml --out runs/suite", "version": "0.5.0",
    "torch": "2.11.0", "python": "3.12.4", "machine": "2 CPU cores (x86_64), 1 threads", "commit": "bff521f",
    "date": "2026-11-26",
}  # fmt: skip
TASKS = {"masking": "Inpainting, half of the pixels", "blur": "Deblurring, Gaussian kernel", "box": "A missing box"}
K, BINS = 19, 10
SPREAD = ("crps", "coverage95", "width95")


def records(
    problem: str = "masking", n: int = 8, blocks: int = 2, seeds: tuple[int, ...] = (0, 1), methods=None, pictures=True
) -> list[Record]:
    """Records of a problem: ``n`` images in ``blocks``, of every method and seed."""
    found = []
    for name in methods or (*METHODS, *ESTIMATES):
        for seed in seeds if name in METHODS else seeds[:1]:
            for images in np.array_split(np.arange(n), blocks):
                found.append(record(problem, name, seed, tuple(int(i) for i in images), pictures))
    return found


def record(problem: str, name: str, seed: int, images: tuple[int, ...], pictures: bool = True) -> Record:
    """One unit; numbers depend on problem, image and method, and a little on the seed."""
    hard = 0.2 * sorted(TASKS).index(problem)
    posterior = name in METHODS
    if posterior:
        blur, spread, covered, nfe, seconds = METHODS[name]
    else:
        (blur, seconds), spread, covered, nfe = ESTIMATES[name], 0.0, 0.0, 0
    blur += hard
    metrics: dict[str, list[float]] = {m: [] for m in SCALES if posterior or m in ("psnr_mean", "ssim_mean", "chi2")}
    shown: dict[str, list[np.ndarray]] = {k: [] for k in ("truth", "measurement", "mean", "std", "samples")}
    ranks = []
    for image in images:
        own = np.random.default_rng([image, sorted(TASKS).index(problem)])
        rng = np.random.default_rng([image, seed, sum(name.encode()), sorted(TASKS).index(problem)])
        ease = own.normal()
        drawn = {
            "psnr_mean": 31 - 6 * blur + 1.8 * ease + 0.3 * rng.normal(), "ssim_mean": 1 - 0.13 * blur + 0.02 * ease,
            "crps": 0.02 * (1 + blur) + 0.002 * rng.normal(), "coverage95": covered + 0.03 * rng.normal(),
            "chi2": 0.6 + 0.4 * covered / 0.95 + 0.05 * rng.normal(), "width95": spread + 0.01 * rng.normal(),
        }  # fmt: skip
        for metric in metrics:
            metrics[metric].append(float(drawn[metric]))
        truth = _truth(image)
        mean = np.clip(gaussian_filter(truth, (0, blur, blur)), 0, 1)
        std = spread * (0.25 + 4 * np.abs(truth - gaussian_filter(truth, (0, 1.5, 1.5))))
        noise = rng.normal(size=(4, *truth.shape))
        samples = mean + std * gaussian_filter(noise, (0, 0, 0.7, 0.7)) * 2
        masked = np.where(own.random(truth.shape) < 0.5, truth, 0)
        if problem == "blur":
            masked = gaussian_filter(truth, (0, 2, 2)) + 0.05 * own.normal(size=truth.shape)
        if problem == "box":
            masked = truth.copy()
            masked[:, 8:20, 8:20] = 0
        for kind, picture in (("truth", truth), ("measurement", masked), ("mean", mean), ("std", std)):
            shown[kind].append(picture)
        shown["samples"].append(samples)
        ideal = np.ones(BINS) / BINS
        edges = np.zeros(BINS)
        edges[[0, -1]] = 0.5
        tail = min(max((0.95 - covered) * 1.5, 0), 1)
        ranks.append(rng.multinomial(784, rng.dirichlet(40 * ((1 - tail) * ideal + tail * edges))))
    kept = {k: np.stack(v).astype(np.float32) for k, v in shown.items() if posterior or k not in ("std", "samples")}
    return Record(
        key=f"{problem}-{name}-{seed}-{images[0]}", problem=problem, task=TASKS[problem], prior="fashion-mnist",
        method=name, posterior=posterior, seed=seed, images=images, n_samples=K if posterior else 0,
        settings={"steps": nfe} if posterior else {}, metrics={m: np.array(v) for m, v in metrics.items()},
        scales={m: SCALES[m] for m in metrics},
        missing={} if posterior else dict.fromkeys(SPREAD, "a single estimate has no spread"),
        pictures=kept if pictures else {}, ranks=np.array(ranks) if posterior else None, nfe=nfe,
        nvjp=nfe if name in ("mmps", "dps", "pigdm", "tmpd") else 0, seconds=seconds * len(images) * (1 + hard),
        peak_memory=310_000_000 if posterior else 0, provenance=PROVENANCE,
    )  # fmt: skip


@lru_cache
def _truth(image: int) -> np.ndarray:
    held = priors.samples("fashion-mnist")
    return held.floats([image % len(held)])[0].numpy().astype(np.float64)

"""Unconditional pipelines of the diffusers package: DDPMPipeline, DDIMPipeline, ScoreSdeVePipeline."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from priors.score_prior import DataRange, Prediction, ScorePrior
from priors.sde import VESDE, LadderSDE

PIPELINES = ("DDPMPipeline", "DDIMPipeline", "ScoreSdeVePipeline")

# E[u0 | u_t] from the prediction of a discrete-time network: (output, u, alpha, sigma)
TARGETS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "epsilon": lambda output, u, alpha, sigma: (u - sigma * output) / alpha,
    "sample": lambda output, u, alpha, sigma: output,
    "v_prediction": lambda output, u, alpha, sigma: alpha * u - sigma * output,
}


class UNet(nn.Module):
    """A diffusers UNet2DModel with our calling convention: (u (N, C, H, W), label (N,)) -> (N, C, H, W).

    Arguments: unet; output channels beyond those of the image (a learned variance) are dropped.
    """

    def __init__(self, unet: Any):
        super().__init__()
        self.unet, self.channels = unet, unet.config.in_channels
        self.whole = unet.config.time_embedding_type == "learned"

    def forward(self, u: Tensor, label: Tensor) -> Tensor:
        label = label.round().long() if self.whole else label
        return self.unet(u, label).sample[:, : self.channels]


def load(source: str | Path) -> ScorePrior:
    """The prior of a pipeline, in image units [0, 1].

    DDPM and DDIM: the SDE is a `LadderSDE` with the scheduler's n levels; the label at time t is the timestep n t - 1,
        fractional between levels (rounded only for a table of learned embeddings). ScoreSdeVe: `VESDE`, and the network
        predicts the score from the label sigma. Clipping, thresholding and the number of steps of the pipeline's
        sampler are not used.
    Source: Ho et al. 2020 (epsilon); Salimans & Ho 2022 (v_prediction); Song et al. 2021 (VE); Lu et al. 2022
    (fractions).
    Arguments: source: a folder that a pipeline wrote (`save_pretrained`), or a name "OWNER/NAME" on the Hugging Face
    hub. A name is looked up in the local cache of diffusers, then downloaded, with a notice on stderr.
    Returns: `ScorePrior` in evaluation mode and without parameter gradients.
    Raises: ValueError where diffusers is not installed and for an unsupported pipeline; FileNotFoundError where neither
    a folder nor a download exists.
    """
    try:
        import diffusers
    except ImportError:
        raise ValueError(
            "source 'diffusers:...' needs the package diffusers: install score-inverse[diffusers]"
        ) from None
    folder, index = _fetch(str(source))
    kind = index.get("_class_name")
    unet_kind = (index.get("unet") or [None, None])[1]
    if kind not in PIPELINES or unet_kind != "UNet2DModel":
        raise ValueError(
            f"{source} is a {kind} with the network {unet_kind}: expected one of {list(PIPELINES)} with a UNet2DModel; "
            "a latent, conditional or text-to-image pipeline is no prior over images"
        )
    unet: Any = diffusers.UNet2DModel.from_pretrained(_part(folder, "unet"))  # type: ignore
    scheduler: Any = getattr(diffusers, index["scheduler"][1]).from_pretrained(_part(folder, "scheduler"))
    if unet.config.class_embed_type is not None or unet.config.num_class_embeds is not None:
        raise ValueError(f"{source} is conditional on a class: expected an unconditional UNet2DModel")
    if unet.config.sample_size is None:
        raise ValueError(f"{source} does not say its image size: set sample_size in the config of its UNet2DModel")
    size = unet.config.sample_size
    shape = (unet.config.in_channels, *((size, size) if isinstance(size, int) else size))
    network = UNet(unet).eval().requires_grad_(False)
    if kind == "ScoreSdeVePipeline":
        sde = VESDE(float(scheduler.config.sigma_min), float(scheduler.config.sigma_max))
        prior = ScorePrior(network, sde, shape, _score_of_sigma, DataRange(0.0, 1.0))
        prior.variance = 0.25  # of images in [0, 1] at most; the range is the identity and does not say it
        return prior.eval()
    return ScorePrior(
        network, _ladder(source, scheduler), shape, _levels(source, scheduler), DataRange(0.5, 0.5)
    ).eval()


def _score_of_sigma(network, u, alpha, sigma, t):
    return (u + sigma**2 * network(u, sigma.reshape(-1).expand(len(u)))) / alpha


def _levels(source, scheduler) -> Prediction:
    name, n = scheduler.config.get("prediction_type", "epsilon"), len(scheduler.alphas_cumprod)
    if name not in TARGETS:
        raise ValueError(f"{source} predicts {name!r}: expected one of {sorted(TARGETS)}")
    target = TARGETS[name]

    def prediction(network, u, alpha, sigma, t):
        return target(network(u, n * t - 1), u, alpha, sigma)

    return prediction


def _ladder(source, scheduler) -> LadderSDE:
    if not hasattr(scheduler, "alphas_cumprod"):
        raise ValueError(f"{source} has a {type(scheduler).__name__}: expected a scheduler with alphas_cumprod")
    try:
        return LadderSDE.from_alphas_bar(scheduler.alphas_cumprod.double().tolist(), scale=0.5)
    except ValueError as error:
        raise ValueError(f"the scheduler of {source} is no ladder of noise ({error})") from None


def _fetch(source: str) -> tuple[Path, dict[str, Any]]:
    """(Folder of a pipeline, its model_index.json), from disk or from the hub."""
    import diffusers

    pipeline: Any = diffusers.DiffusionPipeline  # type: ignore
    local = Path(source).expanduser()
    if source and local.is_dir():
        if not (local / "model_index.json").is_file():
            raise FileNotFoundError(
                f"{local} has no model_index.json: expected what a pipeline's save_pretrained wrote"
            )
        return local, dict(pipeline.load_config(str(local)))
    if source.count("/") != 1 or source[0] in "./~":
        raise FileNotFoundError(f"no folder at {source!r}: expected one, or a name OWNER/NAME on the Hugging Face hub")
    try:
        folder = pipeline.download(source, local_files_only=True)
    except (OSError, ValueError):  # not there yet
        print(f"diffusers: downloading {source} from the Hugging Face hub", file=sys.stderr)
        try:
            folder = pipeline.download(source)
        except Exception as error:  # the network stack may raise anything
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise FileNotFoundError(
                f"neither a folder {source!r} here nor a pipeline of that name on the hub ({reason}); check the name, "
                "go online, or give the folder of a copy"
            ) from None
    return Path(folder), dict(pipeline.load_config(folder))


def _part(folder: Path, name: str) -> Path:
    """Old pipelines keep their parts in one folder, later ones in a folder each."""
    return folder / name if (folder / name).is_dir() else folder

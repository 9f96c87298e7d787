"""Pipelines of the diffusers package that are a UNet2DModel and a scheduler, unconditional or of classes."""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from priors.score_prior import DataRange, Prediction, ScorePrior
from priors.sde import VESDE, LadderSDE

PARTS = {"unet", "scheduler"}

# E[u0 | u_t] from the prediction of a discrete-time network: (output, u, alpha, sigma)
TARGETS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "epsilon": lambda output, u, alpha, sigma: (u - sigma * output) / alpha,
    "sample": lambda output, u, alpha, sigma: output,
    "v_prediction": lambda output, u, alpha, sigma: alpha * u - sigma * output,
}
SIGNS = {"epsilon": 1.0, "v_prediction": -1.0}  # of the output in schedulers of EDM's kind


class UNet(nn.Module):
    """A diffusers UNet2DModel with our calling convention: (u (N, C, H, W), label (N,), classes (N,) or None) ->
    (N, C, H, W).

    Arguments: unet; output channels beyond those of the image (a learned variance) are dropped; offset is added to the
    label; the output is multiplied by sign.
    Attributes: classes (int, 0 if unconditional); null: whether it serves without a class.
    """

    null = False

    def __init__(self, unet: Any, offset: float = 0.0, sign: float = 1.0):
        super().__init__()
        self.unet, self.channels, self.offset, self.sign = unet, unet.config.in_channels, offset, sign
        self.classes = unet.config.num_class_embeds or 0
        self.whole = unet.config.time_embedding_type == "learned"

    def forward(self, u: Tensor, label: Tensor, classes: Tensor | None = None) -> Tensor:
        if self.classes and classes is None:
            raise ValueError(f"this network is of {self.classes} classes: choose one, prior.conditioned(label)")
        label = label.round().long() if self.whole else label + self.offset
        return self.sign * self.unet(u, label, class_labels=classes).sample[:, : self.channels]


def load(source: str | Path) -> ScorePrior:
    """The prior of a pipeline, in image units [0, 1].

    Schedulers with a table of alphas (DDPM, DDIM, PNDM, DPMSolverMultistep, EulerDiscrete and others): the SDE is a
        `LadderSDE` with the scheduler's n levels; the label at time t is the timestep n t - 1, fractional between
        levels (rounded only for a table of learned embeddings). ScoreSdeVe: `VESDE`, and the network predicts the score
        from the label sigma. EDMEuler and EDMDPMSolverMultistep: preconditioned, under `VESDE` of the scheduler's noise
        levels unless another SDE is given. Clipping, thresholding and the number of steps of the pipeline's sampler are
        not used.
    Source: Ho et al. 2020 (epsilon); Salimans & Ho 2022 (v_prediction); Song et al. 2021 (VE); Lu et al. 2022
    (fractions); Karras et al. 2022 (EDM).
    Arguments: source: a folder that a pipeline wrote (`save_pretrained`), or a name "OWNER/NAME", with "@REVISION" or
    none, on the Hugging Face hub. A name is looked up in the local cache of diffusers, then downloaded, with a notice
    on stderr.
    Returns: `ScorePrior` in evaluation mode and without parameter gradients; of classes: see `ScorePrior.conditioned`.
    Raises: ValueError where diffusers is not installed and for an unsupported pipeline; FileNotFoundError where neither
    a folder nor a download exists.
    """
    diffusers = package("diffusers")
    folder, index = _fetch(str(source))
    parts = {name: kind[1] for name, kind in index.items() if isinstance(kind, list | tuple) and kind[1] is not None}
    if set(parts) != PARTS or parts["unet"] != "UNet2DModel":
        raise ValueError(
            f"{source} is a {index.get('_class_name')} of {parts}: expected a UNet2DModel as unet and a scheduler "
            "alone, such as a DDPMPipeline; a latent or text-to-image pipeline is no prior over images"
        )
    unet = diffusers.UNet2DModel.from_pretrained(_part(folder, "unet"))
    kind: Any = getattr(diffusers, str(parts["scheduler"]), None)
    if not isinstance(kind, type) or not issubclass(kind, diffusers.SchedulerMixin):
        raise ValueError(
            f"{source} has a {parts['scheduler']}: expected a scheduler of diffusers, such as DDPMScheduler"
        )
    scheduler = kind.from_pretrained(_part(folder, "scheduler"))
    if unet.config.class_embed_type is not None:
        raise ValueError(
            f"{source} embeds classes by {unet.config.class_embed_type!r}: expected a table, num_class_embeds"
        )
    if unet.config.sample_size is None:
        raise ValueError(f"{source} does not say its image size: set sample_size in the config of its UNet2DModel")
    size = unet.config.sample_size
    shape = (unet.config.in_channels, *((size, size) if isinstance(size, int) else size))
    unet.eval().requires_grad_(False)
    if parts["scheduler"] == "ScoreSdeVeScheduler":
        sde = VESDE(float(scheduler.config.sigma_min), float(scheduler.config.sigma_max))
        prior = ScorePrior(UNet(unet), sde, shape, _score_of_sigma, DataRange(0.0, 1.0))
        prior.variance = 0.25  # of images in [0, 1] at most; the range is the identity and does not say it
        return prior.eval()
    if hasattr(scheduler, "precondition_inputs"):
        return _edm(source, unet, scheduler.config, shape)
    sde = _ladder(source, parts["scheduler"], scheduler)
    return ScorePrior(UNet(unet), sde, shape, _levels(source, scheduler), DataRange(0.5, 0.5)).eval()


def _edm(source, unet, config, shape) -> ScorePrior:
    """ "preconditioned" for u / sigma_data, but for the label, log(sigma) / 4."""
    if config.prediction_type not in SIGNS:
        raise ValueError(f"{source} predicts {config.prediction_type!r}: expected one of {sorted(SIGNS)}")
    network = UNet(unet, 0.25 * math.log(config.sigma_data), SIGNS[config.prediction_type])
    sde = VESDE(config.sigma_min / 2, config.sigma_max / 2)
    return ScorePrior(network, sde, shape, "preconditioned", DataRange(0.5, 0.5 * config.sigma_data)).eval()


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


def _ladder(source, kind: str, scheduler) -> LadderSDE:
    if not hasattr(scheduler, "alphas_cumprod") or scheduler.config.get("timestep_type", "discrete") != "discrete":
        raise ValueError(
            f"{source} has a {kind}: expected one of discrete timesteps with alphas_cumprod, "
            "ScoreSdeVeScheduler, or one of EDM"
        )
    try:
        return LadderSDE.from_alphas_bar(scheduler.alphas_cumprod.double().tolist(), scale=0.5)
    except ValueError as error:
        raise ValueError(f"the scheduler of {source} is no ladder of noise ({error})") from None


def package(format: str) -> ModuleType:
    """diffusers, which is optional and whose names no type checker knows: it makes them at run time.

    Arguments: format: the first part of the source that needs it, for the message.
    Raises: ValueError where it is not installed.
    """
    try:
        import diffusers
    except ImportError:
        raise ValueError(
            f"source '{format}:...' needs the package diffusers: install score-inverse[diffusers]"
        ) from None
    return diffusers


def _fetch(source: str) -> tuple[Path, dict[str, Any]]:
    """(Folder of a pipeline, its model_index.json), from disk or from the hub."""
    pipeline = package("diffusers").DiffusionPipeline
    local = Path(source).expanduser()
    if source and local.is_dir():
        if not (local / "model_index.json").is_file():
            raise FileNotFoundError(
                f"{local} has no model_index.json: expected what a pipeline's save_pretrained wrote"
            )
        return local, dict(pipeline.load_config(str(local)))
    name, _, revision = source.partition("@")
    if name.count("/") != 1 or name[0] in "./~":
        raise FileNotFoundError(f"no folder at {source!r}: expected one, or a name OWNER/NAME on the Hugging Face hub")
    options = {"revision": revision} if revision else {}
    try:
        folder = pipeline.download(name, local_files_only=True, **options)
    except (OSError, ValueError):  # not there yet
        print(f"diffusers: downloading {source} from the Hugging Face hub", file=sys.stderr)
        try:
            folder = pipeline.download(name, **options)
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

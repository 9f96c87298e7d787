"""Velocity networks, of flow matching and rectified flow, as priors."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from priors.arguments import choice, count, function, number
from priors.base import expand
from priors.importers.diffusers import UNet, _fetch, _part, package
from priors.moments import Moments
from priors.score_prior import DataRange, Network, Prediction, ScorePrior
from priors.sde import SDE, VPSDE, RectifiedFlowSDE
from priors.spectrum import StationaryMoments

PATHS: dict[str, Callable[[float], SDE]] = {
    "linear": lambda scale: RectifiedFlowSDE(scale),
    "vp": lambda scale: VPSDE(scale=scale),
}
SCHEDULERS = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")


class Velocity(nn.Module):
    """A velocity field with the calling convention of `ScorePrior`: (u (N, *E), label (N,)) -> (N, *E).

    Arguments: velocity: a module, whose weights move with the prior, or a function.
    """

    def __init__(self, velocity: Callable[[Tensor, Tensor], Tensor]):
        super().__init__()
        self.velocity = velocity

    def forward(self, u: Tensor, label: Tensor) -> Tensor:
        output = self.velocity(u, label)
        if not isinstance(output, Tensor) or output.shape != u.shape:
            raise ValueError(
                f"the velocity of x {tuple(u.shape)} is {getattr(output, 'shape', type(output).__name__)}: expected a "
                "tensor of the same shape; wrap it, such as lambda x, t: velocity(x, t).sample"
            )
        return output


def from_velocity(
    velocity: Callable[[Tensor, Tensor], Tensor],
    path: str | SDE = "linear",
    *,
    event_shape: tuple[int, ...],
    range: DataRange,
    data_at: int = 0,
    time_scale: float = 1.0,
    variance: float | None = None,
    moments: Moments | StationaryMoments | None = None,
) -> ScorePrior:
    """The prior of a velocity field, as flow matching, rectified flow and stochastic interpolants train it.

    Formula: the network sees u = alpha u0 + sigma z at the path's time tau and predicts v = alpha' u0 + sigma' z on
    average, the derivatives by tau. Hence E[u0 | u] = (sigma' u - sigma v) / (alpha sigma' - alpha' sigma), which is
    u - tau v on the linear path; the score follows by Tweedie's formula. All three are the same function of u, exactly.
    Source: Lipman et al. 2023; Liu, Gong & Liu 2023; Albergo, Boffi & Vanden-Eijnden 2023 (the algebra).
    Arguments: velocity: (u (N, *E), tau (N,)) -> (N, *E), a module in evaluation mode or a function; path: "linear"
    (`RectifiedFlowSDE`), "vp" (`VPSDE`), or an SDE in data units whose time is that of the network; event_shape (E);
    range: `DataRange(0.5, 0.5)` for a network of images in [-1, 1], `DataRange()` for one in data units; the noise of
    "linear" and "vp" is standard normal in the network's units. data_at: the network's time of the data, 0 or 1; with 1
    (Lipman et al. 2023) it gets 1 - tau, and its velocity points from noise to data. time_scale (float > 0): the
    network's time is that many times the path's, such as 1000. variance (data units squared): of one coordinate of x0,
    default range.scale^2 or that of the moments; moments: of the data (see `priors.Prior`).
    Returns: `ScorePrior`.
    Raises: TypeError or ValueError for a velocity that is not callable, an unknown path and arguments out of range; at
    the first evaluation for a velocity of another shape.
    """
    function("velocity", velocity)
    if not isinstance(range, DataRange):
        raise TypeError(f"range = {range!r:.60}: expected a DataRange, DataRange(0.5, 0.5) for images in [-1, 1]")
    if not isinstance(path, SDE):
        path = PATHS[choice("path", path, sorted(PATHS))](range.scale)
    count("data_at", data_at, 0, 1, "the network's time of the data")
    number("time_scale", time_scale, "(0, inf)", "1000 for a network whose times go up to 1000")
    if variance is not None:
        number("variance", variance, "(0, inf)", "in data units squared")
    prediction = predicted(path, float(data_at), time_scale)
    prior = ScorePrior(Velocity(velocity), path, event_shape, prediction, range, moments)
    if moments is not None:
        prior.variance = moments.average(lambda variances: variances)
    prior.variance = prior.variance if variance is None else variance
    return prior.eval()


def predicted(sde: SDE, data_at: float, time_scale: float) -> Prediction:
    """E[u0 | u] from a velocity, as `ScorePrior` takes it; arguments as `from_velocity`.

    Formula: of the SDE's own time, alpha' = f alpha and sigma' = f sigma + g2 / (2 sigma), so that
    alpha sigma' - alpha' sigma = alpha g2 / (2 sigma).
    """
    rate = sde.end if isinstance(sde, RectifiedFlowSDE) else 1.0  # d tau / dt

    def prediction(network: Network, u: Tensor, alpha: Tensor, sigma: Tensor, t: Tensor) -> Tensor:
        tau = rate * t
        label, sign = (1 - tau, -1.0) if data_at else (tau, 1.0)
        velocity = sign * rate * network(u, time_scale * label)
        clock = t.double()  # near t = 1 the two terms of sigma' cancel
        s, half = sde.sigma(clock), sde.g2(clock) / (2 * sde.sigma(clock))
        a, slope = sde.alpha(clock), sde.f(clock) * s + half
        return expand(slope / (a * half), u) * u - expand(s / (a * half), u) * velocity

    return prediction


def load(source: str | Path) -> ScorePrior:
    """The prior of a diffusers pipeline with a flow-matching scheduler, in image units [0, 1].

    The network predicts noise minus image from the label n tau, with the scheduler's n training timesteps, fractions
    included; or, of a scheduler with ``invert_sigmas``, image minus noise from n (1 - tau). The shift of the scheduler
    says at which times its own sampler stops, and is not used.
    Source: Liu, Gong & Liu 2023; Esser et al. 2024.
    Arguments: source: as of `priors.importers.diffusers.load`.
    Returns: `ScorePrior` in evaluation mode and without parameter gradients.
    Raises: as `priors.importers.diffusers.load`; ValueError for another network or scheduler, and for a pipeline over
    latents.
    """
    diffusers = package("flow")
    folder, index = _fetch(str(source))
    (_, network_kind), (_, kind) = (index.get(name) or (None, None) for name in ("unet", "scheduler"))
    if network_kind != "UNet2DModel" or kind not in SCHEDULERS:
        raise ValueError(
            f"{source} has the network {network_kind} and the scheduler {kind}: expected a UNet2DModel and one of "
            f"{list(SCHEDULERS)}; a noise-predicting pipeline is loaded by 'diffusers:', and any other velocity by "
            "priors.from_velocity"
        )
    if coders := sorted({"vae", "vqvae"} & set(index)):
        raise ValueError(
            f"{source} is a pipeline over the latents of its {coders[0]}: load its network with priors.from_velocity "
            "and give both to priors.Latent"
        )
    network = diffusers.UNet2DModel.from_pretrained(_part(folder, "unet"))
    scheduler = getattr(diffusers, kind).from_pretrained(_part(folder, "scheduler"))
    config, size = network.config, network.config.sample_size
    if config.class_embed_type is not None or config.num_class_embeds is not None:
        raise ValueError(f"{source} is conditional on a class: expected an unconditional UNet2DModel")
    if size is None:
        raise ValueError(f"{source} does not say its image size: set sample_size in the config of its UNet2DModel")
    return from_velocity(
        UNet(network).eval().requires_grad_(False),
        event_shape=(config.in_channels, *((size, size) if isinstance(size, int) else size)),
        range=DataRange(0.5, 0.5),
        data_at=int(bool(scheduler.config.get("invert_sigmas", False))),
        time_scale=float(scheduler.config.num_train_timesteps),
    )

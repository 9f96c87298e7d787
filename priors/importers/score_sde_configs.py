"""Networks and SDEs of the official configs (Song et al. 2021, appendices B to H).

The key of ``configs/SDE/DATASET_NETWORK.py`` is ``DATASET/SDE/NETWORK``; a dataset without a size in its name has the
size of its config: 1024 for celebahq/ve, 256 for celebahq/vp.
"""

from dataclasses import dataclass, replace

from priors.nets import UNetConfig
from priors.sde import SDE, VESDE, VPSDE, LadderSDE, SubVPSDE


@dataclass(frozen=True)
class Config:
    """A network, its SDE in image units and its prediction (a name in `priors.score_prior.PREDICTIONS`)."""

    network: UNetConfig
    sde: SDE
    prediction: str


def _ve(network: UNetConfig, sigma_max: float) -> Config:
    """Continuous: the label is log sigma, by Fourier features; discrete: one of 1000 levels."""
    return Config(network, VESDE(0.01, sigma_max), "score01" if network.embedding == "fourier" else "smld")


def _vp(network: UNetConfig, sde: SDE) -> Config:
    return Config(network, sde, "ddpm" if isinstance(sde, LadderSDE) else "noise")


DDPMPP = UNetConfig()
NCSNPP = replace(DDPMPP, fir=True, input_pyramid="residual")
FOURIER = replace(NCSNPP, embedding="fourier")
DDPM = UNetConfig(block="ddpm", res_blocks=2)
DDPM_256 = replace(DDPM, image_size=256, multipliers=(1, 1, 2, 2, 4, 4), dropout=0.0)
SKIP_256 = replace(
    FOURIER, image_size=256, multipliers=(1, 1, 2, 2, 2, 2, 2), res_blocks=2, input_pyramid="sum", output_pyramid=True,
    dropout=0.0,
)  # fmt: skip
SKIP_1024 = replace(SKIP_256, image_size=1024, channels=16, multipliers=(1, 2, 4, 8, 16, 32, 32, 32), res_blocks=1)


def _deep(network: UNetConfig) -> UNetConfig:
    return replace(network, res_blocks=8)


VP, SUBVP, LADDER = VPSDE(scale=0.5), SubVPSDE(scale=0.5), LadderSDE.ddpm(scale=0.5)

CONFIGS: dict[str, Config] = {
    "cifar10/ve/ncsnpp": _ve(NCSNPP, 50.0),
    "cifar10/ve/ncsnpp_continuous": _ve(FOURIER, 50.0),
    "cifar10/ve/ncsnpp_deep_continuous": _ve(_deep(FOURIER), 50.0),
    "cifar10/ve/ddpm": _ve(DDPM, 50.0),
    "celeba/ve/ncsnpp": _ve(replace(NCSNPP, image_size=64), 90.0),
    "bedroom/ve/ncsnpp_continuous": _ve(SKIP_256, 378.0),
    "church/ve/ncsnpp_continuous": _ve(SKIP_256, 378.0),
    "celebahq_256/ve/ncsnpp_continuous": _ve(SKIP_256, 348.0),
    "ffhq_256/ve/ncsnpp_continuous": _ve(SKIP_256, 348.0),
    "celebahq/ve/ncsnpp_continuous": _ve(SKIP_1024, 1348.0),
    "ffhq/ve/ncsnpp_continuous": _ve(SKIP_1024, 1348.0),
    "cifar10/vp/ncsnpp": _vp(NCSNPP, LADDER),
    "cifar10/vp/ncsnpp_continuous": _vp(NCSNPP, VP),
    "cifar10/vp/ncsnpp_deep_continuous": _vp(_deep(NCSNPP), VP),
    "cifar10/vp/ddpmpp": _vp(DDPMPP, LADDER),
    "cifar10/vp/ddpmpp_continuous": _vp(DDPMPP, VP),
    "cifar10/vp/ddpmpp_deep_continuous": _vp(_deep(DDPMPP), VP),
    "cifar10/vp/ddpm": _vp(DDPM, LADDER),
    "cifar10/vp/ddpm_continuous": _vp(DDPM, VP),
    "bedroom/vp/ddpm": _vp(DDPM_256, LADDER),
    "celebahq/vp/ddpm": _vp(DDPM_256, LADDER),
    "church/vp/ddpm": _vp(DDPM_256, LADDER),
    "cifar10/subvp/ncsnpp_continuous": _vp(NCSNPP, SUBVP),
    "cifar10/subvp/ncsnpp_deep_continuous": _vp(_deep(NCSNPP), SUBVP),
    "cifar10/subvp/ddpmpp_continuous": _vp(DDPMPP, SUBVP),
    "cifar10/subvp/ddpmpp_deep_continuous": _vp(_deep(DDPMPP), SUBVP),
    "cifar10/subvp/ddpm_continuous": _vp(DDPM, SUBVP),
}


def choose(name: str | None) -> Config:
    """The config of a name.

    Arguments: name: a key of `CONFIGS`.
    Raises: ValueError for another one, and for none.
    """
    if name is None:
        raise ValueError(
            "config = None: an official file does not say what network it holds; pass config=, one of " + _names()
        )
    if name in CONFIGS:
        return CONFIGS[name]
    if "ncsnv2" in str(name) or "ncsn" in str(name).replace("ncsnpp", ""):
        raise ValueError(
            f"config = {name!r}: the networks NCSN and NCSNv2 of 2019 and 2020 are not built here; expected one of "
            + _names()
        )
    raise ValueError(f"config = {name!r}: expected DATASET/SDE/NETWORK, one of {_names()}")


def _names() -> str:
    return ", ".join(CONFIGS)

"""Networks (x, label) -> output, independent of SDEs, data ranges and measurements."""

from collections.abc import Mapping

from priors.nets.adm import ADMConfig, ADMUNet
from priors.nets.edm import EDMConfig, EDMUNet
from priors.nets.encoder import Encoder, EncoderConfig
from priors.nets.kdiffusion import KDiffusionConfig, KDiffusionUNet
from priors.nets.local import LocalConfig, LocalUNet
from priors.nets.ncsnpp import NCSNpp, UNetConfig

NETWORKS = {
    "ncsnpp": (NCSNpp, UNetConfig), "encoder": (Encoder, EncoderConfig), "local": (LocalUNet, LocalConfig),
    "adm": (ADMUNet, ADMConfig), "edm": (EDMUNet, EDMConfig), "kdiffusion": (KDiffusionUNet, KDiffusionConfig),
}  # fmt: skip


def build(spec: dict):
    """The network described by a card or a training config.

    Arguments: spec (dict): {"type": a name in `NETWORKS`, and the fields of its config}.
    Raises: ValueError for an unknown type or unknown fields.
    """
    if not isinstance(spec, Mapping):
        raise TypeError(f"network = {spec!r:.60}: expected a table with a type, such as {{'type': 'ncsnpp'}}")
    fields = dict(spec)
    name = fields.pop("type", None)
    if not isinstance(name, str) or name not in NETWORKS:
        raise ValueError(f"network type {name!r}: expected one of {sorted(NETWORKS)}")
    network, config = NETWORKS[name]
    try:
        return network(config(**fields))
    except (TypeError, ValueError) as error:
        raise ValueError(f"fields {sorted(fields)} of network {name!r}: {error}") from None


def spec(network) -> dict:
    """The spec from which `build` builds ``network`` again.

    Raises: ValueError for a network of another class.
    """
    name = next((name for name, (cls, _) in NETWORKS.items() if type(network) is cls), None)
    if name is None:
        raise ValueError(
            f"a card cannot describe a {type(network).__name__}, only the networks {sorted(NETWORKS)}: keep "
            "it in its original format"
        )
    return {"type": name, **network.config.spec()}


__all__ = [
    "NETWORKS", "ADMConfig", "ADMUNet", "EDMConfig", "EDMUNet", "Encoder", "EncoderConfig", "KDiffusionConfig",
    "KDiffusionUNet", "LocalConfig", "LocalUNet", "NCSNpp", "UNetConfig", "build", "spec",
]  # fmt: skip

"""Checkpoints of the official PyTorch code of Song et al. 2021: {'optimizer', 'model', 'ema', 'step'} in one pickle."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from torch import Tensor, nn

from priors.importers.score_sde_configs import CONFIGS, Config, choose
from priors.importers.torch_file import Uninitialised, is_tensors, unpickled
from priors.nets.layers import Attention, ConvResample, FIRConvDown, ResBlock
from priors.nets.ncsnpp import NCSNpp, UNetConfig
from priors.score_prior import DataRange, ScorePrior
from priors.sde import VESDE

LAST = "priors.importers.score_sde.load(path, config, ema=False) takes the weights of the last step"


@dataclass(frozen=True)
class Entry:
    """One tensor of the official network: its name here, its official shape, whether it was trained."""

    name: str
    shape: tuple[int, ...]
    trained: bool


def load(path: str | Path, config: str | None, ema: bool = True) -> ScorePrior:
    """The prior of an official checkpoint, in image units [0, 1]. Only tensors, plain containers and numpy floats are
    unpickled. The file does not contain its SDE, which is taken from the config: for networks of the same shape, such
    as VP and sub-VP, a wrong choice cannot be detected.
    Source: Song et al. 2021, whose moving averages (``ema``) gave the published figures.
    Arguments: path of the file; config: DATASET/SDE/NETWORK, for example "cifar10/ve/ncsnpp_continuous" (a key of
    `CONFIGS`); ema: averaged weights, or those of the last step.
    Returns: `ScorePrior` in evaluation mode and without parameter gradients.
    Raises: FileNotFoundError; ValueError for an unknown config, a damaged or unsupported file, and a network that is
    not the config's.
    """
    path = _there(path)
    chosen = choose(config)
    weights = read(path, ema)
    if problem := misfit(weights, chosen):
        fits = [name for name, other in CONFIGS.items() if misfit(weights, other) is None]
        raise ValueError(
            f"{path} does not fit config = {config!r}: {problem}; "
            + (f"it fits {fits}" if fits else "it fits no config that is known here; fetch an official file")
        )
    with Uninitialised():
        network = NCSNpp(chosen.network)
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    # a NIN stores (in, out); ours are a linear layer (out, in) or a 1 x 1 convolution (out, in, 1, 1)
    state = {}
    for name, entry in layout(network).items():
        value = weights[name].T if weights[name].ndim == 2 and name.endswith(".W") else weights[name]
        state[entry.name] = value.reshape(shapes[entry.name])
    network.load_state_dict(state)
    network.eval().requires_grad_(False)
    shape = (chosen.network.image_channels, chosen.network.image_size, chosen.network.image_size)
    return ScorePrior(network, chosen.sde, shape, chosen.prediction, DataRange(0.5, 0.5)).eval()


def read(path: Path, ema: bool) -> dict[str, Tensor]:
    """Official name -> tensor, the buffer ``sigmas`` included.

    Arguments: path; ema: trained tensors from the moving averages.
    Raises: FileNotFoundError; ValueError for a file that is not such a checkpoint or that would run code when
    unpickled.
    """
    file = unpickled(_there(path))
    held = sorted(map(str, file)) if isinstance(file, dict) else type(file).__name__
    if not isinstance(file, dict) or not is_tensors(file.get("model")):
        raise ValueError(f"{path} holds {held}: expected 'model' with named tensors, as the official code saves it")
    weights = {name.removeprefix("module."): value for name, value in file["model"].items()}
    if not ema:
        return weights
    shadow = file["ema"].get("shadow_params") if isinstance(file.get("ema"), dict) else None
    if not isinstance(shadow, list):
        raise ValueError(f"{path} holds {held}: no moving averages ema['shadow_params']; {LAST}")
    trained = [name for name in weights if name != "sigmas" and not _frozen(name, weights[name])]
    averages = dict(zip(trained, shadow, strict=False))
    wrong = [name for name, value in averages.items() if tuple(value.shape) != tuple(weights[name].shape)]
    if len(shadow) != len(trained) or wrong:
        raise ValueError(
            f"{path} has {len(shadow)} moving averages for {len(trained)} trained tensors"
            + (f", the first of another shape at {wrong[0]}" if wrong else "")
            + ": the file is damaged or not an official one; "
            + LAST
        )
    return weights | averages


def _there(path: str | Path) -> Path:
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"no file at {path}: expected an official score-SDE checkpoint, such as checkpoint_24.pth"
        )
    return Path(path)


def misfit(weights: dict[str, Tensor], config: Config) -> str | None:
    """Why tensors of official names do not fit the config's network; None if they do."""
    expected = _expected(config.network)
    names = set(weights) - {"sigmas"}
    wrong = [
        f"{name} is {tuple(weights[name].shape)} for {entry.shape}"
        for name, entry in expected.items()
        if name in names and tuple(weights[name].shape) != entry.shape
    ]
    missing, unknown = [name for name in expected if name not in names], sorted(names - set(expected))
    told = [
        f"{len(found)} tensors {what}, the first {found[0]}"
        for what, found in (("missing", missing), ("too many", unknown), ("of another shape", wrong))
        if found
    ]
    if not told and isinstance(config.sde, VESDE) and "sigmas" in weights:
        largest = float(weights["sigmas"].max())
        if abs(largest / config.sde.sigma_max - 1) > 1e-3:
            told = [f"its largest noise level is {largest:g} for {config.sde.sigma_max:g}"]
    return "; ".join(told) or None


def layout(network: NCSNpp) -> dict[str, Entry]:
    """Official name -> `Entry` for every tensor of a network, in the official order."""
    names = {id(value): name for name, value in network.state_dict(keep_vars=True).items()}
    found = {}
    for index, parts in enumerate(modules(network)):
        for part, module in parts.items():
            for kind, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
                shape, trained = tuple(value.shape), isinstance(value, nn.Parameter)
                if part.startswith("NIN"):
                    kind = {"weight": "W", "bias": "b"}[kind]
                    shape = shape[1::-1] if kind == "W" else shape
                name = ".".join(word for word in ("all_modules", str(index), part, kind) if word)
                found[name] = Entry(names[id(value)], shape, trained)
    return found


def modules(network: NCSNpp) -> Iterator[Mapping[str, nn.Module]]:
    """The entries of the official flat list in its order, each as {official name of a part: our module}."""
    n = network
    shortcut = "NIN_0" if n.config.block == "ddpm" else "Conv_2"
    if n.config.embedding == "fourier":
        yield {"": n.embed}
    yield from ({"": layer} for layer in (n.embed0, n.embed1, n.conv_in))
    for room in n.encoder:
        for i, block in enumerate(room["res"]):
            yield _parts(block, shortcut)
            if len(room["attention"]):
                yield _parts(room["attention"][i], shortcut)
        if "down" in room:
            yield _parts(room["down"], shortcut)
            if "combine" in room:
                yield {"Conv_0": room["combine"]}
            elif "pyramid" in room:
                yield _parts(room["pyramid"], shortcut)
    yield from (_parts(module, shortcut) for module in (n.mid0, n.mid_attention, n.mid1))
    for room in n.decoder:
        yield from (_parts(block, shortcut) for block in room["res"])
        yield from (_parts(room[name], shortcut) for name in ("attention", "norm", "to_image", "up") if name in room)
    if n.norm_out is not None:
        yield from ({"": layer} for layer in (n.norm_out, n.conv_out))


def _parts(module: nn.Module, shortcut: str) -> Mapping[str, nn.Module]:
    match module:
        case ResBlock():
            parts = {"GroupNorm_0": module.norm0, "Conv_0": module.conv0, "Dense_0": module.dense}
            parts |= {"GroupNorm_1": module.norm1, "Conv_1": module.conv1}
            if isinstance(module.shortcut, nn.Conv2d):
                parts[shortcut] = module.shortcut
            return parts
        case Attention():
            parts = (module.q, module.k, module.v, module.out)
            return {"GroupNorm_0": module.norm} | {f"NIN_{i}": part for i, part in enumerate(parts)}
        case FIRConvDown():
            return {"Conv2d_0": module.conv}
        case ConvResample():
            return {"Conv_0": module.conv}
    return {"": module}


@cache
def _expected(config: UNetConfig) -> dict[str, Entry]:
    with Uninitialised():  # the meta device would first load torch's compiler, for seconds
        return layout(NCSNpp(config))


def _frozen(name: str, value: Tensor) -> bool:
    """The Fourier matrix: a parameter of the official network that was not trained or averaged."""
    return name == "all_modules.0.W" and value.ndim == 1

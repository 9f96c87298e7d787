"""LPIPS, if the weights of its backbone are cached: nothing is downloaded."""

import warnings
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.suite.metrics import Judged, Missing, metric
from benchmarks.suite.records import Scale

LEAST = 64  # pixels: AlexNet leaves nothing of smaller pictures


@metric("lpips_sample", Scale("LPIPS of a sample", "lower", 3))
def _lpips(judged: Judged) -> Tensor | None:
    if judged.labelled or not judged.pictures or judged.truth.shape[1] not in (1, 3):
        return None
    return lpips(judged.one, judged.truth)


@torch.no_grad()
def lpips(x: Tensor, truth: Tensor) -> Tensor:
    """Learned perceptual distance (AlexNet, version 0.1) of pictures clipped to [0, 1], (B,).

    Source: Zhang, Isola, Efros, Shechtman, Wang 2018. Grey pictures are repeated to three channels, and those of less
    than 64 pixels enlarged (bilinear), below which AlexNet has no output: figures of small pictures compare with each
    other only.
    Arguments: x, truth (B, C, H, W) in image units, C 1 or 3.
    Raises: Missing where the weights of the backbone are not in the cache of torch.hub.
    """
    weights = next(iter(sorted(Path(torch.hub.get_dir(), "checkpoints").glob("alexnet-owt-*.pth"))), None)
    if weights is None:
        raise Missing(
            "the weights of AlexNet (alexnet-owt-*.pth) are not in the cache of torch.hub, and nothing is downloaded "
            "here: torchvision.models.alexnet(weights='DEFAULT') fetches them"
        )
    network = _network(weights).to(x.device)

    def prepared(z: Tensor) -> Tensor:
        z = z.clamp(0, 1).float().expand(-1, 3, -1, -1)
        size = [max(LEAST, side) for side in z.shape[2:]]
        if size != list(z.shape[2:]):
            z = torch.nn.functional.interpolate(z, size, mode="bilinear")
        return 2 * z - 1

    return network(prepared(x), prepared(truth)).flatten()


@lru_cache(maxsize=1)
def _network(weights: Path) -> torch.nn.Module:
    import lpips as package

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips asks torchvision in an older way
        network = package.LPIPS(net="alex", pnet_rand=True, verbose=False)  # its own linear layers come with it
    tensors = torch.load(weights, map_location="cpu", weights_only=True)
    layers = {f"features.{name.split('.', 1)[1]}": name for name in network.net.state_dict()}  # slice2.3.bias
    network.net.load_state_dict({name: tensors[theirs] for theirs, name in layers.items()})
    return network.eval()

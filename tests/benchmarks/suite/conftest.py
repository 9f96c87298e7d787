"""A benchmark of seconds: an untrained prior on pictures of 8 x 8, and a TOML beside it."""

import pytest
import torch

from benchmarks.suite import problems
from priors import VESDE, DataRange, Moments, ScorePrior, nets
from priors.checkpoints import save
from priors.data import ImageSet, write

SHAPE = (1, 8, 8)
TOML = """
samples = 4
seeds = [0]
block = 2

[methods.auto]
images = 2
[methods.mmps]
steps = 10
guidance = { steps = 1 }
images = 2
[methods.ddrm]
steps = 3
[methods.dps]
steps = 3
[methods.linear-mmse]
[methods.tv]
steps = 20

[problems.mask]
task = "random mask"
prior = "prior"
images = 5
operator = { name = "masking", recipe = "random", keep = 0.5, seed = 3 }
noise = { gaussian = 0.1 }

[problems.motion]
task = "motion blur"
prior = "prior"
data = "images.h5"
images = 4
operator = { name = "blur", recipe = "motion", size = 5, seed = 1 }
noise = { gaussian = 0.05 }
"""


def pictures(n: int, seed: int = 0) -> torch.Tensor:
    """Smooth random pictures, (n, 1, 8, 8) in [0, 1]."""
    rough = torch.rand(n, 1, 3, 3, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(rough, SHAPE[1:], mode="bicubic", align_corners=True).clamp(0, 1)


@pytest.fixture(scope="session")
def bench(tmp_path_factory):
    """A folder with bench.toml, prior/ and images.h5."""
    folder = tmp_path_factory.mktemp("bench")
    spec = {"type": "ncsnpp", "image_channels": 1, "image_size": 8, "channels": 8, "multipliers": [1],
            "res_blocks": 1, "attention": [], "dropout": 0.0}  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nets.build(spec)
    moments = Moments.of_images(pictures(200, seed=1), rank=16)
    prior = ScorePrior(network, VESDE(0.01, 10.0), SHAPE, "preconditioned", DataRange(0.5, 0.3), moments)
    save(folder / "prior", prior)
    held = ImageSet((pictures(6) * 255).round().to(torch.uint8), source="made up")
    write(folder / "prior" / "samples.h5", held)
    write(folder / "images.h5", held)
    (folder / "bench.toml").write_text(TOML)
    return folder


@pytest.fixture
def config(bench):
    """The benchmark in that folder."""
    return problems.read(bench / "bench.toml")

"""Damaged files of every kind that is read: an error that names the path, or what was written. No hang, no blow-up."""

import resource
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr

import priors
from benchmarks.common.records import Records
from benchmarks.suite import measurements, problems, records
from inverse import Solution
from inverse.app.fastmri import read_scan
from inverse.app.reconstruction import Reconstruction, read_reconstruction, write_reconstruction
from operators.kernels import read_kernel
from priors import checkpoints, data, pictures, zarr_folders
from priors.importers import score_sde
from priors.recipes import blamed, objective, read_recipe
from priors.training import STATE, Trainer, TrainingConfig
from tests.benchmarks.suite.conftest import TOML
from tests.benchmarks.suite.test_records import made as made_record
from tests.cases import normal
from tests.inverse.app import scan_files
from tests.mutations import Hang, limited, mutated
from tests.priors.cases import score_prior, stripes
from tests.priors.official_layout import Spec, randomised
from tests.priors.official_layout import checkpoint as official_checkpoint
from tests.priors.test_cli import PRIOR

GROWTH = 700e6  # bytes that the most needed memory may grow by: what any file may unpack to, and its copies
TEXT = (
    2**32
)  # the HDF5 library allocates what a text says of its length, in 32 bits, before it looks whether that is so
MOMENTS = priors.Moments(torch.rand(1, 8, 8), torch.eye(64)[:, :9], torch.rand(9), torch.tensor(0.1))


@dataclass(frozen=True)
class Kind:
    """make: writes a file under a folder, made for it, and says which; read; sealed: whether a checksum covers all that
    read returns, as plain data."""

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    sealed: bool = False


def solution(folder: Path) -> Path:
    samples = normal(2, 10, 1, 3, 2, seed=0).float()
    found = Solution(samples, torch.zeros(2, 10), "mmps", 7, 35, 0.25, 3, log_evidence=torch.rand(2))
    found.save(folder / "s.h5", {"y": samples[:, 0], "command": "inverse solve"})
    return folder / "s.h5"


def reconstruction(folder: Path) -> Path:
    x = torch.rand(3, 9, 8)
    found = Reconstruction(x, torch.zeros(3), x.mean(0), x.std(0), 2.0, 0.1, "mmps")
    write_reconstruction(folder / "r.h5", {0: found, 4: found}, {"prior": "brain-mri", "seed": 0})
    return folder / "r.h5"


def scan(folder: Path) -> Path:
    m = scan_files.made(2, 3)
    return scan_files.write(folder / "k.h5", m.kspace, mask=m.mask[0].float(), sensitivity=m.maps)


def image_set(folder: Path) -> Path:
    data.write(folder / "i.h5", stripes(6))
    return folder / "i.h5"


def npz(savez: Callable) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        held = stripes(6)
        savez(folder / "i.npz", images=held.images.numpy(), labels=np.arange(6))
        return folder / "i.npz"

    return make


def photographs(folder: Path) -> Path:
    held = pictures.Pictures(tuple(torch.randint(0, 255, (3, 9, 7 + i), dtype=torch.uint8) for i in range(3)))
    pictures.write(folder / "p.h5", held)
    return folder / "p.h5"


def kernel(folder: Path) -> Path:
    np.save(folder / "k.npy", np.random.default_rng(0).random((5, 5)))
    return folder / "k.npy"


def checkpoint(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        prior = score_prior()
        prior.moments = MOMENTS
        checkpoints.save(folder, prior, data="stripes", labels=["a", "b"])
        return folder / name

    return make


def loaded(path: Path):
    prior = priors.load(path.parent)
    facts = (prior.sde.spec(), prior.range, prior.event_shape, prior.prediction)
    tensors = [*prior.network.state_dict().values(), *vars(prior.moments).values()]
    return repr(facts), [t.numpy().tobytes() for t in tensors]


def lines(folder: Path) -> Path:
    held = Records(folder / "records.jsonl")
    for i in range(6):
        held.add(f"key{i}", {"value": i / 3, "name": "mmps", "list": [1, 2.5]})
    return held.path


def read_lines(path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = Records(path).found
    whole = {f"key{i}": {"value": i / 3, "name": "mmps", "list": [1, 2.5]} for i in range(6)}
    return [(key, record) for key, record in found.items() if whole.get(key) != record]  # nothing else may be there


def record(folder: Path) -> Path:
    records.write(made_record(), records.opened(folder))
    return folder / "records" / f"{made_record().name}.h5"


def read_record(path: Path):
    (found,) = records.load(path.parents[1])
    return repr([found.features.tobytes(), found.pictures["truth"].tobytes(), found.settings, found.images])


def text(name: str, content: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text(content)
        return folder / name

    return make


def trained(path: Path):
    recipe = read_recipe(str(path))
    with blamed(path):
        return objective(recipe, stripes(4)), TrainingConfig(**recipe["training"])


def _trainer(folder: Path) -> Trainer:
    recipe = read_recipe(str(text("recipe.toml", PRIOR)(folder)))
    config = TrainingConfig(steps=1, batch_size=4, held_out=4, warmup=1)
    return Trainer(objective(recipe, stripes(12)), stripes(12), config, folder)


def state(folder: Path) -> Path:
    trainer = _trainer(folder)
    trainer.objective.sheet = lambda out: None  # type: ignore[method-assign]
    trainer.run()
    return folder / STATE


def resumed(path: Path):
    trainer = _trainer(path.parent)
    assert trainer.resume()
    kept = (*trainer.ema.values(), *trainer.network.state_dict().values())
    return trainer.step, trainer.losses, [v.numpy().tobytes() for v in kept]


def benchmark(folder: Path) -> Path:
    checkpoint("card.json")(folder / "prior")
    data.write(folder / "prior" / "samples.h5", stripes(6))
    return text("bench.toml", TOML)(folder)


def measured(folder: Path) -> Path:
    spec = problems.read(benchmark(folder)).problems["mask"]
    measurements.write(spec, measurements.make(spec, score_prior()), folder / "mask.h5")
    return folder / "mask.h5"


def read_measured(path: Path):
    spec = problems.read(path.parent / "bench.toml").problems["mask"]
    return measurements.identity(spec, measurements.read(path, spec, score_prior()))


def official(folder: Path) -> Path:
    return official_checkpoint(folder / "c.pth", randomised(Spec(ch_mult=(1,), attn_resolutions=())))


def zarr_file(form: int, name: str) -> Callable[[Path], Path]:
    """A file of a Zarr folder with one array, whose shape is that of two chunks."""

    def make(folder: Path) -> Path:
        values = np.random.default_rng(0).random((4, 3, 2))
        zarr.open_group(folder / "y.zarr", mode="w", zarr_format=form).create_array("y", data=values, chunks=(2, 3, 2))
        return folder / "y.zarr" / name

    return make


def read_zarr(path: Path):
    folder = next(each for each in path.parents if each.suffix == ".zarr")
    with zarr_folders.opened(folder, "measurement") as held:
        return {name: held.array(name).tobytes() for name in held.datasets()}


KINDS = {
    "Zarr folder": Kind(zarr_file(3, "zarr.json"), read_zarr),
    "Zarr array": Kind(zarr_file(3, "y/zarr.json"), read_zarr),
    "Zarr array, format 2": Kind(zarr_file(2, "y/.zarray"), read_zarr),
    "Zarr chunk": Kind(zarr_file(3, "y/c/0/0/0"), read_zarr),
    "Zarr chunk, format 2": Kind(zarr_file(2, "y/0.0.0"), read_zarr),
    "solution": Kind(solution, lambda path: repr(Solution.load(path)), True),
    "reconstruction": Kind(reconstruction, lambda path: repr(read_reconstruction(path)), True),
    "scan": Kind(scan, read_scan),
    "image set": Kind(image_set, data.read),
    "npz": Kind(npz(np.savez), data.read),
    "compressed npz": Kind(npz(np.savez_compressed), data.read),
    "pictures": Kind(photographs, pictures.read),
    "kernel": Kind(kernel, read_kernel),
    "weights": Kind(checkpoint(checkpoints.WEIGHTS), loaded, True),
    "moments": Kind(checkpoint(checkpoints.MOMENTS), loaded, True),
    "card": Kind(checkpoint(checkpoints.CARD), loaded, True),
    "training state": Kind(state, resumed, True),
    "training recipe": Kind(text("recipe.toml", PRIOR), trained),
    "benchmark": Kind(benchmark, problems.read),
    "records.jsonl": Kind(lines, read_lines, True),
    "record": Kind(record, read_record, True),
    "measurements": Kind(measured, read_measured, True),
    "official checkpoint": Kind(official, lambda path: score_sde.read(path, True)),
}


def outcome(kind: Kind, path: Path) -> tuple[str, Any]:
    """What reading ended with: a refusal, or what was read."""
    try:
        with limited(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return "read", kind.read(path)
    except (ValueError, FileNotFoundError) as error:
        return "refused", error


def attack(name: str, folder: Path, seeds: range) -> list[str]:
    """Mutate the file of a kind once per seed; what went wrong, as texts."""
    kind, wrong = KINDS[name], []
    folder.mkdir()
    path = kind.make(folder)
    whole = path.read_bytes()
    status, expected = outcome(kind, path)
    assert status == "read", expected
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in seeds:
        path.write_bytes(mutated(whole, seed))
        try:
            status, found = outcome(kind, path)
        except BaseException as error:  # a hang too
            wrong.append(f"{name}, seed {seed}: {type(error).__name__}: {str(error)[:200]}")
            if not isinstance(error, Exception | Hang):
                raise
            continue
        if status == "refused" and str(folder) not in str(found):
            wrong.append(f"{name}, seed {seed}: no path in {found}")
        elif status == "read" and kind.sealed and found != expected:
            wrong.append(f"{name}, seed {seed}: read changed")
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    if grown > GROWTH + (TEXT if path.suffix == ".h5" else 0):
        wrong.append(f"{name}: memory grew by {grown / 1e6:.0f} MB")
    return wrong


@pytest.mark.parametrize("name", KINDS)
def test_a_few_mutated_files(name, tmp_path):
    assert attack(name, tmp_path / "m", range(20)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_thousand_mutated_files(name, tmp_path):
    assert attack(name, tmp_path / "m", range(1000, 2000)) == []

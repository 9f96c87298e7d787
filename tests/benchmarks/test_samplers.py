import pytest
import torch

from benchmarks.common import features
from benchmarks.common.records import Records
from benchmarks.trained import samplers
from priors import VESDE, checkpoints
from priors.data import ImageSet
from tests.cases import score_prior

EVALUATIONS = (4, 8)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Every sampler on an untrained network and pixels as features."""
    folder = tmp_path_factory.mktemp("samplers")
    checkpoints.save(folder / "ve", score_prior(VESDE(sigma_max=10.0)))
    generator = torch.Generator().manual_seed(0)
    real = ImageSet(torch.randint(0, 256, (30, 1, 8, 8), generator=generator, dtype=torch.uint8))
    pixels = features.Features("pixels", lambda x: x.flatten(1)[:, ::8])
    arguments = ([folder / "ve"], real, pixels, 10, EVALUATIONS, 0, folder / "work", False)
    return folder, arguments, samplers.run(*arguments)


def test_a_row_for_the_reference_and_each_sampler(made):
    rows = made[2]
    assert [row["sampler"] for row in rows] == ["real images (reference)", *samplers.SAMPLERS]
    assert all(float(row[f"{nfe} evaluations"]) > 0 for row in rows for nfe in EVALUATIONS)
    assert len({tuple(row.values()) for row in rows}) == len(rows)


def test_cells_are_kept_and_taken_up_again(made, monkeypatch):
    folder, arguments, rows = made
    kept = Records(folder / "work" / "samplers.jsonl")
    assert len(kept.found) == len(samplers.SAMPLERS) * len(EVALUATIONS)
    kept.withdraw(next(iter(kept.found)))
    calls, original = [], samplers.sample
    monkeypatch.setattr(samplers, "sample", lambda *a, **k: calls.append(a) or original(*a, **k))
    assert samplers.run(*arguments) == rows and len(calls) == 1


@pytest.mark.parametrize("name", samplers.SAMPLERS)
def test_samplers_spend_what_they_say(name, monkeypatch):
    """Evaluations per step, counted; the last denoising comes on top."""
    prior, calls = score_prior(VESDE(sigma_max=10.0)), []
    original = type(prior).denoise
    monkeypatch.setattr(type(prior), "denoise", lambda self, x, t: calls.append(t) or original(self, x, t))
    sampler = samplers.SAMPLERS[name]
    samplers.sample(prior, 2, sampler.method(name, "VESDE"), 6, progress=False)
    assert len(calls) == 6 * sampler.cost + 1


def test_the_plot_is_drawn(made, tmp_path):
    from skimage.io import imread

    samplers.plot(made[2], "pixels", tmp_path / "plot.png")
    assert imread(tmp_path / "plot.png").std() > 5


def test_too_few_real_images_are_refused(made):
    folders, real, space, *rest = made[1]
    with pytest.raises(ValueError, match="at least 20"):
        samplers.run(folders, real[:15], space, *rest)


def test_features_without_inception_are_the_judge_s_and_say_so(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    found = features.find("auto", "fashion-mnist-judge")
    assert "fashion-mnist-judge" in found.title
    x = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert found.of(x).shape == (3, 96) and torch.allclose(found.of(x)[1:], found.of(x[1:]), atol=1e-5)
    with pytest.raises(FileNotFoundError, match="nothing is downloaded"):
        features.find("inception", "fashion-mnist-judge")
    with pytest.raises(ValueError, match="expected auto"):
        features.find("clip", "fashion-mnist-judge")


def test_inception_is_taken_where_its_weights_lie(monkeypatch, tmp_path):
    """With random weights in the place where torchvision keeps the trained ones."""
    from torchvision.models import inception_v3

    (tmp_path / "checkpoints").mkdir()
    with torch.random.fork_rng():
        network = inception_v3(weights=None, aux_logits=True, init_weights=False)
    torch.save(network.state_dict(), tmp_path / "checkpoints" / "inception_v3_google-random.pth")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    found = features.find("auto", "fashion-mnist-judge")
    assert found.title.startswith("Inception")
    assert found.of(torch.rand(1, 1, 28, 28)).shape == (1, 2048)

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

import priors
from priors import VESDE, VPSDE, DataRange, NoisyClassifier, ScorePrior, Units, checkpoints
from priors.data import write
from priors.nets import LocalConfig, LocalUNet
from tests.priors.cases import classifier, draws, made, score_prior, stripes


@pytest.fixture
def folder(tmp_path):
    checkpoints.save(tmp_path / "prior", score_prior(), data="stripes", licence="none")
    return tmp_path / "prior"


def edit(folder, **changes):
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | changes))


@pytest.mark.parametrize(
    "fields", [{}, {"prediction": "noise", "sde": VPSDE(scale=0.5)}, {"patch": 2, "output_pyramid": True}], ids=str
)
def test_a_prior_comes_back_bit_for_bit(tmp_path, fields):
    prior, x = score_prior(**fields), draws(2, 1, 8, 8).float()
    checkpoints.save(tmp_path, prior)
    again = priors.load(tmp_path)
    assert isinstance(again, ScorePrior) and not again.training
    assert (again.sde, again.range, again.event_shape) == (prior.sde, prior.range, prior.event_shape)
    for t in (0.01, 0.5, 1.0):
        assert torch.equal(again.denoise(x, t), prior.denoise(x, t))
    assert not any(p.requires_grad for p in again.parameters())
    assert {path.name for path in tmp_path.iterdir()} == {"card.json", "weights.safetensors"}


def local_prior(units=None, **fields) -> ScorePrior:
    config = LocalConfig(**({"image_channels": 3, "channels": (4, 6), "blocks": (1, 1), "embedding": 8} | fields))
    return ScorePrior(
        made(LocalUNet, config), VESDE(), (config.image_channels, 12, 12), range=DataRange(0.4, 0.2), units=units
    )


def test_training_starts_from_another_checkpoint(tmp_path):
    colour = local_prior()
    checkpoints.save(tmp_path / "colour", colour)
    same, grey = local_prior(), local_prior(image_channels=1)
    for prior in (same, grey):
        torch.nn.init.zeros_(prior.network.conv_in.weight)
        checkpoints.start_from(prior.network, tmp_path / "colour", "prior")
    assert all(torch.equal(v, colour.network.state_dict()[k]) for k, v in same.network.state_dict().items())
    x = draws(2, 1, 12, 12).float()
    expected = colour.denoise(x.expand(-1, 3, -1, -1), 0.4).mean(1, keepdim=True)
    torch.testing.assert_close(grey.denoise(x, 0.4), expected)
    assert all(p.requires_grad for p in grey.network.parameters())


def test_training_starts_from_no_other_network(tmp_path, folder):
    checkpoints.save(tmp_path / "grey", local_prior(image_channels=1))
    for network, source, differing in (
        (local_prior(blocks=(2, 1)).network, tmp_path / "grey", r"'image_channels': \(1, 3\), 'blocks': \(\(1, 1\)"),
        (local_prior(image_channels=1).network, folder, r"'type': \('ncsnpp', 'local'\)"),
    ):
        with pytest.raises(ValueError, match=f"{differing}.*start a new training"):
            checkpoints.start_from(network, source, "prior")
    with pytest.raises(ValueError, match="is a prior, expected a classifier"):
        checkpoints.start_from(classifier().network, folder, "classifier")


HU = Units("HU", -1024.0, 3071.0)


def test_physical_units_travel_with_a_prior(tmp_path, folder):
    prior = local_prior(units=HU)
    checkpoints.save(tmp_path / "ct", prior)
    assert json.loads((tmp_path / "ct" / "card.json").read_text())["units"] == vars(HU)
    again = priors.load(tmp_path / "ct")
    others = (
        again,
        again.resized((3, 20, 14)),
        again.with_sde(VPSDE()),
        priors.Tiled(again),
        priors.Evaluations(again),
    )
    assert all(p.units == HU for p in others)
    assert priors.load(folder).units is None and "units" not in json.loads((folder / "card.json").read_text())
    assert priors.Gaussian(torch.zeros(2), torch.eye(2), sde=VESDE()).units is None


def test_image_units_are_linear_in_physical_ones():
    x = torch.tensor([0.0, 0.25, 1.0])
    assert HU.physical(x).tolist() == [-1024.0, -0.25, 3071.0] and HU.physical(0.5) == 1023.5
    torch.testing.assert_close(HU.image(HU.physical(x)), x)
    assert HU.image(-1024.0) == 0.0
    for zero, one in ((1.0, 1.0), (0.0, float("nan"))):
        with pytest.raises(ValueError, match=r"two different finite values|one = nan: expected a finite number"):
            Units("K", zero, one)


def test_half_precision_is_half_the_file_and_computes_in_single(tmp_path):
    prior, x = score_prior(), draws(2, 1, 8, 8).float()
    checkpoints.save(tmp_path / "single", prior)
    checkpoints.save(tmp_path / "half", prior, half=True)
    loaded = priors.load(tmp_path / "half")
    sizes = [
        sum(v.nbytes for v in load_file(tmp_path / n / "weights.safetensors").values()) for n in ("half", "single")
    ]
    assert 0.5 < sizes[0] / sizes[1] < 0.6  # vectors stay as they are: the frequencies of an embedding are sensitive
    assert all(p.dtype == torch.float32 for p in loaded.network.parameters())
    torch.testing.assert_close(loaded.denoise(x, 0.3), prior.denoise(x, 0.3), rtol=5e-3, atol=5e-3)
    assert "half" not in json.loads((tmp_path / "half" / "card.json").read_text())


def test_a_classifier_comes_back_bit_for_bit(tmp_path):
    noisy, x = classifier(dropout=0.2), draws(2, 1, 8, 8).float()
    checkpoints.save(tmp_path, noisy)
    again = priors.load_classifier(str(tmp_path))
    assert isinstance(again, NoisyClassifier) and not again.training and again.n_classes == 3
    assert torch.equal(again(x, 0.3), noisy(x, 0.3))


def test_the_card_says_all(folder):
    card = checkpoints.read_card(folder)
    assert card["kind"] == "prior" and card["data"] == "stripes" and card["event_shape"] == [1, 8, 8]
    assert card["parameters"] == sum(p.numel() for p in score_prior().network.parameters())
    assert card["range"] == {"shift": 0.3, "scale": 0.4} and card["sde"]["type"] == "VESDE"


def test_another_sde(folder, tmp_path):
    prior, x = priors.load(folder, sde=VPSDE(scale=0.4)), draws(2, 1, 8, 8).float()
    assert prior.sde == VPSDE(scale=0.4)
    assert torch.equal(prior.denoise(x, 0.3), score_prior().with_sde(VPSDE(scale=0.4)).denoise(x, 0.3))
    checkpoints.save(tmp_path / "noise", score_prior(prediction="noise"))
    with pytest.raises(ValueError, match="only a preconditioned network"):
        priors.load(tmp_path / "noise", sde=VESDE())


def other_weights(folder):
    weights = load_file(folder / "weights.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, folder / "weights.safetensors")


def truncated(folder, told=False):
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    if told:
        edit(folder, sha256=checkpoints._sha256(path))


def other_network(folder):
    card = checkpoints.read_card(folder)
    edit(folder, network=card["network"] | {"channels": 12})


@pytest.mark.parametrize(
    ("harm", "error", "message"),
    [
        (other_weights, ValueError, "has sha256 .*its card has .*truncated or a different one"),
        (truncated, ValueError, "truncated or a different one"),
        (lambda folder: truncated(folder, told=True), ValueError, "not a readable safetensors file"),
        (other_network, ValueError, "does not fit the network of its card"),
        (lambda folder: edit(folder, format=7), ValueError, "has format 7: this version reads format 1"),
        (lambda folder: (folder / "card.json").write_text("{"), ValueError, "not a readable card"),
        (lambda folder: (folder / "card.json").write_bytes(b"\xff\xfe"), ValueError, "not a readable card"),
        (lambda folder: (folder / "card.json").write_text("[1]"), ValueError, "has format None"),
        (lambda folder: (folder / "card.json").write_text('{"model_type": "unet"}'), ValueError, "has format None"),
        (
            lambda folder: (folder / "card.json").write_text('{"format": 1}'),
            ValueError,
            "lacks .*'kind'",
        ),
        (lambda folder: edit(folder, sde={"type": "Heat"}), ValueError, "SDE type 'Heat'"),
        (lambda folder: edit(folder, network={"type": "vit"}), ValueError, "network type 'vit'"),
        (lambda folder: edit(folder, prediction="v"), ValueError, "prediction = 'v'"),
        (lambda folder: (folder / "weights.safetensors").unlink(), FileNotFoundError, "no weights at"),
        (
            lambda folder: (folder / "card.json").unlink(),
            FileNotFoundError,
            "expected card.json and weights",
        ),
    ],
)
def test_what_is_broken_is_named(folder, harm, error, message):
    harm(folder)
    with pytest.raises(error, match=message):
        priors.load(folder)


def test_the_other_kind_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match=r"is a prior, expected a classifier: use priors.load$"):
        priors.load_classifier(folder)
    checkpoints.save(tmp_path / "c", classifier())
    with pytest.raises(ValueError, match=r"is a classifier, expected a prior: use priors.load_classifier$"):
        priors.load(tmp_path / "c")


def test_shipped_names(folder, tmp_path, monkeypatch):
    """What lies in the shipped folder is found by name, by kind, with its samples."""
    monkeypatch.setattr(checkpoints, "SHIPPED", tmp_path)
    checkpoints.save(tmp_path / "judge", classifier())
    write(folder / "samples.h5", stripes(5))
    assert priors.available() == ["prior"] and priors.available("classifier") == ["judge"]
    assert isinstance(priors.load("prior"), ScorePrior) and isinstance(priors.load_classifier("judge"), NoisyClassifier)
    assert torch.equal(priors.samples("prior").images, stripes(5).images)
    with pytest.raises(FileNotFoundError, match=r"no prior 'mnist': expected one of \['prior'\] or"):
        priors.load("mnist")


def test_every_shipped_checkpoint_loads():
    for name in priors.available():
        prior = priors.load(name)
        x = priors.samples(name).floats(slice(0, 2))
        assert prior.denoise(x, prior.sde.t_min).sub(x).abs().mean() < 0.02  # at the least noise there is little to do
    for name in priors.available("classifier"):
        assert priors.load_classifier(name).n_classes > 1


def test_importing_priors_is_light():
    heavy = "skimage", "matplotlib", "deepinv", "lpips", "rich", "typer", "scipy"
    code = f"import sys, priors; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    assert all(hasattr(priors, name) for name in priors.__all__)


def test_the_names_of_classes_come_from_the_card(tmp_path):
    checkpoints.save(tmp_path / "named", classifier(), labels=["a", "b", "c"])
    assert priors.labels(tmp_path / "named") == ["a", "b", "c"]
    checkpoints.save(tmp_path / "nameless", classifier())
    with pytest.raises(ValueError, match="has no labels"):
        priors.labels(tmp_path / "nameless")


@pytest.mark.parametrize("name", priors.available("classifier"))
def test_shipped_classifiers_name_their_classes(name):
    assert len(priors.labels(name)) == priors.load_classifier(name).n_classes


def two_saves(tmp_path):
    """Priors of other weights and moments, the first saved to a folder."""
    first, second = score_prior(), score_prior()
    first.moments, second.moments = (priors.Moments.of_images(draws(9, 1, 8, 8, seed=s).float(), 4) for s in (0, 1))
    with torch.no_grad():
        for parameter in second.network.parameters():
            parameter.add_(0.1)
    checkpoints.save(tmp_path, first)
    return first, second


def same(a: ScorePrior, b: ScorePrior) -> bool:
    x = draws(2, 1, 8, 8).float()
    return torch.equal(a.denoise(x, 0.4), b.denoise(x, 0.4)) and torch.equal(a.moments.mean, b.moments.mean)


@pytest.mark.parametrize("step", range(7))
def test_a_save_that_is_killed_anywhere_leaves_the_old_or_the_new(tmp_path, monkeypatch, step):
    """A kill before any of the renames, the third of which is the card's; the next save mends what is left."""
    first, second = two_saves(tmp_path)
    rename, done = os.replace, []

    def replace(source, target):
        if len(done) == step:
            raise KeyboardInterrupt  # nothing after this runs
        done.append(target)
        rename(source, target)

    monkeypatch.setattr(os, "replace", replace)
    if step < 5:
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save(tmp_path, second)
    else:
        checkpoints.save(tmp_path, second)
    monkeypatch.undo()
    assert same(priors.load(tmp_path), second if step > 2 else first)
    checkpoints.save(tmp_path, second)
    assert same(priors.load(tmp_path), second)
    assert {p.name for p in tmp_path.iterdir()} == {"card.json", "weights.safetensors", "moments.safetensors"}


def test_moments_that_are_not_those_of_the_card(tmp_path):
    first, second = two_saves(tmp_path / "a")
    checkpoints.save(tmp_path / "b", second)
    (tmp_path / "a" / "moments.safetensors").write_bytes((tmp_path / "b" / "moments.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"moments\.safetensors has sha256 .*its card has .*download it again"):
        priors.load(tmp_path / "a")
    card = json.loads((tmp_path / "a" / "card.json").read_text())
    del card["moments_sha256"], card["checksum"]  # as older versions wrote it
    (tmp_path / "a" / "card.json").write_text(json.dumps(card))
    assert torch.equal(priors.load(tmp_path / "a").moments.mean, second.moments.mean)
    first.moments = None
    checkpoints.save(tmp_path / "a", first)
    assert not (tmp_path / "a" / "moments.safetensors").exists() and priors.load(tmp_path / "a").moments is None


def test_a_card_that_was_changed_by_chance_is_refused(folder):
    card = json.loads((folder / "card.json").read_text())
    edit(folder, range=card["range"] | {"scale": 0.25})
    with pytest.raises(ValueError, match=r"card\.json does not match its checksum.*remove its 'checksum'"):
        priors.load(folder)
    edit(folder, range=card["range"], licence="CC0")  # notes are anybody's
    assert priors.load(folder).range.scale == card["range"]["scale"]

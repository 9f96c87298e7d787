import json
import re

import h5py
import pytest
import torch
from skimage.io import imread
from typer.testing import CliRunner

import priors
from priors import checkpoints, pictures
from priors.cli import UNFINISHED, app
from priors.data import ImageSet, read, write
from priors.recipes import CONFIGS, changed, objective, read_recipe
from priors.training import TrainingConfig
from tests.priors.cases import stripes

PRIOR = """
kind = "prior"
name = "stripes"
licence = "none"

[sde]
type = "VPSDE"
scale = 0.5

[prior]
prediction = "noise"
weight = "score"

[range]
shift = 0.5
scale = 0.5

[network]
type = "ncsnpp"
image_channels = 1
image_size = 8
channels = 8
multipliers = [1]
res_blocks = 1
attention = []

[training]
steps = 2
batch_size = 8
held_out = 8
"""
CLASSIFIER = PRIOR[: PRIOR.index("[prior]")].replace('"prior"', '"classifier"') + PRIOR[PRIOR.index("[range]") :]
CLASSIFIER = CLASSIFIER.replace('"ncsnpp"', '"encoder"').replace("attention = []", "classes = 3")


@pytest.fixture
def run(tmp_path):
    data = stripes(40)
    write(tmp_path / "set.h5", data)

    def run(recipe, *options, out="out", split=("--split", "")):
        (tmp_path / "recipe.toml").write_text(recipe)
        arguments = [str(tmp_path / "recipe.toml"), "--data", str(tmp_path / "set.h5"), *split]
        return CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / out), "--device", "cpu", *options])

    return run


def test_a_prior_from_a_recipe(run, tmp_path):
    result = run(PRIOR)
    assert result.exit_code == 0, result.output
    assert "2 steps" in result.output
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "card.json",
        "weights.safetensors",
        "moments.safetensors",
        "state.safetensors",
        "log.jsonl",
        "samples.png",
    }
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert (card["data"], card["licence"], card["prediction"]) == ("stripes", "none", "noise")
    assert "CPU cores" in card["hardware"] and card["torch"] == torch.__version__
    assert imread(tmp_path / "out" / "samples.png").shape == (48, 48)
    prior = priors.load(tmp_path / "out")
    assert prior.sde == priors.VPSDE(scale=0.5) and prior.range == priors.DataRange(0.5, 0.5)
    assert prior.denoise(torch.zeros(2, 1, 8, 8), 0.5).isfinite().all()


def test_a_classifier_from_a_recipe(run, tmp_path):
    result = run(CLASSIFIER)
    assert result.exit_code == 0, result.output
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"card.json", "weights.safetensors", "state.safetensors", "log.jsonl"}
    assert priors.load_classifier(tmp_path / "out").n_classes == 3


def test_a_folder_in_use_needs_resume(run, tmp_path):
    run(PRIOR)
    before = (tmp_path / "out" / "state.safetensors").read_bytes()
    refused = run(PRIOR, "--steps", "3")
    assert refused.exit_code == 2 and "--resume" in refused.output
    assert (tmp_path / "out" / "state.safetensors").read_bytes() == before
    resumed = run(PRIOR, "--steps", "3", "--resume")
    assert resumed.exit_code == 0, resumed.output
    run(PRIOR, "--steps", "3", out="whole")
    a, b = (priors.load(tmp_path / name).network.state_dict() for name in ("out", "whole"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert "3 steps" in resumed.output


def test_a_training_in_calls_is_the_unbroken_one(run, tmp_path):
    """The same command again and again, with exit status 75 until the last step is done."""
    codes = []
    while not codes or codes[-1] == UNFINISHED:
        codes.append(run(PRIOR, "--steps", "3", "--call-minutes", "1e-9").exit_code)
    assert codes == [UNFINISHED, UNFINISHED, 0]
    run(PRIOR, "--steps", "3", out="whole")
    a, b = (priors.load(tmp_path / name).network.state_dict() for name in ("out", "whole"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    again = run(PRIOR, "--steps", "3", "--call-minutes", "9")
    assert again.exit_code == 0 and "3 steps" in again.output
    assert "call_minutes = 0" in run(PRIOR, "--call-minutes", "0").output


def test_units_from_a_recipe(run, tmp_path):
    result = run(PRIOR + '[units]\nname = "HU"\nzero = -1024.0\none = 3071.0\n')
    assert result.exit_code == 0, result.output
    assert priors.load(tmp_path / "out").units == priors.Units("HU", -1024.0, 3071.0)


def test_weights_of_another_checkpoint_to_start_from(run, tmp_path):
    run(PRIOR, "--steps", "3", out="first")
    still = ["--steps", "1", "--set", "training.lr=1e-12", "--set", "training.ema=0.0"]
    assert run(PRIOR, *still, "--init", str(tmp_path / "first"), "--seed", "9").exit_code == 0
    first, second = (priors.load(tmp_path / name).network.state_dict() for name in ("first", "out"))
    for name, value in second.items():
        torch.testing.assert_close(value, first[name], rtol=1e-5, atol=1e-9)
    assert [stage["steps"] for stage in checkpoints.read_card(tmp_path / "out")["history"]] == [3]


def test_options_override_the_recipe(run, tmp_path):
    assert run(PRIOR, "--steps", "1", "--seed", "5").exit_code == 0
    config = json.loads((tmp_path / "out" / "card.json").read_text())["training"]["config"]
    assert config["steps"] == 1 and config["seed"] == 5 and config["batch_size"] == 8


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (PRIOR.replace('kind = "prior"', 'kind = "flow"'), "kind = 'flow': expected one of prior, classifier"),
        (PRIOR.replace("[range]\nshift = 0.5\nscale = 0.5", ""), r"lacks \['range'\]"),
        (PRIOR.replace('"score"', '"snr"'), "weight = 'snr': expected one of"),
        (PRIOR.replace('"VPSDE"', '"Heat"'), "SDE type 'Heat'"),
    ],
)
def test_bad_recipes_are_refused(run, recipe, message):
    result = run(recipe)
    assert result.exit_code == 2 and re.search(message, result.output), result.output


def test_an_unknown_config_is_named_with_those_there_are():
    with pytest.raises(FileNotFoundError, match=r"no training config 'imagenet': expected .*fashion"):
        read_recipe("imagenet")


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.toml")))
def test_every_config_in_the_package_builds(name):
    recipe = read_recipe(name)
    TrainingConfig(**recipe["training"])
    network = recipe["network"]
    size = network["image_size"] if "image_size" in network else recipe.get("crops", {"size": 64})["size"]
    shape = network.get("image_channels", 3), size, size
    images = torch.zeros(2, *shape, dtype=torch.uint8)
    made = objective(recipe, ImageSet(images))
    assert made.trained.event_shape == shape and sum(p.numel() for p in made.network.parameters()) > 10**4


def test_the_image_set_is_read_by_its_split(run, tmp_path):
    refused = run(PRIOR, "--split", "train")
    assert refused.exit_code == 2 and "expected 'train_images'" in refused.output and "train_pictures" in refused.output
    assert len(read(tmp_path / "set.h5")) == 40


@pytest.mark.parametrize("held", [["images"], ["pictures"], ["train_pictures", "test_pictures"], ["train_images"]])
@pytest.mark.parametrize("crops", [False, True])
def test_every_kind_of_file_trains_without_a_split(tmp_path, run, held, crops):
    """Images and pictures of one size, whole and as crops: by default the training part, or all where there is none."""
    (tmp_path / "set.h5").unlink()
    images = stripes(40).images
    for name in held:
        split = name.split("_")[0] if "_" in name else None
        if name.endswith("pictures"):
            part = tuple(images) if split != "test" else (torch.zeros(1, 9, 9, dtype=torch.uint8),)
            pictures.write(tmp_path / "set.h5", pictures.Pictures(part), split, add=split == "test")
        else:
            with h5py.File(tmp_path / "set.h5", "w") as file:
                file[name] = images.numpy()
    recipe = PRIOR.replace("[training]", "[crops]\nsize = 8\n\n[training]") if crops else PRIOR
    result = run(recipe, "--steps", "1", split=())
    assert result.exit_code == 0, result.output
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["event_shape"] == [1, 8, 8] and ("spectrum" in card) == crops


def test_pictures_of_several_sizes_ask_for_crops(tmp_path, run):
    made = tuple(torch.zeros(1, 8 + i % 3, 10, dtype=torch.uint8) for i in range(20))
    pictures.write(tmp_path / "set.h5", pictures.Pictures(made))
    result = run(PRIOR)
    assert result.exit_code == 2 and "[crops]" in result.output and "size of at most 8" in result.output
    assert "Traceback" not in result.output


def test_set_changes_an_entry_and_says_what_it_expects():
    recipe = read_recipe("fashion-mnist-small")
    other = changed(recipe, ["sde.type=VPSDE", "sde.scale=0.5", "network.multipliers=[1, 1]"])
    assert other["sde"] == {"type": "VPSDE", "scale": 0.5}
    assert other["network"] == recipe["network"] | {"multipliers": [1, 1]}
    assert recipe["sde"]["type"] == "VESDE", "the recipe itself must stay as it was"
    for wrong in ("sde.type", "type=VPSDE", "nets.channels=3", "name.x=1"):
        with pytest.raises(ValueError, match=r"section\.key=value"):
            changed(recipe, [wrong])


def test_training_on_crops_of_pictures(tmp_path, run):
    """From pictures of several sizes, with the loss of others on the card, and resumable."""
    made = torch.randint(0, 256, (30, 1, 11, 14), generator=torch.Generator().manual_seed(1)).byte()
    turned = [p if i % 2 else p.mT.contiguous() for i, p in enumerate(made)]
    pictures.write(tmp_path / "set.h5", pictures.Pictures(tuple(turned)))
    recipe = PRIOR.replace("[training]", "[crops]\nsize = 8\nscales = [1.0, 0.8]\n\n[training]")
    result = run(recipe)
    assert result.exit_code == 0, result.output
    assert priors.load(tmp_path / "out").event_shape == (1, 8, 8)
    result = run(recipe, "--resume", "--steps", "3")
    assert result.exit_code == 0 and json.loads((tmp_path / "out" / "card.json").read_text())["training"]["steps"] == 3
    missing = run(recipe.replace("size = 8", "size = 12"), out="other")
    assert missing.exit_code == 2 and "are smaller" in missing.output

"""Bad training recipes: each is refused at once, by an error that names what was wrong."""

import math

import pytest
import torch

from priors.data import ImageSet
from priors.objectives import Focus
from priors.pictures import Crops, Pictures
from priors.recipes import changed, objective
from priors.training import TrainingConfig
from tests.calls.refusal import refused

NAN, INF = math.nan, math.inf
BYTES = Pictures((torch.zeros(1, 9, 9, dtype=torch.uint8),))
STARS = ImageSet(torch.zeros(9, 1, 8, 8, dtype=torch.uint8))
RECIPE = {
    "kind": "prior",
    "name": "stars",
    "licence": "CC0",
    "sde": {"type": "VESDE"},
    "range": {"shift": 0.5, "scale": 0.3},
    "network": {"type": "ncsnpp", "image_channels": 1, "image_size": 8, "channels": 8, "multipliers": [1, 2]},
    "training": {"steps": 2, "batch_size": 4, "held_out": 4},
}


def recipe(**sections):
    """What is trained by a recipe of which some entries differ; a section's entries are added to it."""
    spoilt = {k: RECIPE.get(k, {}) | v if isinstance(v, dict) else v for k, v in sections.items()}
    return lambda: objective(RECIPE | spoilt, STARS)


def config(**spoilt):
    return lambda: TrainingConfig(**({"steps": 2} | spoilt))


# (the call's name, the call, words of its message)
CALLS = [
    # recipes
    ("an unknown section", recipe(trainning={"lr": 1.0}), "['trainning']", "training"),
    ("a section that is a number", recipe(sde=3), "sde = 3", "[sde]"),
    ("a kind of nothing", recipe(kind=None), "kind = None", "string"),
    ("an unknown kind", recipe(kind="gan"), "kind = 'gan'", "prior, classifier"),
    ("labels of numbers", recipe(kind="classifier", labels=[1]), "labels = [1]", "strings"),
    ("a section without a name", lambda: changed(RECIPE | {"name": 3}, []), "name = 3", "string"),
    ("an unknown entry of range", recipe(range={"mean": 1.0}), "[range]", "'mean'"),
    ("a range of scale 0", recipe(range={"scale": 0.0}), "[range]", "scale = 0.0"),
    ("an unknown SDE", recipe(sde={"type": "cosine"}), "'cosine'", "VESDE"),
    ("an SDE of text", recipe(sde={"sigma_min": "low"}), "sigma_min = 'low'"),
    ("multipliers []", recipe(network={"multipliers": []}), "multipliers = []", "at least 1"),
    ("multipliers of floats", recipe(network={"multipliers": [1.5]}), "multipliers", "integer"),
    ("channels 0", recipe(network={"channels": 0}), "channels = 0", ">= 1"),
    ("dropout nan", recipe(network={"dropout": NAN}), "dropout = nan", "[0, 1)"),
    ("images of another size", recipe(network={"image_size": 16}), "(1, 8, 8)", "(1, 16, 16)", "image_size"),
    ("an unknown objective", recipe(prior={"objective": "gan"}), "objective = 'gan'", "denoising"),
    ("an unknown weight", recipe(prior={"weight": 3}), "weight = 3", "unit"),
    ("an unknown entry of prior", recipe(prior={"lr": 1.0}), "[prior]", "'lr'"),
    ("a focus of nan", recipe(prior={"focus": {"sigma": NAN, "spread": 1.0}}), "focus", "sigma = nan"),
    ("a focus that is a number", recipe(prior={"focus": 3}), "focus", "3"),
    ("lr inf", config(lr=INF), "lr = inf", "finite"),
    ("lr nan", config(lr=NAN), "lr = nan", "finite"),
    ("warmup -5", config(warmup=-5), "warmup = -5", ">= 0"),
    ("clip nan", config(clip=NAN), "clip = nan", "> 0"),
    ("clip 0", config(clip=0), "clip = 0", "> 0"),
    ("minutes nan", config(minutes=NAN), "minutes = nan", ">= 0"),
    ("minutes a text", config(minutes="ten"), "minutes = 'ten'", "number"),
    ("steps a float", config(steps=2.5), "steps = 2.5", "integer"),
    ("batch_size True", config(batch_size=True), "batch_size = True", "integer"),
    ("flip yes", config(flip="yes"), "flip = 'yes'", "True or False"),
    ("cosine 1", config(cosine=1), "cosine = 1", "True or False"),
    ("precision None", config(precision=None), "precision = None", "bfloat16"),
    ("save_minutes inf", config(save_minutes=INF), "save_minutes = inf", "finite"),
    ("ema nan", config(ema=NAN), "ema = nan", "[0, 1)"),
    ("training seed -1", config(seed=-1), "seed = -1", ">= 0"),
    ("focus share 2", lambda: Focus(1.0, 1.0, 2), "share = 2", "[0, 1]"),
    ("crops of scale nan", lambda: Crops(BYTES, 8, (NAN,)), "scales", "nan"),
    ("crops of size 0", lambda: Crops(BYTES, 0), "size = 0", ">= 1"),
]  # fmt: skip


@pytest.mark.parametrize("call", CALLS, ids=[call[0] for call in CALLS])
def test_a_bad_call_is_refused_by_name(call):
    refused(*call)

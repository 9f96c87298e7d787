"""What a user can get wrong: refused before the prior is evaluated, by a message that says how to mend it."""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import operators
import priors
from inverse import METHODS, Solution, sample, solve
from inverse.correctors import AnnealedLangevin, Langevin
from inverse.guidance import DPS, MMPS, NoisyLikelihood
from inverse.predictors import DDIM
from operators import Blur, Classifier, GaussianNoise, Grayscale, LinearMap, Masking, Operator, PoissonNoise
from priors import VESDE, VPSDE, Gaussian, GaussianMixture
from priors.checkpoints import CARD, WEIGHTS, save
from tests.cases import Untouchable, score_prior

PRIOR = Untouchable((1, 4, 4))
Y, ZEROS = torch.zeros(1, 1, 4, 4), torch.zeros(2)
MASK = Masking(torch.ones(4, 4), noise=GaussianNoise(0.1))
REFLECT = Blur(torch.ones(3, 3) / 9, "reflect", noise=GaussianNoise(0.1))
PHOTONS = Masking(torch.ones(4, 4), noise=PoissonNoise(9.0))


class Logits(torch.nn.Module):
    n_classes = 3

    def forward(self, x, t):
        raise AssertionError("the classifier was evaluated")


LABELS = Classifier(Logits())


def solving(prior=PRIOR, operator=MASK, y=Y, **arguments):
    return lambda: solve(prior, operator, y, progress=False, **arguments)


def sampling(prior=PRIOR, **arguments):
    return lambda: sample(prior, progress=False, **arguments)


def noisy(make, *arguments):
    return make(*arguments, noise=GaussianNoise(0.1))


def at(value, i=5):
    y = Y.clone()
    y.view(-1)[i] = value
    return y


# name: (what the user does, the error's type, fragments of its message: what was given, what was expected, what to do)
MISTAKES = {
    # the measurement
    "numpy y": (solving(y=np.zeros((1, 1, 4, 4))), TypeError, "ndarray", "floating tensor", "torch.as_tensor"),
    "list y": (solving(y=[[0.0]]), TypeError, "list", "floating tensor", "torch.as_tensor"),
    "int y": (solving(y=Y.int()), TypeError, "int32", "floating tensor", "float()"),
    "y without a batch axis": (solving(y=Y[0]), ValueError, "(1, 4, 4)", "(B, 1, 4, 4)", "y[None]"),
    "y of another size": (solving(y=torch.zeros(2, 1, 5, 4)), ValueError, "(2, 1, 5, 4)", "(B, 1, 4, 4)"),
    "no y": (solving(y=torch.zeros(0, 1, 4, 4)), ValueError, "(0, 1, 4, 4)", "B >= 1"),
    "nan in y": (solving(y=at(float("nan"))), ValueError, "1 entries", "finite", "mask"),
    "inf in y": (solving(y=at(float("inf"))), ValueError, "1 entries", "finite", "mask"),
    "y is an image, not a blurred interior": (
        solving(operator=noisy(Blur, torch.ones(3, 3), "valid")), ValueError, "(1, 1, 4, 4)", "(B, 1, 2, 2)",
    ),
    "y on another device": (solving(y=Y.to("meta")), ValueError, "meta", "cpu", ".to("),
    # labels
    "label out of range": (solving(operator=LABELS, y=torch.tensor([0, 3])), ValueError, "[0, 3]", "0..2"),
    "label below 0": (solving(operator=LABELS, y=torch.tensor([-1])), ValueError, "[-1]", "0..2"),
    "labels float": (solving(operator=LABELS, y=torch.tensor([1.0])), TypeError, "float32", "int64", "long()"),
    "labels one-hot": (solving(operator=LABELS, y=torch.eye(3).long()), ValueError, "(3, 3)", "(B,)"),
    "label as a number": (solving(operator=LABELS, y=torch.tensor(1)), ValueError, "()", "(B,)"),
    # numbers
    "n_samples 0": (solving(n_samples=0), ValueError, "n_samples = 0", ">= 1"),
    "n_samples negative": (solving(n_samples=-2), ValueError, "n_samples = -2", ">= 1"),
    "n_samples float": (solving(n_samples=2.0), TypeError, "n_samples = 2.0", "integer"),
    "n_samples bool": (solving(n_samples=True), TypeError, "n_samples = True", "integer"),
    "batch_size 0": (solving(batch_size=0), ValueError, "batch_size = 0", ">= 1"),
    "n_steps 0": (solving(n_steps=0), ValueError, "n_steps = 0", ">= 1"),
    "n_steps a string": (solving(n_steps="10"), TypeError, "n_steps = '10'", "integer"),
    "seed negative": (solving(seed=-1), ValueError, "seed = -1", ">= 0"),
    "seed beyond what a file keeps": (solving(seed=2**63), ValueError, f"seed = {2**63}", "< 2^63"),
    "seed None": (solving(seed=None), TypeError, "seed = None", "integer"),
    "seed float": (solving(seed=1.5), TypeError, "seed = 1.5", "integer"),
    "seed bool": (solving(seed=True), TypeError, "seed = True", "integer"),
    # operator, prior and method
    "a function for an operator": (solving(operator=torch.relu), TypeError, "expected an operators.Operator"),
    "a network for a prior": (solving(prior=torch.nn.Linear(2, 2)), TypeError, "Linear", "priors.Prior", "priors.load"),
    "arguments swapped": (solving(prior=MASK, operator=PRIOR), TypeError, "Masking", "priors.Prior"),
    "a mask of another size": (
        solving(operator=noisy(Masking, torch.ones(5, 5))), ValueError, "(5, 5)", "(1, 4, 4)", "size",
    ),
    "as many masks as there are no measurements": (
        solving(operator=noisy(Masking, torch.ones(3, 1, 4, 4)), y=torch.zeros(2, 1, 4, 4)),
        ValueError, "3 measurements", "y has 2", "one per measurement",
    ),
    "colours for a grey prior": (solving(operator=noisy(Grayscale)), ValueError, "(3, H, W)"),
    "a kernel that is too large": (
        solving(operator=noisy(Blur, torch.ones(5, 5))), ValueError, "(5, 5)", "(4, 4)", "crop",
    ),
    "a matrix for other events": (
        solving(operator=noisy(LinearMap, torch.ones(2, 9)), y=torch.zeros(1, 2)),
        ValueError, "9 columns", "(1, 4, 4)",
    ),
    "an unknown method": (solving(method="ddpm"), ValueError, "'ddpm'", "'auto'", "mmps"),
    "a guidance for a method": (solving(method=MMPS()), TypeError, "MMPS", "inverse.Method"),
    "no method": (solving(method=None), TypeError, "NoneType", "inverse.Method"),
    "an unconditional method": (solving(method="pc"), ValueError, "'pc' ignores y", "sample()"),
    "replacement of a blur": (
        solving(operator=REFLECT, method="replacement"), ValueError, "'orthogonal_rows'", "PaddedBlur", "'mmps'",
    ),
    "mmps of labels": (
        solving(operator=LABELS, y=torch.tensor([1]), method="mmps"), ValueError, "'linear'", "['classifier']",
    ),
    "classifier of a mask": (solving(method="classifier"), ValueError, "'noisy_likelihood'", "'mmps'"),
    "mmps of photons": (
        solving(operator=PHOTONS, method="mmps"), ValueError, "'gaussian'", "Masking",
    ),
    # sample
    "sampling nothing": (sampling(n_samples=0), ValueError, "n_samples = 0", ">= 1"),
    "sampling by a guided method": (sampling(method="mmps"), ValueError, "'mmps'", "'pc'", "solve()"),
    "sampling by a guided composition": (sampling(method=replace(METHODS["dps"])), ValueError, "'pc'", "solve()"),
    "sampling by an unknown method": (sampling(method="rk45"), ValueError, "'rk45'", "'ode'", "'pc'"),
    "sampling with a bad seed": (sampling(seed=-3), ValueError, "seed = -3", ">= 0"),
    "sampling no prior": (sampling(prior="fashion-mnist"), TypeError, "str", "priors.load"),
    "sampling a class": (sampling(prior=Gaussian), TypeError, "priors.Prior"),
    # operators
    "sigma negative": (lambda: GaussianNoise(-0.1), ValueError, "-0.1", ">= 0"),
    "sigma nan": (lambda: GaussianNoise(float("nan")), ValueError, "nan", "finite"),
    "peak 0": (lambda: PoissonNoise(0.0), ValueError, "> 0"),
    "mask of halves": (lambda: Masking(torch.full((4, 4), 0.5)), ValueError, "0 and 1", "threshold"),
    "keep a percentage": (lambda: Masking.random((1, 4, 4), keep=40), ValueError, "40", "[0, 1]"),
    "box beyond the picture": (lambda: Masking.box((1, 4, 4), 5), ValueError, "5 x 5", "4 x 4"),
    "an unknown boundary": (lambda: Blur(torch.ones(3, 3), boundary="zero"), ValueError, "'zero'", "reflect"),
    "noise a number": (lambda: Masking(torch.ones(4, 4), noise=0.1), TypeError, "0.1", "GaussianNoise(0.05)"),
    "an unknown operator": (lambda: operators.make("maskng"), ValueError, "'maskng'", "'masking'"),
    "a matrix of nan": (lambda: LinearMap(torch.full((2, 2), float("nan"))), ValueError, "finite"),
    # priors
    "an unknown prior": (lambda: priors.load("imagenet"), FileNotFoundError, "'imagenet'", "expected one of", "folder"),
    "sigma_min above sigma_max": (lambda: VESDE(2.0, 1.0), ValueError, "2.0", "sigma_min below"),
    "beta negative": (lambda: VPSDE(beta_min=-1.0), ValueError, "beta_min = -1.0", "> 0"),
    "a covariance of the wrong size": (lambda: Gaussian(ZEROS, torch.eye(3), VESDE()), ValueError, "(3, 3)", "(d, d)"),
    "a covariance that is not positive": (lambda: Gaussian(ZEROS, -torch.eye(2), VESDE()), ValueError, "-1", "semidef"),
    "weights of 0": (
        lambda: GaussianMixture(ZEROS[:, None], torch.ones(2, 1, 1), [1.0, 0.0], VESDE()), ValueError, "positive",
    ),
    # parts of a composition
    "no conjugate gradients": (lambda: MMPS(steps=0), ValueError, "steps = 0", ">= 1"),
    "zeta 0": (lambda: DPS(0.0), ValueError, "zeta = 0.0", "> 0"),
    "weight negative": (lambda: NoisyLikelihood(-1.0), ValueError, "weight = -1.0", "> 0"),
    "eta 2": (lambda: DDIM(2.0), ValueError, "eta = 2.0", "[0, 1]"),
    "snr 1": (lambda: Langevin(1.0), ValueError, "snr = 1.0", "(0, 0.5)"),
    "annealed snr 1": (lambda: AnnealedLangevin(1.0), ValueError, "snr = 1.0", "(0, 0.707"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_explained(name):
    act, kind, *fragments = MISTAKES[name]
    with pytest.raises(kind) as caught:
        act()  # Untouchable raises AssertionError if it is evaluated
    for fragment in fragments:
        assert fragment in str(caught.value)


class Cube(Operator):
    """A nonlinear measurement."""

    def forward(self, x):
        return x**3


UNSERVED = {
    "nonlinear": Cube(GaussianNoise(0.1)),
    "no singular basis": REFLECT,
    "singular values that differ": LinearMap(torch.diag(torch.arange(1.0, 17.0)), GaussianNoise(0.1), (1, 4, 4)),
    "noise that differs": Masking(torch.ones(4, 4), noise=GaussianNoise(torch.linspace(0.1, 1, 16).view(1, 4, 4), 3)),
    "photons": PHOTONS,
}


@pytest.mark.parametrize("operator", UNSERVED.values(), ids=UNSERVED)
@pytest.mark.parametrize("name", [name for name, m in METHODS.items() if m.conditional])
def test_a_method_refuses_what_it_cannot_serve(name, operator):
    """Before the prior is evaluated, with what is missing and the methods that do serve; all others go ahead."""
    y = torch.zeros(1, *operator.measurement_shape((1, 4, 4)))
    missing = METHODS[name].needs - operator.capabilities
    if not missing:
        with pytest.raises(AssertionError, match="the prior was evaluated"):
            solve(PRIOR, operator, y, 2, name, 3, progress=False)
        return
    with pytest.raises(ValueError, match=f"method '{name}' needs an operator that is") as caught:
        solve(PRIOR, operator, y, 2, name, 3, progress=False)
    assert str(sorted(missing)) in str(caught.value) and "methods that serve it are" in str(caught.value)


def test_every_operator_above_is_refused_by_some_and_served_by_others():
    """The least that every paper asks for: what a method needs is no more and no less than it uses."""
    refused = {
        label: {name for name, m in METHODS.items() if m.conditional and not m.needs <= operator.capabilities}
        for label, operator in UNSERVED.items()
    }
    everyone = {name for name, m in METHODS.items() if m.conditional}
    svd = {"scoremri", "ddrm", "ddnm", "splitgibbs", "tds", "mcgdiff"}
    orthogonal, weighted = {"replacement", "repaint", "mcg"}, {"dps", "psld", "reddiff", "daps", "resample"}
    assert refused == {
        "nonlinear": everyone - (weighted | {"linearized", "pivot-linearized"}),
        "no singular basis": svd | orthogonal | {"classifier"},
        "singular values that differ": orthogonal | {"classifier"},
        "noise that differs": svd | orthogonal | {"classifier"},
        "photons": everyone - (weighted | {"ep", "pivot-ep"}),
    }


# files ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / "prior", score_prior(), data="none")
    return tmp_path / "prior"


def truncate(folder: Path):
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def swap(folder: Path):
    save(folder.parent / "other", score_prior(VPSDE()))
    data = bytearray((folder.parent / "other" / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(data))


def edit(**fields):
    def act(folder: Path):
        card = json.loads((folder / CARD).read_text())
        (folder / CARD).write_text(json.dumps(card | fields))

    return act


@pytest.mark.parametrize(
    ("spoil", "kind", "fragments"),
    [
        (truncate, ValueError, ["sha256", "truncated or a different", "download it again"]),
        (swap, ValueError, ["sha256", "its card has"]),
        (lambda f: (f / WEIGHTS).unlink(), FileNotFoundError, ["no weights at"]),
        (lambda f: (f / CARD).unlink(), FileNotFoundError, ["no checkpoint at", CARD]),
        (lambda f: (f / CARD).write_text("{"), ValueError, ["not a readable card"]),
        (edit(format=99), ValueError, ["format 99", "reads format 1"]),
        (edit(kind="classifier"), ValueError, ["is a classifier, expected a prior", "load_classifier"]),
        (edit(sde={"type": "Cosine"}), ValueError, ["'Cosine'", "VESDE"]),
    ],
    ids=[
        "truncated",
        "other weights",
        "no weights",
        "no card",
        "broken card",
        "newer format",
        "classifier",
        "unknown SDE",
    ],
)
def test_a_spoilt_checkpoint(folder, spoil, kind, fragments):
    assert priors.load(folder).event_shape == (1, 8, 8)
    spoil(folder)
    with pytest.raises(kind) as caught:
        priors.load(folder)
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_a_prior_is_no_classifier(folder):
    with pytest.raises(ValueError, match=r"is a prior, expected a classifier: use priors\.load$"):
        priors.load_classifier(folder)


def test_a_foreign_file_is_no_solution(tmp_path):
    with h5py.File(tmp_path / "images.h5", "w") as file:
        file["images"] = np.zeros(3)
    (tmp_path / "text.h5").write_text("hello")
    for name in ("images.h5", "text.h5"):
        with pytest.raises(ValueError, match=f"{name}.*(not a readable solution|'samples' is missing)"):
            Solution.load(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no solution at"):
        Solution.load(tmp_path / "none.h5")

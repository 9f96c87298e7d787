"""Advice is followed: what an error says to do is done here, and works; what it names exists."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import typer.main
from typer.core import TyperGroup

import inverse
import operators
import priors
from inverse import METHODS, Method, grids, guidance, population, predictors, quality
from inverse.app.photo import finished
from operators import (
    Bayer,
    Blur,
    CompressedSensing,
    Downsampling,
    Fourier,
    GaussianNoise,
    LinearMap,
    Masking,
    PhaseRetrieval,
    PoissonNoise,
    Transmission,
    VaryingBlur,
)
from priors import VESDE, Gaussian, GaussianMixture, Moments
from priors.importers import score_sde
from priors.sde import LadderSDE
from tests.cases import score_prior

G = GaussianNoise(0.1)
X = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
MASK, KERNEL = torch.ones(8, 8), torch.ones(3, 3) / 9
MASKING, COMPLEX = Masking(MASK, G), Fourier(MASK, noise=G, channels=2)
Z = torch.complex(X[:, 0], 1 - X[:, 0])
TWO = Masking(X > 0.5, G)
GAUSSIAN = Gaussian(torch.zeros(2), torch.eye(2), VESDE())
LATENT = torch.zeros(1, 2)
DARK = Blur.gaussian(0.7, noise=PoissonNoise(100.0))
BARS = torch.tensor([0.9, 0.5, 0.0])
RANDOM = Masking(torch.ones(2), G, event_ndim=1)


def same(z, y):
    """A complex y in two channels, with nothing lost."""
    assert torch.equal(y[:, 0], z.real) and torch.equal(y[:, 1], z.imag)


# (the error, words of its advice, the advice followed)
ADVICE = {
    "complex y": (
        lambda: COMPLEX.validate_y(Z, (2, 8, 8)),
        "torch.stack((y.real, y.imag), -3)",
        lambda: (same(Z, torch.stack((Z.real, Z.imag), -3)), COMPLEX.pinv(torch.stack((Z.real, Z.imag), -3))),
    ),
    "complex x": (
        lambda: COMPLEX(Z[:, None]),
        "torch.stack((x.real, x.imag), -3)",
        lambda: COMPLEX(torch.stack((Z.real, Z.imag), -3)),
    ),
    "integer y": (
        lambda: MASKING.validate_y(X.long(), (1, 8, 8)),
        "torch.as_tensor(y).float()",
        lambda: MASKING.validate_y(torch.as_tensor(X.long()).float(), (1, 8, 8)),
    ),
    "y without a batch": (
        lambda: MASKING.validate_y(X[0], (1, 8, 8)), "y[None]", lambda: MASKING.validate_y(X[0][None], (1, 8, 8)),
    ),
    "rows of two masks": (
        lambda: TWO(X.repeat(2, 1, 1, 1)),
        "operator.rows(index), e.g. torch.arange(2).repeat_interleave(n_samples)",
        lambda: TWO.rows(torch.arange(2).repeat_interleave(2))(X.repeat(2, 1, 1, 1)),
    ),
    "index as a list": (lambda: TWO.rows([0, 1]), "torch.arange(B)", lambda: TWO.rows(torch.arange(2))),
    "noise as a number": (
        lambda: Masking(MASK, 0.05), "GaussianNoise(0.05)", lambda: Masking(MASK, GaussianNoise(0.05)),
    ),
    "a likelihood without noise": (
        lambda: Masking(MASK).log_likelihood(X, X),
        "positive sigma (1e-3",
        lambda: Masking(MASK, GaussianNoise(1e-3)).log_likelihood(X, X),
    ),
    "an ambiguous sigma": (
        lambda: GaussianNoise(torch.ones(8, 8)), "event_ndim", lambda: GaussianNoise(torch.ones(8, 8), event_ndim=2),
    ),
    "a grey mask": (lambda: Masking(X[0]), "mask > 0.5", lambda: Masking(X[0] > 0.5)),
    "photons of negative pictures": (
        lambda: DARK.measure(X - 0.5), "x.clamp(0, 1)", lambda: DARK.measure((X - 0.5).clamp(0, 1)),
    ),
    "a kernel of bytes": (
        lambda: Blur((255 * KERNEL).byte()),
        "kernel / kernel.sum()",
        lambda: Blur((255 * KERNEL).byte() / (255 * KERNEL).byte().sum()),
    ),
    "a matrix of one row": (
        lambda: LinearMap(torch.ones(4)), "matrix[None]", lambda: LinearMap(torch.ones(4)[None]),
    ),
    "a single diffraction mask": (
        lambda: PhaseRetrieval(masks=MASK), "mask[None]", lambda: PhaseRetrieval(masks=MASK[None]),
    ),
    "kernels of one column": (
        lambda: VaryingBlur.grid(KERNEL.expand(2, 3, 3), (1, 8, 8)),
        "kernels[:, None]",
        lambda: VaryingBlur.grid(KERNEL.expand(2, 3, 3)[:, None], (1, 8, 8)),
    ),
    "one colour": (lambda: Bayer("RRRR"), "RGGB", lambda: Bayer("RGGB")),
    "blocks that do not divide": (
        lambda: Downsampling(3)(X), "crop them to 6 x 6", lambda: Downsampling(3)(X[..., :6, :6]),
    ),
    "hadamard of any size": (
        lambda: CompressedSensing(transform="hadamard")(X[..., :7]),
        "transform='dct'",
        lambda: CompressedSensing(transform="dct")(X[..., :7]),
    ),
    "real coils": (
        lambda: Fourier(MASK, torch.ones(2, 8, 8)),
        "torch.complex(real, imaginary)",
        lambda: Fourier(MASK, torch.complex(torch.ones(2, 8, 8), torch.zeros(2, 8, 8))),
    ),
    "line integrals of no photons": (
        lambda: Transmission(G).line_integrals(X), "-log(y)", lambda: -torch.log(Transmission(G)(X)),
    ),
    "an unknown operator": (lambda: operators.get("maskng"), "'masking'", lambda: operators.get("masking")),
    "no terminal signal": (
        lambda: LadderSDE.from_alphas_bar(BARS.tolist()),
        "alphas_bar[:-1]",
        lambda: LadderSDE.from_alphas_bar(BARS.tolist()[:-1]),
    ),
    "a level without noise": (
        lambda: LadderSDE.from_alphas_bar([1.0, 0.9, 0.5]),
        "alphas_bar[1:]",
        lambda: LadderSDE.from_alphas_bar([1.0, 0.9, 0.5][1:]),
    ),
    "levels without signal": (
        lambda: LadderSDE([1.0, 0.5, 0.0], [0.1, 0.5, 1.0]),
        "alphas[:-1] and sigmas[:-1]",
        lambda: LadderSDE([1.0, 0.5, 0.0][:-1], [0.1, 0.5, 1.0][:-1]),
    ),
    "a falling ladder": (
        lambda: LadderSDE([1.0, 1.0], [2.0, 1.0]), "reverse", lambda: LadderSDE([1.0, 1.0], [2.0, 1.0][::-1]),
    ),
    "a denoiser of small noise": (
        lambda: priors.from_denoiser(lambda x, s: x, event_shape=(2,), sigma_max=0.005),
        "VESDE(0.0005, 0.005)",
        lambda: priors.from_denoiser(lambda x, s: x, VESDE(0.0005, 0.005), event_shape=(2,), sigma_max=0.005),
    ),
    "variances for covariances": (
        lambda: GaussianMixture(LATENT, torch.ones(1, 2), [1.0], VESDE()),
        "torch.diag_embed",
        lambda: GaussianMixture(LATENT, torch.diag_embed(torch.ones(1, 2)), [1.0], VESDE()),
    ),
    "one matrix for all": (
        lambda: GaussianMixture(torch.rand(3, 2), torch.eye(2), [1.0] * 3, VESDE()),
        ".expand(K, d, d)",
        lambda: GaussianMixture(torch.rand(3, 2), torch.eye(2).expand(3, 2, 2), [1.0] * 3, VESDE()),
    ),
    "an exact trace of many dimensions": (
        lambda: priors.log_likelihood(score_prior_of(4097), torch.zeros(1, 4097), probe="exact"),
        "probe='rademacher'",
        lambda: priors.log_likelihood(GAUSSIAN, LATENT, probe="rademacher", rtol=0.1, atol=0.1),
    ),
    "between grey levels": (
        lambda: priors.bits_per_dim(GAUSSIAN, LATENT + 0.3, levels=2),
        "dequantize=False",
        lambda: priors.bits_per_dim(GAUSSIAN, LATENT + 0.3, levels=2, dequantize=False, rtol=0.1, atol=0.1),
    ),
    "probes without numbers": (
        lambda: priors.log_density(GAUSSIAN, LATENT, 0.5, 2, 1),
        "RowRNG.rows(seed, 1)",
        lambda: priors.log_density(GAUSSIAN, LATENT, 0.5, 2, 1, priors.RowRNG.rows(0, 1)),
    ),
    "several measurements of a mixture": (
        lambda: GAUSSIAN.posterior(Masking(torch.ones(2, 2), G, event_ndim=1), LATENT),
        "operator.rows(torch.tensor([index]))",
        lambda: GAUSSIAN.posterior(Masking(torch.ones(2, 2), G, event_ndim=1).rows(torch.tensor([1])), LATENT),
    ),
    "y of a batch": (
        lambda: GAUSSIAN.posterior(RANDOM, torch.ones(3, 2)),
        "y[i : i + 1]",
        lambda: GAUSSIAN.posterior(RANDOM, torch.ones(3, 2)[1:2]),
    ),
    "another noising of a network": (
        lambda: score_prior_noise().with_sde(VESDE(0.1)),
        "prediction = 'preconditioned'",
        lambda: score_prior().with_sde(VESDE(0.1)),
    ),
    "structure of a small picture": (
        lambda: quality.ssim(X[..., :6, :6], X[..., :6, :6]),
        "psnr",
        lambda: quality.psnr(X[..., :6, :6], X[..., :6, :6]),
    ),
    "a noisy flow": (
        lambda: predictors.Flow(predictors.Ancestral()).transition(GAUSSIAN, LATENT, *times(), None),
        "ProbabilityFlow() or DDIM(0)",
        lambda: [
            predictors.Flow(p).transition(GAUSSIAN, LATENT, *times(), None)
            for p in (predictors.ProbabilityFlow(), predictors.DDIM(0))
        ],
    ),
    "weights without a density": (
        lambda: importance(predictors.Ancestral()), "inverse.predictors.Flow()", lambda: importance(predictors.Flow()),
    ),
    "an unconditional method": (
        lambda: inverse.solve(GAUSSIAN, RANDOM, LATENT, method="pc", progress=False),
        "sample()",
        lambda: inverse.sample(GAUSSIAN, 2, method="pc", n_steps=2, progress=False),
    ),
    "antithetic weights": (
        lambda: inverse.solve(GAUSSIAN, RANDOM, LATENT, method="exact", antithetic=True, progress=False),
        "'mmps'",
        lambda: inverse.solve(GAUSSIAN, RANDOM, LATENT, 2, "mmps", 2, antithetic=True, progress=False),
    ),
    "the spread of one sample": (
        lambda: inverse.solve(GAUSSIAN, RANDOM, LATENT, 1, "mmps", 2, progress=False).std,
        "n_samples >= 2",
        lambda: inverse.solve(GAUSSIAN, RANDOM, LATENT, 2, "mmps", 2, progress=False).std,
    ),
    "a class for a kernel": (
        lambda: Method("mine", guidance.DPS(), predictors.Ancestral),
        "transition",
        lambda: Method("mine", guidance.DPS(), predictors.Ancestral()),
    ),
    "moments of other shapes": (
        lambda: Moments(X[0], X, X, X), "Moments.of_images", lambda: Moments.of_images(X),
    ),
}  # fmt: skip


def times():
    return torch.tensor(0.5, dtype=torch.float64), torch.tensor(0.4, dtype=torch.float64)


def importance(predictor):
    method = Method("mine", guidance.Tweedie(), predictor, grid=grids.karras, population=population.Importance())
    return inverse.solve(GAUSSIAN, RANDOM, LATENT, 2, method, 2, progress=False)


def score_prior_of(d: int):
    return Gaussian(torch.zeros(d), torch.eye(d), VESDE())


def score_prior_noise():
    prior = score_prior()
    return priors.ScorePrior(prior.network, VESDE(), (1, 8, 8), "noise")


@pytest.mark.filterwarnings("ignore::inverse.UnreliableWeights")
@pytest.mark.parametrize("name", ADVICE)
def test_advice_works(name):
    act, advice, follow = ADVICE[name]
    with pytest.raises((ValueError, TypeError, NotImplementedError)) as caught:
        act()
    assert advice in str(caught.value)
    follow()


def test_rounding_below_0_is_no_light():
    """A circular blur by Fourier transforms leaves -1e-8 where a picture in [0, 1] is black."""
    x = torch.zeros(1, 1, 32, 32)
    x[..., 8:16, 8:16] = 1
    clean = DARK(x)
    assert clean.min() < 0 and bool((DARK.measure(x) >= 0).all())


def test_a_file_without_averages(tmp_path):
    torch.save({"model": {"module.sigmas": torch.ones(2)}}, tmp_path / "last.pth")
    with pytest.raises(ValueError, match=r"score_sde\.load\(path, config, ema=False\)"):
        score_sde.read(tmp_path / "last.pth", ema=True)
    assert "ema" in inspect.signature(score_sde.load).parameters
    assert list(score_sde.read(tmp_path / "last.pth", ema=False)) == ["sigmas"]


def test_a_truncated_result_is_no_other_problem(tmp_path):
    solution = inverse.Solution(X[None], torch.zeros(1, 2), "mmps", 1, 0, 0.0, 0)
    solution.save(tmp_path / "run.h5", {"key": "this"})
    whole = (tmp_path / "run.h5").read_bytes()
    (tmp_path / "run.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="is truncated"):
        finished(None, None, 0, tmp_path / "run.h5")  # type: ignore[arg-type]  # the file is read before the problem


# what messages name -----------------------------------------------------------------------------------------------

ROOT = Path(inverse.__file__).parents[1]
ROOMS = {"inverse": inverse, "operators": operators, "priors": priors, "torch": torch}
DOTTED = re.compile(r"\b(?:inverse|operators|priors|torch)(?:\.[A-Za-z_]\w*)+")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


def messages(rooms=("operators", "priors", "inverse")) -> Iterator[tuple[str, str]]:
    """(place, text) of every error that is raised; {} stands for what is filled in."""
    for path in (path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                text = "".join(_texts(node.exc.args[0]))
                yield f"{path.relative_to(ROOT)}:{node.lineno}", text


def _texts(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.JoinedStr):
        for part in node.values:
            yield str(part.value) if isinstance(part, ast.Constant) else "{}"
    elif isinstance(node, ast.BinOp):
        yield from (*_texts(node.left), *_texts(node.right))


def missing(dotted: str) -> bool:
    """Whether a dotted name, such as operators.coils.smooth_sensitivities, leads nowhere."""
    first, *rest = dotted.split(".")
    thing = ROOMS[first]
    for name in rest:
        if not hasattr(thing, name):
            return True
        thing = getattr(thing, name)
    return False


def options() -> set[str]:
    """Every option of every command line."""
    import benchmarks.cli
    import inverse.app.cli
    import priors.cli
    import priors.packing

    found: set[str] = set()
    waiting = [typer.main.get_command(m.app) for m in (inverse.app.cli, priors.cli, priors.packing, benchmarks.cli)]
    while waiting:
        command = waiting.pop()
        if isinstance(command, TyperGroup):
            context = typer.Context(command)
            waiting.extend(filter(None, (command.get_command(context, n) for n in command.list_commands(context))))
        found |= {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
    return found


def test_names_in_messages_exist():
    import priors.importers.score_sde  # noqa: F401  # so that dotted names lead to them

    found = {place: [d for d in DOTTED.findall(text) if missing(d)] for place, text in messages()}
    assert not {place: names for place, names in found.items() if names}
    assert sum(len(DOTTED.findall(text)) for _, text in messages()) > 15


def test_options_in_messages_exist():
    known = options()
    found = {place: sorted(set(OPTION.findall(text)) - known) for place, text in messages()}
    assert not {place: names for place, names in found.items() if names}
    assert sum(len(OPTION.findall(text)) for _, text in messages()) > 5


def test_methods_in_messages_exist():
    """A method that is named as the way out is one of METHODS."""
    named = [m for _, text in messages() for m in re.findall(r"method(?: =)? '(\w+)'", text)]
    assert set(named) <= set(METHODS) | {"auto"}


def test_these_checks_see_a_wrong_name():
    assert missing("priors.load_weights") and missing("inverse.grids.cosine") and not missing("priors.load")
    assert "--no-such-option" not in options() and "--out" in options()

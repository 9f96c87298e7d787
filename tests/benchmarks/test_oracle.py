"""The oracle: its problems are those of the papers, its measures see what they are made for, its records last."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import cli
from benchmarks.common.keys import code
from benchmarks.common.records import Records
from benchmarks.exact import oracle
from benchmarks.exact.metrics import covariance_error, equally_weighted, mean_error, responsibilities, weight_error
from benchmarks.exact.oracle_entries import EXACT, OTHERS, PRIOR, Entry, Exact, Ours, PriorDraws, Theirs, ours
from benchmarks.exact.oracle_problems import GROUPS, MODES, Image, Mixture, find
from benchmarks.exact.oracle_tables import MEASURES, summary, table, write_summary
from benchmarks.peers import PEERS
from inverse import METHODS, Method
from inverse.guidance import Unconditional
from inverse.types import NonFiniteState
from priors import VESDE, GaussianMixture

SMALL = Mixture(8, 2)
N = 200


class Failing(Unconditional):
    """A guidance that diverges at once."""

    conditional = True

    def posterior(self, prior, operator, y, rng=None):
        raise NonFiniteState("step 1 of 4: the state is not finite")


@dataclass(frozen=True)
class Overflowing(Entry):
    """Draws that are not finite."""

    name: str = "overflowing"

    @property
    def identity(self):
        return [self.name]

    def draw(self, instance, n, seed):
        drawn = Exact().draw(instance, n, seed)
        return replace(drawn, samples=drawn.samples / 0)


FAILING = Ours("failing", Method("failing", Failing()), 4)
MMPS = Ours("mmps", METHODS["mmps"], 4)


def units(*entries: Entry, instances: int = 2, n: int = 32) -> list[oracle.Unit]:
    return [oracle.Unit(SMALL, i, e, n) for i in range(instances) for e in entries]


def settled(records: list[dict]) -> list[dict]:
    return [{name: value for name, value in record.items() if name != "seconds"} for record in records]


# problems -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("d", "d_y"), [(8, 1), (8, 4), (80, 2)])
def test_the_mixture_is_that_of_mcgdiff(d, d_y):
    generator = torch.Generator().manual_seed(3)
    prior, operator = Mixture(d, d_y).draw(generator)
    assert sorted(set(MODES)) == [(8.0 * i, 8.0 * j) for i in range(-2, 3) for j in range(-2, 3)]
    assert torch.equal(prior.means, torch.tensor(MODES).double().repeat(1, d // 2)) and prior.means.shape == (25, d)
    assert torch.equal(prior.eigenvalues, torch.ones(1, d).double()) and prior.basis is None
    # replayed: the weights, the matrix whose singular values are replaced, its new ones and the noise
    generator.manual_seed(3)
    z, gaussian = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((25,), (d_y, d)))
    s, u = (torch.rand(n, generator=generator, dtype=torch.float64) for n in (d_y, 1))
    torch.testing.assert_close(prior.weights, z**2 / (z**2).sum())
    s = s.sort(descending=True).values
    torch.testing.assert_close(torch.linalg.svdvals(operator.matrix.double()), s, atol=1e-6, rtol=0)
    left, _, right = torch.linalg.svd(gaussian, full_matrices=False)
    inner = left.mT @ operator.matrix.double() @ right.mT
    assert (inner - inner.diag().diag()).abs().max() < 1e-6, "the singular vectors are those of the Gaussian matrix"
    assert operator.noise.sigma.item() == pytest.approx(u.item() * s.max().item())


def test_what_instances_draw_is_uniform_or_chi_squared_and_their_own():
    """Over 200 instances: the moments of chi^2_1 shares and of U(0, 1), within 4 standard errors."""
    drawn = [SMALL.draw(torch.Generator().manual_seed(i)) for i in range(200)]
    singular = torch.stack([torch.linalg.svdvals(operator.matrix) for _, operator in drawn])
    ratios = torch.stack([o.noise.sigma for _, o in drawn]) / singular[:, 0]
    for uniform in (ratios, singular.flatten()):
        assert abs(uniform.mean() - 0.5) < 4 * 12**-0.5 / len(uniform) ** 0.5 and uniform.max() <= 1
    weights = torch.stack([prior.weights for prior, _ in drawn])
    assert (weights.sum(1) - 1).abs().max() < 1e-9
    assert weights.square().sum(1).mean() == pytest.approx(3 / 27, rel=0.1)  # Dirichlet(1/2 x 25): (a + 1) / (25 a + 1)


@pytest.mark.parametrize("problem", [p for name, group in GROUPS.items() if name != "mixture-800" for p in group])
def test_instances_are_their_own_and_repeat(problem):
    one, again, other = (problem.instance(i) for i in (4, 4, 5))
    assert torch.equal(one.y, again.y) and torch.equal(one.posterior.means, again.posterior.means)
    assert not torch.equal(one.y, other.y) and one.operator.noise.sigma > 0
    x = one.posterior.sample(1)
    assert (one.operator(x) - one.y).abs().max() < 6 * one.operator.noise.sigma + 1e-3
    assert one.prior.means.dtype == torch.float32 and one.posterior.means.dtype == torch.float64


def test_the_image_problems_measure_as_they_say():
    shapes = {task: Image(task).instance(0).y.shape[1:] for task in ("masking", "blur", "downsampling", "matrix")}
    assert {task: shape.numel() for task, shape in shapes.items()} == {
        "masking": 64, "blur": 64, "downsampling": 16, "matrix": 16,
    }  # fmt: skip
    assert Image("masking").instance(0).operator.mask.sum() == 26
    with pytest.raises(ValueError, match="expected one of"):
        Image("sharpening")
    with pytest.raises(ValueError, match="even"):
        Mixture(7, 1)
    assert find("mixture-8") == GROUPS["mixture-8"] and find("mixture-8-2") == (SMALL,)
    with pytest.raises(ValueError, match="mixture-80-4"):
        find("mixture-9")


# measures -------------------------------------------------------------------------------------------------------------


def mixture(seed: int = 0) -> GaussianMixture:
    """Three overlapping components with covariances of their own, in three dimensions."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(3, 3, 3, generator=generator, dtype=torch.float64)
    means = 2 * torch.randn(3, 3, generator=generator, dtype=torch.float64)
    return GaussianMixture(means, z @ z.mT + 0.1 * torch.eye(3), torch.tensor([0.5, 0.3, 0.2]), VESDE())


@pytest.mark.parametrize("tied", [False, True])
def test_responsibilities_are_bayes_rule(tied):
    law, x = mixture(), mixture().sample(50, seed=1).double()
    covariances = torch.stack([b * e @ b.mT for b, e in zip(law.basis, law.eigenvalues, strict=True)])
    if tied:
        covariances = covariances[:1].expand(3, 3, 3)
        law = GaussianMixture(law.means, covariances, law.weights, VESDE())
    normal = torch.distributions.MultivariateNormal
    joint = [normal(m, c).log_prob(x).exp() * w for m, c, w in zip(law.means, covariances, law.weights, strict=True)]
    torch.testing.assert_close(responsibilities(x, law), torch.stack(joint, 1) / sum(joint)[:, None])


def test_a_component_without_density_is_refused():
    flat = GaussianMixture(torch.zeros(2, 2), torch.diag_embed(torch.tensor([[1.0, 0.0]] * 2)), torch.ones(2), VESDE())
    with pytest.raises(ValueError, match="positive sigma"):
        weight_error(torch.zeros(3, 2), flat)


def test_errors_of_known_moments():
    """Of a shift by a, of a scaling by 2 and of one component alone the errors have closed forms."""
    law = mixture()
    x = law.sample(20_000, seed=0)
    spread = law.covariance.trace().sqrt()
    assert mean_error(x, law) < 0.02 and covariance_error(x, law) < 0.05 and weight_error(x, law) < 0.015
    assert mean_error(x + torch.tensor([3.0, 0.0, 4.0]), law) == pytest.approx(5 / spread.item(), abs=0.02)
    assert covariance_error(law.mean + 2 * (x - law.mean), law) == pytest.approx(3.0, abs=0.2)
    far = GaussianMixture(100 * law.means, torch.eye(3).expand(3, 3, 3), law.weights, VESDE())
    assert weight_error(far.means[:1].expand(5, 3), far) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="one point"):
        covariance_error(x[:1], law)


def test_weighted_draws_become_equal_ones():
    x, log_w = torch.arange(8.0)[:, None], torch.log(torch.tensor([4.0, 0, 1, 0, 1, 0, 2, 0]))
    assert equally_weighted(x, log_w + 7).flatten().tolist() == [0, 0, 0, 0, 2, 4, 6, 6]
    assert equally_weighted(x, torch.full((8,), -3.0)) is x


def worse(x: torch.Tensor, how: str, law: GaussianMixture) -> torch.Tensor:
    if how == "shift":
        return x + 0.5 * (law.variance * 8) ** 0.5 * torch.tensor([1.0] + [0.0] * 7)
    if how == "shrink":
        return law.mean.float() + 0.7 * (x - law.mean)
    likely = responsibilities(x, law).argmax(1)  # wrong weights: every second draw goes from its mode to the likeliest
    moved = likely.clone()
    moved[::2] = law.weights.argmax()
    return (x + law.means[moved] - law.means[likely]).float()


@pytest.fixture(scope="module")
def known():
    """An instance whose posterior has several modes of weight."""
    number = next(i for i in range(100) if 0.3 < float(Mixture(8, 1).instance(i).posterior.weights.max()) < 0.5)
    return oracle.truth(Mixture(8, 1), number, 1000), number


def test_exact_draws_score_about_one_floor():
    """Means over 4 instances of 8 sets each: the error of a mean, |z| of few directions, scatters most, by 20 %."""
    floors, found = [], []
    for number in range(4):
        floors.append(oracle.execute(oracle.Unit(SMALL, number, Exact(), N)))
        truth = oracle.truth(SMALL, number, N)
        found += [oracle.measure(truth.instance.posterior.sample(N, seed=i), truth) for i in range(8)]
    for name in MEASURES:
        ratio = sum(f[name] for f in found) / 8 / sum(f[name] for f in floors)
        assert ratio == pytest.approx(1, abs=0.5), name


@pytest.mark.parametrize(("how", "seen_by"), [("shift", "mean"), ("shrink", "covariance"), ("weights", "weights")])
def test_each_fault_is_seen_by_the_measure_made_for_it(known, how, seen_by):
    truth, _ = known
    law = truth.instance.posterior
    x = law.sample(1000, seed=5)
    right, wrong = oracle.measure(x, truth), oracle.measure(worse(x, how, law), truth)
    assert wrong[seen_by] > 4 * right[seen_by]
    assert wrong["sw1"] > 1.3 * right["sw1"] and wrong["sw2"] > right["sw2"]
    if how == "weights":  # the modes themselves are as they were
        assert wrong["weights"] > 0.1
    if how == "shrink":
        assert wrong["mean"] < 1.5 * right["mean"]


def test_measures_do_not_depend_on_order(known):
    truth, _ = known
    x = truth.instance.posterior.sample(1000, seed=6)
    turned = oracle.measure(x[torch.randperm(1000, generator=torch.Generator().manual_seed(0))], truth)
    assert turned == pytest.approx(oracle.measure(x, truth), rel=1e-9)


# entries --------------------------------------------------------------------------------------------------------------


def test_mmps_lands_nearer_than_the_prior():
    problem = Image("masking")
    found = {e.name: oracle.execute(oracle.Unit(problem, 0, e, N)) for e in (
        Exact(), Ours("mmps", METHODS["mmps"], 20), PriorDraws())}  # fmt: skip
    for name in MEASURES:  # of one component all is said by the others: 40 % of the pixels tell the mode here
        assert found["mmps"][name] < max(0.5 * found[PRIOR][name], 1e-6), name
    assert found["mmps"]["sw1"] < 3 * found[EXACT]["sw1"]
    assert found["mmps"]["nfe"] > 20 and found["mmps"]["nvjp"] > 20 and found[PRIOR]["nfe"] == 0


def test_weighed_populations_are_resampled_and_their_evidence_judged():
    record = oracle.execute(oracle.Unit(SMALL, 0, Ours("tds", METHODS["tds"], 50), N))
    prior = oracle.execute(oracle.Unit(SMALL, 0, PriorDraws(), N))
    assert record["sw1"] < 0.5 * prior["sw1"] and 1 <= record["ess"] <= N and "log_evidence_error" in record


def test_every_method_that_serves_is_an_entry(tmp_path):
    records = oracle.run((SMALL,), None, False, 1, 8, (2,), tmp_path, progress=False)
    capabilities = set(SMALL.instance(0).operator.capabilities)
    able = {name for name, m in METHODS.items() if m.conditional and m.needs <= capabilities}
    assert {r["method"] for r in records} == able | {"auto", EXACT, PRIOR, *OTHERS} and "classifier" not in able
    travelling = {"repaint", "splitgibbs"}
    assert all(r["n_steps"] == 2 for r in records if r["method"] in able - travelling)
    both = [(e.name, e.facts["n_steps"]) for e in ours(SMALL.instance(0), ["mmps"], (2, None), 8)]
    assert both == [("mmps", 2), ("mmps", METHODS["mmps"].n_steps)]
    assert all(r["capabilities"] == sorted(capabilities) and r["problem"] == SMALL.name for r in records)
    assert [r["method"] for r in records if "error" in r] == []


def test_a_peer_is_listed_at_its_defaults_and_at_its_best(tmp_path, monkeypatch):
    """The best of a grid is the nearest on tuning instances, which are not those reported."""
    good, bad = {"steps": 30}, {"steps": 1}
    peer = replace(PEERS["deepinv ddrm"], grid=({}, bad, good), defaults=PEERS["deepinv ddrm"].defaults | bad)
    for name in list(PEERS):
        monkeypatch.delitem(PEERS, name)
    monkeypatch.setitem(PEERS, "deepinv ddrm", peer)
    records = oracle.run((SMALL,), ["pigdm"], True, 2, 64, (4,), tmp_path, tuning=(1000, 1001), progress=False)
    found = {r["method"]: r for r in records}
    assert found["deepinv ddrm"]["settings"]["steps"] == found["deepinv ddrm"]["n_steps"] == 1
    assert found["deepinv ddrm, best of 3"]["settings"]["steps"] == 30
    assert {r["instance"] for r in records} == {0, 1} and {"auto", "pigdm"} < set(found) and "dps" not in found
    rows = [row["method"] for row in table(summary(records))]
    assert "deepinv ddrm, best of 3 (steps 30" in " ".join(rows) and "auto (method mmps)" in rows


# records --------------------------------------------------------------------------------------------------------------


def test_workers_give_the_records_of_one_process(tmp_path):
    asked = units(Exact(), MMPS, Theirs("azula mmps", "azula mmps", '{"steps": 3}'))
    one = oracle.finish(asked, tmp_path / "one", workers=1, progress=False)
    two = oracle.finish(asked, tmp_path / "two", workers=2, progress=False)
    assert settled(one) == settled(two) and all("sw1" in record for record in one)


def test_a_killed_run_is_taken_up_again(tmp_path, monkeypatch):
    asked = units(Exact(), MMPS)
    first = oracle.finish(asked, tmp_path, progress=False)
    path = tmp_path / f"{SMALL.name}.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2]) + lines[2][: len(lines[2]) // 2])  # killed while the third was written
    done, original = [], oracle.execute
    monkeypatch.setattr(oracle, "execute", lambda unit: done.append(unit) or original(unit))
    again = oracle.finish(asked, tmp_path, progress=False)
    assert settled(again) == settled(first) and done == asked[2:]
    assert oracle.finish(asked, tmp_path, progress=False) == again and len(done) == 2
    assert len(Records(path).found) == 4


def test_a_unit_depends_on_method_steps_samples_and_instance():
    base = units(MMPS, instances=1)[0]
    other = replace(METHODS["mmps"], guidance=replace(METHODS["mmps"].guidance, steps=1))
    changed = [replace(base, number=1), replace(base, n=33), replace(base, family=Mixture(8, 1)), replace(
        base, entry=Ours("mmps", other, 4)), replace(base, entry=replace(MMPS, n_steps=5))]  # fmt: skip
    assert len({unit.key for unit in (base, *changed)}) == 6
    assert replace(base, entry=replace(MMPS, name="auto")).key == base.key, "a name is no cause to draw again"


def test_comments_and_docstrings_are_no_code():
    def one(x):
        """What."""
        return x + 1  # more

    def two(x):
        return x + 2

    text = code(one)
    one.__doc__ = None
    assert text == code(one) != code(two)


def test_a_failing_entry_is_recorded_and_the_others_go_on(tmp_path):
    asked = units(Exact(), Overflowing(), FAILING, replace(MMPS, name="auto"))
    records = [
        oracle.described(u) | r for u, r in zip(asked, oracle.finish(asked, tmp_path, progress=False), strict=True)
    ]
    errors = {r["method"]: r["error"] for r in records if "error" in r}
    assert errors == {
        "overflowing": "ArithmeticError: samples are not finite",
        "failing": "NonFiniteState: step 1 of 4: the state is not finite",
    }
    lines = {line["method"]: line for line in summary(records)}
    assert lines["failing"]["failed"] == 2 and lines["failing"]["sw1"] is None and lines["auto"]["failed"] == 0
    rows = {row["method"]: row for row in table(list(lines.values()))}
    assert rows["failing"]["sliced W1"] == "diverged" and rows["failing"]["failed"] == "2 of 2"


def test_figures_of_made_up_records(tmp_path):
    about = {
        "problem": "p",
        "title": "t",
        "capabilities": [],
        "measured": 4,
        "settings": None,
        "samples": 9,
        "n_steps": 5,
    }

    def record(method, i, value):
        figures = dict.fromkeys(MEASURES, value)
        return about | {"method": method, "instance": i, "nfe": 10, "nvjp": 0, "seconds": 1.0} | figures

    records = [record(m, i, (1 + i) * v) for m, v in ((EXACT, 1.0), ("auto", 2.0), ("dps", 3.0)) for i in range(4)]
    records[-1] = about | {"method": "dps", "instance": 3, "error": "NonFiniteState: step 2"}
    found = {line["method"]: line for line in summary(records)}
    assert found["auto"]["sw1"] == 5.0 and found["auto"]["sw1_ratio"] == 2.0 and found[EXACT]["sw1_ratio"] == 1.0
    dps = found["dps"]
    assert dps["failed"] == 1 and dps["error"] == "NonFiniteState: step 2"
    assert dps["sw1"] == 6.0 and dps["sw1_ratio"] == 3.0, "the floor is that of the same three instances"
    assert dps["minus_auto"] == 2.0 and dps["minus_auto_low"] >= 1.0 and dps["minus_auto_high"] <= 3.0
    with pytest.raises(ValueError, match="exact draws"):
        summary(records[4:])
    path = tmp_path / "oracle.json"
    write_summary([{"problem": "q", "method": "a"}, {"problem": "p", "method": "old"}], path)
    write_summary(list(found.values()), path)
    assert [line["problem"] for line in json.loads(path.read_text())] == ["q", "p", "p", "p"]


def test_the_command_writes_tables_and_evidence(tmp_path):
    arguments = ["run", "oracle", "--problem", "mixture-8-2", "--method", "pigdm", "--no-peers", "--instances", "2"]
    arguments += ["--samples", "32", "--steps", "3", "--work", str(tmp_path / "work"), "--out", str(tmp_path)]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    text = (tmp_path / "oracle-mixture-8-2.md").read_text()
    assert "| d = 8, d_y = 2 | pigdm | 3 |" in text and "95 % bootstrap" in text
    lines = json.loads((tmp_path / "oracle.json").read_text())
    assert [line["method"] for line in lines] == [EXACT, PRIOR, "auto", "pigdm"]
    assert lines[2]["settings"] == {"method": "mmps"} and "linear" in lines[2]["capabilities"]


def test_numbers_that_make_no_table_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least 1 and 2"):
        oracle.run((SMALL,), n_instances=0, work=tmp_path)
    with pytest.raises(ValueError, match=r"expected of .*'mmps'"):
        oracle.run((SMALL,), ["mnps"], work=tmp_path)
    with pytest.raises(ValueError, match="workers = 0"):
        oracle.finish([], Path(tmp_path), workers=0)

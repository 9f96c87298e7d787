import pytest
import torch

from priors import Evaluations, Prior
from priors.base import expand
from tests.priors.cases import SDES, draws, mixture


class ByScore(Prior):
    def __init__(self, exact):
        self.exact, self.sde, self.event_shape = exact, exact.sde, exact.event_shape

    def score(self, x, t):
        return self.exact.score(x, t)


class ByDenoiser(Prior):
    def __init__(self, exact):
        self.exact, self.sde, self.event_shape = exact, exact.sde, exact.event_shape

    def denoise(self, x, t):
        return self.exact.denoise(x, t)


@pytest.fixture(params=list(SDES.values()), ids=list(SDES))
def exact(request):
    return mixture(request.param)


@pytest.mark.parametrize("t", [0.05, 0.5, 1.0, torch.tensor([0.1, 0.5, 0.9, 1.0], dtype=torch.float64)])
def test_each_gives_the_other(exact, t):
    x = 2 * draws(4, 3)
    torch.testing.assert_close(ByScore(exact).denoise(x, t), exact.denoise(x, t), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ByDenoiser(exact).score(x, t), exact.score(x, t), rtol=1e-5, atol=1e-6)


def test_neither_is_refused():
    with pytest.raises(TypeError, match="Nothing implements neither score nor denoise"):

        class Nothing(Prior):
            pass


def test_expand_puts_times_opposite_rows():
    x = torch.zeros(2, 3, 4, dtype=torch.float64)
    assert expand(torch.tensor(2.0), x).shape == () and expand(torch.tensor(2.0), x).dtype == x.dtype
    assert expand(torch.tensor([1.0, 2.0]), x).shape == (2, 1, 1)


@pytest.mark.parametrize("wrap", [lambda p: p, ByScore, Evaluations])
def test_vjp_is_the_transposed_jacobian(exact, wrap):
    x, v, t, h = draws(4, 3), draws(4, 3, seed=5), 0.4, 1e-5
    steps = h * torch.eye(3, dtype=x.dtype)
    columns = [(exact.denoise(x + e, t) - exact.denoise(x - e, t)) / (2 * h) for e in steps]
    jacobian = torch.stack(columns, dim=2)  # (N, out, in), by differences
    denoised, vjp = wrap(exact).denoise_vjp(x, t)
    torch.testing.assert_close(denoised, exact.denoise(x, t))
    torch.testing.assert_close(vjp(v), torch.einsum("no,noi->ni", v, jacobian), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(vjp(2 * v), 2 * vjp(v))  # again from the one evaluation
    assert not denoised.requires_grad


class TestEvaluations:
    @pytest.fixture
    def counted(self):
        return Evaluations(mixture(SDES["ve"]))

    def test_score_and_denoiser_share_one(self, counted):
        x = draws(2, 3)
        torch.testing.assert_close(counted.score(x, 0.3), counted.prior.score(x, 0.3))
        torch.testing.assert_close(counted.denoise(x, torch.tensor(0.3, dtype=x.dtype)), counted.prior.denoise(x, 0.3))
        assert counted.nfe == 1

    def test_an_equal_tensor_is_another_state(self, counted):
        x = draws(2, 3)
        counted.denoise(x, 0.3)
        counted.denoise(x.clone(), 0.3)
        assert counted.nfe == 2

    def test_a_change_in_place_is_seen(self, counted):
        x = draws(2, 3)
        counted.denoise(x, 0.3)
        x += 1
        torch.testing.assert_close(counted.denoise(x, 0.3), counted.prior.denoise(x, 0.3))
        assert counted.nfe == 2

    @pytest.mark.parametrize("later", [0.4, torch.tensor(0.4), torch.tensor([0.3, 0.4])])
    def test_another_time_is_another_state(self, counted, later):
        x = draws(2, 3)
        for t in (0.3, later, torch.tensor([0.5, 0.3]), 0.3):
            torch.testing.assert_close(counted.denoise(x, t), counted.prior.denoise(x, t))
        assert counted.nfe == 4

    def test_a_time_changed_in_place_is_seen(self, counted):
        x, t = draws(2, 3), torch.tensor(0.3)
        counted.denoise(x, t)
        t += 0.1
        torch.testing.assert_close(counted.denoise(x, t), counted.prior.denoise(x, t))
        assert counted.nfe == 2

    def test_vjps_are_counted_and_shared(self, counted):
        x, v = draws(2, 3), draws(2, 3, seed=1)
        _, vjp = counted.denoise_vjp(x, 0.3)
        _, again = counted.denoise_vjp(x, 0.3)
        counted.denoise(x, 0.3)
        for pull in (vjp, again, again):
            pull(v)
        assert (counted.nfe, counted.nvjp) == (1, 3)

    def test_some_of_the_rows_count_as_the_part_that_they_are(self, counted):
        """And are not kept: the state of all rows is still known after them."""
        counted = Evaluations(counted.prior, rows=8)
        x = draws(8, 3)
        counted.denoise(x, 0.3)
        for _ in range(2):
            denoised, vjp = counted.denoise_vjp(x[:2], 0.3)
            vjp(denoised)
            vjp(denoised)
        counted.denoise(x, 0.3)
        assert (counted.nfe, counted.nvjp) == (2, 1)  # 1 + 2 / 4, rounded to even, and 4 / 4

    def test_a_kept_value_never_replaces_a_graph(self, counted):
        x = draws(2, 3)
        counted.denoise(x, 0.3)
        x.requires_grad_()
        gradient = torch.autograd.grad(counted.denoise(x, 0.3).sum(), x)[0]
        assert gradient.abs().min() > 0

    def test_inference_mode(self, counted):
        with torch.inference_mode():
            x = draws(2, 3) + 0
            torch.testing.assert_close(counted.denoise(x, 0.3), counted.prior.denoise(x, 0.3))

    def test_is_the_prior_otherwise(self, counted):
        assert counted.event_shape == (3,) and counted.sde is counted.prior.sde
        assert counted.variance == counted.prior.variance and counted.device == torch.device("cpu")

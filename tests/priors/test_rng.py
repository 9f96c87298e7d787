import math

import numpy as np
import pytest
import torch

from priors import RowRNG


def test_a_row_is_the_same_whatever_its_batch():
    whole = RowRNG(3, [(b, k) for b in range(3) for k in range(4)])
    part = RowRNG(3, [(2, 1), (0, 3)])
    for draw in ("normal", "uniform", "normal"):  # the streams stay together from call to call
        rows = getattr(whole, draw)((12, 5, 2))
        assert torch.equal(getattr(part, draw)((2, 5, 2)), rows[[9, 3]])


def test_rows_are_numbered():
    assert torch.equal(RowRNG.rows(7, 3).normal((3, 4)), RowRNG(7, [(0,), (1,), (2,)]).normal((3, 4)))


def test_all_else_gives_other_numbers():
    first = RowRNG(0, [(0, 1)]).normal((1, 8))
    for seed, key in ((1, (0, 1)), (0, (1, 0)), (0, (1,)), (0, (0, 1, 0)), (2**32, (0, 1))):
        assert not torch.isclose(RowRNG(seed, [key]).normal((1, 8)), first).any()
    rng = RowRNG(0, [(0, 1)])
    assert not torch.isclose(rng.normal((1, 8)), rng.normal((1, 8))).any()


def test_streams_are_told_apart_by_more_than_32_bits():
    """These two rows have seeds that agree in their lower 32 bits, which is all that a CPU torch.Generator keeps."""
    keys = (118, 479), (233, 416)
    words = [int(np.random.SeedSequence(0, spawn_key=key).generate_state(1, np.uint64)[0]) % 2**32 for key in keys]
    assert words[0] == words[1]
    x, y = RowRNG(0, keys).normal((2, 8))
    assert not torch.isclose(x, y).any()


def test_the_numbers_are_normal_and_uniform():
    n, m = 500, 40
    rng = RowRNG.rows(0, n)
    normal, uniform = rng.normal((n, m)), rng.uniform((n, m))
    assert abs(normal.mean()) < 4 / math.sqrt(n * m) and abs(normal.var() - 1) < 4 * math.sqrt(2 / (n * m))
    assert uniform.min() >= 0 and uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 4 * math.sqrt(1 / 12 / (n * m))
    # streams of neighbouring keys are uncorrelated
    assert abs((normal[1:] * normal[:-1]).mean()) < 4 / math.sqrt((n - 1) * m)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dtype_and_shape(dtype):
    rng = RowRNG.rows(0, 2, dtype=dtype)
    assert rng.normal((2, 3, 4)).dtype == dtype and rng.uniform((2,)).shape == (2,)
    assert RowRNG.rows(0, 0).normal((0, 3)).shape == (0, 3)


def test_the_global_random_state_is_left_alone():
    state, numpy_state = torch.get_rng_state(), str(np.random.get_state())  # noqa: NPY002
    RowRNG.rows(0, 2).normal((2, 3))
    assert torch.equal(torch.get_rng_state(), state) and str(np.random.get_state()) == numpy_state  # noqa: NPY002


@pytest.mark.parametrize("seed", [None, 0.0, "0", True])
def test_a_seed_that_is_no_integer_is_refused(seed):
    with pytest.raises(TypeError, match="expected an integer >= 0"):
        RowRNG.rows(seed, 1)


def test_a_negative_seed_and_a_wrong_number_of_rows_are_refused():
    with pytest.raises(ValueError, match="seed = -1"):
        RowRNG.rows(-1, 1)
    with pytest.raises(ValueError, match=r"shape \(3, 2\): expected a first axis of 2"):
        RowRNG.rows(0, 2).normal((3, 2))
    assert torch.equal(RowRNG.rows(np.int64(5), 1).normal((1, 2)), RowRNG.rows(5, 1).normal((1, 2)))  # type: ignore[arg-type]


def test_mirrored_rows_are_antithetic():
    rng = RowRNG(3, [(0, 1), (0, 1)], mirrored=[False, True])
    for _ in range(2):  # uniform draws are shared
        x, y = rng.normal((2, 8))
        assert torch.equal(x, -y)
        u, v = rng.uniform((2, 8))
        assert torch.equal(u, v)
    assert torch.equal(RowRNG(3, [(0, 1)]).normal((1, 8)), RowRNG(3, [(0, 1)], mirrored=[False]).normal((1, 8)))

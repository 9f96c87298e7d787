"""Tests of what an operator declares of its likelihood."""

from __future__ import annotations

import torch

from .exam import Exam
from .linear_operator import LinearOperator


def entrywise(exam: Exam) -> bool:
    """Whether a change of one entry of x changes that entry of the measurement alone."""
    changed = exam.x.clone().flatten(1)
    place = changed.shape[1] // 2
    changed[:, place] += 0.1
    moved = (exam.op(changed.view_as(exam.x)) - exam.clean).flatten(1) != 0
    return exam.clean.shape == exam.x.shape and int(moved.sum(0).count_nonzero()) <= int(moved[:, place].any())


def generalized_linear(exam: Exam) -> bool:
    """Whether the likelihood is that of its linear part and the noise of it."""
    try:
        linear, noise = exam.op.linear_part()
    except ValueError:
        return False
    y = exam.op.measure(exam.x, seed=exam.seed)
    log_prob = noise.log_prob(y, linear(exam.x))
    log_prob = log_prob if exam.op.support is None else torch.where(exam.op.support, log_prob, 0)
    given = exam.op.log_likelihood(y, exam.x)
    same = torch.allclose(log_prob.flatten(1).sum(1), given, rtol=1e-3, atol=1e-2)
    return same and isinstance(linear, LinearOperator)

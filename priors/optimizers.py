"""Optimisers for training: Adam, and Muon, which needs fewer steps for convolutional networks."""

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from priors.arguments import choice

NAMES = ("adam", "muon")

# p(s) = a s + b s^3 + c s^5 brings singular values near 1, fast for small ones (Jordan 2024).
A, B, C = 3.4445, -4.7750, 2.0315
ITERATIONS = 5
LEAST = 16  # convolutions from or to fewer channels are left to Adam: they read and write pictures


class Muon(Optimizer):
    """Steps along the nearest orthogonal matrix to the momentum, for weights of convolutions as matrices of
    (channels out, channels in x height x width).

    Formula: M <- m M + G; with G + m M = U S V', W <- W - .2 lr sqrt(max(rows, columns)) U V'. The factor gives an
    update the root mean square that Adam's has, so one lr serves both. U V' is computed by Newton-Schulz iterations on
    the Gram matrix.
    Source: Jordan et al. 2024 (Muon); Liu et al. 2025, arXiv:2502.16982 (the factor).
    Arguments: params (weights of two dimensions or more); lr (float > 0); momentum m in [0, 1).
    """

    def __init__(self, params, lr: float, momentum: float = 0.95):
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One step from the gradients."""
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = {}
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                momentum.mul_(group["momentum"]).add_(weight.grad)
                ahead = torch.add(weight.grad, momentum, alpha=group["momentum"])
                by_shape.setdefault(tuple(weight.shape), []).append((weight, ahead))
            for shape, pairs in by_shape.items():
                matrices = orthogonal(torch.stack([ahead.flatten(1) for _, ahead in pairs]))
                rate = 0.2 * group["lr"] * max(matrices.shape[1:]) ** 0.5
                for (weight, _), matrix in zip(pairs, matrices, strict=True):
                    weight.sub_(matrix.view(shape), alpha=rate)


def orthogonal(matrices: Tensor) -> Tensor:
    """About U V' of each matrix U S V' (N, rows, columns): singular values from .7 to 1.2, but for those below a
    thousandth of the norm.

    The iteration X <- a X + b X X' X + c (X X')^2 X is R X_0, with R a polynomial in the Gram matrix X_0 X_0': products
    of the smaller side only.
    """
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonal(matrices.mT).mT
    x = matrices / matrices.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1)
    gram = x @ x.mT
    eye = torch.eye(len(gram[0])).to(gram)
    factor = eye.expand_as(gram)
    for _ in range(ITERATIONS):
        square = gram @ gram
        change = A * eye + B * gram + C * square
        factor = change @ factor
        gram = change @ gram @ change  # all are polynomials in one matrix, so they commute
    return factor @ x


def optimizers(name: str, network: nn.Module, lr: float) -> dict[str, Optimizer]:
    """Optimisers that share a network's weights, by the name under which their states are saved.

    Arguments: name "adam", or "muon": for convolutions between `LEAST` channels or more, and Adam for all else; lr.
    """
    choice("optimizer", name, NAMES)
    inner = [w for w in network.parameters() if name == "muon" and w.ndim == 4 and min(w.shape[:2]) >= LEAST]
    chosen = {id(weight) for weight in inner}
    others = [weight for weight in network.parameters() if id(weight) not in chosen]
    made: dict[str, Optimizer] = {}
    if inner:
        made["muon"] = Muon(inner, lr=lr)
    if others:
        made["adam"] = Adam(others, lr=lr)
    return made

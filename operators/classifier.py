"""A class label as a measurement."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .arguments import number, shape
from .base import Operator, Shape
from .noise import Categorical
from .registry import register


@register("classifier")
class Classifier(Operator):
    """A noise-conditional classifier: the only operator that gives p_t(y | x_t) itself.

    p_t(y | x_t) = softmax(network(x_t, t))_y; t = 0 is a clean image. Song et al. 2021, section 5 and appendix I.

    Arguments:
        network: (x (N, *E), t scalar or (N,)) -> logits (N, classes). It applies its SDE's scaling itself. If it has an
            attribute `n_classes`, labels are checked without an evaluation.

    Raises:
        TypeError: a network that cannot be called.
    """

    structure = Operator.structure | {"noisy_likelihood"}

    def __init__(self, network: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__(Categorical())
        if not callable(network):
            raise TypeError(f"Classifier: network = {network!r:.60}: expected a callable (x, t) -> logits")
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Logits of clean images, (N, *E) -> (N, classes)."""
        return self.network(x, x.new_zeros(()))

    def _no_derivative(self) -> ValueError:
        name = type(self.network).__name__
        return ValueError(
            f"Classifier: the network {name} has no gradient (torch.no_grad, detach or numpy inside?), which "
            "guidance needs: use a network that records gradients"
        )

    def noisy_log_likelihood(self, y: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """log p_t(y | x_t), (N,) nats; y (N,) or (1,) int64 labels, x (N, *E), t scalar or (N,)."""
        self.validate(x)
        if not isinstance(t, Tensor):
            number("t", t, hint="or a tensor, 0-d or (N,)")
        self.noise.fits(y, self.measurement_shape(tuple(x.shape[1:])), len(x))
        return self.noise.log_prob(y.expand(len(x)), self.network(x, t))

    def measurement_shape(self, event_shape: Shape) -> Shape:
        """(classes,)."""
        event_shape = shape("event_shape", event_shape)
        n_classes = getattr(self.network, "n_classes", None)
        return super().measurement_shape(event_shape) if n_classes is None else (int(n_classes),)

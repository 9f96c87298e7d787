"""What is refused, and whether the message says what to do."""

import numpy as np
import pytest
import torch
from operator_cases import TinyClassifier, uniform

import operators
from operators import (
    JPEG,
    Bayer,
    Blur,
    Categorical,
    Classifier,
    CompressedSensing,
    Downsampling,
    GaussianNoise,
    Grayscale,
    LinearMap,
    Masking,
    PhaseRetrieval,
    PoissonNoise,
    Resize,
    Saturation,
    Stack,
    VaryingBlur,
)

X = uniform(2, 3, 6, 5)
G = GaussianNoise(0.1)
NAN = X.clone().index_fill(0, torch.tensor([1]), float("nan"))
TWO = Masking(uniform(2, 1, 6, 5) > 0.5, noise=G)


def labels(values, dtype=torch.int64):
    return lambda: Classifier(TinyClassifier(90, 4)).validate_y(torch.tensor(values, dtype=dtype), (3, 6, 5))


REFUSED = {
    # building
    "mask of grays": (lambda: Masking(uniform(4, 4)), ValueError, "threshold it"),
    "mask of too many axes": (lambda: Masking(torch.ones(1, 2, 3, 4, 5)), ValueError, "event_ndim"),
    "mask keep": (lambda: Masking.random((1, 4, 4), keep=1.5), ValueError, "fraction"),
    "mask box": (lambda: Masking.box((1, 4, 4), 5), ValueError, "smaller size"),
    "gray weights": (lambda: Grayscale(weights=(0.0, 0.0, 0.0)), ValueError, "not all 0"),
    "downsampling factor": (lambda: Downsampling(0), ValueError, "side of a block"),
    "downsampling by a half": (lambda: Downsampling(0.5), TypeError, "integer"),  # type: ignore
    "blur boundary": (lambda: Blur(torch.ones(3, 3), boundary="zero"), ValueError, "circular, reflect, valid"),
    "blur kernel": (lambda: Blur(torch.ones(3)), ValueError, r"Blur\.gaussian"),
    "blur width": (lambda: Blur.gaussian(0.0), ValueError, "width in pixels"),
    "matrix": (lambda: LinearMap(torch.ones(3)), ValueError, r"matrix\[None\]"),
    "matrix nan": (lambda: LinearMap(torch.full((2, 2), float("nan"))), ValueError, "finite"),
    "matrix event": (lambda: LinearMap(torch.ones(2, 6), event_shape=(2, 2)), ValueError, "number of columns"),
    "sigma < 0": (lambda: GaussianNoise(-0.1), ValueError, "standard deviation"),
    "sigma nan": (lambda: GaussianNoise(float("nan")), ValueError, "finite"),
    "sigma ambiguous": (lambda: GaussianNoise(torch.ones(3, 4)), ValueError, "Set event_ndim"),
    "peak": (lambda: PoissonNoise(0.0), ValueError, "white pixel"),
    "noise is a number": (lambda: Masking(torch.ones(2, 2), noise=0.1), TypeError, r"GaussianNoise\(0\.05\)"),  # type: ignore
    "empty stack": (lambda: Stack([]), ValueError, "at least one"),
    "stack of photons": (lambda: Stack([Grayscale(PoissonNoise(9.0))]), ValueError, "solve for it separately"),
    "batches of two lengths": (
        lambda: Masking(TWO.mask, GaussianNoise(torch.ones(3)))(X),
        ValueError,
        "different batch sizes",
    ),
    "resize factor": (lambda: Resize(0.5), ValueError, "pixels of x per pixel of y"),
    "resize antialias": (lambda: Resize(2, antialias=1), TypeError, "antialias"),
    "resize kernel": (lambda: Resize(2, "cubic"), ValueError, "expected one of nearest, bilinear, bicubic, lanczos"),
    "varying blur of one": (lambda: VaryingBlur(uniform(3, 3), uniform(6, 5)), ValueError, "grid makes windows"),
    "varying blur of 2 and 3": (lambda: VaryingBlur(uniform(2, 3, 3), uniform(3, 6, 5)), ValueError, r"\(J, H, W\)"),
    "varying blur windows": (lambda: VaryingBlur(uniform(3, 3, 3), NAN[1]), ValueError, "windows must be finite"),
    "varying blur grid": (lambda: VaryingBlur.grid(uniform(4, 3, 3), (1, 8, 8)), ValueError, r"kernels\[:, None\]"),
    "rotation nodes": (lambda: VaryingBlur.rotation((1, 8, 8), nodes=1), ValueError, "integer >= 2"),
    "defocus radius": (lambda: VaryingBlur.defocus((1, 8, 8), top=-1.0), ValueError, "radius in pixels"),
    "sensing keep": (lambda: CompressedSensing(0.0), ValueError, "fraction measured"),
    "sensing transform": (lambda: CompressedSensing(transform="fft"), ValueError, "dct, hartley, hadamard"),
    "bayer pattern": (lambda: Bayer("RGB"), ValueError, "such as RGGB"),
    "jpeg quality": (lambda: JPEG(0), ValueError, "from 1 to 100"),
    "jpeg subsampling": (lambda: JPEG(50, "4:2:2"), ValueError, "4:2:0, 4:4:4"),
    "jpeg rounding": (lambda: JPEG(50, rounding="hard"), ValueError, "smooth, sharp"),
    "phase oversampling": (lambda: PhaseRetrieval(0.5), ValueError, "usually 2"),
    "phase masks": (lambda: PhaseRetrieval(masks=uniform(6, 5)), ValueError, r"mask\[None\]"),
    "saturation gain": (lambda: Saturation(-1.0), ValueError, "gain = -1.0: expected a number > 0"),
    "saturation limit": (lambda: Saturation(limit=0.0), ValueError, "limit = 0"),
    # x
    "x a list": (lambda: Masking(torch.ones(6, 5))([1.0]), TypeError, "torch.as_tensor"),  # type: ignore
    "x of integers": (lambda: Masking(torch.ones(6, 5))(X.long()), TypeError, "float"),
    "x without rows": (lambda: Masking(torch.ones(5))(X[0, 0, 0]), ValueError, r"x\[None\]"),
    "x of another size": (lambda: Masking(torch.ones(6, 4))(X), ValueError, "picture's size"),
    "x of other vectors": (lambda: LinearMap(torch.ones(2, 9))(X), ValueError, "event_shape="),
    "x of one channel": (lambda: Grayscale()(X[:, :1]), ValueError, "as many weights"),
    "x that leaves pixels over": (lambda: Downsampling(2)(X), ValueError, "crop them to 6 x 4"),
    "x without channels": (lambda: Downsampling(2)(X[:, 0]), ValueError, "adds a channel"),
    "x of other channels": (lambda: Blur(torch.ones(2, 3, 3))(X), ValueError, "any number of channels"),
    "x smaller than the kernel": (lambda: Blur(torch.ones(9, 3))(X), ValueError, "crop the kernel"),
    "x smaller than the mirror": (lambda: Blur(torch.ones(6, 5), "reflect")(X[..., :2]), ValueError, "crop the kernel"),
    "x of another size than the windows": (lambda: VaryingBlur.rotation((3, 6, 6))(X), ValueError, "for this size"),
    "x of no power of 2": (lambda: CompressedSensing(transform="hadamard")(X), ValueError, "'dct' or 'hartley'"),
    "x of five axes": (lambda: CompressedSensing()(X[None]), ValueError, "flatten them"),
    "x of one colour": (lambda: Bayer()(X[:, :1]), ValueError, "use Masking"),
    "x of two channels": (lambda: JPEG()(X[:, :2]), ValueError, "split other channels"),
    "x to resize": (lambda: Resize()(X[:, 0]), ValueError, "adds a channel"),
    "x of lost phases": (lambda: PhaseRetrieval()(X[:, 0]), ValueError, "adds a channel"),
    "x of another size than the masks": (lambda: PhaseRetrieval.coded((3, 6, 6))(X), ValueError, "coded to make masks"),
    "x elsewhere": (lambda: TWO(X.to("meta")), ValueError, r"operator\.to"),
    # y
    "y of integers": (lambda: Grayscale(G).validate_y(X[:, :1].long(), (3, 6, 5)), TypeError, "float"),
    "y an array": (lambda: Grayscale(G).validate_y(X.numpy(), (3, 6, 5)), TypeError, "torch.as_tensor"),
    "y without batch": (lambda: Grayscale(G).validate_y(X[0, :1], (3, 6, 5)), ValueError, r"y\[None\]"),
    "y of another shape": (lambda: Grayscale(G).validate_y(X, (3, 6, 5)), ValueError, r"expected shape \(B, 1, 6, 5\)"),
    "y nan": (lambda: Masking(torch.ones(6, 5)).validate_y(NAN, (3, 6, 5)), ValueError, "90 entries are nan"),
    "y of more measurements": (lambda: TWO.validate_y(X[:1], (3, 6, 5)), ValueError, "one per measurement"),
    "y below 0": (lambda: Grayscale(PoissonNoise(5.0)).validate_y(-X[:, :1], (3, 6, 5)), ValueError, "negative"),
    "labels of floats": (labels([1.0], torch.float32), TypeError, "long"),
    "labels one-hot": (labels([[0, 1]]), ValueError, "not one-hot"),
    "labels too large": (labels([0, 4]), ValueError, r"0\.\.3"),
    "labels below 0": (labels([-1]), ValueError, r"0\.\.3"),
    # methods
    "no likelihood without noise": (lambda: Grayscale().log_likelihood(X[:, :1], X), ValueError, "positive sigma"),
    "photons of a negative": (lambda: Grayscale(PoissonNoise(9.0)).measure(-X), ValueError, "clip"),
    "adjoint of an unknown": (lambda: Stack([Grayscale(G)]).adjoint(X[:, 0, 0]), ValueError, r"operator\.at"),
    "rows of floats": (lambda: TWO.rows(torch.tensor([0.0])), TypeError, "LongTensor"),
    "rows out of range": (lambda: TWO.rows(torch.tensor([2])), ValueError, r"0\.\.1"),
    "gram of labels": (lambda: Grayscale(Categorical()).solve_gram(X[:, :1], 1.0), ValueError, "Gaussian"),
    # names
    "unknown name": (lambda: operators.get("masknig"), ValueError, "Did you mean 'masking'.*Available: .*blur"),
    "taken name": (lambda: operators.register("blur")(Masking), ValueError, "choose another"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what):
    call, error, remedy = REFUSED[what]
    with pytest.raises(error, match=remedy):
        call()


def test_adjoint_of_a_y_of_another_shape():
    class Half(operators.LinearOperator):
        def forward(self, x):
            return x[..., ::2]

    with pytest.raises(ValueError, match=r"expected y of shape \(N, 3, 6, 3\).*operator\.at"):
        Half().at((3, 6, 5)).adjoint(X)


@pytest.mark.parametrize(
    ("operator", "event_shape", "given", "fits"),
    [
        (lambda: Grayscale(G), (3, 6, 5), (2, 1, 5, 6), "y.permute(0, 1, 3, 2)"),
        (lambda: Masking(torch.ones(6, 5)), (3, 6, 5), (2, 6, 5, 3), "y.permute(0, 3, 1, 2)"),  # channels last
        (lambda: Masking(torch.ones(6, 5)), (3, 6, 5), (6, 5, 3), "y.permute(2, 0, 1)[None]"),
        (lambda: Grayscale(G), (3, 6, 5), (6, 5), "y[None][None]"),
        (lambda: operators.Fourier(torch.ones(6, 5), channels=2), (2, 6, 5), (1, 6, 5, 2), "y.permute(0, 3, 1, 2)"),
    ],
)
def test_axes_in_another_order_are_recognised(operator, event_shape, given, fits):
    y = torch.rand(given)
    with pytest.raises(ValueError, match="axes seem to be permuted") as caught:
        operator().validate_y(y, event_shape)
    assert fits + " fits" in str(caught.value)
    operator().validate_y(eval(fits), event_shape)  # the remedy


def test_other_shapes_get_no_such_hint():
    for shape in ((2, 3, 6, 4), (2, 3, 6), (3,), (2, 1, 1, 1, 3, 6, 5), (3, 6, 5)):
        with pytest.raises(ValueError, match="expected shape") as caught:
            Masking(torch.ones(6, 5)).validate_y(torch.rand(shape), (3, 6, 5))
        assert "order" not in str(caught.value)


def test_good_measurements_pass():
    TWO.validate_y(TWO.measure(X), (3, 6, 5))
    Classifier(TinyClassifier(90, 4)).validate_y(torch.tensor([0, 3]), (3, 6, 5))
    Classifier(lambda x, t: x).validate_y(torch.tensor([3]), (4,))
    with pytest.raises(ValueError, match=r"0\.\.3"):
        Classifier(lambda x, t: x).validate_y(torch.tensor([4]), (4,))


def test_make():
    op = operators.make("masking", mask=torch.ones(2, 2), noise=G)
    assert isinstance(op, Masking) and op.noise is G
    assert operators.get("blur") is Blur


def test_one_mask_for_each_measurement_without_channels():
    """(N, H, W) for pictures of one channel is what a data loader gives: the message has the reshape, which works."""
    masks = (uniform(4, 8, 8) > 0.5).numpy()
    x = uniform(4, 1, 8, 8)
    with pytest.raises(ValueError, match=r"one mask per measurement \(4\), mask\[:, None\]"):
        operators.Masking(masks)(x)
    assert operators.Masking(masks[:, None])(x).shape == x.shape


def test_numbers_of_numpy_are_numbers():
    n, x = np.int64, uniform(1, 1, 8, 8)
    for made, same in (
        (operators.Masking.box((n(1), n(8), n(8)), np.array([3, 2])), operators.Masking.box((1, 8, 8), (3, 2))),
        (operators.Masking.box((1, 8, 8), n(3), torch.tensor([1, 2])), operators.Masking.box((1, 8, 8), 3, (1, 2))),
        (operators.Downsampling(n(2)), operators.Downsampling(2)),
        (operators.Radon(n(5), n(8), n(9), origin=np.array([3.0, 4.0])), operators.Radon(5, 8, 9, origin=(3.0, 4.0))),
        (operators.Blur.motion(n(3), seed=n(1)), operators.Blur.motion(3, seed=1)),
    ):
        torch.testing.assert_close(made(x), same(x))

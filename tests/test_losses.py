import math

import array_api_compat.numpy as xp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numerical import assert_same, gradient

import gpunn
from gpunn import losses
from gpunn.configurable import known
from gpunn.errors import ArgumentError, DataError
from gpunn.losses import Loss

BUILTIN = [cls() for cls in known(Loss).values() if cls.__module__.startswith("gpunn.")]
VARIANTS = [
    *BUILTIN,
    losses.MeanSquaredError("sum"),
    losses.Huber(0.4),
    losses.Quantile(0.8),
    losses.SoftmaxCrossEntropy(0.2),
    losses.SoftmaxFocal(0.2, gamma=1.5),
    losses.BinaryFocal(0.5),
    losses.Tweedie(1.2),
]


def targets_for(loss, g, rows, outputs):
    if isinstance(loss, losses.SoftmaxCrossEntropy):
        return g.dirichlet(np.ones(outputs), rows)
    if isinstance(loss, losses.BinaryCrossEntropy):
        return g.random((rows, outputs))
    if isinstance(loss, losses.Poisson):
        return g.poisson(2.0, (rows, outputs)).astype(float)
    if isinstance(loss, losses.Gamma | losses.Tweedie):
        return g.gamma(2.0, size=(rows, outputs))
    if isinstance(loss, losses.GaussianNLL):
        outputs //= 2
    return 2 * g.standard_normal((rows, outputs))


def evaluate(backend, loss, p, t, w, normalizer=None):
    total = backend.zeros((1,), "float64")
    dp = backend.zeros(p.shape, "float64")
    share = np.array([float(w.sum())]) if normalizer is None else normalizer
    arguments = [backend.from_host(np.array(a)) for a in (p, t, w, share)]
    backend.loss(loss, *arguments, dp, total)
    return backend.to_host(total).item(), backend.to_host(dp)


def softmax(p):
    e = np.exp(p)
    return e / e.sum(axis=1, keepdims=True)


def sigmoid(p):
    return 1 / (1 + math.exp(-p))


def by_element(function):
    return lambda p, t: np.array(
        [
            np.mean([function(a, b) for a, b in zip(x, y, strict=True)])
            for x, y in zip(p, t, strict=True)
        ]
    )


def pinball(q):
    return by_element(lambda p, t: max(q * (t - p), (q - 1) * (t - p)))


def huber(p, t):
    return (p - t) ** 2 / 2 if abs(p - t) <= 0.5 else 0.5 * (abs(p - t) - 0.25)


def of_the_answer(cost):
    """Return the mean cost of the probability that each label has its value."""
    return by_element(lambda p, t: t * cost(sigmoid(p)) + (1 - t) * cost(sigmoid(-p)))


# One row at a time, directly from the definitions.
FORMULAS = [
    (losses.MeanSquaredError(), by_element(lambda p, t: (p - t) ** 2)),
    (losses.MeanSquaredError("sum"), lambda p, t: ((p - t) ** 2).sum(axis=1)),
    (losses.MeanAbsoluteError(), by_element(lambda p, t: abs(p - t))),
    (losses.Huber(0.5), by_element(huber)),
    (losses.SoftmaxCrossEntropy(), lambda p, t: -(t * np.log(softmax(p))).sum(axis=1)),
    (
        losses.SoftmaxCrossEntropy(0.3),
        lambda p, t: -((0.7 * t + 0.3 / t.shape[1]) * np.log(softmax(p))).sum(axis=1),
    ),
    (losses.BinaryCrossEntropy(), of_the_answer(lambda chance: -math.log(chance))),
    (losses.Poisson(), by_element(lambda p, t: math.exp(p) - t * p)),
    (losses.Quantile(0.8), pinball(0.8)),
    (
        losses.Quantiles((0.1, 0.5, 0.8)),  # of the first three outputs
        lambda p, t: (
            sum(pinball(q)(p[:, [k]], t[:, [k]]) for k, q in enumerate((0.1, 0.5, 0.8))) / 3
        ),
    ),
    (losses.LogCosh(), by_element(lambda p, t: math.log(math.cosh(p - t)))),
    (
        losses.BinaryFocal(1.5),
        of_the_answer(lambda chance: -((1 - chance) ** 1.5) * math.log(chance)),
    ),
    (
        losses.SoftmaxFocal(gamma=2),
        lambda p, t: -(t * (1 - softmax(p)) ** 2 * np.log(softmax(p))).sum(axis=1),
    ),
    (losses.KLDivergence(), lambda p, t: (t * np.log(t / softmax(p))).sum(axis=1)),
    (losses.Hinge(), by_element(lambda p, t: t * max(0, 1 - p) + (1 - t) * max(0, 1 + p))),
    (losses.Gamma(), by_element(lambda p, t: p + t / math.exp(p))),
    (
        losses.Tweedie(1.2),
        by_element(lambda p, t: math.exp(p) ** 0.8 / 0.8 + t * math.exp(p) ** -0.2 / 0.2),
    ),
    (
        losses.GaussianNLL(),
        lambda p, t: (
            (np.log(np.exp(p[:, 2:])) + (t - p[:, :2]) ** 2 / np.exp(p[:, 2:])).mean(1) / 2
        ),
    ),
]


@pytest.mark.parametrize(("loss", "formula"), FORMULAS, ids=[repr(loss) for loss, _ in FORMULAS])
def test_value_is_that_of_the_definition(host_backend, loss, formula):
    g = np.random.default_rng(0)
    p, t, w = 2 * g.standard_normal((6, 4)), targets_for(loss, g, 6, 4), g.random(6)
    total, _ = evaluate(host_backend, loss, p, t, w)
    assert total == pytest.approx(float(w @ formula(p, t)), rel=1e-13)


def test_every_builtin_has_a_formula():
    assert {loss.name for loss, _ in FORMULAS} == {loss.name for loss in BUILTIN}


@pytest.mark.parametrize("loss", VARIANTS, ids=repr)
def test_gradient_is_that_of_the_value(host_backend, loss):
    g = np.random.default_rng(1)
    p, t, w = 2 * g.standard_normal((5, 4)), targets_for(loss, g, 5, 4), g.random(5)
    _, actual = evaluate(host_backend, loss, p, t, w)
    expected = gradient(lambda: evaluate(host_backend, loss, p, t, w)[0] / w.sum(), p)
    assert_same(actual, expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradient_with_class_labels(host_backend, smoothing):
    loss = losses.SoftmaxCrossEntropy(smoothing)
    g = np.random.default_rng(2)
    p, labels, w = g.standard_normal((6, 3)), np.array([0, 2, 1, 2, 0, 0]), g.random(6)
    total, actual = evaluate(host_backend, loss, p, labels, w)
    one_hot_total, one_hot_gradient = evaluate(host_backend, loss, p, np.eye(3)[labels], w)
    assert total == pytest.approx(one_hot_total, rel=1e-14)
    np.testing.assert_allclose(actual, one_hot_gradient, rtol=0, atol=1e-15)
    assert_same(
        actual, gradient(lambda: evaluate(host_backend, loss, p, labels, w)[0] / w.sum(), p)
    )


@pytest.mark.parametrize("loss", VARIANTS, ids=repr)
def test_a_weight_is_a_number_of_repetitions(host_backend, loss):
    g = np.random.default_rng(3)
    p, t = g.standard_normal((4, 6)), targets_for(loss, g, 4, 6)
    counts = np.array([2, 0, 1, 3])
    total, dp = evaluate(host_backend, loss, p, t, counts.astype(float))
    again = np.repeat(np.arange(4), counts)
    repeated, each = evaluate(host_backend, loss, p[again], t[again], np.ones(6))
    assert total == pytest.approx(repeated, rel=1e-13)
    gathered = np.zeros_like(dp)
    np.add.at(gathered, again, each)
    np.testing.assert_allclose(dp, gathered, rtol=0, atol=1e-15)


@pytest.mark.parametrize("loss", VARIANTS, ids=repr)
def test_weights_that_are_all_zero_give_no_gradient(host_backend, loss):
    g = np.random.default_rng(4)
    p, t = g.standard_normal((3, 4)), targets_for(loss, g, 3, 4)
    total, dp = evaluate(host_backend, loss, p, t, np.zeros(3))
    assert total == 0
    np.testing.assert_array_equal(np.abs(dp), np.zeros((3, 4)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_logits_do_not_overflow(host_backend, dtype):
    p = host_backend.from_host(np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]]), dtype)
    w = host_backend.from_host(np.ones(2), dtype)
    for loss, t in (
        (losses.SoftmaxCrossEntropy(), np.array([1, 0])),
        (losses.SoftmaxCrossEntropy(0.1), np.eye(3)[[1, 0]].astype(dtype)),
        (losses.BinaryCrossEntropy(), np.eye(3)[[1, 0]].astype(dtype)),
    ):
        total, dp = host_backend.zeros((1,), dtype), host_backend.zeros((2, 3), dtype)
        host_backend.loss(loss, p, host_backend.from_host(t), w, w[:1], dp, total)
        assert np.isfinite(total).all()
        assert np.isfinite(dp).all()


@settings(max_examples=30)
@given(st.integers(2, 6), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_softmax_does_not_depend_on_a_shift(classes, rows, seed):
    from gpunn.backends.numpy import NumpyBackend

    g = np.random.default_rng(seed)
    p, labels, w = g.standard_normal((rows, classes)), g.integers(0, classes, rows), np.ones(rows)
    loss, backend = losses.SoftmaxCrossEntropy(), NumpyBackend()
    total, dp = evaluate(backend, loss, p, labels, w)
    shifted, shifted_dp = evaluate(backend, loss, p + 100, labels, w)
    assert shifted == pytest.approx(total, abs=1e-11)
    np.testing.assert_allclose(shifted_dp, dp, rtol=0, atol=1e-12)
    np.testing.assert_allclose(dp.sum(axis=1), 0, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("loss", "y", "outputs", "message"),
    [
        (losses.MeanSquaredError(), np.array(["a"]), 1, "expected real numbers; got dtype <U1"),
        (losses.MeanSquaredError(), np.ones((3, 2)), 4, r"must have shape \(rows, 4\)"),
        (losses.MeanSquaredError(), np.arange(3), 4, r"one-hot targets such as numpy.eye\(4\)"),
        (losses.MeanSquaredError(), np.array([1.0, np.nan]), 1, r"row 1 holds \[nan\]"),
        (losses.SoftmaxCrossEntropy(), np.array([0, 1]), 1, "or use 'binary_cross_entropy'"),
        (losses.SoftmaxCrossEntropy(), np.array(["a", "b"]), 2, "Number the classes first"),
        (losses.SoftmaxCrossEntropy(), np.array([0, 3, -1]), 3, r"y\[1\] is 3 \(wrong labels: 2\)"),
        (losses.SoftmaxCrossEntropy(), np.array([0.0, 1.0]), 3, "expected integer labels"),
        (losses.SoftmaxCrossEntropy(), np.zeros((2, 5), int), 3, r"got shape \(2, 5\)"),
        (losses.SoftmaxCrossEntropy(), np.array([[0.5, 0.4]]), 2, "sum to 1; row 0"),
        (losses.SoftmaxCrossEntropy(), np.array([[1.5, -0.5]]), 2, "must be >= 0"),
        (losses.BinaryCrossEntropy(), np.array([0, 2]), 1, r"targets in \[0, 1\]; row 1"),
        (losses.Poisson(), np.array([3.0, -1.0]), 1, "counts >= 0; row 1"),
        (losses.Gamma(), np.array([3.0, 0.0]), 1, "targets > 0; row 1"),
        (losses.Tweedie(), np.array([0.0, -1.0]), 1, "targets >= 0; row 1"),
        (losses.GaussianNLL(), np.ones((3, 2)), 2, r"two outputs .* shape \(3, 2\), and .* 2"),
        (losses.GaussianNLL(), np.ones(3), 1, "a network with 1 output$"),
        (losses.SoftmaxFocal(), np.array([0, 1]), 1, "needs a network .*, or use 'binary_focal'"),
        (losses.Hinge(), np.array([-1, 1]), 1, r"hinge needs targets in \[0, 1\]; row 0"),
    ],
)
def test_impossible_targets(loss, y, outputs, message):
    with pytest.raises(DataError, match=message):
        loss.check_targets(y, outputs)


@pytest.mark.parametrize(
    ("loss", "y", "outputs", "expected"),
    [
        (losses.MeanSquaredError(), np.array([1.0, 2.0]), 1, np.array([[1.0], [2.0]])),
        (losses.MeanSquaredError(), np.eye(2), 2, np.eye(2)),
        (losses.GaussianNLL(), np.array([1.0, 2.0]), 2, np.array([[1.0], [2.0]])),
        (losses.GaussianNLL(), np.eye(2), 4, np.eye(2)),
        (losses.SoftmaxCrossEntropy(), np.array([[1], [0]], np.uint8), 2, np.array([1, 0])),
        (losses.SoftmaxCrossEntropy(), np.array([True, False]), 2, np.array([1, 0])),
        (losses.SoftmaxCrossEntropy(), np.eye(3), 3, np.eye(3)),
        (losses.BinaryCrossEntropy(), np.array([True, False]), 1, np.array([[True], [False]])),
    ],
)
def test_accepted_targets(loss, y, outputs, expected):
    np.testing.assert_array_equal(loss.check_targets(y, outputs), expected, strict=True)


OVERFLOWING = losses.Poisson, losses.Gamma, losses.Tweedie, losses.GaussianNLL
"""Losses with exponentials of predictions, which are infinite for large predictions."""


def derived_cases():
    g = np.random.default_rng(1)
    cases = [(loss, targets_for(loss, g, 8, 4)) for loss in VARIANTS]
    with_labels = [loss for loss in VARIANTS if isinstance(loss, losses.SoftmaxCrossEntropy)]
    return cases + [(loss, g.integers(0, 4, 8)) for loss in with_labels]


def is_written(loss):
    derived = Loss.gradients, losses.ElementwiseLoss.slopes
    return getattr(loss, "slopes", loss.gradients).__func__ not in derived


@pytest.mark.parametrize(
    ("loss", "targets"), [case for case in derived_cases() if is_written(case[0])], ids=str
)
def test_derived_gradients_equal_the_written_ones(loss, targets):
    predictions = np.random.default_rng(0).uniform(-6, 6, (8, 4))
    written = loss.gradients(xp, predictions, targets)
    derived = Loss.gradients(loss, xp, predictions, targets)
    np.testing.assert_allclose(derived, written, rtol=0, atol=1e-10)
    if isinstance(loss, losses.ElementwiseLoss):
        slopes = losses.ElementwiseLoss.slopes(loss, xp, predictions, targets)
        np.testing.assert_allclose(loss.scale(4) * slopes, written, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("loss", "targets"),
    [case for case in derived_cases() if not isinstance(case[0], OVERFLOWING)],
    ids=str,
)
def test_derived_gradients_are_finite(loss, targets, dtype):
    predictions = np.resize(np.array([-1e4, 1e4, 0, -30, 1, 80, -2], dtype), (8, 4))
    targets = targets if targets.ndim == 1 else targets.astype(dtype)
    derived = Loss.gradients(loss, xp, predictions, targets)
    assert derived.dtype == dtype
    assert np.isfinite(derived).all()


def test_target_scaling_needs_an_output_for_each_target():
    layers = [gpunn.layers.Dense(2), gpunn.layers.TargetScaling()]
    model = gpunn.Sequential(layers, 3, backend="numpy")
    trainer = gpunn.Trainer(model, "gaussian_nll")
    with pytest.raises(ArgumentError, match=r"got 2 outputs and 1 target\. Remove the layer"):
        trainer.fit(np.ones((4, 3)), np.ones(4), progress=False)


def test_gamma_of_a_focal_loss_has_a_limit():
    """Larger powers have no derivative: products would round too often."""
    with pytest.raises(ArgumentError, match="gamma: expected a number >= 0 and <= 16; got 1e"):
        losses.SoftmaxFocal(gamma=1e30)

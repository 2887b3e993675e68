"""Test which kernels run a loss, which losses have none, and batches processed in parts."""

import numpy as np
import pytest

pytest.importorskip("numba")

import array_api_compat.numpy as xp

from gpunn import losses
from gpunn.backends.numpy.compiled import CompiledBackend
from gpunn.backends.numpy.compiled.lowerings.losses import NAMES, TOGETHER
from gpunn.sklearn.losses import (
    HalfMeanSquaredError,
    HalfPoissonDeviance,
    SummedBinaryCrossEntropy,
)

SOFTMAX = losses.SoftmaxCrossEntropy()
WITH_KERNELS = [SOFTMAX, *(cls() for cls in NAMES)]
OF_ESTIMATORS = HalfMeanSquaredError(), HalfPoissonDeviance(), SummedBinaryCrossEntropy()


def kernels(encode, loss, targets, gradient=True, weights=np.float32):
    predictions, weights = np.zeros((8, 3), np.float32), np.ones(8, weights)
    steps = encode(
        "loss",
        *(loss, predictions, targets, weights, weights[:1]),
        *(np.empty_like(predictions) if gradient else None, np.zeros(1, np.float32)),
    )
    return steps and [step.kernel for step in steps]


NUMBERS, LABELS = np.zeros((8, 3), np.float32), np.zeros(8, np.int64)


@pytest.mark.parametrize("gradient", [True, False])
@pytest.mark.parametrize("loss", [*WITH_KERNELS, *OF_ESTIMATORS], ids=repr)
def test_the_kernels_of_a_loss(encode, loss, gradient):
    first = "softmax_cross_entropy" if loss == SOFTMAX else "sum_over_outputs"
    assert kernels(encode, loss, NUMBERS, gradient) == [first, "sum_up"]


def test_only_the_softmax_accepts_labels(encode):
    for loss in WITH_KERNELS:
        actual = kernels(encode, loss, LABELS)
        assert actual == (["softmax_cross_entropy", "sum_up"] if loss == SOFTMAX else None)


@pytest.mark.parametrize("loss", WITH_KERNELS, ids=repr)
@pytest.mark.parametrize(
    "targets",
    [
        NUMBERS.astype(np.float64),
        NUMBERS[:, :1],
        np.zeros((8, 6), np.float32)[:, ::2],
        LABELS.astype(np.int32),
    ],
    ids=["another type", "another shape", "with gaps", "short integers"],
)
def test_targets_that_no_kernel_reads_are_refused(encode, loss, targets):
    assert kernels(encode, loss, targets) is None


def test_weights_of_another_type_are_refused(encode):
    assert kernels(encode, SOFTMAX, LABELS, weights=np.float64) is None


@pytest.mark.parametrize("method", ["values", "gradients", "terms", "slopes"])
def test_a_subclass_with_another_formula_is_none_of_the_built_in_ones(encode, method):
    class Doubled(losses.Huber):
        pass

    setattr(Doubled, method, lambda self, *given: 2 * getattr(losses.Huber, method)(self, *given))
    assert kernels(encode, Doubled(), NUMBERS) is None


@pytest.mark.parametrize("outputs", [1, 3])
def test_parts_of_a_batch_come_to_the_whole(outputs):
    """With this many rows, each thread processes several parts, of which the last is shorter."""
    loss, rows, g = losses.Huber(0.7), 5 * TOGETHER // outputs + 7, np.random.default_rng(0)
    p, t = g.normal(size=(2, rows, outputs))
    weights, total, gradient = g.random(rows), np.zeros(1), np.empty_like(p)
    normalizer = np.array([3.0])
    backend = CompiledBackend(threads=2)
    args = loss, p, t, weights, normalizer, gradient, total
    backend.recorded(lambda: backend.loss(*args))(1)
    np.testing.assert_allclose(total, weights @ loss.values(xp, p, t), 1e-12)
    expected = weights[:, None] / normalizer * loss.gradients(xp, p, t)
    np.testing.assert_allclose(gradient, expected, 1e-12)


@pytest.mark.parametrize("loss", OF_ESTIMATORS, ids=repr)
def test_losses_of_estimators_are_as_defined(loss):
    g = np.random.default_rng(0)
    p, t = g.normal(size=(9, 4)), g.integers(0, 2, (9, 4)).astype(float)
    weights, total, gradient = np.ones(9), np.zeros(1), np.empty_like(p)
    backend = CompiledBackend(threads=2)
    args = loss, p, t, weights, weights[:1], gradient, total
    backend.recorded(lambda: backend.loss(*args))(1)
    np.testing.assert_allclose(total, loss.values(xp, p, t).sum(), 1e-14)
    np.testing.assert_allclose(gradient, loss.gradients(xp, p, t), 1e-14, 1e-15)


def test_a_loss_is_bitwise_identical_on_any_number_of_threads():
    g = np.random.default_rng(0)
    p, labels, weights = g.normal(size=(77, 5)), g.integers(0, 5, 77), g.random(77)
    sums = []
    for threads in (1, 2, 3):
        backend, total = CompiledBackend(threads), np.zeros(1)
        args = SOFTMAX, p, labels, weights, weights[:1], None, total
        backend.recorded(lambda backend=backend, args=args: backend.loss(*args))(1)
        sums.append(total[0])
    assert sums[0] == sums[1] == sums[2]

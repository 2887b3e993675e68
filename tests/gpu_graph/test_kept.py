"""Built-in classes are traced once; each operation's kernels use its own arrays."""

from unittest.mock import patch

import numpy as np
import pytest

from gpunn import losses, metrics, optimizers
from gpunn.backends.cupy import CupyBackend
from gpunn.backends.cupy.expressions import elementwise, kept
from gpunn.backends.operations import Segment, Trained


class Own(losses.Huber):
    name = "huber_of_test_kept"


def arrays(backend, *shapes, seed=0):
    g = np.random.default_rng(seed)
    return [backend.from_host(g.random(shape), "float32") for shape in shapes]


def measured(backend, loss, rows, seed):
    shapes = (rows, 3), (rows, 3), rows, 1, (rows, 3), 1
    p, t, w, n, gradient, total = arrays(backend, *shapes, seed=seed)
    before = total.get()
    backend.loss(loss, p, t, w, n, gradient, total)
    p, t, w, n = (each.get() for each in (p, t, w, n))
    np.testing.assert_allclose(total.get(), before + w @ loss.values(np, p, t), rtol=1e-5)
    expected = (w / n)[:, None] * loss.gradients(np, p, t)
    np.testing.assert_allclose(gradient.get(), expected, rtol=1e-5)


@pytest.fixture
def traced():
    kept.KEPT.clear()
    with (
        patch.object(kept, "trace_operation", wraps=kept.trace_operation) as one,
        patch.object(elementwise, "trace_operation", wraps=elementwise.trace_operation) as other,
    ):
        yield lambda: one.call_count + other.call_count


@pytest.mark.parametrize(
    ("second", "rows", "traces"),
    [
        (losses.Huber(), 4, 1),
        (losses.Huber(), 5, 2),
        (losses.Huber(0.1), 4, 2),
        (losses.LogCosh(), 4, 2),
        (Own(), 4, 3),
    ],
    ids=["equal", "rows", "number", "class", "custom"],
)
def test_a_built_in_loss_is_traced_once(traced, second, rows, traces):
    backend = CupyBackend(0, graph=False)
    measured(backend, losses.Huber(), 4, 0)
    measured(backend, second, rows, 1)
    measured(backend, second, rows, 2)
    assert traced() == traces


def test_an_array_in_a_loss_is_one_of_the_arrays(traced):
    """The current value of a schedule is an array."""
    backend = CupyBackend(0, graph=False)
    for smoothing in (0.1, 0.3):
        loss = losses.SoftmaxCrossEntropy()
        object.__setattr__(loss, "label_smoothing", backend.from_host([smoothing], "float32"))
        p, w, n, total = arrays(backend, (4, 3), 4, 1, 1)
        labels, before = backend.from_host(np.arange(4) % 3, "int64"), total.get()
        backend.loss(loss, p, labels, w, n, None, total)
        values = losses.SoftmaxCrossEntropy(smoothing).values(np, p.get(), labels.get())
        np.testing.assert_allclose(total.get(), before + w.get() @ values, rtol=1e-5)
    assert traced() == 1


def test_schedules_of_an_optimizer_need_no_trace(traced):
    backend = CupyBackend(0, graph=False)
    for rate, momentum, traces in ((0.1, 0.9, 2), ("cosine", 0.9, 2), (0.1, 0.5, 4)):
        optimizer = optimizers.SGD(rate, momentum=momentum)
        values, g, velocity, learning_rate = arrays(backend, 5, 5, 5, 1)
        old, expected = values.get(), momentum * velocity.get() - learning_rate.get() * g.get()
        step = backend.from_host(np.ones(1), "int64")
        trained = Trained(values, g, {"velocity": velocity}, [Segment(0, 5)])
        backend.update(optimizer, trained, learning_rate, step)
        np.testing.assert_allclose(values.get(), old + expected, rtol=1e-5)
        assert traced() == traces


def descended(xp, values, gradients, slots, learning_rate, step):
    values -= gradients


@pytest.mark.parametrize(
    ("field", "settings"),
    [("nesterov", [np.bool_(1), np.bool_(0)]), ("update", [descended, optimizers.SGD().update])],
)
def test_an_attribute_of_any_type_is_part_of_the_rule(field, settings):
    backend = CupyBackend(0, graph=False)
    for setting in settings:
        optimizer = optimizers.SGD(0.1, momentum=0.5)
        setattr(optimizer, field, setting)
        device = values, g, velocity, rate = arrays(backend, 5, 5, 5, 1)
        host = [each.get() for each in device]
        step = backend.from_host(np.ones(1), "int64")
        trained = Trained(values, g, {"velocity": velocity}, [Segment(0, 5)])
        backend.update(optimizer, trained, rate, step)
        optimizer.update(np, *host[:2], {"velocity": host[2]}, host[3], 1)
        np.testing.assert_allclose(values.get(), host[0], rtol=1e-5)


@pytest.mark.parametrize("label", [-4, 3, 10**9])
def test_a_label_outside_reads_no_memory_outside(label):
    backend = CupyBackend(0, graph=False)
    p, w, total = arrays(backend, (2, 3), 2, 1)
    labels = backend.from_host([label, 0], "int64")
    metric, before = metrics.TopKAccuracy(3), total.get()
    backend.metric(metric, p, labels, w, total)
    assert total.get() - before == pytest.approx(w.get().sum(), rel=1e-5)  # no p is above NaN

import gc
import weakref
from dataclasses import dataclass

import numpy as np
import pytest
from parity.operations import AS_DEFINED

from gpunn import activations, losses, metrics, optimizers
from gpunn.activations import ReLU
from gpunn.backends.numpy import NumpyBackend
from gpunn.backends.numpy.activations import KERNELS
from gpunn.backends.numpy.losses import COMPUTE, computation
from gpunn.backends.numpy.metrics import MEASURE
from gpunn.backends.numpy.optimizers import UPDATE
from gpunn.backends.operations import Trained
from gpunn.configurable import known
from gpunn.optimizers import SGD


def test_describes_itself():
    described = NumpyBackend().describe()
    assert described["backend"] == "numpy"
    assert described["device"].startswith("cpu (")
    assert described["library"] == f"numpy {np.__version__}"


@pytest.mark.parametrize(
    ("table", "base"),
    [
        (KERNELS, activations.Activation),
        (COMPUTE, losses.Loss),
        (MEASURE, metrics.Metric),
        (UPDATE, optimizers.Optimizer),
    ],
)
def test_every_builtin_has_its_own_passes(table, base):
    builtin = {cls for cls in known(base).values() if cls.__module__.startswith("gpunn.")}
    assert set(table) == builtin - set(AS_DEFINED)


def test_a_subclass_of_a_builtin_is_not_taken_for_it():
    @dataclass(frozen=True)
    class Capped(ReLU):
        name = "test_capped"

        def value(self, xp, z):
            return xp.minimum(xp.maximum(z, 0.0), 1.0)

    @dataclass(eq=False)
    class Still(SGD):
        name = "test_still"

        def update(self, xp, values, gradients, slots, learning_rate, step):
            pass

    backend = NumpyBackend()
    z = np.array([[-1.0, 0.5, 9.0]])
    backend.activate(Capped(), z, None, z)
    assert z.tolist() == [[0, 0.5, 1]]
    values = np.ones(3)
    backend.update(Still(), Trained(values, values, {}, 0), np.array([0.1]), np.array([1]))
    assert values.tolist() == [1, 1, 1]


def test_squared_errors_with_other_factors_are_computed_as_squared_errors():
    @dataclass(frozen=True)
    class Weighty(losses.MeanSquaredError):
        name = "test_weighty"

        def scale(self, outputs):
            return 3.0 / outputs

        def slope(self, outputs):
            return 5.0

    @dataclass(frozen=True)
    class Absolute(losses.MeanSquaredError):
        name = "test_absolute"

        def values(self, xp, predictions, targets):
            return xp.sum(xp.abs(predictions - targets), axis=1)

    assert computation(Weighty) is COMPUTE[losses.MeanSquaredError]
    assert computation(Absolute) is None
    random = np.random.default_rng(0)
    predictions, targets, weights = (
        random.normal(size=(4, 3)),
        random.normal(size=(4, 3)),
        np.ones(4),
    )
    for loss in (Weighty(), Absolute()):
        gradient, total = np.empty((4, 3)), np.zeros(1)
        NumpyBackend().loss(loss, predictions, targets, weights, np.ones(1), gradient, total)
        np.testing.assert_allclose(total[0], loss.values(np, predictions, targets).sum())
        np.testing.assert_allclose(gradient, loss.gradients(np, predictions, targets))


def test_two_backends_and_two_threads_do_not_disturb_each_other():
    import threading

    backend = NumpyBackend()
    z = np.random.default_rng(0).standard_normal((64, 1024))
    expected = z.copy()
    backend.activate(activations.GELU(), expected, None, expected)
    found = [z.copy() for _ in range(4)]
    outs = [np.empty_like(z) for _ in range(4)]

    def work(index):
        for _ in range(5):
            backend.activate(activations.GELU(), found[index], None, outs[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for out in outs:
        np.testing.assert_array_equal(out, expected)


def test_an_operation_done_twice_keeps_neither_settings_nor_large_arrays():
    """Calls of small operations are kept, in case they are asked for again."""
    backend, optimizer = NumpyBackend(1), SGD()
    trained, rate, step = Trained(np.ones(4), np.zeros(4), {}, 4), np.array([0.5]), np.array([1])
    backend.update(optimizer, trained, rate, step)
    optimizer.weight_decay = 1.0
    backend.update(optimizer, trained, rate, step)
    np.testing.assert_array_equal(trained.values, np.full(4, 0.5))
    values = weakref.ref(trained.values)
    del trained
    gc.collect()
    assert values() is None

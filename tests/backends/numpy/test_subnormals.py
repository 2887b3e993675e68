from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest
from calls import Calls

import gpunn
from gpunn import activations, layers
from gpunn.backends.numpy import NumpyBackend
from gpunn.backends.numpy.compiled import CompiledBackend
from gpunn.backends.numpy.subnormals import Flushed, environment

pytestmark = pytest.mark.skipif(
    environment() is None, reason="subnormal numbers can't be made zero on this system"
)

SMALLEST = {dtype: np.finfo(dtype).smallest_normal for dtype in (np.float32, np.float64)}


def flushes(dtype=np.float32):
    """Return whether this thread treats subnormal results, and subnormal operands, as zero."""
    smallest = np.full(100, SMALLEST[dtype])
    below = (smallest.view(f"u{smallest.itemsize}") // 2).view(dtype)
    gives, takes = not np.any(smallest * dtype(0.5)), not np.any(below * dtype(2**60))
    assert gives == takes
    return gives


def subnormal(array):
    bits = np.ascontiguousarray(array).view(f"u{array.itemsize}")
    digits = {4: 23, 8: 52}[array.itemsize]
    magnitude = bits & bits.dtype.type((1 << (8 * array.itemsize - 1)) - 1)
    return bool(np.any((magnitude > 0) & (magnitude < (1 << digits))))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_holds_inside_and_ends_with_it(dtype):
    assert not flushes(dtype)
    with Flushed():
        assert flushes(dtype)
        with Flushed():
            assert flushes(dtype)
        assert flushes(dtype)
    assert not flushes(dtype)


def test_ends_with_an_error_too():
    with pytest.raises(ZeroDivisionError), Flushed():
        raise ZeroDivisionError
    assert not flushes()


def test_is_a_matter_of_one_thread():
    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(flushes).result()
        with Flushed():
            assert flushes()
            assert not pool.submit(flushes).result()


def test_nothing_breaks_where_it_can_not_be_set(monkeypatch):
    monkeypatch.setattr("gpunn.backends.numpy.subnormals.environment", lambda: None)
    with Flushed():
        assert not flushes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [3, 1 << 14])
def test_recorded_operations_give_none(engine, dtype, rows):
    """This holds in every thread, since several threads share the larger array."""
    backend, f = CompiledBackend(2), activations.Mish()
    largest = {"float32": 100, "float64": 720}[dtype]
    z = np.linspace(-largest, 0.8 * -largest, rows * 64, dtype=dtype).reshape(rows, 64)
    out, gradient = np.ones_like(z), np.ones_like(z)

    def operations():
        backend.activate(f, z, None, out)
        backend.activation_gradient(f, z, out, gradient, None)

    with np.errstate(under="ignore"):
        backend.recorded(operations)(1)
    assert not subnormal(out)
    assert not subnormal(gradient)
    assert out.any()
    assert not flushes()


def test_a_recorded_function_gives_none(engine):
    backend, out = CompiledBackend(2), np.ones((4, 8), np.float32)

    def function(x):
        backend.rescale(x, 1e-20, 0.0, out)
        return out

    x = np.full((4, 8), 1e-20, np.float32)
    assert not backend.recorded_function(function, x)(x).any()
    assert not flushes()


class Failing(layers.Layer):
    name = "failing"

    def forward(self, x, workspace):
        assert flushes()
        raise ZeroDivisionError


class Same(layers.Layer):
    name = "same"

    def forward(self, x, workspace):
        assert flushes()
        return x

    def backward(self, x, y, gradient, workspace, wanted):
        assert flushes()
        return gradient


def trainer(*more_layers):
    model = gpunn.Sequential([layers.Dense(3), *more_layers], input_shape=(5,), backend="numpy")
    return gpunn.Trainer(model, "mean_squared_error")


def test_training_evaluation_and_prediction_are_without_them(engine):
    """Subnormal numbers are zero during a run, but not in the caller's code."""
    X, y = np.ones((20, 5), np.float32), np.ones((20, 3), np.float32)
    seen = []
    look = Calls(on_epoch_end=lambda *_: seen.append(flushes()))
    for more_layers in ((), (Same(),)):
        run = trainer(*more_layers)
        run.fit(X, y, epochs=2, callbacks=[look], validation_data=(X, y), progress=False)
        run.evaluate(X, y)
        run.model.predict(X)
        assert not flushes()
    assert seen == [False] * 4


def test_an_error_in_a_run_ends_it(engine):
    X, y = np.ones((20, 5), np.float32), np.ones((20, 3), np.float32)
    run = trainer(Failing())
    for function in (lambda: run.fit(X, y, progress=False), lambda: run.evaluate(X, y)):
        with pytest.raises(ZeroDivisionError):
            function()
        assert not flushes()
    with pytest.raises(ZeroDivisionError):
        run.model.predict(X)
    assert not flushes()


def test_single_operations_between_are_without_them():
    with NumpyBackend().computing():
        assert flushes()
    assert not flushes()


def test_other_numbers_keep_their_bits():
    x = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)
    backend, bits = NumpyBackend(2), []
    for context in (backend.computing(), nullcontext()):
        out = np.zeros_like(x)
        with context:
            backend.activate(activations.Mish(), x, None, out)
        bits.append(out.tobytes())
    assert bits[0] == bits[1]

"""Steps of plain NumPy as lists of calls: each operation as the oracle does it."""

import numpy as np
import pytest

import gpunn
from gpunn.backends import Backend
from gpunn.backends.numpy import NumpyBackend, optimizers
from gpunn.backends.numpy.bind import Binder
from gpunn.backends.numpy.partition import Partition
from gpunn.backends.numpy.scratch import CHUNK, Scratch


def test_a_product_with_a_transposed_operand_in_every_form():
    random = np.random.default_rng(0)
    for rows, inputs, units in ((3, 4, 1), (3, 400, 7), (32, 300, 250), (33, 300, 250)):
        gradient, weights = random.normal(size=(rows, units)), random.normal(size=(inputs, units))
        out = np.empty((rows, inputs))
        calls = Binder(Partition(2), Scratch()).matmul(gradient, weights, out, transpose_b=True)
        for call in calls:
            call()
        np.testing.assert_allclose(out, gradient @ weights.T, 1e-12, 1e-12)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_weight_gradient_in_parts(threads):
    random = np.random.default_rng(0)
    x, gradient = random.normal(size=(9, 30)), random.normal(size=(9, 700))
    out = np.empty((30, 700))
    calls = Binder(Partition(threads), Scratch()).matmul(x, gradient, out, transpose_a=True)
    assert len(calls) == (1 if threads == 1 else 3)
    for call in calls:
        call()
    np.testing.assert_allclose(out, x.T @ gradient, 1e-12, 1e-12)


def test_the_zeros_that_numbers_are_compared_with_stay_zeros():
    binder = Binder(Partition(2), Scratch())
    z = np.random.default_rng(0).normal(size=(40, CHUNK // 8))
    calls = binder.activate(gpunn.activations.ReLU(), z, np.ones(z.shape[1]), z)
    calls += binder.activation_gradient(gpunn.activations.ReLU(), z, z, np.ones_like(z), None)
    for call in calls * 2:
        call()
    assert not binder._zeros(np.empty(CHUNK)).any()


def trained(optimizer, threads=None):
    """Return a network that plain NumPy trained, as it does where there are no kernels."""
    model = gpunn.Sequential(
        [gpunn.layers.Dense(300, "relu"), gpunn.layers.Dense(10)],
        input_shape=(250,),
        backend=gpunn.get_backend("numpy", threads=threads),
        seed=1,
    )
    trainer = gpunn.Trainer(model, "softmax_cross_entropy", optimizer, metrics=["accuracy"])
    random = np.random.default_rng(0)
    X, y = random.normal(size=(90, 250)).astype(np.float32), random.integers(0, 10, 90)
    trainer.fit(X, y, epochs=3, batch_size=32, progress=False)
    return model.parameters.to_host(), trainer.history


OPTIMIZERS = [
    gpunn.optimizers.SGD(0.1),
    gpunn.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    gpunn.optimizers.AdamW(1e-3),
    gpunn.optimizers.RMSprop(1e-3),
    gpunn.optimizers.Lion(1e-4),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.name)
@pytest.mark.parametrize("has_functions", [True, False])
def test_training_is_that_of_single_operations(numpy_alone, monkeypatch, optimizer, has_functions):
    if not has_functions:  # as with a BLAS that lacks them
        monkeypatch.setattr("gpunn.backends.numpy.axpby.find_blas", lambda: None)
    found, history = trained(optimizer)
    monkeypatch.setattr(NumpyBackend, "lower", Backend.lower)
    expected, plain = trained(optimizer)
    np.testing.assert_allclose(history["loss"], plain["loss"], 1e-4)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], 0, 2e-4, err_msg=name)


def test_training_repeated_gives_the_same_bits(numpy_alone):
    for threads in (1, 2):
        first, second = (trained(gpunn.optimizers.Adam(1e-3), threads)[0] for _ in range(2))
        for name in first:
            np.testing.assert_array_equal(first[name], second[name])


def test_decay_and_epsilon_are_those_of_the_moment():
    o = gpunn.optimizers.AdamW(1e-3, weight_decay=0.5)
    values = np.ones(4)
    optimizers.decay(o, values, 2, 0.1)
    assert values.tolist() == [0.95, 0.95, 1, 1]
    rate, epsilon = optimizers.bias_corrected(o, 0.1, 1)
    assert rate == pytest.approx(0.1 * np.sqrt(1 - o.beta2) / (1 - o.beta1))
    assert epsilon == pytest.approx(o.epsilon * np.sqrt(1 - o.beta2))

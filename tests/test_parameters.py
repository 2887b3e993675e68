import math

import numpy as np
import pytest
from equality import assert_same_bits
from hypothesis import given, settings
from hypothesis import strategies as st

from gpunn.backends import Backend
from gpunn.backends.numpy import NumpyBackend
from gpunn.errors import ArgumentError
from gpunn.initializers import Initializer, Normal, Ones, Zeros
from gpunn.parameters import ALIGNMENT, Parameters, ParameterSpec

SPECS = {
    "dense_1.weights": ParameterSpec("weights", (3, 5), Normal(1.0)),
    "dense_1.biases": ParameterSpec("biases", (5,), Zeros(), decay=False),
    "norm.scale": ParameterSpec("scale", (5,), Ones(), decay=False),
    "norm.running_mean": ParameterSpec("running_mean", (5,), Zeros(), trainable=False),
    "dense_10.weights": ParameterSpec("weights", (5, 2), Normal(1.0)),
}


def build(backend: Backend, dtype="float32", seed=0, specs=SPECS):
    return Parameters(specs, backend, dtype, seed)


def offset(parameters, name, vector):
    """Return where a view begins, found by writing to the vector."""
    flat = np.arange(vector.shape[0], dtype=vector.dtype)
    vector[...] = flat
    return int(np.asarray(parameters[name]).reshape(-1)[0])


def test_views_share_memory_with_the_vectors(backend):
    parameters = build(backend)
    backend.fill(parameters.values, 7.0)
    backend.fill(parameters.gradients, 8.0)
    backend.fill(parameters.buffers, 9.0)
    for name, spec in SPECS.items():
        expected = 7.0 if spec.trainable else 9.0
        assert (backend.to_host(parameters[name]) == expected).all(), name
        if spec.trainable:
            assert (backend.to_host(parameters.gradient(name)) == 8.0).all(), name
    weights = parameters["dense_1.weights"]
    weights[...] = 3.0
    assert (backend.to_host(parameters.values) == 3.0).sum() == 15


def test_count_leaves_out_padding_and_statistics():
    parameters = build(NumpyBackend())
    assert parameters.count == 15 + 5 + 5 + 10
    assert len(parameters) == 5
    assert list(parameters) == list(SPECS)


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(1, 9), min_size=1, max_size=3), st.booleans(), st.booleans()
        ),
        max_size=8,
    )
)
def test_views_are_aligned_and_do_not_overlap(declared):
    specs = {
        f"layer_{i}.p": ParameterSpec("p", tuple(shape), Zeros(), decay, trainable)
        for i, (shape, decay, trainable) in enumerate(declared)
    }
    parameters = Parameters(specs, NumpyBackend(), "float64", 0)
    for number, name in enumerate(specs, 1):
        parameters[name][...] = number
    used = np.concatenate([parameters.values, parameters.buffers])
    for number, (name, spec) in enumerate(specs.items(), 1):
        assert (used == number).sum() == math.prod(spec.shape)  # nobody wrote over it
        vector = parameters.values if spec.trainable else parameters.buffers
        address = parameters[name].__array_interface__["data"][0]
        start = (address - vector.__array_interface__["data"][0]) // 8
        assert start % ALIGNMENT == 0
        assert (start < parameters.decayed) == spec.decay or not spec.trainable
    assert parameters.values.shape == parameters.gradients.shape


def test_initial_values_depend_on_seed_and_position_only(backend):
    single, double = build(backend), build(NumpyBackend(), "float64")
    for name, value in single.to_host().items():
        np.testing.assert_array_equal(value, double[name].astype(np.float32), name)
    assert (double["norm.scale"] == 1).all()
    assert (double["dense_1.biases"] == 0).all()
    other = build(NumpyBackend(), "float64", seed=1)
    assert (other["dense_1.weights"] != double["dense_1.weights"]).all()
    first, last = double["dense_1.weights"].reshape(-1), double["dense_10.weights"].reshape(-1)
    assert (first[:10] != last).all()


def test_views_of_a_layer():
    parameters = build(NumpyBackend())
    values, gradients = parameters.views("dense_1")
    assert values.keys() == gradients.keys() == {"weights", "biases"}
    values, gradients = parameters.views("norm")
    assert values.keys() == {"scale", "running_mean"}
    assert gradients.keys() == {"scale"}
    assert values["scale"] is parameters["norm.scale"]


def test_snapshot_and_restore(backend):
    parameters = build(backend)
    before = parameters.to_host()
    snapshot = parameters.snapshot()
    backend.fill(parameters.values, 0.5)
    backend.fill(parameters.buffers, 0.5)
    view = parameters["dense_1.weights"]
    parameters.restore(snapshot)
    assert_same_bits(parameters.to_host(), before)
    np.testing.assert_array_equal(backend.to_host(view), before["dense_1.weights"])


@pytest.mark.parametrize("value", [np.ones(1), np.ones((1, 5)), np.ones(6), 1.0])
def test_set_refuses_another_shape(value):
    parameters = build(NumpyBackend())
    with pytest.raises(ArgumentError, match=r"dense_1.biases: expected shape \(5,\); got "):
        parameters["dense_1.biases"] = value


def test_initializer_of_the_wrong_shape_is_named():
    class Wrong(Initializer):
        def sample(self, generator, shape):
            return np.zeros((2, *shape))

    with pytest.raises(ArgumentError, match=r"a.b: expected shape \(3,\); got \(2, 3\)"):
        build(NumpyBackend(), specs={"a.b": ParameterSpec("b", (3,), Wrong())})


def test_parameters_with_the_same_factors_are_one_segment():
    factors = {
        "a.weights": (1.0, True),
        "a.biases": (0.1, False),
        "b.scale": (6.0, 6.0),
        "c.weights": (1.0, 1.0),
        "c.shift": (1.0, 0.0),
        "d.weights": (1.0, 0.5),
        "d.biases": (0.1, False),
        "e.shift": (1.0, False),
    }
    specs = {
        name: ParameterSpec(name, (3,), Zeros(), decay=decay, rate=rate)
        for name, (rate, decay) in factors.items()
    }
    parameters = Parameters(specs, NumpyBackend(), "float64", 0)
    order = sorted(factors, key=lambda name: offset(parameters, name, parameters.values))
    assert order == [
        *("a.weights", "c.weights", "b.scale", "d.weights"),
        *("a.biases", "d.biases", "e.shift", "c.shift"),
    ]
    n = ALIGNMENT
    decayed = [(0, 2 * n, 1.0, 1.0), (2 * n, 3 * n, 6.0, 6.0), (3 * n, 4 * n, 1.0, 0.5)]
    assert parameters.segments() == [*decayed, (4 * n, 6 * n, 0.1, 0.0), (6 * n, 8 * n, 1.0, 0.0)]
    # Those without decay by default take part then; an explicit factor stays as it is.
    assert parameters.segments(decay_all=True) == [
        *decayed,
        *((4 * n, 6 * n, 0.1, 1.0), (6 * n, 7 * n, 1.0, 1.0), (7 * n, 8 * n, 1.0, 0.0)),
    ]
    assert (parameters.decayed, parameters.decayed_by(True)) == (4 * n, 7 * n)
    single = parameters.segments(by_parameter=True)
    assert [each[:2] for each in single] == [(k * n, (k + 1) * n) for k in range(8)]
    assert [each[2:] for each in single] == [factors[name] for name in order]


def test_without_factors_there_are_two_segments_at_most():
    parameters = build(NumpyBackend())
    size = parameters.values.shape[0]
    assert parameters.segments() == [
        (0, parameters.decayed, 1.0, 1.0),
        (parameters.decayed, size, 1.0, 0.0),
    ]
    assert parameters.segments(decay_all=True) == [(0, size, 1.0, 1.0)]

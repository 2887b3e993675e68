"""Test which operations a trace accepts."""

import gc

import numpy as np
import pytest

from gpunn.backends.numpy import NumpyBackend
from gpunn.errors import ArgumentError


def test_operations_of_another_backend_are_refused_while_a_step_is_recorded():
    """The wrong engine would run them, on arrays that it can't use."""
    backend, other = NumpyBackend(1), NumpyBackend(1)
    values = np.zeros(3)
    with pytest.raises(ArgumentError, match=r"fill: a step of .* is being recorded"):
        backend.recorded(lambda: other.fill(values, 1.0))
    other.fill(values, 1.0)  # recording has ended
    assert values.tolist() == [1, 1, 1]


def test_another_backend_may_record_in_between():
    backend, other = NumpyBackend(1), NumpyBackend(1)
    values, seen = np.zeros(3), []

    def operations():
        seen.append(other.recorded(lambda: other.fill(values, 2.0)))
        backend.fill(values, 1.0)

    run = backend.recorded(operations)
    run(1)
    assert values.tolist() == [1, 1, 1]
    seen[0](1)
    assert values.tolist() == [2, 2, 2]


@pytest.mark.parametrize("was_enabled", [True, False])
def test_the_garbage_collector_runs_after_a_recording_if_it_ran_before(was_enabled):
    backend, values, seen = NumpyBackend(1), np.zeros(3), []

    def operations(value):
        seen.append(gc.isenabled())
        backend.fill(values, value)
        if value < 0:
            raise ValueError("negative")

    try:
        if not was_enabled:
            gc.disable()
        backend.recorded(lambda: operations(1.0))
        seen.append(gc.isenabled())
        with pytest.raises(ValueError, match="negative"):
            backend.recorded(lambda: operations(-1.0))
        assert [*seen, gc.isenabled()] == [False, was_enabled, False, was_enabled]
    finally:
        gc.enable()

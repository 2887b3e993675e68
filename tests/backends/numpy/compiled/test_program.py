"""Test programs: the order of instructions, barriers, and inputs."""

from functools import partial
from unittest.mock import Mock

import numpy as np
import pytest

pytest.importorskip("numba")

from gpunn.activations import Activation, Identity
from gpunn.backends.numpy.compiled import CompiledBackend
from gpunn.backends.numpy.compiled.conflicts import Uses
from gpunn.backends.numpy.compiled.program import Instruction, schedule, table_of
from gpunn.backends.numpy.compiled.team import Team
from gpunn.errors import ArgumentError


def fill(out, value, early=False):
    return Instruction("fill", [out, out.size, float(value)], writes=[out], early=early)


def add(values, out):
    return Instruction("add", [values, out, out.size], [values, out], [out])


@pytest.fixture
def arrays():
    return [np.zeros(8, np.float32) for _ in range(3)]


def test_what_touches_nothing_in_common_needs_no_barrier(arrays):
    a, b, c = arrays
    table = table_of([fill(a, 1), fill(b, 2), fill(c, 3)], 2)
    assert list(table[:, 1]) == [
        0,
        0,
        1,
    ]  # the last one: the next repetition writes the same memory


@pytest.mark.parametrize(
    "second",
    [
        lambda a, b: add(a, b),  # reads the written memory
        lambda a, b: fill(a, 2),  # writes the same memory
        lambda a, b: fill(a[4:], 2),  # a part of the memory
    ],
)
def test_what_touches_the_same_memory_waits(arrays, second):
    a, b, _ = arrays
    assert list(table_of([fill(a, 1), second(a, b)], 2)[:, 1]) == [1, 1]


def test_what_is_read_is_not_overwritten_before(arrays):
    a, b, _ = arrays
    assert list(table_of([add(a, b), fill(a, 1)], 2)[:, 1]) == [1, 1]


@pytest.mark.parametrize(("rows", "barriers"), [(6, [0, 1]), (5, [1, 1])])
def test_equal_parts_of_images_and_of_their_pixels_need_no_barrier(rows, barriers):
    images = np.zeros((rows, 4, 3), np.float32)
    pixels = images.reshape(-1, 3)
    by_rows = [Instruction("fill", [], [], [each], [each]) for each in (images, pixels)]
    assert list(table_of(by_rows, 2)[:, 1]) == barriers


def test_one_barrier_serves_all_before_it(arrays):
    a, b, c = arrays
    table = table_of([fill(a, 1), fill(b, 1), add(a, c), add(b, c)], 2)
    assert list(table[:, 1]) == [0, 1, 1, 1]
    assert list(table_of([fill(a, 1), add(a, b), add(a, c)], 2)[:, 1]) == [1, 0, 1]


def test_early_instructions_follow_what_they_wait_for(arrays):
    a, b, c = arrays
    first, second, last = fill(a, 1), fill(b, 2), fill(c, 3)
    needs_first, needs_nothing = (
        Instruction("add", [], [a], [a], early=True),
        Instruction("add", [], [], [], early=True),
    )
    assert schedule(Uses([first, second, needs_first])) == [first, needs_first, second]
    assert schedule(Uses([first, last, needs_nothing]))[0] is needs_nothing
    late = Instruction("add", [], [a], [a])
    assert schedule(Uses([first, second, late])) == [first, second, late]


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_more_threads_than_cores_come_to_the_same(threads):
    x = np.random.default_rng(0).normal(size=(70, 50)).astype(np.float32)
    w = np.random.default_rng(1).normal(size=(50, 41)).astype(np.float32)
    out, total = np.zeros((70, 41), np.float32), np.zeros((70, 41), np.float32)
    backend = CompiledBackend(threads)

    def operations():
        backend.matmul(x, w, out)
        backend.accumulate(out, total)

    backend.recorded(operations)(7)
    np.testing.assert_allclose(total, 7 * (x @ w), rtol=1e-4, atol=1e-4)


def test_nothing_is_done_while_recording():
    backend, out = CompiledBackend(2), np.zeros(4, np.float32)
    replay = backend.recorded(partial(backend.fill, out, 3.0))
    assert not out.any()
    replay(1)
    np.testing.assert_array_equal(out, 3)


def test_an_error_while_recording_ends_it():
    backend, out = CompiledBackend(2), np.zeros(4, np.float32)
    with pytest.raises(ValueError, match="no"):
        backend.recorded(Mock(side_effect=ValueError("no")))
    backend.fill(out, 2.0)
    np.testing.assert_array_equal(out, 2)


class Square(Activation):
    name = "test_square"

    def value(self, xp, z):
        return z * z


def test_operations_without_a_kernel_take_their_turn():
    backend = CompiledBackend(2)
    z, out, after = np.linspace(-2, 2, 5), np.zeros(5), np.zeros(5)

    def operations():
        backend.fill(out, 7.0)
        backend.activate(Square(), z, None, out)
        backend.accumulate(out, after)

    backend.recorded(operations)(2)
    np.testing.assert_array_equal(after, 2 * z * z)


def test_a_recorded_function_accepts_other_arguments():
    backend = CompiledBackend(2)
    w, z = np.full((3, 2), 2.0, np.float32), np.zeros((4, 2), np.float32)

    def double(x):
        backend.matmul(x, w, z)
        return z

    x = np.ones((4, 3), np.float32)
    function = backend.recorded_function(double, x)
    np.testing.assert_array_equal(function(x), 6)
    np.testing.assert_array_equal(function(3 * x), 18)
    strided = np.ones((8, 3), np.float32)[::2]
    np.testing.assert_array_equal(function(strided), 6)
    np.testing.assert_array_equal(function(2 * x.astype(np.float64)), 12)


@pytest.mark.parametrize("first", [0, 1])
def test_a_recorded_function_copies_arguments_if_a_kernel_has_only_parts(first):
    """A product of groups has addresses in a separate table."""
    backend = CompiledBackend(2)
    w, z = np.full((2, 3, 2), 2.0, np.float32), np.zeros((4, 2, 2), np.float32)

    def product(x):
        backend.group_dense(x[first], w, None, Identity(), z, z)
        return z

    x = np.ones((2, 4, 2, 3), np.float32)
    function = backend.recorded_function(product, x)
    np.testing.assert_array_equal(function(x), 6)
    np.testing.assert_array_equal(function(3 * x), 18)


def test_a_function_may_return_its_argument():
    backend, x = CompiledBackend(2), np.ones(3)
    function = backend.recorded_function(lambda x: x, x)
    np.testing.assert_array_equal(function(np.zeros(3)), 0)


def test_threads_that_the_system_refuses_are_an_argument_error(monkeypatch):
    refused = RuntimeError("can't start new thread")
    monkeypatch.setattr("threading.Thread.start", Mock(side_effect=refused))
    with pytest.raises(ArgumentError, match=r"^threads: .* only 1 of 5 threads"):
        Team(5)

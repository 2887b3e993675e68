import numpy as np
import pytest
from memory import peak_below

from gpunn.data import checks
from gpunn.data.checks import (
    check_finite,
    check_inputs,
    check_rows,
    check_weights,
    to_numpy,
)
from gpunn.errors import DataError


class OnAnotherDevice:
    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed")


class Sparse:
    def toarray(self):
        return np.zeros((2, 2))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (OnAnotherDevice(), r"X: expected an array on the host; got OnAnotherDevice.*\.get\(\)"),
        (Sparse(), r"X: expected numbers; got Python objects \(Sparse\).*\.toarray\(\)"),
        ([[1, 2], [3]], "X: expected an array on the host; got list"),
        (np.array([np.zeros((2, 2)), np.zeros(3)], object), r"same shape; got \(2, 2\) and \(3,\)"),
        ([np.zeros((2, 2, 1)), np.zeros((3, 2, 1))], r"got \(2, 2, 1\) and \(3, 2, 1\). Resize"),
        ([[1, None]], r"X: expected numbers; got Python objects \(list\).*numpy.unique"),
        (np.ma.masked_equal([1, 2], 2), r"X: got a masked array.*\.filled\(\)"),
    ],
)
def test_to_numpy_rejects(value, message):
    with pytest.raises(DataError, match=message):
        to_numpy(value, "X")


def test_to_numpy_copies_nothing(mapped):
    array = np.zeros((3, 2))
    assert to_numpy(array, "X") is array
    memory_map = mapped(array)
    assert to_numpy(memory_map, "X") is memory_map
    assert to_numpy([[1, 2]], "X").tolist() == [[1, 2]]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float32", ">f8"])
def test_check_inputs_accepts_real_numbers(dtype):
    X = np.ones((2, 3), dtype)
    assert check_inputs(X, (3,)) is X


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((2, 4)), r"X: this network expects shape \(rows, 3\); got \(2, 4\)$"),
        (np.zeros(3), r"expects shape \(rows, 3\); got \(3,\); for a single row use X\["),
        (1.0, r"expects shape \(rows, 3\); got \(\)$"),
        (np.zeros((2, 3), complex), "X: expected real numbers; got dtype complex128"),
        (np.full((2, 3), "a"), "X: expected real numbers; got dtype <U1"),
        ([[0, 0, 0], [0, np.nan, 0]], r"X: expected finite numbers; X\[1, 1\] is nan"),
        ([[0, 0, np.inf]], r"X\[0, 2\] is inf"),
        ([[0, 0, -np.inf]], r"X\[0, 2\] is -inf"),
        ([[0, 0, 1e39]], r"X: is too large for float32: X\[0, 2\] is 1e\+39; scale the data"),
        ([[0, -1e39, 0]], r"X\[0, 1\] is -1e\+39"),
    ],
)
def test_check_inputs_rejects(X, message):
    with pytest.raises(DataError, match=message):
        check_inputs(X, (3,))


def test_the_range_depends_on_the_dtype():
    X = np.array([[1e39]])
    assert check_inputs(X, (1,), dtype="float64") is X
    if np.finfo(np.longdouble).max > np.finfo(np.float64).max:
        with pytest.raises(DataError, match="too large for float64"):
            check_inputs(np.array([["1e400"]], np.longdouble), (1,), dtype="float64")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 5, 3), r"got \(4, 5, 3\); for a single row use images\[None\]$"),
        ((7, 4, 5, 1), r"got \(7, 4, 5, 1\)$"),
        ((7, 3, 4, 5), r"; move the channels to the end: numpy\.moveaxis\(images, 1, -1\)$"),
        ((7, 60), r"; reshape the rows: images\.reshape\(-1, 4, 5, 3\)$"),
    ],
)
def test_check_inputs_names_the_argument_and_how_to_reshape_it(shape, message):
    with pytest.raises(DataError, match=rf"^images: .*expects shape \(rows, 4, 5, 3\).*{message}"):
        check_inputs(np.zeros(shape), (4, 5, 3), "images")
    with pytest.raises(DataError, match=r"add an axis for the channel: X\[\.\.\., None\]$"):
        check_inputs(np.zeros((7, 4, 5)), (4, 5, 1))


def test_check_finite_reads_every_chunk(monkeypatch):
    monkeypatch.setattr(checks, "CHECK_BYTES", 64)
    X = np.zeros((100, 4))
    check_finite(X, "X")
    X[77, 2] = np.nan
    with pytest.raises(DataError, match=r"X\[77, 2\] is nan"):
        check_finite(X, "X")


def test_check_finite_of_nothing():
    check_finite(np.zeros((0, 3)), "X")
    check_finite(np.zeros((3, 0)), "X")


def test_check_finite_takes_little_memory(mapped, monkeypatch):
    monkeypatch.setattr(checks, "CHECK_BYTES", 1 << 14)
    X = mapped(np.zeros((1 << 12, 64)))  # 2 MiB
    with peak_below(1 << 16):
        check_finite(X, "X")


def test_check_rows():
    check_rows(2, {"y": np.zeros(2), "other": np.zeros((2, 3))})
    with pytest.raises(DataError, match="y: expected 2 rows, as many as X; got 3"):
        check_rows(2, {"y": np.zeros(3)})
    with pytest.raises(DataError, match="y: expected 2 rows, as many as data; got a single"):
        check_rows(2, {"y": np.array(1.0)}, "data")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, 2.0], r"sample_weight: expected 3 numbers, one for each row; got shape \(2,\)"),
        ([[1.0], [2.0], [3.0]], r"got shape \(3, 1\)"),
        (["a", "b", "c"], "got shape .* dtype <U1"),
        ([1.0, -2.0, -3.0], r"expected numbers >= 0; sample_weight\[1\] is -2.0"),
        ([1.0, np.nan, 1.0], r"sample_weight\[1\] is nan"),
        ([1.0, np.inf, 1.0], r"sample_weight\[1\] is inf"),
        ([0, 0, 0], "all weights are zero, so there is nothing to learn from"),
        ([1e39, 1, 1], "sample_weight: is too large for float32"),
        ([2e38, 2e38, 0], "sample_weight: the sum is too large for float32; scale the weights"),
        ([1e-50, 1e-60, 0], "sample_weight: all weights are too small for float32; scale the w"),
        ([1e-37, 1e-38, 0], "all weights are too small for float32"),  # losses had four digits
    ],
)
def test_check_weights_rejects(weights, message):
    with pytest.raises(DataError, match=message):
        check_weights(weights, 3)


@pytest.mark.parametrize("weights", [[1, 0, 3], [True, False, False], np.float32([0.5, 1, 2])])
def test_check_weights_returns_a_copy_in_float64(weights):
    checked = check_weights(weights, 3)
    assert checked.dtype == np.float64
    assert checked.tolist() == np.asarray(weights).astype(float).tolist()
    assert not np.shares_memory(checked, weights)

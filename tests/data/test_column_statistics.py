"""Column statistics against exact arithmetic."""

import math
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from memory import peak_below

from gpunn.data.column_statistics import column_statistics
from gpunn.errors import ArgumentError, DataError


def exact_statistics(column):
    values = [Fraction(float(value)) for value in column]
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    return float(mean), math.sqrt(variance)


@given(data=st.data())
def test_statistics_match_exact_arithmetic(data):
    dtype = data.draw(st.sampled_from(["float64", "float32", "uint8", "int64", "bool"]))
    elements = {
        "float64": st.floats(-1e6, 1e6),
        "float32": st.floats(-1e6, 1e6, width=32),
        "int64": st.integers(-(2**40), 2**40),
    }.get(dtype)
    shapes = npst.array_shapes(min_dims=2, max_dims=2, max_side=8)
    X = data.draw(npst.arrays(dtype, shapes, elements=elements))
    chunk_rows = data.draw(st.integers(1, 9))

    exact = [exact_statistics(column) for column in X.T]
    constant = (X[:1] == X).all(axis=0)
    deviations = np.array([deviation for _, deviation in exact])
    assume((constant | (deviations >= 1e-150)).all())  # below, squares underflow

    mean, deviation = column_statistics(X, chunk_rows)

    assert mean.dtype == deviation.dtype == np.float64
    for column in range(X.shape[1]):
        exact_mean, exact_deviation = exact[column]
        # The minimum is for subnormal numbers, which have fewer digits.
        rounding = max(1e-14 * float(np.abs(X[:, column].astype(float)).max()), 1e-300)
        assert mean[column] == pytest.approx(exact_mean, rel=1e-12, abs=rounding)
        if (X[:, column] == X[0, column]).all():
            assert deviation[column] == 1
        else:
            assert deviation[column] == pytest.approx(exact_deviation, rel=1e-9, abs=rounding)


def test_large_mean_does_not_cancel_the_deviation():
    X = (1e9 + np.arange(1000) % 2)[:, None]
    mean, deviation = column_statistics(X, chunk_rows=7)
    assert mean[0] == 1e9 + 0.5
    assert deviation[0] == pytest.approx(0.5, rel=1e-13)


@pytest.mark.parametrize("value", [0, 0.1, -1e300, 1 / 3])
def test_constant_column_has_deviation_1(value):
    X = np.column_stack([np.full(1001, value), np.arange(1001)])
    mean, deviation = column_statistics(X, chunk_rows=10)
    assert mean[0] == value
    assert deviation[0] == 1
    assert deviation[1] != 1


def test_input_is_not_changed():
    X = np.arange(12.0).reshape(4, 3)
    before = X.copy()
    column_statistics(X)
    np.testing.assert_array_equal(X, before)


def test_memory_map_is_never_loaded_whole(tmp_path):
    shape, size = (40_000, 100), 40_000 * 100 * 8
    written = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.float64, shape)
    written[:] = np.arange(shape[0])[:, None]
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    with peak_below(size / 5):
        mean, _ = column_statistics(mapped, chunk_rows=1000)
    np.testing.assert_allclose(mean, (shape[0] - 1) / 2, rtol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
@pytest.mark.parametrize("row", [0, 3])
def test_values_without_statistics_are_located(value, row):
    X = np.zeros((5, 4))
    X[row, 2] = value
    with pytest.raises(DataError, match=r"NaN.* in 1 of 4 columns; the first is column 2"):
        column_statistics(X, chunk_rows=2)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros(3), r"at least one row, got shape \(3,\)"),
        (np.zeros((0, 3)), r"at least one row, got shape \(0, 3\)"),
        (np.zeros((2, 2), complex), "expected real numbers, got dtype complex128"),
        (np.array([["a"]]), "expected real numbers, got dtype <U1"),
    ],
)
def test_statistics_refuse_other_arrays(X, message):
    with pytest.raises(DataError, match=message):
        column_statistics(X)


def test_statistics_refuse_chunks_without_rows():
    with pytest.raises(ArgumentError, match="chunk_rows: expected an integer >= 1; got 0"):
        column_statistics(np.zeros((2, 2)), chunk_rows=0)


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("chunk_rows", [1, 3, None])
def test_statistics_of_some_rows(mapped, chunk_rows, tmp_path):
    X = np.random.default_rng(0).normal(3, 2, (20, 4))
    indices = np.array([1, 2, 5, 11, 12, 19])
    if mapped:
        np.save(tmp_path / "X.npy", X)
        X = np.load(tmp_path / "X.npy", mmap_mode="r")
    mean, deviation = column_statistics(X, chunk_rows, indices=indices)
    np.testing.assert_allclose(mean, X[indices].mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(deviation, X[indices].std(axis=0), rtol=1e-13)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
@pytest.mark.parametrize("indices", [None, np.arange(0, 40_000, 2)], ids=["all", "every other"])
def test_pages_of_a_memory_map_are_released(indices, tmp_path):
    np.save(tmp_path / "X.npy", np.ones((40_000, 100)))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    before = resident_file_pages()
    column_statistics(mapped, indices=indices)
    assert resident_file_pages() - before < mapped.nbytes / 4


def resident_file_pages():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssFile"))


def test_differences_too_small_to_square():
    X = np.array([[1.0, 1e-170], [2.0, 3e-170]])
    with pytest.raises(DataError, match=r"column 1 differ so little that .* are 0; rescale"):
        column_statistics(X)


def test_constant_columns_are_named(caplog):
    X = np.ones((5, 9))
    X[:, [2, 4]] = np.arange(5)[:, None]
    column_statistics(X)
    (record,) = caplog.records
    assert record.getMessage() == (
        "X: 7 of 9 columns are constant and carry no information (0, 1, 3, 5, 6, ..., counted "
        "from 0)"
    )
    caplog.clear()
    column_statistics(X[:, [2, 4]])
    column_statistics(X[:1])
    assert not caplog.records

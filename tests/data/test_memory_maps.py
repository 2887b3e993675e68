import mmap
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gpunn
from gpunn.data.checks import check_finite
from gpunn.data.memory_maps import release, rows_of
from gpunn.errors import DataFileError

CHOICES = [slice(None), slice(3, 9), slice(5, 5), np.array([7, 0, 31, 7]), np.array([], np.int64)]
VIEWS = {
    "whole": np.s_[:],
    "from the second row": np.s_[1:],
    "every other row": np.s_[::2],
    "some columns": np.s_[:, 1:3],
    "scattered columns": np.s_[:, ::2],
    "backwards": np.s_[::-1],
}


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("view", VIEWS)
def test_rows_of_a_map_are_those_of_the_array(mapped, mode, view):
    array = np.random.default_rng(0).random((64, 5))
    everything = mapped(array, mode)[VIEWS[view]]
    for chosen in CHOICES:
        rows = rows_of(everything, chosen)
        np.testing.assert_array_equal(rows, array[VIEWS[view]][chosen])
        assert isinstance(chosen, slice) or not isinstance(rows, np.memmap)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (7, 0), (1,), (7,), (7, 1), (7, 3), (7, 2, 3)])
@pytest.mark.parametrize(
    "dtype", ["?", "u1", "i1", "<i2", ">i2", "<i8", ">i8", "<u8", "<f2", ">f2", "<f4", ">f4", ">f8"]
)
def test_rows_of_maps_of_any_type_and_shape(mapped, dtype, shape):
    array = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    everything = mapped(np.asarray(array, order="F" if dtype[-1] in "2?" else "C"))
    for view in (np.s_[:], np.s_[1:], np.s_[::-1], np.s_[::2]):
        expected = array[view]
        backwards = np.arange(len(expected))[::-1]
        for chosen in (slice(None), slice(2, 5), backwards, np.array([], np.int64)):
            rows = rows_of(everything[view], chosen)
            assert rows.dtype == array.dtype
            np.testing.assert_array_equal(rows, expected[chosen])


def test_rows_of_a_map_include_changes_made_through_it(mapped):
    X = mapped(np.zeros((8, 2)), "r+")
    X[3] = 1
    np.testing.assert_array_equal(rows_of(X, np.array([2, 3])), [[0, 0], [1, 1]])


def test_rows_of_an_offset_map(tmp_path):
    path = tmp_path / "X.bin"
    np.arange(100_000, dtype=np.int16).tofile(path)
    X = np.memmap(path, np.int16, "r", offset=2 * 7_001, shape=(900, 10))
    np.testing.assert_array_equal(rows_of(X[5:], np.array([2]))[0], np.arange(7_071, 7_081))


def test_rows_of_a_truncated_file(mapped):
    X = mapped(np.zeros((8, 2)))
    with open(X.filename, "r+b") as file:
        file.truncate(150)
    with pytest.raises(DataFileError, match=r"\.npy: the file was truncated after it was mem"):
        rows_of(X, np.array([7]))


def test_the_map_of_a_truncated_file_is_not_touched(mapped):
    """Otherwise the system would end the process."""
    X = mapped(np.ones((6, 2000)))
    model = gpunn.Sequential([gpunn.layers.Dense(1)], 2000, "numpy")
    columns = np.memmap(X.filename, float, "r", shape=(1500, 8), order="F")
    os.truncate(X.filename, 5000)
    with pytest.raises(DataFileError, match="truncated"):
        model.predict(X)
    with pytest.raises(DataFileError, match="truncated"):
        check_finite(X, "X")
    with pytest.raises(DataFileError, match="truncated"):
        rows_of(columns, np.array([700]))


def test_rows_of_a_removed_file(mapped):
    X = mapped(np.ones((6, 2)))
    Path(X.filename).unlink()
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        rows_of(X, np.array([1]))


@given(st.lists(st.integers(0, 19), max_size=40))
def test_rows_of_ordinary_arrays(numbers):
    array = np.arange(40).reshape(20, 2)
    chosen = np.array(numbers, dtype=np.int64)
    np.testing.assert_array_equal(rows_of(array, chosen), array[chosen])


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_release_changes_nothing(mapped, mode):
    X = mapped(np.arange(4096.0).reshape(-1, 8), mode)
    expected = np.array(X)
    if mode != "r":
        X[3] = expected[3] = -1
    for part in (X, X[10:], X[:, 2]):
        release(part)
    np.testing.assert_array_equal(X, expected)


@pytest.mark.parametrize(("mode", "released"), [("r", True), ("r+", True), ("c", False)])
@pytest.mark.parametrize("part", [slice(None), slice(1, None)])
def test_release_frees_maps_that_the_file_backs(mapped, monkeypatch, mode, released, part):
    advice = []

    class Map(mmap.mmap):
        def madvise(self, option):
            advice.append(option)

    monkeypatch.setattr(mmap, "mmap", Map)
    release(mapped(np.zeros((8, 8)), mode)[part])
    assert advice == ([mmap.MADV_DONTNEED] if released else [])


def test_release_ignores_ordinary_arrays():
    release(np.zeros(3))

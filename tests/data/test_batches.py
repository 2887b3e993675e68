import array_api_strict
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory import peak_below

from gpunn.backends import Backend, get_backend
from gpunn.data import batches
from gpunn.data.batches import Dataset


def source(backend, rows, *, stream, weights=True, targets="labels", dtype="float32"):
    X = np.arange(rows * 3, dtype=np.float64).reshape(rows, 3)
    y = np.arange(rows) if targets == "labels" else X[:, :2] + 0.5
    return Dataset(
        backend, X, y, np.arange(rows) + 0.25 if weights else None, (dtype, dtype), stream
    )


def visited(backend, chunks, batch_size):
    found = []
    for chunk in chunks:
        X, y = backend.to_host(chunk.X), backend.to_host(chunk.y)
        order = backend.to_host(chunk.order)[: chunk.rows]
        weights = None if chunk.weights is None else backend.to_host(chunk.weights)
        for start in range(0, chunk.rows, batch_size):
            rows = order[start : start + batch_size]
            found.append((X[rows], y[rows], None if weights is None else weights[rows]))
    return found


BACKENDS = [
    pytest.param(lambda: get_backend("numpy"), id="numpy"),
    pytest.param(
        lambda: Backend(array_api_strict, array_api_strict.Device("device1")), id="strict-device1"
    ),
]


@pytest.mark.parametrize("make", BACKENDS)
@given(
    targets=st.sampled_from(["labels", "numbers"]),
    rows=st.integers(1, 40),
    batch_size=st.integers(1, 12),
    piece_rows=st.integers(1, 20),
    weights=st.booleans(),
    ordered=st.booleans(),
    part=st.booleans(),
)
def test_streamed_batches_are_those_of_resident_data(
    make, targets, rows, batch_size, piece_rows, weights, ordered, part
):
    backend = make()
    order = None if ordered else np.random.default_rng(rows).permutation(rows)
    if part and order is not None:
        order = order[: -(-rows // 2)]
    with pytest.MonkeyPatch.context() as patch:
        found = []
        for stream in (False, True):
            data = source(backend, rows, stream=stream, weights=weights, targets=targets)
            patch.setattr(batches, "STREAM_BYTES", data.row_bytes * piece_rows)
            found += [
                visited(backend, data.chunks(order, batch_size), batch_size)
                for _ in range(2)  # buffers are reused
            ]
    numbers = np.arange(rows) if order is None else order
    for run in found:
        assert len(run) == -(-len(numbers) // batch_size)
        for index, (X, y, w) in enumerate(run):
            expected = numbers[index * batch_size : (index + 1) * batch_size]
            np.testing.assert_array_equal(X, data.X[expected])
            np.testing.assert_array_equal(y, data.y[expected])
            assert (w is None) == (not weights)
            if weights:
                np.testing.assert_array_equal(w, data.weights[expected])


@pytest.mark.parametrize("stream", [False, True])
def test_types_on_the_device(stream):
    backend = get_backend("numpy")
    X, y = np.zeros((4, 3), np.uint8), np.zeros(4, np.int32)
    (chunk,) = Dataset(backend, X, y, np.ones(4), ("uint8", "float32"), stream).chunks(None, 2)
    assert [chunk.X.dtype, chunk.y.dtype, chunk.weights.dtype] == ["uint8", "int64", "float32"]
    (chunk,) = Dataset(backend, X, X[:, :2], None, ("float64", "float64"), stream).chunks(None, 2)
    assert [chunk.X.dtype, chunk.y.dtype, chunk.weights] == ["float64", "float64", None]


@pytest.mark.parametrize("stream", [False, True])
def test_arrays_keep_their_addresses(stream, monkeypatch):
    monkeypatch.setattr(batches, "STREAM_BYTES", 1)
    data = source(get_backend("numpy"), 10, stream=stream)
    places = {
        tuple(a.__array_interface__["data"][0] for a in (p.X, p.y, p.weights, p.order))
        for _ in range(3)
        for p in data.chunks(np.arange(10)[::-1], 4)
    }
    assert len(places) == 1


def test_when_data_are_streamed(tmp_path):
    class Small(Backend):
        def free_memory(self):
            return 1000

    X, y = np.zeros((4, 3), np.float32), np.zeros((4, 1), np.float32)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    host, device = get_backend("numpy"), Small(array_api_strict)
    large = np.zeros((40, 3), np.float32), np.zeros((40, 1), np.float32)

    def streams(backend, X, y, stream=None):
        return Dataset(backend, X, y, None, ("float32", "float32"), stream).stream

    assert not streams(host, X, y)
    assert streams(host, mapped, y)
    assert not streams(host, mapped, y, False)
    assert streams(host, X, y, True)
    assert not streams(device, X, y)
    assert streams(device, *large), "640 bytes are more than half of 1000"


def test_row_bytes():
    data = source(get_backend("numpy"), 5, stream=False, targets="numbers", dtype="float32")
    assert data.row_bytes == 3 * 4 + 2 * 4 + 4
    data = source(get_backend("numpy"), 5, stream=False, weights=False, dtype="float64")
    assert data.row_bytes == 3 * 8 + 8


def test_streaming_a_memory_map_takes_little_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "STREAM_BYTES", 1 << 16)
    rows, features = 1 << 13, 64
    X = np.lib.format.open_memmap(
        tmp_path / "X.npy", mode="w+", dtype="float32", shape=(rows, features)
    )
    X[:, 0] = np.arange(rows)
    X.flush()
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    y = np.arange(rows)
    order = np.random.default_rng(0).permutation(rows)
    data = Dataset(get_backend("numpy"), X, y, None, ("float32", "float32"))
    seen = 0
    with peak_below(X.nbytes / 8):  # two chunks and their sources, not the whole file
        for chunk in data.chunks(order, 32):
            np.testing.assert_array_equal(chunk.X[: chunk.rows, 0], chunk.y[: chunk.rows])
            seen += chunk.rows
    assert seen == rows

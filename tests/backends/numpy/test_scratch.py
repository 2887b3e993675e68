import threading

import numpy as np
import pytest

from gpunn.backends.numpy.scratch import CHUNK, Scratch, chunks, contiguous

FLOAT = np.dtype(np.float32)


def test_memory_is_used_again():
    scratch = Scratch()
    large = scratch("s", (4, 5), FLOAT)
    assert scratch("s", (4, 5), FLOAT) is large
    small = scratch("s", (3, 2), FLOAT)
    assert small.shape == (3, 2)
    assert np.shares_memory(small, large)


def test_memory_grows():
    scratch = Scratch()
    small = scratch("s", (3,), FLOAT)
    large = scratch("s", (300,), FLOAT)
    assert large.shape == (300,)
    assert not np.shares_memory(small, large)
    assert np.shares_memory(scratch("s", (3,), FLOAT), large)  # the smaller memory is let go


def test_names_types_and_owners_do_not_share():
    scratch, other = Scratch(), Scratch()
    arrays = [
        scratch("s", (3,), FLOAT),
        scratch("t", (3,), FLOAT),
        scratch("s", (3,), np.dtype(np.float64)),
        other("s", (3,), FLOAT),
    ]
    for number, array in enumerate(arrays):
        array[...] = number
    assert [array[0] for array in arrays] == [0, 1, 2, 3]


def test_each_thread_has_its_own():
    scratch = Scratch()
    mine = scratch("s", (3,), FLOAT)
    found = []
    thread = threading.Thread(target=lambda: found.append(scratch("s", (3,), FLOAT)))
    thread.start()
    thread.join()
    assert not np.shares_memory(found[0], mine)


def test_counting():
    scratch = Scratch()
    assert scratch.counting(3).tolist() == [0, 1, 2]
    assert scratch.counting(0).tolist() == []
    assert scratch.counting(5).tolist() == [0, 1, 2, 3, 4]
    assert scratch.counting(2).tolist() == [0, 1]


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_chunks_cover_everything_once(size):
    a, b = np.zeros(size, np.float32), np.arange(size)
    pieces = list(chunks(a, b))
    assert all(len(x) <= CHUNK and x.shape == y.shape for x, y in pieces)
    np.testing.assert_array_equal(np.concatenate([y for _, y in pieces]), b)
    for x, _ in pieces:
        x += 1
    assert (a == 1).all()


def test_contiguous():
    a = np.zeros((3, 4), np.float32)
    assert contiguous(a, a.copy())
    assert not contiguous(a, a.T)
    assert not contiguous(a, a[:, ::2])
    assert not contiguous(a, a.astype(np.float64))

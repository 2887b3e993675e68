import numpy as np
import pytest


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 3, 4)])
@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8"])
def test_to_the_device_and_back(backend, shape, dtype):
    host = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    there = backend.from_host(host)
    back = backend.to_host(there)
    assert type(back) is np.ndarray
    np.testing.assert_array_equal(back, host, strict=True)


@pytest.mark.parametrize("layout", [lambda a: a.T, lambda a: a[:, ::2], lambda a: a[::-1]])
def test_from_host_accepts_any_layout(backend, layout):
    host = layout(np.arange(12, dtype=np.float32).reshape(3, 4))
    np.testing.assert_array_equal(backend.to_host(backend.from_host(host)), host)


def test_from_host_converts(backend):
    there = backend.from_host([[1, 2], [3, 4]], "float32")
    assert backend.dtype_name(there) == "float32"
    assert backend.to_host(there).tolist() == [[1, 2], [3, 4]]


def test_from_host_on_a_read_only_array(backend):
    if backend.name == "torch":
        pytest.skip("torch knows no read-only arrays, and warns")
    host = np.ones(3, np.float32)
    host.flags.writeable = False
    assert backend.to_host(backend.from_host(host)).tolist() == [1, 1, 1]


def test_to_host_is_a_copy(backend):
    there = backend.zeros((3,), "float32")
    back = backend.to_host(there)
    back[...] = 5
    backend.fill(there, 2.0)
    assert backend.to_host(there).tolist() == [2, 2, 2]
    assert back.tolist() == [5, 5, 5]


def test_copy_from_host_converts_and_keeps_the_memory(backend):
    vector = backend.zeros((6,), "float32")
    view = backend.xp.reshape(vector[2:6], (2, 2))
    backend.copy_from_host(np.array([[1, 2], [3, 4]]), view)
    assert backend.to_host(vector).tolist() == [0, 0, 1, 2, 3, 4]


def test_copy_is_on_the_device_and_shares_no_memory(backend):
    a = backend.from_host(np.ones(3), "float32")
    b = backend.copy(a)
    backend.fill(a, 0.0)
    assert backend.to_host(b).tolist() == [1, 1, 1]
    assert type(b) is type(a)


def test_types_have_the_names_of_numpy(backend):
    for name in ("float32", "int64", "uint8"):
        assert backend.dtype_name(backend.zeros((1,), name)) == name
        assert backend.zeros((1,), name).dtype == backend.dtype(name)


def test_bytes(backend):
    assert backend.nbytes(backend.zeros((3, 4), "float32")) == 48
    assert backend.nbytes(backend.zeros((3, 0), "float32")) == 0
    assert backend.nbytes(backend.zeros((), "int64")) == 8


def test_description(backend):
    described = backend.describe()
    assert described.keys() >= {"backend", "device", "library"}
    assert all(isinstance(value, str) and value for value in described.values())
    assert described["backend"] == backend.name
    assert repr(backend) == f"<gpunn backend {backend.name!r}>"
    free = backend.free_memory()
    assert free is None or (backend.name.startswith("cupy") and free > 0)
    backend.synchronize()


def test_arrays_stay_on_their_device(backend):
    if backend.device is None:
        pytest.skip("the namespace has one device only")
    arrays = [
        backend.zeros((2,), "float32"),
        backend.from_host(np.ones(2, np.float32)),
        backend.copy(backend.zeros((2,), "float32")),
    ]
    for array in arrays:
        assert str(array.device) == str(backend.device)

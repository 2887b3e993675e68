"""Copies, poison and ownership."""

import threading

import cupy
import emulated_cuda
import numpy as np
import pytest

add_one = cupy.RawKernel(
    """extern "C" __global__ void add_one(float* x, int n) {
         int i = blockIdx.x * blockDim.x + threadIdx.x;
         if (i < n) x[i] += 1.0f;
       }""",
    "add_one",
)


def test_copy_between_devices(rng):
    x = rng.random(7, dtype="float32")
    on_first = cupy.asarray(x)
    with cupy.cuda.Device(1), emulated_cuda.counters() as counts:
        on_second = cupy.empty_like(on_first)
        on_second.data.copy_from_device_async(on_first.data, on_first.nbytes)
    assert on_second.device.id == 1
    assert counts.copied_bytes == {"device_to_device": 28}
    np.testing.assert_array_equal(on_second.get(), x)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_new_memory_is_poisoned(dtype):
    assert np.isnan(cupy.empty(100, dtype).get()).all()


def test_memory_given_back_is_poisoned_before_reuse(pool):
    x = cupy.ones(1000, "float32")
    address = x.data.ptr
    del x
    again = cupy.empty(1000, "float32")
    assert again.data.ptr == address, "the pool should serve the same block again"
    assert np.isnan(again.get()).all()


@pytest.mark.parametrize("pooled", [True, False])
def test_kernel_on_memory_given_back_raises(pooled):
    # A pool of its own, where no other array is a neighbor.
    with cupy.cuda.using_allocator(cupy.cuda.MemoryPool().malloc if pooled else None):
        x = cupy.zeros(4, "float32")
        address = x.data.ptr
        add_one((1,), (4,), (x.data.ptr, np.int32(4)))
        assert x.get().tolist() == [1.0] * 4
        del x
        with pytest.raises(emulated_cuda.InvalidAccessError, match="given back"):
            add_one((1,), (4,), (address, np.int32(4)))


HOST = np.zeros(5, "float32")


@pytest.mark.parametrize(
    ("access", "said"),
    [
        (
            lambda x: add_one((1,), (4,), (HOST.ctypes.data, np.int32(4))),
            "outside every allocation",
        ),
        (lambda x: x.data.copy_from_host(HOST.ctypes.data, 20), "pass the end"),
        (lambda x: cupy.ndarray((5,), "float32", x.data).fill(1), "pass the end"),
        (
            lambda x: cupy.cuda.runtime.memcpy(HOST.ctypes.data, x.data.ptr, 16, 1),
            "declared as host_to_device",
        ),
    ],
    ids=["host pointer", "copy", "array", "direction"],
)
def test_a_wrong_access_raises(access, said):
    x = cupy.zeros(4, "float32")
    with pytest.raises(emulated_cuda.InvalidAccessError, match=said):
        access(x)


def test_write_past_the_end_is_found_when_the_memory_is_freed():
    fill = cupy.RawKernel(
        'extern "C" __global__ void fill(float* x) { x[threadIdx.x] = 1.0f; }', "fill"
    )
    x = cupy.zeros(4, "float32")
    fill((1,), (5,), (x,))
    del x
    with pytest.raises(emulated_cuda.InvalidAccessError, match="wrote past the end of 16 bytes"):
        cupy.cuda.Device().synchronize()


@pytest.fixture
def apart():
    a = cupy.ones((2, 2), "float32")
    with cupy.cuda.Device(1):
        return a, cupy.ones((2, 2), "float32")


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (lambda a, b: a + b, ValueError),  # CuPy's own check
        (lambda a, b: add_one((1,), (2,), (b, np.int32(2))), emulated_cuda.WrongDeviceError),
        (lambda a, b: a @ b, Exception),  # a cuBLAS status is all that can come back
    ],
)
def test_operand_on_another_device_raises(operation, error, apart):
    with pytest.raises(error):
        operation(*apart)
    np.testing.assert_array_equal(apart[1].get(), np.ones((2, 2)))


def test_stream_of_another_device_raises():
    with cupy.cuda.Device(1):
        stream = cupy.cuda.Stream()
    x = cupy.zeros(2, "float32")
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="InvalidResourceHandle"):
        add_one((1,), (2,), (x, np.int32(2)), stream=stream)


def test_pool_allocations_of_another_thread_are_watched():
    with emulated_cuda.counters() as counts:
        thread = threading.Thread(target=lambda: cupy.empty(10, "float32"))
        thread.start()
        thread.join()
    assert counts.pool_mallocs == 1

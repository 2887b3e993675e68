"""Every counter, with operations of known cost."""

import cupy
import emulated_cuda
import numpy as np
import pytest


def synchronized(x):
    stream, event = cupy.cuda.Stream(), cupy.cuda.Event()
    stream.synchronize()
    event.record(stream)
    event.synchronize()
    cupy.cuda.Device().synchronize()


def transferred(x):
    there = cupy.asarray(np.zeros(10, "float64"))
    again = cupy.empty_like(there)
    again.data.copy_from_device_async(there.data, there.nbytes)
    again.set(np.zeros(10, "float64"))


double = cupy.ElementwiseKernel("T x", "T y", "y = x + x", "double_it")


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (
            lambda x: x.get(),
            {
                "syncs": {"copy": 1},
                "copies": {"device_to_host": 1},
                "copied_bytes": {"device_to_host": 36},
            },
        ),
        (synchronized, {"syncs": {"stream": 1, "event": 1, "device": 1}}),
        (transferred, {"copied_bytes": {"host_to_device": 160, "device_to_device": 80}}),
        (
            lambda x: [*(double(x) for _ in range(3)), x.sum()],
            {"kernels": {"double_it": 3, "cupy_sum": 1}, "launches": 4, "syncs": {}, "copies": {}},
        ),
        (
            lambda x: cupy.matmul(x, x, out=cupy.empty_like(x)),
            {"matmuls": {"float32": 1}, "launches": 1, "pool_mallocs": 1},
        ),
    ],
    ids=["read", "synchronized", "transferred", "kernels", "product"],
)
def test_what_is_counted(operation, expected):
    x = cupy.ones((3, 3), "float32")
    with emulated_cuda.counters() as counts:
        operation(x)
    assert {name: getattr(counts, name) for name in expected} == expected


@pytest.mark.parametrize("read", [float, bool, int, repr, cupy.asnumpy])
def test_what_reads_a_value_waits(read):
    x = cupy.ones((), "float32")
    with emulated_cuda.counters() as counts:
        read(x)
    assert counts.host_syncs == 1


def test_allocations_that_the_pool_serves_are_no_cuda_mallocs(pool):
    size = 12345
    del_me = cupy.empty(size, "float32")
    del del_me
    with emulated_cuda.counters() as counts:
        cupy.empty(size, "float32")
    assert (counts.pool_mallocs, counts.cuda_mallocs) == (1, 0)
    kept = cupy.empty(size, "float32")
    pool.free_all_blocks()
    with emulated_cuda.counters() as counts:
        cupy.empty(7 << 20, "uint8")
    assert (counts.pool_mallocs, counts.cuda_mallocs) == (1, 1)
    assert kept.size == size


def test_freeing_to_cuda_is_a_sync(pool):
    x = cupy.empty(1 << 20, "uint8")
    del x
    with emulated_cuda.counters() as counts:
        pool.free_all_blocks()
    assert counts.syncs == {"free": 1}


SCALE = "y = exp(x * FACTOR)"


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        (lambda x: x * 2 + 0.5, None),
        (lambda x: cupy.var(x), None),  # its preamble has overloads for double
        (lambda x: cupy.floor_divide(x, 3), None),  # so has CuPy's header
        (lambda x: cupy.exp(x) / x.sum(), None),
        (lambda x: x @ x, None),
        (lambda x: x.astype("float64"), "cupy_copy__float32_float64"),
        (lambda x: cupy.sum(x, dtype="float64"), "cupy_sum_with_dtype"),
        (lambda x: x.astype("float64") @ x.astype("float64"), "cublas"),
        (lambda x: cupy.ElementwiseKernel("T x", "T y", SCALE.replace("FACTOR", "0.1f"))(x), None),
        (
            lambda x: cupy.ElementwiseKernel(
                "T x", "T y", SCALE.replace("FACTOR", "0.1"), "promoted"
            )(x),
            "promoted",
        ),
    ],
)
def test_float64_kernels_are_found(operation, name):
    x = cupy.ones((3, 3), "float32")
    with emulated_cuda.counters() as counts:
        operation(x)
    if name is None:
        assert not counts.float64
    else:
        assert name in counts.float64


def test_blocks_nest():
    x = cupy.ones(3, "float32")
    with emulated_cuda.counters() as outer:
        x.get()
        with emulated_cuda.counters() as inner:
            x.get()
    assert (outer.host_syncs, inner.host_syncs) == (2, 1)

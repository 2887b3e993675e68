"""Streams, events, capture and replay."""

import gc
from contextlib import nullcontext, suppress

import cupy
import emulated_cuda
import numpy as np
import pytest

CUDARuntimeError = cupy.cuda.runtime.CUDARuntimeError


@pytest.fixture
def stream():
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        yield stream
        if stream.is_capturing():
            with pytest.raises(CUDARuntimeError):
                stream.end_capture()


def test_capture_does_not_run_and_replay_does(stream):
    x = cupy.zeros(5, "float32")
    step = cupy.ElementwiseKernel("", "T x", "x = x * 2 + 1", "step")
    with emulated_cuda.counters() as counts:
        stream.begin_capture()
        step(x)
        graph = stream.end_capture()
    assert counts.captured == {"step": 1}
    assert not counts.kernels
    assert x.get().tolist() == [0.0] * 5
    with emulated_cuda.counters() as counts:
        for _ in range(3):
            graph.launch(stream)
        stream.synchronize()
    assert counts.graph_launches == 3
    assert counts.replayed == {"step": 3}
    assert not counts.kernels
    assert counts.launches == 0
    assert counts.syncs == {"stream": 1}
    assert x.get().tolist() == [7.0] * 5


def test_scalars_are_baked_in_and_device_values_are_not(stream):
    x, rate = cupy.zeros(1, "float32"), cupy.ones(1, "float32")
    baked = cupy.ElementwiseKernel("T r", "T x", "x += r", "baked")
    live = cupy.ElementwiseKernel("raw T r", "T x", "x += r[0]", "live")
    value = np.float32(1)
    stream.begin_capture()
    baked(value, x)
    live(rate, x)
    graph = stream.end_capture()
    value += 99  # the graph does not see it
    rate.fill(10)
    graph.launch(stream)
    assert x.get().tolist() == [11.0]


def copy(target, origin, size, stream):
    cupy.cuda.runtime.memcpyAsync(target, origin, size, 4, stream.ptr)


HOST = np.ones(3, "float32")


@pytest.mark.parametrize(
    "operation",
    [
        lambda x, stream: stream.synchronize(),
        lambda x, stream: stream.done,
        lambda x, stream: cupy.cuda.Device().synchronize(),
        lambda x, stream: copy(x.data.ptr, HOST.ctypes.data, 12, stream),
        lambda x, stream: copy(HOST.ctypes.data, x.data.ptr, 12, stream),
        lambda x, stream: cupy.cuda.runtime.memcpy(HOST.ctypes.data, x.data.ptr, 12, 2),
    ],
)
def test_syncs_and_host_copies_in_capture_raise(operation, stream):
    x = cupy.zeros(3, "float32")
    stream.begin_capture()
    with pytest.raises(CUDARuntimeError, match="cudaErrorStreamCaptureUnsupported"):
        operation(x, stream)
    with pytest.raises(CUDARuntimeError, match="cudaErrorStreamCaptureInvalidated"):
        stream.end_capture()


def test_copy_between_pinned_memory_and_device_in_capture_is_recorded_and_counted(stream):
    x = cupy.zeros(3, "float32")
    pinned = cupy.cuda.alloc_pinned_memory(12)
    staged = np.frombuffer(pinned, "float32", 3)
    with emulated_cuda.counters() as counts:
        stream.begin_capture()
        copy(x.data.ptr, pinned.ptr, 12, stream)
        graph = stream.end_capture()
    assert counts.captured_copies == {"host_to_device": 1}
    for value in (3.0, 4.0):
        staged[...] = value
        graph.launch(stream)
        assert x.get().tolist() == [value] * 3


class Waiting:
    """Part of a cycle; waits for the device when deleted, like a cuBLAS handle."""

    def __init__(self):
        self.cycle = self

    def __del__(self):
        with suppress(CUDARuntimeError):
            cupy.cuda.Device().synchronize()


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_collected_in_each_capture_unless_that_is_off(enabled, stream):
    x = cupy.zeros(3, "float32")
    gc.collect()
    gc.disable()
    try:
        Waiting()
        stream.begin_capture()
        if enabled:
            gc.enable()
        x += 1
        with pytest.raises(CUDARuntimeError, match="Invalidated") if enabled else nullcontext():
            stream.end_capture()
    finally:
        gc.enable()
    gc.collect()


def test_allocation_in_capture_is_counted(stream):
    x = cupy.zeros(3, "float32")
    stream.begin_capture()
    with emulated_cuda.counters() as counts:
        y = x + 1
    graph = stream.end_capture()
    assert counts.captured_mallocs == 1
    graph.launch(stream)
    assert y.get().tolist() == [1.0] * 3


def test_replay_on_memory_given_back_raises(stream):
    x = cupy.ones(3, "float32")
    stream.begin_capture()
    temporary = x * 2
    x -= temporary
    del temporary
    graph = stream.end_capture()
    with pytest.raises(emulated_cuda.InvalidAccessError, match="given back after the capture"):
        graph.launch(stream)


def test_replay_raises_although_the_block_was_reused(stream):
    x = cupy.ones(3, "float32")
    stream.begin_capture()
    x += 1
    graph = stream.end_capture()
    address = x.data.ptr
    del x
    y = cupy.zeros(3, "float32")
    assert y.data.ptr == address
    with pytest.raises(emulated_cuda.InvalidAccessError, match="given back after the capture"):
        graph.launch(stream)
    assert y.get().tolist() == [0.0] * 3


def test_default_stream_beside_the_capture_of_a_blocking_stream_raises():
    x = cupy.zeros(3, "float32")
    stream = cupy.cuda.Stream()
    stream.begin_capture()
    with pytest.raises(CUDARuntimeError, match="cudaErrorStreamCaptureImplicit"):
        x += 1
    with pytest.raises(CUDARuntimeError, match="cudaErrorStreamCaptureInvalidated"):
        stream.end_capture()


@pytest.mark.parametrize("joins", [True, False])
def test_a_fork_joins_by_an_event(joins, stream):
    x, y = cupy.zeros(2, "float32"), cupy.zeros(2, "float32")
    side = cupy.cuda.Stream(non_blocking=True)
    stream.begin_capture()
    x += 1
    side.wait_event(stream.record())
    with side:
        y += 2
    if not joins:
        with pytest.raises(CUDARuntimeError, match="cudaErrorStreamCaptureUnjoined"):
            stream.end_capture()
        return
    stream.wait_event(side.record())
    x += y
    stream.end_capture().launch(stream)
    assert x.get().tolist() == [3.0, 3.0]

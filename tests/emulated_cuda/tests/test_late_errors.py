"""Errors that come late, and stay."""

import cupy
import emulated_cuda
import numpy as np
import pytest

CUDARuntimeError = cupy.cuda.runtime.CUDARuntimeError

assertion = cupy.RawKernel(
    'extern "C" __global__ void assertion(float* x) { assert(x[0] > 0); x[0] += 1; }', "assertion"
)
plain = cupy.RawKernel('extern "C" __global__ void plain(float* x) { x[0] += 1; }', "plain")
trap = cupy.RawKernel('extern "C" __global__ void trap(float* x) { __trap(); }', "trap")

FAULTS = {
    "cudaErrorAssert": lambda x: assertion((1,), (1,), (x,)),
    "cudaErrorIllegalAddress": lambda x: plain((1,), (1,), (np.zeros(1).ctypes.data,)),
    "cudaErrorLaunchFailure": lambda x: trap((1,), (1,), (x,)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_an_error_is_told_where_the_host_waits(name):
    x = cupy.zeros(3, "float32")
    with emulated_cuda.late_errors():
        FAULTS[name](x)
        x += 1  # which is not done any more
        with pytest.raises(CUDARuntimeError, match=name):
            cupy.cuda.get_current_stream().synchronize()
    assert x.get().tolist() == [0.0] * 3


def test_a_graph_fails_late_too():
    x, stream = cupy.zeros(3, "float32"), cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        FAULTS["cudaErrorAssert"](x)
        graph = stream.end_capture()
    with emulated_cuda.late_errors():
        graph.launch()
        graph.launch()
        with pytest.raises(CUDARuntimeError, match="cudaErrorAssert"):
            cupy.cuda.Device().synchronize()


CALLS = {
    "kernel": lambda x, event: x.__iadd__(1),
    "product": lambda x, event: x[:1] @ x[:1],
    "copy to the host": lambda x, event: x.get(),
    "allocation": lambda x, event: cupy.cuda.runtime.malloc(1),
    "event": lambda x, event: event.record(),
    "stream": lambda x, event: cupy.cuda.runtime.streamCreate(),
    "device": lambda x, event: cupy.cuda.Device(0).use(),
    "free memory": lambda x, event: cupy.cuda.runtime.memGetInfo(),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_call_fails_from_then_on(name, capfd):
    x, event = cupy.zeros(3, "float32"), cupy.cuda.Event()
    with emulated_cuda.late_errors():
        FAULTS["cudaErrorAssert"](x)
        with pytest.raises(CUDARuntimeError):
            x.get()
        with pytest.raises(RuntimeError, match=r"cudaErrorAssert|EXECUTION_FAILED"):
            CALLS[name](x, event)
        # What a program asks of the machine is answered still.
        assert cupy.cuda.runtime.getDeviceCount() == 2
        assert cupy.cuda.runtime.getDevice() == 0

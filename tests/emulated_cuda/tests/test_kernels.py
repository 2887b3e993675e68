"""Faults of kernels that the emulator shows."""

import cupy
import emulated_cuda
import numpy as np
import pytest

pytestmark = pytest.mark.full  # what it computes changes with the emulator alone


BLOCK_SUM = r"""
extern "C" __global__ void block_sum(const float* x, float* out) {
  __shared__ float partial[256];
  partial[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
    BARRIER
  }
  if (threadIdx.x == 0) out[blockIdx.x] = partial[0];
}"""


@pytest.mark.parametrize("barrier", [True, False])
def test_raw_kernel_with_shared_memory_shows_a_missing_barrier(barrier, rng):
    x = rng.integers(0, 100, (5, 256)).astype("float32")
    source = BLOCK_SUM.replace("BARRIER", "__syncthreads();" if barrier else "")
    out = cupy.empty(5, "float32")
    cupy.RawKernel(source, "block_sum")((5,), (256,), (cupy.asarray(x), out))
    assert (out.get() == x.sum(axis=1)).tolist() == [barrier] * 5


def test_reversed_threads_show_a_race_that_the_usual_order_hides():
    source = r"""extern "C" __global__ void neighbor(float* out) {
      __shared__ float kept[64];
      kept[threadIdx.x] = threadIdx.x;
      BARRIER
      out[threadIdx.x] = threadIdx.x > 0 ? kept[threadIdx.x - 1] : 0.0f;
    }"""
    expected = np.maximum(np.arange(64) - 1, 0)
    for barrier in ("", "__syncthreads();"):
        kernel = cupy.RawKernel(source.replace("BARRIER", barrier), "neighbor")
        out = cupy.empty(64, "float32")
        kernel((1,), (64,), (out,))
        np.testing.assert_array_equal(out.get(), expected)
        with emulated_cuda.reversed_threads():
            kernel((1,), (64,), (out,))
        assert np.array_equal(out.get(), expected) == bool(barrier)


def test_shared_memory_begins_poisoned():
    source = """extern "C" __global__ void k(float* out) {
      __shared__ float kept[1];
      if (blockIdx.x == 0) kept[0] = 1.0f;
      __syncthreads();
      out[blockIdx.x] = kept[0];
    }"""
    out = cupy.empty(2, "float32")
    cupy.RawKernel(source, "k")((2,), (1,), (out,))
    np.testing.assert_array_equal(out.get(), [1, np.nan])


IDLE = 'extern "C" __global__ void k(int n) {}'
DIVERGES = """extern "C" __global__ void k(int n) {
  if (threadIdx.x == 0) return;
  if (threadIdx.x == 1) __syncwarp(); else __syncthreads();
}"""
ASSERTS = 'extern "C" __global__ void k(int n) { assert(n > 2); }'


@pytest.mark.parametrize(
    ("source", "good", "bad", "said"),
    [
        (DIVERGES, None, (2, 8, 0), "barrier"),
        (ASSERTS, (3, 4, 0), (2, 4, 0), "assert"),
        (IDLE, (0, 1024, 0), (0, 1025, 0), "no device can launch"),
        (IDLE, (0, 32, 48 * 1024), (0, 32, 49 * 1024), "shared memory"),
    ],
    ids=["divergent barrier", "assertion", "threads", "shared memory"],
)
def test_a_fault_raises(source, good, bad, said):
    """`good` and `bad` are n, threads, and bytes of shared memory."""
    kernel = cupy.RawKernel(source, "k")

    def launch(n, threads, shared):
        kernel((1,), (threads,), (np.int32(n),), shared_mem=shared)

    if good is not None:
        launch(*good)
    with pytest.raises(emulated_cuda.KernelFault, match=said):
        launch(*bad)


def test_bad_kernel_is_a_compile_exception():
    with pytest.raises(cupy.cuda.compiler.CompileException, match="nonsense"):
        cupy.ElementwiseKernel("T x", "T y", "y = nonsense(x)", "bad")(cupy.ones(2))

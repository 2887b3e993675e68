"""CuPy's generated kernels and raw kernels against NumPy."""

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


def test_two_dimensional_blocks_and_dynamic_shared_memory(rng):
    x = rng.standard_normal((33, 50)).astype("float32")
    kernel = cupy.RawKernel(
        r"""extern "C" __global__ void transpose(const float* in, float* out, int rows, int cols) {
          extern __shared__ float tile[];
          int c = blockIdx.x * 16 + threadIdx.x, r = blockIdx.y * 16 + threadIdx.y;
          if (r < rows && c < cols) tile[threadIdx.y * 17 + threadIdx.x] = in[r * cols + c];
          __syncthreads();
          int tr = blockIdx.x * 16 + threadIdx.y, tc = blockIdx.y * 16 + threadIdx.x;
          if (tr < cols && tc < rows) out[tr * rows + tc] = tile[threadIdx.x * 17 + threadIdx.y];
        }""",
        "transpose",
    )
    out = cupy.empty((50, 33), "float32")
    arguments = (cupy.asarray(x), out, np.int32(33), np.int32(50))
    kernel((4, 3), (16, 16), arguments, shared_mem=16 * 17 * 4)
    np.testing.assert_array_equal(out.get(), x.T)


@pytest.mark.parametrize("threads", [32, 64, 50])
def test_warp_shuffles_and_votes(threads):
    kernel = cupy.RawKernel(
        r"""extern "C" __global__ void warps(const int* x, int* sums, unsigned* odd, int* rotated) {
          int v = x[threadIdx.x], total = v;
          for (int d = 16; d > 0; d /= 2) {
            int other = __shfl_down_sync(0xffffffffu, total, d);
            if (threadIdx.x % 32 + d < 32 && threadIdx.x + d < blockDim.x) total += other;
          }
          if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = total;
          unsigned ballot = __ballot_sync(0xffffffffu, v & 1);
          if (threadIdx.x % 32 == 0) odd[threadIdx.x / 32] = ballot;
          rotated[threadIdx.x] = __shfl_sync(0xffffffffu, v, 3);
        }""",
        "warps",
    )
    x = np.arange(threads, dtype="int32") * 7 % 11
    warps = -(-threads // 32)
    sums, rotated = cupy.empty(warps, "int32"), cupy.empty(threads, "int32")
    odd = cupy.empty(warps, "uint32")
    kernel((1,), (threads,), (cupy.asarray(x), sums, odd, rotated))
    parts = [x[i : i + 32] for i in range(0, threads, 32)]
    assert sums.get().tolist() == [p.sum() for p in parts]
    assert odd.get().tolist() == [sum(1 << i for i, v in enumerate(p) if v & 1) for p in parts]
    assert rotated.get().tolist() == np.concatenate([np.full_like(p, p[3]) for p in parts]).tolist()


VOTES = """extern "C" __global__ void k(float* out) {
  int n = __syncthreads_count(threadIdx.x % 3 == 0);
  int any = __syncthreads_or(threadIdx.x == 99);
  if (threadIdx.x == 0) { out[0] = n; out[1] = any; }
}"""
STALE = """extern "C" __global__ void k(float* out) {
  __shared__ float kept[1];
  if (blockIdx.x == 0) kept[0] = 1.0f;
  __syncthreads();
  out[blockIdx.x] = kept[0];
}"""


@pytest.mark.parametrize(
    ("source", "blocks", "threads", "expected"),
    [(VOTES, 1, 100, [34, 1]), (STALE, 2, 1, [1, np.nan])],
    ids=["votes of a block", "shared memory begins poisoned"],
)
def test_blocks(source, blocks, threads, expected):
    out = cupy.empty(2, "float32")
    cupy.RawKernel(source, "k")((blocks,), (threads,), (out,))
    np.testing.assert_array_equal(out.get(), expected)


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


def test_raw_module_with_templates():
    module = cupy.RawModule(
        code="""template <class T> __global__ void fill(T* x, T value) { x[threadIdx.x] = value; }
                extern "C" __global__ void plain(int* x) { x[threadIdx.x] = threadIdx.x; }""",
        options=("--std=c++17",),
        name_expressions=["fill<float>", "fill<int>"],
    )
    x, i = cupy.empty(3, "float32"), cupy.empty(3, "int32")
    module.get_function("fill<float>")((1,), (3,), (x, np.float32(2.5)))
    module.get_function("fill<int>")((1,), (3,), (i, np.int32(4)))
    assert x.get().tolist() == [2.5] * 3
    assert i.get().tolist() == [4] * 3


def test_bad_kernel_is_a_compile_exception():
    with pytest.raises(cupy.cuda.compiler.CompileException, match="nonsense"):
        cupy.ElementwiseKernel("T x", "T y", "y = nonsense(x)", "bad")(cupy.ones(2))


def test_sources_are_harvested():
    cupy.ElementwiseKernel("T x", "T y", "y = x + 41", "harvested")(cupy.ones(2, "float32"))
    found = [s for s in emulated_cuda.sources() if "harvested" in s.text]
    assert len(found) == 1
    assert "x + 41" in found[0].text
    assert isinstance(found[0].options, tuple)

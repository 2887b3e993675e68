"""Category codes: one-hot outputs and embeddings."""

from functools import partial
from itertools import accumulate

import cupy

from gpunn.backends.cupy.kernels.raw import Calls, over_rows, raw_kernel
from gpunn.backends.recording import Arguments
from gpunn.typing import Array

KNOWN = """
template <typename T> __device__ T known(T code, T size) {
  return code >= 0 && code < size ? trunc(code) : (T)0;
}
"""

# A warp handles a row of the batch and a column of codes; lanes are elements. If no earlier row has
# the same code, the warp sums the gradients of this row and of later rows with the code, in row
# order. Several codes and gradients are loaded together, so that the warp waits only once for them.
EMBED_GRADIENT = (
    KNOWN
    + r"""
enum { STEPS = 4, EACH = 8 };

// Marks the rows from `start` up to `end` that have this code, 32 rows for each step. Returns
// whether any row has it.
__device__ bool uses_of(unsigned (&uses)[STEPS], T code, const T* codes, T size,
                        long long columns, long long start, long long end) {
  T own[STEPS];
#pragma unroll
  for (int n = 0; n < STEPS; ++n) {
    const long long k = start + n * LANES + threadIdx.x;
    own[n] = k < end ? codes[k * columns] : (T)0;
  }
  unsigned any = 0;
#pragma unroll
  for (int n = 0; n < STEPS; ++n) {
    const bool inside = start + n * LANES + threadIdx.x < end;
    any |= uses[n] = __ballot_sync(0xffffffff, inside && known(own[n], size) == code);
  }
  return any;
}

extern "C" __global__ void gpunn_embed_gradient(
    const T* __restrict__ all_codes, const long long* __restrict__ sizes,
    const long long* __restrict__ starts, const T* __restrict__ all_gradients,
    T* __restrict__ table_gradient, long long rows, long long columns, long long dimension) {
  const long long warp = (long long)blockIdx.x * blockDim.y + threadIdx.y;
  const long long row = warp / columns, column = warp - row * columns;
  if (row >= rows) return;
  const T* const codes = all_codes + column;
  const T size = (T)sizes[column], code = known(codes[row * columns], size);
  unsigned uses[STEPS];
  for (long long start = 0; start < row; start += STEPS * LANES)
    if (uses_of(uses, code, codes, size, columns, start, row)) return;
  const long long width = columns * dimension;
  T* const out = table_gradient + (starts[column] + (long long)code) * dimension;
  for (long long first = 0; first < dimension; first += LANES) {
    const long long element = first + threadIdx.x;
    const bool inside = element < dimension;
    const T* const gradients = all_gradients + column * dimension + element;
    T sum = 0;
    for (long long start = row; start < rows; start += STEPS * LANES) {
      uses_of(uses, code, codes, size, columns, start, rows);
#pragma unroll
      for (int step = 0; step < STEPS; ++step)
        while (uses[step]) {
          T own[EACH];
#pragma unroll
          for (int n = 0; n < EACH; ++n) {
            const long long k = start + step * LANES + __ffs(uses[step]) - 1;
            own[n] = inside && uses[step] ? gradients[k * width] : (T)0;
            uses[step] &= uses[step] - 1;
          }
#pragma unroll
          for (int n = 0; n < EACH; ++n) sum += own[n];
        }
    }
    if (inside) out[element] = sum;
  }
}
"""
)


COPY_COLUMNS = cupy.ElementwiseKernel("T x", "T y", "y = x;", "gpunn_copy_columns")
ONE_HOT = cupy.ElementwiseKernel(
    """raw T codes, raw int64 column, raw int64 category, raw int64 shared, raw T levels,
       int64 columns, int64 outputs""",
    "T y",
    """const long long row = i / outputs, j = i - row * outputs;
       const T code = codes[row * columns + column[j]];
       const bool second = shared[j] && code == 2;
       y = levels[second ? 2 * outputs + j : code == category[j] ? outputs + j : j];""",
    "gpunn_one_hot",
)
EMBED = cupy.ElementwiseKernel(
    """raw T codes, raw int64 sizes, raw int64 starts, raw T table, int64 columns,
       int64 dimension""",
    "T y",
    """const long long code = i / dimension, column = code % columns;
       const long long row = starts[column] + (long long)known(codes[code], (T)sizes[column]);
       y = table[row * dimension + (i - code * dimension)];""",
    "gpunn_embed",
    preamble=KNOWN,
)


def on_device(*lists: list[int]) -> list[Array]:
    return [cupy.asarray(each, cupy.int64) for each in lists]


def sizes_and_starts(op: Arguments) -> list[Array]:
    return on_device(op.sizes, [0, *accumulate(op.sizes)][:-1])


def copy_columns(op: Arguments) -> Calls:
    source = op.source[:, op.first : op.first + op.columns]
    target = op.out[:, op.out_first : op.out_first + op.columns]
    return [partial(COPY_COLUMNS, source, target)]


def one_hot(op: Arguments) -> Calls:
    columns, categories, shared = list[int](), list[int](), list[int]()
    for column, size in enumerate(op.sizes):
        one = op.binary_as_sign and size == 3
        codes = range(1, 2 if one else size)
        columns += [column for _ in codes]
        categories += codes
        shared += [1 if one else 0 for _ in codes]
    tables = on_device(columns, categories, shared)
    sizes = op.codes.shape[1], op.out.shape[1]
    return [partial(ONE_HOT, op.codes, *tables, op.levels, *sizes, op.out)]


def embed(op: Arguments) -> Calls:
    inputs = op.codes, *sizes_and_starts(op), op.table, len(op.sizes), op.table.shape[1]
    return [partial(EMBED, *inputs, op.out)]


def embed_gradient(op: Arguments) -> Calls:
    # The time is proportional to the square of the number of rows.
    table = op.table_gradient
    kernel = raw_kernel("gpunn_embed_gradient", EMBED_GRADIENT, T=table.dtype)
    (rows, columns), dimension = op.codes.shape, table.shape[1]
    inputs = op.codes, *sizes_and_starts(op), op.gradient, table, rows, columns, dimension
    return [partial(table.fill, 0), partial(over_rows, kernel, rows * columns, inputs)]

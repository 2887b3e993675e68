"""The coefficient of determination; `gpunn.metrics` has the mathematics."""

from gpunn.backends.cupy.kernels.columns import COLUMN, COLUMNS, PARAMETERS, over_columns
from gpunn.backends.cupy.kernels.raw import raw_kernel
from gpunn.backends.cupy.scratch import Scratch
from gpunn.backends.recording import Arguments

# Each block computes the mean and the SST of its rows; the last block of a column combines them
# (Chan, Golub & LeVeque 1983). The first row is subtracted, so that equal targets have an SST of
# exactly 0. All columns read the summary's weight, so only the grid's last block changes it.
R2 = rf"""{COLUMNS}
__device__ T positive(T weight) {{ return weight > 0 ? weight : (T)1; }}

extern "C" __global__ void gpunn_r2(
    const T* predictions, const T* targets, const T* weights, T* summary, {PARAMETERS}) {{
  {COLUMN}
  const long long below = EACH * STACK;  // rows to a thread's next load
  const T origin = inside ? targets[column] : (T)0;
  T weight = 0, shift = 0, sst = 0, sse = 0;
  for (long long k = first, row = top + threadIdx.y; k < end; k += EACH * step, row += below) {{
    T t[EACH], w[EACH];
    load(t, targets, k, step, end);
    load(w, weights, row, STACK, bottom);
    for (int n = 0; n < EACH; ++n) {{
      weight += w[n];
      shift += w[n] * (t[n] - origin);
    }}
  }}
  weight = column_sum(weight);
  shift = column_sum(shift) / positive(weight);
  for (long long k = first, row = top + threadIdx.y; k < end; k += EACH * step, row += below) {{
    T p[EACH], t[EACH], w[EACH];
    load(p, predictions, k, step, end);
    load(t, targets, k, step, end);
    load(w, weights, row, STACK, bottom);
    for (int n = 0; n < EACH; ++n) {{
      const T centered = t[n] - origin - shift, error = t[n] - p[n];
      sst += w[n] * centered * centered;
      sse += w[n] * error * error;
    }}
  }}
  sst = column_sum(sst);
  sse = column_sum(sse);
  if (gridDim.y > 1) {{
    const long long width = (long long)gridDim.x * LANES;
    T* const own = partials + column;
    T* const part_shifts = own + gridDim.y * width;
    T* const part_ssts = part_shifts + gridDim.y * width;
    T* const part_sses = part_ssts + gridDim.y * width;
    if (threadIdx.y == 0) {{
      own[blockIdx.y * width] = weight;
      part_shifts[blockIdx.y * width] = shift;
      part_ssts[blockIdx.y * width] = sst;
      part_sses[blockIdx.y * width] = sse;
    }}
    if (!last_block(tickets + blockIdx.x, gridDim.y)) return;
    weight = shift = sst = sse = 0;
    for (int part = threadIdx.y; part < gridDim.y; part += STACK) {{
      weight += own[part * width];
      shift += own[part * width] * part_shifts[part * width];
      sse += part_sses[part * width];
    }}
    weight = column_sum(weight);
    shift = column_sum(shift) / positive(weight);
    sse = column_sum(sse);
    for (int part = threadIdx.y; part < gridDim.y; part += STACK) {{
      const T difference = part_shifts[part * width] - shift;
      sst += part_ssts[part * width] + own[part * width] * difference * difference;
    }}
    sst = column_sum(sst);
  }}
  const T before = summary[0], total = before + weight;
  if (inside && threadIdx.y == 0) {{
    T* const means = summary + 1;
    T* const ssts = means + columns;
    T* const sses = ssts + columns;
    const T fraction = weight / positive(total), change = origin + shift - means[column];
    const T old_sst = ssts[column], old_sse = sses[column];
    means[column] += fraction * change;
    ssts[column] = old_sst + (sst + before * fraction * change * change);
    sses[column] = old_sse + sse;
  }}
  if (last_block(tickets + gridDim.x, gridDim.x) && threadIdx.x == 0 && threadIdx.y == 0)
    summary[0] = total;
}}
"""


def combine_r2(op: Arguments, scratch: Scratch) -> None:
    if op.weights.size:
        kernel = raw_kernel("gpunn_r2", R2, T=op.predictions.dtype)
        arrays = op.predictions, op.targets, op.weights, op.summary
        over_columns(kernel, op.predictions.shape, arrays, 4, scratch)

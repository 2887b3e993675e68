"""An ensemble's predictions: the means of its members' outputs or probabilities.

Means of probabilities are computed from log-probabilities, minus the largest log-probability so
far. So a mean is accurate even if a member's probability is too small for float32.
"""

from functools import partial

import cupy

from gpunn.backends.cupy.kernels.classes import CLASSES
from gpunn.backends.cupy.kernels.functions import FUNCTIONS
from gpunn.backends.cupy.kernels.raw import Calls, over_rows, raw_kernel
from gpunn.backends.recording import Arguments

LOG_OF_SUM = r"""
// Adds exp(v) to the value exp(top) * sum.
template <typename T> __device__ void add_exp(T v, T& top, T& sum) {
  if (v > top) {
    sum = sum * exp(top - v) + 1;
    top = v;
  } else {
    sum += exp(v - top);
  }
}
"""

# A warp handles 32 outputs at a time, one for each lane, and computes each member's normalizer.
SOFTMAX_MEAN = rf"""{CLASSES}{LOG_OF_SUM}
extern "C" __global__ void gpunn_mean_over_members_softmax(
    const T* x, T* y, long long rows, long long members, long long outputs) {{
  const long long row = (long long)blockIdx.x * blockDim.y + threadIdx.y;
  if (row >= rows) return;
  for (long long first = 0; first < outputs; first += LANES) {{
    const long long j = first + threadIdx.x;
    T top = 0, sum = 0;
    for (long long m = 0; m < members; ++m) {{
      const T* own = x + (row * members + m) * outputs;
      const T highest = largest(own, outputs);
      T total = 0;
      for (long long k = threadIdx.x; k < outputs; k += LANES) total += exp(own[k] - highest);
      total = warp_sum(total);
      const T v = j < outputs ? own[j] - highest - log(total) : (T)0;
      if (m == 0) {{
        top = v;
        sum = 1;
      }} else {{
        add_exp(v, top, sum);
      }}
    }}
    if (j < outputs) y[row * outputs + j] = top + log(sum / members);
  }}
}}
"""


MEAN = cupy.ElementwiseKernel(
    "raw T x, int64 members, int64 outputs",
    "T y",
    """const long long row = i / outputs, j = i - row * outputs;
       T sum = 0;
       for (long long m = 0; m < members; ++m) sum += x[(row * members + m) * outputs + j];
       y = sum / members;""",
    "gpunn_mean_over_members",
)
SIGMOID_MEAN = cupy.ElementwiseKernel(
    "raw T x, int64 members, int64 outputs",
    "T y",
    """const long long row = i / outputs, j = i - row * outputs;
       T yes = 0, no = 0, sum_yes = 0, sum_no = 0;
       for (long long m = 0; m < members; ++m) {
         const T z = x[(row * members + m) * outputs + j];
         if (m == 0) {
           yes = -softplus(-z);
           no = -softplus(z);
           sum_yes = sum_no = 1;
         } else {
           add_exp(-softplus(-z), yes, sum_yes);
           add_exp(-softplus(z), no, sum_no);
         }
       }
       y = yes - no + log(sum_yes) - log(sum_no);""",
    "gpunn_mean_over_members_sigmoid",
    preamble=FUNCTIONS + LOG_OF_SUM,
)


def mean_over_members(op: Arguments) -> Calls:
    rows, members, outputs = op.x.shape
    if op.of == "softmax":
        kernel = raw_kernel("gpunn_mean_over_members_softmax", SOFTMAX_MEAN, T=op.x.dtype)
        return [partial(over_rows, kernel, rows, (op.x, op.out, rows, members, outputs))]
    kernel = MEAN if op.of == "identity" else SIGMOID_MEAN
    return [partial(kernel, op.x, members, outputs, op.out)]

"""Losses: each row's weighted loss, and the gradient beside it, in one pass over the predictions.

A warp takes a row. Softmax cross-entropy is a kernel of its own; the other losses are sums over
the outputs, for which `TERMS` holds what is summed and its slope. The mathematics is in
`gpunn.losses`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gpunn import losses
from gpunn.backends.cupy.kernels.functions import FUNCTIONS
from gpunn.backends.cupy.kernels.raw import NULL, over_rows, raw_kernel
from gpunn.typing import Array

__all__ = ["LOSSES", "OF_LABELS", "row_losses"]


@dataclass(frozen=True)
class Term:
    """What a loss sums over the outputs, from prediction p, target t and d = p - t, and its slope.

    `constants` are attributes of the loss, as numbers T.
    """

    term: str
    slope: str
    constants: tuple[str, ...] = ()


TERMS: dict[type[losses.Loss], Term] = {
    losses.MeanSquaredError: Term("d * d", "2 * d"),
    losses.MeanAbsoluteError: Term("fabs(d)", "signum(d)"),
    losses.Huber: Term(
        "fabs(d) > delta ? delta * (fabs(d) - (T)0.5 * delta) : (T)0.5 * d * d",
        "fabs(d) > delta ? delta * signum(d) : d",
        ("delta",),
    ),
    losses.BinaryCrossEntropy: Term("softplus(p) - t * p", "sigmoid(p) - t"),
    losses.Poisson: Term("exp(p) - t * p", "exp(p) - t"),
    losses.Quantile: Term(
        "d > 0 ? (1 - quantile) * d : -quantile * d",
        "d == 0 ? (T)0 : d > 0 ? 1 - quantile : d < 0 ? -quantile : d",
        ("quantile",),
    ),
}

OF_LABELS = (losses.SoftmaxCrossEntropy,)
"""Losses whose targets may be integer labels."""

# What the kernels begin with: a warp's row and that row's share of the gradient.
ROW = r"""
  const long long row = (long long)blockIdx.x * blockDim.y + threadIdx.y;
  if (row >= rows) return;
  const T* p_row = predictions + row * columns;
  T* gradient_row = gradient ? gradient + row * columns : 0;
  const T share = gradient ? weights[row] / (normalizer[0] > 0 ? normalizer[0] : (T)1) : (T)0;
"""

# Target is the type of integer labels or of probabilities.
SOFTMAX_CROSS_ENTROPY = rf"""
__device__ T probability(const long long* labels, long long row, long long j, long long columns) {{
  return labels[row] == j;
}}
__device__ T probability(const T* targets, long long row, long long j, long long columns) {{
  return targets[row * columns + j];
}}
__device__ T warp_max(T v) {{
  for (int other = LANES / 2; other; other /= 2)
    v = max(v, __shfl_xor_sync(0xffffffff, v, other));
  return v;
}}

extern "C" __global__ void gpunn_softmax_cross_entropy(
    const T* predictions, const Target* targets, const T* weights, const T* normalizer,
    T* gradient, T* weighted, long long rows, long long columns, T kept, T spread) {{
  {ROW}
  T top = p_row[0];
  for (long long j = threadIdx.x; j < columns; j += LANES) top = max(top, p_row[j]);
  top = warp_max(top);
  T total = 0, expected = 0;
  for (long long j = threadIdx.x; j < columns; j += LANES) {{
    const T shifted = p_row[j] - top;  // so that none overflows
    total += exp(shifted);
    expected += (kept * probability(targets, row, j, columns) + spread) * shifted;
  }}
  total = warp_sum(total);
  expected = warp_sum(expected);
  if (threadIdx.x == 0) weighted[row] = weights[row] * (log(total) - expected);
  if (!gradient) return;
  for (long long j = threadIdx.x; j < columns; j += LANES) {{
    const T smoothed = kept * probability(targets, row, j, columns) + spread;
    gradient_row[j] = share * (exp(p_row[j] - top) / total - smoothed);
  }}
}}
"""


def row_losses(
    loss: losses.Loss,
    predictions: Array,
    targets: Array,
    weights: Array,
    normalizer: Array,
    gradient: Array | None,
    weighted: Array,
) -> None:
    """Set weighted[i] = w_i l_i; gradient[i] = w_i / normalizer * dl_i / dp_i; all contiguous."""
    kernel, constants = LOSSES[type(loss)](loss, predictions, targets)
    rows, columns = predictions.shape
    arrays = (
        predictions,
        targets,
        weights,
        normalizer,
        NULL if gradient is None else gradient,
        weighted,
    )
    T = predictions.dtype.type
    over_rows(kernel, rows, (*arrays, rows, columns, *map(T, constants)))


def softmax_cross_entropy(loss: Any, predictions: Array, targets: Array) -> tuple[Any, list[float]]:
    kernel = raw_kernel(
        "gpunn_softmax_cross_entropy",
        SOFTMAX_CROSS_ENTROPY,
        T=predictions.dtype,
        Target=targets.dtype,
    )
    smoothing = loss.label_smoothing
    return kernel, [1 - smoothing, smoothing / predictions.shape[1]]


def sum_over_outputs(
    loss: losses.Loss, predictions: Array, targets: Array
) -> tuple[Any, list[float]]:
    columns = predictions.shape[1]
    scale = loss.scale(columns) if isinstance(loss, losses.MeanSquaredError) else 1 / columns
    kernel = raw_kernel(*sum_source(loss.name, TERMS[type(loss)]), T=predictions.dtype)
    return kernel, [scale, *(getattr(loss, name) for name in TERMS[type(loss)].constants)]


@functools.cache
def sum_source(name: str, term: Term) -> tuple[str, str]:
    """Return a raw kernel's name and source."""
    name = f"gpunn_{name}"
    constants = "".join(f", T {constant}" for constant in term.constants)
    source = f"""{FUNCTIONS}
extern "C" __global__ void {name}(
    const T* predictions, const T* targets, const T* weights, const T* normalizer,
    T* gradient, T* weighted, long long rows, long long columns, T scale{constants}) {{
  {ROW}
  const T* t_row = targets + row * columns;
  T sum = 0;
  for (long long j = threadIdx.x; j < columns; j += LANES) {{
    const T p = p_row[j], t = t_row[j], d = p - t;
    sum += {term.term};
    if (gradient) gradient_row[j] = share * scale * ({term.slope});
  }}
  sum = warp_sum(sum);
  if (threadIdx.x == 0) weighted[row] = weights[row] * scale * sum;
}}
"""
    return name, source


Kernel = Callable[[Any, Array, Array], tuple[Any, list[float]]]

LOSSES: dict[type[losses.Loss], Kernel] = {
    losses.SoftmaxCrossEntropy: softmax_cross_entropy,
    **dict.fromkeys(TERMS, sum_over_outputs),
}

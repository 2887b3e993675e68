"""Losses: for each loss, one kernel computes the weighted sum over the rows and the gradient.

Each warp handles a row. Softmax cross-entropy has a separate kernel. All other losses are sums over
the outputs of a term in `TERMS`. The mathematics is in `gpunn.losses`.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gpunn import losses
from gpunn.backends.cupy.kernels.classes import CLASSES
from gpunn.backends.cupy.kernels.functions import FUNCTIONS
from gpunn.backends.cupy.kernels.raw import NULL, raw_kernel
from gpunn.backends.cupy.kernels.row_sums import add_over_rows, row_sum_source
from gpunn.backends.cupy.scratch import Scratch
from gpunn.backends.recording import Arguments


@dataclass(frozen=True)
class Term:
    """The term that a loss sums over the outputs, and its derivative with respect to p (slope).

    Term and slope are expressions of the prediction p, the target t and d = p - t. `constants`
    lists attributes of the loss, which kernels receive as numbers of type T.
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

# The start of a row: its predictions, and its weight in the gradient.
ROW = """const T* p_row = predictions + row * columns;
    T* gradient_row = gradient ? gradient + row * columns : 0;
    const T norm = normalizer[0] > 0 ? normalizer[0] : (T)1;
    const T row_weight = gradient ? weights[row] / norm : (T)0;"""

SOFTMAX_CROSS_ENTROPY = f"""{ROW}
    if (smoothing) {{  // scheduled
      kept = 1 - smoothing[0];
      spread = smoothing[0] / columns;
    }}
    const T top = largest(p_row, columns);
    T total_exp = 0, expected = 0;
    for (long long j = lane; j < columns; j += LANES) {{
      const T shifted = p_row[j] - top;  // avoids overflow
      total_exp += exp(shifted);
      expected += (kept * probability(targets, row, j, columns) + spread) * shifted;
    }}
    total_exp = warp_sum(total_exp);
    expected = warp_sum(expected);
    value = log(total_exp) - expected;
    if (gradient)
      for (long long j = lane; j < columns; j += LANES) {{
        const T smoothed = kept * probability(targets, row, j, columns) + spread;
        gradient_row[j] = row_weight * (exp(p_row[j] - top) / total_exp - smoothed);
      }}"""


def add_loss(op: Arguments, scratch: Scratch) -> None:
    loss, predictions, targets = op.loss, op.predictions, op.targets
    columns, term = predictions.shape[1], TERMS.get(type(loss))
    extra: list[Any] = []  # arguments that only softmax cross-entropy has
    if term is None:
        source = softmax_source(loss.name)
        kernel = raw_kernel(*source, T=predictions.dtype, Target=targets.dtype)
        smoothing = loss.label_smoothing
        moving, number = (NULL, smoothing) if isinstance(smoothing, float) else (smoothing, 0.0)
        extra, constants = [moving], [1 - number, number / columns]
    else:
        kernel = raw_kernel(*sum_source(loss.name, term), T=predictions.dtype)
        constants = [loss.scale(columns), *(getattr(loss, name) for name in term.constants)]
    gradient = NULL if op.gradient is None else op.gradient
    arrays = predictions, targets, op.normalizer, gradient, *extra
    add_over_rows(kernel, arrays, op.weights, op.loss_sum, columns, constants, scratch)


def loss_source(
    name: str, target: str, value: str, constants: Sequence[str], preamble: str, extra: str = ""
) -> tuple[str, str]:
    name = f"gpunn_{name}"
    arrays = (
        f"const T* __restrict__ predictions, const {target}* __restrict__ targets, "
        "const T* __restrict__ normalizer, T* __restrict__ gradient,"
    )
    return name, row_sum_source(name, arrays + extra, value, constants, preamble)


@functools.cache
def softmax_source(name: str) -> tuple[str, str]:
    constants, extra = ("kept", "spread"), " const T* smoothing,"
    return loss_source(name, "Target", SOFTMAX_CROSS_ENTROPY, constants, CLASSES, extra)


@functools.cache
def sum_source(name: str, term: Term) -> tuple[str, str]:
    value = f"""{ROW}
    const T* t_row = targets + row * columns;
    T terms = 0;
    for (long long j = lane; j < columns; j += LANES) {{
      const T p = p_row[j], t = t_row[j], d = p - t;
      terms += {term.term};
      if (gradient) gradient_row[j] = row_weight * scale * ({term.slope});
    }}
    value = scale * warp_sum(terms);"""
    return loss_source(name, "T", value, ("scale", *term.constants), FUNCTIONS)


LOSSES: tuple[type[losses.Loss], ...] = (*OF_LABELS, *TERMS)

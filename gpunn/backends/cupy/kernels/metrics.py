"""Metrics. Most metrics have one kernel, with one warp per row, which computes weighted sums.

The mathematics is in `gpunn.metrics`.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from gpunn import metrics
from gpunn.backends.cupy.kernels.classes import CLASSES
from gpunn.backends.cupy.kernels.counts import count_bins, count_classes
from gpunn.backends.cupy.kernels.functions import FUNCTIONS
from gpunn.backends.cupy.kernels.r2 import combine_r2
from gpunn.backends.cupy.kernels.raw import raw_kernel
from gpunn.backends.cupy.kernels.row_sums import add_over_rows, row_sum_source
from gpunn.backends.cupy.scratch import Scratch
from gpunn.backends.recording import Arguments

Launch: TypeAlias = Callable[[Arguments, Scratch], None]


@dataclass(frozen=True)
class Score:
    """CUDA statements that set `value`, a row's score, from its predictions p and targets t.

    `constants` lists attributes of the metric, which kernels receive as numbers of type T.
    """

    statements: str
    constants: tuple[str, ...] = ()


def mean_over_outputs(term: str, *constants: str) -> Score:
    return Score(
        f"""const T* t = targets + row * columns;
    T terms = 0;
    for (long long j = lane; j < columns; j += LANES) terms += {term};
    value = warp_sum(terms) / columns;""",
        constants,
    )


LOG_LOSS = """T sum_exp = 0, expected = 0;
    if (columns == 1) {
      value = softplus(p[0]) - probability(targets, row, 0, columns) * p[0];
    } else {
      const T top = largest(p, columns);
      for (long long j = lane; j < columns; j += LANES) {
        sum_exp += exp(p[j] - top);
        expected += probability(targets, row, j, columns) * (p[j] - top);
      }
      value = log(warp_sum(sum_exp)) - warp_sum(expected);
    }"""

BRIER_SCORE = """if (columns == 1) {
      const T distance = sigmoid(p[0]) - probability(targets, row, 0, columns);
      value = distance * distance;
    } else {
      const T top = largest(p, columns);
      T sum_exp = 0, squares = 0;
      for (long long j = lane; j < columns; j += LANES) sum_exp += exp(p[j] - top);
      sum_exp = warp_sum(sum_exp);
      for (long long j = lane; j < columns; j += LANES) {
        const T distance = exp(p[j] - top) / sum_exp - probability(targets, row, j, columns);
        squares += distance * distance;
      }
      squares = warp_sum(squares);
      value = columns == 2 ? (T)0.5 * squares : squares;
    }"""

SCORES: dict[type[metrics.Metric], Score] = {
    metrics.Accuracy: Score("value = argmax(p, columns) == true_class(targets, row, columns);"),
    metrics.TopKAccuracy: Score(
        """const T of_true = p[true_class(targets, row, columns)];
    T above = 0;
    for (long long j = lane; j < columns; j += LANES) above += p[j] > of_true;
    value = warp_sum(above) < k;""",
        ("k",),
    ),
    metrics.LogLoss: Score(LOG_LOSS),
    metrics.BrierScore: Score(BRIER_SCORE),
    metrics.BinaryAccuracy: mean_over_outputs("(p[j] > threshold) == (t[j] > (T)0.5)", "threshold"),
    metrics.MeanAbsoluteError: mean_over_outputs("fabs(p[j] - t[j])"),
    metrics.RootMeanSquaredError: mean_over_outputs("(p[j] - t[j]) * (p[j] - t[j])"),
}


def add_scores(op: Arguments, scratch: Scratch) -> None:
    metric, predictions, targets = op.metric, op.predictions, op.targets
    score = SCORES[type(metric)]
    source = score_source(metric.name, score)
    kernel = raw_kernel(*source, T=predictions.dtype, Target=targets.dtype)
    constants = [getattr(metric, name) for name in score.constants]
    arrays = predictions, targets
    columns = predictions.shape[1]
    add_over_rows(kernel, arrays, op.weights, op.summary, columns, constants, scratch)


@functools.cache
def score_source(name: str, score: Score) -> tuple[str, str]:
    name = f"gpunn_{name}_score"
    parameters = "const T* predictions, const Target* targets,"
    value = f"""const T* p = predictions + row * columns;
    {score.statements}"""
    return name, row_sum_source(name, parameters, value, score.constants, CLASSES + FUNCTIONS)


METRICS: dict[type[metrics.Metric], Launch] = {
    **dict.fromkeys(SCORES, add_scores),
    metrics.AUC: count_bins,
    metrics.F1: count_classes,
    metrics.Precision: count_classes,
    metrics.R2: combine_r2,
    metrics.Recall: count_classes,
}
"""For each metric, the function that adds a batch's summary to the summary so far."""

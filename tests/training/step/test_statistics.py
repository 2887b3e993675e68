import math

import array_api_strict
import numpy as np
import pytest

from gpunn.backends import Backend, get_backend
from gpunn.losses import MeanSquaredError
from gpunn.metrics import R2, MeanAbsoluteError, RootMeanSquaredError
from gpunn.training.step.statistics import Statistics

BACKENDS = [
    pytest.param(lambda: get_backend("numpy"), id="numpy"),
    pytest.param(lambda: Backend(array_api_strict), id="strict"),
]


@pytest.mark.parametrize("make", BACKENDS)
@pytest.mark.parametrize("collect_every", [1, 2, 5])
def test_figures_are_those_of_all_rows_together(make, collect_every):
    """For any division of the rows into batches and logging steps."""
    ops = make()
    random = np.random.default_rng(0)
    p, t = random.normal(size=(37, 2)), random.normal(100, 3, size=(37, 2))
    w = random.random(37)
    metrics = [MeanAbsoluteError(), R2(), RootMeanSquaredError()]
    statistics = Statistics(ops, "float64", metrics, 2)
    for _ in range(2):  # `reset` begins anew
        statistics.reset()
        for step, start in enumerate(range(0, 37, 5), 1):
            part = slice(start, start + 5)
            predictions, targets, weights = (ops.from_host(a[part]) for a in (p, t, w))
            total = ops.from_host(w[part].sum(keepdims=True))
            ops.loss(
                MeanSquaredError(), predictions, targets, weights, total, None, statistics.loss_sum
            )
            for metric, summary in zip(metrics, statistics.summaries, strict=True):
                ops.metric(metric, predictions, targets, weights, summary)
            ops.accumulate(total, statistics.weight_sum)
            ops.count_finite(statistics.loss_sum, statistics.finite_steps)
            if step % collect_every == 0:
                assert statistics.collect() == collect_every
        statistics.collect()
        figures = statistics.result()
    squares = np.average((p - t) ** 2, axis=0, weights=w)
    variances = np.average((t - np.average(t, axis=0, weights=w)) ** 2, axis=0, weights=w)
    expected = {
        "loss": squares.mean(),
        "mean_absolute_error": np.average(np.abs(p - t), axis=0, weights=w).mean(),
        "r2": np.mean(1 - squares / variances),
        "root_mean_squared_error": math.sqrt(squares.mean()),
    }
    assert figures == pytest.approx(expected, rel=1e-12)
    assert all(type(value) is float for value in figures.values())


def test_nothing_collected():
    assert Statistics(get_backend("numpy"), "float32", [], 1).result() == {}


def test_sums_of_a_long_epoch_lose_nothing():
    """In float32, a sum of 2^25 ones would stop at 2^24."""
    ops = get_backend("numpy")
    statistics = Statistics(ops, "float32", [MeanAbsoluteError()], 1)
    for _ in range(3):
        statistics.loss_sum[...] = statistics.weight_sum[...] = 2.0**24
        statistics.summaries[0][...] = 2.0**24
        statistics.collect()
    statistics.weight_sum[...] = statistics.loss_sum[...] = 1
    statistics.summaries[0][...] = 1
    statistics.collect()
    assert statistics.result() == {"loss": 1.0, "mean_absolute_error": 1.0}

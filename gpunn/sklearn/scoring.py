"""The metric of averaged predictions for the held-out rows of each fold."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gpunn.configurable import resolve
from gpunn.metrics import AUC, Metric
from gpunn.metrics.labels import for_loss
from gpunn.randomness import generator
from gpunn.tabular.recipe import LOSS, loss_of

TINY = np.finfo(np.float64).tiny

SAMPLES = 100

SAMPLED = 10_000


class HeldOut(NamedTuple):
    targets: np.ndarray
    weights: np.ndarray | None


class Scoring:
    """Scores candidates by a metric.

    `metric` is a metric's name, or "loss" for the task's mean loss. With `log`, this loss is the
    squared error of logarithms. With `quantiles`, this loss is the mean quantile loss. Predictions
    have the shape (rows, outputs). Rows are the held-out rows of all folds, fold by fold.
    """

    def __init__(
        self,
        task: str,
        metric: str,
        outputs: int,
        held_out: Sequence[HeldOut],
        log: bool = False,
        quantiles: Sequence[float] | None = None,
    ) -> None:
        self._loss = loss_of(task, 0.0, quantiles)
        self._metric: Metric | None = None
        if metric != LOSS:
            self._metric = for_loss(resolve(Metric, metric, "metric"), self._loss, outputs)
        self._log = log and metric == LOSS
        self._parts, start = list[tuple[slice, np.ndarray, np.ndarray]](), 0
        for targets, weights in held_out:
            end = start + len(targets)
            checked = self._loss.check_targets(targets, outputs)
            ones = np.ones(len(targets)) if weights is None else weights.astype(np.float64)
            self._parts.append((slice(start, end), checked, ones))
            start = end

    @property
    def larger_is_better(self) -> bool:
        return self._metric is not None and bool(self._metric.larger_is_better)

    def outputs_of(self, predictions: np.ndarray) -> np.ndarray:
        if self._loss.output_activation == "identity":
            return predictions
        logits: np.ndarray = np.log(np.maximum(predictions, TINY))
        if self._loss.output_activation == "sigmoid":
            logits -= np.log(np.maximum(1 - predictions, TINY))
        return logits

    def scores(self, predictions: np.ndarray) -> np.ndarray:
        return np.array([self._score(predictions, *part) for part in self._parts])

    def loss(self, predictions: np.ndarray) -> float:
        score = float(self.scores(predictions).mean())
        return -score if self.larger_is_better else score

    def standard_error(self, predictions: np.ndarray) -> float:
        # With a single fold, the standard error is the standard deviation over bootstrap samples of
        # the rows. If there are many rows, samples have fewer rows, and their standard deviation is
        # scaled (Bickel et al. 1997, "Resampling Fewer Than n Observations").
        if len(self._parts) > 1:
            return float(self.scores(predictions).std(ddof=1) / np.sqrt(len(self._parts)))
        _, targets, weights = self._parts[0]
        random, scores = generator(0, "standard error"), list[float]()
        rows = len(weights)
        size = min(rows, SAMPLED)
        for _ in range(SAMPLES):
            drawn = random.integers(rows, size=size)
            if weights[drawn].any():
                scores.append(self._score(predictions, drawn, targets[drawn], weights[drawn]))
        if not np.isfinite(scores).any():
            return float("nan")
        return float(np.nanstd(scores) * np.sqrt(size / rows))

    def _score(
        self,
        predictions: np.ndarray,
        rows: slice | np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray,
    ) -> float:
        outputs = self.outputs_of(predictions[rows])
        if self._log:
            outputs, targets = np.log(np.maximum(outputs, TINY)), np.log(targets)
        if self._metric is None:
            values = self._loss.values(np, outputs, targets)
            return float(values @ weights / weights.sum())
        if isinstance(self._metric, AUC):
            summary = counts_of(self._metric, outputs, targets, weights)
        else:
            summary = self._metric.measure(np, outputs, targets, weights)
        return self._metric.result(summary, float(weights.sum()))


def counts_of(
    metric: AUC, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the same counts as `metric.measure`, but faster, and only for NumPy arrays."""
    bins, truth = metric.bin_indices(np, outputs, targets)
    counts = [
        np.bincount(places, part * weights, metric.side**2)
        for places, members in zip(bins.astype(np.int64).T, truth.T, strict=True)
        for part in (members, 1 - members)
    ]
    return np.concatenate(counts)

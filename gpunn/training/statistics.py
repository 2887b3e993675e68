"""Sums over batches, kept on the device and read by the host at report points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from gpunn.backends import Backend
from gpunn.errors import ArgumentError
from gpunn.metrics import Metric

__all__ = ["Statistics", "has_metric_weight", "state_shapes", "with_metric_weight"]

OWN = 5
"""Entries of the vector before those of the metrics."""


def state_shapes(
    metrics: Sequence[Metric], outputs: int, own_weights: bool
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of `vector` and `totals()`, by the names they have in a checkpoint."""
    rest = sum(metric.size(outputs) for metric in metrics) + int(own_weights)
    return {"statistics.vector": (OWN + rest,), "statistics.totals": (2 + rest,)}


def has_metric_weight(
    state: Mapping[str, np.ndarray], metrics: Sequence[Metric], outputs: int
) -> bool:
    """Return whether sums of an epoch are those of metrics with weights of their own."""
    shape = state_shapes(metrics, outputs, True)["statistics.vector"]
    return "statistics.vector" in state and state["statistics.vector"].shape == shape


def with_metric_weight(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return sums with the weight of the metrics, where that was the loss's until now."""
    names = ("statistics.vector", "statistics.totals")
    return {**state, **{name: np.append(state[name], state[name][1]) for name in names}}


class Statistics:
    """Loss and metrics over an epoch.

    On the device is one vector of (loss sum, weight sum, steps whose loss sum was finite, sum of
    the parameters, loss scale, summaries of the metrics, and the metrics' sum of weights if they
    have weights of their own). `collect` moves it into float64 totals on the host and starts it
    anew, so that float32 sums stay short. That happens at fixed steps, whatever a clock says, so
    that two runs agree bitwise.

    Attributes
    ----------
    vector : array
        All sums since the last `collect`, on the device.
    loss_sum, weight_sum, finite_steps, parameter_sum, loss_scale : array, shape (1,)
        Views of the vector.
    summaries : list of array
        Views of the vector, one a metric.
    parameters_finite : bool
        Whether `parameter_sum` was a finite number at the last `collect`.
    shown_loss_scale : float
        What `loss_scale` was then.
    metric_weight : array, shape (1,), or None
        View of the vector: the metrics' sum of weights, if they have weights of their own.
    """

    def __init__(
        self,
        backend: Backend,
        dtype: str,
        metrics: Sequence[Metric],
        outputs: int,
        own_weights: bool = False,
    ) -> None:
        self._backend = backend
        self._metrics = metrics
        self._bounds = np.cumsum([OWN, *(metric.size(outputs) for metric in metrics)])
        end = int(self._bounds[-1])
        self.vector = backend.zeros((end + int(own_weights),), dtype)
        self.metric_weight = self.vector[end:] if own_weights else None
        self.loss_sum, self.weight_sum = self.vector[0:1], self.vector[1:2]
        self.finite_steps, self.parameter_sum = self.vector[2:3], self.vector[3:4]
        self.loss_scale = self.vector[4:5]
        self.parameters_finite, self.shown_loss_scale = True, 0.0
        self.summaries = [
            self.vector[int(start) : int(stop)]
            for start, stop in zip(self._bounds, self._bounds[1:], strict=False)
        ]
        self.reset()

    def reset(self) -> None:
        """Begin a new epoch."""
        self._backend.fill(self.vector, 0.0)
        self._loss = self._weight = self._metric_weight = 0.0
        self._totals = [np.zeros(int(summary.shape[0])) for summary in self.summaries]

    def collect(self) -> int:
        """Add the device's sums to the totals and return the number of steps with a finite loss.

        This waits for the device, as nothing else does that training with quick updates does.
        """
        vector = self._backend.to_host(self.vector).astype(np.float64)
        self._backend.fill(self.vector, 0.0)
        self._loss += vector[0]
        self._weight += vector[1]
        self._metric_weight += vector[1] if self.metric_weight is None else vector[-1]
        self.parameters_finite = bool(np.isfinite(vector[3]))
        self.shown_loss_scale = float(vector[4])
        for index, metric in enumerate(self._metrics):
            summary = vector[self._bounds[index] : self._bounds[index + 1]]
            self._totals[index] = metric.combine(np, self._totals[index], summary)
        return int(vector[2])

    def peek(self) -> tuple[int, bool]:
        """Return what `collect` would, and whether the sum of the parameters is finite.

        Nothing is changed by it; but it waits for the device, too.
        """
        vector = self._backend.to_host(self.vector)
        finite = int(vector[2]) if np.isfinite(vector[2]) else 0
        return finite, bool(np.isfinite(vector[3]))

    def totals(self) -> np.ndarray:
        """Return the totals on the host, for `set_totals`, as float64."""
        own = [] if self.metric_weight is None else [[self._metric_weight]]
        return np.concatenate([[self._loss, self._weight], *self._totals, *own])

    def set_totals(self, totals: np.ndarray) -> None:
        """Take back what `totals` returned."""
        self._loss, self._weight = float(totals[0]), float(totals[1])
        self._metric_weight = float(totals[1] if self.metric_weight is None else totals[-1])
        starts = np.cumsum([2, *(len(total) for total in self._totals)])
        self._totals = [np.array(totals[start:stop]) for start, stop in pairwise(starts)]

    def result(self) -> dict[str, float]:
        """Return loss and metrics, by name, over everything collected since `reset`.

        Raises
        ------
        ArgumentError
            If a metric's result is no number.
        """
        if not self._weight:
            return {}
        logs = {"loss": float(self._loss / self._weight)}
        for metric, total in zip(self._metrics, self._totals, strict=True):
            logs[metric.name] = number(metric, metric.result(total, self._metric_weight))
        return logs


def number(metric: Metric, result: Any) -> float:
    """Return a metric's result as a number, or raise an ArgumentError if it is none."""
    try:
        if np.shape(result) == ():
            return float(result)
    except (TypeError, ValueError):
        pass
    raise ArgumentError(
        f"metric {metric.name!r}: its method result must return a number; "
        f"it returned {result!r:.80}"
    )

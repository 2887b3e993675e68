"""Sums over batches, kept on the device and read by the host at report points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    metrics: Sequence[Metric], outputs: int, separate_weights: bool
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of `vector` and `totals()`, by the names they have in a checkpoint."""
    rest = sum(metric.size(outputs) for metric in metrics) + int(separate_weights)
    return {"statistics.vector": (OWN + rest,), "statistics.totals": (2 + rest,)}


def has_metric_weight(
    state: Mapping[str, np.ndarray], metrics: Sequence[Metric], outputs: int
) -> bool:
    """Return whether sums of an epoch are those of metrics with weights of their own."""
    shape = state_shapes(metrics, outputs, True)["statistics.totals"]
    return "statistics.totals" in state and state["statistics.totals"].shape == shape


def with_metric_weight(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return sums with the weight of the metrics, where that was the loss's until now."""
    totals = state["statistics.totals"]
    length = len(totals) - 2 + OWN
    vectors = state["statistics.vector"].reshape(-1, length)
    return {
        **state,
        "statistics.totals": np.append(totals, totals[1]),
        "statistics.vector": np.concatenate([vectors, vectors[:, 1:2]], axis=1).reshape(-1),
    }


class Statistics:
    """Loss and metrics over an epoch.

    On the device is one vector of (loss sum, weight sum, steps whose loss sum was finite, sum of
    the parameters, loss scale, summaries of the metrics, and the metrics' sum of weights if they
    have weights of their own), and views of these. `collect` moves it into float64 totals on the
    host and starts it anew, so that float32 sums stay short. That happens at fixed steps, whatever
    a clock says, so that two runs agree bitwise.

    Where batches are divided into shards, each shard of this process has such a vector; the sum of
    weights, of the parameters and the loss scale are in the first of each process, and are of the
    whole batch. `gather` returns the rows that all processes give, in order, and is told what they
    are.

    Attributes
    ----------
    vector : array
        All sums since the last `collect`, on the device, shard after shard.
    parameter_sum : array, shape (1,)
        Set with several processes only.
    state_sum : array, shape (1,)
        Beside the vector: not finite if the state of this process is not, or if the sum overflows
        (`TrainStep.check_state`).
    state_finite : bool
        Whether `state_sum` of every process was finite at the last `collect`.
    shown_loss_scale : float
        What `loss_scale` was then.
    parameters_differ : bool
        Whether processes had different sums then.
    """

    def __init__(
        self,
        backend: Backend,
        dtype: str,
        metrics: Sequence[Metric],
        outputs: int,
        separate_weights: bool = False,
        shards: int = 1,
        gather: Callable[[np.ndarray, str], np.ndarray] = lambda rows, what: rows,
    ) -> None:
        self._backend, self._gather = backend, gather
        self._metrics, self._own_weights = metrics, separate_weights
        self._bounds = np.cumsum([OWN, *(metric.size(outputs) for metric in metrics)])
        self._length = int(self._bounds[-1]) + int(separate_weights)
        self._shards = shards
        self._memory = backend.zeros((shards * self._length + 1,), dtype)  # read by one copy
        self.vector, self.state_sum = self._memory[:-1], self._memory[-1:]
        self.state_finite, self.shown_loss_scale = True, 0.0
        self.parameters_differ = False
        self.select(0)
        self.reset()

    def select(self, shard: int) -> None:
        """Let the views be those of this shard, for what is recorded next."""
        begin = shard * self._length
        vector = self.vector[begin : begin + self._length]
        self.loss_sum, self.weight_sum = vector[0:1], vector[1:2]
        self.finite_steps, self.parameter_sum = vector[2:3], vector[3:4]
        self.loss_scale = vector[4:5]
        bounds = list(map(int, self._bounds))
        self.summaries = [vector[start:stop] for start, stop in pairwise(bounds)]
        self.metric_weight = vector[bounds[-1] :] if self._own_weights else None

    def reset(self) -> None:
        """Begin a new epoch."""
        self._backend.fill(self.vector, 0.0)
        self._loss = self._weight = self._metric_weight = 0.0
        self._totals = self._zeros()

    def _zeros(self) -> list[np.ndarray]:
        """Return the totals of the metrics before any batch."""
        return [np.zeros(int(summary.shape[0])) for summary in self.summaries]

    def _combined(self, totals: list[np.ndarray], rows: np.ndarray, start: int) -> list[np.ndarray]:
        """Return the metrics' totals after more summaries, which begin at `start` in each row."""
        found = []
        for metric, total in zip(self._metrics, totals, strict=True):
            stop = start + len(total)
            for row in rows:
                total = metric.combine(np, total, row[start:stop])
            found.append(total)
            start = stop
        return found

    def collect(self) -> int:
        """Add the device's sums to the totals and return the number of steps with a finite loss.

        This waits for the device, as nothing else does that training with quick updates does.
        """
        rows = self._all_rows()
        self._backend.fill(self.vector, 0.0)
        for row in rows:
            self._loss += row[0]
            self._metric_weight += row[-1] if self._own_weights else 0.0
        self._weight += rows[0, 1]
        if not self._own_weights:
            self._metric_weight += rows[0, 1]
        self.state_finite = self._finite_state(rows)
        self.shown_loss_scale = float(rows[0, 4])
        self._totals = self._combined(self._totals, rows, OWN)
        return int(min(row[2] for row in rows))

    def _all_rows(self) -> np.ndarray:
        """Return the vectors of all shards, those of other processes included, as float64."""
        *_, state_sum = memory = self._backend.to_host(self._memory)
        own = memory[:-1].reshape(self._shards, self._length)
        if not np.isfinite(state_sum):
            own[:, 3] = np.nan
        rows = self._gather(own, "loss and metrics")
        if len(rows) > self._shards:
            sums = rows[:: self._shards, 3]
            self.parameters_differ = len({each.tobytes() for each in sums}) > 1
        return rows.astype(np.float64)

    def without_copies(self, vector: np.ndarray) -> np.ndarray:
        """Return the vectors of all shards, less what each process has of the whole batch.

        So they do not show how many processes there were.
        """
        rows = vector.reshape(-1, self._length)
        rows[1:, [1, 3, 4]] = 0
        return rows.reshape(-1)

    def part_of(self, vector: np.ndarray, first: int, shards: int) -> np.ndarray:
        """Return this process's part, from its first shard on, of the vectors of all shards.

        If they are of another number of shards, the first of them has the sums of all.
        """
        rows = vector.reshape(-1, self._length)
        if len(rows) != shards:
            merged = np.zeros((shards, self._length))
            merged[0] = rows[0]
            merged[0, 0] = rows[:, 0].sum(dtype=np.float64)
            merged[:, 2] = rows[:, 2].min()
            if self._own_weights:
                merged[0, -1] = rows[:, -1].sum(dtype=np.float64)
            totals = self._combined(self._zeros(), rows.astype(np.float64), OWN)
            merged[0, self._bounds[0] : self._bounds[-1]] = np.concatenate([[], *totals])
            rows = merged
        return rows[first : first + self._shards].reshape(-1).astype(vector.dtype)

    def peek(self) -> tuple[int, bool]:
        """Return what `collect` would, and what `state_finite` would be.

        Nothing is changed by it; but it waits for the device, too.
        """
        rows = self._all_rows()
        steps = rows[:, 2]
        return int(steps.min()) if np.isfinite(steps).all() else 0, self._finite_state(rows)

    def _finite_state(self, rows: np.ndarray) -> bool:
        return bool(np.isfinite(rows[:: self._shards, 3]).all())

    def totals(self) -> np.ndarray:
        """Return the totals on the host, for `set_totals`, as float64."""
        own = [[self._metric_weight]] if self._own_weights else []
        return np.concatenate([[self._loss, self._weight], *self._totals, *own])

    def set_totals(self, totals: np.ndarray) -> None:
        """Take back what `totals` returned."""
        self._loss, self._weight = float(totals[0]), float(totals[1])
        self._metric_weight = float(totals[-1] if self._own_weights else totals[1])
        starts = np.cumsum([2, *(len(total) for total in self._totals)])
        self._totals = [np.array(totals[start:stop]) for start, stop in pairwise(starts)]

    def combine(self, rows: np.ndarray) -> None:
        """Take the totals of several parts of the rows together, in order."""
        loss, weight = rows[:, 0].sum(), rows[:, 1].sum()
        combined = self._combined(self._zeros(), rows, 2)
        own = [rows[:, -1:].sum(axis=0)] if self._own_weights else []
        self.set_totals(np.concatenate([[loss, weight], *combined, *own]))

    def result(self) -> dict[str, float]:
        """Return loss and metrics, by name, over everything collected since `reset`.

        Raise an ArgumentError if a metric's result is no number.
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

"""Sums of loss and metrics over batches: the device adds, and the host reads at logging steps."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from gpunn.backends import Backend
from gpunn.errors import ArgumentError
from gpunn.metrics import Metric

FIXED_ENTRIES = 5
"""The number of entries that precede the metrics' entries in the vector of statistics."""


def state_shapes(
    metrics: Sequence[Metric], outputs: int, separate_weights: bool
) -> dict[str, tuple[int, ...]]:
    rest = sum(metric.size(outputs) for metric in metrics) + int(separate_weights)
    return {"statistics.vector": (FIXED_ENTRIES + rest,), "statistics.totals": (2 + rest,)}


def has_metric_weight(
    state: Mapping[str, np.ndarray], metrics: Sequence[Metric], outputs: int
) -> bool:
    # A checkpoint contains the metrics' weight sum only if the metrics have separate weights.
    shape = state_shapes(metrics, outputs, True)["statistics.totals"]
    return "statistics.totals" in state and state["statistics.totals"].shape == shape


def with_metric_weight(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    totals = state["statistics.totals"]
    length = len(totals) - 2 + FIXED_ENTRIES
    vectors = state["statistics.vector"].reshape(-1, length)
    return {
        **state,
        "statistics.totals": np.append(totals, totals[1]),
        "statistics.vector": np.concatenate([vectors, vectors[:, 1:2]], axis=1).reshape(-1),
    }


class Statistics:
    """Loss and metrics over an epoch.

    On the device, there is one vector of sums, with views of these entries:

    * loss sum, weight sum, number of steps with a finite loss, sum of the parameters, loss scale;
    * the summaries of the metrics and, if metrics have separate weights, the sum of these weights.

    `collect` adds the vector to float64 totals on the host, and sets the vector to zero. Steps call
    `collect` independently of time, so two runs are bitwise identical. The attributes
    `state_finite`, `shown_loss_scale` and `parameters_differ` describe the last call of `collect`.

    Each shard of this process has a separate vector. Only the first vector stores numbers of the
    whole batch: weight sum, sum of the parameters, loss scale. `state_sum` is not finite if the
    state of this process is not finite, or if the sum overflows (`TrainStep.check_state`).
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
        self.metrics, self._separate_weights = metrics, separate_weights
        self._bounds = np.cumsum([FIXED_ENTRIES, *(metric.size(outputs) for metric in metrics)])
        self._length = int(self._bounds[-1]) + int(separate_weights)
        self._shards = shards
        self._memory = backend.zeros((shards * self._length + 1,), dtype)  # read by a single copy
        self.vector, self.state_sum = self._memory[:-1], self._memory[-1:]
        self.state_finite, self.shown_loss_scale = True, 0.0
        self.parameters_differ = False
        self.select(0)
        self._clear_totals()

    def select(self, shard: int) -> None:
        """Let `loss_sum` and all other views refer to a shard's part of `vector`."""
        begin = shard * self._length
        vector = self.vector[begin : begin + self._length]
        self.loss_sum, self.weight_sum = vector[0:1], vector[1:2]
        self.finite_steps, self.parameter_sum = vector[2:3], vector[3:4]
        self.loss_scale = vector[4:5]
        bounds = list(map(int, self._bounds))
        self.summaries = [vector[start:stop] for start, stop in pairwise(bounds)]
        self.metric_weight = vector[bounds[-1] :] if self._separate_weights else None

    def reset(self) -> None:
        self._backend.fill(self.vector, 0.0)
        self._clear_totals()

    def _clear_totals(self) -> None:
        self._loss = self._weight = self._metric_weight = 0.0
        self._totals = self._zeros()

    def _zeros(self) -> list[np.ndarray]:
        return [np.zeros(int(summary.shape[0])) for summary in self.summaries]

    def _combined(self, totals: list[np.ndarray], rows: np.ndarray, start: int) -> list[np.ndarray]:
        combined = []
        for metric, total in zip(self.metrics, totals, strict=True):
            stop = start + len(total)
            for row in rows:
                total = metric.combine(np, total, row[start:stop])
            combined.append(total)
            start = stop
        return combined

    def collect(self) -> int:
        # Returns the number of steps with a finite loss. Waits for the device.
        rows = self._all_rows()
        self._backend.fill(self.vector, 0.0)
        self._add(rows)
        self.state_finite = self._finite_state(rows)
        self.shown_loss_scale = float(rows[0, 4])
        return int(min(row[2] for row in rows))

    def _add(self, rows: np.ndarray) -> None:
        for row in rows:
            self._loss += row[0]
            self._metric_weight += row[-1] if self._separate_weights else 0.0
        self._weight += rows[0, 1]
        if not self._separate_weights:
            self._metric_weight += rows[0, 1]
        self._totals = self._combined(self._totals, rows, FIXED_ENTRIES)

    def of_epochs(self, vectors: np.ndarray) -> tuple[dict[str, list[float]], np.ndarray]:
        # `vectors`, of shape (epochs, logging steps, entries), are the values of `vector` at the
        # logging steps. There is one shard. If all weights of an epoch are 0, the number is 0.
        rows = vectors.astype(np.float64)
        totals = np.zeros((len(rows), self._length))
        for step in range(rows.shape[1]):  # in the order of `collect`
            totals += rows[:, step]
        finite = totals[:, 2]
        if np.count_nonzero(totals[:, 1]) < len(rows):
            empty = totals[:, 1] == 0
            totals[empty], finite[empty] = 1.0, 0.0
        weights = totals[:, -1 if self._separate_weights else 1]
        columns = {"loss": (totals[:, 0] / totals[:, 1]).tolist()}
        for metric, (start, stop) in zip(self.metrics, pairwise(self._bounds), strict=True):
            summaries = self._summaries(metric, start, stop, rows, totals)
            if type(metric).result is Metric.result:
                results = (summaries[:, 0] / weights).tolist()
            else:
                results = [as_number(metric, r) for r in map(metric.result, summaries, weights)]
            columns[metric.name] = results
        return columns, finite

    def _summaries(
        self, metric: Metric, start: int, stop: int, rows: np.ndarray, totals: np.ndarray
    ) -> np.ndarray:
        if type(metric).combine is Metric.combine:
            return totals[:, start:stop]
        summaries = np.zeros((len(rows), stop - start))
        for epoch, steps in enumerate(rows):
            for step in steps:
                summaries[epoch] = metric.combine(np, summaries[epoch], step[start:stop])
        return summaries

    def _all_rows(self) -> np.ndarray:
        *_, state_sum = memory = self._backend.to_host(self._memory)
        local = memory[:-1].reshape(self._shards, self._length)
        if not np.isfinite(state_sum):
            local[:, 3] = np.nan
        rows = self._gather(local, "loss and metrics")
        if len(rows) > self._shards:
            sums = rows[:: self._shards, 3]
            self.parameters_differ = len({each.tobytes() for each in sums}) > 1
        return rows.astype(np.float64)

    def without_copies(self, vector: np.ndarray) -> np.ndarray:
        # Only the first vector keeps the entries of the whole batch.
        rows = vector.reshape(-1, self._length)
        rows[1:, [1, 3, 4]] = 0
        return rows.reshape(-1)

    def part_of(self, vector: np.ndarray, first: int, shards: int) -> np.ndarray:
        # The first shard of this process has the number `first`. If `vector` has another number of
        # shards, the first shard gets the sums over all shards.
        rows = vector.reshape(-1, self._length)
        if len(rows) != shards:
            merged = np.zeros((shards, self._length))
            merged[0] = rows[0]
            merged[0, 0] = rows[:, 0].sum(dtype=np.float64)
            merged[:, 2] = rows[:, 2].min()
            if self._separate_weights:
                merged[0, -1] = rows[:, -1].sum(dtype=np.float64)
            totals = self._combined(self._zeros(), rows.astype(np.float64), FIXED_ENTRIES)
            merged[0, self._bounds[0] : self._bounds[-1]] = np.concatenate([[], *totals])
            rows = merged
        return rows[first : first + self._shards].reshape(-1).astype(vector.dtype)

    def peek(self) -> tuple[int, bool]:
        rows = self._all_rows()
        steps = rows[:, 2]
        return int(steps.min()) if np.isfinite(steps).all() else 0, self._finite_state(rows)

    def _finite_state(self, rows: np.ndarray) -> bool:
        return bool(np.isfinite(rows[:: self._shards, 3]).all())

    def totals(self) -> np.ndarray:
        weight = [[self._metric_weight]] if self._separate_weights else []
        return np.concatenate([[self._loss, self._weight], *self._totals, *weight])

    def set_totals(self, totals: np.ndarray) -> None:
        self._loss, self._weight = float(totals[0]), float(totals[1])
        self._metric_weight = float(totals[-1] if self._separate_weights else totals[1])
        starts = np.cumsum([2, *(len(total) for total in self._totals)])
        self._totals = [np.array(totals[start:stop]) for start, stop in pairwise(starts)]

    def combine(self, rows: np.ndarray) -> None:
        loss, weight = rows[:, 0].sum(), rows[:, 1].sum()
        combined = self._combined(self._zeros(), rows, 2)
        separate = [rows[:, -1:].sum(axis=0)] if self._separate_weights else []
        self.set_totals(np.concatenate([[loss, weight], *combined, *separate]))

    def result(self) -> dict[str, float]:
        if not self._weight:
            return {}
        logs = {"loss": float(self._loss / self._weight)}
        for metric, total in zip(self.metrics, self._totals, strict=True):
            logs[metric.name] = as_number(metric, metric.result(total, self._metric_weight))
        return logs


def as_number(metric: Metric, result: Any) -> float:
    try:
        if isinstance(result, float) or np.shape(result) == ():
            return float(result)
    except (TypeError, ValueError):
        pass
    raise ArgumentError(
        f"metric {metric.name!r}: the method result() must return a number; "
        f"it returned {result!r:.80}"
    )

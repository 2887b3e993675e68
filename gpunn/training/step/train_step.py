"""One training step: forward, loss, backward, update. A step allocates its buffers only once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from gpunn.backends.operations import Segment, Trained, UpdateCounters
from gpunn.backends.recording import RecordingCache
from gpunn.backends.thread_count import is_alone
from gpunn.backends.turns import TURNS
from gpunn.data.batches import DeviceRows
from gpunn.distributed.ranks import Ranks
from gpunn.distributed.shares import batches
from gpunn.layers.base import family
from gpunn.layers.passes import network_backward, network_forward
from gpunn.losses import Loss
from gpunn.metrics import Metric
from gpunn.network import Sequential
from gpunn.optimizers import Optimizer
from gpunn.training.step.gradient_clipping import clip_gradients
from gpunn.training.step.loss_computation import compute_loss, outputs_until_loss
from gpunn.training.step.loss_scaling import loss_scale
from gpunn.training.step.scheduled_settings import ScheduledSettings, scheduled_settings
from gpunn.training.step.statistics import Statistics, has_metric_weight
from gpunn.typing import Array
from gpunn.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class PassRecipe:
    """The settings of a pass. If `members` > 1, `batch_size` is the number of rows per member."""

    model: Sequential
    loss: Loss
    metrics: list[Metric]
    batch_size: int
    accumulation: int = 1
    separate_metric_weights: bool = False
    members: int = 1

    @property
    def rows_per_update(self) -> int:
        return self.batch_size * self.accumulation

    def has_metric_weight(self, state: Mapping[str, np.ndarray]) -> bool:
        return has_metric_weight(state, self.metrics, self.model.output_shape[0])


@dataclass(frozen=True, kw_only=True)
class StepRecipe(PassRecipe):
    """The settings of a step; if `synchronized`, batch normalization uses the rows of all ranks."""

    optimizer: Optimizer
    ranks: Ranks | None = None
    synchronized: bool = True
    batch_means: bool = False  # with one process only


class BatchPass:
    """Computes outputs, loss and metrics for the next batch of the rows in `data`."""

    training: ClassVar[bool] = False

    def __init__(self, recipe: PassRecipe) -> None:
        self.recipe = recipe
        model, loss, metrics = recipe.model, recipe.loss, recipe.metrics
        self.model, self.loss, self.metrics = model, loss, metrics
        self.batch_size, self.members = recipe.batch_size, recipe.members
        self.rows_per_update = recipe.rows_per_update
        self.ops = model.backend
        self.workspace = Workspace(self.ops, model.dtype, self.max_rows(), training=self.training)
        self.workspace.independent_members = self.members > 1
        self.data: DeviceRows | None = None
        self.recording_seconds = 0.0
        self._counts: dict[int, Array] = {}
        self._predictions: dict[tuple[object, ...], Array] = {}
        self._recordings = RecordingCache(
            [*family(*model.layers), loss, *metrics, *self._more_parts()]
        )
        self._sources: dict[tuple[object, ...], tuple[Array | None, ...]] = {}
        self._source: tuple[object, ...] = ()

    def max_rows(self) -> int:
        return self.batch_size

    # A network that uses a shared program does not need these properties.

    @cached_property
    def statistics(self) -> Statistics:
        return self.make_statistics()

    @cached_property
    def _start(self) -> Array:
        return self.ops.zeros((1,), "int64")

    @cached_property
    def _equal_weights(self) -> Array:
        equal = np.full(self.rows_per_update * self.members, 1 / self.members)
        return self.ops.from_host(equal, self.model.dtype)

    def make_statistics(self, **options: Any) -> Statistics:
        return Statistics(
            self.ops,
            self.model.dtype,
            self.metrics,
            outputs=self.model.output_shape[0],
            separate_weights=self.recipe.separate_metric_weights,
            **options,
        )

    def clock(self) -> float:
        return time.perf_counter() - self.recording_seconds

    def load(self, data: DeviceRows) -> None:
        self.data = data
        self._types = self.ops.dtype_name(data.X), self.ops.dtype_name(data.y)
        self.rewind()
        arrays = data.X, data.y, data.weights, data.order, data.metric_weights
        self._source = (*map(id, arrays), data.batches)
        self._sources[self._source] = arrays  # referenced, so that no other array gets the same id

    def rewind(self) -> None:
        self.ops.fill(self._start, 0)

    def unload(self) -> None:
        self.data = None
        self._recordings.clear()
        self._sources.clear()
        self._predictions.clear()

    def _more_parts(self) -> list[object]:
        return []

    def _recorded(self, operations: Callable[[int], None], rows: int) -> Callable[[int], None]:
        def record() -> Callable[[int], None]:
            began = time.perf_counter()
            recorded = self.ops.recorded(lambda: operations(rows))
            self.recording_seconds += time.perf_counter() - began
            return recorded

        return self._recordings.get((rows, *self._source), record)

    def _run(self, recorded: Callable[[int], Callable[[int], None]], rows: int, times: int) -> None:
        with TURNS:
            program = recorded(rows)
            joined = self.ops.sequence([(program, times)]) if is_alone() else None
            if joined is None:
                program(times)
        if joined is not None:
            joined(1)

    def next_weights(self, rows: int) -> tuple[Array, Array]:
        # If each member has separate rows, there are rows * members weights, and each weight is
        # divided by members.
        ops, data, count = self.ops, self.data, self.local_rows(rows) * self.members
        if not self.weighted:
            if rows not in self._counts:
                self._counts[rows] = ops.from_host(np.array([rows]), self.model.dtype)
            return self._equal_weights[:count], self._counts[rows]
        capacity = self.rows_per_update * self.members
        weights = self.workspace.fixed(self, "weights", (capacity,))[:count]
        total = self.workspace.fixed(self, "total_weight", (1,))
        if count:
            assert data is not None
            ops.gather_rows(data.weights, data.order, self._start, weights)
        if self.members > 1:
            ops.rescale(weights, 1 / self.members, 0.0, weights)
        self.sum_weights(weights, total)
        return weights, total

    @property
    def weighted(self) -> bool:
        return self._loaded().weights is not None

    def local_rows(self, rows: int) -> int:
        return rows

    def sum_weights(self, weights: Array, total: Array) -> None:
        self.ops.sum(weights, total)

    def _loaded(self) -> DeviceRows:
        if self.data is None:
            raise RuntimeError("a step needs rows: call load first")
        return self.data

    def forward(
        self, rows: int, weights: Array, normalizer: Array, gradient: Array | None
    ) -> list[Array]:
        # Loss and metrics are added to the statistics. `gradient` receives dL/dz, where L is the
        # sum of the weighted losses divided by `normalizer`, and z is the input of the loss.
        ops, workspace, statistics = self.ops, self.workspace, self.statistics
        data, rows = self._loaded(), rows * self.members
        # Later data may be of other types: pixels or numbers, labels or rows of probabilities.
        x_type, t_type = self._types
        x = workspace.rows(self, f"{x_type} inputs", rows, data.X.shape[1:], x_type)
        t = workspace.rows(self, f"{t_type} targets", rows, data.y.shape[1:], t_type)
        sources, outs, metric_weights = [data.X, data.y], [x, t], weights
        if statistics.metric_weight is not None:
            metric_weights = workspace.fixed(
                self, "metric_weights", (self.batch_size * self.members,)
            )
            metric_weights = metric_weights[:rows]
            sources, outs = [*sources, data.metric_weights], [*outs, metric_weights]
        ops.next_batch(sources, data.order, self._start, outs, workspace.passes)
        if statistics.metric_weight is not None:
            total = workspace.fixed(self, "total_metric_weight", (1,))
            ops.sum(metric_weights, total)
            ops.accumulate(total, statistics.metric_weight)
        workspace.until_loss = gradient is not None and not self.metrics
        outputs = network_forward(self.model, x, workspace)
        predictions = outputs[-1]
        compute_loss(
            self.model,
            workspace,
            self._present_loss(),
            predictions=outputs_until_loss(self.model, outputs)[-1],
            targets=t,
            weights=weights,
            normalizer=normalizer,
            gradient=gradient,
            loss_sum=statistics.loss_sum,
            equal_weights=not self.weighted,
        )
        for metric, summary in zip(self.metrics, statistics.summaries, strict=True):
            ops.metric(metric, predictions, t, metric_weights, summary)
        return outputs

    def _present_loss(self) -> Loss:
        return self.loss.evaluated()

    def evaluate(self, rows: int, times: int = 1) -> Array:
        # The next pass may overwrite the returned outputs of the last batch.
        self._run(self.recorded_evaluation, rows, times)
        return self.predictions(rows)

    def recorded_evaluation(self, rows: int) -> Callable[[int], None]:
        return self._recorded(self._evaluate, rows)

    def predictions(self, rows: int) -> Array:
        return self._predictions[rows, *self._source]

    def _evaluate(self, rows: int) -> None:
        weights, total = self.next_weights(rows)
        predictions = self.forward(rows, weights, total, None)[-1]
        self._predictions[rows, *self._source] = predictions
        self.ops.accumulate(total, self.statistics.weight_sum)


class TrainStep(BatchPass):
    """Updates the parameters from the next batch.

    `slots` has the optimizer's state: vectors on the device, as long as the parameters. `updates`
    does not count updates that loss scaling skipped. `gradients` has the last update's gradients.
    """

    training = True

    def __init__(self, recipe: StepRecipe) -> None:
        self.optimizer = optimizer = recipe.optimizer
        super().__init__(recipe)
        model, ops = self.model, self.ops
        parameters = model.parameters
        length = self.slot_length()
        self.slots = {name: ops.zeros((length,), model.dtype) for name in optimizer.slots}
        self.updates = ops.zeros((1,), "int64")
        others = parameters.running, *self.slots.values()
        self._state = [parameters.values, *(array for array in others if array.shape[0])]
        self.loss_scale = loss_scale(ops, model.dtype)
        self._accumulated = None
        if recipe.accumulation > 1:
            self._accumulated = ops.zeros(parameters.values.shape, model.dtype)
        self.gradients = parameters.gradients if self._accumulated is None else self._accumulated
        self.scheduled = ScheduledSettings(
            ops, model.dtype, scheduled_settings(model.layers, self.loss, optimizer)
        )
        self.workspace.settings = self.scheduled.now

    @cached_property
    def _segments(self) -> list[Segment]:
        optimizer = self.optimizer
        return self.model.parameters.segments(optimizer.decay_all, optimizer.by_parameter)

    @property
    def _decayed(self) -> int:
        return self.model.parameters.decayed_by(self.optimizer.decay_all)

    def _more_parts(self) -> list[object]:
        return [self.optimizer]

    def load_settings(self, values: np.ndarray) -> None:
        if self.scheduled.load(values):
            self._recordings.clear()

    def update(self, rows: int, times: int = 1) -> None:
        self._run(self.recorded_update, rows, times)

    def recorded_update(self, rows: int) -> Callable[[int], None]:
        return self._recorded(self._update, rows)

    def slot_length(self) -> int:
        return int(self.model.parameters.values.shape[0])

    def local_positions(self, rows: int) -> np.ndarray | None:
        """Return the positions of this process's rows among the last `rows` rows of an epoch.

        None means that this process has all rows.
        """
        return None

    def load_totals(self, totals: np.ndarray | None) -> None:
        """Load the sum of the row weights of all processes, for each update.

        Only a process that lacks some of the rows needs these sums.
        """

    def to_host(self, name: str, array: Array) -> np.ndarray:
        """Return a state array as a host array; `name` is the array's name in checkpoints."""
        return self.ops.to_host(array)

    def from_host(self, name: str, host: np.ndarray, array: Array) -> None:
        if name == "statistics.vector":  # a file has a row for each shard
            host = self.statistics.part_of(host, 0, 1)
        self.ops.copy_from_host(host, array)

    def whole_gradients(self) -> Array:
        return self.gradients

    def check_equal(self) -> None:
        """Raise a DistributedError if the last `collect` found that ranks' parameters differ."""

    def _update(self, rows: int) -> None:
        self.scheduled.look_up()
        weights, total = self.next_weights(rows)
        gradients = self._gradients(rows, weights, self.loss_scale.normalizer(total))
        self._apply(gradients, total)

    def _apply(self, gradients: Array, total: Array) -> None:
        ops, parameters, statistics = self.ops, self.model.parameters, self.statistics
        self.loss_scale.unscale(gradients)
        if self.optimizer.l2_penalty:
            ops.l2_penalty(
                parameters.values[: self._decayed],
                gradients[: self._decayed],
                total,
                self.optimizer.l2_penalty,
                statistics.loss_sum,
            )
        clip_gradients(ops, gradients, self.optimizer.max_norm)
        trained = Trained(parameters.values, gradients, self.slots, self._segments)
        self.loss_scale.update(
            self._counters(total), self.scheduled.present(self.optimizer), trained
        )

    def _counters(self, total: Array) -> UpdateCounters:
        scheduled, statistics = self.scheduled, self.statistics
        return UpdateCounters(
            rates=scheduled.rates,
            position=scheduled.position,
            rate=scheduled.rate,
            updates=self.updates,
            weight=total,
            loss_sum=statistics.loss_sum,
            weight_sum=statistics.weight_sum,
            finite_steps=statistics.finite_steps,
        )

    def _present_loss(self) -> Loss:
        return self.scheduled.present(self.loss)

    def check_state(self) -> None:
        """Store the sum of all state arrays, to detect an overflow even if the loss is finite."""
        self.ops.total(self._state, self.statistics.state_sum)

    def _gradients(self, rows: int, weights: Array, normalizer: Array) -> Array:
        parameters = self.model.parameters
        if self._accumulated is None:
            self._backpropagate(rows, weights, normalizer)
            return parameters.gradients
        self.ops.fill(self._accumulated, 0.0)
        start = 0
        for count in self._loaded().batches or batches(rows, self.batch_size):
            part = weights[start * self.members : (start + count) * self.members]
            self._backpropagate(count, part, normalizer)
            self.ops.accumulate(parameters.gradients, self._accumulated)
            start += count
        return self._accumulated

    def _backpropagate(self, rows: int, weights: Array, normalizer: Array) -> None:
        gradient = self.workspace.rows(self, "gradient", rows, self.model.loss_shape)
        outputs = self.forward(rows, weights, normalizer, gradient)
        outputs = outputs_until_loss(self.model, outputs)
        network_backward(self.model, outputs, gradient, self.workspace)

"""One training step: forward, loss, backward, update. It owns its buffers and allocates nothing.

Everything that changes from step to step (which rows come next, the learning rate, the numbers of
the update and of the pass) is a one-element array on the device that the step itself advances. So a
step is the same sequence of operations on the same buffers every time, and the backend may record
it once and replay it. So is the pass of a batch in an evaluation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gpunn.backends.operations import Trained, UpdateCounters
from gpunn.backends.recording import RecordingCache
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

__all__ = ["BatchPass", "PassRecipe", "StepRecipe", "TrainStep"]


@dataclass(frozen=True, kw_only=True)
class PassRecipe:
    """What a `BatchPass` is made from.

    An update consists of `accumulation` batches. With `separate_metric_weights` the rows come with
    weights for the metrics that are not those of the loss. A row stands for one of each member, if
    members have rows of their own.
    """

    model: Sequential
    loss: Loss
    metrics: list[Metric]
    batch_size: int
    accumulation: int = 1
    separate_metric_weights: bool = False
    members: int = 1

    @property
    def rows_per_update(self) -> int:
        """Rows whose weights are averaged over at a time."""
        return self.batch_size * self.accumulation

    def has_metric_weight(self, state: Mapping[str, np.ndarray]) -> bool:
        """Return whether sums of an epoch are those of metrics with weights of their own."""
        return has_metric_weight(state, self.metrics, self.model.output_shape[0])


@dataclass(frozen=True, kw_only=True)
class StepRecipe(PassRecipe):
    """What a `TrainStep` is made from.

    If `synchronized`, batch normalization takes the rows of all ranks together. With `batch_means`
    an epoch's loss is that of `BatchMeansStep`, which one process can do.
    """

    optimizer: Optimizer
    ranks: Ranks | None = None
    synchronized: bool = True
    batch_means: bool = False


class BatchPass:
    """Takes the next batch of the rows in `data` through network, loss and metrics.

    `recording_seconds` tells how long passes were recorded so far, compilation included.
    """

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
        self.statistics = self.make_statistics()
        self.data: DeviceRows | None = None
        self.recording_seconds = 0.0
        self._start = self.ops.zeros((1,), "int64")
        equal = np.full(self.rows_per_update * self.members, 1 / self.members)
        self._equal_weights = self.ops.from_host(equal, model.dtype)
        self._counts: dict[int, Array] = {}
        self._predictions: dict[tuple[object, ...], Array] = {}
        self._recordings = RecordingCache(
            [*family(*model.layers), loss, *metrics, *self._more_parts()]
        )
        self._places: dict[tuple[object, ...], tuple[Array | None, ...]] = {}
        self._place: tuple[object, ...] = ()

    def max_rows(self) -> int:
        """Return how many rows a pass has at most."""
        return self.batch_size

    def make_statistics(self, **options: Any) -> Statistics:
        """Return what takes loss and metrics."""
        return Statistics(
            self.ops,
            self.model.dtype,
            self.metrics,
            outputs=self.model.output_shape[0],
            separate_weights=self.recipe.separate_metric_weights,
            **options,
        )

    def clock(self) -> float:
        """Return seconds that pass while anything but recording is done."""
        return time.perf_counter() - self.recording_seconds

    def load(self, data: DeviceRows) -> None:
        """Begin with the first of these rows."""
        self.data = data
        self._types = self.ops.dtype_name(data.X), self.ops.dtype_name(data.y)
        self.ops.fill(self._start, 0)
        arrays = data.X, data.y, data.weights, data.order, data.metric_weights
        self._place = (*map(id, arrays), data.batches)
        self._places[self._place] = arrays  # kept, so that no other array gets the same id

    def unload(self) -> None:
        """Let go of the rows, whose memory may be large."""
        self.data = None
        self._recordings.clear()
        self._places.clear()
        self._predictions.clear()

    def _more_parts(self) -> list[object]:
        """Return what takes part beside layers, loss and metrics."""
        return []

    def _repeat(self, operations: Callable[[int], None], rows: int, times: int) -> None:
        """Do what depends on the rows loaded, and on how many are next, so many times."""

        def record() -> Callable[[int], None]:
            began = time.perf_counter()
            recorded = self.ops.recorded(lambda: operations(rows))
            self.recording_seconds += time.perf_counter() - began
            return recorded

        with TURNS:
            self._recordings.get((rows, *self._place), record)(times)

    def next_weights(self, rows: int) -> tuple[Array, Array]:
        """Return the sample weights of the next `rows` rows and their sum, of shape (1,).

        Where members have rows of their own, those are rows * members weights, divided by members.
        """
        ops, data, count = self.ops, self.data, self.local_rows(rows) * self.members
        if not self.weighted:
            if rows not in self._counts:
                self._counts[rows] = ops.from_host(np.array([rows]), self.model.dtype)
            return self._equal_weights[:count], self._counts[rows]
        most = self.rows_per_update * self.members
        weights = self.workspace.fixed(self, "weights", (most,))[:count]
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
        """Whether rows count by their weights, and not all as one."""
        return self._loaded().weights is not None

    def local_rows(self, rows: int) -> int:
        """Return how many rows of an update of `rows` rows are loaded for this pass."""
        return rows

    def sum_weights(self, weights: Array, total: Array) -> None:
        """Set the sum of the weights of the rows of all ranks."""
        self.ops.sum(weights, total)

    def _loaded(self) -> DeviceRows:
        if self.data is None:
            raise RuntimeError("a step needs rows: call load first")
        return self.data

    def forward(
        self, rows: int, weights: Array, normalizer: Array, gradient: Array | None
    ) -> list[Array]:
        """Run the next `rows` rows and return the outputs of all layers.

        Loss and metrics are added to the statistics. `gradient` takes dL/dz, L being the sum of the
        weighted losses over `normalizer`, and z what the loss is taken of; None if it isn't wanted.
        """
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
        )
        for metric, summary in zip(self.metrics, statistics.summaries, strict=True):
            ops.metric(metric, predictions, t, metric_weights, summary)
        return outputs

    def _present_loss(self) -> Loss:
        return self.loss.evaluated()

    def evaluate(self, rows: int, times: int = 1) -> Array:
        """Run the next `rows` rows for the statistics alone, so many times.

        Returns the network's outputs for the last of them, which the next pass may overwrite.
        """
        self._repeat(self._evaluate, rows, times)
        return self._predictions[rows, *self._place]

    def _evaluate(self, rows: int) -> None:
        weights, total = self.next_weights(rows)
        predictions = self.forward(rows, weights, total, None)[-1]
        self._predictions[rows, *self._place] = predictions
        self.ops.accumulate(total, self.statistics.weight_sum)


class TrainStep(BatchPass):
    """Updates the parameters from the next batch.

    The optimizer's state, on the device, are the `slots`, each as long as the parameters. `updates`
    counts the updates so far, less those that the loss scale left out. `gradients` is what the
    optimizer was last given.
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
        self._segments = parameters.segments(optimizer.decay_all)
        self._decayed = parameters.decayed_by(optimizer.decay_all)
        self.scheduled = ScheduledSettings(
            ops, model.dtype, scheduled_settings(model.layers, self.loss, optimizer)
        )
        self.workspace.settings = self.scheduled.now

    def _more_parts(self) -> list[object]:
        return [self.optimizer]

    def load_settings(self, values: np.ndarray) -> None:
        """Take what schedules give in each update from here on (`ScheduledSettings.over_epoch`)."""
        if self.scheduled.load(values):
            self._recordings.clear()

    def update(self, rows: int, times: int = 1) -> None:
        """Do so many updates, each from the next `rows` rows, at most `rows_per_update`."""
        self._repeat(self._update, rows, times)

    def slot_length(self) -> int:
        """Return how many parameters the optimizer's state is of."""
        return int(self.model.parameters.values.shape[0])

    def local_positions(self, rows: int) -> np.ndarray | None:
        """Return which of the rows that are left of an epoch are for this step; None is all."""
        return None

    def load_totals(self, totals: np.ndarray | None) -> None:
        """Take each update's sum of sample weights, if this step can't see all of them."""

    def to_host(self, name: str, array: Array) -> np.ndarray:
        """Return a part of the state, by its name in checkpoints, as a host array."""
        return self.ops.to_host(array)

    def from_host(self, name: str, host: np.ndarray, array: Array) -> None:
        """Take back what `to_host` returned."""
        if name == "statistics.vector":  # which has a row for each shard
            host = self.statistics.part_of(host, 0, 1)
        self.ops.copy_from_host(host, array)

    def whole_gradients(self) -> Array:
        """Return the gradients of the last update, of all parameters."""
        return self.gradients

    def check_equal(self) -> None:
        """Raise a DistributedError if the last `collect` found that ranks have drifted apart."""

    def _update(self, rows: int) -> None:
        self.scheduled.look_up()
        weights, total = self.next_weights(rows)
        gradients = self._gradients(rows, weights, self.loss_scale.normalizer(total))
        self._apply(gradients, total)

    def _apply(self, gradients: Array, total: Array) -> None:
        """Change the parameters by these gradients, of rows whose weights have this sum."""
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
        """Return what is looked up and counted with an update on rows of this total weight."""
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
        """Put the sum of the whole state beside the statistics, which shows if it is finite.

        The state is the parameters, what layers keep besides, and the optimizer's. The last two can
        overflow although loss and parameters stay finite.
        """
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

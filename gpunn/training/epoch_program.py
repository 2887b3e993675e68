"""Several epochs of training and validation as one program, without Python between the updates."""

import math
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from gpunn.backends.recording import Repeated
from gpunn.backends.turns import TURNS
from gpunn.data.batches import DeviceRows, Rows
from gpunn.training.session import TrainingSession
from gpunn.training.step.train_step import BatchPass, TrainStep
from gpunn.typing import Array

RepeatedCall = tuple[Callable[[int], None], int]


def state_arrays(step: TrainStep) -> list[Array]:
    """Return all arrays that an update changes and later updates read."""
    parameters = step.model.parameters
    counters = [step.updates, step.workspace.passes]
    arrays = parameters.values, parameters.running, *step.slots.values(), *counters
    return [array for array in arrays if array.shape[0]]


class Tables:
    def __init__(self, step: BatchPass, sources: Sequence[Array], rows: int) -> None:
        ops = self._ops = step.ops
        self._sources = sources
        self.rows = [ops.zeros((rows, *a.shape[1:]), ops.dtype_name(a)) for a in sources]
        self.position = ops.zeros((1,), "int64")

    def append(self, sources: Sequence[Array] = ()) -> None:
        self._ops.append(sources or self._sources, self.rows, self.position)


class Log:
    def __init__(self, step: BatchPass, batches: int, every: int, epochs: int) -> None:
        self._statistics, self._ops = step.statistics, step.ops
        self.counts = [min(every, batches - start) for start in range(0, batches, every)]
        rows = epochs * len(self.counts)
        self.tables = Tables(step, [self._statistics.vector[None, :]], rows)

    def report(self) -> None:
        self.tables.append()
        self._ops.fill(self._statistics.vector, 0.0)

    def results(self, epochs: int) -> tuple[dict[str, list[float]], np.ndarray]:
        rows = self.tables.rows[0]
        shape = epochs, len(self.counts), rows.shape[1]
        return self._statistics.of_epochs(rows[: shape[0] * shape[1]].reshape(shape))


class EpochProgram:
    """A recorded program that runs up to `epochs` epochs on data in the host's memory.

    During `run`, other threads may run other programs.
    """

    def __init__(
        self,
        session: TrainingSession,
        step: TrainStep,
        passes: BatchPass | None,
        epochs: int,
        orders: tuple[Array, Array],
    ) -> None:
        ops, plan, every = step.ops, session.plan, session.trainer.log_every
        self._ops, self.step, self.passes = ops, step, passes
        self.plan, self.epochs = plan, epochs
        self.held = 0 if session.validation is None else session.validation.rows
        self.order, self.held_order = orders
        self.state = state_arrays(step)
        self._numbers = [array for array in self.state if array.dtype == self.state[0].dtype]
        self._sums = ops.zeros((1, len(self._numbers)), step.model.dtype)
        self._states = Tables(step, [*(array[None, :] for array in self.state), self._sums], epochs)
        self._log = Log(step, plan.updates, every, epochs)
        self._held_log = self._outputs = None
        if passes is not None:
            self._held_log = Log(passes, -(-self.held // passes.batch_size), every, epochs)
        if passes is not None and session.trainer.policy.validation_metrics:
            like = ops.zeros((0, *step.model.output_shape), step.model.dtype)
            self._outputs = Tables(step, [like], epochs * self.held)
        self._recorded: list[Callable[[int], None]] = []
        self._program: Repeated | None = None
        self._held = np.arange(0)
        self._small: dict[str, Callable[[int], None]] = {}
        # Replacing the table of learning rates later would invalidate recorded programs.
        step.load_settings(np.zeros((epochs * plan.updates, 1 + len(step.scheduled.settings))))

    def prepare(self, training: Rows, held: Rows | None) -> Repeated | None:
        with TURNS:
            self.step.load(rows_in(training, self.order))
            if self.passes is not None:
                assert held is not None
                self.passes.load(rows_in(held, self.held_order))
            recorded = list(self._batches())
            if recorded != self._recorded or self._program is None:
                self._recorded = recorded
                parts = [*self._training(), *self._validation()]
                self._program = self._ops.sequence(parts, self.epochs)
        return self._program

    def unload(self) -> None:
        self._recorded, self._program = [], None
        if self.passes is not None:
            self.passes.unload()

    def _batches(self) -> Iterator[Callable[[int], None]]:
        visited, rows = self.plan.visited, self.plan.rows_per_update
        yield from (self.step.recorded_update(each) for each in batch_sizes(visited, rows))
        if self.passes is not None:
            rows = self.passes.batch_size
            yield from (self.passes.recorded_evaluation(n) for n in batch_sizes(self.held, rows))

    def _training(self) -> Iterator[RepeatedCall]:
        yield from self._logged(
            self.step.recorded_update, self.plan.visited, self.plan.rows_per_update, self._log
        )
        yield self._once("states", self._append_state), 1

    def _append_state(self) -> None:
        for index, array in enumerate(self._numbers):
            self._ops.sum(array, self._sums[0, index : index + 1])
        self._states.append()

    def _validation(self) -> Iterator[RepeatedCall]:
        passes, log = self.passes, self._held_log
        if passes is not None and log is not None:
            yield from self._logged(passes.recorded_evaluation, self.held, passes.batch_size, log)

    def _logged(
        self, recorded: Callable[[int], Callable[[int], None]], total: int, rows: int, log: Log
    ) -> Iterator[RepeatedCall]:
        left = total
        for count in log.counts:
            whole = min(count, left // rows)
            if whole:
                yield from self._repeated(recorded, rows, whole, log)
            left -= whole * rows
            if whole < count:
                yield from self._repeated(recorded, left, 1, log)
            yield self._once(f"log {id(log)}", log.report), 1

    def _repeated(
        self, recorded: Callable[[int], Callable[[int], None]], rows: int, times: int, log: Log
    ) -> Iterator[RepeatedCall]:
        batch, outputs = recorded(rows), self._outputs
        if outputs is None or log is self._log or self.passes is None:
            yield batch, times
            return
        predictions = [self.passes.predictions(rows)]
        put = self._once(f"outputs {rows}", lambda: outputs.append(predictions))
        for _ in range(times):
            yield batch, 1
            yield put, 1

    def _once(self, name: str, operations: Callable[[], object]) -> Callable[[int], None]:
        if name not in self._small:
            self._small[name] = self._ops.recorded(operations)
        return self._small[name]

    def load(self, orders: np.ndarray, settings: np.ndarray, held: np.ndarray) -> None:
        ops = self._ops
        ops.copy_from_host(orders, self.order[: orders.size].reshape(orders.shape))
        self.step.load_settings(settings)
        if not np.array_equal(held, self._held):
            self._held = held
            ops.copy_from_host(
                np.tile(held, self.epochs), self.held_order[: held.size * self.epochs]
            )
        for tables in self._tables:
            tables.position[...] = 0
        for each in (self.step, self.passes):
            if each is not None:
                each.rewind()

    @property
    def _tables(self) -> list[Tables]:
        logs = [log.tables for log in (self._log, self._held_log) if log is not None]
        return [self._states, *logs, *([] if self._outputs is None else [self._outputs])]

    @property
    def nbytes(self) -> int:
        tables = [rows for tables in self._tables for rows in tables.rows]
        passes = [each for each in (self.step, self.passes) if each is not None]
        arrays = [*tables, self.order, self.held_order]
        return sum(map(self._ops.nbytes, arrays)) + sum(each.workspace.nbytes for each in passes)

    def measure_epoch(self, row: int, enough: float) -> float:
        """Estimate an epoch's seconds from the time of an update on copies of one row.

        If the update takes less than `enough` seconds, a second update is timed. The faster one
        counts.
        """
        step, rows = self.step, min(self.plan.rows_per_update, self.plan.visited)
        self.order[: rows * self.plan.members] = row
        program = self._ops.sequence([(step.recorded_update(rows), 1)])
        assert program is not None
        seconds = math.inf
        for _ in range(2):  # the first run also loads memory into the cache
            step.rewind()
            self._ops.fill(step.scheduled.position, 0)
            began = time.perf_counter()
            program(1)
            seconds = min(seconds, time.perf_counter() - began)  # another thread may interrupt
            if seconds >= enough:
                break
        self._ops.fill(step.statistics.vector, 0.0)
        return seconds * (self.plan.visited + self.held) / rows

    def run(self, epochs: int) -> None:
        assert self._program is not None
        self._program(epochs)

    def state_after(self, epoch: int) -> list[Array]:
        return [table[epoch] for table in self._states.rows[:-1]]

    def logs(self, epochs: int) -> list[dict[str, float]]:
        """Return the logs of all epochs before the first faulty epoch.

        An epoch is faulty if a value is not finite, or if all weights are 0.
        """
        columns, finite = self._log.results(epochs)
        sound = finite == self.plan.updates
        if not math.isfinite(np.add.reduce(self._states.rows[-1][:epochs], axis=None)):
            tables = [table[:epochs] for table in self._states.rows[:-1]]
            sound &= np.isfinite(np.add.reduce(tables[0], axis=1))
            # Unlike parameters, buffers may contain the largest numbers, whose sum is infinite.
            for table in tables[1:]:
                sound &= np.isfinite(table).all(axis=1)
        if self._held_log is not None:
            held, _ = self._held_log.results(epochs)
            columns |= {f"val_{name}": values for name, values in held.items()}
            sound &= np.isfinite(columns["val_loss"])
        rows = [
            dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)
        ]
        first = int(sound.argmin())
        return rows if sound[first] else rows[:first]

    def outputs(self, epoch: int) -> np.ndarray:
        assert self._outputs is not None
        start = epoch * self.held
        return self._ops.to_host(self._outputs.rows[0][start : start + self.held])


def batch_sizes(rows: int, batch: int) -> list[int]:
    return [size for size in (batch if rows >= batch else 0, rows % batch) if size]


def rows_in(arrays: Rows, order: Array) -> DeviceRows:
    X, y, weights, metric_weights = arrays
    return DeviceRows(X, y, weights, order, int(order.shape[0]), metric_weights)

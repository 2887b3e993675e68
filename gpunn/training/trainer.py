"""Training over epochs: shuffling, validation, statistics, callbacks."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpunn.configurable import check_integer, check_number, resolve
from gpunn.data.batches import RowSource
from gpunn.data.preprocessing import split_rows
from gpunn.data.validation import check_inputs, check_rows, check_weights, to_numpy
from gpunn.errors import ArgumentError, DataError, DivergenceError
from gpunn.losses import Loss
from gpunn.metrics import Metric
from gpunn.network import Sequential
from gpunn.optimizers import Adam, Optimizer
from gpunn.randomness import permutation
from gpunn.training.callbacks import Callback
from gpunn.training.history import History
from gpunn.training.interruption import Interruption
from gpunn.training.step import BatchPass, TrainStep
from gpunn.training.weights import combined_weights
from gpunn.typing import Array, HostArray

__all__ = ["Trainer"]


@dataclass(frozen=True)
class Snapshot:
    """A copy, on the device, of everything that training changes."""

    parameters: tuple[Array, Array]
    slots: Mapping[str, Array]
    updates: Array


class Trainer:
    """Trains a network.

    Parameters
    ----------
    model : Sequential
        Trained in place.
    loss : Loss, str or mapping
        Such as "softmax_cross_entropy", "binary_cross_entropy" (both from logits) or
        "mean_squared_error".
    optimizer : Optimizer, str or mapping
        Such as `gpunn.optimizers.Adam(1e-3)` or "adam".
    metrics : sequence of Metric, str or mapping
        Reported beside the loss, such as "accuracy".
    gradient_accumulation : int
        Number of batches whose gradients make up one update, so that an update sees
        gradient_accumulation * batch_size rows with the memory of batch_size.
    report_every : int
        Updates between report points, at which the host reads the statistics from the device,
        looks for a loss that is not finite and moves the progress bar.

    Attributes
    ----------
    history : History
        Of all epochs of all calls of `fit`.
    epoch, updates : int
        Epochs and updates done so far.
    stop_reason : str
        Set by a callback to end training after this epoch.

    Examples
    --------
    >>> import gpunn
    >>> X, y, X_test, y_test = gpunn.data.load_digits()
    >>> model = gpunn.Sequential(
    ...     [gpunn.layers.Rescaling(1 / 16), gpunn.layers.Dense(64, activation="relu"),
    ...      gpunn.layers.Dense(10)],
    ...     input_shape=(64,), backend="numpy", seed=0)
    >>> trainer = gpunn.Trainer(model, "softmax_cross_entropy", gpunn.optimizers.Adam(3e-3),
    ...                         metrics=["accuracy"])
    >>> history = trainer.fit(X, y, epochs=20, batch_size=32, progress=False)
    >>> trainer.evaluate(X_test, y_test)["accuracy"] > 0.95
    True
    """

    def __init__(
        self,
        model: Sequential,
        loss: Loss | str | Mapping[str, Any],
        optimizer: Optimizer | str | Mapping[str, Any] | None = None,
        metrics: Sequence[Metric | str | Mapping[str, Any]] = (),
        *,
        gradient_accumulation: int = 1,
        report_every: int = 100,
    ) -> None:
        if len(model.output_shape) != 1:
            raise ArgumentError(
                "model: to be trained, a network must end in a vector of outputs; this one ends in "
                f"shape {model.output_shape}. Add gpunn.layers.Flatten() and a Dense layer"
            )
        self.model = model
        self.loss = resolve(Loss, loss, "loss")
        self.optimizer = Adam() if optimizer is None else resolve(Optimizer, optimizer, "optimizer")
        self.metrics = [
            resolve(Metric, metric, f"metrics[{index}]") for index, metric in enumerate(metrics)
        ]
        names = ["loss", *(metric.name for metric in self.metrics)]
        if len(set(names)) < len(names):
            raise ArgumentError(f"metrics: each name may occur once; got {names[1:]}")
        self.gradient_accumulation = check_integer("gradient_accumulation", gradient_accumulation)
        self.report_every = check_integer("report_every", report_every)
        self.history = History()
        self.epoch = 0
        self.updates = 0
        self.stop_reason = ""
        self._step: TrainStep | None = None
        self._evaluation: BatchPass | None = None
        self._pending: dict[str, np.ndarray] = {}

    # ------------------------------------------------------------------------------ training

    def fit(
        self,
        X: HostArray,
        y: HostArray,
        *,
        epochs: int = 1,
        batch_size: int = 32,
        validation_data: tuple[HostArray, ...] | None = None,
        validation_split: float = 0.0,
        sample_weight: HostArray | None = None,
        class_weight: Mapping[int, float] | str | None = None,
        shuffle: bool = True,
        callbacks: Sequence[Callback] = (),
        progress: bool = True,
        stream: bool | None = None,
    ) -> History:
        """Train for a number of epochs; a further call goes on from there.

        Parameters
        ----------
        X : array, shape (rows, *input_shape)
            Inputs on the host; a memory map is read piece by piece.
        y : array
            Targets, as the loss takes them.
        epochs : int
            Passes over the data.
        batch_size : int
            Rows in a batch; the last one of an epoch may be smaller.
        validation_data : tuple of (X, y) or (X, y, sample_weight)
            Evaluated after each epoch; its figures have the prefix "val_".
        validation_split : float
            In [0, 1): the fraction of the rows that is set aside as validation data, at random
            and, if the targets are classes, in the classes' proportions.
        sample_weight : array, shape (rows,)
            A weight of k counts a row k times.
        class_weight : mapping of int to float, or "balanced"
            Factor of the weight of each class's rows, 1 if missing; "balanced" is
            rows / (classes * rows of the class).
        shuffle : bool
            Whether to visit the rows in a new order each epoch, drawn from (seed, epoch).
        callbacks : sequence of Callback
            Called at the beginning and end of training and of each epoch.
        progress : bool
            Whether to show a progress bar, on standard error.
        stream : bool or None
            Whether to put the rows on the device piece by piece; None decides by their size.
            Results are the same.

        Returns
        -------
        History
            Of all epochs so far, those of earlier calls included.

        Raises
        ------
        DataError
            If the data does not fit the network or the loss. Nothing has been changed then.
        DivergenceError
            If the loss stops being a finite number.

        Notes
        -----
        Ctrl-C ends training after the running update; `fit` then returns as usual, with
        `history.stopped` saying so.
        """
        epochs = check_integer("epochs", epochs, at_least=0)
        batch_size = check_integer("batch_size", batch_size)
        check_number("validation_split", validation_split, at_least=0, below=1)
        X, targets, weights = self._checked(X, y, sample_weight)
        if validation_data is not None and validation_split:
            raise ArgumentError("validation_split: can't be given beside validation_data")
        validation = None
        if validation_data is not None:
            checked = self._checked_validation(validation_data)
            validation = self._source(*checked, stream)
        elif validation_split:
            classes = self.loss.class_indices(targets)
            kept, held = split_rows(X.shape[0], validation_split, self.model.seed, classes)
            held_weights = None if weights is None else weights[held]
            validation = self._source(X[held], targets[held], held_weights, stream)
            X, targets = X[kept], targets[kept]
            weights = None if weights is None else weights[kept]
        weights = combined_weights(self.loss, targets, weights, class_weight)
        if not self.model.inputs_fitted:
            self.model.fit_inputs(X)
        step = self._prepared_step(batch_size)
        source = self._source(X, targets, weights, stream)

        self.stop_reason = self.history.stopped = ""
        plan = self.epoch + epochs
        for callback in callbacks:
            callback.on_train_begin(self)
        try:
            with Interruption() as interruption:
                while self.epoch < plan and not self.stop_reason:
                    done = self._run_epoch(
                        step, source, validation, plan, shuffle, progress, interruption
                    )
                    if not done:
                        self.stop_reason = "interrupted by Ctrl-C"
                        break
                    for callback in callbacks:
                        callback.on_epoch_end(self, self.history.rows[-1])
        finally:
            self.history.stopped = self.stop_reason
            for callback in callbacks:
                callback.on_train_end(self)
        return self.history

    def _run_epoch(
        self,
        step: TrainStep,
        source: RowSource,
        validation: RowSource | None,
        plan: int,
        shuffle: bool,
        progress: bool,
        interruption: Interruption,
    ) -> bool:
        """Train for one epoch and add it to the history; return False if interrupted."""
        order = permutation(self.model.seed, self.epoch, source.rows) if shuffle else None
        updates = math.ceil(source.rows / step.rows_per_update)
        rates = self._learning_rates(updates, plan)
        bar = self._progress_bar(source.rows, plan, progress)
        began, done = time.perf_counter(), 0
        step.statistics.reset()
        try:
            for piece in source.epoch(order, step.rows_per_update):
                step.load(piece)
                step.load_rates(rates[done:])
                for start in range(0, piece.rows, step.rows_per_update):
                    rows = min(step.rows_per_update, piece.rows - start)
                    step.update(rows)
                    self.updates += 1
                    done += 1
                    if done % self.report_every == 0:
                        self._report(step, done, bar)
                    if interruption.requested:
                        return False
            self._report(step, done, bar)
            seconds = time.perf_counter() - began
            logs = step.statistics.result()
            if validation is not None:
                for name, figure in self._evaluate(validation, step.batch_size).items():
                    logs[f"val_{name}"] = figure
            bar.set_postfix(logs)
        finally:
            bar.close()
        self.epoch += 1
        self.optimizer.schedule.observe(logs)
        self.history.append(
            {
                "epoch": self.epoch,
                **logs,
                "learning_rate": float(rates[-1]),
                "seconds": seconds,
                "samples_per_second": source.rows / seconds,
            }
        )
        return True

    def _learning_rates(self, updates: int, plan: int) -> np.ndarray:
        time_in_epochs = self.epoch + (np.arange(updates) + 0.5) / updates
        return np.asarray(self.optimizer.schedule.at(time_in_epochs, plan), dtype=np.float64)

    def _report(self, step: TrainStep, done: int, bar: Any) -> None:
        since = done % self.report_every or min(self.report_every, done)
        finite = step.statistics.collect()
        if finite < since:
            bad = done - since + finite + 1
            raise DivergenceError(
                f"loss: not a finite number from epoch {self.epoch + 1}, step {bad} on. A smaller "
                "learning_rate usually helps; so do a warm-up, max_norm (gradient clipping), and "
                "inputs scaled to about [-1, 1]"
            )
        bar.update(min(done * step.rows_per_update, bar.total) - bar.n)
        bar.set_postfix(step.statistics.result())

    def _progress_bar(self, rows: int, plan: int, progress: bool) -> Any:
        if not progress:
            return NoBar(rows)
        from tqdm import tqdm

        name = f"Epoch {self.epoch + 1}/{plan}"
        return tqdm(total=rows, desc=name, unit=" samples", unit_scale=True, file=sys.stderr)

    def _prepared_step(self, batch_size: int) -> TrainStep:
        """Return the step for this batch size, with the state that training has come to."""
        step = self._step
        if step is not None and step.batch_size == batch_size:
            return step
        state = self.state()
        self._step = TrainStep(
            self.model,
            self.loss,
            self.optimizer,
            self.metrics,
            batch_size,
            self.gradient_accumulation,
        )
        self.set_state(state)
        return self._step

    # ---------------------------------------------------------------------------- evaluation

    def evaluate(
        self,
        X: HostArray,
        y: HostArray,
        *,
        batch_size: int = 1024,
        sample_weight: HostArray | None = None,
        stream: bool | None = None,
    ) -> dict[str, float]:
        """Return loss and metrics over a data set, by name.

        Parameters are those of `fit`. Dropout is off, and batch normalisation uses its running
        averages.

        Raises
        ------
        DataError
            If the data does not fit the network or the loss.
        """
        batch_size = check_integer("batch_size", batch_size)
        source = self._source(*self._checked(X, y, sample_weight), stream)
        return self._evaluate(source, batch_size)

    def _evaluate(self, source: RowSource, batch_size: int) -> dict[str, float]:
        if self._evaluation is None or self._evaluation.batch_size != batch_size:
            self._evaluation = BatchPass(
                self.model, self.loss, self.metrics, batch_size, training=False
            )
        evaluation = self._evaluation
        evaluation.statistics.reset()
        for piece in source.epoch(None, batch_size):
            evaluation.load(piece)
            for start in range(0, piece.rows, batch_size):
                evaluation.evaluate(min(batch_size, piece.rows - start))
            evaluation.statistics.collect()
        evaluation.unload()
        return evaluation.statistics.result()

    # ---------------------------------------------------------------------------------- data

    def _checked(
        self, X: HostArray, y: HostArray, weights: HostArray | None, prefix: str = ""
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        X = check_inputs(X, self.model.input_shape, f"{prefix}X")
        if X.shape[0] == 0:
            raise DataError(f"{prefix}X: expected at least one row; got none")
        y = to_numpy(y, f"{prefix}y")
        check_rows(X.shape[0], {f"{prefix}y": y}, f"{prefix}X")
        targets = self.loss.check_targets(y, self.model.output_shape[0])
        if weights is not None:
            weights = check_weights(weights, X.shape[0], f"{prefix}sample_weight")
        return X, targets, weights

    def _checked_validation(
        self, validation_data: tuple[HostArray, ...]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
            raise ArgumentError(
                "validation_data: expected a tuple (X, y) or (X, y, sample_weight); "
                f"got {type(validation_data).__name__}"
            )
        X, y, *weights = validation_data
        return self._checked(X, y, weights[0] if weights else None, "validation_data ")

    def _source(
        self, X: np.ndarray, y: np.ndarray, weights: np.ndarray | None, stream: bool | None
    ) -> RowSource:
        input_dtype = self.model.input_dtype(X.dtype)
        return RowSource(self.model.backend, X, y, weights, input_dtype, self.model.dtype, stream)

    # --------------------------------------------------------------------------------- state

    def snapshot(self) -> Snapshot:
        """Return a copy, on the device, of the parameters and the optimizer's state."""
        step, ops = self._started_step(), self.model.backend
        slots = {name: ops.copy(slot) for name, slot in step.slots.items()}
        return Snapshot(self.model.parameters.snapshot(), slots, ops.copy(step.updates))

    def restore(self, snapshot: Snapshot) -> None:
        """Take back what `snapshot` returned."""
        step = self._started_step()
        self.model.parameters.restore(snapshot.parameters)
        for name, slot in snapshot.slots.items():
            step.slots[name][...] = slot
        step.updates[...] = snapshot.updates

    def _started_step(self) -> TrainStep:
        if self._step is None:
            raise ArgumentError("trainer: training has not begun, so there is no state to keep")
        return self._step

    def state(self) -> dict[str, np.ndarray]:
        """Return the optimizer's state and the device's counters as host arrays, by name."""
        step = self._step
        if step is None:
            return self._pending
        to_host = self.model.backend.to_host
        slots = {f"optimizer.{name}": to_host(slot) for name, slot in step.slots.items()}
        passes = to_host(step.workspace.passes)
        return {**slots, "updates": to_host(step.updates), "passes": passes}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what `state` returned, now or when training begins."""
        self._pending = dict(state)
        step = self._step
        if step is None or not state:
            return
        copy_from_host = self.model.backend.copy_from_host
        for name, slot in step.slots.items():
            copy_from_host(state[f"optimizer.{name}"], slot)
        copy_from_host(state["updates"], step.updates)
        copy_from_host(state["passes"], step.workspace.passes)

    def save_checkpoint(self, path: Any) -> None:
        """Write everything that `load_checkpoint` needs to go on exactly from here."""
        from gpunn.saving import save_checkpoint

        save_checkpoint(self, path)

    def load_checkpoint(self, path: Any) -> None:
        """Go on from a checkpoint: parameters, optimizer, counters, schedule and history."""
        from gpunn.saving import load_checkpoint

        load_checkpoint(self, path)


class NoBar:
    """Stands for a progress bar that isn't shown."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.n = 0

    def update(self, amount: int) -> None:
        """Do nothing."""

    def set_postfix(self, figures: Mapping[str, float]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

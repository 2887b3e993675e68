"""Training over epochs: shuffling, validation, statistics, callbacks."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpunn.configurable import check_flag, check_integer, resolve, resolve_all
from gpunn.errors import ArgumentError, DivergenceError, GpunnError
from gpunn.losses import Loss
from gpunn.metrics import Metric
from gpunn.network import Sequential
from gpunn.optimizers import Adam, Optimizer
from gpunn.randomness import permutation
from gpunn.training.callbacks import Callback
from gpunn.training.examples import Examples, examples, training_examples
from gpunn.training.history import History
from gpunn.training.interruption import Interruption
from gpunn.training.pace import Pace
from gpunn.training.progress import progress_bar
from gpunn.training.step import BatchPass, TrainStep
from gpunn.typing import Array, HostArray

__all__ = ["Trainer"]

LOG = logging.getLogger("gpunn")

TIMINGS = ("learning_rate", "seconds", "samples_per_second")
"""Figures of an epoch that are not measured on the predictions."""

REMEDIES = (
    "A smaller learning_rate usually helps; so do a warm-up, max_norm (gradient clipping), and "
    "inputs scaled to about [-1, 1]"
)
"""What to do when training diverges."""


@dataclass(frozen=True)
class Snapshot:
    """A copy, on the device, of everything that training changes."""

    parameters: tuple[Array, Array]
    slots: Mapping[str, Array]
    updates: Array
    loss_scale: Mapping[str, Array]


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
        Updates between report points, at which the host reads the statistics from the device
        and looks for a loss that is not finite. Training is the same whatever it is.

    Attributes
    ----------
    history : History
        Of all epochs of all calls of `fit`.
    epoch, updates : int
        Epochs and updates done so far, those included that loss scaling left out.
    figures : list of str
        Names of the figures in each epoch's row of the history, from the beginning of `fit` on.
    stop_reason : str
        Set by a callback to end training after this epoch.

    Notes
    -----
    Loss, metrics and optimizer may be replaced between two calls of `fit`. The optimizer's state
    goes with the optimizer: another one starts anew.

    A copied or pickled trainer goes on exactly where this one is.

    Examples
    --------
    >>> import gpunn
    >>> X, y, X_test, y_test = gpunn.data.load_digits()
    >>> model = gpunn.Sequential(
    ...     [
    ...         gpunn.layers.Rescaling(1 / 16),
    ...         gpunn.layers.Dense(64, activation="relu"),
    ...         gpunn.layers.Dense(10),
    ...     ],
    ...     input_shape=(64,),
    ...     backend="numpy",
    ...     seed=0,
    ... )
    >>> trainer = gpunn.Trainer(
    ...     model, "softmax_cross_entropy", gpunn.optimizers.Adam(3e-3), metrics=["accuracy"]
    ... )
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
        self.metrics = resolve_all(Metric, metrics, "metrics")
        names = ["loss", *(metric.name for metric in self.metrics)]
        reserved = {"epoch", *TIMINGS}
        if len(set(names)) < len(names) or reserved & set(names):
            raise ArgumentError(
                f"metrics: each name may occur once, and none may be 'loss' or one of "
                f"{sorted(reserved)}; got {names[1:]}"
            )
        self.gradient_accumulation = check_integer("gradient_accumulation", gradient_accumulation)
        self.report_every = check_integer("report_every", report_every)
        self.history = History()
        self.epoch = 0
        self.updates = 0
        self.stop_reason = ""
        self.figures: list[str] = []
        self._step: TrainStep | None = None
        self._recipe: tuple[Any, ...] = ()
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
        callbacks: Sequence[Callback | str | Mapping[str, Any]] = (),
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
            Passes over the data; 0 only checks the arguments and prepares.
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
        callbacks : sequence of Callback, str or mapping
            Such as `["early_stopping"]`. Called in this order, at the beginning and end of training
            and after each epoch.
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
            If the data does not fit the network, the loss or a metric. Nothing has been changed
            then.
        ArgumentError
            If an option is impossible, or a callback or schedule monitors a figure that there
            won't be. Nothing has been changed then.
        DivergenceError
            If the loss stops being a finite number, or after an epoch a parameter or the
            validation loss is not one; the message names the epoch and, for the loss, the step.
        DeviceMemoryError
            If the device has too little memory; the message says how much, and what takes less.

        Notes
        -----
        Ctrl-C ends training after the updates that are running, one or those of one or two tenths
        of a second; `fit` then returns as usual, with `history.stopped` saying so, and a warning is
        logged (logger "gpunn"). The epoch it cuts short counts as not done.

        A network with a `Standardization` layer takes that layer's figures from the training rows
        of the first call.
        """
        epochs = check_integer("epochs", epochs, at_least=0)
        batch_size = check_integer("batch_size", batch_size)
        shuffle, progress = check_flag("shuffle", shuffle), check_flag("progress", progress)
        stream = None if stream is None else check_flag("stream", stream)
        callbacks = resolve_all(Callback, callbacks, "callbacks")
        training, validation = training_examples(
            self,
            X,
            y,
            sample_weight=sample_weight,
            class_weight=class_weight,
            validation_data=validation_data,
            validation_split=validation_split,
            stream=stream,
        )
        return self.fit_examples(
            training, validation, epochs, batch_size, shuffle, callbacks, progress
        )

    def fit_examples(
        self,
        training: Examples,
        validation: Examples | None,
        epochs: int,
        batch_size: int,
        shuffle: bool,
        callbacks: Sequence[Callback],
        progress: bool,
    ) -> History:
        """Do what `fit` does once it has checked its arguments."""
        self.figures = self._figure_names(validation is not None)
        self.optimizer.schedule.check(self.figures)
        self.stop_reason = self.history.stopped = ""
        # Before the callbacks, which may begin by clearing away what an earlier run has left.
        learned = None
        if not self.model.inputs_fitted:
            learned = self.model.learn_inputs(training.source.X, training.numbers)
        with self.model.backend.memory_errors():
            step = self._prepared_step(min(batch_size, training.rows))
        with ExitStack() as ending:
            ending.callback(self.model.backend.release_memory)
            for data in (training, validation):
                if data is not None:
                    ending.callback(data.unload)
            for callback in reversed(callbacks):
                ending.callback(callback.on_train_end, self)
            try:
                for callback in callbacks:
                    callback.on_train_begin(self)
                if learned is not None:
                    self.model.take_inputs(learned)
                ending.callback(step.unload)
                plan, pace = self.epoch + epochs, Pace(self.model.backend.synchronize)
                with self.model.backend.memory_errors(), Interruption() as interruption:
                    while self.epoch < plan and not self.stop_reason:
                        if interruption.requested:
                            self.stop_reason = "interrupted by Ctrl-C"
                            LOG.warning(
                                "Training was interrupted by Ctrl-C after update %d, with %d of %d "
                                "epochs done",
                                self.updates,
                                self.epoch,
                                plan,
                            )
                        elif self._run_epoch(
                            *(step, training, validation, plan),
                            *(shuffle, progress, interruption, pace),
                        ):
                            for callback in callbacks:
                                callback.on_epoch_end(self, self.history.rows[-1])
                            if callbacks:
                                step.forget_if_changed()
            except MemoryError as error:
                self.stop_reason = f"{type(error).__name__}: {error}"
                if isinstance(error, GpunnError):
                    raise
                raise ArgumentError(out_of_memory(batch_size, error)) from error
            except BaseException as error:
                self.stop_reason = f"{type(error).__name__}: {error}"
                raise
            finally:
                self.history.stopped = self.stop_reason
        return self.history

    def _figure_names(self, validated: bool) -> list[str]:
        measured = ["loss", *(metric.name for metric in self.metrics)]
        validation = [f"val_{name}" for name in measured] if validated else []
        return ["epoch", *measured, *validation, *TIMINGS]

    def _run_epoch(
        self,
        step: TrainStep,
        training: Examples,
        validation: Examples | None,
        plan: int,
        shuffle: bool,
        progress: bool,
        interruption: Interruption,
        pace: Pace,
    ) -> bool:
        """Train for one epoch and add it to the history; return False if interrupted."""
        order = self._order(training.rows) if shuffle else None
        rates = self._learning_rates(math.ceil(training.rows / step.rows_per_update), plan)
        bar = progress_bar(f"Epoch {self.epoch + 1}/{plan}", training.rows, progress)
        began = time.perf_counter()
        # What overflows ends in a loss that is not finite, which is reported as such.
        with closing(bar), np.errstate(over="ignore", invalid="ignore"):
            step.statistics.reset()
            done = reported = 0
            for piece in training.pieces(step.rows_per_update, order):
                step.load(piece)
                step.load_rates(rates[done:])
                left = piece.rows
                while left:
                    rows = min(step.rows_per_update, left)
                    times = min(left // rows, pace.updates, reported + self.report_every - done)
                    pace.begin()
                    step.update(rows, times)
                    self.updates += times
                    done += times
                    left -= times * rows
                    if left:  # else the host goes on to the next rows meanwhile
                        pace.end(times)
                    bar.update(times * rows)
                    if done == len(rates):
                        step.sum_parameters()
                    if done - reported == self.report_every or done == len(rates):
                        self._report(step, reported, done, bar)
                        reported = done
                    if interruption.requested:
                        return False
            seconds = time.perf_counter() - began
            logs = step.statistics.result()
            if validation is not None:
                figures = self._evaluate(validation, step.batch_size)
                if not math.isfinite(figures["loss"]):
                    self._diverged(
                        f"val_loss: not a finite number after epoch {self.epoch + 1}. {REMEDIES}"
                    )
                logs |= {f"val_{name}": figure for name, figure in figures.items()}
            bar.set_postfix(logs)
        self.epoch += 1
        timings = (float(rates[-1]), seconds, training.rows / seconds)
        row = {"epoch": self.epoch, **logs, **dict(zip(TIMINGS, timings, strict=True))}
        self.history.append(row)
        self.optimizer.schedule.observe(row)
        return True

    def _order(self, rows: int) -> np.ndarray:
        """Return the order in which the next epoch visits the rows."""
        return permutation(self.model.seed, self.epoch, rows)

    def _diverged(self, message: str) -> None:
        """End training, because something is not a finite number."""
        raise DivergenceError(message)

    def _learning_rates(self, updates: int, plan: int) -> np.ndarray:
        time_in_epochs = self.epoch + (np.arange(updates) + 0.5) / updates
        rates = np.asarray(self.optimizer.schedule.at(time_in_epochs, plan), dtype=np.float64)
        return np.array(np.broadcast_to(rates, (updates,)))

    def _report(self, step: TrainStep, reported: int, done: int, bar: Any) -> None:
        """Read the statistics of the updates since the last report."""
        step.loss_scale.show(step.statistics.loss_scale)
        finite = step.statistics.collect()
        remedies = REMEDIES + step.loss_scale.remedy
        if finite < done - reported:
            self._diverged(
                f"loss: not a finite number from epoch {self.epoch + 1}, step "
                f"{reported + finite + 1} on. {remedies}"
            )
        if step.loss_scale.exhausted(step.statistics.shown_loss_scale):
            self._diverged(
                f"gradient: not finite by step {done} of epoch {self.epoch + 1}, though the loss "
                f"is, even with the smallest loss scale there is. {remedies}"
            )
        if not step.statistics.parameters_finite:
            self._diverged(
                "parameters: they or their sum are not finite after the last step of epoch "
                f"{self.epoch + 1}. {remedies}"
            )
        bar.set_postfix(step.statistics.result(), refresh=False)

    def _prepared_step(self, batch_size: int) -> TrainStep:
        """Return a step for this batch size, with the state that training has come to.

        A step is used again as long as nothing that it was made from has been changed. The state
        belongs to the optimizer object: another optimizer starts with a new one.
        """
        recipe = (
            batch_size,
            self.gradient_accumulation,
            self.model,
            self.loss,
            list(self.metrics),
            self.optimizer,
            self.optimizer.config(),
        )
        if self._step is not None and self._recipe == recipe:
            return self._step
        state = self.state()
        if self._step is not None and self._step.optimizer is not self.optimizer:
            state = {name: state[name] for name in ("passes", *self._step.loss_scale.state)}
        self._step = TrainStep(
            self.model,
            self.loss,
            self.optimizer,
            self.metrics,
            batch_size,
            self.gradient_accumulation,
        )
        self._recipe = recipe
        self._pending = {}
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
            If the data does not fit the network, the loss or a metric.
        """
        batch_size = check_integer("batch_size", batch_size)
        stream = None if stream is None else check_flag("stream", stream)
        checked = examples(self, X, y, sample_weight, stream)
        try:
            with self.model.backend.memory_errors():
                return self._evaluate(checked, batch_size)
        except MemoryError as error:
            if isinstance(error, GpunnError):
                raise
            raise ArgumentError(out_of_memory(batch_size, error)) from error

    def _evaluate(self, checked: Examples, batch_size: int) -> dict[str, float]:
        batch_size = min(batch_size, checked.rows)
        evaluation = self._prepared_evaluation(batch_size)
        evaluation.statistics.reset()
        try:
            done = 0
            for piece in checked.pieces(batch_size):
                evaluation.load(piece)
                for start in range(0, piece.rows, batch_size):
                    evaluation.evaluate(min(batch_size, piece.rows - start))
                    done += 1
                    if done % self.report_every == 0:
                        evaluation.statistics.collect()
            evaluation.statistics.collect()
        finally:
            evaluation.unload()
        return evaluation.statistics.result()

    def _prepared_evaluation(self, batch_size: int) -> BatchPass:
        made_from = (batch_size, self.model, self.loss, list(self.metrics))
        current = self._evaluation
        if current is None or made_from != (
            current.batch_size,
            current.model,
            current.loss,
            current.metrics,
        ):
            current = BatchPass(self.model, self.loss, self.metrics, batch_size, training=False)
            self._evaluation = current
        return current

    # --------------------------------------------------------------------------------- state

    def snapshot(self) -> Snapshot:
        """Return a copy, on the device, of the parameters and the optimizer's state."""
        step, ops = self._started_step(), self.model.backend
        slots = {name: ops.copy(slot) for name, slot in step.slots.items()}
        loss_scale = {name: ops.copy(array) for name, array in step.loss_scale.state.items()}
        parameters = self.model.parameters.snapshot()
        return Snapshot(parameters, slots, ops.copy(step.updates), loss_scale)

    def restore(self, snapshot: Snapshot) -> None:
        """Take back what `snapshot` returned."""
        step = self._started_step()
        self.model.parameters.restore(snapshot.parameters)
        for name, slot in snapshot.slots.items():
            step.slots[name][...] = slot
        step.updates[...] = snapshot.updates
        for name, array in snapshot.loss_scale.items():
            step.loss_scale.state[name][...] = array

    def last_gradients(self) -> dict[str, Array]:
        """Return views, by name, of the gradient of the last update, as the optimizer took it."""
        return self.model.parameters.views_into(self._started_step().gradients)

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
        counters = {"updates": step.updates, "passes": step.workspace.passes}
        rest = {**counters, **step.loss_scale.state}
        return {**slots, **{name: to_host(array) for name, array in rest.items()}}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what `state` returned, now or when training begins.

        What is missing stays as it is, and what the optimizer does not have is left out.
        """
        step = self._step
        if step is None:
            self._pending = dict(state)
            return
        arrays = {f"optimizer.{name}": slot for name, slot in step.slots.items()}
        arrays |= {"updates": step.updates, "passes": step.workspace.passes}
        arrays |= step.loss_scale.state
        for name in arrays.keys() & state.keys():
            self.model.backend.copy_from_host(state[name], arrays[name])

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made from: the device's state as host arrays, no buffers."""
        remade = {"_step": None, "_recipe": (), "_evaluation": None, "_pending": self.state()}
        return {**vars(self), **remade}

    def workspace_bytes(self) -> int:
        """Return the bytes held by the buffers of training and evaluation, in all."""
        passes = (self._step, self._evaluation)
        return sum(each.workspace.nbytes for each in passes if each is not None)

    def save_checkpoint(self, path: Any) -> None:
        """Write everything that `load_checkpoint` needs to go on exactly from here."""
        from gpunn.saving import save_checkpoint

        save_checkpoint(self, path)

    def load_checkpoint(self, path: Any) -> None:
        """Go on from a checkpoint: parameters, optimizer, counters, schedule and history."""
        from gpunn.saving import load_checkpoint

        load_checkpoint(self, path)


def out_of_memory(batch_size: int, error: MemoryError) -> str:
    """Return what to say when the buffers of a pass find no room."""
    reason = f" ({error})" if str(error) else ""
    return (
        f"batch_size: out of memory with batches of {batch_size} rows{reason}. Choose a smaller "
        "one; for training, gradient_accumulation makes up for it"
    )

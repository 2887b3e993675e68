"""Training over epochs: shuffling, validation, statistics, callbacks."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gpunn.attributes import unknown_attribute
from gpunn.configurable import check_flag, check_integer, resolve, resolve_all
from gpunn.errors import ArgumentError, DivergenceError, ModelFileError, suggest
from gpunn.exclusion import exclusive
from gpunn.losses import Loss
from gpunn.metrics import Metric
from gpunn.monitor import TIMINGS, directions
from gpunn.network import Sequential
from gpunn.optimizers import Adam, Optimizer
from gpunn.randomness import permutation
from gpunn.training.callbacks import Callback, EarlyStopping
from gpunn.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    newest_checkpoint,
    restore_checkpoint,
    save_checkpoint,
)
from gpunn.training.dataset import Subset, check_same_names, examples, training_examples
from gpunn.training.epoch_cursor import EpochCursor, EpochPlan
from gpunn.training.feed import Feed
from gpunn.training.history import History
from gpunn.training.interruption import Interruption
from gpunn.training.memory import BufferMemory
from gpunn.training.progress import progress_bar
from gpunn.training.recovery import CHOICES, REMEDIES, GoodState, Recovery, sound
from gpunn.training.statistics import state_shapes, with_metric_weight
from gpunn.training.step import BatchPass, TrainStep
from gpunn.training.step_batching import StepBatching
from gpunn.typing import Array, HostArray

__all__ = ["Trainer"]

LOG = logging.getLogger("gpunn")

AT_ONCE = 16
"""Batches of an evaluation that are asked for at a time; between two requests Ctrl-C is heard."""


def checked_metrics(values: Any) -> list[Metric]:
    """Return metrics, or raise an error if two figures would have one name."""
    metrics = resolve_all(Metric, values, "metrics")
    names = ["loss", *(metric.name for metric in metrics)]
    reserved = {"epoch", *TIMINGS}
    if len(set(names)) < len(names) or reserved & set(names):
        raise ArgumentError(
            f"metrics: each name may occur once, and none may be 'loss' or one of "
            f"{sorted(reserved)}; got {names[1:]}"
        )
    return metrics


def checked_choice(value: Any) -> str:
    """Return what to do on divergence, or raise an error if there is no such choice."""
    if value not in CHOICES:
        raise ArgumentError(f"on_divergence: there is no {value!r}; {suggest(str(value), CHOICES)}")
    return str(value)


CHECKS: dict[str, Callable[[Any], Any]] = {
    "loss": lambda value: resolve(Loss, value, "loss"),
    "metrics": checked_metrics,
    "optimizer": lambda value: resolve(Optimizer, value, "optimizer"),
    "gradient_accumulation": lambda value: check_integer("gradient_accumulation", value),
    "report_every": lambda value: check_integer("report_every", value),
    "on_divergence": checked_choice,
}
"""What checks a setting, in the constructor and later, and makes objects of names."""


@dataclass(frozen=True)
class Snapshot:
    """A copy, on the device, of everything that training changes."""

    parameters: tuple[Array, Array]
    slots: Mapping[str, Array]
    updates: Array
    loss_scale: Mapping[str, Array]


@dataclass
class CallbackStates:
    """The states of callbacks in a checkpoint, in their order there.

    Attributes
    ----------
    path : Path
        The checkpoint.
    """

    path: Path
    _left: list[tuple[str, dict[str, Any]]]

    def take(self, name: str) -> dict[str, Any]:
        """Return the first state of a callback of this name that was not taken yet."""
        for index, (owner, state) in enumerate(self._left):
            if owner == name:
                del self._left[index]
                return state
        return {}


def describe(course: EpochPlan) -> str:
    """Return what an epoch consists of, in words."""
    return (
        f"{course.rows} rows in batches of {course.batch_size}, {course.rows_per_update} an "
        f"update, {'shuffled' if course.shuffle else 'not shuffled'}, with the figures "
        f"{course.figures}"
    )


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
        and looks for a loss or parameters that are not finite. Training is the same whatever it
        is.
    on_divergence : {"stop", "skip", "roll_back"}
        What to do then. The updates since the last report point are done once more to find the
        first that goes bad, and its batch is taken through the network layer by layer. "stop" ends
        training with a `DivergenceError` that names the first layer whose numbers went bad;
        "skip" leaves that update out; "roll_back" goes back to the last report point and leaves
        out all updates up to that one. Both log a warning, and end training if ten such recoveries
        in a row did not lead to a good report point.

    Attributes
    ----------
    history : History
        Of all epochs of all calls of `fit`.
    epoch, updates : int
        Epochs and updates done so far, those included that were left out.
    first_epoch : int
        Epochs done when this call of `fit`, or the one that is gone on with, began.
    position : EpochCursor or None
        How far the current epoch has come; None between epochs.
    recoveries : int
        Recoveries in a row, without a good report point in between.
    callbacks : list of Callback
        Those of the running call of `fit`, in the order in which they are called.
    figures : list of str
        Names of the figures in each epoch's row of the history, from the beginning of `fit` on.
    stop_reason : str
        Set by a callback to end training after this epoch.

    Notes
    -----
    Everything but `model` may be set between two calls of `fit`, and is checked then. The
    optimizer's state goes with the optimizer: another one starts anew.

    A copied or pickled trainer goes on exactly where this one is.

    To find out where training went bad, a copy of the parameters and the optimizer's state is kept
    beside them. Where memory does not suffice for it, "stop" goes without and can't name the layer.

    Subset
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

    _made = False
    """Whether all attributes are there, so that another one would be a mistake."""

    def __init__(
        self,
        model: Sequential,
        loss: Loss | str | Mapping[str, Any],
        optimizer: Optimizer | str | Mapping[str, Any] | None = None,
        metrics: Sequence[Metric | str | Mapping[str, Any]] = (),
        *,
        gradient_accumulation: int = 1,
        report_every: int = 100,
        on_divergence: str = "stop",
    ) -> None:
        if len(model.output_shape) != 1:
            raise ArgumentError(
                "model: to be trained, a network must end in a vector of outputs; this one ends in "
                f"shape {model.output_shape}. Add gpunn.layers.Flatten() and a Dense layer"
            )
        self.model = model
        self.loss = resolve(Loss, loss, "loss")
        self.optimizer = Adam() if optimizer is None else resolve(Optimizer, optimizer, "optimizer")
        self.metrics = checked_metrics(metrics)
        self.gradient_accumulation = gradient_accumulation
        self.report_every = report_every
        self.on_divergence = on_divergence
        self.history = History()
        self.history.larger_is_better = self.larger_is_better
        self.epoch = 0
        self.updates = 0
        self.first_epoch = 0
        self.position: EpochCursor | None = None
        self.recoveries = 0
        self.callbacks: list[Callback] = []
        self.stop_reason = ""
        self.figures: list[str] = []
        self._step: TrainStep | None = None
        self._recipe: tuple[Any, ...] = ()
        self._evaluation: BatchPass | None = None
        self._pending: dict[str, np.ndarray] = {}
        self._own_metric_weights = False
        self._made = True

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute that there is; settings are checked as in the constructor."""
        if name in CHECKS:
            value = CHECKS[name](value)
        known = name in vars(self) or name[0] == "_" or hasattr(type(self), name)
        if self._made and not known and type(self) is Trainer:
            raise unknown_attribute(self, name, vars(self))
        super().__setattr__(name, value)

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
        resume_from: str | Path | Checkpoint | None = None,
    ) -> History:
        """Train for a number of epochs; a further call goes on from there.

        Parameters
        ----------
        X : array, shape (rows, *input_shape)
            Inputs on the host; a memory map is read piece by piece. The network remembers the names
            of a data frame's columns, and takes those of later data frames by name.
        y : array
            Targets, as the loss takes them. Columns of a data frame are taken likewise.
        epochs : int
            Passes over the data; 0 only checks the arguments and prepares. With `resume_from`,
            those before the interruption included.
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
            Factor of the weight of each class's rows in the training loss, 1 if missing; "balanced"
            is rows / (classes * rows of the class). Metrics and validation data have no class
            weights, so "loss" and "val_loss" are of different scales then.
        shuffle : bool
            Whether to visit the rows in a new order each epoch, drawn from (seed, epoch).
        callbacks : sequence of Callback, str or mapping
            Such as `["early_stopping"]`. Called in this order, at the beginning and end of training
            and after each epoch; those that write checkpoints come after the others.
        progress : bool
            Whether to show a progress bar: on standard error, if that is a terminal, and in a
            notebook in the output of the cell.
        stream : bool or None
            Whether to put the rows on the device piece by piece; None decides by their size.
            Results are the same.
        resume_from : str or Path
            A checkpoint, or a folder of checkpoints (such as a run's), whose newest undamaged one
            is taken. The same call as the one that was interrupted, with this added, ends with the
            same weights and history, bit for bit, as if it had not been. Callbacks go on with
            their state, and the epoch with its next update.

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
        ModelFileError
            If there is no undamaged checkpoint to resume from, or it does not fit. Nothing has been
            changed then.
        DivergenceError
            If the loss or a parameter stops being a finite number, or after an epoch the validation
            loss is not one; the message names epoch, step and the first layer that went bad. The
            network is then as it was before that step.
        DeviceMemoryError
            If the device has too little memory; the message says how much, and what takes less.
        DeviceError
            If the device has failed; the message says how to go on.

        Warns
        -----
        GpunnWarning
            If the last layer's activation does not go with the loss, a metric or the targets, or
            the targets' scale is far from that of an untrained network's outputs. The message names
            the remedy.

        Notes
        -----
        Ctrl-C ends training after the updates that are running, one or those of one or two tenths
        of a second, and after the validation if they were an epoch's last. Callbacks that write
        checkpoints write one, `fit` returns as usual, with `history.stopped` saying so, and a
        warning is logged (logger "gpunn"). A further call with as many rows and the same batch size
        first ends the epoch that was cut short. SIGTERM does the same, but then ends the program
        with the exit status 143 (`SystemExit`).

        A network with a `Standardization` layer takes that layer's figures from the training rows
        of the first call.
        """
        epochs = check_integer("epochs", epochs, at_least=0)
        batch_size = check_integer("batch_size", batch_size)
        shuffle, progress = check_flag("shuffle", shuffle), check_flag("progress", progress)
        stream = None if stream is None else check_flag("stream", stream)
        callbacks = resolve_all(Callback, callbacks, "callbacks")
        callbacks.sort(key=lambda callback: callback.saves)
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
            *(training, validation, epochs, batch_size),
            *(shuffle, callbacks, progress, resume_from),
        )

    @exclusive("fit", training=True)
    def fit_examples(
        self,
        training: Subset,
        validation: Subset | None,
        epochs: int,
        batch_size: int,
        shuffle: bool,
        callbacks: list[Callback],
        progress: bool,
        resume_from: str | Path | Checkpoint | None = None,
    ) -> History:
        """Do what `fit` does once it has checked its arguments."""
        figures = self._figure_names(validation is not None)
        self.optimizer.schedule.check({name: self.larger_is_better[name] for name in figures})
        course = EpochPlan(
            training.rows,
            min(batch_size, training.rows),
            min(batch_size, training.rows) * self.gradient_accumulation,
            shuffle,
            self.measured,
        )
        self._own_metric_weights = training.source.metric_weights is not None
        states = self._resume(resume_from, course, training)
        self.figures = figures
        self.history.stopped = ""
        self.history.larger_is_better = self.larger_is_better
        self.history.rule = None
        if states is None:
            self.first_epoch, self.stop_reason = self.epoch, ""
            if self.position is None:
                self.recoveries = 0
            if self.position is not None and (
                self.position.course != course
                or (self._has_metric_weight(self.state()) and not self._own_metric_weights)
            ):
                LOG.warning("The epoch that was cut short begins anew: the data or batches differ")
                self.position = None
        # Before the callbacks, which may begin by clearing away what an earlier run has left.
        learned = None
        if not self.model.inputs_fitted:
            learned = self.model.learn_inputs(training.source.X, training.indices)
        memory = BufferMemory(self, batch_size)
        with memory:
            step = self._prepared_step(course.batch_size, training.rows)
        names = training.names
        self.model.remember(names.features, names.targets, self.loss.output_activation)
        self.callbacks = callbacks
        termination = None
        with ExitStack() as ending:
            ending.enter_context(self.model.backend.device_errors())  # what follows may fail, too
            ending.callback(setattr, self, "callbacks", [])
            ending.callback(self.model.backend.release_memory)
            for data in (training, validation):
                if data is not None:
                    ending.callback(data.unload)
            for callback in reversed(callbacks):
                ending.callback(callback.on_train_end, self)
            try:
                for callback in callbacks:
                    callback.on_train_begin(self)
                    if states is not None:
                        self._hand_over(callback, states)
                self.history.rule = next(
                    (each.rule for each in callbacks if isinstance(each, EarlyStopping)), None
                )
                if learned is not None:
                    self.model.take_inputs(learned)
                ending.callback(step.unload)
                ending.callback(self._unload_evaluation)
                plan = self.first_epoch + epochs
                pace = StepBatching(self.model.backend.synchronize)
                with self.model.backend.device_errors(), Interruption() as interruption:
                    with memory:
                        recovery = self._recovery(step, training)
                    while self.epoch < plan and not self.stop_reason:
                        if interruption.requested:
                            for callback in callbacks:
                                callback.on_interruption(self)
                            self.stop_reason = interruption.reason
                            termination = interruption.exit_status
                            LOG.warning(
                                "Training was %s after update %d, with %d of %d epochs done",
                                self.stop_reason,
                                self.updates,
                                self.epoch,
                                plan,
                            )
                        elif self._run_epoch(
                            *(step, course, training, validation, plan),
                            *(progress, interruption, recovery, pace, memory),
                        ):
                            for callback in callbacks:
                                callback.on_epoch_end(self, self.history.rows[-1])
                            if callbacks:
                                step.forget_if_changed()
            except BaseException as error:
                self.stop_reason = f"{type(error).__name__}: {error}"
                self.position = None
                raise
            finally:
                self.history.stopped = self.stop_reason
        if termination is not None:
            raise SystemExit(termination)
        return self.history

    @property
    def measured(self) -> list[str]:
        """Names of the figures that are measured on each batch."""
        return ["loss", *(metric.name for metric in self.metrics)]

    @property
    def larger_is_better(self) -> dict[str, bool | None]:
        """Whether a larger figure is better, by the name of each possible one; None is unknown."""
        return directions(self.metrics)

    def _figure_names(self, validated: bool) -> list[str]:
        validation = [f"val_{name}" for name in self.measured] if validated else []
        return ["epoch", *self.measured, *validation, *TIMINGS]

    def _recovery(self, step: TrainStep, training: Subset) -> Recovery | None:
        """Return what helps where training goes bad, if there is memory for it."""
        try:
            good = GoodState(self, step)
        except MemoryError:
            if self.on_divergence != "stop":
                raise
            LOG.info("No memory for a copy of the parameters, so divergence can't be explained")
            return None
        return Recovery(self, step, training, good, self.on_divergence)

    def _run_epoch(
        self,
        step: TrainStep,
        course: EpochPlan,
        training: Subset,
        validation: Subset | None,
        plan: int,
        progress: bool,
        interruption: Interruption,
        recovery: Recovery | None,
        pace: StepBatching,
        memory: BufferMemory,
    ) -> bool:
        """Train for one epoch, or the rest of one, and add it to the history.

        Returns False, with the position kept, if interrupted.
        """
        with memory:
            order = self._order(course.rows) if course.shuffle else None
            rates = self._learning_rates(course.updates, plan)
        bar = progress_bar(f"Epoch {self.epoch + 1}/{plan}", course.rows, progress)
        # What overflows ends in a loss that is not finite, which is reported as such.
        with closing(bar), np.errstate(over="ignore", invalid="ignore"):
            if self.position is None:
                step.statistics.reset()
                self.position = EpochCursor(course)
            position = self.position
            if position.done:
                bar.update(position.rows_done)
            began = step.clock() - position.seconds
            if recovery is not None:
                recovery.good.keep(position)
            feed, moved = None, False
            while True:
                if position.report_due(self.report_every):
                    with memory:
                        went_on = self._report(step, order, rates, recovery, bar)
                    if went_on is not position:
                        position = self.position = went_on
                        feed = None
                        continue
                if moved:
                    self._after_updates(position)
                # Rolling back to a report point takes its state, which a checkpoint does not have.
                between = position.done > position.reported and self.on_divergence == "roll_back"
                if position.finished:
                    break
                if interruption.requested and not between:
                    return False
                if feed is None:
                    feed = Feed(step, training, order, rates, position)
                pace.begin()
                recording = step.recording_seconds
                with memory:
                    done, rows = feed.advance(min(pace.updates, self._until_next_stop(position)))
                if step.recording_seconds > recording:
                    bar.unpause()  # so that its rate leaves compilation out
                if feed.rows_left:  # else the host goes on to the next rows meanwhile
                    pace.end(done)
                self.updates += done
                position.seconds = step.clock() - began
                bar.update(rows)
                moved = True
            seconds = step.clock() - began
            logs = step.statistics.result()
            if not logs:
                raise DivergenceError(
                    f"loss: every update of epoch {self.epoch + 1} had to be left out. {REMEDIES}"
                )
            if validation is not None:
                with memory:
                    figures = self._evaluate(validation, step.batch_size)
                if not math.isfinite(figures["loss"]):
                    self._diverged(
                        f"val_loss: not a finite number after epoch {self.epoch + 1}. {REMEDIES}"
                    )
                logs |= {f"val_{name}": figure for name, figure in figures.items()}
            bar.set_postfix(logs)
        self.epoch += 1
        self.position = None
        timings = (float(rates[-1]), seconds, course.rows / seconds)
        self._note({"epoch": self.epoch, **logs, **dict(zip(TIMINGS, timings, strict=True))})
        return True

    def _note(self, row: dict[str, float]) -> None:
        """Take note of the figures of an epoch that has ended."""
        self.history.append(row)
        self.optimizer.schedule.observe(row)

    def _order(self, rows: int) -> np.ndarray:
        """Return the order in which the next epoch visits the rows."""
        return permutation(self.model.seed, self.epoch, rows)

    def _diverged(self, message: str) -> None:
        """End training, because something is not a finite number."""
        raise DivergenceError(message)

    def _until_next_stop(self, position: EpochCursor) -> int:
        """Return how many updates may be asked for before the host has something to do."""
        stops = [callback.every_updates for callback in self.callbacks]
        return min(
            max(1, position.reported + self.report_every - position.done),
            *(every - self.updates % every for every in stops if every is not None),
            position.course.updates,
        )

    def _after_updates(self, position: EpochCursor) -> None:
        """Let callbacks look up, unless the end of the epoch is about to be theirs."""
        if position.finished:
            return
        for callback in self.callbacks:
            every = callback.every_updates
            if every is None or self.updates % every == 0:
                callback.on_updates_end(self)

    def _learning_rates(self, updates: int, plan: int) -> np.ndarray:
        time_in_epochs = self.epoch + (np.arange(updates) + 0.5) / updates
        rates = np.asarray(self.optimizer.schedule.at(time_in_epochs, plan), dtype=np.float64)
        return np.array(np.broadcast_to(rates, (updates,)))

    def _report(
        self,
        step: TrainStep,
        order: np.ndarray | None,
        rates: np.ndarray,
        recovery: Recovery | None,
        bar: Any,
    ) -> EpochCursor:
        """Read the statistics of the updates since the last report.

        Returns the place to go on from: the position itself, or an earlier one.
        """
        position = self.position
        assert position is not None
        step.sum_parameters()
        step.loss_scale.show(step.statistics.loss_scale)
        finite = step.statistics.collect()
        remedies = REMEDIES + step.loss_scale.remedy
        number = self.epoch + 1
        fault = ""
        if finite < position.done - position.reported - position.left_out:
            first = position.reported + position.left_out + finite + 1
            fault = f"loss: not a finite number from epoch {number}, step {first} on"
        elif step.loss_scale.exhausted(step.statistics.shown_loss_scale):
            self._diverged(
                f"gradient: not finite by step {position.done} of epoch {number}, though the loss "
                f"is, even with the smallest loss scale there is. {remedies}"
            )
        elif not step.statistics.parameters_finite:
            fault = (
                f"parameters: they or their sum are not finite after step {position.done} of epoch "
                f"{number}"
            )
        if fault and recovery is None:
            self._diverged(f"{fault}. {remedies}")
        if fault and recovery is not None:
            return recovery.recover(order, rates, position, fault)
        position.reported, position.left_out = position.done, 0
        if recovery is not None:
            if finite:
                self.recoveries = 0
            if not position.finished:  # else the next epoch begins with it
                recovery.good.keep(position)
        bar.set_postfix(step.statistics.result(), refresh=False)
        return position

    def _prepared_step(self, batch_size: int, rows: int | None = None) -> TrainStep:
        """Return a step for this batch size, with the state that training has come to.

        An update never takes more batches than `rows` make, so that buffers are not made for more.

        A step is used again as long as nothing that it was made from has been changed. The state
        belongs to the optimizer object: another optimizer starts with a new one.
        """
        accumulation = self.gradient_accumulation
        if accumulation > 1 and rows is not None:  # at least 2, which is not computed as 1 is
            accumulation = max(2, min(accumulation, math.ceil(rows / batch_size)))
        recipe = (
            batch_size,
            accumulation,
            self.model,
            self.loss,
            list(self.metrics),
            self.optimizer,
            self.optimizer.config(),
            self._own_metric_weights,
        )
        if self._step is not None and self._recipe == recipe:
            return self._step
        state = self.state()
        if self.position is None:  # what is left of an epoch that begins anew
            state = {name: array for name, array in state.items() if name[:11] != "statistics."}
        elif self._own_metric_weights and not self._has_metric_weight(state):
            state = with_metric_weight(state)
        if self._step is not None and self._step.optimizer is not self.optimizer:
            state = {
                name: array
                for name, array in state.items()
                if not name.startswith("optimizer.") and name != "updates"
            }
        self._step = TrainStep(
            self.model,
            self.loss,
            self.optimizer,
            self.metrics,
            batch_size,
            accumulation,
            self._own_metric_weights,
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
        DeviceMemoryError, DeviceError
            As `fit`.
        """
        batch_size = check_integer("batch_size", batch_size)
        stream = None if stream is None else check_flag("stream", stream)
        return self.evaluate_examples(examples(self, X, y, sample_weight, stream), batch_size)

    @exclusive("evaluate", training=False)
    def evaluate_examples(self, checked: Subset, batch_size: int = 1024) -> dict[str, float]:
        """Do what `evaluate` does once it has checked its arguments."""
        try:
            with self.model.backend.device_errors(), BufferMemory(self, batch_size):
                return self._evaluate(checked, batch_size)
        finally:
            self._unload_evaluation()

    def _evaluate(
        self, checked: Subset, batch_size: int, outputs: list[np.ndarray] | None = None
    ) -> dict[str, float]:
        """Return the figures of checked rows; those of the network's outputs go to `outputs`."""
        batch_size = min(batch_size, checked.rows)
        evaluation = self._prepared_evaluation(batch_size)
        evaluation.forget_if_changed()
        evaluation.statistics.reset()
        done, most = 0, AT_ONCE if outputs is None else 1
        for piece in checked.chunks(batch_size):
            evaluation.load(piece)
            left = piece.rows
            while left:
                rows = min(batch_size, left)
                times = min(left // rows, most, self.report_every - done % self.report_every)
                batch = evaluation.evaluate(rows, times)
                if outputs is not None:
                    outputs.append(self.model.backend.to_host(batch))
                left -= times * rows
                done += times
                if done % self.report_every == 0:
                    evaluation.statistics.collect()
        evaluation.statistics.collect()
        return evaluation.statistics.result()

    def _unload_evaluation(self) -> None:
        if self._evaluation is not None:
            self._evaluation.unload()

    def _prepared_evaluation(self, batch_size: int) -> BatchPass:
        made_from = (batch_size, self.model, self.loss, list(self.metrics))
        current = self._evaluation
        if current is None or made_from != (
            current.batch_size,
            current.model,
            current.loss,
            current.metrics,
        ):
            self._unload_evaluation()
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

    def snapshot_to_host(self, snapshot: Snapshot) -> dict[str, np.ndarray]:
        """Return a snapshot as host arrays, for a checkpoint."""
        values, statistics = snapshot.parameters
        arrays = {"values": values, "statistics": statistics, "updates": snapshot.updates}
        arrays |= {f"optimizer.{name}": slot for name, slot in snapshot.slots.items()}
        arrays |= {f"loss_scale.{name}": array for name, array in snapshot.loss_scale.items()}
        to_host = self.model.backend.to_host
        return {name: to_host(array) for name, array in arrays.items()}

    def snapshot_from_host(self, arrays: Mapping[str, np.ndarray]) -> Snapshot:
        """Return the snapshot that `snapshot_to_host` described.

        Raises
        ------
        ArgumentError
            If the arrays don't fit network and optimizer.
        """
        snapshot = self.snapshot()  # for its arrays
        fresh = {"values": snapshot.parameters[0], "statistics": snapshot.parameters[1]}
        fresh |= {"updates": snapshot.updates}
        fresh |= {f"optimizer.{name}": slot for name, slot in snapshot.slots.items()}
        # Whether the loss is scaled is a matter of the backend.
        scales = {f"loss_scale.{name}": array for name, array in snapshot.loss_scale.items()}
        fresh |= {name: array for name, array in scales.items() if name in arrays}
        for name, array in fresh.items():
            given = arrays.get(name)
            if (
                not isinstance(given, np.ndarray)
                or given.shape != array.shape
                or given.dtype.kind not in "fiu"
            ):
                found = (
                    f"{given.dtype} of shape {given.shape}"
                    if isinstance(given, np.ndarray)
                    else "no array"
                )
                raise ArgumentError(f"{name}: expected numbers of shape {array.shape}; got {found}")
            if not np.isfinite(given).all():
                raise ArgumentError(f"{name}: holds numbers that are not finite")
            self.model.backend.copy_from_host(given, array)
        return snapshot

    def restore(self, snapshot: Snapshot) -> None:
        """Take back what `snapshot` returned; an epoch that was cut short then begins anew."""
        step = self._started_step()
        self.position = None
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

    def is_sound(self) -> bool:
        """Return whether all losses since the last report, and all parameters, are finite.

        For callbacks that write checkpoints: what is written while this is False is of no use.
        Where training may be rolled back to a report point, only such a point is good to go on
        from. This waits for the device.
        """
        position = self.position
        if position is None or position.done == position.reported:
            return True  # as the report has found
        if self.on_divergence == "roll_back":
            return False
        return sound(self._started_step(), position)

    def state(self) -> dict[str, np.ndarray]:
        """Return the optimizer's state and the device's counters as host arrays, by name.

        Within an epoch the sums over its updates so far are among them.
        """
        step = self._step
        if step is None:
            return self._pending
        to_host = self.model.backend.to_host
        slots = {f"optimizer.{name}": to_host(slot) for name, slot in step.slots.items()}
        counters = {"updates": step.updates, "passes": step.workspace.passes}
        rest = {**counters, **step.loss_scale.state}
        sums = {}
        if self.position is not None:
            sums = {"statistics.totals": step.statistics.totals()}
            rest |= {"statistics.vector": step.statistics.vector}
        return {**slots, **sums, **{name: to_host(array) for name, array in rest.items()}}

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
        if "statistics.totals" in state:
            arrays |= {"statistics.vector": step.statistics.vector}
            step.statistics.set_totals(state["statistics.totals"])
        for name in arrays.keys() & state.keys():
            self.model.backend.copy_from_host(state[name], arrays[name])

    def statistics_shapes(self, own_weights: bool) -> dict[str, tuple[int, ...]]:
        """Return the shapes of those arrays of `state` that are there within an epoch alone.

        Parameters
        ----------
        own_weights : bool
            Whether the metrics have weights that are not those of the loss.
        """
        return state_shapes(self.metrics, self.model.output_shape[0], own_weights)

    def _has_metric_weight(self, state: Mapping[str, np.ndarray]) -> bool:
        """Return whether sums of an epoch are those of metrics with weights of their own."""
        shape = self.statistics_shapes(True)["statistics.vector"]
        return "statistics.vector" in state and state["statistics.vector"].shape == shape

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made from: the device's state as host arrays, no buffers."""
        remade = {"_step": None, "_recipe": (), "_evaluation": None, "_pending": self.state()}
        return {**vars(self), "callbacks": [], **remade}

    def workspace_bytes(self) -> int:
        """Return the bytes held by the buffers of training and evaluation, in all."""
        passes = (self._step, self._evaluation)
        return sum(each.workspace.nbytes for each in passes if each is not None)

    def save_checkpoint(self, path: Any) -> None:
        """Write everything that `load_checkpoint` needs to go on exactly from here."""
        save_checkpoint(self, path)

    @exclusive("load_checkpoint", training=False)
    def load_checkpoint(self, path: Any) -> None:
        """Go on from a checkpoint: parameters, optimizer, counters, schedule and history.

        The next call of `fit` is then a further call after the one that wrote the checkpoint, in
        which callbacks begin anew. `fit(resume_from=path)` goes on with that call itself.
        """
        load_checkpoint(self, path)

    def set_progress(
        self,
        state: Mapping[str, np.ndarray],
        *,
        position: EpochCursor | None,
        first_epoch: int,
        stop_reason: str,
        recoveries: int,
    ) -> None:
        """Take the part of a checkpoint that says how far training has come."""
        self.position = None if position is None else replace(position)
        self.first_epoch, self.stop_reason = first_epoch, stop_reason
        self.recoveries = recoveries
        self._step, self._recipe, self._pending = None, (), dict(state)

    def _resume(
        self, source: str | Path | Checkpoint | None, course: EpochPlan, training: Subset
    ) -> CallbackStates | None:
        """Load a checkpoint, if there is one to resume from, and return its callbacks' states."""
        if source is None:
            return None
        checkpoint = newest_checkpoint(source) if isinstance(source, (str, Path)) else source
        position = checkpoint.progress.position
        if position is not None and position.course != course:
            raise ArgumentError(
                f"resume_from: {checkpoint.path} was written in the middle of an epoch of "
                f"{describe(position.course)}; this call has {describe(course)}. Make the call "
                "that was interrupted"
            )
        if position is not None and self._has_metric_weight(checkpoint.state) is not (
            self._own_metric_weights
        ):
            self._check_weights(checkpoint)
        check_same_names(checkpoint, training.names)
        restore_checkpoint(self, checkpoint)
        return CallbackStates(checkpoint.path, checkpoint.callback_states())

    def _check_weights(self, checkpoint: Checkpoint) -> None:
        """Refuse to go on without class weights, and say where metrics change theirs."""
        if not self._own_metric_weights:
            raise ArgumentError(
                f"resume_from: {checkpoint.path} was written in the middle of an epoch with a "
                "class_weight; this call has none. Make the call that was interrupted"
            )
        LOG.warning(
            "The metrics of the epoch that was cut short have the weights of the loss until update "
            "%d, as all had in an earlier gpunn; from there on class_weight is for the loss alone. "
            "Nothing else changes by that",
            checkpoint.progress.updates,
        )

    def _hand_over(self, callback: Callback, states: CallbackStates) -> None:
        """Give a callback the state that it had."""
        try:
            callback.restore(states.take(callback.name), self)
        except (ArithmeticError, KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"{states.path}: the state of the callback {callback.name!r} is damaged: {error}"
            ) from error

"""The trainer: its settings, `fit`, `evaluate`, snapshots and checkpoints."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, cast

import numpy as np

from gpunn.attributes import unknown_attribute
from gpunn.configurable import check_choice, check_flag, check_integer, resolve, resolve_all
from gpunn.display import html_table
from gpunn.distributed import Communicator
from gpunn.distributed.ranks import Ranks
from gpunn.errors import ArgumentError, ArgumentTypeError, SettingError
from gpunn.layers import Members
from gpunn.losses import Loss
from gpunn.metrics import Metric
from gpunn.metrics.labels import for_loss
from gpunn.monitor import NOT_METRICS, TIMINGS, directions
from gpunn.network import Sequential, check_network
from gpunn.optimizers import Adam, Optimizer
from gpunn.schedules import Constant
from gpunn.training.batches.augmentation import Augment, as_augment
from gpunn.training.batches.batch_stream import Batches, BatchStream
from gpunn.training.batches.class_and_sample_weights import check_class_weight
from gpunn.training.batches.dataset import DatasetBuilder, Subset
from gpunn.training.batches.epoch_cursor import EpochCursor
from gpunn.training.batches.fit_arguments import FitArguments
from gpunn.training.callbacks import Callback
from gpunn.training.checkpoints.checkpoint import (
    Checkpoint,
    read_checkpoint,
    take_checkpoint,
)
from gpunn.training.checkpoints.restore import restore_checkpoint
from gpunn.training.divergence.detection import is_finite
from gpunn.training.divergence.recovery import CHOICES
from gpunn.training.evaluation import Evaluator
from gpunn.training.fit import Fit
from gpunn.training.history import History
from gpunn.training.out_of_memory import BufferMemory
from gpunn.training.session import FitOptions, TrainingSession
from gpunn.training.state import Progress, ProgressAttribute, Snapshot, TrainingState
from gpunn.training.training_policy import TrainingPolicy
from gpunn.typing import Array, HostArray


def checked_metrics(values: Any, argument: str = "metrics") -> list[Metric]:
    metrics = resolve_all(Metric, values, argument)
    names = ["loss", *(metric.name for metric in metrics)]
    reserved = set(NOT_METRICS)
    if len(set(names)) < len(names) or reserved & set(names):
        others = ", ".join(map(repr, ["loss", *sorted(reserved)]))
        raise ArgumentError(
            f"{argument}: expected distinct names other than {others}; got {names[1:]}"
        )
    return metrics


def checked_stop_reason(value: Any) -> str:
    if not isinstance(value, str):
        raise ArgumentTypeError(
            "stop_reason: expected a string that says why training ends, or '' to continue; got "
            f"{value!r}"
        )
    return value


CHECKS: dict[str, Callable[[Any], Any]] = {
    "loss": lambda value: resolve(Loss, value, "loss"),
    "metrics": checked_metrics,
    "validation_metrics": lambda value: checked_metrics(value, "validation_metrics"),
    "optimizer": lambda value: resolve(Optimizer, value, "optimizer"),
    "gradient_accumulation": lambda value: check_integer("gradient_accumulation", value),
    "log_every": lambda value: check_integer("log_every", value),
    "on_divergence": lambda value: check_choice("on_divergence", value, CHOICES, "choice"),
    "stop_reason": checked_stop_reason,
    "batch_norm": lambda value: check_choice("batch_norm", value, ("synchronized", "local")),
}


FIXED = {"model": "build a new Trainer for another network", "callbacks": "pass them to fit"}

DEPEND_ON_LOSS = ("loss", "metrics", "validation_metrics")
"""Settings to check after the loss changes: metrics may use labels or classes."""

RENAMED = "Trainer.report_every is now called log_every; gpunn 0.5 removes the old name"


class Trainer:
    """Trains a network: epochs, validation, callbacks and checkpoints.

    Parameters
    ----------
    model : Sequential
        The network, whose parameters training changes.
    loss : Loss, str or mapping
        The loss, such as "softmax_cross_entropy", "binary_cross_entropy" (both computed from
        logits) or "mean_squared_error".
    optimizer : Optimizer, str or mapping
        The optimizer, such as `gpunn.optimizers.Adam(1e-3)` or "adam".
    metrics : sequence of Metric, str or mapping
        Metrics to log in addition to the loss, such as "accuracy".
    gradient_accumulation : int
        The number of batches whose gradients are summed for one update, at least 1. An update then
        uses gradient_accumulation * batch_size rows with the memory of batch_size.
    log_every : int
        The number of updates between two logging steps. At a logging step, the host reads the
        statistics from the device, and checks that loss, parameters, running averages and optimizer
        state are finite. The number of logging steps does not change the results of training.
    on_divergence : {"stop", "skip", "roll_back"}
        What to do if a loss, a parameter or other state is not finite. The trainer repeats the
        updates since the last logging step to find the first update that diverged. With "stop",
        training ends with a `DivergenceError` that names the first layer with numbers that are not
        finite. With "skip", the trainer leaves out the update that diverged. With "roll_back", the
        trainer restores the state at the last logging step, and so leaves out all updates since
        then. Both "skip" and "roll_back" log a warning, and end training after ten recoveries in a
        row without a good logging step.
    communicator : Communicator or None
        Connects the processes that train this network together (`gpunn.distributed.communicator`).
        `batch_size` is the global batch size. All processes must make the same calls; only rank 0
        calls callbacks.
    shards : int
        The number of parts into which each batch is divided, a power of two. If all processes have
        the same number of threads, results are bitwise identical for each number of processes that
        divides `shards`. With 0, there is one part per process.
    batch_norm : {"synchronized", "local"}
        Whether batch normalization uses the rows of all processes together, or only the rows of
        each shard.
    validation_metrics : sequence of Metric, str or mapping
        Metrics for validation data and `evaluate` only, such as "auc".
    report_every : int or None
        The deprecated name of `log_every`.

    Attributes
    ----------
    history : History
        The logs of all epochs of all calls of `fit`.
    epoch, updates : int
        Epochs and updates done so far, including updates that were left out.
    first_epoch : int
        Number of epochs before this call of `fit`. If this call resumes an interrupted call, number
        of epochs before the interrupted call.
    last_epoch : int
        Number of epochs when this call of `fit` ends, unless something ends it earlier. A
        callback may change it.
    cursor : EpochCursor or None
        The position within the current epoch; None between epochs.
    recoveries : int
        Number of recoveries in a row, without a good logging step in between.
    callbacks : list of Callback
        The callbacks of the running call of `fit`, in the order in which they are called.
    log_names : list of str
        The names of the history's logs, such as "loss"; set when `fit` begins.
    stop_reason : str
        The reason to end training after the current epoch, which callbacks may set, or "".
    resumed : bool
        Whether the current or last call of `fit` resumes from a checkpoint.
    policy : TrainingPolicy
        Decides on the order of rows, the learning rates, when to stop, and how to handle
        divergence.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a name or number is invalid, or the network's output is not a vector.

    See Also
    --------
    gpunn.sklearn.MLPClassifier : A network and a trainer with scikit-learn's interface.

    Notes
    -----
    You can set any attribute except `model` and `callbacks` between two calls of `fit`; the new
    value is then checked. A new optimizer starts with a fresh state.

    A copied or pickled trainer continues exactly from the state of the original.

    To find out where training diverged, the trainer stores a copy of the parameters and the
    optimizer's state. If memory is too small for this copy, "stop" works without the copy, but
    can't name the layer.

    Examples
    --------
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
    """Whether all attributes exist, so that setting a new attribute would be a mistake."""

    epoch = ProgressAttribute[int]("epoch")
    updates = ProgressAttribute[int]("updates")
    first_epoch = ProgressAttribute[int]("first_epoch")
    last_epoch = ProgressAttribute[int]("last_epoch")
    cursor = ProgressAttribute[EpochCursor | None]("cursor")
    recoveries = ProgressAttribute[int]("recoveries")
    stop_reason = ProgressAttribute[str]("stop_reason")

    def __init__(
        self,
        model: Sequential,
        loss: Loss | str | Mapping[str, Any],
        optimizer: Optimizer | str | Mapping[str, Any] | None = None,
        metrics: Sequence[Metric | str | Mapping[str, Any]] = (),
        *,
        gradient_accumulation: int = 1,
        log_every: int = 100,
        on_divergence: str = "stop",
        communicator: Communicator | None = None,
        shards: int = 0,
        batch_norm: str = "synchronized",
        validation_metrics: Sequence[Metric | str | Mapping[str, Any]] = (),
        report_every: int | None = None,
    ) -> None:
        check_network(model)
        if len(model.output_shape) != 1:
            members = any(isinstance(layer, Members) for layer in model.layers)
            add = "MeanOverMembers()" if members else "Flatten() and a Dense layer"
            raise ArgumentError(
                "model: expected a network whose output is a vector; got the output shape "
                f"{model.output_shape}. Add gpunn.layers.{add}"
            )
        self.model = model
        # `__setattr__` replaces names by objects.
        self.loss = cast("Loss", loss)
        self.optimizer = Adam() if optimizer is None else cast("Optimizer", optimizer)
        self.metrics = cast("list[Metric]", metrics)
        self.validation_metrics = cast("list[Metric]", validation_metrics)
        self.gradient_accumulation = gradient_accumulation
        if report_every is not None:
            warnings.warn(RENAMED, DeprecationWarning, stacklevel=2)
        self.log_every = log_every if report_every is None else report_every
        self.on_divergence = on_divergence
        self.batch_norm = batch_norm
        self.ranks = Ranks(communicator, check_integer("shards", shards, at_least=0))
        self.policy = TrainingPolicy()
        self.history = History()
        self.history.larger_is_better = self.larger_is_better
        self.callbacks: list[Callback] = []
        self.log_names: list[str] = []
        self.resumed = False
        self.progress = Progress()
        self.device_state = TrainingState(model, self.optimizer, self.ranks)
        self.evaluator = Evaluator()
        self._made = True

    def __setattr__(self, name: str, value: Any) -> None:
        if name in CHECKS:
            value = CHECKS[name](value)
        # During training, the session sets `callbacks`.
        fixed = name == "model" or (name in FIXED and not self.model.exclusion.training)
        if self._made and fixed and value != getattr(self, name):
            raise SettingError(f"Trainer.{name} can't be set: {FIXED[name]}")
        made = self._made and type(self) is Trainer
        if made and not (name in vars(self) or name[0] == "_" or hasattr(type(self), name)):
            raise unknown_attribute(self, name, [*vars(self), *vars(self.progress)])
        super().__setattr__(name, value)
        if name == "optimizer" and self._made:
            self.device_state.optimizer = value
        if name in DEPEND_ON_LOSS:
            for key in DEPEND_ON_LOSS[1:]:
                metrics, outputs = vars(self).get(key, []), self.model.output_shape[0]
                vars(self)[key] = [for_loss(metric, self.loss, outputs) for metric in metrics]

    def __repr__(self) -> str:
        model = self.model
        shapes = f"{model.input_shape} -> {model.output_shape} on {model.backend.name}"
        names = f"{self.loss.name}, {self.optimizer.name}"
        return f"<{type(self).__name__} of {shapes}: {names}, {self._epochs_done}>"

    @property
    def report_every(self) -> int:
        """The deprecated name of `log_every`."""
        warnings.warn(RENAMED, DeprecationWarning, stacklevel=2)
        return self.log_every

    @report_every.setter
    def report_every(self, value: int) -> None:
        warnings.warn(RENAMED, DeprecationWarning, stacklevel=3)
        self.log_every = value

    @property
    def _epochs_done(self) -> str:
        return f"{self.epoch} epoch{'s' if self.epoch != 1 else ''}"

    def _repr_html_(self) -> str:
        last = self.history.rows[-1] if self.history.rows else {}
        measured = {name: x for name, x in last.items() if name not in NOT_METRICS}
        schedule, count = self.optimizer.schedule, self.model.parameters.count
        layers = f"{len(self.model.layers)} layer{'s' if len(self.model.layers) != 1 else ''}"
        rate = f"{schedule.rate:g}" if isinstance(schedule, Constant) else schedule.name
        facts = {
            "network": f"{layers}, {count:,} parameters",
            "loss": self.loss.name,
            "optimizer": f"{self.optimizer.name}, learning rate {rate}",
            "metrics": ", ".join(metric.name for metric in self.metrics),
            "trained": f"{self._epochs_done}, {self.updates:,} updates",
            "ended": self.history.stopped,
            **{f"last {name}": f"{value:.6g}" for name, value in measured.items()},
        }
        rows = [(name, text) for name, text in facts.items() if text]
        return html_table(repr(self)[1:-1], ("setting", "value"), rows)

    # ------------------------------------------------------------------------------ training

    def fit(
        self,
        X: HostArray | Batches,
        y: HostArray | None = None,
        *,
        epochs: int = 1,
        batch_size: int = 32,
        validation_data: tuple[HostArray, ...] | Batches | None = None,
        validation_split: float = 0.0,
        sample_weight: HostArray | None = None,
        class_weight: Mapping[int, float] | str | None = None,
        shuffle: bool = True,
        callbacks: Sequence[Callback | str | Mapping[str, Any]] = (),
        progress: bool = True,
        stream: bool | None = None,
        resume_from: str | Path | Checkpoint | None = None,
        drop_last: bool = False,
        shuffle_members: bool = False,
        steps_per_epoch: int | None = None,
        prefetch: int = 2,
        augment: Augment | str | Mapping[str, Any] | Sequence[Any] | None = None,
    ) -> History:
        """Train for a number of epochs; a further call continues training.

        Parameters
        ----------
        X : array, shape (rows, *input_shape)
            Inputs on the host; a memory map is read chunk by chunk. The network stores the column
            names of a data frame, and selects columns of later data frames by name. Instead of X
            and y, you can pass batches: an iterable of tuples (X, y) or (X, y, sample_weight) that
            starts again in each epoch, such as a list. You can also pass a function that takes the
            epoch's number, from 0, and returns an iterable of batches. Batches keep their order,
            even with `shuffle`.
        y : array
            Targets in a format that the loss accepts. Columns of a data frame are selected as for
            X.
        epochs : int
            The number of passes over the data. With 0, `fit` only checks the arguments and prepares
            training. With `resume_from`, the number includes the epochs before the interruption.
        batch_size : int
            Rows per batch; without `drop_last`, the last batch of an epoch may be smaller. If X
            consists of batches, `batch_size` is their maximum number of rows.
        validation_data : tuple of (X, y) or (X, y, sample_weight), or batches
            Data to evaluate after each epoch; its metrics have the prefix "val_". Validation data
            may consist of a finite number of batches with any number of rows.
        validation_split : float
            The fraction of the rows, in [0, 1), that is held out at random as validation data. If
            the targets are classes, the held-out rows keep the classes' proportions.
        sample_weight : array, shape (rows,)
            A weight for each row: a row with weight k counts as k rows.
        class_weight : mapping of int to float, or "balanced"
            The factor by which the training loss multiplies the weights of a class's rows. A class
            that is not in the mapping has the factor 1. "balanced" means rows / (classes * rows of
            the class). Class weights do not apply to metrics and validation data. Class weights
            distort the predicted probabilities.
        shuffle : bool
            Whether to visit the rows in a new order in each epoch; the order depends on seed and
            epoch.
        callbacks : sequence of Callback, str or mapping
            The callbacks, such as `["early_stopping"]`. Callbacks are called in their order in the
            list. Callbacks that write checkpoints are called last.
        progress : bool
            Whether to show a progress bar: on standard error if it is a terminal, or in the output
            of a notebook's cell.
        stream : bool or None
            Whether to copy the rows to the device chunk by chunk; None decides by the size of the
            data. Copying in chunks does not change results.
        resume_from : str or Path
            A checkpoint, or a folder of checkpoints, of which the newest undamaged checkpoint is
            used. Repeat the interrupted call, with `resume_from` as an additional argument. The
            final weights and history are bitwise identical to the results of an uninterrupted call.
        drop_last : bool
            Whether an epoch leaves out the last rows of its order if they are too few for a whole
            update. With `shuffle`, the rows left out differ in each epoch.
        shuffle_members : bool
            Whether each member of a network with `gpunn.layers.Members` visits the rows in a
            separate order. With separate orders, layers before `Members` process one row per
            member. Training metrics are averages of the single members' metrics.
        steps_per_epoch : int or None
            The number of batches per epoch, if X consists of batches. If X has a length, None means
            all batches.
        prefetch : int
            The number of updates whose batches a thread prepares ahead; 0 uses no thread.
        augment : callable, str, mapping, sequence of these, or None
            A function of (X, y, random) that changes the rows on the device before each update. X
            has the network's dtype. `random` gives random numbers that depend only on seed, epoch
            and update (`gpunn.training.BatchRandom`). The function returns X or (X, y) in the same
            shapes. Names such as "flip" stand for augmentations of images (`gpunn.augmentations`).
            Functions in a sequence are called in order. Validation data is not changed.

        Returns
        -------
        History
            The logs of all epochs so far, including epochs of earlier calls.

        Raises
        ------
        DataError
            If the data does not fit the network, the loss or a metric. Nothing is changed.
        ArgumentError
            If an option is invalid, or if a callback or schedule monitors a metric that does not
            exist. Nothing is changed.
        ModelFileError
            If there is no undamaged checkpoint to resume from, or if the checkpoint does not fit.
            Nothing is changed.
        DivergenceError
            If the loss, the validation loss after an epoch, a parameter, a running average or the
            optimizer's state is not finite. After this error, the network has the state from before
            the step that diverged.
        DeviceMemoryError
            If the device has too little memory.
        DeviceError
            If the device has failed; the message says how to continue.

        Warns
        -----
        GpunnWarning
            If the last layer's activation does not suit the loss, a metric or the targets, or if
            the targets and an untrained network's outputs differ in scale.

        Notes
        -----
        Ctrl-C ends training after the running updates, at most two tenths of a second or one update
        later. Callbacks that write checkpoints write a checkpoint. At the end, `fit` logs a warning
        (logger "gpunn"), sets `history.stopped` and returns as usual. A further call with the same
        number of rows and batch size first finishes the interrupted epoch. SIGTERM has the same
        effect as Ctrl-C, and then ends the program with exit status 143 (`SystemExit`).

        A `Standardization` layer learns its means and standard deviations from the training rows of
        the first call.

        Examples
        --------
        >>> model = gpunn.Sequential([gpunn.layers.Dense(1)], 1, backend="numpy")
        >>> trainer = gpunn.Trainer(model, "mean_squared_error", gpunn.optimizers.SGD(0.1))
        >>> history = trainer.fit([[0.0], [1.0]], [1.0, 1.0], epochs=200, progress=False)
        >>> len(history["loss"]), history["loss"][-1] < 1e-3
        (200, True)
        """
        arguments = dict(locals())
        del arguments["self"]
        with self.ranks.agreement.failing_together():
            return self.prepare(**arguments).run()

    def prepare(
        self,
        X: HostArray | Batches,
        y: HostArray | None = None,
        *,
        epochs: int = 1,
        batch_size: int = 32,
        validation_data: tuple[HostArray, ...] | Batches | None = None,
        validation_split: float = 0.0,
        sample_weight: HostArray | None = None,
        class_weight: Mapping[int, float] | str | None = None,
        shuffle: bool = True,
        callbacks: Sequence[Callback | str | Mapping[str, Any]] = (),
        progress: bool = True,
        stream: bool | None = None,
        resume_from: str | Path | Checkpoint | None = None,
        drop_last: bool = False,
        shuffle_members: bool = False,
        steps_per_epoch: int | None = None,
        prefetch: int = 2,
        augment: Augment | str | Mapping[str, Any] | Sequence[Any] | None = None,
        rows: HostArray | None = None,
        validation_rows: HostArray | None = None,
    ) -> Fit:
        """Check a call of `fit` without training; return a `Fit`, whose method `run` trains.

        `fit(...)` is `prepare(...).run()`. `gpunn.train_together` trains several prepared networks
        at the same time.

        Parameters
        ----------
        X, y, epochs, batch_size, validation_data, validation_split : array, int, float
            As for `fit`.
        sample_weight, class_weight, shuffle, callbacks, progress, stream : array, sequence, bool
            As for `fit`.
        resume_from, drop_last, shuffle_members, steps_per_epoch, prefetch, augment : bool, int
            As for `fit`.
        rows : array of int or None
            Indices of the rows of X to train on, in any order. None means all rows except
            `validation_rows`.
        validation_rows : array of int or None
            Indices of the rows of X for validation, which replace `validation_data` and
            `validation_split`. If X is contiguous and has the network's dtype, fits of several
            folds can share X without copies. `sample_weight` has a weight for each row of X.

        Returns
        -------
        Fit
            The prepared training.

        Raises
        ------
        DataError, ArgumentError
            As for `fit`, or if an index is not valid or occurs twice.

        Examples
        --------
        >>> model = gpunn.Sequential([gpunn.layers.Dense(1)], 1, backend="numpy")
        >>> trainer = gpunn.Trainer(model, "mean_squared_error", gpunn.optimizers.SGD(0.1))
        >>> fit = trainer.prepare([[0.0], [1.0]], [1.0, 1.0], epochs=20, progress=False)
        >>> trainer.epoch, len(fit.run()["loss"])
        (0, 20)
        """
        with self.ranks.agreement.failing_together():
            epochs = check_integer("epochs", epochs, at_least=0)
            batch_size = check_integer("batch_size", batch_size)
            shuffle, progress = check_flag("shuffle", shuffle), check_flag("progress", progress)
            stream = None if stream is None else check_flag("stream", stream)
            callbacks = resolve_all(Callback, callbacks, "callbacks")
            class_weight = check_class_weight(class_weight, self.model.output_shape[0])
            drop_last = check_flag("drop_last", drop_last)
            shuffle_members = check_flag("shuffle_members", shuffle_members)
            prefetch = check_integer("prefetch", prefetch, at_least=0)
            builder = DatasetBuilder(self.model, self.loss, self.every_metric, stream)
            training, validation = FitArguments(
                builder, lambda: self.epoch, prefetch
            ).training_and_validation(
                X,
                y,
                validation_data,
                validation_split=validation_split,
                rows=rows,
                validation_rows=validation_rows,
                sample_weight=sample_weight,
                class_weight=class_weight,
                steps_per_epoch=steps_per_epoch,
                batch_size=batch_size,
                for_arrays={
                    "stream": stream,
                    "drop_last": drop_last,
                    "shuffle_members": shuffle_members,
                },
            )
            options = FitOptions(
                epochs=epochs,
                batch_size=batch_size,
                shuffle=shuffle,
                callbacks=callbacks,
                progress=progress,
                resume_from=resume_from,
                drop_last=drop_last,
                shuffle_members=shuffle_members,
                augment=as_augment(augment),
            )
            return Fit(TrainingSession(self, training, validation, options))

    @property
    def every_metric(self) -> list[Metric]:
        """The metrics of evaluations: `metrics` and `validation_metrics`."""
        names = self.metric_names
        return self.metrics + [each for each in self.validation_metrics if each.name not in names]

    @property
    def metric_names(self) -> list[str]:
        """The names of the values computed on each batch: "loss" and the metrics."""
        return ["loss", *(metric.name for metric in self.metrics)]

    def log_names_of(self, validated: bool) -> list[str]:
        """Return the names of an epoch's logs, with or without validation metrics.

        Parameters
        ----------
        validated : bool
            Whether there is validation data.

        Returns
        -------
        list of str
            The names, such as ["epoch", "loss", "accuracy", "learning_rate", ...].
        """
        measured = self.metric_names
        evaluated = ["loss", *(metric.name for metric in self.every_metric)]
        validation = [*evaluated, *self.policy.validation_metrics] if validated else []
        return ["epoch", *measured, *(f"val_{name}" for name in validation), *TIMINGS]

    @property
    def larger_is_better(self) -> dict[str, bool | None]:
        """Maps the name of each possible log to whether larger is better; None means unknown."""
        more = {f"val_{name}": larger for name, larger in self.policy.validation_metrics.items()}
        return {**directions(self.every_metric), **more}

    # ---------------------------------------------------------------------------- evaluation

    def evaluate(
        self,
        X: HostArray | Batches,
        y: HostArray | None = None,
        *,
        batch_size: int = 1024,
        sample_weight: HostArray | None = None,
        stream: bool | None = None,
    ) -> dict[str, float]:
        """Return loss and metrics over a data set, by name.

        Dropout is off, and batch normalization uses its running averages.

        Parameters
        ----------
        X : array, shape (rows, *input_shape)
            Inputs, or batches, as for `fit`.
        y : array
            Targets, as for `fit`.
        batch_size : int
            Rows per pass, as for `Sequential.predict`.
        sample_weight : array, shape (rows,)
            A weight for each row: a row with weight k counts as k rows.
        stream : bool or None
            As for `fit`.

        Returns
        -------
        dict of str to float
            The metrics, and "loss" without the optimizer's L2 penalty.

        Raises
        ------
        DataError
            If the data does not fit the network, the loss or a metric.
        DeviceMemoryError, DeviceError
            As for `fit`.
        """
        batch_size = check_integer("batch_size", batch_size)
        stream = None if stream is None else check_flag("stream", stream)
        builder = DatasetBuilder(self.model, self.loss, self.every_metric, stream)
        subset = FitArguments(builder, lambda: self.epoch).evaluated(X, y, sample_weight)
        return self.evaluate_subset(subset, batch_size)

    def evaluate_subset(
        self, subset: Subset | BatchStream, batch_size: int = 1024
    ) -> dict[str, float]:
        """Evaluate rows that are already checked; see `evaluate`.

        Parameters
        ----------
        subset : Subset or BatchStream
            The rows, or a stream of batches.
        batch_size : int
            Rows per pass.

        Returns
        -------
        dict of str to float
            Loss and metrics, by name.
        """
        model, batch_size = self.model, min(batch_size, self.model.rows_per_pass)
        memory = BufferMemory(model, self.optimizer, batch_size)
        with model.exclusion.held("evaluate", training=False):
            try:
                with model.backend.device_errors(), memory:
                    return self.evaluator.evaluate(self, subset, batch_size, ranks=self.ranks)
            finally:
                self.evaluator.unload()

    # --------------------------------------------------------------------------------- state

    def snapshot(self) -> Snapshot:
        """Return a copy, on the device, of the parameters and the optimizer's state.

        Returns
        -------
        Snapshot
            The copy, for `restore`.

        Raises
        ------
        ArgumentError
            If training has not begun, or if layers were frozen or unfrozen since the last call of
            `fit`.
        """
        return self.device_state.snapshot()

    def snapshot_to_host(self, snapshot: Snapshot) -> dict[str, np.ndarray]:
        """Return a snapshot as host arrays, for a checkpoint.

        Parameters
        ----------
        snapshot : Snapshot
            Returned by `snapshot`.

        Returns
        -------
        dict of str to ndarray
            The arrays, by their names in checkpoints.
        """
        return self.device_state.snapshot_to_host(snapshot)

    def snapshot_from_host(self, arrays: Mapping[str, np.ndarray]) -> Snapshot:
        """Return a snapshot with the arrays of `snapshot_to_host`.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            The result of `snapshot_to_host`; further arrays in the mapping are ignored.

        Returns
        -------
        Snapshot
            The snapshot, for `restore`.

        Raises
        ------
        ArgumentError
            If the arrays don't fit the network and the optimizer.
        """
        return self.device_state.snapshot_from_host(arrays)

    def restore(self, snapshot: Snapshot) -> None:
        """Restore a snapshot; the next call of `fit` restarts an interrupted epoch from its start.

        Parameters
        ----------
        snapshot : Snapshot
            The state to restore.

        Raises
        ------
        ArgumentError
            If training has not begun, or if layers were frozen or unfrozen after the snapshot was
            taken.
        """
        self.device_state.restore(snapshot)
        self._reset_cursor()

    def _reset_cursor(self) -> None:
        self.ranks.join("_reset_cursor")
        self.cursor = None

    def last_gradients(self) -> dict[str, Array]:
        """Return the gradients that the optimizer used last, as views by parameter name.

        Small networks train for several epochs at a time. If a rule or an error ends training
        before the last of these epochs, later updates are undone. Then the gradients of an
        undone update are returned.

        Returns
        -------
        dict of str to array
            The gradients on the device; the next update changes them.

        Raises
        ------
        ArgumentError
            As for `snapshot`.
        """
        step = self.device_state.started_step()
        self.ranks.join("last_gradients")
        return self.model.parameters.views_into(step.whole_gradients())

    def can_checkpoint(self) -> bool:
        """Return whether the training state and all losses since the last logging step are finite.

        Callbacks should write checkpoints only if the result is True. With
        `on_divergence="roll_back"`, the result is True only at logging steps, since training can
        resume only from logging steps. `can_checkpoint` waits for the device.

        Returns
        -------
        bool
            Whether callbacks should write checkpoints; always True between epochs.
        """
        cursor = self.cursor
        if cursor is None or not cursor.unreported:
            return True  # the last logging step has checked the state
        if self.on_divergence == "roll_back":
            return False
        self.ranks.join("can_checkpoint")
        return is_finite(self.device_state.started_step(), cursor)

    @property
    def services(self) -> dict[str, Callable[..., object]]:
        """Maps names to the methods that rank 0 may call on all ranks at the same time."""
        methods = self._reset_cursor, self.last_gradients, self.can_checkpoint
        return {method.__name__: method for method in methods}

    def state(self) -> dict[str, np.ndarray]:
        """Return the optimizer's state and the training's counters, as arrays by name.

        Returns
        -------
        dict of str to ndarray
            The state, for `set_state`.
        """
        return self.device_state.arrays(within_epoch=self.cursor is not None)

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore the optimizer's state and the counters.

        Arrays that `state` lacks stay unchanged. Unknown arrays are ignored.

        Parameters
        ----------
        state : mapping of str to ndarray
            Arrays by name, as `Trainer.state` returns them.
        """
        self.device_state.load(state)

    def workspace_bytes(self) -> int:
        """Return the total size in bytes of the buffers of training and evaluation.

        Buffers that several trainers share, for example in `train_together`, do not count.

        Returns
        -------
        int
            The size; it is 0 before training and evaluation.
        """
        step = self.device_state.step
        return self.evaluator.nbytes + (0 if step is None else step.workspace.nbytes)

    def __getstate__(self) -> dict[str, Any]:
        ranks = copy(self.ranks)
        state = TrainingState(self.model, self.optimizer, ranks)
        state.replace(self.state())
        fresh = {"device_state": state, "evaluator": Evaluator(), "progress": self.progress.copy()}
        return {**vars(self), "callbacks": [], "ranks": ranks, **fresh}

    def save_checkpoint(self, path: Any) -> None:
        """Write everything that `load_checkpoint` needs to continue exactly from this point.

        If there are several processes, all processes must call this method, and rank 0 writes the
        file. In a callback, only rank 0 calls `save_checkpoint`.

        Parameters
        ----------
        path : str or Path
            File to write; an existing file is replaced.

        Raises
        ------
        ArgumentError
            If a parameter, a buffer or the optimizer's state is not finite. An existing file stays
            unchanged.
        OSError
            If the file can't be written. An existing file stays unchanged.
        """
        checkpoint = take_checkpoint(self)
        if self.ranks.first:
            checkpoint.write(path)

    def load_checkpoint(self, path: Any) -> None:
        """Restore parameters, optimizer, counters, schedule and history from a checkpoint.

        After `load_checkpoint`, a call of `fit` trains further epochs, and callbacks start without
        state. To resume the call that wrote the checkpoint, use `fit(resume_from=path)`.

        Parameters
        ----------
        path : str or Path
            A file that `save_checkpoint` wrote.

        Raises
        ------
        ModelFileError
            If the file is damaged, contains no training state, or does not fit the trainer's
            optimizer or the network's layers, input shape, seed or dtype. Nothing is changed.
        """
        with self.model.exclusion.held("load_checkpoint", training=False):
            restore_checkpoint(self, read_checkpoint(path))

"""Training over epochs: shuffling, validation, statistics, callbacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np

from gpunn.attributes import unknown_attribute
from gpunn.configurable import check_flag, check_integer, resolve, resolve_all
from gpunn.display import html_table
from gpunn.distributed import Communicator
from gpunn.distributed.ranks import Ranks
from gpunn.errors import ArgumentError, ArgumentTypeError
from gpunn.layers import Members
from gpunn.losses import Loss
from gpunn.metrics import Metric
from gpunn.metrics.labels import for_loss
from gpunn.monitor import NOT_METRICS, TIMINGS, directions
from gpunn.network import Sequential
from gpunn.optimizers import Adam, Optimizer
from gpunn.schedules import Constant
from gpunn.training.batches.augmentation import Augment
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
from gpunn.training.evaluation import Evaluator
from gpunn.training.history import History
from gpunn.training.loop import TrainingLoop
from gpunn.training.out_of_memory import BufferMemory
from gpunn.training.session import FitOptions, TrainingSession
from gpunn.training.state import Progress, ProgressAttribute, Snapshot, TrainingState
from gpunn.training.trainer_settings import CHECKS, checked_metrics
from gpunn.training.training_policy import TrainingPolicy
from gpunn.typing import Array, HostArray

__all__ = ["Trainer"]

JUDGED_BY_LOSS = ("loss", "metrics", "validation_metrics")
"""The loss, and the settings whose metrics are of labels or of classes by it."""


class Trainer:
    """Trains a network: epochs, validation, callbacks and checkpoints.

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
        At least 1. Number of batches whose gradients make up one update, so that an update sees
        gradient_accumulation * batch_size rows with the memory of batch_size.
    report_every : int
        Updates between report points, at which the host reads the statistics from the device
        and looks for a loss, parameters, running averages or an optimizer's state that are not
        finite. Training is the same whatever it is.
    on_divergence : {"stop", "skip", "roll_back"}
        What to do then. The updates since the last report point are done once more to find the
        first that goes bad, and its batch is taken through the network layer by layer. "stop" ends
        training with a `DivergenceError` that names the first layer whose numbers went bad;
        "skip" leaves that update out; "roll_back" goes back to the last report point and leaves
        out all updates up to that one. Both log a warning, and end training if ten such recoveries
        in a row did not lead to a good report point.
    communicator : Communicator or None
        The processes that train this network together (`gpunn.distributed.communicator`), as one
        process would: `batch_size` is that of all together. Each makes the same calls; callbacks
        are called in the process of rank 0 alone.
    shards : int
        Parts into which each batch is divided, a power of two; the numbers of processes that
        divide it give the same bits, each with the same number of threads. 0 is one part for each
        process.
    batch_norm : {"synchronized", "local"}
        Whether batch normalisation takes the rows of all processes together, as one process would,
        or those of each shard.
    validation_metrics : sequence of Metric, str or mapping
        Metrics of validation data and of `evaluate` only, such as "auc": training steps don't
        compute them. Names that are among `metrics` count once.

    Attributes
    ----------
    history : History
        Of all epochs of all calls of `fit`.
    epoch, updates : int
        Epochs and updates done so far, those included that were left out.
    first_epoch : int
        Epochs done when this call of `fit`, or the one that is gone on with, began.
    cursor : EpochCursor or None
        How far the current epoch has come; None between epochs.
    recoveries : int
        Recoveries in a row, without a good report point in between.
    callbacks : list of Callback
        Those of the running call of `fit`, in the order in which they are called.
    log_names : list of str
        Names of what each epoch's row of the history holds, from the beginning of `fit` on.
    stop_reason : str
        Set by a callback to end training after this epoch.
    resumed : bool
        Whether this call of `fit`, or the last one, goes on from a checkpoint (`resume_from`).
    policy : TrainingPolicy
        Decides on the order of rows, learning rates, when to stop, and what a divergence means.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If a name or number is impossible, or the network does not end in a vector of outputs.

    See Also
    --------
    Sequential : The network that is trained.
    gpunn.sklearn.MLPClassifier : The same behind scikit-learn's interface.

    Notes
    -----
    Everything but `model` may be set between two calls of `fit`, and is checked then. The
    optimizer's state goes with the optimizer: another one starts anew.

    A copied or pickled trainer goes on exactly where this one is.

    To find out where training went bad, a copy of the parameters and the optimizer's state is kept
    beside them. Where memory does not suffice for it, "stop" goes without and can't name the layer.

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

    _made = False
    """Whether all attributes are there, so that another one would be a mistake."""

    epoch = ProgressAttribute[int]("epoch")
    updates = ProgressAttribute[int]("updates")
    first_epoch = ProgressAttribute[int]("first_epoch")
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
        report_every: int = 100,
        on_divergence: str = "stop",
        communicator: Communicator | None = None,
        shards: int = 0,
        batch_norm: str = "synchronized",
        validation_metrics: Sequence[Metric | str | Mapping[str, Any]] = (),
    ) -> None:
        if len(model.output_shape) != 1:
            members = any(isinstance(layer, Members) for layer in model.layers)
            add = "MeanOverMembers()" if members else "Flatten() and a Dense layer"
            raise ArgumentError(
                "model: to be trained, a network must end in a vector of outputs; this one ends in "
                f"shape {model.output_shape}. Add gpunn.layers.{add}"
            )
        self.model = model
        self.loss = resolve(Loss, loss, "loss")
        self.optimizer = Adam() if optimizer is None else resolve(Optimizer, optimizer, "optimizer")
        self.metrics = checked_metrics(metrics)
        self.validation_metrics = checked_metrics(validation_metrics, "validation_metrics")
        self.gradient_accumulation = gradient_accumulation
        self.report_every = report_every
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
        self.device_state = TrainingState(self.ranks)
        self.evaluator = Evaluator()
        self._made = True

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute that there is; settings are checked as in the constructor."""
        if name in CHECKS:
            value = CHECKS[name](value)
        known = name in vars(self) or name[0] == "_" or hasattr(type(self), name)
        if self._made and not known and type(self) is Trainer:
            raise unknown_attribute(self, name, [*vars(self), *vars(self.progress)])
        super().__setattr__(name, value)
        if name in JUDGED_BY_LOSS:
            for key in JUDGED_BY_LOSS[1:]:
                metrics, outputs = vars(self).get(key, []), self.model.output_shape[0]
                vars(self)[key] = [for_loss(metric, self.loss, outputs) for metric in metrics]

    def __repr__(self) -> str:
        """Return the network, what it is trained by, and how far."""
        model = self.model
        shapes = f"{model.input_shape} -> {model.output_shape} on {model.backend.name}"
        names = f"{self.loss.name}, {self.optimizer.name}"
        return f"<{type(self).__name__} of {shapes}: {names}, {self._how_far}>"

    @property
    def _how_far(self) -> str:
        return f"{self.epoch} epoch{'s' if self.epoch != 1 else ''}"

    def _repr_html_(self) -> str:
        """Return the same for a notebook, with settings and the last epoch's logs."""
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
            "trained": f"{self._how_far}, {self.updates:,} updates",
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
        augment: Augment | None = None,
    ) -> History:
        """Train for a number of epochs; a further call goes on from there.

        Parameters
        ----------
        X : array, shape (rows, *input_shape)
            Inputs on the host; a memory map is read chunk by chunk. The network remembers the names
            of a data frame's columns, and takes those of later data frames by name. Or, without y,
            batches: a function of the epoch's number, from 0, that returns an iterable of tuples
            (X, y) or (X, y, sample_weight), or an iterable of these that begins anew each time,
            such as a list. They come in their own order, whatever `shuffle` says.
        y : array
            Targets, as the loss takes them. Columns of a data frame are taken likewise.
        epochs : int
            Passes over the data; 0 only checks the arguments and prepares. With `resume_from`,
            those before the interruption included.
        batch_size : int
            Rows in a batch; the last one of an epoch may be smaller, unless `drop_last`. Of batches
            that are given, the most rows that one has.
        validation_data : tuple of (X, y) or (X, y, sample_weight), or batches
            Evaluated after each epoch; its metrics have the prefix "val_". Batches, as for X, may
            have any number of rows, and must come to an end.
        validation_split : float
            In [0, 1): the fraction of the rows that is set aside as validation data, at random
            and, if the targets are classes, in the classes' proportions.
        sample_weight : array, shape (rows,)
            A weight of k counts a row k times.
        class_weight : mapping of int to float, or "balanced"
            Factor of the weight of each class's rows in the training loss, 1 if missing; "balanced"
            is rows / (classes * rows of the class). Metrics and validation data have no class
            weights, so "loss" and "val_loss" are of different scales then. Class weights distort
            the predicted probabilities: they are those of rows weighted so.
        shuffle : bool
            Whether to visit the rows in a new order each epoch, drawn from (seed, epoch).
        callbacks : sequence of Callback, str or mapping
            Such as `["early_stopping"]`. Called in this order, at the beginning and end of training
            and after each epoch; those that write checkpoints come after the others.
        progress : bool
            Whether to show a progress bar: on standard error, if that is a terminal, and in a
            notebook in the output of the cell.
        stream : bool or None
            Whether to put the rows on the device chunk by chunk; None decides by their size.
            Results are the same.
        resume_from : str or Path
            A checkpoint, or a folder of checkpoints (such as a run's), whose newest undamaged one
            is taken. The same call as the one that was interrupted, with this added, ends with the
            same weights and history, bit for bit, as if it had not been. Callbacks go on with
            their state, and the epoch with its next update.
        drop_last : bool
            Whether an epoch leaves out the last rows of its order if they are too few for a whole
            update. With `shuffle` these are other rows each time.
        shuffle_members : bool
            Whether each member of a network with `gpunn.layers.Members` visits the rows in an order
            of its own, so that a batch has other rows for each. Layers in front of `Members` have
            that many more rows to do. Metrics of the training are then those of the members alone.
        steps_per_epoch : int or None
            How many of the batches that are given make an epoch; by default all, if X has a length.
        prefetch : int
            Of how many updates a thread makes the batches ahead; 0 is none, without a thread.
        augment : callable or None
            A function of (X, y, random) that changes the rows of each update before it, on the
            device: X in the network's dtype, y, and random numbers that depend on seed, epoch and
            update alone (`gpunn.training.BatchRandom`). It returns X, or (X, y), of
            the same shapes. Validation data is not changed.

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
            If an option is impossible, or a callback or schedule monitors a metric that there
            won't be. Nothing has been changed then.
        ModelFileError
            If there is no undamaged checkpoint to resume from, or it does not fit. Nothing has been
            changed then.
        DivergenceError
            If the loss, a parameter, a running average or the optimizer's state stops being finite,
            or after an epoch the validation loss is not; the message names epoch, step and the
            first layer that went bad. The network is then as it was before that step.
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

        A network with a `Standardization` layer takes that layer's means and standard deviations
        from the training rows of the first call.

        Examples
        --------
        >>> import gpunn
        >>> model = gpunn.Sequential([gpunn.layers.Dense(1)], 1, backend="numpy")
        >>> trainer = gpunn.Trainer(model, "mean_squared_error", gpunn.optimizers.SGD(0.1))
        >>> history = trainer.fit([[0.0], [1.0]], [1.0, 1.0], epochs=200, progress=False)
        >>> len(history["loss"]), history["loss"][-1] < 1e-3
        (200, True)
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
            if augment is not None and not callable(augment):
                raise ArgumentTypeError(
                    f"augment: expected a function of (X, y, random); got {augment!r:.80}"
                )
            builder = DatasetBuilder(self.model, self.loss, self.every_metric, stream)
            training, validation = FitArguments(
                builder, lambda: self.epoch, prefetch
            ).training_and_validation(
                X,
                y,
                validation_data,
                validation_split=validation_split,
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
                augment=augment,
            )
            return TrainingLoop(TrainingSession(self, training, validation, options)).run()

    @property
    def every_metric(self) -> list[Metric]:
        """The metrics of evaluations: `metrics` and `validation_metrics`."""
        names = self.metric_names
        return self.metrics + [each for each in self.validation_metrics if each.name not in names]

    @property
    def metric_names(self) -> list[str]:
        """Names of what is measured on each batch: the loss and the metrics."""
        return ["loss", *(metric.name for metric in self.metrics)]

    def log_names_of(self, validated: bool) -> list[str]:
        """Return the names of an epoch's logs, with or without those of validation data.

        Parameters
        ----------
        validated : bool
            Whether there are validation data.

        Returns
        -------
        list of str
            Such as ["epoch", "loss", "accuracy", "learning_rate", ...].
        """
        measured = self.metric_names
        evaluated = ["loss", *(metric.name for metric in self.every_metric)]
        validation = [*evaluated, *self.policy.validation_metrics] if validated else []
        return ["epoch", *measured, *(f"val_{name}" for name in validation), *TIMINGS]

    @property
    def larger_is_better(self) -> dict[str, bool | None]:
        """Whether larger is better, by the name of each possible log; None is unknown."""
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

        Dropout is off, and batch normalisation uses its running averages.

        Parameters
        ----------
        X : array, shape (rows, *input_shape)
            As for `fit`; or batches.
        y : array
            Targets, as for `fit`.
        batch_size : int
            Rows on the device at a time. It changes results only by rounding.
        sample_weight : array, shape (rows,)
            A weight of k counts a row k times.
        stream : bool or None
            As for `fit`.

        Returns
        -------
        dict of str to float
            "loss", without the optimizer's L2 penalty, and the metrics.

        Raises
        ------
        DataError
            If the data does not fit the network, the loss or a metric.
        DeviceMemoryError, DeviceError
            As `fit`.
        """
        batch_size = check_integer("batch_size", batch_size)
        stream = None if stream is None else check_flag("stream", stream)
        builder = DatasetBuilder(self.model, self.loss, self.every_metric, stream)
        sources = FitArguments(builder, lambda: self.epoch)
        subset = sources.evaluated(X, y, sample_weight)
        return self.evaluate_subset(subset, batch_size)

    def evaluate_subset(
        self, subset: Subset | BatchStream, batch_size: int = 1024
    ) -> dict[str, float]:
        """Do what `evaluate` does once it has checked its arguments.

        Parameters
        ----------
        subset : Subset or BatchStream
            Rows that have been checked, or are one batch after the other.
        batch_size : int
            Rows on the device at a time.

        Returns
        -------
        dict of str to float
            As of `evaluate`.
        """
        model = self.model
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
            For `restore`.

        Raises
        ------
        ArgumentError
            If training has not begun, or layers have been frozen, or are trained again, since the
            last call of `fit`.
        """
        return self.device_state.snapshot()

    def snapshot_to_host(self, snapshot: Snapshot) -> dict[str, np.ndarray]:
        """Return a snapshot as host arrays, for a checkpoint.

        Parameters
        ----------
        snapshot : Snapshot
            What `snapshot` returned.

        Returns
        -------
        dict of str to ndarray
            By the names that the arrays have in checkpoints.
        """
        return self.device_state.snapshot_to_host(snapshot)

    def snapshot_from_host(self, arrays: Mapping[str, np.ndarray]) -> Snapshot:
        """Return the snapshot that `snapshot_to_host` described.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            What `snapshot_to_host` returned; others are not looked at.

        Returns
        -------
        Snapshot
            For `restore`.

        Raises
        ------
        ArgumentError
            If the arrays don't fit network and optimizer.
        """
        return self.device_state.snapshot_from_host(arrays)

    def restore(self, snapshot: Snapshot) -> None:
        """Take back what `snapshot` returned; an epoch that was cut short then begins anew.

        Parameters
        ----------
        snapshot : Snapshot
            The state to go back to.

        Raises
        ------
        ArgumentError
            If training has not begun, or other layers were trained when it was taken.
        """
        self.device_state.restore(snapshot)
        self._forget_place()

    def _forget_place(self) -> None:
        self.ranks.join("_forget_place")
        self.cursor = None

    def last_gradients(self) -> dict[str, Array]:
        """Return views, by name, of the gradient of the last update, as the optimizer took it.

        Returns
        -------
        dict of str to array
            On the device; they change with the next update.

        Raises
        ------
        ArgumentError
            As `snapshot`.
        """
        step = self.device_state.started_step()
        self.ranks.join("last_gradients")
        return self.model.parameters.views_into(step.whole_gradients())

    def is_sound(self) -> bool:
        """Return whether all losses since the last report, and the training state, are finite.

        For callbacks that write checkpoints: what is written while this is False is of no use.
        Where training may be rolled back to a report point, only such a point is good to go on
        from. This waits for the device.

        Returns
        -------
        bool
            Between epochs always True.
        """
        cursor = self.cursor
        if cursor is None or not cursor.unreported:
            return True  # as the report has found
        if self.on_divergence == "roll_back":
            return False
        self.ranks.join("is_sound")
        return is_finite(self.device_state.started_step(), cursor)

    @property
    def services(self) -> dict[str, Callable[..., object]]:
        """What rank 0 may ask the others to do with it, by name."""
        methods = self._forget_place, self.last_gradients, self.is_sound
        return {method.__name__: method for method in methods}

    def state(self) -> dict[str, np.ndarray]:
        """Return the optimizer's state and the device's counters as host arrays, by name.

        Within an epoch the sums over its updates so far are among them.

        Returns
        -------
        dict of str to ndarray
            For `set_state`.
        """
        return self.device_state.arrays(within_epoch=self.cursor is not None)

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what `state` returned, now or when training begins.

        What is missing stays as it is, and what the optimizer does not have is left out.

        Parameters
        ----------
        state : mapping of str to ndarray
            What `state` returned.
        """
        self.device_state.load(state)

    def workspace_bytes(self) -> int:
        """Return the bytes held by the buffers of training and evaluation, in all.

        Returns
        -------
        int
            0 before training and evaluation.
        """
        step = self.device_state.step
        return self.evaluator.nbytes + (0 if step is None else step.workspace.nbytes)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made from: the device's state as host arrays, no buffers."""
        ranks = copy(self.ranks)
        state = TrainingState(ranks)
        state.load(self.state())
        state.trained = self.device_state.trained
        remade = {"device_state": state, "evaluator": Evaluator(), "progress": self.progress.copy()}
        return {**vars(self), "callbacks": [], "ranks": ranks, **remade}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        # An earlier release has pickled less.
        earlier = {"batch_norm": "synchronized", "ranks": Ranks(), "resumed": False}
        vars(self).update({**earlier, "validation_metrics": [], **state})

    def save_checkpoint(self, path: Any) -> None:
        """Write everything that `load_checkpoint` needs to go on exactly from here.

        Of several processes, rank 0 writes it. All have to call this, but for callbacks, which only
        rank 0 has.

        Parameters
        ----------
        path : str or Path
            File to write; an existing one is replaced.

        Raises
        ------
        ArgumentError
            If a parameter, buffer or the optimizer's state is not finite. An existing file is then
            unchanged.
        OSError
            If the file can't be written. An existing file is then unchanged.
        """
        taken = take_checkpoint(self)
        if self.ranks.first:
            taken.write(path)

    def load_checkpoint(self, path: Any) -> None:
        """Go on from a checkpoint: parameters, optimizer, counters, schedule and history.

        The next call of `fit` is then a further call after the one that wrote the checkpoint, in
        which callbacks begin anew. `fit(resume_from=path)` goes on with that call itself.

        Parameters
        ----------
        path : str or Path
            A file that `save_checkpoint` wrote.

        Raises
        ------
        ModelFileError
            If the file is damaged, holds no training state, or does not fit the trainer's optimizer
            or its network's layers, input shape, seed and dtype. Nothing has been changed then.
        """
        with self.model.exclusion.held("load_checkpoint", training=False):
            restore_checkpoint(self, read_checkpoint(path))

"""Builds and checks everything that a configuration describes, before training begins."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpunn.augmentations import Augmentation
from gpunn.backends import Backend
from gpunn.config import Config, DataSet, Distributed, Draft, SplitDataSet, TableFile, Training
from gpunn.distributed import Communicator
from gpunn.errors import ArgumentError, ConfigError, DataError, ModelFileError, suggest
from gpunn.experiment.data import load, warn_of_constant_columns
from gpunn.experiment.evaluation import (
    Evaluation,
    choose_threshold,
    classes_of,
    evaluated,
    has_exclusive_classes,
    set_intervals,
    set_prediction_sets,
    set_temperature,
)
from gpunn.experiment.images import with_format
from gpunn.experiment.monitoring import best_rule, settle_monitors
from gpunn.experiment.networks import network_of, settled
from gpunn.experiment.objects import Objects
from gpunn.experiment.split_report import remarks_on_split
from gpunn.experiment.splits import Split, Splits
from gpunn.experiment.tables import learned_schema
from gpunn.layers import Flatten, Layer, Standardization
from gpunn.meaning import plural
from gpunn.monitor import Best, directions
from gpunn.network import Sequential
from gpunn.tables import Schema
from gpunn.training import Trainer
from gpunn.training.batches.augmentation import as_augment
from gpunn.training.batches.dataset import DatasetBuilder, HeldOut, Subset
from gpunn.training.callbacks import Callback
from gpunn.training.callbacks.experiment_trackers import Tracker
from gpunn.training.checkpoints.checkpoint import Checkpoint
from gpunn.training.fit import Fit
from gpunn.training.history import History
from gpunn.training.session import FitOptions, TrainingSession
from gpunn.transfer import WeightsReport

LOG = logging.getLogger("gpunn")


@dataclass(frozen=True)
class Experiment:
    """A network, its data, and its training settings.

    Parameters
    ----------
    config : Config
        The configuration that `build` received.
    description : dict
        The configuration with all defaults, in JSON types. A monitor mode "auto" is replaced by
        "min" or "max".
    trainer : Trainer
        The trainer, with the network, the loss, the optimizer and the metrics.
    splits : Splits
        The raw rows.
    training : Subset
        The rows to train on, checked and ready for the device.
    validation, test : Subset or None
        The rows of the validation and test splits, checked and ready for the device.
    callbacks : list of Callback
        The callbacks of the configuration.
    augment : list of Augmentation
        The augmentations of the configuration.
    best : Best or None
        The rule that selects the best epoch, if any metric is monitored.
    start : WeightsReport or None
        Which weights were copied from the network in `model.start_from`, if any.

    See Also
    --------
    build : Makes an experiment from a configuration.
    RunFolder : Saves a run of an experiment.

    Examples
    --------
    >>> from pathlib import Path
    >>> from gpunn.config import parse_config
    >>> from gpunn.experiment import build
    >>> raw = {
    ...     "data": {"dataset": "digits", "validation_fraction": 0.2},
    ...     "model": {"layers": [{"name": "dense", "units": 10}]},
    ...     "training": {"loss": "softmax_cross_entropy", "epochs": 2, "metrics": ["accuracy"]},
    ... }
    >>> experiment = build(parse_config(raw, Path()), "numpy")
    >>> history = experiment.run(progress=False)
    >>> len(history["val_accuracy"]), sorted(experiment.evaluate())
    (2, ['accuracy', 'loss'])
    """

    config: Config
    description: dict[str, Any]
    trainer: Trainer
    splits: Splits
    training: Subset
    validation: Subset | None
    test: Subset | None
    callbacks: list[Callback]
    augment: list[Augmentation]
    best: Best | None
    start: WeightsReport | None = None

    @property
    def parts(self) -> Splits:
        """The deprecated name of `splits`."""
        text = "Experiment.parts is now called splits; gpunn 0.5 removes the old name"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return self.splits

    def run(
        self, *extra: Callback, progress: bool = True, resume_from: Checkpoint | None = None
    ) -> History:
        """Train until the run has the configured number of epochs in total.

        Parameters
        ----------
        *extra : Callback
            Further callbacks, called after the configuration's callbacks.
        progress : bool
            Whether to show a progress bar.
        resume_from : Checkpoint or None
            The checkpoint to resume from; see `RunFolder.attach`.

        Returns
        -------
        History
            The history of all epochs.

        Raises
        ------
        DivergenceError
            If the loss stops being a finite number.
        """
        return self.prepare(*extra, progress=progress, resume_from=resume_from).run()

    def prepare(
        self, *extra: Callback, progress: bool = True, resume_from: Checkpoint | None = None
    ) -> Fit:
        """Check and prepare the training of `run`, without training.

        Parameters
        ----------
        *extra : Callback
            As for `run`.
        progress, resume_from : as for `run`
            Progress bar, and checkpoint to resume from.

        Returns
        -------
        Fit
            The prepared training.
        """
        config, trainer = self.config.training, self.trainer
        options = FitOptions(
            epochs=config.epochs if resume_from else max(0, config.epochs - trainer.epoch),
            batch_size=config.batch_size,
            shuffle=config.shuffle,
            callbacks=[*self.callbacks, *extra],
            progress=progress,
            resume_from=resume_from,
            drop_last=config.drop_last,
            shuffle_members=config.shuffle_members,
            augment=as_augment(self.augment),
        )
        return Fit(TrainingSession(trainer, self.training, self.validation, options))

    def choose_threshold(self, *, warn: bool = True) -> None:
        """Set the network's threshold between two classes, if `training.threshold_for` is set.

        Parameters
        ----------
        warn : bool
            Whether to log a warning if no threshold meets the criterion on the validation rows.
        """
        criterion = self.config.training.threshold_for
        if criterion is not None and self.validation is not None:
            choose_threshold(self.trainer, self.validation, criterion, warn=warn)

    def calibrate(self) -> None:
        """Set temperature, threshold, and prediction intervals or sets from the validation rows.

        Only built-in tabular models without class weights get a temperature. The threshold is set
        if `training.threshold_for` is.
        """
        training = self.config.training
        if self.validation is not None:
            if self.config.model.name is not None and training.class_weight is None:
                set_temperature(self.trainer, self.validation)
            self.choose_threshold()
            set_intervals(self.trainer, self.validation)
            set_prediction_sets(self.trainer, self.validation)

    def evaluate(self) -> Evaluation | None:
        """Evaluate the network on the test split.

        Returns
        -------
        Evaluation or None
            A dict of the loss and metrics, or None if there is no test split. The dict's
            attribute `rates` contains the fraction of each class in the split.
        """
        if self.test is None:
            return None
        try:
            return evaluated(self.trainer, self.test, self.config.data)
        finally:
            self.test.unload()


def evaluate_split(trainer: Trainer, split: Split, data: DataSet) -> Evaluation:
    builder = DatasetBuilder(trainer.model, trainer.loss, trainer.every_metric)
    checked = builder.check(split.source_inputs, split.source_targets)
    return evaluated(trainer, builder.subset(checked, split.indices), data)


def build(
    config: Config,
    backend: str | Backend,
    *,
    allow_imports: bool = False,
    communicator: Communicator | None = None,
) -> Experiment:
    """Make the experiment that a configuration describes.

    Parameters
    ----------
    config : Config
        A configuration, for example from `gpunn.config.load_config`.
    backend : str or Backend
        A backend, or a name that overrides the configuration's backend; see `Config.get_backend`.
    allow_imports : bool
        Whether the configuration may import custom classes. Importing a class runs its module's
        code.
    communicator : Communicator or None
        The processes that train together.

    Returns
    -------
    Experiment
        The experiment, ready to run.

    Raises
    ------
    BackendUnavailableError
        If this machine cannot use the backend.
    ConfigError
        If a name or parameter is unknown or invalid, or the shapes of layers do not match.
    DataError
        If the data is malformed or does not fit the network or the loss.

    Examples
    --------
    >>> from pathlib import Path
    >>> from gpunn.config import parse_config
    >>> from gpunn.experiment import build
    >>> raw = {
    ...     "data": {"dataset": "digits"},
    ...     "model": {"layers": [{"name": "dense", "units": 10}]},
    ...     "training": {"loss": "softmax_cross_entropy", "epochs": 2},
    ... }
    >>> build(parse_config(raw, Path()), "numpy").trainer.model
    <Sequential (64,) -> (10,) on numpy>
    """
    ops = config.get_backend(backend)
    objects = Objects(config, allow_imports)
    undecided = isinstance(config, Draft) and not config.decides("loss")
    loss = None if undecided else objects.loss
    splits = load(config, loss)
    warn_of_constant_columns(config.data, splits)
    schema, layers = None, objects.layers
    if isinstance(config.data, TableFile):
        splits = splits.split(config.data, loss)
        name = config.model.name
        scaling = "robust" if name is None else network_of(name).scaling
        schema = learned_schema(config, config.data, splits.training, scaling)
    if isinstance(config, Draft):
        layers, config = settled(config, schema, splits, loss, ops.name == "numpy")
        objects = Objects(config, allow_imports)
    objects.config = config = with_format(config, splits)
    description = objects.described()
    model = _network(config, layers, splits, schema, ops)
    for each in objects.augment:  # before the run folder changes
        with ConfigError.instead_of(ArgumentError, prefix="training."):
            each.check_shape(model.input_shape)
    trainer = make_trainer(model, objects, config, communicator)
    splits = splits.with_classes(trainer.loss, model.output_shape[0])
    model.metadata = dict(splits.metadata)
    model.schema = schema
    start = _started(config, model)
    classes = model.classes or [str(index) for index in range(max(model.output_shape[0], 2))]
    class_weight = class_weights(config.training, classes)
    builder = DatasetBuilder(model, trainer.loss, trainer.every_metric)
    data = {
        name: builder.check(split.source_inputs, split.source_targets, prefix=f"{name} ")
        for name, split in splits.sources.items()
    }
    if schema is None:  # the rows of a table were divided above, before its schema was learned
        splits = splits.divided(config.data, trainer.loss.class_indices(data["training"].targets))
    if isinstance(config.data, SplitDataSet):
        for remark in remarks_on_split(config.data, splits, schema):
            LOG.warning("%s: %s", config.data.path, remark)
    held = splits.validation.indices if splits.validation is not None else None
    held_out = HeldOut(data.get("validation"), splits.training.indices, held)
    training, validation = builder.split(data["training"], held_out, class_weight)
    test = builder.subset(data["test"]) if "test" in data else None
    if test is None and splits.test is not None:
        test = Subset(training.dataset, splits.test.indices)
    _check_threshold(config, trainer, training, splits.validation)
    logs = trainer.log_names_of(splits.validation is not None)
    callbacks, larger_is_better = objects.callbacks, directions(trainer.every_metric)
    settle_monitors(description["training"], logs, larger_is_better)
    best = best_rule(description["training"], callbacks, logs, larger_is_better)
    for callback in callbacks:
        if isinstance(callback, Tracker):
            callback.settings = description
    return Experiment(
        config,
        description,
        trainer,
        splits,
        training,
        validation,
        test,
        callbacks,
        objects.augment,
        best,
        start,
    )


def make_trainer(
    model: Sequential, objects: Objects, config: Config, communicator: Communicator | None = None
) -> Trainer:
    training, distributed = config.training, config.distributed or Distributed()
    try:
        return Trainer(
            model,
            objects.loss,
            objects.optimizer,
            objects.metrics,
            gradient_accumulation=training.gradient_accumulation,
            on_divergence=training.on_divergence,
            communicator=communicator,
            shards=distributed.shards,
            batch_norm=distributed.batch_norm,
            validation_metrics=objects.validation_metrics,
        )
    except ArgumentError as error:
        where = "distributed" if error.key == "shards" else "training"
        raise ConfigError(f"{where}.{error}") from error


def _started(config: Config, model: Sequential) -> WeightsReport | None:
    report = None
    if config.model.start_from is not None:
        with ConfigError.instead_of(ArgumentError, ModelFileError, prefix="model.start_from: "):
            report = model.load_weights(config.model.start_from)
    try:
        model.set_trainable(dict.fromkeys(config.model.frozen, False))
    except ArgumentError as error:
        raise ConfigError(f"model.frozen: {error.problem}") from error
    return report


def _network(
    config: Config, layers: list[Layer], splits: Splits, schema: Schema | None, ops: Backend
) -> Sequential:
    rows = splits.training.source_inputs
    if isinstance(rows, np.ndarray):
        full_shape = rows.shape
    else:
        assert schema is not None
        full_shape = (len(rows), schema.width)
    if len(full_shape) < 2:
        raise DataError(
            f"training X: expected an array of shape (rows, features); got {full_shape}. If there "
            "is a single feature, reshape the array to (rows, 1)"
        )
    shape = full_shape[1:]
    if config.data.standardize:
        flatten: list[Layer] = [Flatten()] if len(shape) > 1 else []
        layers = [*flatten, Standardization(), *layers]
    try:
        model = Sequential(layers, shape, ops, config.seed, config.dtype)
    except ArgumentError as error:
        flat = config.data.standardize and len(shape) > 1
        hint = (
            "data.standardize flattens images; use the layer 'batch_norm' instead. " if flat else ""
        )
        raise ConfigError(f"model.layers: {hint}{error}") from error
    return model


def _check_threshold(
    config: Config, trainer: Trainer, training: Subset, validation: Split | None
) -> None:
    criterion, data, classes = config.training.threshold_for, config.data, trainer.model.classes
    if criterion is None:
        return
    outputs = trainer.model.output_shape[0]
    if outputs > 2 or not has_exclusive_classes(trainer.loss, outputs):
        raise ConfigError(
            "training.threshold_for: only a network with two classes has a threshold; this "
            f"network has {plural(outputs, 'output')} and the loss {trainer.loss.name!r}. Remove "
            "the key"
        )
    if validation is None:
        raise ConfigError(
            "training.threshold_for: choosing a threshold needs validation rows; set "
            "data.validation_fraction"
        )
    if not isinstance(data, TableFile) or data.positive or criterion == "balanced_accuracy":
        return
    codes = classes_of(trainer.loss, training)
    if classes is not None and codes is not None and 2 * np.count_nonzero(codes) > len(codes):
        LOG.warning(
            "threshold_for: %s treats the more common class %r as positive; to choose %r instead, "
            "set data.positive or --positive",
            criterion,
            classes[1],
            classes[0],
        )


def class_weights(training: Training, classes: list[str]) -> dict[int, float] | str | None:
    weights = training.class_weight
    if weights is None or isinstance(weights, str):
        return weights
    for label in weights:
        if label not in classes:
            raise ConfigError(
                f"training.class_weight.{label}: there is no such class; {suggest(label, classes)}"
            )
    return {classes.index(label): weight for label, weight in weights.items()}

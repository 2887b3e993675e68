"""Everything that a configuration describes, made and checked before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gpunn.backends import Backend
from gpunn.config import Config, Training
from gpunn.configurable import Configurable
from gpunn.data.checks import check_inputs
from gpunn.errors import ArgumentError, ConfigError, DataError, suggest
from gpunn.experiment.data import Part, Parts, load, warn_of_constant_columns
from gpunn.experiment.objects import Objects
from gpunn.layers import Flatten, Layer, Standardization
from gpunn.monitor import TIMINGS, Best, default_monitor, direction, directions, missing_figure
from gpunn.network import Sequential
from gpunn.training import Trainer
from gpunn.training.callbacks import Callback, EarlyStopping
from gpunn.training.checkpoint import Checkpoint
from gpunn.training.dataset import examples, training_examples
from gpunn.training.history import History

__all__ = ["Experiment", "build", "evaluate_part", "make_trainer"]


@dataclass(frozen=True)
class Experiment:
    """A network, the data it is trained on, and how.

    Attributes
    ----------
    config : Config
    description : dict
        The configuration with every default written out, in JSON types; it can be run again. The
        mode "auto" of what is monitored has become "min" or "max".
    trainer : Trainer
    parts : Parts
    callbacks : list of Callback
    class_weight : mapping, "balanced" or None
    best : Best or None
        How the best epoch is found, if there is something to go by.
    """

    config: Config
    description: dict[str, Any]
    trainer: Trainer
    parts: Parts
    callbacks: list[Callback]
    class_weight: dict[int, float] | str | None
    best: Best | None

    def run(
        self, *extra: Callback, progress: bool = True, resume_from: Checkpoint | None = None
    ) -> History:
        """Train until the configured number of epochs is reached, those already done included.

        Parameters
        ----------
        *extra : Callback
            Called after those of the configuration.
        progress : bool
            Whether to show a progress bar.
        resume_from : Checkpoint or None
            What to go on from; see `RunFolder.attach`.

        Raises
        ------
        DataError
            If the data does not fit the network. No callback has been called then.
        DivergenceError
            If the loss stops being a finite number.
        """
        config, trainer = self.config.training, self.trainer
        part, validation = self.parts.training, self.parts.validation
        # A part that was set aside is rows of the same source.
        same = validation is not None and validation.source_inputs is part.source_inputs
        training, held = training_examples(
            trainer,
            part.source_inputs,
            part.source_targets,
            sample_weight=None,
            class_weight=self.class_weight,
            validation_data=(
                None
                if validation is None or same
                else (validation.source_inputs, validation.source_targets)
            ),
            validation_split=0.0,
            stream=None,
            kept=part.numbers,
            held=validation.numbers if validation is not None and same else None,
        )
        return trainer.fit_examples(
            training,
            held,
            config.epochs if resume_from else max(0, config.epochs - trainer.epoch),
            config.batch_size,
            config.shuffle,
            sorted([*self.callbacks, *extra], key=lambda callback: callback.saves),
            progress,
            resume_from,
        )

    def evaluate(self) -> dict[str, float] | None:
        """Return loss and metrics over the test part, or None if there is none."""
        test = self.parts.test
        return None if test is None else evaluate_part(self.trainer, test)


def evaluate_part(trainer: Trainer, part: Part) -> dict[str, float]:
    """Return loss and metrics over a part of the data."""
    checked = examples(trainer, part.source_inputs, part.source_targets, None, None, part.numbers)
    return trainer.evaluate_examples(checked)


def build(config: Config, backend: str | Backend, *, allow_imports: bool = False) -> Experiment:
    """Make everything that a configuration describes.

    Parameters
    ----------
    config : Config
    backend : str or Backend
        A name takes precedence over the configuration's; see `Config.get_backend`.
    allow_imports : bool
        Whether the configuration may import classes, which runs their modules' code.

    Raises
    ------
    BackendUnavailableError
        If the backend can't be used on this machine.
    ConfigError
        If a name or a parameter is unknown or impossible, or the layers don't fit one another.
    DataError
        If the data is malformed or does not fit the network and the loss.
    """
    ops = backend if isinstance(backend, Backend) else config.get_backend(backend)
    objects = Objects(config, allow_imports)
    description = objects.described()
    parts = load(config)
    warn_of_constant_columns(config.data, parts)
    model = _network(config, objects.layers, parts, ops)
    trainer = make_trainer(model, objects, config.training)
    parts = parts.split(config.data, trainer.loss, model.output_shape[0])
    model.metadata = dict(parts.metadata)
    # Training checks its source and that of the validation rows before it begins.
    if parts.test is not None and parts.test.source_inputs is not parts.training.source_inputs:
        check_inputs(parts.test.source_inputs, model.input_shape, "test X", config.dtype)
    figures = ["loss", *(metric.name for metric in trainer.metrics)]
    if parts.validation is not None:
        figures += [f"val_{figure}" for figure in figures]
    figures = ["epoch", *figures, *TIMINGS]
    larger_is_better = directions(trainer.metrics)
    _settle_monitors(objects, description["training"], figures, larger_is_better)
    return Experiment(
        config,
        description,
        trainer,
        parts,
        objects.callbacks,
        _class_weight(config.training, parts.metadata.get("classes"), model.output_shape[0]),
        _best(config.training, objects.callbacks, figures, description["training"]),
    )


def make_trainer(model: Sequential, objects: Objects, training: Training) -> Trainer:
    """Return the trainer of a network, which is what evaluates it too."""
    try:
        return Trainer(
            model,
            objects.loss,
            objects.optimizer,
            objects.metrics,
            gradient_accumulation=training.gradient_accumulation,
            on_divergence=training.on_divergence,
        )
    except ArgumentError as error:
        raise ConfigError(f"training.{error}") from error


def _network(config: Config, layers: list[Layer], parts: Parts, ops: Backend) -> Sequential:
    whole = parts.training.source_inputs.shape
    if len(whole) < 2:
        raise DataError(
            f"training X: expected an array of shape (rows, features); got {whole}. A single "
            "feature needs shape (rows, 1)"
        )
    shape = whole[1:]
    if config.data.standardize:
        flatten: list[Layer] = [Flatten()] if len(shape) > 1 else []
        layers = [*flatten, Standardization(), *layers]
    try:
        model = Sequential(layers, shape, ops, config.seed, config.dtype)
    except ArgumentError as error:
        raise ConfigError(f"model.layers: {error}") from error
    return model


def _class_weight(
    training: Training, names: list[str] | None, outputs: int
) -> dict[int, float] | str | None:
    """Return class weights with each class as its number."""
    given = training.class_weight
    if given is None or isinstance(given, str):
        return given
    classes = names or [str(number) for number in range(max(outputs, 2))]
    for label in given:
        if label not in classes:
            raise ConfigError(
                f"training.class_weight.{label}: there is no such class; {suggest(label, classes)}"
            )
    return {classes.index(label): weight for label, weight in given.items()}


def _best(
    training: Training, callbacks: list[Callback], figures: list[str], described: dict[str, Any]
) -> Best | None:
    """Return what tells the best epoch; modes have been settled in the description."""
    stoppers = [
        (callback, entry)
        for callback, entry in zip(callbacks, described["callbacks"], strict=True)
        if isinstance(callback, EarlyStopping)
    ]
    if len(stoppers) > 1:
        raise ConfigError("training.callbacks: only one early_stopping can be given")
    if stoppers and training.monitor is not None:
        raise ConfigError(
            "training.monitor: can't be given beside an early_stopping callback, whose monitor "
            "chooses the best epoch"
        )
    for stopper, entry in stoppers:
        return Best(stopper.monitor, entry["mode"], stopper.min_delta)
    if training.monitor is not None:
        return Best(training.monitor, described["monitor_mode"])
    figure = default_monitor(figures)
    return None if figure is None else Best(figure, "max" if figure == "val_accuracy" else "min")


def _settle_monitors(
    objects: Objects,
    described: dict[str, Any],
    figures: list[str],
    larger_is_better: Mapping[str, bool | None],
) -> None:
    """Put "min" or "max" into the description wherever a figure is monitored.

    Raises
    ------
    ConfigError
        If something waits for a figure that no epoch will have, or whose direction is unknown.
    """
    for path, item, entry in _monitoring(objects, described):
        monitor = getattr(item, "monitor", None)
        if not monitor:
            continue
        _check_monitor(f"{path}.monitor", monitor, figures)
        if "mode" in entry:
            entry["mode"] = _direction(path, "mode", entry["mode"], monitor, larger_is_better)
    if (monitor := described["monitor"]) is None:
        if described["monitor_mode"] != "auto":
            raise ConfigError("training.monitor_mode: needs training.monitor, the figure's name")
        return
    _check_monitor("training.monitor", monitor, figures)
    described["monitor_mode"] = _direction(
        "training", "monitor_mode", described["monitor_mode"], monitor, larger_is_better
    )


def _direction(
    path: str, key: str, mode: str, monitor: str, larger_is_better: Mapping[str, bool | None]
) -> str:
    try:
        return direction(mode, monitor, larger_is_better)
    except ArgumentError as error:
        raise ConfigError(f"{path}.{key}{str(error).removeprefix('mode')}") from error


def _monitoring(
    objects: Objects, described: dict[str, Any]
) -> Iterator[tuple[str, Configurable, dict[str, Any]]]:
    """Yield path, object and description of what may monitor a figure."""
    for index, callback in enumerate(objects.callbacks):
        yield f"training.callbacks[{index}]", callback, described["callbacks"][index]
    schedule: Any = objects.optimizer.schedule
    entry = described["optimizer"].get("learning_rate")
    while isinstance(schedule, Configurable) and isinstance(entry, dict):
        yield "training.optimizer.learning_rate", schedule, entry
        schedule, entry = getattr(schedule, "schedule", None), entry.get("schedule")


def _check_monitor(path: str, monitor: str, figures: list[str]) -> None:
    if monitor not in figures:
        remedy = " without validation rows (data.validation_fraction)"
        raise ConfigError(f"{path}: {missing_figure(monitor, figures, remedy)}")

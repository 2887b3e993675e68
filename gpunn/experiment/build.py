"""Everything that a configuration describes, made and checked before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gpunn.backends import Backend
from gpunn.config import Config, Training
from gpunn.data.checks import check_inputs
from gpunn.errors import ArgumentError, ConfigError, DataError, suggest
from gpunn.experiment.data import Part, Parts, load, warn_of_constant_columns
from gpunn.experiment.monitoring import best_rule, settle_monitors
from gpunn.experiment.objects import Objects
from gpunn.layers import Flatten, Layer, Standardization
from gpunn.monitor import TIMINGS, Best, directions
from gpunn.network import Sequential
from gpunn.training import Trainer
from gpunn.training.callbacks import Callback
from gpunn.training.checkpoint import Checkpoint
from gpunn.training.dataset import DatasetBuilder, HeldOut
from gpunn.training.history import History
from gpunn.training.loop import TrainingLoop
from gpunn.training.session import FitOptions

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
        data = DatasetBuilder(trainer.model, trainer.loss, trainer.metrics)
        held_out = HeldOut(kept=part.numbers)
        if validation is not None and same:
            held_out = HeldOut(kept=part.numbers, indices=validation.numbers)
        elif validation is not None:
            own = validation.source_inputs, validation.source_targets
            held_out = HeldOut(data=own, kept=part.numbers)
        training, held = data.split(
            part.source_inputs,
            part.source_targets,
            class_weight=self.class_weight,
            held_out=held_out,
        )
        options = FitOptions(
            config.epochs if resume_from else max(0, config.epochs - trainer.epoch),
            config.batch_size,
            config.shuffle,
            [*self.callbacks, *extra],
            progress,
            resume_from,
        )
        return TrainingLoop(trainer, training, held, options).run()

    def evaluate(self) -> dict[str, float] | None:
        """Return loss and metrics over the test part, or None if there is none."""
        test = self.parts.test
        return None if test is None else evaluate_part(self.trainer, test)


def evaluate_part(trainer: Trainer, part: Part) -> dict[str, float]:
    """Return loss and metrics over a part of the data."""
    data = DatasetBuilder(trainer.model, trainer.loss, trainer.metrics)
    subset = data.subset(part.source_inputs, part.source_targets, indices=part.numbers)
    return trainer.evaluate_subset(subset)


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
    logs = ["loss", *(metric.name for metric in trainer.metrics)]
    if parts.validation is not None:
        logs += [f"val_{name}" for name in logs]
    logs = ["epoch", *logs, *TIMINGS]
    settle_monitors(description["training"], logs, directions(trainer.metrics))
    return Experiment(
        config,
        description,
        trainer,
        parts,
        objects.callbacks,
        _class_weight(config.training, parts.metadata.get("classes"), model.output_shape[0]),
        best_rule(description["training"], objects.callbacks, logs),
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

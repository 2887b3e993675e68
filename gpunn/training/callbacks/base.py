"""The base class of callbacks, and checks that several callbacks share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from gpunn.configurable import Configurable
from gpunn.errors import ArgumentTypeError
from gpunn.monitor import direction, monitored
from gpunn.storage.reading import checked_path
from gpunn.training.trainer_protocol import TrainerProtocol

__all__ = ["Callback", "check_path", "monitored_direction"]


class Callback(Configurable):
    """Base class of callbacks. A subclass overrides any of its methods, which do nothing.

    `trainer` is the `gpunn.Trainer` that calls.

    Attributes
    ----------
    saves : bool
        Whether it writes checkpoints. Such callbacks are called after all others, so that their
        checkpoints have the others' latest state.
    every_updates : int or None
        `on_updates_end` is called after each so many updates, counted from the beginning of
        training; None leaves it to the trainer, which calls it about every tenth of a second.

    Examples
    --------
    >>> import gpunn
    >>> class Print(gpunn.callbacks.Callback):
    ...     name = "print"
    ...
    ...     def on_epoch_end(self, trainer, logs):
    ...         print(trainer.epoch, logs["loss"])
    >>> layer = gpunn.layers.Dense(1, bias=False, initializer="zeros")
    >>> model = gpunn.Sequential([layer], 1, backend="numpy")
    >>> trainer = gpunn.Trainer(model, "mean_squared_error", gpunn.optimizers.SGD(0.25))
    >>> history = trainer.fit([[1.0]], [1.0], epochs=2, callbacks=[Print()], progress=False)
    1 1.0
    2 0.25
    """

    saves: ClassVar[bool] = False
    every_updates: int | None = None

    def on_train_begin(self, trainer: Any) -> None:
        """Do something before the first epoch of a call of `fit`.

        `trainer.log_names` has the names of the logs to come.

        Parameters
        ----------
        trainer : Trainer
            The one that calls.
        """

    def on_updates_end(self, trainer: Any) -> None:
        """Do something within an epoch, between two updates.

        It must not change the network or the data.

        Parameters
        ----------
        trainer : Trainer
            The one that calls.
        """

    def on_epoch_end(self, trainer: Any, logs: Mapping[str, float]) -> None:
        """Do something after each epoch.

        `trainer.stop_reason`, a text that is set here, ends training.

        Parameters
        ----------
        trainer : Trainer
            The one that calls.
        logs : mapping of str to float
            The epoch's row of the history.
        """

    def on_interruption(self, trainer: Any) -> None:
        """Do something when Ctrl-C or SIGTERM ends training, before `on_train_end`.

        Parameters
        ----------
        trainer : Trainer
            The one that calls.
        """

    def on_train_end(self, trainer: Any) -> None:
        """Do something after the last epoch, also if training failed or could not begin.

        Parameters
        ----------
        trainer : Trainer
            The one that calls.
        """

    def state(self, trainer: Any) -> dict[str, Any]:
        """Return what a checkpoint keeps of the callback.

        Parameters
        ----------
        trainer : Trainer
            The one that calls.

        Returns
        -------
        dict of str to value
            Values of JSON types, and host arrays; empty by default.
        """
        return {}

    def restore(self, state: Mapping[str, Any], trainer: Any) -> None:
        """Take back what `state` returned, after `on_train_begin` of a resumed run.

        Parameters
        ----------
        state : mapping of str to value
            What `state` returned; empty if the run had no such callback, or it had no state.
        trainer : Trainer
            The one that calls.
        """

    def config(self) -> dict[str, Any]:
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in super().config().items()
        }


def check_path(path: Any) -> None:
    """Raise an ArgumentTypeError unless this can name a file."""
    if not isinstance(path, (str, Path)) or not str(path):
        raise ArgumentTypeError(f"path: expected the name of a file; got {path!r}")
    checked_path(path)


def monitored_direction(trainer: TrainerProtocol, mode: str, monitor: str) -> str:
    """Return "min" or "max" for the name of a log, or raise an ArgumentError if there is none."""
    monitored(dict.fromkeys(trainer.log_names, 0.0), monitor)
    return direction(mode, monitor, trainer.larger_is_better)

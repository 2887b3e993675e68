"""The base class of callbacks, and checks that several callbacks use."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import isfunction
from pathlib import Path
from typing import Any, ClassVar

from gpunn.configurable import Configurable
from gpunn.errors import ArgumentTypeError
from gpunn.monitor import direction, monitored
from gpunn.storage.reading import checked_path
from gpunn.training.trainer_protocol import TrainerProtocol


class Callback(Configurable):
    """Base class of callbacks. The methods do nothing; subclasses override some of them.

    Other methods with names such as `on_batch_end` are never called. So defining a further method
    `on_..._begin`, `on_..._start` or `on_..._end` raises an ArgumentTypeError.

    Attributes
    ----------
    saves : bool
        Whether the callback writes checkpoints. Such callbacks are called after all others.
    reads_only : bool
        Whether the callback changes nothing in the trainer, except that it may end training. If
        True, `on_epoch_end` may run after later epochs were computed. The trainer then still shows
        the state at the end of the epoch, but not `last_gradients`. Subclasses do not inherit the
        value.
    every_updates : int or None
        The number of updates between two calls of `on_updates_end`, counted from the beginning of
        training. With None, the trainer calls `on_updates_end` about every tenth of a second.

    Examples
    --------
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
    reads_only: ClassVar[bool] = False
    every_updates: int | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        called = [name for name in vars(Callback) if name.startswith("on_")]
        for name, value in vars(cls).items():
            like_a_call = name.startswith("on_") and name.endswith(("_begin", "_start", "_end"))
            if like_a_call and isfunction(value) and name not in called:
                raise ArgumentTypeError(
                    f"{cls.__name__}.{name}: a trainer never calls this method. Rename it; a "
                    f"trainer calls {', '.join(called)}"
                )

    def on_train_begin(self, trainer: Any) -> None:
        """Run before the first epoch of a call of `fit`.

        `trainer.log_names` lists the names of the logs that each epoch will have.

        Parameters
        ----------
        trainer : Trainer
            The trainer that calls this method.
        """

    def on_updates_end(self, trainer: Any) -> None:
        """Run within an epoch, between two updates.

        After the last update of an epoch, `on_epoch_end` runs instead. `on_updates_end` must not
        change the network or the data.

        Parameters
        ----------
        trainer : Trainer
            The trainer that calls this method.
        """

    def on_epoch_end(self, trainer: Any, logs: Mapping[str, float]) -> None:
        """Run after each epoch.

        To end training, set `trainer.stop_reason` to a string.

        Parameters
        ----------
        trainer : Trainer
            The trainer that calls this method.
        logs : mapping of str to float
            The epoch's row of the history.
        """

    def on_interruption(self, trainer: Any) -> None:
        """Run before `on_train_end` if Ctrl-C or SIGTERM ends training.

        Parameters
        ----------
        trainer : Trainer
            The trainer that calls this method.
        """

    def on_train_end(self, trainer: Any) -> None:
        """Run after the last epoch, even if training failed or could not begin.

        Parameters
        ----------
        trainer : Trainer
            The trainer that calls this method.
        """

    def state(self, trainer: Any) -> dict[str, Any]:
        """Return the callback's state for a checkpoint.

        Parameters
        ----------
        trainer : Trainer
            The trainer that calls this method.

        Returns
        -------
        dict of str to value
            Values of JSON types and host arrays; empty by default.
        """
        return {}

    def restore(self, state: Mapping[str, Any], trainer: Any) -> None:
        """Restore the callback's state from a checkpoint.

        A resumed run calls `on_train_begin` before this method.

        Parameters
        ----------
        state : mapping of str to value
            What `state` returned; empty if the checkpoint has no state of this callback.
        trainer : Trainer
            The trainer that calls this method.
        """

    def config(self) -> dict[str, Any]:
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in super().config().items()
        }


def check_path(path: Any) -> None:
    if not isinstance(path, (str, Path)) or not str(path):
        raise ArgumentTypeError(f"path: expected the name of a file; got {path!r}")
    checked_path(path)


def monitored_direction(trainer: TrainerProtocol, mode: str, monitor: str) -> str:
    monitored(dict.fromkeys(trainer.log_names, 0.0), monitor)
    return direction(mode, monitor, trainer.larger_is_better)

"""The result of one of many fits, and the interface of rules that compare fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpunn.training.fit import Fit
from gpunn.training.history import History


@dataclass(eq=False)
class FitResult:
    """A trained network of `gpunn.train_together`.

    Parameters
    ----------
    trainer : Trainer
        The trainer, with the trained network.
    error : BaseException or None
        The error that ended training, if any.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.Dense(1)], 1, backend="numpy")
    >>> fit = gpunn.Trainer(model, "mean_squared_error").prepare([[1.0]], [1.0], epochs=3)
    >>> result = gpunn.train_together([fit])[0]
    >>> len(result.history["loss"]), result.history.stopped, result.error
    (3, '', None)
    """

    trainer: Any
    error: BaseException | None = None

    @property
    def history(self) -> History:
        """The logs of all epochs. If training ended early, `history.stopped` has the reason."""
        history: History = self.trainer.history
        return history


class StopRule:
    """Base class of rules for `gpunn.train_together` that compare networks and end some early.

    Networks train in rounds. At the end of a round, networks wait for each other. So the rule's
    decisions do not depend on the number or the speed of threads.

    Examples
    --------
    >>> class DropWorst(gpunn.training.StopRule):
    ...     def next_epoch(self, epoch):
    ...         return epoch + 2
    ...
    ...     def compare(self, epoch, results):
    ...         losses = {i: each.history["loss"][epoch - 1] for i, each in results.items()}
    ...         worst = max(losses, key=losses.get)
    ...         return {worst: "the worst"} if len(losses) > 1 else {}
    >>> fits = []
    >>> for rate in (0.3, 0.1, 0.01):
    ...     layer = gpunn.layers.Dense(1, initializer="zeros")
    ...     model = gpunn.Sequential([layer], 1, backend="numpy")
    ...     trainer = gpunn.Trainer(model, "mean_squared_error", gpunn.optimizers.SGD(rate))
    ...     fits.append(trainer.prepare([[1.0]], [1.0], epochs=6))
    >>> results = gpunn.train_together(fits, stop=DropWorst())
    >>> [(len(each.history["loss"]), each.history.stopped) for each in results]
    [(6, ''), (4, 'the worst'), (2, 'the worst')]
    """

    def begin(self, fits: Sequence[Fit]) -> None:
        """Check the fits before the first fit trains; the base class does nothing.

        Parameters
        ----------
        fits : sequence of Fit
            All fits.
        """

    def next_epoch(self, epoch: int) -> int | None:
        """Return the epoch after which networks are compared next, counted in `train_together`.

        Parameters
        ----------
        epoch : int
            The epoch after which networks were compared last, or 0.

        Returns
        -------
        int or None
            A later epoch, or None for no further comparison.
        """
        raise NotImplementedError

    def compare(self, epoch: int, results: Mapping[int, FitResult]) -> Mapping[int, str]:
        """Return the networks to end now, each with a reason.

        Parameters
        ----------
        epoch : int
            The number of epochs at this comparison. A network that resumed from a file may have
            trained more epochs.
        results : mapping of int to FitResult
            The networks that this rule has not ended, by index. Networks that ended for another
            reason, such as `EarlyStopping` or an error, are included.

        Returns
        -------
        mapping of int to str
            The networks that end, by index, each with the reason for its `history.stopped`.
        """
        raise NotImplementedError

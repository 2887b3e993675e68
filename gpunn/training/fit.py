"""A call of `Trainer.fit`, which trains until all epochs are done or something ends training.

In outline::

    for each epoch:
        train for the epoch, and validate
        add the epoch's logs to the history, and pass them to schedule, policy and callbacks
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from types import TracebackType
from typing import Self

from gpunn.backends.thread_count import one_thread
from gpunn.distributed.agreement import AgreedExit
from gpunn.training.epoch import EpochByRequests
from gpunn.training.epoch_blocks import EpochBlocks
from gpunn.training.history import History
from gpunn.training.session import TrainingSession
from gpunn.training.sharing import is_sharing

LOG = logging.getLogger("gpunn")


class Fit:
    """A prepared call of `Trainer.fit`, made by `Trainer.prepare`; `run` trains.

    To train several networks in turn, call `advance` within `with fit:`.

    Parameters
    ----------
    session : TrainingSession
        The checked arguments.

    Attributes
    ----------
    trainer : Trainer
        The trainer.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.Dense(1)], 1, backend="numpy")
    >>> trainer = gpunn.Trainer(model, "mean_squared_error", gpunn.optimizers.SGD(0.1))
    >>> fit = trainer.prepare([[0.0], [1.0]], [1.0, 1.0], epochs=20, progress=False)
    >>> with fit:
    ...     ended = fit.advance(until=10)
    >>> trainer.epoch, ended
    (10, False)
    """

    def __init__(self, session: TrainingSession) -> None:
        self.session, self.trainer = session, session.trainer
        self._epoch, self._blocks = EpochByRequests(session), EpochBlocks(session)
        self._contexts = ExitStack()
        self._queue: AbstractContextManager[object] = nullcontext()
        self._exit_status: int | None = None

    def run(self) -> History:
        """Train for the requested epochs, or until something ends training.

        Returns
        -------
        History
            The logs of all epochs so far, including earlier calls of `fit`.

        Raises
        ------
        DistributedError
            If another rank has failed; the message names the rank and the reason.
        """
        with self:
            self.advance()
        return self.trainer.history

    def __enter__(self) -> Self:
        if is_sharing():
            self._queue = self.trainer.model.backend.queue()
        with self._queue, ExitStack() as contexts:
            contexts.enter_context(self.trainer.ranks.agreement.failing_together())
            contexts.push(self._exit_program)
            contexts.enter_context(self.trainer.model.exclusion.held("fit", training=True))
            contexts.enter_context(self.session.running())
            self._contexts = contexts.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self.trainer.model.exclusion.move()
        self._blocks.end()
        self._epoch.end()
        with self._queue:
            return self._contexts.__exit__(kind, error, traceback)

    def advance(self, until: int | None = None) -> bool:
        """Train until an epoch, or until training ends.

        Calls may come from different threads, but not at the same time.

        Parameters
        ----------
        until : int or None
            The value of `Trainer.epoch` at which to return; None means after all requested epochs.

        Returns
        -------
        bool
            Whether training has ended: all epochs are done, or a rule or a signal has ended it.
        """
        self.trainer.model.exclusion.move()
        with self._queue, one_thread() if is_sharing() else nullcontext():
            self.session.use_replaced_parts()
            self._blocks.look_again()  # the caller may have changed settings
            return self._train(until)

    def _train(self, until: int | None) -> bool:
        progress = self.trainer.progress
        while not progress.stop_reason:
            # A callback may change `last_epoch`.
            last = progress.last_epoch if until is None else min(until, progress.last_epoch)
            if progress.epoch >= last:
                break
            self.session.use_replaced_parts()
            if self._epoch.interrupted:
                self._end_interrupted()
            elif self._blocks.ready():
                self._blocks.run(last, self._end_epochs)
            elif logs := self._epoch.run():
                self._blocks.observe_time(logs["seconds"])
                self._end_epochs([logs])
        return progress.epoch >= progress.last_epoch or bool(progress.stop_reason)

    def _end_epochs(self, logs: Iterable[dict[str, float]]) -> None:
        trainer, session, progress = self.trainer, self.session, self.trainer.progress
        calls = session.callbacks or not session.ranks.alone
        for measured in logs:
            progress.epoch += 1
            progress.cursor = None
            row = {"epoch": progress.epoch, **measured}
            trainer.history.append(row)
            trainer.optimizer.schedule.observe(row)
            if reason := trainer.policy.observe(trainer, row):
                progress.stop_reason = reason
            if calls:
                session.call(lambda each: each.on_epoch_end(trainer, trainer.history.rows[-1]))
            if progress.stop_reason:
                return

    def _end_interrupted(self) -> None:
        progress, interruption = self.trainer.progress, self.session.interruption
        self.session.call(lambda callback: callback.on_interruption(self.trainer))
        progress.stop_reason, progress.interrupted = interruption.reason, True
        self._exit_status = interruption.exit_status
        if not self.trainer.ranks.first:
            return
        LOG.warning(
            "Training was %s after update %d, with %d of %d epochs done",
            progress.stop_reason,
            progress.updates,
            progress.epoch,
            progress.last_epoch,
        )

    def _exit_program(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None and self._exit_status is not None:
            raise AgreedExit(self._exit_status)

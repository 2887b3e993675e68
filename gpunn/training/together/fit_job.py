"""One of the fits of `train_together`."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from gpunn.distributed.agreement import AgreedExit
from gpunn.training.fit import Fit
from gpunn.training.interruption import Interruption
from gpunn.training.together.fit_result import FitResult

SECONDS = 2.0
"""Maximum seconds between two checkpoints of a network, unless an epoch takes longer."""


class FitJob:
    """A fit that any thread can continue. The fit resumes from the checkpoint at `path`, if any."""

    def __init__(
        self, index: int, fit: Fit, interruption: Interruption, keep: bool, path: Path | None
    ) -> None:
        self.index, self.fit, self.path = index, fit, path
        self.interruption, self.keep = interruption, keep
        self.result = FitResult(fit.trainer)
        self.begun = self.ended = False
        self._contexts = ExitStack()
        self._first = 0

    @property
    def size(self) -> int:
        """An estimate of the fit's work, so that the largest fits can be trained first."""
        session = self.fit.session
        parameters = self.fit.trainer.model.parameters.count
        return session.plan.visited * parameters * session.options.epochs

    @property
    def epochs(self) -> int:
        return self.fit.trainer.epoch - self._first if self.begun else 0

    def train(self, epochs: int | None) -> None:
        try:
            with self._contexts.pop_all() as contexts:
                if not self.begun and not self._begin(contexts):
                    return
                first = self.fit.trainer.progress.first_epoch
                if not self._advance(None if epochs is None else first + epochs):
                    self._contexts = contexts.pop_all()
                    return
            self.ended = True
            if not self.fit.trainer.progress.interrupted:  # otherwise the file is up to date
                self._save()
        except AgreedExit:  # after SIGTERM; train_together ends the program
            self.ended = True
        except BaseException as error:
            self.ended, self.result.error = True, error
            if not self.keep or not isinstance(error, Exception):
                error.add_note(f"in fits[{self.index}] of train_together")
                raise

    def _begin(self, contexts: ExitStack) -> bool:
        """Begin the fit within `contexts`, and return True.

        If an interruption has been requested, end the job instead, and return False.
        """
        if self.interruption.requested:
            self.fit.trainer.history.stopped = self.interruption.reason
            self.ended = True
            return False
        session = self.fit.session
        contexts.callback(setattr, session, "interruption", session.interruption)
        contexts.callback(setattr, session, "options", session.options)
        resume_from = session.options.resume_from
        if self.path is not None and self.path.exists():
            resume_from = self.path
        session.options = replace(session.options, progress=False, resume_from=resume_from)
        session.interruption = self.interruption
        contexts.enter_context(self.fit)
        self.begun, self._first = True, self.fit.trainer.epoch
        return True

    def _advance(self, until: int | None) -> bool:
        if self.path is None:
            return self.fit.advance(until)
        last = self.fit.trainer.last_epoch if until is None else until
        epochs = 1
        while True:
            began = time.monotonic()
            ended = self.fit.advance(min(self.fit.trainer.epoch + epochs, last))
            if not ended or self.fit.trainer.progress.interrupted:
                self._save()
            if ended or self.fit.trainer.epoch >= last:
                return ended
            took = time.monotonic() - began
            epochs = epochs * 2 if took < SECONDS / 2 else max(1, epochs // 2)

    def _save(self) -> None:
        if self.path is not None and self.fit.trainer.can_checkpoint():
            self.fit.trainer.save_checkpoint(self.path)

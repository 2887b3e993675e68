"""The end of a process in the middle of a training, for tests of what goes on from a checkpoint."""

import pytest
from equality import assert_same

from gpunn.callbacks import Callback, ModelCheckpoint

__all__ = ["Kill", "KillEpoch", "Killed", "assert_resumes", "killed"]


class Killed(BaseException):
    """Stands for the end of a process."""


class Kill(Callback):
    """Dies after so many updates; comes after all that writes checkpoints."""

    saves = True

    def __init__(self, at):
        self.at, self.every_updates = at, 1

    def on_updates_end(self, trainer):
        if trainer.updates == self.at:
            raise Killed

    def on_epoch_end(self, trainer, logs):
        self.on_updates_end(trainer)


class KillEpoch(Callback):
    """Dies at the end of an epoch, before its checkpoint is written."""

    def __init__(self, epoch, error=KeyboardInterrupt):
        self.epoch, self.error = epoch, error

    def on_epoch_end(self, trainer, logs):
        if trainer.epoch == self.epoch:
            raise self.error("on purpose")


def killed(train, this, path, at, callbacks=(), **options):
    """Train until the checkpoint of update number `at` is written, and no further."""
    writing = ModelCheckpoint(path, resumable=True, every_updates=1)
    with pytest.raises(Killed):
        train(this, callbacks=[*callbacks, writing, Kill(at)], **options)


def assert_resumes(make, train, folder, at, **options):
    """A training that is killed after so many updates goes on as if it had not been.

    Returns that of one go, and the checkpoint.
    """
    path = folder / "checkpoint.safetensors"
    whole, resumed = make(), make()
    train(whole, **options)
    killed(train, make(), path, at, **options)
    train(resumed, resume_from=path, **options)
    assert_same(whole, resumed)
    assert whole.history.stopped == resumed.history.stopped
    return whole, path

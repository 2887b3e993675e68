"""The end of a process in the middle of a training, for tests of what goes on from a checkpoint."""

from gpunn.callbacks import Callback

__all__ = ["Kill", "Killed"]


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

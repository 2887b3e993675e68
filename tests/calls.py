"""A callback that calls a test's functions."""

from gpunn.callbacks import Callback


class Calls(Callback):
    """A callback whose methods are given: `Calls(on_epoch_end=lambda trainer, logs: ...)`."""

    def __init__(self, **functions_and_settings):
        vars(self).update(functions_and_settings)

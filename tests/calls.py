"""A callback that calls a test's functions."""

from gpunn.callbacks import Callback


class Calls(Callback):
    """Has functions in place of methods: `Calls(on_epoch_end=lambda trainer, logs: ...)`."""

    def __init__(self, **functions_and_settings):
        vars(self).update(functions_and_settings)

"""Explain a lack of memory for the buffers of a pass."""

import numpy as np

from gpunn.errors import ArgumentError, GpunnError
from gpunn.network import Sequential
from gpunn.optimizers import Optimizer


class BufferMemory:
    """A context that explains a `MemoryError` as a lack of memory for the buffers of a pass.

    User code, such as callbacks, must run outside this context.
    """

    def __init__(self, model: Sequential, optimizer: Optimizer, batch_size: int) -> None:
        self._model, self._optimizer, self._batch_size = model, optimizer, batch_size

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if not isinstance(error, MemoryError) or isinstance(error, GpunnError):
            return
        try:
            with self._model.backend.device_errors():  # explains errors of the device
                raise error
        except GpunnError:
            raise
        except MemoryError:
            raise ArgumentError(self._explanation(error)) from error

    def _explanation(self, error: MemoryError) -> str:
        model, batch_size = self._model, self._batch_size
        itemsize = np.dtype(model.dtype).itemsize
        parameters = (model.parameters.count - model.parameters.frozen) * itemsize
        copies = 2 + len(self._optimizer.slots)  # values, gradients, the optimizer's
        reason = f" ({error})" if str(error) else ""
        activations = batch_size * model.bytes_per_row
        return (
            f"batch_size: out of memory with batches of {batch_size} rows{reason}. The activations "
            f"of a batch take about {activations / 2**20:,.1f} MiB, and their gradients take as "
            "much. Parameters, their gradients and the optimizer's state take "
            f"{copies * parameters / 2**20:,.1f} MiB; a copy of parameters and this state takes "
            f"{(copies - 1) * parameters / 2**20:,.1f} MiB. Reduce batch_size, use fewer "
            "units or filters, or use an optimizer with less state, such as 'sgd'. To use as many "
            "rows as before in each step of the optimizer, increase gradient_accumulation. To keep "
            "the data off the device, set stream=True"
        )

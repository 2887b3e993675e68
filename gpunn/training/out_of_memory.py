"""What is said where the buffers of a pass find no room."""

from __future__ import annotations

import math
from types import TracebackType

import numpy as np

from gpunn.errors import ArgumentError, GpunnError
from gpunn.network import Sequential
from gpunn.optimizers import Optimizer

__all__ = ["BufferMemory"]


class BufferMemory:
    """A context in which a lack of memory is one for the buffers and data of a pass.

    It becomes an `ArgumentError` that gives their sizes, and says what makes them smaller. The
    context can be entered again and again; what is not of gpunn, such as a callback, is called
    outside of it.
    """

    def __init__(self, model: Sequential, optimizer: Optimizer, batch_size: int) -> None:
        self._model, self._optimizer, self._batch_size = model, optimizer, batch_size

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Explain a lack of memory, unless that has been done."""
        if not isinstance(error, MemoryError) or isinstance(error, GpunnError):
            return
        try:
            with self._model.backend.device_errors():  # which knows a device's own error
                raise error
        except GpunnError:
            raise
        except MemoryError:
            raise ArgumentError(self._explanation(error)) from error

    def _explanation(self, error: MemoryError) -> str:
        """Return what the buffers of a pass take, and what shrinks them."""
        model, batch_size = self._model, self._batch_size
        itemsize = np.dtype(model.dtype).itemsize
        parameters = (model.parameters.count - model.parameters.frozen) * itemsize
        copies = 2 + len(self._optimizer.slots)  # values, gradients, the optimizer's
        row = sum(math.prod(shape) for shape in (model.input_shape, *model.shapes)) * itemsize
        reason = f" ({error})" if str(error) else ""
        return (
            f"batch_size: out of memory with batches of {batch_size} rows{reason}. The activations "
            f"of a batch take about {batch_size * row / 2**20:,.1f} MiB, and as much again for "
            f"their gradients; parameters, gradients and optimizer "
            f"{copies * parameters / 2**20:,.1f} MiB, and a copy of them "
            f"{(copies - 1) * parameters / 2**20:,.1f} MiB. Choose a smaller batch_size (for "
            "training, gradient_accumulation makes up for it), fewer units, or an optimizer with "
            "less state, such as 'sgd'; stream=True keeps the data off the device"
        )

"""Collective calls of NVIDIA's NCCL on CuPy's arrays, by `cupy.cuda.nccl`."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Sequence
from typing import Any

from gpunn.backends import Backend
from gpunn.errors import DistributedError, MissingPackageError
from gpunn.typing import Array

__all__ = ["Calls", "library", "place_of", "stream_now"]


class Calls:
    """The collective calls of a communicator of NCCL's, on the current stream."""

    def __init__(self, nccl: Any, communicator: Any, size: int, device: Any) -> None:
        self._nccl, self.communicator, self._size = nccl, communicator, size
        self._device = device
        self._types = {
            "float32": nccl.NCCL_FLOAT32,
            "float64": nccl.NCCL_FLOAT64,
            "int64": nccl.NCCL_INT64,
        }

    def use_device(self) -> None:
        """Make the communicator's device the current one of this thread."""
        self._device.use()

    def trouble(self) -> str:
        """Return the error that NCCL met after a call had returned; an empty string if none."""
        try:
            self.communicator.check_async_error()
        except Exception as error:  # CuPy 13 has no name of some of NCCL's errors: a KeyError
            return f"NCCL has failed: {type(error).__name__}: {error}"
        return ""

    def all_to_all(self, blocks: Array, out: Array) -> None:
        """Set out[r] to what rank r has as blocks[this rank]; both of shape (size, length)."""
        self._type(blocks, out)
        ranks = range(self._size)
        self.exchange(list(zip(blocks, ranks, strict=True)), list(zip(out, ranks, strict=True)))

    def all_gather(self, block: Array, out: Array) -> None:
        """Set out[r] to the block of rank r; `block` may be out[this rank]."""
        given, taken = self._pointer(block), self._pointer(out)
        kind = self._type(block, out)
        self.communicator.allGather(given, taken, block.size, kind, stream_now())

    def exchange(
        self, sends: Sequence[tuple[Array, int]], receives: Sequence[tuple[Array, int]]
    ) -> None:
        """Send arrays to ranks, and set others to what ranks send, all at once."""
        send, receive, stream = self.communicator.send, self.communicator.recv, stream_now()
        moves = [(send, *each) for each in sends] + [(receive, *each) for each in receives]
        given = [(self._pointer(x), x.size, self._type(x, x), rank) for _, x, rank in moves]
        self._nccl.groupStart()
        try:  # as one call: a rank can't send before the other one receives
            for (move, _, _), arguments in zip(moves, given, strict=True):
                move(*arguments, stream)
        finally:
            self._nccl.groupEnd()

    def _type(self, given: Array, out: Array) -> int:
        name = str(given.dtype)
        if name not in self._types or out.dtype != given.dtype:
            raise DistributedError(
                f"NCCL: expected two arrays of one type, of {', '.join(self._types)}; got {name} "
                f"and {out.dtype}"
            )
        found: int = self._types[name]
        return found

    def _pointer(self, array: Array) -> int:
        if not array.flags.c_contiguous:
            raise DistributedError("NCCL: expected arrays without gaps between their elements")
        address: int = array.data.ptr
        return address


def stream_now() -> int:
    """Return the address of the stream that work goes to."""
    import cupy

    address: int = cupy.cuda.get_current_stream().ptr
    return address


def library() -> Any:
    """Return CuPy's module of NCCL.

    Raises
    ------
    MissingPackageError
        If the library can't be opened.
    """
    import cupy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of CuPy, that the library is missing
        from cupy.cuda import nccl
    if not nccl.available:
        major = cupy.cuda.runtime.runtimeGetVersion() // 1000
        raise MissingPackageError(
            "communicator: NCCL's library libnccl.so.2 can't be opened, by which processes with a "
            f"CUDA device each exchange gradients. Install it: pip install nvidia-nccl-cu{major}"
        )
    return nccl


def place_of(backend: Backend) -> tuple[str, str]:
    """Return the machine, and which device of it this is."""
    import cupy

    address: str = cupy.cuda.runtime.deviceGetPCIBusId(backend.device.id)
    return platform.node(), address

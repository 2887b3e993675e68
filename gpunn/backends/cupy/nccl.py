"""Collective calls of NVIDIA's NCCL on CuPy arrays, through `cupy.cuda.nccl`."""

import platform
import warnings
from collections.abc import Sequence
from typing import Any

from gpunn.backends import Backend
from gpunn.errors import DistributedError, MissingPackageError
from gpunn.typing import Array


class Calls:
    def __init__(self, nccl: Any, communicator: Any, size: int, device: Any) -> None:
        self._nccl, self.communicator, self._size = nccl, communicator, size
        self.device = device
        self._types = {
            "float32": nccl.NCCL_FLOAT32,
            "float64": nccl.NCCL_FLOAT64,
            "int64": nccl.NCCL_INT64,
        }

    def trouble(self) -> str:
        try:
            self.communicator.check_async_error()
        except Exception as error:  # CuPy 13 raises KeyError for NCCL errors without a name
            return f"NCCL has failed: {type(error).__name__}: {error}"
        return ""

    def all_to_all(self, blocks: Array, out: Array) -> None:
        """Set out[r] to blocks[k] of rank r, where k is the rank of this process."""
        self._type(blocks, out)
        ranks = range(self._size)
        self.exchange(list(zip(blocks, ranks, strict=True)), list(zip(out, ranks, strict=True)))

    def all_gather(self, block: Array, out: Array) -> None:
        source, target = self._pointer(block), self._pointer(out)
        kind = self._type(block, out)
        self.communicator.allGather(source, target, block.size, kind, stream_now())

    def exchange(
        self, sends: Sequence[tuple[Array, int]], receives: Sequence[tuple[Array, int]]
    ) -> None:
        send, receive, stream = self.communicator.send, self.communicator.recv, stream_now()
        moves = [(send, *each) for each in sends] + [(receive, *each) for each in receives]
        packed = [(self._pointer(x), x.size, self._type(x, x), rank) for _, x, rank in moves]
        self._nccl.groupStart()
        try:  # as a group, because each send waits until the other rank receives
            for (move, _, _), arguments in zip(moves, packed, strict=True):
                move(*arguments, stream)
        finally:
            self._nccl.groupEnd()

    def _type(self, block: Array, out: Array) -> int:
        name = str(block.dtype)
        if name not in self._types or out.dtype != block.dtype:
            raise DistributedError(
                "NCCL: expected two arrays of the same supported dtype "
                f"({', '.join(self._types)}); got {name} and {out.dtype}"
            )
        kind: int = self._types[name]
        return kind

    def _pointer(self, array: Array) -> int:
        if not array.flags.c_contiguous:
            raise DistributedError("NCCL: expected contiguous arrays; copy the array first")
        address: int = array.data.ptr
        return address


def stream_now() -> int:
    import cupy

    address: int = cupy.cuda.get_current_stream().ptr
    return address


def library() -> Any:
    import cupy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CuPy warns if the library is missing
        from cupy.cuda import nccl
    if not nccl.available:
        major = cupy.cuda.runtime.runtimeGetVersion() // 1000
        raise MissingPackageError(
            "communicator: NCCL's library libnccl.so.2 can't be opened. CUDA devices need NCCL to "
            f"exchange gradients. Install NCCL: pip install nvidia-nccl-cu{major}"
        )
    return nccl


def place_of(backend: Backend) -> tuple[str, str]:
    import cupy

    address: str = cupy.cuda.runtime.deviceGetPCIBusId(backend.device.id)
    return platform.node(), address

"""NCCL by shared memory, behind a shared library that has NCCL's name and C interface.

Ranks are processes of one machine, or threads of one process. A call, or all calls of a group,
become one piece of work of their stream. It waits for the other ranks, compares the requests, and
copies. All ranks get an error if requests do not match, if only some ranks replay a graph, or if
their graphs differ in the number of calls. A GPU would wait forever or compute wrong numbers.
"""

import atexit
import ctypes
from typing import Any

from . import cupy_private
from .errors import CollectiveError
from .graphs import Operand, Work
from .libraries import CurrentDevice, answering, connected, opened, stubs
from .runtime import Runtime

UNHANDLED_CUDA_ERROR, INVALID_USAGE = 1, 5
ALL_GATHER, SEND, RECEIVE = 0, 1, 2
NAMES = ("ncclAllGather", "ncclSend", "ncclRecv")
MESSAGE_BYTES = 1000


class _Operation(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("kind", "type", "peer", "unused")),
        ("count", ctypes.c_uint64),
        ("source", ctypes.c_void_p),
        ("target", ctypes.c_void_p),
    ]


_Submit = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(_Operation), ctypes.c_int
)
_InGraphs = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)


def _operands(library: Any, communicator: int, one: _Operation) -> list[Operand]:
    size = one.count * library.emulated_nccl_item(one.type)
    if not size:
        return []
    found = []
    if one.kind != RECEIVE:
        found.append(Operand(one.source, size, f"{NAMES[one.kind]}, source", False))
    if one.kind != SEND:
        ranks = library.emulated_nccl_size(communicator) if one.kind == ALL_GATHER else 1
        what = f"{NAMES[one.kind]}, target"
        found.append(Operand(one.target, size * ranks, what, True))
    return found


def _submit(runtime: Runtime, library: Any, communicator: int, stream: int, calls: Any) -> None:
    name = NAMES[calls[0].kind] if len(calls) == 1 else "ncclGroup"
    operands = [each for one in calls for each in _operands(library, communicator, one)]

    def run() -> None:
        message = ctypes.create_string_buffer(MESSAGE_BYTES)
        nodes = runtime.scheduler.collectives_of_launch
        if library.emulated_nccl_run(
            communicator, calls, len(calls), nodes, message, MESSAGE_BYTES
        ):
            raise CollectiveError(message.value.decode())

    device = library.emulated_nccl_device(communicator)
    work = Work(name, device, tuple(operands), run, "collectives", communicator)
    runtime.scheduler.submit(stream, work)


def connect(runtime: Runtime) -> None:
    refusing = stubs("nccl.cpp", "nccl", INVALID_USAGE)
    library = opened("nccl.cpp", cupy_private.NCCL_SONAME, "-pthread", stubs=refusing)
    library.emulated_nccl_run.argtypes = [
        *(ctypes.c_void_p, ctypes.POINTER(_Operation), ctypes.c_int, ctypes.c_int),
        *(ctypes.c_char_p, ctypes.c_size_t),
    ]
    for function in (library.emulated_nccl_size, library.emulated_nccl_device):
        function.argtypes = [ctypes.c_void_p]

    def submit(communicator: int, stream: int | None, calls: Any, length: int) -> None:
        kept = (_Operation * length)(*calls[:length])
        _submit(runtime, library, communicator, stream or 0, kept)

    statuses = {CollectiveError: INVALID_USAGE, Exception: UNHANDLED_CUDA_ERROR}
    connected(
        library.emulated_nccl_connect,
        _Submit(answering(submit, statuses, "NCCL")),
        CurrentDevice(runtime.get_device),
        _InGraphs(lambda communicator: runtime.scheduler.in_graphs(communicator)),
    )
    atexit.register(library.emulated_nccl_end)

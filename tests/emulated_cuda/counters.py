"""Counts of what crossed the border between host and (emulated) device."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Counts:
    """Events seen while one ``with counters() as counts:`` block was open.

    Attributes
    ----------
    kernels, captured, replayed : Counter
        Kernel name -> how often it was launched by the host, recorded into a graph, or run by a
        graph launch.
    syncs : Counter
        What made the host wait -> how often: ``"stream"``, ``"event"``, ``"device"`` (explicit
        synchronisation), ``"copy"`` (a blocking copy between host and device) and ``"free"``
        (cudaFree).
    copies, copied_bytes : Counter
        ``"host_to_device"``, ``"device_to_host"``, ``"device_to_device"`` -> copies and bytes.
    cuda_mallocs, pool_mallocs : int
        Allocations asked of CUDA (what CuPy's pool could not serve), and asked of CuPy's pool.
    captured_copies : Counter
        Direction -> copies between host and device that became part of a graph: each replay reads
        or writes the same host buffer, whatever became of it.
    captured_mallocs : int
        Allocations of either kind while some stream was capturing, and products captured on a
        cuBLAS handle without a caller's workspace (cuBLAS would allocate one).
    matmuls, captured_matmuls, replayed_matmuls : Counter
        ``"float32"``, ``"tf32"``, ... -> cuBLAS products, in the same three senses.
    fused_matmuls : int
        How many of the first two were cuBLASLt's, with an epilogue.
    algorithms : Counter
        ``"0"``, ``"1"``, ... -> products that cuBLASLt's algorithm of this number did, in a graph
        or not.
    collectives, captured_collectives, replayed_collectives : Counter
        ``"ncclAllGather"``, ``"ncclGroup"``, ... -> NCCL's calls and groups, in the same senses.
    graph_launches : int
        Graphs launched.
    float64 : Counter
        Kernel name -> launches (or captures) of kernels that take or compute a ``double``, and
        ``"cublas"`` -> products in double precision.
    """

    kernels: Counter[str] = field(default_factory=Counter)
    captured: Counter[str] = field(default_factory=Counter)
    replayed: Counter[str] = field(default_factory=Counter)
    syncs: Counter[str] = field(default_factory=Counter)
    copies: Counter[str] = field(default_factory=Counter)
    copied_bytes: Counter[str] = field(default_factory=Counter)
    captured_copies: Counter[str] = field(default_factory=Counter)
    matmuls: Counter[str] = field(default_factory=Counter)
    captured_matmuls: Counter[str] = field(default_factory=Counter)
    replayed_matmuls: Counter[str] = field(default_factory=Counter)
    algorithms: Counter[str] = field(default_factory=Counter)
    collectives: Counter[str] = field(default_factory=Counter)
    captured_collectives: Counter[str] = field(default_factory=Counter)
    replayed_collectives: Counter[str] = field(default_factory=Counter)
    float64: Counter[str] = field(default_factory=Counter)
    cuda_mallocs: int = 0
    pool_mallocs: int = 0
    captured_mallocs: int = 0
    fused_matmuls: int = 0
    graph_launches: int = 0

    @property
    def launches(self) -> int:
        """What the host launched itself: kernels and products, neither captured nor replayed."""
        return self.kernels.total() + self.matmuls.total()

    @property
    def host_syncs(self) -> int:
        """How often the host had to wait for the device."""
        return self.syncs.total()


_lock = threading.Lock()
_open: list[Counts] = []


@contextmanager
def counters() -> Iterator[Counts]:
    """Count everything that happens on the emulated devices inside the block, on any thread."""
    counts = Counts()
    with _lock:
        _open.append(counts)
    try:
        yield counts
    finally:
        with _lock:
            _open[:] = [other for other in _open if other is not counts]


def count(name: str, key: str | None = None, amount: int = 1) -> None:
    """Add ``amount`` to one field, or to one key of a Counter field, of every open block."""
    with _lock:
        for counts in _open:
            if key is None:
                setattr(counts, name, getattr(counts, name) + amount)
            else:
                getattr(counts, name)[key] += amount

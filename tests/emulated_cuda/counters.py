"""Counts of events between the host and the emulated devices."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Counts:
    """Events during a ``with counters() as counts:`` block, by name.

    Each of these kinds has three fields: launched by the host, recorded into graphs, and run by
    launches of graphs. They are ``kernels`` by name; ``matmuls``, cuBLAS's products, by
    ``"float32"``, ``"tf32"``, ...; ``collectives``, NCCL's calls and groups, by
    ``"ncclAllGather"``, ...
    """

    kernels: Counter[str] = field(default_factory=Counter)
    captured: Counter[str] = field(default_factory=Counter)
    replayed: Counter[str] = field(default_factory=Counter)
    matmuls: Counter[str] = field(default_factory=Counter)
    captured_matmuls: Counter[str] = field(default_factory=Counter)
    replayed_matmuls: Counter[str] = field(default_factory=Counter)
    collectives: Counter[str] = field(default_factory=Counter)
    captured_collectives: Counter[str] = field(default_factory=Counter)
    replayed_collectives: Counter[str] = field(default_factory=Counter)
    # What made the host wait: "stream", "event" and "device" (explicit synchronization), "copy" (a
    # blocking one between host and device), "free" (cudaFree).
    syncs: Counter[str] = field(default_factory=Counter)
    # By direction: "host_to_device", "device_to_host", "device_to_device".
    copies: Counter[str] = field(default_factory=Counter)
    copied_bytes: Counter[str] = field(default_factory=Counter)
    # Of these, asynchronous copies of pageable memory, for which a real driver may wait.
    pageable_copies: Counter[str] = field(default_factory=Counter)
    # Between host and device: each replay reads or writes the same host buffer.
    captured_copies: Counter[str] = field(default_factory=Counter)
    # Products that cuBLASLt's algorithm of a number did, in a graph or not.
    algorithms: Counter[str] = field(default_factory=Counter)
    # Launches or captures of kernels that take or compute a double, and "cublas".
    float64: Counter[str] = field(default_factory=Counter)
    cuda_mallocs: int = 0  # what CuPy's pool could not serve
    pool_mallocs: int = 0
    # Of either kind; and products on a handle without a workspace, for which cuBLAS allocates one.
    captured_mallocs: int = 0
    fused_matmuls: int = 0  # products by cuBLASLt with an epilogue, launched or captured
    graph_launches: int = 0

    @property
    def launches(self) -> int:
        """Kernels and products that the host launched, neither captured nor replayed."""
        return self.kernels.total() + self.matmuls.total()

    @property
    def host_syncs(self) -> int:
        """How often the host had to wait for the device."""
        return self.syncs.total()


_lock = threading.Lock()
_open: list[Counts] = []


@contextmanager
def counters() -> Iterator[Counts]:
    counts = Counts()
    with _lock:
        _open.append(counts)
    try:
        yield counts
    finally:
        with _lock:
            _open[:] = [other for other in _open if other is not counts]


def count(name: str, key: str | None = None, amount: int = 1) -> None:
    with _lock:
        for counts in _open:
            if key is None:
                setattr(counts, name, getattr(counts, name) + amount)
            else:
                getattr(counts, name)[key] += amount

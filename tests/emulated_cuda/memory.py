"""Device memory: host memory that is bounded, owned by a device, and poisoned when not in use.

Two tables have the memory allocated by CUDA (``Allocation``) and the parts handed out by CuPy's
pools (``Block``, seen through CuPy's public memory hooks). Both store the requested size, so an
access past the end raises an error although the memory behind it exists.
"""

from __future__ import annotations

import bisect
import ctypes
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .counters import count
from .cupy_private import cuda_error
from .errors import EmulatorError, InvalidAccessError, RaceError, WrongDeviceError
from .order import Clock, Order, merge

POISON = 0xFF  # every float16, bfloat16, float32 and float64 made of it is a NaN, every int is -1
ALIGNMENT = 512
RED_ZONE = 512  # poisoned bytes after each allocation
# At each end; of memory as large as the 32 MiB that a library works in, less, since it is frequent.
POISONED_BYTES, LARGE, POISONED_OF_LARGE = 1 << 20, 32 << 20, 64 << 10
QUARANTINE_BYTES = 64 << 20  # freed memory that is kept poisoned before the host reuses it
MEMORY_ALLOCATION_ERROR = 2
INVALID_VALUE_ERROR = 1

_libc = ctypes.CDLL(None)
_libc.aligned_alloc.restype = ctypes.c_void_p
_libc.aligned_alloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
_libc.free.argtypes = [ctypes.c_void_p]


@dataclass(eq=False)
class Region:
    address: int
    size: int
    device: int
    live: bool = True
    uses: Clock = field(default_factory=dict)  # the last work of each stream
    before: Clock = field(default_factory=dict)  # the same, of the memory's earlier lives
    # Bytes that NCCL's calls touched (start, stop) -> stream and number of the last such work.
    exchanged: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)


@dataclass(eq=False)
class Allocation(Region):
    """Memory from cudaMalloc or cudaHostAlloc."""

    pinned: bool = False
    pooled: bool = False
    blocks: _Table = field(default_factory=lambda: _Table())
    # Start of memory given back to the pool while in use -> its end, and the uses.
    in_flight: dict[int, tuple[int, Clock]] = field(default_factory=dict)


class Block(Region):
    """A part of an allocation that a pool handed out."""


def poison(address: int, size: int) -> None:
    part = min(size, POISONED_BYTES if size < LARGE else POISONED_OF_LARGE)
    ctypes.memset(address, POISON, part)
    ctypes.memset(address + size - part, POISON, part if size > POISONED_BYTES else 0)


class _Table:
    """Regions by address, to find the region of an address."""

    def __init__(self) -> None:
        self._addresses: list[int] = []
        self._regions: dict[int, Any] = {}

    def add(self, region: Region) -> None:
        if region.address not in self._regions:
            bisect.insort(self._addresses, region.address)
        self._regions[region.address] = region

    def remove(self, address: int) -> Any:
        region = self._regions.pop(address, None)
        if region is not None:
            del self._addresses[bisect.bisect_left(self._addresses, address)]
        return region

    def get(self, address: int) -> Any:
        return self._regions.get(address)

    def below(self, address: int) -> Any:
        place = bisect.bisect_right(self._addresses, address)
        return self._regions[self._addresses[place - 1]] if place else None


class Memory:
    def __init__(self, devices: int, bytes_per_device: int):
        self.order = Order()
        self.capacity = bytes_per_device
        self.used = [0] * devices
        self._table = _Table()
        self._freed: deque[Allocation] = deque()
        self._freed_bytes = 0
        self._found: list[EmulatorError] = []
        self._lock = threading.RLock()

    def allocate(self, size: int, device: int, *, pinned: bool = False) -> int:
        with self._lock:
            if not pinned and self.used[device] + size > self.capacity:
                raise cuda_error(MEMORY_ALLOCATION_ERROR)
            total = (size + RED_ZONE + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
            address = _libc.aligned_alloc(ALIGNMENT, total)
            if not address:
                raise cuda_error(MEMORY_ALLOCATION_ERROR)
            poison(address, total)
            self._table.add(Allocation(address, size, device, pinned=pinned))
            if not pinned:
                self.used[device] += size
            return int(address)

    def free(self, address: int) -> None:
        """cudaFree, or cudaFreeHost: the bytes are poisoned, and reused only later."""
        if not address:
            return
        with self._lock:
            allocation = self._table.remove(address)
            if allocation is None:
                raise cuda_error(INVALID_VALUE_ERROR)
            self._check_red_zone(allocation, RED_ZONE)
            allocation.live = False
            if allocation.pinned:
                self._check_copies(allocation)
            poison(address, allocation.size)
            if not allocation.pinned:
                self.used[allocation.device] -= allocation.size
            self._freed.append(allocation)
            self._freed_bytes += allocation.size
            while self._freed_bytes > QUARANTINE_BYTES:
                oldest = self._freed.popleft()
                self._freed_bytes -= oldest.size
                _libc.free(oldest.address)

    def find(self, address: int) -> Allocation | None:
        """The live allocation that contains ``address`` (or ends there), or None."""
        found: Allocation | None = self._table.below(address)
        if found is not None and address <= found.address + found.size:
            return found
        return None

    def is_device(self, address: int) -> bool:
        found = self.find(address)
        return found is not None and not found.pinned

    def device_of(self, address: int) -> int:
        found = self.find(address)
        return -1 if found is None or found.pinned else found.device

    def check(self, address: int, size: int, device: int | None, what: str) -> Region:
        """Return the region that contains all these bytes, or raise an error that names ``what``.

        ``device`` accesses them; None allows any device (a copy).
        """
        with self._lock:
            allocation = self.find(address)
            if allocation is None:
                state = "given back" if self._was_freed(address) else "outside every allocation"
                raise InvalidAccessError(f"{what}: device memory at {address:#x} is {state}")
            owner = device if allocation.pinned else allocation.device
            if device is not None and device != owner:
                raise WrongDeviceError(
                    f"{what}: the memory at {address:#x} belongs to device {owner}, but the "
                    f"operation runs on device {device}, which has no access to it"
                )
            region: Region = allocation
            if allocation.pooled:
                block: Block | None = allocation.blocks.below(address)
                if block is None or not block.live:
                    raise InvalidAccessError(
                        f"{what}: device memory at {address:#x} was given back to CuPy's pool"
                    )
                region = block
            if address + size > region.address + region.size:
                raise InvalidAccessError(
                    f"{what}: {size} bytes at {address:#x} pass the end of an allocation of "
                    f"{region.size} bytes at {region.address:#x}"
                )
            return region

    def use(self, region: Region, stream: Clock, serial: int, name: str, what: str) -> None:
        """Check that earlier uses of a region have finished before work of a stream uses it."""
        if region.before:
            region.before = self.order.unfinished(region.before)
            if self.order.unfinished(region.before, stream):
                raise RaceError(
                    f"{name}, {what}: the memory at {region.address:#x} was given back to CuPy's "
                    "pool and is used again, but another stream may still use it. Before the "
                    "memory is given back, make this stream or the host wait for an event of the "
                    "other stream"
                )
        region.uses[serial] = stream[serial]

    def share(
        self, region: Region, span: tuple[int, int], exchange: bool, stream: Clock, what: str
    ) -> None:
        """Check that NCCL calls and other streams use the same bytes in a known order."""
        touched = region.uses
        if not exchange:
            touched, (start, stop) = {}, span
            for (first, last), (serial, number) in region.exchanged.items():
                if first < stop and start < last:
                    merge(touched, {serial: number})
        if self.order.unfinished(touched, stream):
            raise RaceError(
                f"{what}: a call of NCCL and work of another stream may use the same memory at "
                f"{span[0]:#x} at the same time. Make one stream wait for an event of the other"
            )

    def raise_found(self) -> None:
        """Raise errors that were found while memory was freed, where raising was impossible."""
        if self._found:
            first, self._found[:] = self._found[0], []
            raise first

    def _was_freed(self, address: int) -> bool:
        return any(a.address <= address < a.address + a.size for a in self._freed)

    def _check_red_zone(self, region: Region, length: int) -> None:
        after = ctypes.string_at(region.address + region.size, length)
        if after.count(POISON) != length:
            self._found.append(
                InvalidAccessError(
                    f"something wrote past the end of {region.size} bytes at {region.address:#x} "
                    f"on device {region.device}"
                )
            )

    def _check_copies(self, pinned: Allocation) -> None:
        if self.order.unfinished(pinned.uses):
            self._found.append(
                RaceError(
                    f"page-locked memory at {pinned.address:#x} was given back, while a copy that "
                    "the host has not waited for may still read or write it"
                )
            )
        pinned.uses = {}

    # ---- what CuPy's pools tell --------------------------------------------------------------

    def pool_took(self, address: int) -> None:
        allocation = self._table.get(address)
        if allocation is not None:
            allocation.pooled = True

    def pool_gave(self, address: int, size: int, chunk_bytes: int) -> None:
        allocation = self.find(address)
        if allocation is None or not allocation.pooled:
            return
        block, end = Block(address, size, allocation.device), address + chunk_bytes
        if allocation.size > 2 * POISONED_BYTES:
            poison(address, chunk_bytes)  # it may lie where nothing has been poisoned
        for start, (stop, uses) in list(allocation.in_flight.items()):
            if start < end and address < stop:
                del allocation.in_flight[start]
                merge(block.before, uses)
                for left, right in ((start, address), (end, stop)):
                    if left < right:
                        allocation.in_flight[left] = right, uses
        allocation.blocks.add(block)

    def pool_got_back(self, address: int, chunk_bytes: int) -> None:
        """A block of CuPy's pool is about to return to it: poison it."""
        allocation = self.find(address)
        block = allocation and allocation.blocks.remove(address)
        if block is None:
            return
        self._check_red_zone(block, chunk_bytes - block.size)
        block.live = False
        merge(block.uses, block.before)
        if uses := self.order.unfinished(block.uses):
            assert allocation is not None
            allocation.in_flight[address] = address + chunk_bytes, uses
        poison(address, chunk_bytes)

    def pinned_got_back(self, address: int) -> None:
        """Page-locked memory is about to return to CuPy's pool, which may reuse it anywhere."""
        allocation = self.find(address)
        if allocation is not None:
            self._check_copies(allocation)


def make_hook(memory: Memory, allocating: Callable[[], None], within_pool: threading.local) -> Any:
    """A CuPy memory hook that keeps ``memory`` informed; ``allocating`` is called at each malloc.

    ``within_pool.active`` is true while CuPy's pool works, to distinguish its cudaMalloc calls from
    the program's.

    CuPy's hooks belong to a thread: enter them on each.
    """
    from cupy.cuda import MemoryHook  # type: ignore[import-untyped]

    class Hook(MemoryHook):  # type: ignore[misc]
        name = "emulated_cuda"

        def alloc_postprocess(self, *, mem_ptr: int, **rest: Any) -> None:
            memory.pool_took(mem_ptr)

        def malloc_preprocess(self, **rest: Any) -> None:
            within_pool.active = True

        def malloc_postprocess(
            self, *, size: int, mem_size: int, mem_ptr: int, **rest: Any
        ) -> None:
            within_pool.active = False
            if mem_ptr:  # not for arrays without elements
                count("pool_mallocs")
                allocating()
                memory.pool_gave(mem_ptr, size, mem_size)

        def free_preprocess(self, *, mem_size: int, mem_ptr: int, **rest: Any) -> None:
            memory.pool_got_back(mem_ptr, mem_size)

    return Hook()


def watch_pinned_pool(memory: Memory) -> None:
    """Make CuPy's pool of page-locked memory report freed memory to ``memory``."""
    import cupy

    class Watched:
        def __init__(self, pooled: Any):
            self._pooled, self.ptr, self.size = pooled, pooled.ptr, pooled.size

        def __del__(self) -> None:
            memory.pinned_got_back(self.ptr)

    pool = cupy.get_default_pinned_memory_pool()
    cupy.cuda.set_pinned_memory_allocator(
        lambda size: cupy.cuda.PinnedMemoryPointer(Watched(pool.malloc(size).mem), 0)
    )

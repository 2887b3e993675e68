"""Device memory: host memory that is bounded, owned by a device, and poisoned when not in use.

Two tables: what CUDA gave (``Allocation``), and what CuPy's pools gave out of it (``Block``, seen
through CuPy's public memory hooks). Both keep the requested size, so that an access past it is
found although the memory behind it exists.
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
from .errors import InvalidAccessError, WrongDeviceError

POISON = 0xFF  # every float16, bfloat16, float32 and float64 made of it is a NaN, every int is -1
ALIGNMENT = 512
RED_ZONE = 512  # poisoned bytes after each allocation
QUARANTINE_BYTES = 64 << 20  # freed memory that is kept poisoned before the host reuses it
MEMORY_ALLOCATION_ERROR = 2
INVALID_VALUE_ERROR = 1

_libc = ctypes.CDLL(None)
_libc.aligned_alloc.restype = ctypes.c_void_p
_libc.aligned_alloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
_libc.free.argtypes = [ctypes.c_void_p]


@dataclass(eq=False)
class Region:
    """Some bytes with one owner and one life."""

    address: int
    size: int
    device: int
    live: bool = True


@dataclass(eq=False)
class Allocation(Region):
    """What cudaMalloc or cudaHostAlloc gave."""

    pinned: bool = False
    pooled: bool = False
    blocks: _Table = field(default_factory=lambda: _Table())


class Block(Region):
    """What a pool gave out of an allocation."""


class _Table:
    """Regions by address, to find the one that an address lies in."""

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
        """The region with the largest start not above ``address``, or None."""
        place = bisect.bisect_right(self._addresses, address)
        return self._regions[self._addresses[place - 1]] if place else None


class Memory:
    """All memory of all emulated devices."""

    def __init__(self, devices: int, bytes_per_device: int):
        self.capacity = bytes_per_device
        self.used = [0] * devices
        self._table = _Table()
        self._freed: deque[Allocation] = deque()
        self._freed_bytes = 0
        self._overruns: list[str] = []
        self._lock = threading.RLock()

    def allocate(self, size: int, device: int, *, pinned: bool = False) -> int:
        """cudaMalloc, or cudaHostAlloc: poisoned bytes."""
        with self._lock:
            if not pinned and self.used[device] + size > self.capacity:
                raise cuda_error(MEMORY_ALLOCATION_ERROR)
            total = (size + RED_ZONE + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
            address = _libc.aligned_alloc(ALIGNMENT, total)
            if not address:
                raise cuda_error(MEMORY_ALLOCATION_ERROR)
            ctypes.memset(address, POISON, total)
            self._table.add(Allocation(address, size, device, pinned=pinned))
            if not pinned:
                self.used[device] += size
            return int(address)

    def free(self, address: int) -> None:
        """cudaFree, or cudaFreeHost: the bytes are poisoned and rest before they are reused."""
        if not address:
            return
        with self._lock:
            allocation = self._table.remove(address)
            if allocation is None:
                raise cuda_error(INVALID_VALUE_ERROR)
            self._check_red_zone(allocation, RED_ZONE)
            allocation.live = False
            ctypes.memset(address, POISON, allocation.size)
            if not allocation.pinned:
                self.used[allocation.device] -= allocation.size
            self._freed.append(allocation)
            self._freed_bytes += allocation.size
            while self._freed_bytes > QUARANTINE_BYTES:
                oldest = self._freed.popleft()
                self._freed_bytes -= oldest.size
                _libc.free(oldest.address)

    def find(self, address: int) -> Allocation | None:
        """The live allocation in which ``address`` lies (its end included), or None."""
        found: Allocation | None = self._table.below(address)
        if found is not None and address <= found.address + found.size:
            return found
        return None

    def is_device(self, address: int) -> bool:
        """Whether the address is device memory (pinned host memory is not)."""
        found = self.find(address)
        return found is not None and not found.pinned

    def device_of(self, address: int) -> int:
        """The device that owns the address; -1 for host memory."""
        found = self.find(address)
        return -1 if found is None or found.pinned else found.device

    def check(self, address: int, size: int, device: int | None, what: str) -> Region:
        """Return the region that holds all these bytes, or raise.

        Parameters
        ----------
        address, size : int
            The bytes that ``what`` is about to touch.
        device : int or None
            The device that touches them, or None where any device may (a copy).
        what : str
            Named in the error.
        """
        with self._lock:
            allocation = self.find(address)
            if allocation is None:
                state = "given back" if self._was_freed(address) else "outside every allocation"
                raise InvalidAccessError(f"{what}: device memory at {address:#x} is {state}")
            if device is not None and not allocation.pinned and allocation.device != device:
                raise WrongDeviceError(
                    f"{what}: the memory at {address:#x} belongs to device {allocation.device}, "
                    f"but the operation runs on device {device}"
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

    def raise_overruns(self) -> None:
        """Raise what was found when memory was freed, where nothing could be raised."""
        if self._overruns:
            message, self._overruns[:] = "; ".join(self._overruns), []
            raise InvalidAccessError(message)

    def _was_freed(self, address: int) -> bool:
        return any(a.address <= address < a.address + a.size for a in self._freed)

    def _check_red_zone(self, region: Region, length: int) -> None:
        after = ctypes.string_at(region.address + region.size, length)
        if after.count(POISON) != length:
            self._overruns.append(
                f"something wrote past the end of {region.size} bytes at {region.address:#x} "
                f"on device {region.device}"
            )

    # ---- what CuPy's pools tell --------------------------------------------------------------

    def pool_took(self, address: int) -> None:
        """CuPy's pool got an allocation from CUDA."""
        allocation = self._table.get(address)
        if allocation is not None:
            allocation.pooled = True

    def pool_gave(self, address: int, size: int) -> None:
        """CuPy's pool handed out ``size`` bytes."""
        allocation = self.find(address)
        if allocation is not None and allocation.pooled:
            allocation.blocks.add(Block(address, size, allocation.device))

    def pool_got_back(self, address: int, chunk_bytes: int) -> None:
        """A block of CuPy's pool is about to return to it: poison it."""
        allocation = self.find(address)
        block = allocation and allocation.blocks.remove(address)
        if block is None:
            return
        self._check_red_zone(block, chunk_bytes - block.size)
        block.live = False
        ctypes.memset(address, POISON, chunk_bytes)


def make_hook(memory: Memory, allocating: Callable[[], None], within_pool: threading.local) -> Any:
    """A CuPy memory hook that keeps ``memory`` informed; ``allocating`` is called at each malloc.

    ``within_pool.active`` is true while CuPy's pool works, so that the cudaMalloc which it makes is
    not taken for the program's own.

    CuPy's hooks are one set a thread: enter it on each.
    """
    from cupy.cuda import MemoryHook  # type: ignore[import-untyped]

    class Hook(MemoryHook):  # type: ignore[misc]
        name = "emulated_cuda"

        def alloc_postprocess(self, *, mem_ptr: int, **rest: Any) -> None:
            memory.pool_took(mem_ptr)

        def malloc_preprocess(self, **rest: Any) -> None:
            within_pool.active = True

        def malloc_postprocess(self, *, size: int, mem_ptr: int, **rest: Any) -> None:
            within_pool.active = False
            if mem_ptr:  # not for arrays without elements
                count("pool_mallocs")
                allocating()
                memory.pool_gave(mem_ptr, size)

        def free_preprocess(self, *, mem_size: int, mem_ptr: int, **rest: Any) -> None:
            memory.pool_got_back(mem_ptr, mem_size)

    return Hook()

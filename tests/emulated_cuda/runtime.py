"""The CUDA runtime and driver functions that CuPy calls, on emulated devices."""

import atexit
import ctypes
import itertools
import threading
from collections.abc import Callable
from typing import Any

from . import kernels
from .counters import count
from .cupy_private import cuda_error, pointer_attributes
from .errors import InvalidAccessError, KernelFault, UnsupportedError
from .graphs import Operand, Scheduler, Work
from .memory import Memory, make_hook, watch_pinned_pool

INVALID_DEVICE = 101
PEER_ACCESS_UNSUPPORTED = 217

HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE = 1, 2, 3
DIRECTIONS = ("host_to_host", "host_to_device", "device_to_host", "device_to_device")

MAX_THREADS = 1024
MAX_BLOCK = (1024, 1024, 64)
MAX_GRID = (2**31 - 1, 65535, 65535)
SHARED_BYTES = 48 * 1024  # what a launch may ask for

MAJOR, MINOR = 9, 0  # compute capability
ATTRIBUTES = {75: MAJOR, 76: MINOR}  # as the CUDA headers number them

# What answers even when a device has failed.
WITHOUT_CONTEXT = {
    "_ensure_context",
    "deviceGetAttribute",
    "driverGetVersion",
    "getDevice",
    "getDeviceCount",
    "getDeviceProperties",
}


class Runtime:
    """The state of the emulated machine, and the functions that CuPy's host code calls."""

    def __init__(self, devices: int, bytes_per_device: int):
        self.devices = devices
        self._thread = threading.local()
        self.memory = Memory(devices, bytes_per_device)
        self.scheduler = Scheduler(self.memory, self.get_device)
        self._hook: Any = None
        self._within_pool = threading.local()
        self._handles = itertools.count(0x1000000)
        self._modules: dict[int, tuple[kernels.Module, int]] = {}
        self._functions: dict[int, tuple[kernels.Kernel, int]] = {}

    def watch_pools(self) -> None:
        """Watch CuPy's pool allocations from now on. Requires that ``import cupy`` works."""
        self._hook = make_hook(self.memory, self._allocating, self._within_pool)
        self._watch_on_this_thread()
        atexit.register(self._hook.__exit__)  # some memory is freed when Python can't tell
        watch_pinned_pool(self.memory)

    def _watch_on_this_thread(self) -> None:
        if self._hook is not None and not getattr(self._thread, "watched", False):
            self._thread.watched = True
            self._hook.__enter__()

    # ---- devices -----------------------------------------------------------------------------

    def get_device(self) -> int:
        self._watch_on_this_thread()  # CuPy asks for the device before it uses a pool
        device: int = getattr(self._thread, "device", 0)
        return device

    def _check_device(self, device: int) -> None:
        if not 0 <= device < self.devices:
            raise cuda_error(INVALID_DEVICE)

    def set_device(self, device: int) -> None:
        self._check_device(device)
        self._thread.device = device

    def device_attribute(self, attribute: int, device: int) -> int:
        self._check_device(device)
        if attribute not in ATTRIBUTES:
            raise UnsupportedError(f"emulated_cuda has no device attribute {attribute}")
        return ATTRIBUTES[attribute]

    def device_properties(self, device: int) -> dict[str, Any]:
        self._check_device(device)
        return {
            "name": b"Emulated CUDA device",
            "totalGlobalMem": self.memory.capacity,
            "major": MAJOR,
            "minor": MINOR,
            "warpSize": 32,
        }

    def can_access_peer(self, device: int, peer: int) -> int:
        return 0

    def ensure_peer_access(self, peer: int) -> None:
        raise cuda_error(PEER_ACCESS_UNSUPPORTED)

    def synchronize_device(self) -> None:
        self.scheduler.refuse_in_any_capture()
        count("syncs", "device")
        self.scheduler.host_waits_for_device(self.get_device())
        self.memory.raise_found()

    # ---- memory ------------------------------------------------------------------------------

    def _allocating(self) -> None:
        if self.scheduler.any_capture():
            count("captured_mallocs")

    def malloc(self, size: int, flags: int = 0) -> int:
        self.scheduler.refuse_in_any_capture(unless_relaxed=True)
        count("cuda_mallocs")
        if not getattr(self._within_pool, "active", False):
            self._allocating()
        return self.memory.allocate(size, self.get_device())

    def free(self, address: int) -> None:
        self.scheduler.refuse_in_any_capture(unless_relaxed=True)
        count("syncs", "free")
        owner = self.memory.find(address)
        self.scheduler.host_waits_for_device(owner.device if owner else self.get_device())
        self.memory.free(address)

    def host_alloc(self, size: int, flags: int) -> int:
        return self.memory.allocate(size, self.get_device(), pinned=True)

    def memory_info(self) -> tuple[int, int]:
        capacity = self.memory.capacity
        return capacity - self.memory.used[self.get_device()], capacity

    def memory_type(self, address: int) -> int:
        found = self.memory.find(address)
        return 0 if found is None else 1 if found.pinned else 2

    def _copy(self, target: int, origin: int, size: int, kind: int) -> tuple[str, Work, bool]:
        """Return the direction, the work, and whether a host side is pageable."""
        on_device = (self.memory.is_device(origin), self.memory.is_device(target))
        found = {
            (False, True): HOST_TO_DEVICE,
            (True, False): DEVICE_TO_HOST,
            (True, True): DEVICE_TO_DEVICE,
        }.get(on_device, 0)
        if kind != 4 and kind != found:
            raise InvalidAccessError(
                f"copy declared as {DIRECTIONS[kind]}, but {origin:#x} -> {target:#x} is "
                f"{DIRECTIONS[found]}"
            )
        ends = ((origin, "source"), (target, "target"))
        operands = tuple(
            Operand(address, size, what, what == "target")
            for address, what in ends
            if self.memory.find(address)
        )
        direction = DIRECTIONS[found]
        work = Work(
            f"copy ({direction})", None, operands, lambda: _move(target, origin, size, direction)
        )
        return direction, work, len(operands) < 2

    def memcpy(self, target: int, origin: int, size: int, kind: int) -> None:
        """cudaMemcpy: on the legacy stream, and the host waits unless both ends are on devices."""
        direction, work, _ = self._copy(target, origin, size, kind)
        self.scheduler.refuse_in_any_capture()
        self.scheduler.submit(0, work)
        if direction != "device_to_device":
            count("syncs", "copy")
            self.scheduler.host_waits(self.scheduler.stream(0).clock)

    def memcpy_async(self, target: int, origin: int, size: int, kind: int, stream: int) -> None:
        direction, work, pageable = self._copy(target, origin, size, kind)
        if self.scheduler.capturing(stream) and direction != "device_to_device":
            if pageable:
                self.scheduler.refuse_in_capture(stream)
            count("captured_copies", direction)
        if pageable:
            count("pageable_copies", direction)
        self.scheduler.submit(stream, work)
        if pageable and direction == "device_to_host":
            self.scheduler.settle(stream)

    def memset_async(self, address: int, value: int, size: int, stream: int) -> None:
        def run() -> None:
            ctypes.memset(address, value, size)

        operands = (Operand(address, size, "target", True),)
        self.scheduler.submit(stream, Work("memset", self.get_device(), operands, run))

    # ---- modules and kernels -----------------------------------------------------------------

    def load_module(self, image: bytes) -> int:
        module = kernels.module_of(bytes(image))
        if module is None:
            raise UnsupportedError("emulated_cuda can load only modules that it compiled itself")
        handle = next(self._handles)
        self._modules[handle] = (module, self.get_device())
        return handle

    def get_function(self, handle: int, name: str) -> int:
        module, device = self._modules[handle]
        kernel = module.kernel(name)
        if kernel is None:
            known = ", ".join(module.symbols) or "none"
            raise KernelFault(f"no kernel named {name!r} in the module; it has: {known}")
        function = next(self._handles)
        self._functions[function] = kernel, device
        return function

    def launch(self, function: int, *rest: int) -> None:
        """cuLaunchKernel(f, grid[3], block[3], shared bytes, stream, parameters, extra)."""
        grid, block = (rest[0], rest[1], rest[2]), (rest[3], rest[4], rest[5])
        shared_bytes, stream, parameters = rest[6:9]
        kernel, device = self._functions[function]
        if device != self.get_device():
            raise KernelFault(f"kernel {kernel.name} was loaded on device {device}")
        _check_launch(kernel.name, grid, block, shared_bytes)
        arguments = kernel.read_arguments(parameters)
        operands = []
        for number, (parameter, raw) in enumerate(zip(kernel.parameters, arguments, strict=True)):
            region = parameter.region(raw)
            if region is not None:
                access = {"c": False}.get(parameter.kind)
                bare = parameter.kind in "pc"
                operands.append(Operand(*region, f"argument {number}", access, bare))
        if kernel.float64:
            count("float64", kernel.name)
        self.scheduler.submit(
            stream,
            Work(
                kernel.name,
                device,
                tuple(operands),
                lambda: kernel.run(arguments, grid, block, shared_bytes),
                "kernels",
            ),
        )

    # ---- the tables --------------------------------------------------------------------------

    def runtime_functions(self) -> dict[str, Callable[..., Any]]:
        s = self.scheduler
        functions: dict[str, Callable[..., Any]] = {
            "_ensure_context": lambda: None,
            "driverGetVersion": lambda: 13000,
            "getDevice": self.get_device,
            "setDevice": self.set_device,
            "getDeviceCount": lambda: self.devices,
            "deviceGetAttribute": self.device_attribute,
            "getDeviceProperties": self.device_properties,
            "deviceGetPCIBusId": lambda device: f"0000:{device:02x}:00.0",
            "deviceCanAccessPeer": self.can_access_peer,
            "_deviceEnsurePeerAccess": self.ensure_peer_access,
            "deviceSynchronize": self.synchronize_device,
            "profilerStart": lambda: None,  # there is no profiler
            "profilerStop": lambda: None,
            "malloc": self.malloc,
            "free": self.free,
            "hostAlloc": self.host_alloc,
            "freeHost": self.memory.free,
            "memGetInfo": self.memory_info,
            "pointerGetMemoryType": self.memory_type,
            "pointerGetAttributes": lambda address: pointer_attributes(
                self.memory.device_of(address), address, self.memory_type(address)
            ),
            "memcpy": self.memcpy,
            "memcpyAsync": self.memcpy_async,
            "memsetAsync": self.memset_async,
            "streamCreate": s.create_stream,
            "streamCreateWithPriority": s.create_stream,
            "streamDestroy": s.destroy_stream,
            "streamSynchronize": s.synchronize_stream,
            "streamQuery": s.query_stream,
            "streamWaitEvent": lambda stream, event, flags=0: s.wait_event(stream, event),
            "streamBeginCapture": s.begin_capture,
            "streamEndCapture": s.end_capture,
            "streamIsCapturing": s.is_capturing,
            "eventCreateWithFlags": s.create_event,
            "eventDestroy": s.destroy_event,
            "eventRecord": s.record_event,
            "eventSynchronize": s.synchronize_event,
            "eventQuery": s.query_event,
            "eventElapsedTime": s.elapsed_milliseconds,
            "graphInstantiate": s.instantiate,
            "graphLaunch": s.launch_graph,
            "graphDestroy": s.destroy_graph,
            "graphExecDestroy": s.destroy_graph,
        }
        return {
            name: function if name in WITHOUT_CONTEXT else self._unless_failed(function)
            for name, function in functions.items()
        }

    def driver_functions(self) -> dict[str, Callable[..., Any]]:
        functions: dict[str, Callable[..., Any]] = {
            "moduleLoadData": self.load_module,
            "moduleUnload": lambda module: self._modules.pop(module, None) and None,
            "moduleGetFunction": self.get_function,
            "launchKernel": self.launch,
        }
        return {name: self._unless_failed(function) for name, function in functions.items()}

    def _unless_failed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.scheduler.raise_if_told()
            return function(*arguments)

        return call


def _move(target: int, origin: int, size: int, direction: str) -> None:
    count("copies", direction)
    count("copied_bytes", direction, size)
    ctypes.memmove(target, origin, size)


def _check_launch(name: str, grid: tuple[int, ...], block: tuple[int, ...], shared: int) -> None:
    """Raise an error for a launch that cuLaunchKernel refuses with CUDA_ERROR_INVALID_VALUE."""
    good = all(1 <= n <= limit for n, limit in zip(grid, MAX_GRID, strict=True))
    good = good and all(1 <= n <= limit for n, limit in zip(block, MAX_BLOCK, strict=True))
    if not good or block[0] * block[1] * block[2] > MAX_THREADS:
        raise KernelFault(f"kernel {name}: no device can launch grid {grid} of blocks {block}")
    if shared > SHARED_BYTES:
        raise KernelFault(f"kernel {name}: {shared} bytes of shared memory; limit {SHARED_BYTES}")

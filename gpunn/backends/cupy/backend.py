"""The CUDA backend, which transfers arrays, and runs operations as kernels or CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict
from typing import Any

import array_api_compat.cupy as xp
import cupy
import numpy as np

from gpunn.backends.base import Backend
from gpunn.backends.collective import Concurrent, Join
from gpunn.backends.cupy import memory
from gpunn.backends.cupy.branches import Branch, JoinedBranch
from gpunn.backends.cupy.capture import Definition, GraphExecutor, one_by_one, say_once, synchronize
from gpunn.backends.cupy.devices import placed, refuse_strays
from gpunn.backends.cupy.diagnosis import cuda_version
from gpunn.backends.cupy.fusion import fuse
from gpunn.backends.cupy.kernels.raw import Calls
from gpunn.backends.cupy.lowerings import CupyLowerings
from gpunn.backends.cupy.matmul import (
    NoFusedProduct,
    SelectedProduct,
    choose_fused_product,
    choose_product,
)
from gpunn.backends.cupy.options import CudaOptions
from gpunn.backends.cupy.scratch import Scratch
from gpunn.backends.cupy.staging import PinnedStager
from gpunn.backends.cupy.weight_gradients import with_branch
from gpunn.backends.recording import Operation, Trace, definition, lower_operations
from gpunn.backends.staging import Stager
from gpunn.typing import Array, HostArray

PINNED_BYTES = 4 << 20
"""Maximum bytes of an array to copy through page-locked memory, which CuPy keeps until the end of
`fit`. To copy a larger array, the host waits for the device."""


class CupyBackend(Backend):
    """The backend that computes on CUDA device number `device`; see `gpunn.get_backend`.

    Every operation switches the calling thread to this device, and does not switch back. Work is
    submitted to the thread's current CuPy stream.
    """

    parallel_fits = 8

    def __init__(
        self,
        device: int | None = None,
        *,
        graph: bool = True,
        matmul_precision: str = "float32",
        fused_products: bool = True,
        matmul_algorithms: str = "heuristic",
    ) -> None:
        chosen = CudaOptions(graph, matmul_precision, fused_products, matmul_algorithms)
        index = cupy.cuda.runtime.getDevice() if device is None else device
        super().__init__(xp, cupy.cuda.Device(index), f"cupy:{index}")
        self.device.use()
        self._scratch = Scratch()
        self.options = asdict(chosen)
        self._graph = chosen.graph
        measured = chosen.matmul_algorithms == "measured"
        self._lt_product = choose_fused_product(
            wanted=chosen.fused_products or measured,
            precision=chosen.matmul_precision,
            scratch=self._scratch,
            algorithms=chosen.matmul_algorithms,
        )
        self._fused_product = self._lt_product if chosen.fused_products else NoFusedProduct("off")
        product = choose_product(chosen.matmul_precision, self._scratch)
        self._product = SelectedProduct(self._lt_product, product) if measured else product
        self._lowerings = CupyLowerings(self._product, self._fused_product, self._scratch)
        self._several_devices = cupy.cuda.runtime.getDeviceCount() > 1

    def use(self) -> None:
        if self._several_devices:
            self.device.use()

    # ------------------------------------------------------------------ placement and transfer

    def describe(self) -> dict[str, str]:
        properties = cupy.cuda.runtime.getDeviceProperties(self.device.id)
        capability = f"{properties['major']}.{properties['minor']}"
        total = properties["totalGlobalMem"] / 2**30
        return {
            "backend": self.name,
            "device": f"{properties['name'].decode()} "
            f"(compute capability {capability}, {total:.0f} GiB)",
            "library": f"cupy {cupy.__version__}",
            "matmul": self._product.reason,
            "fused_products": self._fused_product.reason,
            "matmul_algorithms": self._lt_product.selection.reason,
            "graph": "on" if self._graph else "off",
            "driver": f"CUDA {cuda_version(cupy.cuda.runtime.driverGetVersion())}",
            "runtime": f"CUDA {cuda_version(cupy.cuda.runtime.runtimeGetVersion())}",
        }

    def algorithms(self) -> dict[str, str]:
        return self._lt_product.selection.stored()

    @placed
    def restore_algorithms(self, algorithms: Mapping[str, str]) -> None:
        self._lt_product.restore(algorithms)

    zeros = placed(Backend.zeros)
    copy = placed(Backend.copy)
    copy_to = placed(Backend.copy_to)
    copy_to_host = placed(Backend.copy_to_host)

    @placed
    def from_host(self, array: HostArray, dtype: str | None = None) -> Array:
        host = np.asarray(array, dtype=dtype, order="C")
        if host.nbytes <= PINNED_BYTES:
            return cupy.asarray(host)  # through page-locked memory, without waiting for the device
        out = cupy.empty(host.shape, host.dtype)
        out.set(host)
        return out

    @placed
    def copy_from_host(self, array: HostArray, out: Array) -> None:
        host = np.asarray(array, dtype=out.dtype)
        if out.flags.c_contiguous and host.shape == out.shape:
            out.set(host)
        else:
            out[...] = self.from_host(host)

    @placed
    def stager(self) -> Stager:
        return PinnedStager(self)

    def overlap(self, first: Array, second: Array) -> bool:
        return bool(cupy.may_share_memory(first, second))

    @placed
    def to_host(self, array: Array) -> np.ndarray:
        return np.asarray(cupy.asnumpy(array))

    @placed
    def synchronize(self) -> None:
        stream = cupy.cuda.get_current_stream()
        if stream.ptr:
            stream.synchronize()  # without waiting for the streams of other threads
        else:
            synchronize()

    @placed
    def queue(self) -> AbstractContextManager[object]:
        return SeparateStream(self.device, self.device_errors)

    @placed
    def free_memory(self) -> int | None:
        return memory.free_bytes()

    def device_errors(self) -> AbstractContextManager[None]:
        return memory.device_errors(self.name)

    @placed
    def release_memory(self) -> None:
        memory.release()

    # ------------------------------------------------------------------------------ recording

    def perform(self, one: Operation) -> None:
        self.use()
        for call in self._calls([one]):
            call()

    def lower(self, trace: Trace) -> Callable[[int], None]:
        if self._graph and not self._product.capturable:
            say_once(self._product.reason)
        in_graph = self._graph and self._product.capturable
        trace = self.fused(trace)
        repeat: Callable[[int], None]
        if in_graph:
            calls = with_branch(trace, self, lambda one: self._calls([one]), self._scratch)
            repeat = GraphExecutor(calls, self._scratch)
        else:
            repeat = one_by_one(self._calls(trace))

        def run(times: int) -> None:
            self.use()
            repeat(times)

        return run

    def fused(self, trace: Trace) -> Trace:
        return fuse(trace, self, self._lowerings)

    def _calls(self, trace: Trace) -> Calls:
        if self._several_devices:
            for one in trace:
                refuse_strays(self.device, getattr(self, one.name), one.args, one.kwargs)
        return lower_operations(trace, self, self._lowerings, self._as_defined)

    def _as_defined(self, one: Operation) -> Calls:
        function = one.args[0] if one.name == "call" else None
        if isinstance(function, Concurrent):
            return [Branch(function.lane, self._calls(function.trace), self._scratch)]
        if isinstance(function, Join):
            return [JoinedBranch(function.lane)]
        return [Definition(definition(self, one))]

    @placed
    def recorded_function(
        self, function: Callable[[Array], Array], x: Array
    ) -> Callable[[Array], Array]:
        recorded = super().recorded_function(function, x)

        def call(argument: Array) -> Array:
            self.use()
            return recorded(argument)

        return call

    def needs_loss_scale(self, dtype: str) -> bool:
        return dtype == "float32" and self.options["matmul_precision"] == "float16"


class SeparateStream:
    """A context in which a thread computes on a separate stream.

    Work on the separate stream waits for earlier work on the default stream, and vice versa. Always
    use the same separate stream for a network, even if several threads train the network in turn:
    CuPy's pool reuses memory only on the stream on which it was allocated.
    """

    def __init__(self, device: Any, errors: Callable[[], AbstractContextManager[None]]) -> None:
        self._device, self._errors = device, errors
        self._stream = cupy.cuda.Stream()

    def __enter__(self) -> None:
        with suppress(cupy.cuda.runtime.CUDARuntimeError):  # later calls raise a device's failure
            self._device.use()
            current = cupy.cuda.get_current_stream()
            if current.ptr:  # such as the stream of a network whose callback trains this network
                current.synchronize()
        self._stream.__enter__()

    def __exit__(self, kind: Any, *error: Any) -> None:
        # Another thread may use the arrays next.
        try:
            with suppress(Exception) if kind else self._errors():
                self._stream.synchronize()
        finally:
            with suppress(cupy.cuda.runtime.CUDARuntimeError):
                self._device.use()  # a callback may have changed the thread's device
            self._stream.__exit__(kind, *error)

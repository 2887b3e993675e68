"""CuPy's overrides of the operations: one kernel, or very few, for each.

Matrix products go to cuBLAS, in full precision unless another one is asked for. Every activation,
loss, metric or optimizer that isn't built in, and arrays that a kernel can't take (mixed types; for
the raw kernels also strides), run as the base class defines it, on the device all the same. Nothing
here waits for the device but the transfers to the host, and no kernel's operation allocates once
its scratch memory has its size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import TYPE_CHECKING

import array_api_compat.cupy as xp
import cupy
import numpy as np

from gpunn.activations import Identity, ReLU
from gpunn.backends.base import Backend
from gpunn.backends.cupy import memory
from gpunn.backends.cupy.devices import on_device
from gpunn.backends.cupy.diagnosis import cuda_version
from gpunn.backends.cupy.graph import Recording, say_once, synchronize
from gpunn.backends.cupy.kernels import (
    activations,
    counters,
    dropout,
    loss_scale,
    losses,
    metrics,
    normalization,
    optimizers,
    rows,
    sums,
)
from gpunn.backends.cupy.kernels.raw import C_TYPES
from gpunn.backends.cupy.matmul import (
    NoFusedProduct,
    SelectedProduct,
    choose_fused_product,
    choose_product,
)
from gpunn.backends.cupy.matmul.cublaslt import BIAS, BIAS_GRADIENT, RELU, RELU_BIAS
from gpunn.backends.cupy.options import CudaOptions
from gpunn.backends.cupy.scratch import Scratch
from gpunn.backends.cupy.staging import PinnedStager
from gpunn.backends.staging import Stager
from gpunn.typing import Array, HostArray

if TYPE_CHECKING:
    from gpunn.activations import Activation
    from gpunn.losses import Loss
    from gpunn.metrics import Metric
    from gpunn.optimizers import Optimizer

__all__ = ["CupyBackend"]

INT64 = np.dtype(np.int64)
FUSIBLE_TYPES = {np.dtype(np.float32)}

EPILOGUES = {(Identity, True): BIAS, (ReLU, True): RELU_BIAS, (ReLU, False): RELU}
"""What a product can do for an activation, with and without a bias."""


class CupyBackend(Backend):
    """Computes on a CUDA device with CuPy.

    Parameters
    ----------
    device : int or None
        Number of the device; None is the current one.
    graph : bool
        Whether a training step is recorded as a CUDA graph and replayed; results are the same.
    matmul_precision : {"float32", "tf32", "bfloat16", "float16"}
        What products of float32 matrices may be computed in. Matrices, sums and parameters stay
        float32. With "float16" the loss is scaled, so that small gradients don't vanish.
    fused_products : bool
        Whether biases, ReLU and gradients of biases may be part of products of float32 matrices,
        through cuBLASLt, where it can be opened.
    matmul_algorithms : {"heuristic", "measured"}
        Whether products of float32 matrices are done by the algorithm that cuBLAS expects to be the
        fastest, or by the fastest of several that cuBLASLt has, which are timed when a product of
        this kind is first asked for. Results differ in rounding.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If an option is impossible.
    BackendUnavailableError
        If products can't be had in that precision, or their algorithms can't be measured.

    Notes
    -----
    CUDA has a current device for each host thread, and a kernel must be launched on the one that
    holds its arrays. Where the machine has one device there is nothing to do. Where it has several,
    every operation first makes this backend's device current for the calling thread, and leaves it
    so: networks on different devices may take turns, and plain functions of `xp` in a layer of your
    own find the right device too. An array of another device is an `ArgumentError` there. Work goes
    to the thread's current CuPy stream.
    """

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
            *(chosen.fused_products or measured, chosen.matmul_precision),
            *(self._scratch, chosen.matmul_algorithms),
        )
        self._fused_product = self._lt_product if chosen.fused_products else NoFusedProduct("off")
        self._product = choose_product(chosen.matmul_precision, self._scratch)
        if measured:
            self._product = SelectedProduct(self._lt_product, self._product)
        self._several_devices = cupy.cuda.runtime.getDeviceCount() > 1
        if self._several_devices:
            for name, value in vars(Backend).items():
                # `device_errors` is for a device that has failed, too.
                if callable(value) and not name.startswith("_") and name != "device_errors":
                    setattr(self, name, on_device(self.device, getattr(self, name)))

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

    def restore_algorithms(self, algorithms: Mapping[str, str]) -> None:
        self._lt_product.restore(algorithms)

    def from_host(self, array: HostArray, dtype: str | None = None) -> Array:
        host = np.asarray(array, dtype=dtype, order="C")
        # Not asarray, which goes through page-locked memory as large as the array and keeps it.
        out = cupy.empty(host.shape, host.dtype)
        out.set(host)
        return out

    def copy_from_host(self, array: HostArray, out: Array) -> None:
        host = np.asarray(array, dtype=out.dtype)
        if out.flags.c_contiguous and host.shape == out.shape:
            out.set(host)
        else:
            out[...] = self.from_host(host)

    def stager(self) -> Stager:
        return PinnedStager(self)

    def to_host(self, array: Array) -> np.ndarray:
        return np.asarray(cupy.asnumpy(array))

    def synchronize(self) -> None:
        synchronize()

    def free_memory(self) -> int | None:
        """Return the bytes free on the device, those that CuPy keeps for reuse included."""
        return memory.free_bytes()

    def device_errors(self) -> AbstractContextManager[None]:
        return memory.device_errors(self.name)

    def release_memory(self) -> None:
        memory.release()

    # ------------------------------------------------------------------------------ recording

    def recorded(
        self, operations: Callable[[], None], complete: bool = False
    ) -> Callable[[int], None]:
        if not self._graph:
            return super().recorded(operations, complete)
        if not self._product.capturable:
            say_once(self._product.reason)
            return super().recorded(operations, complete)
        recording = Recording(operations, self._scratch)
        return on_device(self.device, recording) if self._several_devices else recording

    # --------------------------------------------------------------------------- bookkeeping

    def select(self, table: Array, index: Array, out: Array) -> None:
        rows.select(table, index, out)

    def gather_rows(self, source: Array, order: Array, start: Array, out: Array) -> None:
        rows.gather_rows(source, order, start, out)

    def sum_weights(self, weights: Array, out: Array) -> None:
        if contiguous(weights, out):
            sums.set_sum(weights, weights.size, out, self._scratch)
        else:
            super().sum_weights(weights, out)

    def count_finite(self, loss_sum: Array, out: Array) -> None:
        rows.count_finite(loss_sum, out)

    def next_batch(
        self,
        sources: Sequence[Array],
        order: Array,
        start: Array,
        outs: Sequence[Array],
        passes: Array,
    ) -> None:
        arrays = *sources, *outs
        known = all(array.dtype in rows.TYPES for array in arrays)
        if known and all(array.flags.c_contiguous for array in (order, *arrays)):
            rows.next_batch(sources, order, start, outs, passes, self._scratch)
        else:
            super().next_batch(sources, order, start, outs, passes)

    def count_update(
        self,
        rates: Array,
        position: Array,
        rate: Array,
        updates: Array,
        weight: Array,
        loss_sum: Array,
        weight_sum: Array,
        finite_steps: Array,
    ) -> None:
        summed = weight, loss_sum, weight_sum, finite_steps
        if of_one_type(rates, rate, *summed):
            counters.count_update(rates, position, rate, updates, *summed)
        else:
            super().count_update(rates, position, rate, updates, *summed)

    # ----------------------------------------------------------------------------- layers

    def matmul(
        self,
        a: Array,
        b: Array,
        out: Array,
        *,
        transpose_a: bool = False,
        transpose_b: bool = False,
    ) -> None:
        if contiguous(out) and of_one_type(a, b, out):
            self._product(a, b, out, transpose_a, transpose_b)
        else:
            super().matmul(a, b, out, transpose_a=transpose_a, transpose_b=transpose_b)

    def activate(self, activation: Activation, z: Array, bias: Array | None, out: Array) -> None:
        arrays = (z, out) if bias is None else (z, out, bias)
        if type(activation) in activations.FORMULAS and of_one_type(*arrays):
            activations.forward(activation, z, bias, out)
        else:
            super().activate(activation, z, bias, out)

    def activation_gradient(
        self,
        activation: Activation,
        z: Array,
        output: Array,
        gradient: Array,
        bias_gradient: Array | None,
    ) -> None:
        arrays = z, output, gradient
        if type(activation) not in activations.FORMULAS or not of_one_type(*arrays):
            super().activation_gradient(activation, z, output, gradient, bias_gradient)
        elif bias_gradient is None:
            activations.backward(activation, z, output, gradient)
        elif gradient.ndim == 2 and contiguous(*arrays, bias_gradient):
            given = z, output, gradient, bias_gradient
            activations.backward_with_bias(activation, *given, self._scratch)
        else:
            activations.backward(activation, z, output, gradient)
            bias_gradient[...] = cupy.sum(gradient, axis=0)

    def dense(
        self,
        x: Array,
        weights: Array,
        bias: Array | None,
        activation: Activation,
        z: Array,
        out: Array,
    ) -> None:
        kind = type(activation), bias is not None
        arrays = (x, weights, out) if bias is None else (x, weights, out, bias)
        if not (
            kind in EPILOGUES
            and out is z
            and fusible(*arrays)
            and self._fused_product(x, weights, out, EPILOGUES[kind], bias)
        ):
            super().dense(x, weights, bias, activation, z, out)

    def dense_gradient(
        self,
        x: Array,
        weights: Array,
        activation: Activation,
        z: Array,
        output: Array,
        gradient: Array,
        weight_gradient: Array,
        bias_gradient: Array | None,
        input_gradient: Array | None,
    ) -> None:
        # Other activations need a kernel for f' in any case, which sums up the bias's gradient too.
        if (
            type(activation) is Identity
            and bias_gradient is not None
            and fusible(x, gradient, weight_gradient, bias_gradient)
            and self._fused_product(
                x, gradient, weight_gradient, BIAS_GRADIENT, bias_gradient, transpose_a=True
            )
        ):
            if input_gradient is not None:
                self.matmul(gradient, weights, input_gradient, transpose_b=True)
            return
        given = x, weights, activation, z, output, gradient
        super().dense_gradient(*given, weight_gradient, bias_gradient, input_gradient)

    def dropout(self, x: Array, rate: float, key: int, passes: Array, out: Array) -> None:
        if of_one_type(x, out):
            dropout.dropout(x, rate, key, passes, out)
        else:
            super().dropout(x, rate, key, passes, out)

    def rescale(self, x: Array, scale: float, offset: float, out: Array) -> None:
        rows.rescale(x, scale, offset, out)

    def normalize(
        self,
        x: Array,
        mean: Array,
        variance: Array,
        epsilon: float,
        scale: Array | None,
        shift: Array | None,
        out: Array,
    ) -> None:
        given = [array for array in (scale, shift) if array is not None]
        if of_one_type(x, mean, variance, out, *given):
            normalization.normalize(x, mean, variance, epsilon, scale, shift, out)
        else:
            super().normalize(x, mean, variance, epsilon, scale, shift, out)

    def batch_norm(
        self,
        x: Array,
        scale: Array,
        shift: Array,
        running_mean: Array,
        running_variance: Array,
        momentum: float,
        epsilon: float,
        normalized: Array,
        inverse_deviation: Array,
        out: Array,
    ) -> None:
        given = x, scale, shift, running_mean, running_variance
        made = normalized, inverse_deviation, out
        if contiguous(*given, *made):
            normalization.batch_norm(*given, momentum, epsilon, *made, self._scratch)
        else:
            super().batch_norm(*given, momentum, epsilon, *made)

    def batch_norm_gradient(
        self,
        gradient: Array,
        normalized: Array,
        inverse_deviation: Array,
        scale: Array,
        scale_gradient: Array,
        shift_gradient: Array,
    ) -> None:
        arrays = gradient, normalized, inverse_deviation, scale, scale_gradient, shift_gradient
        if contiguous(*arrays):
            normalization.batch_norm_gradient(*arrays, self._scratch)
        else:
            super().batch_norm_gradient(*arrays)

    def layer_norm(
        self,
        x: Array,
        scale: Array,
        shift: Array,
        epsilon: float,
        normalized: Array,
        inverse_deviation: Array,
        out: Array,
    ) -> None:
        given = x, scale, shift
        made = normalized, inverse_deviation, out
        if contiguous(*given, *made):
            normalization.layer_norm(*given, epsilon, *made)
        else:
            super().layer_norm(*given, epsilon, *made)

    def layer_norm_gradient(
        self,
        gradient: Array,
        normalized: Array,
        inverse_deviation: Array,
        scale: Array,
        scale_gradient: Array,
        shift_gradient: Array,
    ) -> None:
        arrays = gradient, normalized, inverse_deviation, scale, scale_gradient, shift_gradient
        if contiguous(*arrays):
            normalization.layer_norm_gradient(*arrays, self._scratch)
        else:
            super().layer_norm_gradient(*arrays)

    # -------------------------------------------------------------- losses, metrics, updates

    def loss(
        self,
        loss: Loss,
        predictions: Array,
        targets: Array,
        weights: Array,
        normalizer: Array,
        gradient: Array | None,
        loss_sum: Array,
    ) -> None:
        labels = type(loss) in losses.OF_LABELS
        arrays = [predictions, weights, normalizer, loss_sum]
        if gradient is not None:
            arrays.append(gradient)
        if type(loss) in losses.LOSSES and fitting(targets, labels, *arrays):
            given = predictions, targets, weights, normalizer, gradient, loss_sum
            losses.add_loss(loss, *given, self._scratch)
        else:
            super().loss(loss, predictions, targets, weights, normalizer, gradient, loss_sum)

    def metric(
        self, metric: Metric, predictions: Array, targets: Array, weights: Array, summary: Array
    ) -> None:
        score = metrics.SCORES.get(type(metric))
        if score is not None and fitting(targets, score.labels, predictions, weights, summary):
            metrics.add_scores(metric, predictions, targets, weights, summary, self._scratch)
        else:
            super().metric(metric, predictions, targets, weights, summary)

    def clip(self, gradients: Array, max_norm: float) -> None:
        if contiguous(gradients):
            sums.clip(gradients, max_norm, self._scratch)
        else:
            super().clip(gradients, max_norm)

    def penalize(
        self, values: Array, gradients: Array, weight: Array, strength: float, loss_sum: Array
    ) -> None:
        if contiguous(values, gradients, weight, loss_sum):
            sums.penalize(values, gradients, weight, strength, loss_sum, self._scratch)
        else:
            super().penalize(values, gradients, weight, strength, loss_sum)

    def update(
        self,
        optimizer: Optimizer,
        values: Array,
        gradients: Array,
        slots: Mapping[str, Array],
        learning_rate: Array,
        step: Array,
        decayed: int,
    ) -> None:
        known = type(optimizer) in optimizers.RULES
        fused = known and contiguous(values, gradients, learning_rate, *slots.values())
        run = optimizers.update if fused else super().update
        run(optimizer, values, gradients, slots, learning_rate, step, decayed)

    def counted_update(
        self,
        rates: Array,
        position: Array,
        rate: Array,
        updates: Array,
        weight: Array,
        loss_sum: Array,
        weight_sum: Array,
        finite_steps: Array,
        optimizer: Optimizer,
        values: Array,
        gradients: Array,
        slots: Mapping[str, Array],
        decayed: int,
    ) -> None:
        numbers = rates, rate, weight, loss_sum, weight_sum, finite_steps
        known = type(optimizer) in optimizers.RULES
        fused = known and contiguous(*numbers, values, gradients, *slots.values())
        counted = rates, position, rate, updates, weight, loss_sum, weight_sum, finite_steps
        changed = optimizer, values, gradients, slots, decayed
        if fused:
            optimizers.counted_update(*counted, *changed, self._scratch)
        else:
            super().counted_update(*counted, *changed)

    # -------------------------------------------------------------------------- loss scaling

    def needs_loss_scale(self, dtype: str) -> bool:
        return dtype == "float32" and self.options["matmul_precision"] == "float16"

    def scale_loss(self, weight: Array, scale: Array, normalizer: Array, finite: Array) -> None:
        if of_one_type(weight, scale, normalizer):
            loss_scale.scale_loss(weight, scale, normalizer, finite)
        else:
            super().scale_loss(weight, scale, normalizer, finite)

    def unscale(self, gradients: Array, scale: Array, finite: Array) -> None:
        if of_one_type(gradients, scale):
            loss_scale.unscale(gradients, scale, finite)
        else:
            super().unscale(gradients, scale, finite)

    def update_if_finite(
        self,
        finite: Array,
        optimizer: Optimizer,
        values: Array,
        gradients: Array,
        slots: Mapping[str, Array],
        learning_rate: Array,
        step: Array,
        decayed: int,
    ) -> None:
        known = type(optimizer) in optimizers.RULES
        fused = known and contiguous(values, gradients, learning_rate, *slots.values())
        run = optimizers.update_if_finite if fused else super().update_if_finite
        run(finite, optimizer, values, gradients, slots, learning_rate, step, decayed)

    def adjust_loss_scale(
        self,
        finite: Array,
        scale: Array,
        good_updates: Array,
        updates: Array,
        interval: int,
        smallest: float,
        largest: float,
    ) -> None:
        loss_scale.adjust_loss_scale(
            finite, scale, good_updates, updates, interval, smallest, largest
        )


def of_one_type(*arrays: Array) -> bool:
    """Return whether all arrays are of one type, float32 or float64."""
    dtype = arrays[0].dtype
    return dtype.kind == "f" and dtype in C_TYPES and all(a.dtype == dtype for a in arrays)


def contiguous(*arrays: Array) -> bool:
    """Return whether all arrays are C-contiguous and of one type: a raw kernel can take them."""
    return of_one_type(*arrays) and all(a.flags.c_contiguous for a in arrays)


def fusible(*arrays: Array) -> bool:
    """Return whether a fused product can take all arrays."""
    return contiguous(*arrays) and arrays[0].dtype in FUSIBLE_TYPES


def fitting(targets: Array, labels: bool, *arrays: Array) -> bool:
    """Return whether a raw kernel can take the targets, integer labels if `labels`, and arrays."""
    if targets.ndim == 2:
        return contiguous(targets, *arrays)
    return labels and targets.dtype == INT64 and targets.flags.c_contiguous and contiguous(*arrays)

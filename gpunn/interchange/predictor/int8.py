"""Trained networks with 8-bit integers, for C on small computers.

An integer q stands for the number scale * q. The weights of each unit have one scale, and the
outputs of each layer have one scale. An output's integer is between -128 and 127 or, after a ReLU,
between 0 and 255. Sums and biases are 32-bit integers. One multiplication converts a sum to the
scale of the layer's output (Jacob et al. 2018, arXiv 1712.05877).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gpunn import activations, layers
from gpunn.errors import DataError, ExportError
from gpunn.interchange.affine import Affine, affine_of
from gpunn.interchange.predictor import numpy_functions
from gpunn.interchange.steps import ArrayName, Sizes, Step, Steps, image_sizes, steps_of
from gpunn.network import Sequential
from gpunn.typing import HostArray

LIMIT = 2**30
"""Maximum absolute value of a multiplier, of a bias, and of a sum before its bias is added."""

SIGNED, POSITIVE = -128, 0
"""Minimum integers of outputs, with and without negative outputs. The maximum is larger by 255."""

BATCH = 250
"""Number of rows that are computed at the same time, to limit memory."""

PIXEL = ((1, 1), (1, 1), (1, 1), (1, 1), (0, 0), (1, 1))
"""The window of a dense layer, which is computed as a convolution of images with one pixel."""

DENSE = ("dense", "matmul")

AFFINE = layers.BatchNorm, layers.Rescaling, layers.Standardization


@dataclass
class Operation:
    """A convolution, or pooling if `weights` is empty; `least` is the output's minimum integer.

    `set_scales` replaces weights and biases by integers.
    """

    step: Step
    window: Sizes
    groups: int = 1
    weights: np.ndarray = field(default_factory=lambda: np.zeros((0, 1)))
    biases: np.ndarray = field(default_factory=lambda: np.zeros(1))
    least: int = SIGNED

    def computed(self, x: np.ndarray) -> np.ndarray:
        x = x.reshape(len(x), *self.window[0], -1)
        if self.weights.size:
            given = self.weights, self.biases, self.window, self.groups
            return numpy_functions.convolution(x, *given)
        y: np.ndarray = getattr(numpy_functions, self.step.function)(x, self.window)
        return y

    def set_scales(self, before: float, after: float) -> None:
        W, b = self.weights, self.biases
        if 255 * 127 * len(W) > LIMIT:
            raise ExportError(
                f"layer {self.step.label!r}: a unit has {len(W):,} weights; 8-bit integers allow "
                f"at most {LIMIT // (255 * 127):,}"
            )
        unit = np.maximum(np.abs(W).max(axis=0, initial=0) / 127, np.abs(b) / (before * LIMIT))
        # A unit of zeros gets the smallest scale, so that the others' multipliers stay exact.
        unit[unit == 0] = unit[unit > 0].min(initial=1)
        self.weights, self.biases = np.rint(W / unit), np.rint(b / (before * unit))
        self.scales = before * unit  # the number that 1 in a sum stands for
        self.shift = int(np.clip(30 - np.frexp(self.scales.max() / after)[1], 1, 62))
        multipliers = np.rint(np.ldexp(self.scales / after, self.shift))
        self.multipliers = np.minimum(multipliers, LIMIT).astype(np.int32)
        if self.step.function == "max_pool":
            self.multipliers[:] = 0

    def rounded(self, q: np.ndarray) -> np.ndarray:
        sums, multipliers = self.computed(q.astype(float)), self.multipliers.astype(np.int64)
        if self.step.function == "max_pool":
            largest: np.ndarray = np.maximum(sums, self.least)
            return largest
        if self.step.function == "average_pool":
            ones = np.ones((1, *self.window[0], 1))
            counts = np.sum(numpy_functions.taps(ones, self.window, 0.0), axis=0)
            sums, multipliers = sums * counts, multipliers // counts.astype(np.int64)
        product = np.rint(sums).astype(np.int64) * multipliers
        size = (np.abs(product) + (1 << (self.shift - 1))) >> self.shift
        y: np.ndarray = np.clip(np.sign(product) * size, self.least, self.least + 255)
        return y


class Int8Network:
    """A trained network with 8-bit integers as weights and as outputs of layers.

    The largest weight of each unit becomes 127. Each layer's largest output for the rows `X`
    becomes 127, or 255 after a ReLU. `save_c` writes the network in C, which returns the same
    outputs as `predict`.

    Parameters
    ----------
    model : Sequential
        A network, on any device, of convolution, pooling, flatten, dropout and dense layers, with
        ReLU between them. Rescaling, standardization or batch normalization may be first, directly
        after a convolution or dense layer, or directly before a dense layer.
    X : array
        Rows that determine the scales, such as a thousand training rows, in the form that
        `Sequential.predict` accepts.

    Raises
    ------
    ExportError
        If a layer or an activation is not supported.
    DataError
        If X has no rows, does not fit the network, or has numbers that are not finite.

    See Also
    --------
    save_c : Writes the network.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.Dense(2)], 3, backend="numpy", seed=0)
    >>> X = np.random.default_rng(0).normal(size=(100, 3))
    >>> network = gpunn.interchange.Int8Network(model, X)
    >>> bool(np.abs(network.predict(X) - model.predict(X)).max() < 0.1)
    True
    """

    def __init__(self, model: Sequential, X: HostArray) -> None:
        steps = steps_of(model)
        self.model, self.operations = model, list[Operation]()
        self._first, self._scaling = Affine(), Affine()  # of the first input, and of the next input
        for step in steps.steps:
            self._add(step, steps)
        if not self.operations:
            raise ExportError(
                "model: for 8-bit integers, expected at least one convolution, pooling or dense "
                "layer; got none"
            )
        if not self._scaling.is_identity:
            raise refusal(self._scaled)
        rows = self._inputs(X)
        if len(rows) == 0:
            raise DataError("X: expected at least one row, to compute the scales of layers")
        first, count = self._first, np.size(self._first.scale)
        parts = [x.reshape(len(x), -1, count) * first.scale + first.shift for x in batches(rows)]
        largest, *others = np.max([self._largest(part) for part in parts], axis=0)
        self.least = least = SIGNED if min(part.min() for part in parts) < 0 else POSITIVE
        self.scale = scale_of(largest, least)
        self.factors = np.atleast_1d(first.scale / self.scale).astype(model.dtype)
        self.shifts = np.atleast_1d(first.shift / self.scale + SIGNED - least).astype(model.dtype)
        for operation, largest in zip(self.operations, others, strict=True):
            if not operation.weights.size and least == POSITIVE:
                operation.least = POSITIVE
            before, least = self.scale, operation.least
            if operation.step.function != "max_pool":
                self.scale = scale_of(largest, least)
            operation.set_scales(before, self.scale)

    @property
    def ends_in_sums(self) -> bool:
        """Whether the outputs are the sums of the last layer, which are not rounded to 8 bits."""
        last = self.operations[-1]
        return last.weights.size > 0 and last.least == SIGNED

    def predict(self, X: HostArray) -> np.ndarray:
        """Return the outputs for rows.

        Parameters
        ----------
        X : array
            Rows, as for `Sequential.predict`.

        Returns
        -------
        ndarray, shape (rows, *output_shape)
            The outputs, in the network's dtype.
        """
        shape = self.model.output_shape
        parts = [self._outputs(part).reshape(-1, *shape) for part in batches(self._inputs(X))]
        return np.concatenate([np.zeros((0, *shape), self.model.dtype), *parts])

    def _inputs(self, X: HostArray) -> np.ndarray:
        return self.model._checked_inputs(self.model.encoded(X)).astype(self.model.dtype)

    def _add(self, step: Step, steps: Steps) -> None:
        arguments: list[Any] = [
            steps.arrays[each.name].astype(float) if isinstance(each, ArrayName) else each
            for each in step.arguments
        ]
        name = step.function if step.expression is None else ""
        if step.inputs != ("x",) or step.output != "x":
            raise refusal(step)
        if name == "convolution":
            W, b, window, groups = arguments
            self._append(Operation(step, image_sizes(window), groups, W, b))
        elif name in ("max_pool", "average_pool"):
            self._append(Operation(step, image_sizes(*arguments)))
        elif name in DENSE:
            W, b = [*arguments, np.zeros(step.output_shape)][:2]
            self._append(Operation(step, PIXEL, 1, W, b))
        elif isinstance(step.source, AFFINE):
            arrays = steps.values_of(step.source, step.label)
            affine = affine_of(step.source, {name: it.astype(float) for name, it in arrays.items()})
            assert affine is not None
            if self.operations and self.ends_in_sums and self._scaling.is_identity:
                last = self.operations[-1]
                if np.size(affine.scale) in (1, last.biases.size):  # else of each flattened pixel
                    last.weights, last.biases = affine.after(last.weights, last.biases)
                    return
            size = max(np.size(self._scaling.scale), np.size(affine.scale))
            parts = (np.resize(each, size) for each in (self._scaling.scale, self._scaling.shift))
            self._scaling, self._scaled = Affine(*parts).then(affine), step
        elif type(step.source) is activations.ReLU and self.operations:
            if not self._scaling.is_identity:
                raise refusal(self._scaled)
            self.operations[-1].least = POSITIVE
        elif name != "flatten":
            raise refusal(step)

    def _append(self, operation: Operation) -> None:
        scaling, self._scaling = self._scaling, Affine()
        if not self.operations:
            self._first = scaling
        elif not scaling.is_identity:
            if operation.step.function not in DENSE:
                raise refusal(self._scaled)
            merged = scaling.before(operation.weights, operation.biases)
            operation.weights, operation.biases = merged
        self.operations.append(operation)

    def _largest(self, x: np.ndarray) -> list[float]:
        largest = [float(np.abs(x).max())]
        for operation in self.operations:
            x = operation.computed(x)
            x = np.maximum(x, 0) if operation.least == POSITIVE else x
            largest.append(float(np.abs(x).max()))
        return largest

    def _outputs(self, rows: np.ndarray) -> np.ndarray:
        x = rows.reshape(len(rows), -1, len(self.factors)) * self.factors + self.shifts
        q = np.clip(np.rint(x), SIGNED, SIGNED + 255) - SIGNED + self.least
        *others, last = self.operations
        for operation in others:
            q = operation.rounded(q)
        y, scale = last.rounded(q), np.array(self.scale)
        if self.ends_in_sums:
            y, scale = last.computed(q.astype(float)), last.scales
        outputs: np.ndarray = y.astype(rows.dtype) * scale.astype(rows.dtype)
        return outputs


def batches(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]


def scale_of(largest: float, least: int) -> float:
    return float(largest or 1.0) / (127 if least == SIGNED else 255)


def refusal(step: Step) -> ExportError:
    return ExportError(
        f"layer {step.label!r}: 8-bit integers do not support this layer, or not in this "
        "position; use convolution, pooling and dense layers in sequence, with batch "
        "normalization before ReLU, or export without 8-bit integers"
    )

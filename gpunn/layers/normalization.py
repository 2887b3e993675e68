"""Layers that center and scale: batch and layer normalization, and standardized inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gpunn.configurable import number
from gpunn.data.column_statistics import column_statistics
from gpunn.errors import DataError
from gpunn.initializers import Ones, Zeros
from gpunn.layers.base import Layer, only_vectors, operations_only
from gpunn.layers.views import reshaped, view
from gpunn.parameters import ParameterSpec
from gpunn.typing import Array, HostArray, Shape
from gpunn.workspace import Workspace


def as_vectors(layer: Layer, x: Array, workspace: Workspace) -> Array:
    shape = (math.prod(x.shape[:-1]), x.shape[-1])
    return x if len(x.shape) == 2 else reshaped(layer, x, shape, workspace, "vectors")


def vector_buffer(
    layer: Layer, name: str, x: Array, workspace: Workspace, size: int | None = None
) -> Array:
    shape = (*x.shape[1:-1], x.shape[-1] if size is None else size)
    return as_vectors(layer, workspace.rows(layer, name, x.shape[0], shape), workspace)


@dataclass(eq=False)
class BatchNorm(Layer):
    """Batch normalization: center and scale each feature by statistics of the batch.

    The output for each feature is::

        y = scale * (x - mean) / sqrt(variance + epsilon) + shift

    In images and signals, of shape (height, width, channels) or (length, channels), each channel is
    a feature, and each pixel or position counts as a row.

    Training uses the batch's mean and biased variance, and updates running averages of both:
    running <- momentum * running + (1 - momentum) * batch. Inference uses the running averages
    (Ioffe & Szegedy 2015, "Batch Normalization", algorithm 1). Sample weights do not affect the
    averages. PyTorch's running variance is rows / (rows - 1) times as large.

    With n = (x - mean) / sqrt(variance + epsilon), the chain rule in training is::

        dL/dscale = sum over rows of dL/dy * n
        dL/dshift = sum over rows of dL/dy
        dL/dx = (h - mean(h) - n * mean(h * n)) / sqrt(variance + epsilon),  h = scale * dL/dy

    Here, mean() is the mean over the rows.

    Training on vectors needs at least two rows in a batch: with one row, y = shift for any x, and
    dL/dx = 0. So `Trainer.fit` raises an error if each batch has one row, as PyTorch does. If only
    the last batch of an epoch has one row, training logs a warning.

    As in Keras, a frozen layer (`trainable=False`) computes the same in training as in inference.
    The layer uses the running averages without updating them, and dL/dx = scale * dL/dy /
    sqrt(running variance + epsilon). So later layers train on the same features as in inference,
    and a few new rows do not replace the averages of the old data. PyTorch updates the averages of
    a frozen module unless the module is in evaluation mode.

    Parameters
    ----------
    momentum : float
        Weight of the old average, in [0, 1). PyTorch's `momentum` is 1 minus this value.
    epsilon : float
        A small positive number that is added to the variance, so that the division is finite for a
        constant feature.

    Examples
    --------
    Since a new layer's running averages are 0 and 1, the layer hardly changes x in inference:

    >>> model = gpunn.Sequential([gpunn.layers.BatchNorm()], 2, backend="numpy")
    >>> model.predict([[1.0, -2.0]]).round(3).tolist()
    [[1.0, -2.0]]
    """

    momentum: float = number(0.9, at_least=0, below=1)
    epsilon: float = number(1e-5, above=0)

    name = "batch_norm"

    def parameters(self, input_shape: Shape) -> list[ParameterSpec]:
        shape = input_shape[-1:]
        return [
            ParameterSpec("scale", shape, Ones(), decay=False),
            ParameterSpec("shift", shape, Zeros(), decay=False),
            ParameterSpec("running_mean", shape, Zeros(), trainable=False),
            ParameterSpec("running_variance", shape, Ones(), trainable=False),
        ]

    @property
    def frozen(self) -> bool:
        """Whether this layer, or a layer that contains it, is frozen."""
        return "scale" not in self.gradients

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        y, values = workspace.rows(self, "output", x.shape[0], x.shape[1:]), self.values
        vectors, results = as_vectors(self, x, workspace), as_vectors(self, y, workspace)
        if not workspace.training or self.frozen:
            workspace.backend.normalize(
                vectors,
                values["running_mean"],
                values["running_variance"],
                self.epsilon,
                values["scale"],
                values["shift"],
                results,
            )
            return y
        if workspace.collectives is not None:
            self._forward_of_ranks(workspace, (vectors, results))
            return y
        workspace.backend.batch_norm(
            vectors,
            values["scale"],
            values["shift"],
            values["running_mean"],
            values["running_variance"],
            self.momentum if workspace.keeps_averages else 1.0,
            self.epsilon,
            workspace.fixed(self, "mean", x.shape[-1:]),
            workspace.fixed(self, "inverse_std", x.shape[-1:]),
            results,
        )
        return y

    @operations_only
    def backward(
        self, x: Array, y: Array, gradient: Array, workspace: Workspace, wants_input_gradient: bool
    ) -> Array:
        vectors = as_vectors(self, gradient, workspace)
        if self.frozen:
            dx = workspace.rows(self, "input gradient", x.shape[0], x.shape[1:])
            results = as_vectors(self, dx, workspace)
            zeros = workspace.fixed(self, "zeros", x.shape[-1:])
            variance, scale = self.values["running_variance"], self.values["scale"]
            workspace.backend.normalize(
                vectors, zeros, variance, self.epsilon, scale, zeros, results
            )
            return dx
        if workspace.collectives is not None:
            self._backward_of_ranks(workspace, (vectors, as_vectors(self, x, workspace)))
            return view(vectors, x.shape, workspace)
        workspace.backend.batch_norm_gradient(
            vectors,  # in: dL/dy; out: dL/dx
            as_vectors(self, x, workspace),
            workspace.fixed(self, "mean", x.shape[-1:]),
            workspace.fixed(self, "inverse_std", x.shape[-1:]),  # 1 / sqrt(variance + epsilon)
            self.values["scale"],
            self.gradients["scale"],
            self.gradients["shift"],
        )
        return view(vectors, x.shape, workspace)

    # Statistics of all ranks' rows, from the statistics of each rank (Chan, Golub & LeVeque 1979).

    def _forward_of_ranks(
        self, workspace: Workspace, batch: tuple[Array, Array] | None = None
    ) -> None:
        """Set y to the normalized x, where `batch` is (x, y), or None on a rank without rows."""
        ops, collectives, values = workspace.backend, workspace.collectives, self.values
        assert collectives is not None
        features = int(values["scale"].shape[0])
        local = workspace.fixed(self, "moments", (1 + 2 * features,))
        gathered = workspace.fixed(self, "moments of ranks", (collectives.size, 1 + 2 * features))
        mean = workspace.fixed(self, "mean", (features,))
        variance = workspace.fixed(self, "variance", (features,))
        if batch is None:
            ops.fill(local, 0.0)
        else:
            ops.column_moments(batch[0], local)
        collectives.all_gather(local, gathered)
        ops.combine_moments(gathered, mean, variance)
        ops.running_average(mean, self.momentum, values["running_mean"])
        ops.running_average(variance, self.momentum, values["running_variance"])
        if batch is None:
            return
        x, y = batch
        ops.batch_norm_of(
            x,
            mean,
            variance,
            values["scale"],
            values["shift"],
            self.epsilon,
            workspace.fixed(self, "inverse_std", (features,)),
            y,
        )

    def _backward_of_ranks(
        self, workspace: Workspace, batch: tuple[Array, Array] | None = None
    ) -> None:
        """Replace dL/dy by dL/dx; `batch` is (dL/dy, x), or None on a rank without rows."""
        ops, collectives, values = workspace.backend, workspace.collectives, self.values
        assert collectives is not None
        features = int(values["scale"].shape[0])
        local = workspace.fixed(self, "sums", (2 * features,))
        gathered = workspace.fixed(self, "sums of ranks", (collectives.size, 2 * features))
        sums = workspace.fixed(self, "sums of all", (2 * features,))
        if batch is None:
            ops.fill(local, 0.0)
            collectives.sum_over_ranks(local, gathered, sums)
            return
        gradient, x = batch
        mean, inverse_std = (
            workspace.fixed(self, name, (features,)) for name in ("mean", "inverse_std")
        )
        dscale, dshift = self.gradients["scale"], self.gradients["shift"]
        ops.batch_norm_sums(gradient, x, mean, inverse_std, dscale, dshift)
        ops.assign(dscale, local[:features])
        ops.assign(dshift, local[features:])
        collectives.sum_over_ranks(local, gathered, sums)
        count = workspace.fixed(self, "moments of ranks", (collectives.size, 1 + 2 * features))
        ops.batch_norm_input_gradient(
            gradient, x, mean, inverse_std, values["scale"], sums, count[:, 0]
        )

    def forward_without_rows(self, workspace: Workspace) -> None:
        """Exchange statistics with the other ranks, and update the running averages.

        Parameters
        ----------
        workspace : Workspace
            The workspace of the pass.
        """
        self._forward_of_ranks(workspace)

    def backward_without_rows(self, workspace: Workspace) -> None:
        """Add zeros to the sums over all ranks, because this rank has no rows.

        Parameters
        ----------
        workspace : Workspace
            The workspace of the forward pass.
        """
        self._backward_of_ranks(workspace)


@dataclass(eq=False)
class LayerNorm(Layer):
    """Layer normalization: center and scale each row by statistics of its features.

    The output for each row is::

        y = scale * (x - mean) / sqrt(variance + epsilon) + shift

    In images and signals, each pixel or position counts as a row, and each channel is a feature, as
    in Keras. The formula is the same in training and in inference (Ba, Kiros & Hinton 2016, "Layer
    Normalization"). The chain rule is the same as for `BatchNorm`, with mean() over the features of
    each row.

    Parameters
    ----------
    epsilon : float
        A small positive number that is added to the variance, so that the division is finite for a
        row of equal numbers.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.LayerNorm()], 4, backend="numpy")
    >>> model.predict([[1.0, 1.0, 3.0, 3.0]]).round(3).tolist()
    [[-1.0, -1.0, 1.0, 1.0]]
    """

    epsilon: float = number(1e-5, above=0)

    name = "layer_norm"

    def parameters(self, input_shape: Shape) -> list[ParameterSpec]:
        shape = input_shape[-1:]
        return [
            ParameterSpec("scale", shape, Ones(), decay=False),
            ParameterSpec("shift", shape, Zeros(), decay=False),
        ]

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        y = workspace.rows(self, "output", x.shape[0], x.shape[1:])
        workspace.backend.layer_norm(
            as_vectors(self, x, workspace),
            self.values["scale"],
            self.values["shift"],
            self.epsilon,
            vector_buffer(self, "normalized", x, workspace),
            vector_buffer(self, "inverse_std", x, workspace, 1),
            as_vectors(self, y, workspace),
        )
        return y

    @operations_only
    def backward(
        self, x: Array, y: Array, gradient: Array, workspace: Workspace, wants_input_gradient: bool
    ) -> Array:
        vectors = as_vectors(self, gradient, workspace)
        inverse_std = vector_buffer(self, "inverse_std", x, workspace, 1)
        workspace.backend.layer_norm_gradient(
            vectors,  # in: dL/dy; out: dL/dx
            vector_buffer(self, "normalized", x, workspace),  # n, from `forward`
            inverse_std,  # 1 / sqrt(variance + epsilon)
            self.values["scale"],
            self.gradients["scale"],
            self.gradients["shift"],
        )
        return view(vectors, x.shape, workspace)


@dataclass(eq=False)
class Standardization(Layer):
    """Center and scale features by statistics of the training data: y = (x - mean) / std.

    The first `Trainer.fit` computes mean and std = sqrt(mean((x - mean)^2)) of each feature from
    the training rows (`Sequential.adapt`). The model stores the results as the buffers "mean" and
    "deviation", so that a saved model accepts raw data. A constant feature gets std = 1, so that
    the standardized values are 0 instead of NaN.

    The chain rule is dL/dx = dL/dy / std.

    Raises
    ------
    DataError
        Raised by `adapt` if a mean or deviation overflows or underflows the dtype.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.Standardization()], 2, backend="numpy")
    >>> X = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> model.adapt(X)
    >>> model.predict(X).tolist()
    [[-1.0, -1.0], [1.0, 1.0]]
    """

    name = "standardization"
    adapts = True

    def parameters(self, input_shape: Shape) -> list[ParameterSpec]:
        shape = (only_vectors(self, input_shape),)
        return [
            ParameterSpec("mean", shape, Zeros(), trainable=False),
            ParameterSpec("deviation", shape, Ones(), trainable=False),
        ]

    def adapt(
        self, X: HostArray, indices: np.ndarray | None = None, dtype: str = "float32"
    ) -> dict[str, np.ndarray]:
        mean, std = standardization_of(X, indices, dtype, "X")
        return {"mean": mean, "deviation": std}

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        y = workspace.rows(self, "output", x.shape[0], x.shape[1:])
        workspace.backend.standardize(x, self.values["mean"], self.values["deviation"], y)
        return y

    @operations_only
    def backward(
        self, x: Array, y: Array, gradient: Array, workspace: Workspace, wants_input_gradient: bool
    ) -> Array:
        zeros = workspace.fixed(self, "zeros", x.shape[1:])
        std = self.values["deviation"]
        workspace.backend.standardize(gradient, zeros, std, gradient)  # dL/dx = dL/dy / std
        return gradient


def standardization_of(
    data: HostArray, indices: np.ndarray | None, dtype: str, name: str
) -> tuple[np.ndarray, np.ndarray]:
    # A constant column gets the deviation 1.
    mean, std = column_statistics(data, indices=indices, name=name)
    limits = np.finfo(dtype)
    for unfit, size in (
        ((np.abs(mean) > limits.max) | (std > limits.max), "large"),
        (std < limits.tiny, "small"),
    ):
        if unfit.any():
            column = int(unfit.argmax())
            other = " or use a network of dtype='float64'" if dtype == "float32" else ""
            raise DataError(
                f"{name}: column {column} (mean {mean[column]:.3g}, standard deviation "
                f"{std[column]:.3g}) is too {size} to be standardized in {dtype}; "
                f"rescale it{other}"
            )
    return mean, std

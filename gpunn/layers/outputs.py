"""Layers after the loss, which turn the inputs of the loss into predictions.

The loss is computed from the input of these layers, so no gradient passes through a layer.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from gpunn.configurable import choice, flag
from gpunn.data.column_statistics import chunks_of
from gpunn.errors import ArgumentError, DataError, GpunnWarning
from gpunn.expressions import Expression, expression_of
from gpunn.initializers import Normal, Ones, Zeros
from gpunn.layers.base import Layer, only_vectors, operations_only
from gpunn.layers.block import Block
from gpunn.layers.normalization import standardization_of
from gpunn.layers.views import view
from gpunn.parameters import ParameterSpec
from gpunn.typing import Array, HostArray, Shape
from gpunn.workspace import Workspace

COMBINATIONS = ("identity", "softmax", "sigmoid")

COARSE = 0.01
"""Maximum distance of neighboring float32 numbers, in standard deviations of the targets."""

FAR = 1e38
"""Before training, predictions are limited to plus or minus this value, beyond realistic
targets."""


class OutputLayer(Layer):
    """Base of the layers that turn the inputs of the loss into predictions."""

    after_loss = True

    def supports(self, output_activation: str) -> bool:
        """Return whether the layer supports losses with the given output activation.

        Parameters
        ----------
        output_activation : {"identity", "softmax", "sigmoid"}
            `Loss.output_activation`.

        Returns
        -------
        bool
            True by default.
        """
        return True

    def advice(self, output_activation: str) -> str:
        """Return the remedy for a loss that the layer does not support.

        Parameters
        ----------
        output_activation : {"identity", "softmax", "sigmoid"}
            `Loss.output_activation`.

        Returns
        -------
        str
            An instruction, for the end of an error message.
        """
        return "remove the layer"

    def inner_targets(self, targets: Array, workspace: Workspace) -> Array:
        """Return targets on the scale of this layer's input.

        Parameters
        ----------
        targets : array, shape (rows, *output shape)
            Targets on the scale of this layer's output.
        workspace : Workspace
            The workspace of the pass.

        Returns
        -------
        array, shape of targets
            The unchanged targets by default.
        """
        return targets

    @operations_only
    def backward(
        self, x: Array, y: Array, gradient: Array, workspace: Workspace, wants_input_gradient: bool
    ) -> Array:
        raise ArgumentError(
            f"{self.name}: comes after the loss, so it has no backward pass; use it as the last "
            "layer of a network"
        )


@dataclass(eq=False)
class TargetScaling(OutputLayer):
    """Convert outputs to the targets' unit, as the last layer: y = mean + deviation * x.

    Use this layer for regression. The first `Trainer.fit` computes mean, standard deviation,
    minimum and maximum of each column of the training targets, and the model stores these numbers.
    The network trains on standardized targets: the loss compares x with (t - mean) / deviation.
    Predictions and metrics are in the targets' unit; the logs "loss" and "val_loss" are for
    standardized targets. Predictions are clipped to the range of the training targets.

    Parameters
    ----------
    clip : bool
        Whether predictions are clipped to [minimum, maximum] of the training targets. Training does
        not clip.
    log : bool
        Whether the network learns the logarithms of the targets, which must be positive. The loss
        compares x with (log(t) - mean) / deviation, and y = exp(mean + deviation * x). For a skewed
        target, such a prediction is near the median and below the mean.

    Raises
    ------
    ArgumentError
        If rows are not vectors, if the loss's output activation is not "identity", or if the
        numbers of outputs and targets differ, for example because the loss is `GaussianNLL`.
    DataError
        Raised by `adapt_to_targets` if a mean or deviation overflows or underflows the dtype, or if
        `log` is set and a target is not positive.

    Warns
    -----
    GpunnWarning
        Issued by `adapt_to_targets` if targets are so far from 0 that many of them become equal in
        float32.

    Examples
    --------
    >>> layers = [gpunn.layers.Dense(1), gpunn.layers.TargetScaling()]
    >>> model = gpunn.Sequential(layers, 2, backend="numpy")
    >>> model.adapt([[0.0, 1.0], [1.0, 0.0]], y=[[100.0], [300.0]])
    >>> float(layers[1].values["mean"][0]), float(layers[1].values["largest"][0])
    (200.0, 300.0)
    """

    clip: bool = flag(True)
    log: bool = flag(False)

    name = "target_scaling"
    adapts_to_targets = True

    def supports(self, output_activation: str) -> bool:
        return output_activation == "identity"

    def parameters(self, input_shape: Shape) -> list[ParameterSpec]:
        shape = (only_vectors(self, input_shape),)
        bounds = {"least": Normal(0.0, -FAR), "largest": Normal(0.0, FAR)}
        starts = {"mean": Zeros(), "deviation": Ones(), **bounds}
        return [ParameterSpec(name, shape, it, trainable=False) for name, it in starts.items()]

    def adapt_to_targets(
        self, y: HostArray, indices: np.ndarray | None = None, dtype: str = "float32"
    ) -> dict[str, np.ndarray]:
        outputs, targets = self.values["mean"].shape[0], y.shape[1]
        if targets != outputs:
            raise ArgumentError(
                f"layer {self.name!r}: expected one output for each target; got {outputs} "
                f"output{'s' if outputs > 1 else ''} and {targets} "
                f"target{'s' if targets > 1 else ''}. Remove the layer, and train on "
                "(y - mean) / deviation"
            )
        if self.log:
            y = np.asarray(y if indices is None else y[indices], np.float64)
            check_positive(y, "y")
            y, indices = np.log(y), None
        mean, std = standardization_of(y, indices, dtype, "y")
        ends = [(chunk.min(axis=0), chunk.max(axis=0)) for chunk in chunks_of(y, indices)]
        least, largest = np.min([a for a, _ in ends], axis=0), np.max([b for _, b in ends], axis=0)
        if dtype == "float32":
            warn_of_coarse_targets(mean, std, largest > least)
        return {"mean": mean, "deviation": std, "least": least, "largest": largest}

    def inner_targets(self, targets: Array, workspace: Workspace) -> Array:
        scaled = workspace.rows(self, "targets", targets.shape[0], targets.shape[1:])
        mean, std = self.values["mean"], self.values["deviation"]
        if self.log:
            logs = workspace.rows(self, "logarithms", targets.shape[0], targets.shape[1:])
            compute("log", targets, logs, workspace)
            targets = logs
        workspace.backend.standardize(targets, mean, std, scaled)
        return scaled

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        y = workspace.rows(self, "output", x.shape[0], x.shape[1:])
        values = self.values
        bounds = None, None
        if self.clip and not workspace.training:
            bounds = values["least"], values["largest"]
        workspace.backend.unstandardize(x, values["mean"], values["deviation"], *bounds, y)
        if self.log:
            powers = workspace.rows(self, "exponentials", x.shape[0], x.shape[1:])
            compute("exp", y, powers, workspace)
            return powers
        return y


def check_positive(y: np.ndarray, argument: str) -> None:
    if not (y > 0).all():
        raise DataError(
            f"{argument}: logarithms need positive targets; the minimum is {np.min(y):.6g}. "
            "Leave the logarithm out, or add a constant to the targets"
        )


def compute(function: str, x: Array, out: Array, workspace: Workspace) -> None:
    dtype = workspace.backend.dtype_name(x)
    expression = elementwise(function, tuple(x.shape), dtype)
    workspace.backend.compute(expression, [x], [out])


@lru_cache(maxsize=64)
def elementwise(function: str, shape: Shape, dtype: str) -> Expression:
    return expression_of(lambda xp, x: getattr(xp, function)(x), {"x": (shape, "float")}, dtype)


def warn_of_coarse_targets(mean: np.ndarray, std: np.ndarray, varies: np.ndarray) -> None:
    steps = np.abs(mean) * np.finfo(np.float32).eps / std
    for column in np.flatnonzero(varies & (steps > COARSE))[:1]:
        warnings.warn(
            f"y: column {column} has a mean of {mean[column]:.8g} and a standard deviation of "
            f"{std[column]:.3g}. Neighboring float32 numbers are {steps[column]:.2g} standard "
            "deviations apart; subtract a constant from the column, or use dtype='float64'",
            GpunnWarning,
            stacklevel=2,
        )


@dataclass(eq=False)
class MeanOverMembers(OutputLayer):
    """Average the members' predictions, as the last layer: (members, outputs) becomes (outputs,).

    A row's loss is the mean of the members' losses, so members learn independently. The combined
    prediction is::

        "identity"  the mean of x, for regression
        "softmax"   log of the mean of softmax(x): the logits of the mean of the probabilities
        "sigmoid"   log(p / (1 - p)), with the mean p of sigmoid(x): the logit of the mean

    Parameters
    ----------
    of : {"identity", "softmax", "sigmoid"}
        The output activation of the loss (`Loss.output_activation`), which decides how predictions
        are averaged.

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.MeanOverMembers()], (2, 1), backend="numpy")
    >>> model.predict([[[1.0], [3.0]]]).tolist()
    [[2.0]]
    """

    of: str = choice("identity", COMBINATIONS)

    name = "mean_over_members"

    def supports(self, output_activation: str) -> bool:
        return output_activation == self.of

    def advice(self, output_activation: str) -> str:
        if output_activation in COMBINATIONS:
            return f"set of={output_activation!r}"
        return "choose a loss for 'identity', 'softmax' or 'sigmoid'"

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 2:
            raise ArgumentError(
                "mean_over_members: expected rows of shape (members, outputs); got rows of shape "
                f"{input_shape}"
            )
        return input_shape[1:]

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        if workspace.independent_members:  # each member has separate rows, so nothing is averaged
            return view(x, (x.shape[0] * x.shape[1], x.shape[2]), workspace)
        y = workspace.rows(self, "output", x.shape[0], x.shape[2:])
        workspace.backend.mean_over_members(x, self.of, y)
        return y


@dataclass(eq=False)
class SortedOutputs(OutputLayer, Block):
    """Sort each row's outputs in ascending order, after the loss.

    Use this layer with the loss `gpunn.losses.Quantiles`, before `TargetScaling`. Sorting never
    increases the loss of any row (Chernozhukov et al. 2010, "Quantile and Probability Curves
    Without Crossing").

    Examples
    --------
    >>> model = gpunn.Sequential([gpunn.layers.SortedOutputs()], 3, backend="numpy")
    >>> model.predict([[2.0, 3.0, 1.0]]).tolist()
    [[1.0, 2.0, 3.0]]
    """

    name = "sorted_outputs"

    def supports(self, output_activation: str) -> bool:
        return output_activation == "identity"

    def forward(self, xp: Any, x: Any) -> Any:  # type: ignore[override]
        count = x.shape[1]
        columns = [x[:, each : each + 1] for each in range(count)]
        for swap in range(count):  # odd-even transposition sort (Habermann 1972)
            for each in range(swap % 2, count - 1, 2):
                a, b = columns[each : each + 2]
                columns[each : each + 2] = xp.minimum(a, b), xp.maximum(a, b)
        return xp.concat(columns, axis=1)

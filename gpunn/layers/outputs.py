"""Layers after the loss: from what a network is trained on to what it predicts.

They come last. The loss is taken of their input, so nothing goes back through them in training;
predictions, metrics, files and exports have what they return.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from gpunn.configurable import check_choice, flag
from gpunn.data.preprocessing import chunks_of
from gpunn.errors import ArgumentError, GpunnWarning
from gpunn.initializers import Normal, Ones, Zeros
from gpunn.layers.base import Layer, only_vectors, operations_only
from gpunn.layers.normalization import standardization_of
from gpunn.layers.views import view
from gpunn.parameters import ParameterSpec
from gpunn.typing import Array, HostArray, Shape
from gpunn.workspace import Workspace

__all__ = ["MeanOverMembers", "OutputLayer", "TargetScaling"]

COMBINATIONS = ("identity", "softmax", "sigmoid")
"""What losses of members may take outputs for."""

COARSE = 0.01
"""How far apart neighbouring numbers may be, in standard deviations of the targets."""

FAR = 1e38
"""A bound that no number of float32 which makes sense is beyond."""


class OutputLayer(Layer):
    """Base of the layers after the loss."""

    after_loss = True

    def takes(self, output_activation: str) -> bool:
        """Return whether it goes with a loss that takes outputs for this.

        Parameters
        ----------
        output_activation : {"identity", "softmax", "sigmoid"}
            That of the loss (`Loss.output_activation`).

        Returns
        -------
        bool
            True by default.
        """
        return True

    def advice(self, output_activation: str) -> str:
        """Return what to do if it does not go with such a loss.

        Parameters
        ----------
        output_activation : {"identity", "softmax", "sigmoid"}
            That of the loss.

        Returns
        -------
        str
            The end of an error message.
        """
        return "leave it out"

    def inner_targets(self, targets: Array, workspace: Workspace) -> Array:
        """Return targets on the scale of this layer's input.

        Parameters
        ----------
        targets : array, shape (rows, *output shape)
            On the scale of this layer's output.
        workspace : Workspace
            That of the pass.

        Returns
        -------
        array, shape of targets
            By default the targets themselves.
        """
        return targets

    @operations_only
    def backward(
        self, x: Array, y: Array, gradient: Array, workspace: Workspace, wants_input_gradient: bool
    ) -> Array:
        raise ArgumentError(
            f"{self.name}: comes after the loss, so no gradient goes back through it"
        )


@dataclass(eq=False)
class TargetScaling(OutputLayer):
    """Outputs in the unit of the targets, as the last layer: y = mean + deviation * x.

    For regression. Predictions are kept within the range of the training targets. Mean, standard
    deviation, least and largest value of each column of the training targets are found by the first
    `Trainer.fit`, and are saved with the model. The network is trained on standardized targets:
    loss and gradients are those of x and (t - mean) / deviation. What it predicts, and what metrics
    compare, is in the targets' own unit. The logs "loss" and "val_loss" are of standardized
    targets.

    Parameters
    ----------
    clip : bool
        Whether predictions are kept within [least, largest]. Not while training.

    Raises
    ------
    ArgumentError
        If rows are not vectors, or the loss does not take plain numbers for outputs.
    DataError
        By `adapt_to_targets`, if a mean or deviation overflows or underflows the dtype.

    Warns
    -----
    GpunnWarning
        By `adapt_to_targets`, if targets are so far from 0 that float32 can't tell many of them
        apart.

    See Also
    --------
    Standardization : The same for inputs.

    Examples
    --------
    >>> import gpunn
    >>> layers = [gpunn.layers.Dense(1), gpunn.layers.TargetScaling()]
    >>> model = gpunn.Sequential(layers, 2, backend="numpy")
    >>> model.adapt([[0.0, 1.0], [1.0, 0.0]], y=[[100.0], [300.0]])
    >>> float(layers[1].values["mean"][0]), float(layers[1].values["largest"][0])
    (200.0, 300.0)
    """

    clip: bool = flag(True)

    name = "target_scaling"
    adapts_to_targets = True

    def takes(self, output_activation: str) -> bool:
        return output_activation == "identity"

    def parameters(self, input_shape: Shape) -> list[ParameterSpec]:
        shape = (only_vectors(self, input_shape),)
        bounds = {"least": Normal(0.0, -FAR), "largest": Normal(0.0, FAR)}
        starts = {"mean": Zeros(), "deviation": Ones(), **bounds}
        return [ParameterSpec(name, shape, it, trainable=False) for name, it in starts.items()]

    def adapt_to_targets(
        self, y: HostArray, indices: np.ndarray | None = None, dtype: str = "float32"
    ) -> dict[str, np.ndarray]:
        mean, std = standardization_of(y, indices, dtype, "y")
        ends = [(chunk.min(axis=0), chunk.max(axis=0)) for chunk in chunks_of(y, indices)]
        least, largest = np.min([a for a, _ in ends], axis=0), np.max([b for _, b in ends], axis=0)
        if dtype == "float32":
            warn_of_steps(mean, std, largest > least)
        return {"mean": mean, "deviation": std, "least": least, "largest": largest}

    def inner_targets(self, targets: Array, workspace: Workspace) -> Array:
        scaled = workspace.rows(self, "targets", targets.shape[0], targets.shape[1:])
        mean, std = self.values["mean"], self.values["deviation"]
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
        return y


def warn_of_steps(mean: np.ndarray, std: np.ndarray, varies: np.ndarray) -> None:
    """Warn of targets so far from 0 that float32 can't tell many of them apart."""
    steps = np.abs(mean) * np.finfo(np.float32).eps / std
    for column in np.flatnonzero(varies & (steps > COARSE))[:1]:
        warnings.warn(
            f"y: column {column} has a mean of {mean[column]:.8g} and a standard deviation of "
            f"{std[column]:.3g}, so that neighbouring numbers of float32 are {steps[column]:.2g} "
            "standard deviations apart there; subtract a constant from it, or use "
            "dtype='float64'",
            GpunnWarning,
            stacklevel=2,
        )


@dataclass(eq=False)
class MeanOverMembers(OutputLayer):
    """What members predict together, as the last layer: (members, outputs) becomes (outputs,).

    The loss of a row is the mean of the members' losses, each for the row's target, which is not
    repeated; so members learn independently of each other. What they predict together is::

        "identity"  the mean of x, for regression
        "softmax"   log of the mean of softmax(x): the logits of the mean of the probabilities
        "sigmoid"   log(p / (1 - p)), with the mean p of sigmoid(x), likewise

    Parameters
    ----------
    of : {"identity", "softmax", "sigmoid"}
        What the loss takes outputs for (`Loss.output_activation`).

    Raises
    ------
    ArgumentError
        If `of` is none of these, or rows have no axis of members.

    See Also
    --------
    Members : The layer with which members begin.

    Examples
    --------
    >>> import gpunn
    >>> model = gpunn.Sequential([gpunn.layers.MeanOverMembers()], (2, 1), backend="numpy")
    >>> model.predict([[[1.0], [3.0]]]).tolist()
    [[2.0]]
    """

    of: str = "identity"

    name = "mean_over_members"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("of", self.of, COMBINATIONS)

    def takes(self, output_activation: str) -> bool:
        return output_activation == self.of

    def advice(self, output_activation: str) -> str:
        if output_activation in COMBINATIONS:
            return f"give it of={output_activation!r}"
        return "members go with losses of numbers and of classes alone"

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 2:
            raise ArgumentError(
                "mean_over_members: expected rows of shape (members, outputs); got rows of shape "
                f"{input_shape}"
            )
        return input_shape[1:]

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        if workspace.members_apart:  # each member has rows of its own, and predicts them alone
            return view(x, (x.shape[0] * x.shape[1], x.shape[2]), workspace)
        y = workspace.rows(self, "output", x.shape[0], x.shape[2:])
        workspace.backend.mean_over_members(x, self.of, y)
        return y

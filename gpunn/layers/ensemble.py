"""Networks that were trained separately, and predict together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gpunn.configurable import check_choice
from gpunn.errors import ArgumentError
from gpunn.layers.base import operations_only
from gpunn.layers.columns import ColumnGroups
from gpunn.layers.outputs import COMBINATIONS, OutputLayer
from gpunn.layers.views import view
from gpunn.typing import Array, Shape
from gpunn.workspace import Workspace

__all__ = ["Ensemble"]


@dataclass(eq=False)
class Ensemble(OutputLayer, ColumnGroups):
    """Average the predictions of trained networks, each of which reads a range of columns.

    `gpunn.tabular.combined` makes this layer from networks. It can't be trained.

    Parameters
    ----------
    groups : sequence of mapping
        The networks, as groups of `ColumnGroups`, except that several networks may read the same
        columns. All networks have as many outputs.
    of : {"identity", "softmax", "sigmoid"}
        The output activation of the networks' loss, which decides how predictions are averaged; see
        `MeanOverMembers`.

    Raises
    ------
    ArgumentError
        If the networks' outputs have different shapes, or are not vectors.

    See Also
    --------
    MeanOverMembers : Averages members that are trained together.

    Examples
    --------
    >>> import gpunn
    >>> networks = [{"columns": [0, 1]}, {"columns": [1, 2]}]  # without layers: the columns
    >>> model = gpunn.Sequential([gpunn.layers.Ensemble(networks)], 2, backend="numpy")
    >>> model.predict([[1.0, 3.0]]).tolist()
    [[2.0]]
    """

    of: str = "identity"

    name = "ensemble"
    overlapping: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("of", self.of, COMBINATIONS)

    def takes(self, output_activation: str) -> bool:
        return False

    def advice(self, output_activation: str) -> str:
        return "train its networks separately, then combine them"

    def output_shape(self, input_shape: Shape) -> Shape:
        super().output_shape(input_shape)
        shapes = self._shapes()
        if len(set(shapes)) > 1 or len(shapes[0]) != 1:
            raise ArgumentError(
                f"ensemble: expected networks whose outputs are vectors of one size; got {shapes}"
            )
        return shapes[0]

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        outputs = super().forward(x, workspace)
        rows, size = x.shape[0], outputs.shape[1] // len(self.parts)
        members = view(outputs, (rows, len(self.parts), size), workspace)
        y = workspace.rows(self, "mean", rows, (size,))
        workspace.backend.mean_over_members(members, self.of, y)
        return y

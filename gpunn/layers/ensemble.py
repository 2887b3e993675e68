"""An ensemble: the mean prediction of networks that were trained separately."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from gpunn.configurable import check_integers, choice
from gpunn.errors import ArgumentError
from gpunn.layers.base import operations_only
from gpunn.layers.columns import ColumnGroups
from gpunn.layers.outputs import COMBINATIONS, OutputLayer
from gpunn.layers.views import view
from gpunn.typing import Array, Shape
from gpunn.workspace import Workspace


@dataclass(eq=False)
class Ensemble(OutputLayer, ColumnGroups):
    """Average the predictions of trained networks, each of which reads a range of columns.

    `gpunn.tabular.combined` makes this layer from networks. The layer can't be trained.

    Parameters
    ----------
    groups : sequence of mapping
        The networks, described like the groups of `ColumnGroups`. Networks may share columns.
    of : {"identity", "softmax", "sigmoid"}
        The output activation of the networks' loss, which decides how predictions are averaged; see
        `MeanOverMembers`.
    counts : sequence of int, optional
        Network i has the weight counts[i] / sum(counts) in the mean. By default, all counts are 1.

    Raises
    ------
    ArgumentError
        If the networks' outputs have different shapes or are not vectors, or if the number of
        counts differs from the number of networks.

    Examples
    --------
    >>> networks = [{"columns": [0, 1]}, {"columns": [1, 2]}]  # outputs are the columns
    >>> model = gpunn.Sequential([gpunn.layers.Ensemble(networks)], 2, backend="numpy")
    >>> model.predict([[1.0, 3.0]]).tolist()
    [[2.0]]
    >>> model = gpunn.Sequential(
    ...     [gpunn.layers.Ensemble(networks, counts=[3, 1])], 2, backend="numpy"
    ... )
    >>> model.predict([[1.0, 3.0]]).tolist()
    [[1.5]]
    """

    of: str = choice("identity", COMBINATIONS)
    counts: Sequence[int] | None = None

    name = "ensemble"
    overlapping: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.counts is not None:
            self.counts = check_integers("counts", self.counts)
            if len(self.counts) != len(self.parts):
                raise ArgumentError(
                    f"counts: expected one count for each of the {len(self.parts)} networks; got "
                    f"{len(self.counts)}"
                )

    def repeated(self) -> list[int]:
        """Return the indices of the networks whose outputs are averaged.

        Returns
        -------
        list of int
            Ascending indices. Index i occurs `counts[i]` times, by default once.
        """
        counts = self.counts or [1] * len(self.parts)
        return [index for index, count in enumerate(counts) for _ in range(count)]

    def supports(self, output_activation: str) -> bool:
        return False

    def advice(self, output_activation: str) -> str:
        return "train its networks separately, then combine them"

    def output_shape(self, input_shape: Shape) -> Shape:
        super().output_shape(input_shape)
        shapes = self._shapes()
        if len(set(shapes)) > 1 or len(shapes[0]) != 1:
            raise ArgumentError(
                "ensemble: expected networks whose outputs are vectors of the same size; "
                f"got {shapes}"
            )
        return shapes[0]

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        outputs = super().forward(x, workspace)
        rows, size = x.shape[0], outputs.shape[1] // len(self.parts)
        repeated = self.repeated()
        if len(repeated) > len(self.parts):
            stacked = workspace.rows(self, "stacked", rows, (len(repeated) * size,))
            for place, index in enumerate(repeated):
                workspace.backend.copy_columns(outputs, index * size, stacked, place * size, size)
            outputs = stacked
        members = view(outputs, (rows, len(repeated), size), workspace)
        y = workspace.rows(self, "mean", rows, (size,))
        workspace.backend.mean_over_members(members, self.of, y)
        return y

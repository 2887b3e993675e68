"""Sort a row's outputs after the loss, so that predicted quantiles never cross."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gpunn.layers.block import Block
from gpunn.layers.outputs import OutputLayer


@dataclass(eq=False)
class SortedOutputs(OutputLayer, Block):
    """Sort each row's outputs in ascending order, after the loss.

    Use this layer with the loss `gpunn.losses.Quantiles`, before `TargetScaling`. If quantiles
    cross, the layer exchanges them. This never increases the loss of any row (Chernozhukov et al.
    2010, "Quantile and Probability Curves Without Crossing"), and training needs no constraint.

    Raises
    ------
    ArgumentError
        If rows are not vectors, or the loss's output activation is not "identity".

    See Also
    --------
    gpunn.losses.Quantiles : The loss of several quantiles.

    Examples
    --------
    >>> import gpunn
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

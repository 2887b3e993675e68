"""Custom classes, as users write them: a layer by operations, and a loss on arrays."""

import math
from dataclasses import dataclass
from typing import Any

from gpunn.layers import Chain, Layer, operations_only
from gpunn.losses import Loss


@dataclass(eq=False)
class Residual(Layer):
    """y = x + f(x), with f a sequence of layers."""

    layers: list[Layer]

    name = "gpu_check_residual"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.body = Chain(self.layers)

    def children(self) -> dict[str, Layer]:
        return {"body": self.body}

    @operations_only
    def forward(self, x: Any, workspace: Any) -> Any:
        y = workspace.rows(self, "output", x.shape[0], x.shape[1:])
        workspace.backend.assign(self.body.forward(x, workspace), y)
        workspace.backend.accumulate(x, y)
        return y

    @operations_only
    def backward(
        self, x: Any, y: Any, gradient: Any, workspace: Any, wants_input_gradient: bool
    ) -> Any:
        kept = workspace.rows(self, "gradient", x.shape[0], x.shape[1:])
        workspace.backend.assign(gradient, kept)
        gradient = self.body.backward(x, y, gradient, workspace, wants_input_gradient)
        if wants_input_gradient:
            workspace.backend.accumulate(kept, gradient)
        return gradient


@dataclass(frozen=True)
class LogCosh(Loss):
    """l_i = mean_j log cosh(p_ij - t_ij)."""

    name = "gpu_check_log_cosh"

    def values(self, xp: Any, predictions: Any, targets: Any) -> Any:
        distance = xp.abs(predictions - targets)
        return xp.mean(distance + xp.log1p(xp.exp(-2 * distance)) - math.log(2), axis=1)

    def gradients(self, xp: Any, predictions: Any, targets: Any) -> Any:
        return xp.tanh(predictions - targets) / predictions.shape[1]

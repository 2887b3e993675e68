"""The rectifier with learned slopes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gpunn.configurable import number
from gpunn.initializers import Normal
from gpunn.layers.block import Block
from gpunn.parameters import ParameterSpec
from gpunn.typing import Shape


@dataclass(eq=False)
class PReLU(Block):
    """Rectifier with a learned slope for each feature: y = max(x, 0) + slope * min(x, 0).

    From He et al. 2015, "Delving Deep into Rectifiers". As in the paper, slopes do not decay.

    Parameters
    ----------
    initial_slope : float
        The slopes before training, 0.25 by default.

    Raises
    ------
    ArgumentError
        If the initial slope is not finite.

    See Also
    --------
    ParametricActivation : Any activation with a learned strength.

    Examples
    --------
    >>> import gpunn
    >>> model = gpunn.Sequential([gpunn.layers.PReLU()], 2, backend="numpy")
    >>> model.predict([[-2.0, 4.0]]).tolist()
    [[-0.5, 4.0]]
    """

    initial_slope: float = number(0.25)

    name = "prelu"

    def own_parameters(self, input_shape: Shape) -> list[ParameterSpec]:
        return [ParameterSpec("slope", input_shape, Normal(0.0, self.initial_slope), decay=False)]

    def forward(self, xp: Any, x: Any) -> Any:  # type: ignore[override]
        return xp.maximum(x, 0.0) + self.values["slope"] * xp.minimum(x, 0.0)

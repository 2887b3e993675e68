"""Layers for categories as integer codes: 0 for missing or unknown categories, then 1, 2, ..."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpunn.configurable import check_integers, check_number, flag, integer, resolve
from gpunn.errors import ArgumentError
from gpunn.initializers import Initializer, Normal
from gpunn.layers.base import Layer, only_vectors, operations_only
from gpunn.parameters import ParameterSpec
from gpunn.typing import Array, Shape
from gpunn.workspace import Workspace


@dataclass(eq=False)
class Coded(Layer):
    """Base of layers whose inputs are codes. Each column c has the codes 0 to sizes[c] - 1.

    Codes are integers in the network's dtype, exact up to 2^24 in float32. Codes have no
    derivative, so dL/dx = 0.
    """

    sizes: Sequence[int]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sizes = check_integers("sizes", self.sizes, at_least=2)
        if not self.sizes:
            raise ArgumentError("sizes: expected the number of codes of each column; got none")
        if max(self.sizes) > 2**24:
            raise ArgumentError(
                f"sizes: expected at most 2^24 codes per column; got {max(self.sizes)}"
            )

    def check_columns(self, input_shape: Shape) -> None:
        """Raise an ArgumentError if a row does not have one code for each entry of `sizes`.

        Parameters
        ----------
        input_shape : tuple of int
            The shape of one row.
        """
        columns = only_vectors(self, input_shape)
        if columns != len(self.sizes):
            raise ArgumentError(
                f"{self.name}: sizes has length {len(self.sizes)}; expected {columns}, one size "
                "for each column of a row"
            )

    def no_input_gradient(self, x: Array, workspace: Workspace) -> Array:
        """Return dL/dx, which is 0.

        Parameters
        ----------
        x : array, shape (rows, columns)
            The input of `forward`.
        workspace : Workspace
            The workspace of the forward pass.

        Returns
        -------
        array, shape of x
            Zeros.
        """
        input_gradient = workspace.rows(self, "input gradient", x.shape[0], x.shape[1:])
        workspace.backend.fill(input_gradient, 0.0)
        return input_gradient


@dataclass(eq=False)
class OneHot(Coded):
    """One-hot encoding: each category has an output, which is `on` if the row has the category.

    y_j = on_j if the row's code is the code of category j, otherwise off_j. For a missing or
    unknown category, all outputs are `off`. With `binary_as_sign`, a column with two categories has
    only one output, as in RealMLP (Holzmüller et al. 2024): `on` for the first category, and
    `second` for the second category.

    Parameters
    ----------
    sizes : sequence of int
        Number of codes in each column, including 0; from 2 to 2^24.
    binary_as_sign : bool
        Whether a column with two categories has one output instead of two.
    off, on, second : float or sequence of float
        Values of the outputs: one number, or a number for each output.

    Examples
    --------
    A column with two categories, and one with three:

    >>> model = gpunn.Sequential([gpunn.layers.OneHot([3, 4])], 2, backend="numpy")
    >>> model.predict([[2.0, 1.0], [0.0, 3.0]]).tolist()
    [[-1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    """

    binary_as_sign: bool = flag(True)
    off: float | Sequence[float] = 0.0
    on: float | Sequence[float] = 1.0
    second: float | Sequence[float] = -1.0

    name = "one_hot"

    def __post_init__(self) -> None:
        super().__post_init__()
        for level in ("off", "on", "second"):
            self._keep(level, self._checked_level(level))

    def _checked_level(self, level: str) -> Any:
        values, outputs = getattr(self, level), self.outputs
        if not isinstance(values, Sequence | np.ndarray) or isinstance(values, str):
            return check_number(level, values)
        if len(values) != outputs:
            raise ArgumentError(
                f"{level}: expected {outputs} numbers, one for each output; got {len(values)}"
            )
        return tuple(check_number(f"{level}[{j}]", value) for j, value in enumerate(values))

    @property
    def outputs(self) -> int:
        """Number of outputs for all columns together."""
        return sum(1 if self.binary_as_sign and size == 3 else size - 1 for size in self.sizes)

    def output_shape(self, input_shape: Shape) -> Shape:
        self.check_columns(input_shape)
        return (self.outputs,)

    def parameters(self, input_shape: Shape) -> list[ParameterSpec]:
        self.check_columns(input_shape)
        levels = Levels(self.off, self.on, self.second)
        return [ParameterSpec("levels", (3, self.outputs), levels, trainable=False)]

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        y = workspace.rows(self, "output", x.shape[0], (self.outputs,))
        levels = self.values["levels"]
        workspace.backend.one_hot(x, tuple(self.sizes), self.binary_as_sign, levels, y)
        return y

    @operations_only
    def backward(
        self, x: Array, y: Array, gradient: Array, workspace: Workspace, wants_input_gradient: bool
    ) -> Array:
        return self.no_input_gradient(x, workspace) if wants_input_gradient else gradient


@dataclass(frozen=True)
class Levels(Initializer):
    off: float | Sequence[float]
    on: float | Sequence[float]
    second: float | Sequence[float]

    def sample(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        levels = (self.off, self.on, self.second)
        return np.array([np.broadcast_to(values, shape[1:]) for values in levels])


@dataclass(eq=False)
class Embedding(Coded):
    """Learned vectors for categories: y = [T_1[c_1] | T_2[c_2] | ...].

    Each column of codes has a table T with a row of `dimension` numbers for each code, including 0
    (Guo & Berkhahn 2016, "Entity Embeddings of Categorical Variables"). The output y concatenates
    the tables' rows for the codes in x. All tables, stacked vertically, are one parameter. A code
    that is out of range is treated as 0. The chain rule is::

        dL/dT_k[c] = sum of dL/dy_k over the rows of code c, with y_k = T_k[c_k]

    On every backend, repeated runs are bitwise identical.

    Parameters
    ----------
    sizes : sequence of int
        Number of codes in each column, including 0; from 2 to 2^24.
    dimension : int
        Length of each column's vector.
    initializer : str, Initializer or mapping
        The distribution of the tables' initial values; "auto" is N(0, 1).

    Examples
    --------
    Two columns, with 4 and 3 codes, become 2 numbers each:

    >>> model = gpunn.Sequential([gpunn.layers.Embedding([4, 3], dimension=2)], 2, backend="numpy")
    >>> model.layers[0].values["table"].shape
    (7, 2)
    >>> model.predict([[1.0, 2.0], [0.0, 2.0]]).shape
    (2, 4)
    """

    dimension: int = integer(8)
    initializer: str | Initializer = "auto"

    name = "embedding"

    def __post_init__(self) -> None:
        super().__post_init__()
        initializer = Normal(1.0) if self.initializer == "auto" else self.initializer
        self.initializer = resolve(Initializer, initializer, "initializer")

    def output_shape(self, input_shape: Shape) -> Shape:
        self.check_columns(input_shape)
        return (len(self.sizes) * self.dimension,)

    def parameters(self, input_shape: Shape) -> list[ParameterSpec]:
        self.check_columns(input_shape)
        shape = (sum(self.sizes), self.dimension)
        return [ParameterSpec("table", shape, self.initializer)]  # type: ignore[arg-type]

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        y = workspace.rows(self, "output", x.shape[0], (len(self.sizes) * self.dimension,))
        workspace.backend.embed(x, tuple(self.sizes), self.values["table"], y)
        return y

    @operations_only
    def backward(
        self, x: Array, y: Array, gradient: Array, workspace: Workspace, wants_input_gradient: bool
    ) -> Array:
        table_gradient = self.gradients.get("table")
        if table_gradient is not None:
            workspace.backend.embed_gradient(x, tuple(self.sizes), gradient, table_gradient)
        return self.no_input_gradient(x, workspace) if wants_input_gradient else gradient

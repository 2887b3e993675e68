"""Embeddings of numbers by piecewise linear functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from gpunn import activations
from gpunn.configurable import check_number, choice, integer, resolve
from gpunn.errors import ArgumentError, ArgumentTypeError
from gpunn.initializers import Initializer, Uniform, Zeros
from gpunn.layers.base import Layer, only_vectors, operations_only
from gpunn.layers.views import reshaped, view
from gpunn.parameters import ParameterSpec
from gpunn.typing import Array, Shape
from gpunn.workspace import Workspace

VERSIONS = ("A", "B")

UNLIMITED = float(np.finfo(np.float32).max)
"""Represents infinity, because model files can contain only finite numbers."""


@dataclass(eq=False)
class PiecewiseLinearEmbedding(Layer):
    """Piecewise linear embedding: each number x becomes a linear function of its position in bins.

    The edges e_0 < e_1 < ... < e_T of a column divide its numbers into T bins. The encoding of x
    has one component per bin (Gorishniy et al. 2022, "On Embeddings for Numerical Features in
    Tabular Deep Learning")::

        p_t(x) = (x - e_{t-1}) / (e_t - e_{t-1}), limited to [0, 1],

    but the first component has no lower limit, and the last component has no upper limit. So
    components of bins below x are 1, and components of bins above x are 0. Each column c has
    separate weights and biases. The embedding of a column is::

        A:  y_c = f(V_c^T p(x_c) + b_c)
        B:  y_c = w_c x_c + b_c + f(V_c^T p(x_c)), where V starts at 0

    "B" is from TabM (Gorishniy et al. 2025).

    Parameters
    ----------
    edges : sequence of sequence of float
        At least two ascending edges for each column. Use quantiles of the training rows, or use the
        minimum, the thresholds of a decision tree, and the maximum.
    size : int
        Number of outputs for each column.
    version : {"A", "B"}
        The formula.
    activation : str, Activation or mapping
        The function f.

    See Also
    --------
    gpunn.tabular.quantile_edges : Edges at quantiles of the training rows.
    gpunn.tabular.tree_edges : Edges at the thresholds of a decision tree.

    Examples
    --------
    >>> layer = gpunn.layers.PiecewiseLinearEmbedding([[0, 1, 2], [-1, 1]], size=4)
    >>> layer.output_shape((2,))
    (8,)
    """

    edges: Sequence[Sequence[float]]
    size: int = integer(16)
    version: str = choice("B", VERSIONS)
    activation: str | activations.Activation = "identity"

    name = "piecewise_linear_embedding"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.f = self.activation = resolve(activations.Activation, self.activation, "activation")
        self.edges = checked_edges(self.edges)

    @property
    def bins(self) -> int:
        """The number of bins in the column with the most bins."""
        return max(len(edges) - 1 for edges in self.edges)

    def output_shape(self, input_shape: Shape) -> Shape:
        self._check_columns(input_shape)
        return (len(self.edges) * self.size,)

    def _check_columns(self, input_shape: Shape) -> None:
        columns = only_vectors(self, input_shape)
        if columns != len(self.edges):
            raise ArgumentError(
                f"{self.name}: edges has length {len(self.edges)}; expected {columns}, one list "
                "for each column of a row"
            )

    def parameters(self, input_shape: Shape) -> list[ParameterSpec]:
        self._check_columns(input_shape)
        columns, bins, size = len(self.edges), self.bins, self.size
        lines = [
            ParameterSpec(name, (columns, bins), Line(name, self.edges), trainable=False)
            for name in ("starts", "slopes", "lowest", "highest")
        ]
        shape, biases = (columns, bins, size), (columns, size)
        if self.version == "A":
            near_zero = Uniform(1 / math.sqrt(bins))
            V = ParameterSpec("weights", shape, near_zero)
            return [V, ParameterSpec("biases", biases, near_zero, decay=False), *lines]
        near_zero = Uniform(1 / math.sqrt(size))
        w = ParameterSpec("linear_weights", biases, near_zero)
        b = ParameterSpec("biases", biases, near_zero, decay=False)
        return [w, b, ParameterSpec("weights", shape, Zeros()), *lines]

    @property
    def _lines(self) -> tuple[Array, Array, Array, Array]:
        values = self.values
        return values["starts"], values["slopes"], values["lowest"], values["highest"]

    def _buffers(self, rows: int, workspace: Workspace) -> tuple[Array, Array, Array]:
        columns = len(self.edges)
        p = workspace.rows(self, "encoding", rows, (columns, self.bins))
        z = workspace.rows(self, "preactivation", rows, (columns, self.size))
        if self.f.from_output:
            return p, z, z
        return p, z, workspace.rows(self, "activated", rows, (columns, self.size))

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        ops, (rows, columns), values = workspace.backend, x.shape, self.values
        p, z, a = self._buffers(rows, workspace)
        ops.piecewise_linear(x, *self._lines, p)
        bias = values["biases"] if self.version == "A" else None
        ops.group_dense(p, values["weights"], bias, self.f, z, a)
        if self.version == "A":
            return view(a, (rows, columns * self.size), workspace)
        y = workspace.rows(self, "output", rows, (columns, self.size))
        w = values["linear_weights"][:, None, :]
        ops.group_dense(x[:, :, None], w, values["biases"], activations.Identity(), y, y)
        ops.accumulate(a, y)
        return view(y, (rows, columns * self.size), workspace)

    @operations_only
    def backward(
        self, x: Array, y: Array, gradient: Array, workspace: Workspace, wants_input_gradient: bool
    ) -> Array:
        ops, (rows, columns), values = workspace.backend, x.shape, self.values
        gradients = self.gradients
        p, z, a = self._buffers(rows, workspace)
        shape = (rows, columns, self.size)
        dy = reshaped(self, gradient, shape, workspace, "gradient")
        dx = workspace.rows(self, "input gradient", rows, (columns,))
        through_p = workspace.rows(self, "input gradient through p", rows, (columns,))
        dp = workspace.rows(self, "gradient of encoding", rows, (columns, self.bins))
        if self.version == "B":
            w, dw = values["linear_weights"][:, None, :], gradients.get("linear_weights")
            dw = None if dw is None else dw[:, None, :]
            out = view(y, shape, workspace)
            identity, db = activations.Identity(), gradients.get("biases")
            wanted = dx[:, :, None] if wants_input_gradient else None
            ops.group_dense_gradient(x[:, :, None], w, identity, out, out, dy, dw, db, wanted)
        w, dw = values["weights"], gradients.get("weights")
        db = gradients.get("biases") if self.version == "A" else None
        wanted = dp if wants_input_gradient else None
        ops.group_dense_gradient(p, w, self.f, z, a, dy, dw, db, wanted)
        if not wants_input_gradient:
            return dx
        ops.piecewise_linear_gradient(x, *self._lines, dp, through_p)
        if self.version == "A":
            return through_p
        ops.accumulate(through_p, dx)
        return dx


def checked_edges(edges: object) -> tuple[tuple[float, ...], ...]:
    if isinstance(edges, str) or not isinstance(edges, Sequence) or not edges:
        raise ArgumentTypeError(
            f"edges: expected a list of lists of numbers, one list per column; got {edges!r}"
        )
    result = []
    for column, each in enumerate(edges):
        if isinstance(each, str) or not isinstance(each, Sequence | np.ndarray):
            raise ArgumentTypeError(f"edges[{column}]: expected a list of numbers; got {each!r}")
        numbers = tuple(check_number(f"edges[{column}][{t}]", edge) for t, edge in enumerate(each))
        if len(numbers) < 2:
            raise ArgumentError(
                f"edges[{column}]: expected at least two edges, which make a bin; got {numbers}"
            )
        for t, (lower, upper) in enumerate(pairwise(numbers), start=1):
            if not lower < upper:
                raise ArgumentError(
                    f"edges[{column}][{t}]: edges must ascend; got {upper} after {lower}"
                )
        result.append(numbers)
    return tuple(result)


@dataclass(frozen=True)
class Line(Initializer):
    """Initial values of the buffer `kind`: "slopes", "starts", "lowest" or "highest".

    A bin of a column is encoded as slope * (x - start), clipped to [lowest, highest]. Bins that a
    column lacks are encoded as 0.
    """

    kind: str
    edges: Sequence[Sequence[float]]

    def sample(self, generator: np.random.Generator, shape: Shape) -> np.ndarray:
        result = np.zeros(shape)
        for row, column_edges in zip(result, self.edges, strict=True):
            edges = np.array(column_edges)
            bins = len(edges) - 1
            if self.kind == "starts":
                row[:bins] = edges[:-1]
            elif self.kind == "slopes":
                row[:bins] = 1 / np.diff(edges)
            elif self.kind == "lowest":
                row[0] = -UNLIMITED
            else:
                row[: bins - 1], row[bins - 1] = 1.0, UNLIMITED
        return result

"""An embedding of numbers: linear functions of waves with learned frequencies."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gpunn import activations
from gpunn.configurable import choice, flag, integer, number
from gpunn.errors import ArgumentError
from gpunn.initializers import Normal, TruncatedNormal, Uniform
from gpunn.layers.base import Layer, only_vectors, operations_only
from gpunn.layers.views import reshaped, view
from gpunn.parameters import ParameterSpec
from gpunn.typing import Array, Shape
from gpunn.workspace import Workspace

KINDS = ("pbld", "pl", "plr")


@dataclass(eq=False)
class PeriodicEmbedding(Layer):
    """Periodic embedding: each number x of a row becomes a linear function of waves of x.

    Each column c has frequencies w_c, weights V_c and biases b_c::

        pl:    y_c = V_c^T [cos(2 pi w_c x_c), sin(2 pi w_c x_c)] + b_c
        plr:   y_c = max(V_c^T [cos(2 pi w_c x_c), sin(2 pi w_c x_c)] + b_c, 0)
        pbld:  y_c = [V_c^T cos(2 pi w_c x_c + p_c) + b_c, x_c]

    "pl" and "plr" are from Gorishniy et al. 2022, "On Embeddings for Numerical Features in Tabular
    Deep Learning". "pbld", which adds phases p_c and the number itself, is from RealMLP (Holzmüller
    et al. 2024). The gradients of V_c and b_c are as in `Dense`. For a wave v = cos(a)::

        dL/da = -sin(a) dL/dv
        dL/dw_c = 2 pi sum over rows of x_c dL/da
        dL/dx_c = 2 pi w_c . dL/da

    Parameters
    ----------
    frequencies : int
        Number of frequencies of each column.
    size : int
        Number of outputs for each column, including the number itself with "pbld".
    sigma : float
        Standard deviation of the initial frequencies. If the frequencies are too high for the data,
        the network learns noise. With "pl" and "plr", frequencies beyond 3 sigma are drawn again.
    kind : {"pbld", "pl", "plr"}
        The formula.
    lite : bool
        Whether all columns share the weights and biases, as in TabR (Gorishniy et al. 2023). Only
        the kind "plr" supports shared weights.

    Examples
    --------
    >>> layer = gpunn.layers.PeriodicEmbedding(frequencies=8, size=3)
    >>> layer.output_shape((2,))
    (8,)
    """

    frequencies: int = integer(16)
    size: int = integer(3)
    sigma: float = number(0.1, above=0)
    kind: str = choice("pbld", KINDS)
    lite: bool = flag(False)

    name = "periodic_embedding"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lite and self.kind != "plr":
            raise ArgumentError(f"lite: needs kind='plr'; got kind={self.kind!r}")

    @property
    def _shifted(self) -> bool:
        return self.kind == "pbld"

    @property
    def _waves(self) -> int:
        return self.frequencies if self._shifted else 2 * self.frequencies

    @property
    def _activation(self) -> activations.Activation:
        return activations.ReLU() if self.kind == "plr" else activations.Identity()

    def output_shape(self, input_shape: Shape) -> Shape:
        return (only_vectors(self, input_shape) * (self.size + self._shifted),)

    def parameters(self, input_shape: Shape) -> list[ParameterSpec]:
        columns = only_vectors(self, input_shape)
        normal = Normal(self.sigma) if self._shifted else TruncatedNormal(self.sigma)
        shape, tables = (columns, self.frequencies), () if self.lite else (columns,)
        near_zero = Uniform(1 / math.sqrt(self._waves))
        w = ParameterSpec("frequencies", shape, normal)
        p = ParameterSpec("phases", shape, Uniform(math.pi), decay=False)
        V = ParameterSpec("weights", (*tables, self._waves, self.size), near_zero)
        b = ParameterSpec("biases", (*tables, self.size), near_zero, decay=False)
        return [w, p, V, b] if self._shifted else [w, V, b]

    def _linear(self, rows: int, columns: int, workspace: Workspace) -> Array:
        return workspace.rows(self, "linear", rows, (columns, self.size))

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        ops, (rows, columns) = workspace.backend, x.shape
        values, f = self.values, self._activation
        v = workspace.rows(self, "waves", rows, (columns, self._waves))
        ops.periodic(x, values["frequencies"], values.get("phases"), v)
        z = self._linear(rows, columns, workspace)
        if self.lite:
            v = view(v, (rows * columns, self._waves), workspace)
            flat = view(z, (rows * columns, self.size), workspace)
            ops.dense(v, values["weights"], values["biases"], f, flat, flat)
        else:
            ops.group_dense(v, values["weights"], values["biases"], f, z, z)
        if not self._shifted:
            return view(z, (rows, columns * self.size), workspace)
        y = workspace.rows(self, "output", rows, (columns * (self.size + 1),))
        flat_y = view(y, (rows * columns, self.size + 1), workspace)
        ops.copy_columns(view(z, (rows * columns, self.size), workspace), 0, flat_y, 0, self.size)
        numbers = reshaped(self, x, (rows * columns, 1), workspace)
        ops.copy_columns(numbers, 0, flat_y, self.size, 1)
        return y

    @operations_only
    def backward(
        self, x: Array, y: Array, gradient: Array, workspace: Workspace, wants_input_gradient: bool
    ) -> Array:
        ops, (rows, columns) = workspace.backend, x.shape
        values, gradients, f = self.values, self.gradients, self._activation
        w, dw, db = values["weights"], gradients.get("weights"), gradients.get("biases")
        v = workspace.rows(self, "waves", rows, (columns, self._waves))
        dv = workspace.rows(self, "gradient of waves", rows, (columns, self._waves))
        z = self._linear(rows, columns, workspace)
        flat_shape = (rows * columns, self.size + self._shifted)
        flat = reshaped(self, gradient, flat_shape, workspace, "gradient")
        if self._shifted:
            dz = workspace.rows(self, "gradient of linear", rows, (columns, self.size))
            flat_dz = view(dz, (rows * columns, self.size), workspace)
            ops.copy_columns(flat, 0, flat_dz, 0, self.size)
        else:
            dz = view(flat, (rows, columns, self.size), workspace)
        if self.lite:
            waves_shape = (rows * columns, self._waves)
            z, dz = (view(each, flat_shape, workspace) for each in (z, dz))
            flat_v, flat_dv = (view(each, waves_shape, workspace) for each in (v, dv))
            ops.dense_gradient(flat_v, w, f, z, z, dz, dw, db, flat_dv)
        else:
            ops.group_dense_gradient(v, w, f, z, z, dz, dw, db, dv)
        dx = workspace.rows(self, "input gradient", rows, (columns,))
        ops.periodic_gradient(
            x,
            values["frequencies"],
            values.get("phases"),
            dv,
            gradients["frequencies"],
            gradients["phases"] if self._shifted else None,
            dx if wants_input_gradient else None,
        )
        if wants_input_gradient and self._shifted:
            direct = workspace.rows(self, "gradient of the number itself", rows, (columns,))
            flat_direct = view(direct, (rows * columns, 1), workspace)
            ops.copy_columns(flat, self.size, flat_direct, 0, 1)
            ops.accumulate(direct, dx)
        return dx

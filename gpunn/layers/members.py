"""Members of an ensemble: networks that are trained together and share most parameters.

One row of the members' outputs has the shape (members, features).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gpunn import activations
from gpunn.configurable import check_integers, choice, resolve
from gpunn.errors import ArgumentError
from gpunn.initializers import FromData, Initializer, Normal, Ones, Repeated, Signs, Uniform
from gpunn.layers.base import Layer, operations_only
from gpunn.layers.views import reshaped, view
from gpunn.parameters import ParameterSpec
from gpunn.typing import Array, Shape
from gpunn.workspace import Workspace

STARTS: dict[str, Initializer] = {
    "signs": Signs(),
    "normal": Normal(1.0),
    "ones": Ones(),
    "fixed": Ones(),
}


@dataclass(eq=False)
class Members(Layer):
    """Repeat each row for each member, multiplied by the member's factors: y_m = r_m * x.

    In TabM (Gorishniy et al. 2025), members initially differ only in the factors r_m. The chain
    rule is::

        dL/dr_m = sum over rows of dL/dy_m * x
        dL/dx = sum over members of r_m * dL/dy_m

    Rows may also have the shape (members, features), with separate inputs for each member. In
    training with `shuffle_members`, the layers before `Members` get separate rows for each member.

    Parameters
    ----------
    count : int
        Number of members.
    start : {"signs", "normal", "ones", "fixed"}
        Initial factors: -1 or 1 ("signs"), N(0, 1) ("normal"), or 1 ("ones"). With "fixed", factors
        are always 1.
    chunks : sequence of int
        Lengths of consecutive chunks of features, whose sum is the number of features. All features
        of a chunk, such as the numbers of one embedding, have the same initial factor. By default,
        each feature is a separate chunk.

    Examples
    --------
    >>> members = gpunn.layers.Members(2, start="ones")
    >>> model = gpunn.Sequential([members], 3, backend="numpy")
    >>> model.predict([[1.0, 2.0, 3.0]]).tolist()
    [[[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]]
    """

    count: int
    start: str = choice("signs", tuple(STARTS))
    chunks: Sequence[int] = field(default_factory=list)

    name = "members"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_integer("count")
        self.chunks = check_integers("chunks", self.chunks)

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) not in (1, 2) or input_shape[:-1] not in ((), (self.count,)):
            raise ArgumentError(
                f"members: expected rows of shape (features,) or ({self.count}, features); got "
                f"rows of shape {input_shape}"
            )
        features = input_shape[-1]
        if self.chunks and sum(self.chunks) != features:
            raise ArgumentError(
                f"chunks: the sum must be {features}, the number of features; got "
                f"{sum(self.chunks)}"
            )
        return (self.count, features)

    def parameters(self, input_shape: Shape) -> list[ParameterSpec]:
        initializer = STARTS[self.start]
        if self.chunks and self.start in ("signs", "normal"):
            initializer = Repeated(initializer, self.chunks)
        shape, trained = self.output_shape(input_shape), self.start != "fixed"
        return [ParameterSpec("factors", shape, initializer, trainable=trained)]

    def _per_member(self, x: Array, workspace: Workspace) -> Array:
        if not workspace.independent_members or x.ndim == 3:
            return x
        return reshaped(self, x, (x.shape[0] // self.count, self.count, x.shape[1]), workspace)

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        x = self._per_member(x, workspace)
        y = workspace.rows(self, "output", x.shape[0], (self.count, x.shape[-1]))
        workspace.backend.scale(x if x.ndim == 3 else x[:, None, :], self.values["factors"], y)
        return y

    @operations_only
    def backward(
        self, x: Array, y: Array, gradient: Array, workspace: Workspace, wants_input_gradient: bool
    ) -> Array:
        factors, shape = self.values["factors"], x.shape
        x = self._per_member(x, workspace)
        trained = self.gradients.get("factors")
        if trained is None:
            # The operation needs a buffer even for the gradient of fixed or frozen factors.
            trained = workspace.fixed(self, "gradient of fixed factors", factors.shape)
        dx = workspace.rows(self, "input gradient", x.shape[0], x.shape[1:])
        per_member = x.ndim == 3
        workspace.backend.scale_gradient(
            x if per_member else x[:, None, :],
            factors,
            gradient,
            trained,
            (dx if per_member else dx[:, None, :]) if wants_input_gradient else None,
        )
        return dx if dx.shape == shape else view(dx, shape, workspace)


@dataclass(eq=False)
class MemberDense(Layer):
    """Fully connected layer of members, for rows of shape (members, inputs).

    The layer has three forms. Members share W and b; r_m, s_m, W_m and b_m belong to member m::

        adapters:  y_m = f(s_m * ((r_m * x_m) W) + b_m)
        neither:   y_m = f(x_m W + b)
        separate:  y_m = f(x_m W_m + b_m)

    The form "adapters" is BatchEnsemble (Wen et al. 2020) as used in TabM (Gorishniy et al. 2025):
    r and s start as ones, and all b_m start equal. For the chain rules of products and factors, see
    `Dense` and `Members`.

    Parameters
    ----------
    units : int
        Number of outputs of each member.
    activation : str, Activation or mapping
        The function f.
    adapters : bool
        Whether each member has a separate r, s and b.
    separate : bool
        Whether each member has a separate W and b, and no adapters.
    input_adapter : bool
        Whether the form "adapters" has the factors r for the inputs. Set `input_adapter` to False
        in the first layer after `Members`, because `Members` already multiplies by factors.
    initializer, bias_initializer : str, Initializer or mapping
        Initial values of W and b. "auto" is U(-1/sqrt(inputs), 1/sqrt(inputs)), as in PyTorch's
        `nn.Linear`.

    See Also
    --------
    gpunn.tabular.tabm : Builds complete networks with members.

    Examples
    --------
    >>> layers = [gpunn.layers.Members(4), gpunn.layers.MemberDense(8, "relu")]
    >>> model = gpunn.Sequential(layers, 3, backend="numpy")
    >>> model.predict([[1.0, 2.0, 3.0]]).shape
    (1, 4, 8)
    >>> {name: values.shape for name, values in layers[1].values.items()}
    {'weights': (3, 8), 'input_adapter': (4, 3), 'output_adapter': (4, 8), 'biases': (4, 8)}
    """

    units: int
    activation: str | activations.Activation = "identity"
    adapters: bool = True
    separate: bool = False
    input_adapter: bool = True
    initializer: str | Initializer = "auto"
    bias_initializer: str | Initializer = "auto"

    name = "member_dense"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_integer("units")
        for flag in ("adapters", "separate", "input_adapter"):
            self.require_flag(flag)
        self.f = self.activation = resolve(activations.Activation, self.activation, "activation")
        for each in ("initializer", "bias_initializer"):
            if getattr(self, each) != "auto":
                self._keep(each, resolve(Initializer, getattr(self, each), each))

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 2:
            raise ArgumentError(
                "member_dense: expected rows of shape (members, features); got rows of shape "
                f"{input_shape}. Insert gpunn.layers.Members(...) before this layer"
            )
        return (input_shape[0], self.units)

    def parameters(self, input_shape: Shape) -> list[ParameterSpec]:
        self.output_shape(input_shape)
        members, inputs = input_shape
        units, near_zero = self.units, Uniform(1 / math.sqrt(inputs))
        weights = near_zero if self.initializer == "auto" else self.initializer
        biases = near_zero if self.bias_initializer == "auto" else self.bias_initializer
        axis = (members,) if self.separate else ()
        W = ParameterSpec("weights", (*axis, inputs, units), weights)  # type: ignore[arg-type]
        if self.separate or not self.adapters:
            return [W, ParameterSpec("biases", (*axis, units), biases, decay=False)]  # type: ignore[arg-type]
        r = ParameterSpec("input_adapter", (members, inputs), Ones())
        s = ParameterSpec("output_adapter", (members, units), Ones())
        # Initial biases that depend on data differ between members, because x W differs.
        member_biases = biases if isinstance(biases, FromData) else Repeated(biases)
        b = ParameterSpec("biases", (members, units), member_biases, decay=False)
        return [W, *([r] if self.input_adapter else []), s, b]

    def linear(self, x: np.ndarray, values: Mapping[str, np.ndarray]) -> np.ndarray:
        W, r, s = values["weights"], values.get("input_adapter"), values.get("output_adapter")
        product = np.einsum("nmi,miu->nmu" if self.separate else "nmi,iu->nmu", _times(x, r), W)
        return _times(product, s)

    def _buffers(self, x: Array, workspace: Workspace) -> tuple[Array, Array]:
        rows, shape = x.shape[0], (x.shape[1], self.units)
        z = workspace.rows(self, "preactivation", rows, shape)
        return z, z if self.f.from_output else workspace.rows(self, "output", rows, shape)

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        ops, values = workspace.backend, self.values
        rows, members, inputs = x.shape
        z, a = self._buffers(x, workspace)
        W, b = values["weights"], values["biases"]
        if self.separate:
            ops.group_dense(x, W, b, self.f, z, a)
            return a
        every = rows * members
        flat_z = view(z, (every, self.units), workspace)
        if not self.adapters:
            flat_a = flat_z if a is z else view(a, (every, self.units), workspace)
            flat_x = reshaped(self, x, (every, inputs), workspace)
            ops.dense(flat_x, W, b, self.f, flat_z, flat_a)
            return a
        u = x
        if self.input_adapter:
            u = workspace.rows(self, "adapted", rows, (members, inputs))
            ops.scale(x, values["input_adapter"], u)
        product = workspace.rows(self, "product", rows, (members, self.units))
        flat_u = reshaped(self, u, (every, inputs), workspace)
        ops.matmul(flat_u, W, view(product, (every, self.units), workspace))
        ops.scale(product, values["output_adapter"], z)
        ops.activate(self.f, z, b, a)
        return a

    @operations_only
    def backward(
        self, x: Array, y: Array, gradient: Array, workspace: Workspace, wants_input_gradient: bool
    ) -> Array:
        ops, values, gradients = workspace.backend, self.values, self.gradients
        rows, members, inputs = x.shape
        z, a = self._buffers(x, workspace)
        W, dW, db = values["weights"], gradients.get("weights"), gradients.get("biases")
        dx = workspace.rows(self, "input gradient", rows, (members, inputs))
        if self.separate:
            wanted = dx if wants_input_gradient else None
            ops.group_dense_gradient(x, W, self.f, z, a, gradient, dW, db, wanted)
            return dx
        every = rows * members
        flat_dx = view(dx, (every, inputs), workspace)
        flat_gradient = reshaped(self, gradient, (every, self.units), workspace, "gradient")
        if not self.adapters:
            flat_x = reshaped(self, x, (every, inputs), workspace)
            flat_z, flat_a = (view(each, (every, self.units), workspace) for each in (z, a))
            if a is z:
                flat_a = flat_z
            wanted = flat_dx if wants_input_gradient else None
            ops.dense_gradient(flat_x, W, self.f, flat_z, flat_a, flat_gradient, dW, db, wanted)
            return dx
        dz = view(flat_gradient, (rows, members, self.units), workspace)
        product = workspace.rows(self, "product", rows, (members, self.units))
        s = values["output_adapter"]
        ops.activation_gradient(self.f, z, a, dz, db)
        ops.scale_gradient(product, s, dz, self._gradient("output_adapter", workspace), dz)
        u = workspace.rows(self, "adapted", rows, (members, inputs)) if self.input_adapter else x
        flat_u = reshaped(self, u, (every, inputs), workspace)
        if dW is not None:
            ops.matmul(flat_u, flat_gradient, dW, transpose_a=True)
        if self.input_adapter or wants_input_gradient:
            ops.matmul(flat_gradient, W, flat_dx, transpose_b=True)
        if self.input_adapter:
            r, dr = values["input_adapter"], self._gradient("input_adapter", workspace)
            ops.scale_gradient(x, r, dx, dr, dx if wants_input_gradient else None)
        return dx

    def _gradient(self, adapter: str, workspace: Workspace) -> Array:
        # The operation needs a buffer even for the gradient of a frozen adapter.
        found = self.gradients.get(adapter)
        shape = self.values[adapter].shape
        return workspace.fixed(self, f"gradient of {adapter}", shape) if found is None else found


def _times(x: np.ndarray, factors: np.ndarray | None) -> np.ndarray:
    return x if factors is None else x * factors

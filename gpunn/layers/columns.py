"""Groups of columns with separate layers, for tables with several kinds of columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

from gpunn.configurable import check_integer
from gpunn.errors import ArgumentError, ArgumentTypeError
from gpunn.layers.base import Layer, only_vectors, operations_only
from gpunn.layers.chain import Chain
from gpunn.layers.views import reshaped, view
from gpunn.parameters import ParameterSpec
from gpunn.typing import Array, Shape
from gpunn.workspace import Workspace

KEYS = ("columns", "layers", "label", "trainable")


@dataclass(frozen=True)
class Group:
    start: int
    stop: int
    label: str
    chain: Chain | None

    @property
    def width(self) -> int:
        return self.stop - self.start

    def output_shape(self) -> Shape:
        return (self.width,) if self.chain is None else self.chain.output_shape((self.width,))

    def config(self) -> dict[str, Any]:
        described: dict[str, Any] = {"columns": [self.start, self.stop], "label": self.label}
        if self.chain is not None:
            described["layers"] = self.chain.config()["layers"]
            if not self.chain.trainable:
                described["trainable"] = False
        return described


@dataclass(eq=False)
class ColumnGroups(Layer):
    """Separate layers for ranges of columns: y = [f_1(x[:, c_1]) | f_2(x[:, c_2]) | ...].

    y concatenates the outputs of all groups, each flattened to a vector, in order. Columns in no
    group are not used.

    Parameters
    ----------
    groups : sequence of mapping
        Each mapping describes a group and has the keys:

        - "columns": a pair [start, stop]; column `stop` is excluded, as in slices.
        - "layers": the layers of f. Without "layers", y contains the columns unchanged.
        - "label": the prefix of the parameters' names, "group_1" by default.
        - "trainable": false to freeze the group's layers.

    Raises
    ------
    ArgumentError
        If there is no group, if a group has no columns, or if two groups share a column.

    Examples
    --------
    The layer keeps three numbers unchanged, and turns two columns of codes into vectors:

    >>> groups = gpunn.layers.ColumnGroups(
    ...     [
    ...         {"columns": [0, 3]},
    ...         {"columns": [3, 5], "layers": [gpunn.layers.Embedding([4, 10], dimension=2)]},
    ...     ]
    ... )
    >>> gpunn.Sequential([groups, gpunn.layers.Dense(1)], 5, backend="numpy")
    <Sequential (5,) -> (7,) -> (1,) on numpy>
    """

    groups: Sequence[Mapping[str, Any] | Group]

    name = "column_groups"
    overlapping: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.groups, Sequence) or isinstance(self.groups, str) or not self.groups:
            raise ArgumentError(
                f"groups: expected a list of at least one group; got {self.groups!r}"
            )
        self.groups = tuple(make_group(group, index) for index, group in enumerate(self.groups))
        labels = [group.label for group in self.parts]
        if len(set(labels)) < len(labels):
            raise ArgumentError(f"groups: two groups have the same label; got {labels}")
        for first, second in pairwise(sorted(self.parts, key=lambda group: group.start)):
            if second.start < first.stop and not self.overlapping:
                raise ArgumentError(
                    f"groups: column {second.start} is in two groups, {first.label!r} and "
                    f"{second.label!r}"
                )

    @property
    def parts(self) -> tuple[Group, ...]:
        """The groups, each with its columns and its chain of layers."""
        return self.groups  # type: ignore[return-value]

    def config(self) -> dict[str, Any]:
        return {**super().config(), "groups": [group.config() for group in self.parts]}

    def children(self) -> dict[str, Layer]:
        return {group.label: group.chain for group in self.parts if group.chain is not None}

    def output_shape(self, input_shape: Shape) -> Shape:
        features = only_vectors(self, input_shape)
        for group in self.parts:
            if group.stop > features:
                raise ArgumentError(
                    f"column_groups: group {group.label!r} has columns {group.start} to "
                    f"{group.stop - 1}, but a row has only columns 0 to {features - 1}"
                )
        return (sum(math.prod(shape) for shape in self._shapes()),)

    def _shapes(self) -> list[Shape]:
        shapes = []
        for group in self.parts:
            with ArgumentError.instead_of(ArgumentError, prefix=f"group {group.label!r}: "):
                shapes.append(group.output_shape())
        return shapes

    def parameters(self, input_shape: Shape) -> list[ParameterSpec]:
        self.output_shape(input_shape)
        return [
            replace(spec, name=f"{group.label}.{spec.name}")
            for group in self.parts
            if group.chain is not None
            for spec in group.chain.parameters((group.width,))
        ]

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        ops, rows = workspace.backend, x.shape[0]
        shapes = self._shapes()
        y = workspace.rows(self, "output", rows, (sum(map(math.prod, shapes)),))
        offset = 0
        for group, shape in zip(self.parts, shapes, strict=True):
            size = math.prod(shape)
            if group.chain is None:
                ops.copy_columns(x, group.start, y, offset, size)
            else:
                group_x = workspace.rows(self, f"input of {group.label}", rows, (group.width,))
                ops.copy_columns(x, group.start, group_x, 0, group.width)
                group_y = group.chain.forward(group_x, workspace)
                flat = reshaped(group.chain, group_y, (rows, size), workspace)
                ops.copy_columns(flat, 0, y, offset, size)
            offset += size
        return y

    @operations_only
    def backward(
        self, x: Array, y: Array, gradient: Array, workspace: Workspace, wants_input_gradient: bool
    ) -> Array:
        ops, rows = workspace.backend, x.shape[0]
        input_gradient = workspace.rows(self, "input gradient", rows, x.shape[1:])
        if wants_input_gradient:
            ops.fill(input_gradient, 0.0)  # columns in no group have the gradient 0
        offset = y.shape[1]
        for group, shape in reversed(list(zip(self.parts, self._shapes(), strict=True))):
            size = math.prod(shape)
            offset -= size
            if group.chain is not None:
                if not (wants_input_gradient or group.chain.gradients):
                    continue
                group_x = workspace.rows(self, f"input of {group.label}", rows, (group.width,))
                dy = workspace.rows(self, f"gradient of {group.label}", rows, shape)
                ops.copy_columns(gradient, offset, view(dy, (rows, size), workspace), 0, size)
                dx = group.chain.backward(group_x, dy, dy, workspace, wants_input_gradient)
                if wants_input_gradient:
                    ops.copy_columns(dx, 0, input_gradient, group.start, group.width)
            elif wants_input_gradient:
                ops.copy_columns(gradient, offset, input_gradient, group.start, size)
        return input_gradient


def make_group(group: Any, index: int) -> Group:
    if isinstance(group, Group):
        if group.chain is None:
            return group
        return replace(group, chain=Chain(group.chain.layers, trainable=group.chain.trainable))
    path = f"groups[{index}]"
    if not isinstance(group, Mapping) or "columns" not in group:
        raise ArgumentTypeError(
            f"{path}: expected a mapping with 'columns' and, if needed, 'layers'; got {group!r}"
        )
    for key in group:
        if key not in KEYS:
            raise ArgumentError(f"{path}.{key}: unknown key; the keys are {', '.join(KEYS)}")
    columns = group["columns"]
    if isinstance(columns, str) or not isinstance(columns, Sequence) or len(columns) != 2:
        raise ArgumentTypeError(f"{path}.columns: expected a pair [start, stop]; got {columns!r}")
    start = check_integer(f"{path}.columns[0]", columns[0], at_least=0)
    stop = check_integer(f"{path}.columns[1]", columns[1], at_least=start + 1)
    label = group.get("label") or f"group_{index + 1}"
    if not isinstance(label, str) or "." in label:
        raise ArgumentTypeError(f"{path}.label: expected a name without a dot; got {label!r}")
    layers = group.get("layers") or ()
    with ArgumentError.instead_of(ArgumentError, ArgumentTypeError, prefix=f"{path}."):
        chain = Chain(layers, trainable=group.get("trainable", True)) if layers else None
    return Group(start, stop, label, chain)

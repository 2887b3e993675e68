"""Blocks that combine the outputs of several sequences of layers: branches of a network."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gpunn.errors import ArgumentError
from gpunn.layers.base import Layer
from gpunn.layers.block import Block


@dataclass(eq=False)
class Residual(Block):
    """Residual connection: y = g(x) + f(x), where g(x) = x by default.

    By default, the shortcut g passes gradients to earlier layers unchanged, so that deep networks
    can be trained (He et al. 2016, "Deep Residual Learning for Image Recognition"). The chain rule
    is dL/dx = dL/dy g'(x) + dL/dy f'(x).

    Parameters
    ----------
    layers : sequence of Layer (or their configurations)
        The layers of f, at least one.
    shortcut : sequence of Layer (or their configurations)
        The layers of g, by default none. f(x) and g(x) must have the same shape.

    Examples
    --------
    >>> Dense = gpunn.layers.Dense
    >>> block = gpunn.layers.Residual([Dense(8, "relu"), Dense(3)])
    >>> model = gpunn.Sequential([block, Dense(2)], 3, backend="numpy")
    >>> print(model.summary())
    layer             name      output shape  parameters
    residual_1        residual  (3,)                  59
      layers.dense_1  dense     (8,)                  32
      layers.dense_2  dense     (3,)                  27
    dense_1           dense     (2,)                   8
    total                                             67
    """

    layers: Sequence[Layer | Any]
    shortcut: Sequence[Layer | Any] = field(default_factory=list)

    name = "residual"
    joined = "sum"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.layers:
            raise ArgumentError("layers: expected a list of at least one layer; got none")

    def _drawn(self) -> list[tuple[str, Any]]:
        return [("layers", self.layers), ("shortcut", self.shortcut)]

    def forward(self, x: Any) -> Any:  # type: ignore[override]
        return combined(operator.add, [self.shortcut, self.layers], x)


@dataclass(eq=False)
class Branches(Block):
    """Base of blocks that combine branches.

    Parameters
    ----------
    branches : sequence of sequences of Layer (or their configurations)
        The layers of each branch. A branch without layers returns the block's input x.
    """

    branches: Sequence[Sequence[Layer | Any]]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.branches, tuple) or not self.branches:
            raise ArgumentError(
                "branches: expected a list with a list of layers for each branch, such as "
                f"[[Dense(8)], []]; got {self.branches!r}"
            )

    def _drawn(self) -> list[tuple[str, Any]]:
        return [(f"branch {number}", each) for number, each in enumerate(self.branches, 1)]


@dataclass(eq=False)
class Add(Branches):
    """Sum of branches: y = f_1(x) + f_2(x) + ...

    The chain rule is dL/dx = dL/dy f_1'(x) + dL/dy f_2'(x) + ... All branches have outputs of the
    same shape.

    Examples
    --------
    A linear model and a network, whose outputs are added ("wide and deep"):

    >>> Dense = gpunn.layers.Dense
    >>> both = gpunn.layers.Add([[Dense(1)], [Dense(16, "relu"), Dense(1)]])
    >>> gpunn.Sequential([both], 4, backend="numpy")
    <Sequential (4,) -> (1,) on numpy>
    """

    name = "add"
    joined = "sum"

    def forward(self, x: Any) -> Any:  # type: ignore[override]
        return combined(operator.add, self.branches, x)


@dataclass(eq=False)
class Multiply(Branches):
    """Product of branches, elementwise: y = f_1(x) * f_2(x) * ...

    A branch that ends with a sigmoid is a gate: it multiplies each feature by a number from 0 to 1
    (Dauphin et al. 2017, "Language Modeling with Gated Convolutional Networks"). All branches have
    outputs of the same shape. The chain rule is dL/df_1 = dL/dy * f_2(x) * ..., and likewise for
    the other branches.

    Examples
    --------
    A gated linear unit, and a block in which a gate multiplies the block's own inputs:

    >>> Dense = gpunn.layers.Dense
    >>> unit = gpunn.layers.Multiply([[Dense(8)], [Dense(8, "sigmoid")]])
    >>> gate = gpunn.layers.Multiply([[], [Dense(8, "sigmoid")]])
    >>> gpunn.Sequential([unit, gate, Dense(1)], 4, backend="numpy")
    <Sequential (4,) -> (8,) -> (8,) -> (1,) on numpy>
    """

    name = "multiply"
    joined = "product"

    def forward(self, x: Any) -> Any:  # type: ignore[override]
        return combined(operator.mul, self.branches, x)


@dataclass(eq=False)
class Concatenate(Branches):
    """Concatenation of branches along the last axis: y = [f_1(x) | f_2(x) | ...].

    With an empty branch, later layers also get x itself (Huang et al. 2017, "Densely Connected
    Convolutional Networks"). The chain rule is dL/dx = dL/dy_1 f_1'(x) + dL/dy_2 f_2'(x) + ...,
    where dL/dy_k are the columns of dL/dy that belong to branch k.

    Examples
    --------
    >>> Dense = gpunn.layers.Dense
    >>> branches = [[Dense(3, "relu")], [Dense(5), "layer_norm"], []]
    >>> gpunn.Sequential([gpunn.layers.Concatenate(branches)], 4, backend="numpy")
    <Sequential (4,) -> (12,) on numpy>
    """

    name = "concatenate"
    joined = "side by side"

    def forward(self, xp: Any, x: Any) -> Any:  # type: ignore[override]
        return xp.concat(outputs_of(self.branches, x), axis=-1)


def outputs_of(branches: Sequence[Any], x: Any) -> list[Any]:
    return [branch(x) if branch else x for branch in branches]


def combined(function: Any, branches: Sequence[Any], x: Any) -> Any:
    outputs = outputs_of(branches, x)
    shapes = [each.shape[1:] for each in outputs]
    if len(set(shapes)) > 1:
        raise ArgumentError(
            f"the branches' outputs need rows of equal shape; got {', '.join(map(str, shapes))}"
        )
    return functools.reduce(function, outputs)

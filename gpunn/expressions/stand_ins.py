"""Stand-ins for arrays, whose operators add functions to a graph instead of computing."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NoReturn, TypeAlias

import numpy as np

from gpunn.expressions.graph import (
    ARRAY,
    ELEMENTARY,
    MOST_JOINED,
    NUMBER,
    Graph,
    Node,
    Untraceable,
)
from gpunn.expressions.integers import LARGEST, quotient, remainder
from gpunn.expressions.shapes import axis_of, joined, part_of, reshaped
from gpunn.typing import Shape

KINDS = {"f": "float", "i": "int", "b": "bool"}

OF_REALS = ("divide", *ELEMENTARY)
"""Functions whose results are not integers, even if all arguments are."""

INTERFACES = ("__array_interface__", "__array_struct__", "__cuda_array_interface__")
"""Attributes by which other code recognizes arrays of NumPy and CuPy."""


class Tracer:
    def __init__(self, graph: Graph, dtype: np.dtype) -> None:
        self.graph, self.dtype = graph, dtype
        self._variables = 0
        self.refusal = ""
        """The reason why the code can't be traced. The code may catch the exception."""

    def refuse(self, reason: str) -> NoReturn:
        self.refusal = self.refusal or reason
        raise Untraceable(reason)

    def array(self, array: np.ndarray) -> StandIn:
        require_readable(array, self.dtype)
        return StandIn(self, self.graph.array(array, KINDS[array.dtype.kind]), array)

    def input(self, name: str, shape: Shape, kind: str = "float") -> StandIn:
        return StandIn(self, self.graph.node(ARRAY, shape=shape, kind=kind, data=name))

    def variable(self, like: Node) -> StandIn:
        self._variables += 1
        return self.input(f"variable {self._variables}", like.shape, like.kind)

    def full(self, value: float, shape: Shape, kind: str = "float") -> StandIn:
        number = self.graph.number(value)
        return StandIn(self, self.graph.node("copy", number, shape=shape, kind=kind))

    def node_of(self, value: Any) -> Node:
        if isinstance(value, StandIn):
            if value.tracer is not self:
                self.refuse("an array belongs to another operation")
            if value.viewed is not None and value.viewed.node is not value.viewed_node:
                self.refuse("a view is used after its array has changed")
            return value.node
        if type(value) in (bool, int, float):
            return self.graph.number(value)
        remedy = "; convert the number by float or int" if isinstance(value, np.number) else ""
        if isinstance(value, np.ndarray):
            remedy = "; compute the array with functions of xp, such as xp.arange"
        kind = type(value).__name__
        self.refuse(f"the code uses a value of type {kind} that is not an argument{remedy}")

    def matmul(self, a: Any, b: Any) -> StandIn:
        self.refuse("a matrix product is not supported")

    def transposed(self, a: StandIn) -> Any:
        self.refuse("the attribute T of an array is not supported")

    def concat(self, arrays: Sequence[StandIn], axis: int | None) -> StandIn:
        nodes = [self.node_of(each) for each in arrays]
        if axis is None:
            axis, nodes = 0, [reshaped(self.graph, n, (math.prod(n.shape),)) for n in nodes]
        if {each.kind for each in nodes} != {"float"} or len(nodes) > MOST_JOINED:
            self.refuse(
                f"xp.concat of integers or Booleans, or of more than {MOST_JOINED} arrays, is not "
                "supported"
            )
        axis = axis_of(nodes[0].shape, axis)
        if len({(*each.shape[:axis], *each.shape[axis + 1 :]) for each in nodes}) > 1:
            shapes = ", ".join(str(each.shape) for each in nodes)
            raise ValueError(f"cannot join arrays of the shapes {shapes} along axis {axis}")
        return StandIn(self, joined(self.graph, nodes, axis))

    def call(self, op: str, *operands: Any, kind: str = "float") -> StandIn:
        nodes = [self.node_of(each) for each in operands]
        arrays = {each.kind for each in nodes if each.op != NUMBER}
        if "int" in arrays and ("float" in arrays or kind == "float"):
            if self.dtype != np.float64:
                self.refuse(
                    f"{op} of integers is not supported, because the result is float64, not "
                    f"{self.dtype}; convert integers first, as in xp.astype(step, values.dtype)"
                )
            nodes = [self._as_float(each) for each in nodes]
        only_booleans = all(each.kind == "bool" and each.op != NUMBER for each in nodes)
        if only_booleans and kind == "float" and op != "copy":
            self.refuse(f"{op} of Boolean arrays is not supported")
        return StandIn(self, self.graph.call(op, *nodes, kind=kind))

    def arithmetic(self, op: str, *operands: Any) -> StandIn:
        kinds = {self.node_of(each).kind for each in operands}
        whole = kinds <= {"int"} and op not in OF_REALS
        return self.call(op, *operands, kind="int" if whole else "float")

    def compare(self, op: str, *operands: Any) -> StandIn:
        return self.call(op, *operands, kind="bool")

    def logical(self, op: str, *operands: Any) -> StandIn:
        if any(self.node_of(each).kind != "bool" for each in operands):
            self.refuse("bitwise operators support only Booleans")
        numbers = [1] if op == "subtract" else []  # 1 - a is `not a`
        return self.call(op, *numbers, *operands, kind="bool")

    def _as_float(self, node: Node) -> Node:
        if node.kind != "int" or node.op == NUMBER:
            return node
        return self.graph.node("copy", node, shape=node.shape, kind="float")


def require_readable(array: np.ndarray, dtype: np.dtype) -> None:
    if array.dtype != dtype and array.dtype != np.int64:
        raise Untraceable(f"an array has type {array.dtype}, but other arrays have {dtype}")
    if not array.flags.c_contiguous or not array.size:
        raise Untraceable("an array is empty or not contiguous")


Operator: TypeAlias = Callable[["StandIn", Any], "StandIn"]


def both(function: Callable[..., StandIn], *first: Any) -> tuple[Operator, Operator]:
    """Return a binary operator, and the operator for exchanged operands.

    The operators call `function` with the tracer, the arguments in `first`, and both operands.
    """
    return (
        lambda self, other: function(self.tracer, *first, self, other),
        lambda self, other: function(self.tracer, *first, other, self),
    )


def in_place(function: Callable[[Any, Any], Any]) -> Operator:
    return lambda self, other: self._assign(function(self, other))


class StandIn:
    """A substitute for an array while code is traced; `node` computes the array's elements.

    `target` is the array that assignments change, or None for a temporary array. `viewed` is the
    base of a view. Code must not assign to a view, or read a view whose base has changed.
    """

    __array_ufunc__ = None  # NumPy's arrays then leave operators to this class
    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self,
        tracer: Tracer,
        node: Node,
        target: np.ndarray | None = None,
        viewed: StandIn | None = None,
    ) -> None:
        self.tracer, self.node, self.target = tracer, node, target
        self.viewed = viewed
        self.viewed_node = None if viewed is None else viewed.node

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        # `isinstance` in gpunn needs this class, but other code would expect an array's class.
        self._require_gpunn("the class of an array is not supported")
        return StandIn

    def _require_gpunn(self, reason: str) -> None:
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and frame.f_globals.get("__name__") == "abc":
            frame = frame.f_back
        name = "" if frame is None else str(frame.f_globals.get("__name__"))
        if name.partition(".")[0] != "gpunn":
            self.tracer.refuse(reason)

    @property
    def shape(self) -> Shape:
        return self.node.shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def dtype(self) -> np.dtype:
        kinds = {"float": self.tracer.dtype, "int": np.dtype(np.int64), "bool": np.dtype(bool)}
        return kinds[self.node.kind]

    @property
    def device(self) -> str:
        return "cpu"

    @property
    def T(self) -> Any:  # noqa: N802 - the array API's name
        return self.tracer.transposed(self)

    def __len__(self) -> int:
        if not self.shape:
            self.tracer.refuse("a number has no length")
        return self.shape[0]

    # ---------------------------------------------------------------- whatever reads elements

    def _read(self, *_: Any) -> NoReturn:
        self.tracer.refuse("the code reads elements of an array")

    __bool__ = __float__ = __int__ = __index__ = __complex__ = __iter__ = __contains__ = _read
    __array__ = __dlpack__ = _read

    def __getattr__(self, name: str) -> Any:
        if name in INTERFACES:
            self._require_gpunn(f"the attribute {name} of an array is not supported")
        if name.startswith("__"):
            raise AttributeError(name)
        is_function = hasattr(np, name) and hasattr(np.ndarray, name)
        remedy = f"; use xp.{name}(array, ...)" if is_function else ""
        self.tracer.refuse(f"the attribute {name} of an array is not supported{remedy}")

    # ----------------------------------------------------------------------- views and writes

    def __getitem__(self, key: Any) -> StandIn:
        keys = list(key) if isinstance(key, tuple) else [key]
        at = [k for k, each in enumerate(keys) if each is Ellipsis]
        if len(at) == 1:
            given = sum(each is not None for each in keys) - 1
            keys[at[0] : at[0] + 1] = [slice(None)] * (self.ndim - given)
        axis, shape, node = 0, list[int](), self.tracer.node_of(self)
        for each in keys:
            if each is None:
                shape.append(1)
                continue
            if axis >= self.ndim:
                self.tracer.refuse("an index has more axes than the array")
            size = self.shape[axis]
            if type(each) is not int and not isinstance(each, slice):
                self.tracer.refuse(
                    "an index must be an integer or a slice; use xp.take or xp.take_along_axis for "
                    "an array of positions, and xp.where for a condition"
                )
            start, stop = self._range(each, size)
            if isinstance(each, slice):
                shape.append(stop - start)
            if stop - start < size:
                node = part_of(self.tracer.graph, node, axis, start, stop)
            axis += 1
        shape += self.shape[axis:]
        if node is self.node and tuple(shape) == self.shape:
            return self
        return self.view(reshaped(self.tracer.graph, node, tuple(shape)))

    def view(self, node: Node) -> StandIn:
        return StandIn(self.tracer, node, viewed=self if self.viewed is None else self.viewed)

    def _range(self, key: slice | int, size: int) -> tuple[int, int]:
        if isinstance(key, int):
            start = key + size if key < 0 else key
            if not 0 <= start < size:
                raise IndexError(f"index {key} is out of bounds for an axis of length {size}")
            return start, start + 1
        start, stop, step = key.indices(size)
        if step != 1 or (size and start >= stop):
            self.tracer.refuse("a slice must have step 1 and select at least one element")
        return start, stop

    def __setitem__(self, key: Any, value: Any) -> None:
        if self[key] is not self:
            self.tracer.refuse("an assignment to a part of an array is not supported")
        self._assign(value)

    def _assign(self, value: Any) -> StandIn:
        if self.viewed is not None:
            self.tracer.refuse("an assignment to a view of an array is not supported")
        node = self.tracer.node_of(value)
        if np.broadcast_shapes(node.shape, self.shape) != self.shape:
            raise ValueError(f"could not broadcast {node.shape} into shape {self.shape}")
        if (node.kind == "float") != (self.node.kind == "float") and not (
            node.op == "number" or node.kind == "bool"
        ):
            self.tracer.refuse("an assignment can't convert between integers and floats")
        if node.shape != self.shape:
            whole = self.tracer.graph.broadcastable(node, self.shape)
            node = self.tracer.graph.node("copy", whole, shape=self.shape, kind=self.node.kind)
        self.node = node
        return self

    # ------------------------------------------------------------------------------ operators

    __add__, __radd__ = both(Tracer.arithmetic, "add")
    __sub__, __rsub__ = both(Tracer.arithmetic, "subtract")
    __mul__, __rmul__ = both(Tracer.arithmetic, "multiply")
    __truediv__, __rtruediv__ = both(Tracer.arithmetic, "divide")
    __floordiv__, __rfloordiv__ = both(lambda *operands: divided(quotient, *operands))
    __mod__, __rmod__ = both(lambda *operands: divided(remainder, *operands))
    __pow__, __rpow__ = both(lambda *operands: power(*operands))
    __matmul__, __rmatmul__ = both(lambda tracer, a, b: tracer.matmul(a, b))
    __gt__, __lt__ = both(Tracer.compare, "greater")
    __ge__, __le__ = both(Tracer.compare, "at_least")
    __eq__ = both(Tracer.compare, "equal")[0]  # type: ignore[assignment]
    __and__, __rand__ = both(Tracer.logical, "multiply")
    __or__, __ror__ = both(Tracer.logical, "maximum")
    __iadd__, __isub__ = in_place(operator.add), in_place(operator.sub)
    __imul__, __itruediv__ = in_place(operator.mul), in_place(operator.truediv)
    __ipow__ = in_place(operator.pow)

    def __neg__(self) -> StandIn:
        return self.tracer.arithmetic("negative", self)

    def __pos__(self) -> StandIn:
        return self.tracer.arithmetic("copy", self)

    def __abs__(self) -> StandIn:
        return self.tracer.arithmetic("abs", self)

    def __ne__(self, other: object) -> StandIn:  # type: ignore[override]
        return ~(self == other)

    def __invert__(self) -> StandIn:
        return self.tracer.logical("subtract", self)

    def _unsupported(self, *_: Any) -> NoReturn:
        self.tracer.refuse("the operators <<, >> and ^ are not supported")

    __lshift__ = __rshift__ = __xor__ = __rxor__ = _unsupported


def divided(function: Callable[..., Node], tracer: Tracer, a: Any, divisor: Any) -> StandIn:
    if tracer.node_of(a).kind != "int" or type(divisor) is not int or not 0 < divisor <= LARGEST:
        tracer.refuse(
            f"% and // are only supported for integers, and for a divisor from 1 to {LARGEST:,}; "
            "use a - b * xp.floor(a / b)"
        )
    try:
        return StandIn(tracer, function(tracer.graph, tracer.node_of(a), divisor))
    except Untraceable as error:
        tracer.refuse(str(error))


def power(tracer: Tracer, base: Any, exponent: Any) -> StandIn:
    if isinstance(base, StandIn) and type(exponent) in (int, float):
        if base.node.kind != "float":
            tracer.refuse("a power of integers is not supported")
        whole = float(exponent).is_integer()
        if whole and abs(exponent) > 16:  # products would round too often; log needs base > 0
            tracer.refuse("an integer power above 16 or below -16 is not supported")
        # Not x^1.5: the derivative of x sqrt(x) is NaN for 0.
        if whole or exponent == -0.5 or (0 < exponent < 1 and float(8 * exponent).is_integer()):
            result = product_of(base, abs(exponent))
            return result if exponent >= 0 else 1 / result
        return tracer.call("exp", exponent * tracer.call("log", base))
    if type(base) in (int, float) and isinstance(exponent, StandIn) and base > 0:
        node = exponent.node
        if node.kind == "int":  # such as the number of an update
            node = tracer.graph.node("copy", node, shape=node.shape, kind="float")
        return tracer.call("exp", math.log(base) * StandIn(tracer, node))
    tracer.refuse(
        "a power with a variable exponent is not supported; use xp.exp(exponent * xp.log(base))"
    )


def product_of(base: StandIn, exponent: float) -> StandIn:
    factors: list[StandIn] = []
    square, root, count, rest = base, base, int(exponent), exponent % 1
    while count:
        factors += [square] if count % 2 else []
        count //= 2
        square = square * square if count else square
    while rest:
        root, rest = base.tracer.call("sqrt", root), 2 * rest
        factors += [root] if rest >= 1 else []
        rest %= 1
    first = factors[0] if factors else base.tracer.full(1.0, base.shape)
    return math.prod(factors[1:], start=first)

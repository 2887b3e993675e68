"""A substitute for an array-API namespace, whose functions add nodes to a graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from gpunn.expressions.graph import SLOPE, Untraceable
from gpunn.expressions.integers import quotient, remainder
from gpunn.expressions.shapes import axis_of, expanded, reduced, reshaped
from gpunn.expressions.stand_ins import KINDS, OF_REALS, StandIn, Tracer, divided, power

Axes = int | tuple[int, ...] | None


class Namespace:
    pi, e, inf, nan, newaxis = math.pi, math.e, math.inf, math.nan, None
    float32, float64, int64 = np.dtype("float32"), np.dtype("float64"), np.dtype("int64")
    bool = np.dtype("bool")

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer

    def __getattr__(self, name: str) -> Callable[..., StandIn]:
        if name in CALLS:
            op, kind = CALLS[name]
            same = partial(self.tracer.arithmetic, op)
            return same if kind == "same" else partial(self.tracer.call, op, kind=kind)
        if name in MADE:
            return partial(MADE[name], self)
        if name.startswith("__"):
            raise AttributeError(name)
        remedy = f"; write {INSTEAD[name]}" if name in INSTEAD else ""
        self.tracer.refuse(f"xp.{name} is not supported{remedy}")

    # ------------------------------------------------------- functions made of other functions

    def cosh(self, a: StandIn) -> StandIn:
        half = self.exp(0.5 * abs(a))  # e^|a| may overflow even if the result does not
        return 0.5 * half * half + 0.5 / half / half

    def sinh(self, a: StandIn) -> StandIn:
        m = self.expm1(self.clip(a, -1.0, 1.0))
        half, other = self.exp(0.5 * a), self.exp(-0.5 * a)
        large = 0.5 * half * half - 0.5 * other * other
        return self.where(abs(a) < 1, 0.5 * (m + m / (m + 1)), large)

    def tan(self, a: StandIn) -> StandIn:
        cosine = self.cos(a)
        return self._with_slope(self.sin(a) / cosine, a, cosine * cosine)

    def asinh(self, a: StandIn) -> StandIn:
        sign = self.where(a >= 0, 1.0, -1.0)
        size = sign * a
        small = self.minimum(size, 1e18)  # the square of a larger number may overflow
        root = self.sqrt(small * small + 1)
        result = sign * self.log1p(size + size * (small / (1 + root)))
        return self._with_slope(result, a, self.maximum(root, size))

    def acosh(self, a: StandIn) -> StandIn:
        above = a - 1
        root = self.sqrt(above) * self.sqrt(above + 2)
        return self._with_slope(self.log1p(above + root), a, root)

    def atanh(self, a: StandIn) -> StandIn:
        result = 0.5 * (self.log1p(a) - self.log1p(-a))
        return self._with_slope(result, a, (1 - a) * (1 + a))

    def _with_slope(self, result: StandIn, a: Any, divisor: Any) -> StandIn:
        node_of = self.tracer.node_of
        self.tracer.graph.divisors[id(result.node)] = node_of(a), node_of(divisor)
        return result

    def clip(self, a: StandIn, min: Any = None, max: Any = None) -> StandIn:
        above = a if min is None else self.maximum(a, min)
        return above if max is None else self.minimum(above, max)

    def where(self, condition: Any, a: Any, b: Any) -> StandIn:
        node_of = self.tracer.node_of
        if node_of(condition).kind != "bool":
            self.tracer.refuse("the condition of xp.where is not Boolean")
        kinds = {node_of(each).kind for each in (a, b)}
        kind = kinds.pop() if len(kinds) == 1 else "float"
        return self.tracer.call("where", condition, a, b, kind=kind)

    # -------------------------------------------------------------------- new arrays and types

    def asarray(self, value: Any, **options: Any) -> StandIn:
        if isinstance(value, StandIn):
            dtype = options.get("dtype") or value.dtype
            return self.astype(value, dtype, copy=options.get("copy"))
        if not isinstance(value, list | tuple):
            return self.full((), value, **options)
        dtype = options.get("dtype")
        numbers = np.asarray(value, dtype)
        if not numbers.size or numbers.dtype.kind not in KINDS:
            self.tracer.refuse("xp.asarray of a list without numbers is not supported")
        kind = KINDS[numbers.dtype.kind] if dtype is None else self._kind(dtype)
        data = tuple(numbers.ravel().tolist())
        node = self.tracer.graph.node("constants", shape=numbers.shape, kind=kind, data=data)
        return StandIn(self.tracer, node)

    def full(self, shape: Any, value: Any, *, dtype: Any = None, device: Any = None) -> StandIn:
        kind = self._kind(dtype)
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if isinstance(value, StandIn) or type(value) not in (bool, int, float):
            self.tracer.refuse(
                "an array can only be filled with a number; compute other arrays from xp.arange"
            )
        return self.tracer.full(value, shape, kind)

    def full_like(self, a: StandIn, value: Any, *, dtype: Any = None, **options: Any) -> StandIn:
        return self.full(a.shape, value, dtype=dtype or a.dtype, **options)

    def arange(self, start: Any, stop: Any = None, step: Any = 1, **options: Any) -> StandIn:
        first, last = (0, start) if stop is None else (start, stop)
        values = np.arange(first, last, step, dtype=options.get("dtype"))
        kind = "int" if values.dtype == np.int64 else "float"
        if not values.size:
            self.tracer.refuse("an empty array is not supported")
        data = first, last, step
        node = self.tracer.graph.node("range", shape=values.shape, kind=kind, data=data)
        return StandIn(self.tracer, node)

    def astype(self, a: StandIn, dtype: Any, *, copy: Any = True, device: Any = None) -> StandIn:
        kind, node = self._kind(dtype), self.tracer.node_of(a)
        if kind == "bool" and node.kind != "bool":
            return a != 0
        if kind == "int" and node.kind == "float":
            self.tracer.refuse("a conversion to integers is not supported")
        if kind == node.kind:
            return a if not copy else StandIn(self.tracer, node)
        converted = self.tracer.graph.node("copy", node, shape=a.shape, kind=kind)
        return StandIn(self.tracer, converted)

    def _kind(self, dtype: Any) -> str:
        if dtype is None:
            return "float"
        dtype = np.dtype(dtype)
        kinds = {self.tracer.dtype: "float", self.int64: "int", self.bool: "bool"}
        if dtype not in kinds:
            self.tracer.refuse(f"type {dtype} is not supported with arrays of {self.tracer.dtype}")
        return kinds[dtype]

    def stack(self, arrays: Any, *, axis: int = 0) -> StandIn:
        return self.concat([self.expand_dims(each, axis) for each in arrays], axis=axis)

    # -------------------------------------------------------------------------------- shapes

    def reshape(self, a: StandIn, shape: Any, **_: Any) -> StandIn:
        wanted = (shape,) if isinstance(shape, int) else tuple(shape)
        if -1 in wanted:
            rest = math.prod(each for each in wanted if each != -1)
            wanted = tuple(a.size // rest if each == -1 else each for each in wanted)
        if math.prod(wanted) != a.size:
            raise ValueError(f"cannot reshape {a.shape} into {wanted}")
        return a.view(reshaped(self.tracer.graph, self.tracer.node_of(a), wanted))

    def expand_dims(self, a: StandIn, axis: int = 0) -> StandIn:
        if not -a.ndim - 1 <= axis <= a.ndim:
            raise IndexError(f"axis {axis} is out of bounds for {a.ndim} axes")
        shape = list(a.shape)
        shape.insert(axis if axis >= 0 else a.ndim + 1 + axis, 1)
        return self.reshape(a, tuple(shape))

    def squeeze(self, a: StandIn, axis: Axes) -> StandIn:
        dropped = self._axes(a, axis)
        return self.reshape(a, tuple(n for k, n in enumerate(a.shape) if k not in dropped))

    def broadcast_to(self, a: StandIn, shape: Any) -> StandIn:
        return a.view(expanded(self.tracer.graph, self.tracer.node_of(a), tuple(shape)))

    # ----------------------------------------------------------------------------- reductions

    def sum(
        self, a: StandIn, axis: Axes = None, keepdims: Any = False, dtype: Any = None
    ) -> StandIn:
        if dtype is not None and np.dtype(dtype) != a.dtype:
            self.tracer.refuse(f"xp.sum of {a.dtype} with dtype={np.dtype(dtype)} is not supported")
        return self._reduced(a, "sum", axis, keepdims)

    def mean(self, a: StandIn, axis: Axes = None, keepdims: Any = False) -> StandIn:
        count = math.prod(a.shape[each] for each in self._axes(a, axis))
        return self._reduced(a, "sum", axis, keepdims) * (1 / count)

    def var(
        self, a: StandIn, axis: Axes = None, correction: float = 0.0, keepdims: Any = False
    ) -> StandIn:
        count = math.prod(a.shape[each] for each in self._axes(a, axis))
        deviations = a - self.mean(a, axis, keepdims=True)
        return self.sum(deviations * deviations, axis, keepdims) * (1 / (count - correction))

    def all(self, a: StandIn, axis: Axes = None, keepdims: Any = False) -> StandIn:
        return self.min(self.astype(a != 0, self.tracer.dtype), axis, keepdims) > 0

    def any(self, a: StandIn, axis: Axes = None, keepdims: Any = False) -> StandIn:
        return self.max(self.astype(a != 0, self.tracer.dtype), axis, keepdims) > 0

    def _first(self, a: StandIn, name: str, axis: int | None, keepdims: Any) -> StandIn:
        # Return the position of each row's first maximum or minimum, or of the first NaN.
        if axis not in (-1, a.ndim - 1):
            self.tracer.refuse(f"xp.arg{name} is only supported along the last axis")
        extreme = getattr(self, name)(a, axis, keepdims=True)
        positions = self.arange(a.shape[-1], dtype=self.tracer.dtype)
        found = self.where((a == extreme) | (a != a), positions, float(a.shape[-1]))
        return self._integers(self.min(found, axis, keepdims))

    def take(self, a: StandIn, indices: StandIn, axis: int | None = None) -> StandIn:
        if a.ndim != 1:
            self.tracer.refuse("xp.take is only supported for arrays with one axis")
        flat = self.reshape(indices, (-1, 1))
        rows = self.broadcast_to(a, (flat.shape[0], a.shape[0]))
        return self.reshape(self.take_along_axis(rows, flat), indices.shape)

    def take_along_axis(self, a: StandIn, indices: StandIn, axis: int = -1) -> StandIn:
        if axis not in (-1, a.ndim - 1):
            self.tracer.refuse("xp.take_along_axis is only supported along the last axis")
        kinds = [self.tracer.node_of(each).kind for each in (a, indices)]
        if kinds != ["float", "int"]:
            self.tracer.refuse("xp.take_along_axis needs an array of floats, and integer indices")
        size = a.shape[-1]
        index = self.where(indices < 0, indices + size, indices)
        is_chosen = index[..., None] == self.arange(size)
        # Unlike a sum, a maximum keeps infinities, NaN and -0.0.
        numbers = self.where(is_chosen, a[..., None, :], -math.inf)
        last = numbers.ndim - 1
        chosen = reduced(
            self.tracer.graph, numbers.node, "maximum", (last,), keepdims=False, data=SLOPE
        )
        is_inside = (index >= 0) & (index < size)
        return self.where(is_inside, StandIn(self.tracer, chosen), math.nan)

    def _integers(self, a: StandIn) -> StandIn:
        node = self.tracer.graph.node("copy", a.node, shape=a.shape, kind="int")
        return StandIn(self.tracer, node)

    def _axes(self, a: StandIn, axis: Axes) -> tuple[int, ...]:
        axes = range(a.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
        return tuple(sorted(axis_of(a.shape, each) for each in axes))

    def _reduced(self, a: StandIn, name: str, axis: Axes, keepdims: Any) -> StandIn:
        node = self.tracer.node_of(a)
        if node.kind == "bool" and name == "sum":
            numbers = self.astype(a, self.tracer.dtype)
            return self._integers(self._reduced(numbers, name, axis, keepdims))
        if node.kind != "float":
            self.tracer.refuse(f"the {name} of integers or Booleans is not supported")
        try:
            result = reduced(self.tracer.graph, node, name, self._axes(a, axis), bool(keepdims))
        except Untraceable as error:
            self.tracer.refuse(str(error))
        return StandIn(self.tracer, result)


INSTEAD = {
    **dict.fromkeys(("split", "array_split"), "slices such as x[:, :2]"),
    **dict.fromkeys(("dot", "vecdot", "einsum"), "x @ W, or xp.sum(a * b, axis=-1)"),
    "linalg": "xp.sqrt(xp.sum(x * x, axis=-1, keepdims=True)) for a norm",
    "softmax": "xp.exp(x - xp.max(x, axis=-1, keepdims=True)), divided by its sum",
    "hstack": "xp.concat([a, b], axis=-1)",
    "concatenate": "xp.concat([a, b], axis=-1)",
}
"""Replacements for functions that are not in the array API, or can't be traced."""

CALLS: dict[str, tuple[str, str]] = {
    **{name: (name, "same") for name in (*OF_REALS, "abs", "negative", "floor", "round", "sign")},
    **{name: (name, "same") for name in ("add", "subtract", "multiply", "maximum", "minimum")},
    "greater": ("greater", "bool"),
    "greater_equal": ("at_least", "bool"),
    "equal": ("equal", "bool"),
    "logical_and": ("multiply", "bool"),
    "logical_or": ("maximum", "bool"),
}
"""Maps names in the array API to a function of a graph and its result's kind."""

MADE: Mapping[str, Callable[..., StandIn]] = {
    "argmax": lambda xp, a, axis=None, keepdims=False: xp._first(a, "max", axis, keepdims),
    "argmin": lambda xp, a, axis=None, keepdims=False: xp._first(a, "min", axis, keepdims),
    "ceil": lambda xp, a: -xp.floor(-a),
    "concat": lambda xp, arrays, axis=0: xp.tracer.concat(arrays, axis),
    "count_nonzero": lambda xp, a, *axes, **options: xp.sum(a != 0, *axes, **options),
    "floor_divide": lambda xp, a, b: divided(quotient, xp.tracer, a, b),
    "isfinite": lambda xp, a: abs(a) < math.inf,
    "isinf": lambda xp, a: abs(a) == math.inf,
    "isnan": lambda xp, a: a != a,
    "less": lambda xp, a, b: xp.greater(b, a),
    "less_equal": lambda xp, a, b: xp.greater_equal(b, a),
    "log10": lambda xp, a: xp.log(a) * (1 / math.log(10)),
    "log2": lambda xp, a: xp.log(a) * (1 / math.log(2)),
    "logaddexp": lambda xp, a, b: xp.maximum(a, b) + xp.log1p(xp.exp(-xp.abs(a - b))),
    "logical_not": lambda xp, a: ~a,
    "matmul": lambda xp, a, b: xp.tracer.matmul(a, b),
    "max": lambda xp, a, axis=None, keepdims=False: xp._reduced(a, "maximum", axis, keepdims),
    "min": lambda xp, a, axis=None, keepdims=False: xp._reduced(a, "minimum", axis, keepdims),
    "not_equal": lambda xp, a, b: ~xp.equal(a, b),
    "ones": lambda xp, shape, **options: xp.full(shape, 1.0, **options),
    "ones_like": lambda xp, a, **options: xp.full_like(a, 1.0, **options),
    "positive": lambda xp, a: +a,
    "pow": lambda xp, base, exponent: power(xp.tracer, base, exponent),
    "reciprocal": lambda xp, a: 1 / a,
    "remainder": lambda xp, a, b: divided(remainder, xp.tracer, a, b),
    "square": lambda xp, a: a * a,
    "std": lambda xp, a, *axes, **options: xp.sqrt(xp.var(a, *axes, **options)),
    "trunc": lambda xp, a: xp.sign(a) * xp.floor(xp.abs(a)),
    "zeros": lambda xp, shape, **options: xp.full(shape, 0.0, **options),
    "zeros_like": lambda xp, a, **options: xp.full_like(a, 0.0, **options),
}
"""Functions in the array API that are made of other functions of a `Namespace`."""

for _name, _function in MADE.items():
    _function.__qualname__ = f"xp.{_name}"  # for messages of a TypeError

"""Formulas: Python functions that emit LLVM instructions when they are called.

A formula's arguments are `Number`s: a float32, a float64, or a vector of such numbers. So the same
formula serves both data types, in loops that LLVM vectorizes and in kernels with explicit vectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from gpunn.backends.numpy.compiled.kernels.blocks import Block
from gpunn.backends.numpy.compiled.kernels.vectors import declared


class Number:
    """A value in a formula: a float32, a float64, or a vector of such numbers.

    A Python number becomes a constant of the other operand's type. LLVM does not merge or reorder
    operations, so each operation of a formula is rounded as written.
    """

    def __init__(self, builder: ir.IRBuilder, value: Any) -> None:
        self.builder, self.value = builder, value
        self.kind = value.type
        element = self.kind.element if isinstance(self.kind, ir.VectorType) else self.kind
        self.single = isinstance(element, ir.FloatType)
        self.bits, self.fraction_bits = (32, 23) if self.single else (64, 52)
        self.bias = (1 << (self.bits - self.fraction_bits - 2)) - 1
        """The number that IEEE 754 adds to an exponent before storing it."""

    def like(self, other: Number | float) -> Number:
        if isinstance(other, Number):
            return other
        return Number(self.builder, getattr(self.builder, "constant", constant)(self.kind, other))

    def call(self, name: str, *others: Number) -> Number:
        lanes = f"v{self.kind.count}" if isinstance(self.kind, ir.VectorType) else ""
        values = [self.value, *(other.value for other in others)]
        kinds = [self.kind] * len(values)
        full_name = f"llvm.{name}.{lanes}f{self.bits}"
        function = declared(self.builder.module, full_name, self.kind, kinds)
        return Number(self.builder, self.builder.call(function, values))

    def __add__(self, other: Number | float) -> Number:
        return Number(self.builder, self.builder.fadd(self.value, self.like(other).value))

    def __sub__(self, other: Number | float) -> Number:
        return Number(self.builder, self.builder.fsub(self.value, self.like(other).value))

    def __mul__(self, other: Number | float) -> Number:
        return Number(self.builder, self.builder.fmul(self.value, self.like(other).value))

    def __truediv__(self, other: Number | float) -> Number:
        return Number(self.builder, self.builder.fdiv(self.value, self.like(other).value))

    def __radd__(self, other: float) -> Number:
        return self.like(other) + self

    def __rsub__(self, other: float) -> Number:
        return self.like(other) - self

    def __rmul__(self, other: float) -> Number:
        return self.like(other) * self

    def __rtruediv__(self, other: float) -> Number:
        return self.like(other) / self

    def __neg__(self) -> Number:
        return Number(self.builder, self.builder.fneg(self.value))

    def __abs__(self) -> Number:
        return self.call("fabs")

    def __lt__(self, other: Number | float) -> Any:
        return self._compare("<", other)

    def __gt__(self, other: Number | float) -> Any:
        return self._compare(">", other)

    def __ge__(self, other: Number | float) -> Any:
        return self._compare(">=", other)

    def equals(self, other: Number | float) -> Any:
        return self._compare("==", other)

    def _compare(self, operator: str, other: Number | float) -> Any:
        return self.builder.fcmp_ordered(operator, self.value, self.like(other).value)

    def with_sign_of(self, other: Number) -> Number:
        return self.call("copysign", other)

    def times_power_of_two(self, n: Number) -> Number:
        """Return self * 2^n, rounded once, for an integer n with |n| <= 2 * self.bias."""
        biased = n._integer(2 * self.bias)
        # Multiply twice, since 2^n may be too large or too small for a normal number.
        half = self.builder.lshr(biased, self._whole(1))
        return self * self._power(half) * self._power(self.builder.sub(biased, half))

    def power_of_two(self) -> Number:
        """Return 2^self for an integer self from 1 - self.bias to self.bias."""
        return self._power(self._integer(self.bias))

    def split(self) -> tuple[Number, Number]:
        """Return m and an integer n: self = m * 2^n, with about sqrt(1/2) <= m < sqrt(2).

        `self` must be normal and positive.
        """
        builder = self.builder
        bits = builder.bitcast(self.value, self._integers)
        # Numbers with a fraction above that of sqrt(2) get the next larger exponent.
        above = round((1 - math.sqrt(0.5)) * 2 ** (self.fraction_bits + 1))
        shift = self._whole(self.fraction_bits)
        biased = builder.lshr(builder.add(bits, self._whole(above)), shift)
        exponent = builder.sub(biased, self._whole(self.bias))
        m = builder.bitcast(builder.sub(bits, builder.shl(exponent, shift)), self.kind)
        # Convert the integer by its bits, since some processors can't convert vectors of int64.
        magic = 2.0**self.fraction_bits
        stored = builder.bitcast(constant(self.kind, magic), self._integers)
        whole = Number(builder, builder.bitcast(builder.or_(stored, biased), self.kind))
        return Number(builder, m), whole - (magic + self.bias)

    @property
    def _integers(self) -> Any:
        integer = ir.IntType(self.bits)
        if isinstance(self.kind, ir.VectorType):
            return ir.VectorType(integer, self.kind.count)
        return integer

    def _whole(self, number: int) -> Any:
        return constant(self._integers, number)

    def _integer(self, more: int) -> Any:
        """Return self + more in LLVM's integer type; self must be a float with an integer value."""
        # Add a large number and read the lowest bits: LLVM's conversion is undefined for NaN.
        magic = constant(self.kind, 1.5 * 2.0**self.fraction_bits)
        stored = self.builder.bitcast(self.builder.fadd(self.value, magic), self._integers)
        zero = self.builder.bitcast(magic, self._integers)
        return self.builder.add(self.builder.sub(stored, zero), self._whole(more))

    def _power(self, biased: Any) -> Number:
        """Return 2^(biased - self.bias) for an integer `biased` from 1 to 2 * self.bias."""
        bits = self.builder.shl(biased, self._whole(self.fraction_bits))
        return Number(self.builder, self.builder.bitcast(bits, self.kind))


def constant(kind: ir.Type, number: float) -> Any:
    if isinstance(kind, ir.VectorType):
        return ir.Constant(kind, [kind.element(number)] * kind.count)
    return kind(number)


def fma(a: Number, b: Number | float, c: Number | float) -> Number:
    """Return a * b + c, rounded once."""
    return a.call("fma", a.like(b), a.like(c))


def rint(x: Number) -> Number:
    """Return the nearest integer, half to even."""
    return x.call("rint")


def where(condition: Any, a: Number | float, b: Number | float) -> Number:
    number = a if isinstance(a, Number) else b
    assert isinstance(number, Number)
    chosen = number.builder.select(condition, number.like(a).value, number.like(b).value)
    return Number(number.builder, chosen)


def polynomial(x: Number, coefficients: Sequence[float]) -> Number:
    y = x.like(coefficients[0])
    for coefficient in coefficients[1:]:
        y = fma(y, x, coefficient)
    return y


def formula(function: Callable[[Number], Number]) -> Any:
    @intrinsic
    def instructions(context: Any, x: Any) -> Any:
        def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return function(Number(builder, arguments[0])).value

        return (x(x), generate) if isinstance(x, types.Float | Block) else None

    overload(function)(lambda x: lambda x: instructions(x))
    return function

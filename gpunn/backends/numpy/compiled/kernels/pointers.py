"""Memory access by address, atomic operations, and calls by address.

Compiled Python can't access memory or call functions by address, so each function is a numba
intrinsic, which emits LLVM instructions.
"""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from gpunn.backends.numpy.compiled.kernels.vectors import I8_POINTER, I32, I64, declared, fetch_line
from gpunn.backends.numpy.subnormals import FPCR_FLUSHING, MXCSR_FLUSHING

I64_POINTER = I64.as_pointer()
X86 = platform.machine().lower() in ("x86_64", "amd64")
ARM = platform.machine().lower() in ("aarch64", "arm64")

FLUSHING = MXCSR_FLUSHING if X86 else FPCR_FLUSHING
"""The flags that make the processor treat subnormal numbers as zero."""


def unpack(args: Any, first: Any, count: Any, kind: Any) -> Any:
    if not isinstance(first, types.IntegerLiteral) or not isinstance(count, types.IntegerLiteral):
        return None
    numbers = range(first.literal_value, first.literal_value + count.literal_value)
    result = types.UniTuple(kind, count.literal_value)

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        location = builder.bitcast(arguments[0], target.get_value_type(kind).as_pointer())
        values = [builder.load(builder.gep(location, [I64(number)])) for number in numbers]
        return target.make_tuple(builder, signature.return_type, values)

    return result(args, first, count), generate


@intrinsic(prefer_literal=True)
def integers(context: Any, args: Any, first: Any, count: Any) -> Any:
    """Return the integers args[first : first + count]; `first` and `count` are constants."""
    return unpack(args, first, count, types.int64)


@intrinsic(prefer_literal=True)
def floats(context: Any, args: Any, first: Any, count: Any) -> Any:
    return unpack(args, first, count, types.float64)


@intrinsic
def pointer(context: Any, dtype: Any, address: Any) -> Any:
    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = target.get_value_type(signature.return_type)
        return builder.inttoptr(arguments[1], kind)

    return dtype(dtype, types.int64), generate


@intrinsic
def atomic_add(context: Any, address: Any, amount: Any) -> Any:
    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        location = builder.inttoptr(arguments[0], I64_POINTER)
        return builder.atomic_rmw("add", location, arguments[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


@intrinsic
def atomic_exchange_if(context: Any, address: Any, expected: Any, new: Any) -> Any:
    """Atomically replace the number at `address` by `new` if the number equals `expected`.

    Return whether the number was replaced.
    """

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        location = builder.inttoptr(arguments[0], I64_POINTER)
        result = builder.cmpxchg(location, *arguments[1:], "seq_cst", "seq_cst")
        return builder.extract_value(result, 1)

    return types.boolean(*[types.int64] * 3), generate


@intrinsic
def atomic_load(context: Any, address: Any) -> Any:
    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        location = builder.inttoptr(arguments[0], I64_POINTER)
        return builder.load_atomic(location, "seq_cst", 8)

    return types.int64(types.int64), generate


@intrinsic
def hint_spinning(context: Any) -> Any:
    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if X86:
            pause = declared(builder.module, "llvm.x86.sse2.pause", ir.VoidType(), [])
            builder.call(pause, [])
        return target.get_dummy_value()

    return types.void(), generate


def float_flags(builder: Any) -> Any:
    module = builder.module
    if X86:
        location = cgutils.alloca_once(builder, I32)
        function = declared(module, "llvm.x86.sse.stmxcsr", ir.VoidType(), [I8_POINTER])
        builder.call(function, [builder.bitcast(location, I8_POINTER)])
        return builder.zext(builder.load(location), I64)
    if ARM:
        return builder.call(declared(module, "llvm.aarch64.get.fpcr", I64, []), [])
    return I64(0)


def put_float_flags(builder: Any, flags: Any) -> None:
    module = builder.module
    if X86:
        location = cgutils.alloca_once(builder, I32)
        builder.store(builder.trunc(flags, I32), location)
        function = declared(module, "llvm.x86.sse.ldmxcsr", ir.VoidType(), [I8_POINTER])
        builder.call(function, [builder.bitcast(location, I8_POINTER)])
    elif ARM:
        function = declared(module, "llvm.aarch64.set.fpcr", ir.VoidType(), [I64])
        builder.call(function, [flags])


@intrinsic
def flush_subnormals(context: Any) -> Any:
    """Treat subnormal numbers as zero in this thread; return the previous floating-point flags."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        before = float_flags(builder)
        put_float_flags(builder, builder.or_(before, I64(FLUSHING)))
        return before

    return types.int64(), generate


@intrinsic
def set_float_flags(context: Any, flags: Any) -> Any:
    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        put_float_flags(builder, arguments[0])
        return target.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def call(context: Any, function: Any, args: Any, thread: Any, threads: Any) -> Any:
    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function, *rest = arguments
        kind = ir.FunctionType(ir.VoidType(), [I64_POINTER, I64_POINTER, I64, I64])
        location = builder.inttoptr(function, kind.as_pointer())
        args = builder.inttoptr(rest[0], I64_POINTER)
        builder.call(location, [args, args, rest[1], rest[2]])
        return target.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


@intrinsic
def copy_bytes(context: Any, target_address: Any, source: Any, size: Any) -> Any:
    """Copy `size` bytes; source and target must not overlap."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to, origin = (builder.inttoptr(location, I8_POINTER) for location in arguments[:2])
        cgutils.raw_memcpy(builder, to, origin, arguments[2], 1)
        return target.get_dummy_value()

    return types.void(*[types.int64] * 3), generate


@intrinsic
def prefetch(context: Any, address: Any) -> Any:
    """Prefetch the cache line at `address`, which may be invalid, into the L1 cache."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        fetch_line(builder, builder.inttoptr(arguments[0], I8_POINTER), cache=1)
        return target.get_dummy_value()

    return types.void(types.int64), generate

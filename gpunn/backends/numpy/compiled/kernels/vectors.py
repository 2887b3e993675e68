"""Explicit vector instructions, for code that LLVM does not vectorize."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from gpunn.backends.numpy.compiled.targets import Target, requested_target

I64, I32, I1 = ir.IntType(64), ir.IntType(32), ir.IntType(1)
I8_POINTER = ir.IntType(8).as_pointer()


def compiled_for() -> Target:
    target = requested_target()
    assert target is not None, "compiling kernels requires a target"
    return target


TARGET = compiled_for()
VECTORS = TARGET.vectors
VECTOR_BYTES = VECTORS.size


class Lanes:
    def __init__(self, module: ir.Module, number: ir.Type) -> None:
        self.number = number
        self.size = 8 if isinstance(number, ir.DoubleType) else 4
        self.count = VECTOR_BYTES // self.size
        self.vector = ir.VectorType(number, self.count)
        self.suffix = f"v{self.count}f{8 * self.size}"
        self._pointer_type = self.vector.as_pointer()
        mask = ir.VectorType(I1, self.count)
        void, vector, pointer = ir.VoidType(), self.vector, self._pointer_type
        self._load = declared(
            module, f"llvm.masked.load.{self.suffix}.p0", vector, [pointer, I32, mask, vector]
        )
        self._store = declared(
            module, f"llvm.masked.store.{self.suffix}.p0", void, [vector, pointer, I32, mask]
        )
        self.zeros = ir.Constant(vector, [number(0)] * self.count)

    def first(self, builder: ir.IRBuilder, count: Any) -> Any:
        numbers = ir.Constant(
            ir.VectorType(I64, self.count), [I64(lane) for lane in range(self.count)]
        )
        return builder.icmp_signed("<", numbers, spread(builder, count, self.count))

    def load(self, builder: ir.IRBuilder, address: Any, index: int, mask: Any = None) -> Any:
        pointer = self._at(builder, address, index)
        if mask is None:
            return builder.load(pointer, align=self.size)
        return builder.call(self._load, [pointer, I32(self.size), mask, self.zeros])

    def store(
        self, builder: ir.IRBuilder, value: Any, address: Any, index: int, mask: Any = None
    ) -> None:
        pointer = self._at(builder, address, index)
        if mask is None:
            builder.store(value, pointer, align=self.size)
        else:
            builder.call(self._store, [value, pointer, I32(self.size), mask])

    def fetch(self, builder: ir.IRBuilder, address: Any, index: int) -> None:
        fetch_line(builder, builder.bitcast(self._at(builder, address, index), I8_POINTER))

    def _at(self, builder: ir.IRBuilder, address: Any, index: int) -> Any:
        moved = builder.add(address, I64(index * VECTOR_BYTES))
        return builder.inttoptr(moved, self._pointer_type)


def declared(module: ir.Module, name: str, result: ir.Type, arguments: list[ir.Type]) -> Any:
    return cgutils.get_or_insert_function(module, ir.FunctionType(result, arguments), name)


def fetch_line(builder: ir.IRBuilder, pointer: Any, cache: int = 2) -> None:
    parameters = [I8_POINTER, I32, I32, I32]
    function = declared(builder.module, "llvm.prefetch.p0", ir.VoidType(), parameters)
    builder.call(function, [pointer, I32(0), I32(4 - cache), I32(1)])  # to read, data


def spread(builder: ir.IRBuilder, value: Any, lanes: int) -> Any:
    kind = ir.VectorType(value.type, lanes)
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, value, I32(0))
    zeros = ir.Constant(ir.VectorType(I32, lanes), [I32(0)] * lanes)
    return builder.shuffle_vector(first, undefined, zeros)


def permuted(builder: ir.IRBuilder, vector: Any, indices: Any) -> Any:
    """Return the 32-bit words of a vector at `indices`, as a vector of the same type."""
    words = VECTOR_BYTES // 4
    kind, index_kind = ir.VectorType(ir.FloatType(), words), ir.VectorType(I32, words)
    names = {64: "llvm.x86.avx512.permvar.sf.512", 32: "llvm.x86.avx2.permps"}
    value = builder.bitcast(vector, kind)
    if VECTOR_BYTES in names:
        name = names[VECTOR_BYTES]
        function = declared(builder.module, name, kind, [kind, index_kind])
        return builder.bitcast(builder.call(function, [value, indices]), vector.type)
    result = ir.Constant(kind, ir.Undefined)
    for lane in range(words):
        word = builder.extract_element(value, builder.extract_element(indices, I32(lane)))
        result = builder.insert_element(result, word, I32(lane))
    return builder.bitcast(result, vector.type)


def joined(builder: ir.IRBuilder, vectors: Any) -> Any:
    while len(vectors) > 1:
        count = 2 * vectors[0].type.count
        lanes = ir.VectorType(I32, count)(list(range(count)))
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [builder.shuffle_vector(*pair, lanes) for pair in pairs]
    return vectors[0]

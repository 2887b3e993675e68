"""Vector instructions of the processor, for what numba's own loops don't become."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from gpunn.backends.numpy.compiled.targets import Target, requested_target

I64, I32, I1 = ir.IntType(64), ir.IntType(32), ir.IntType(1)
I8_POINTER = ir.IntType(8).as_pointer()


def compiled_for() -> Target:
    """Return the target that the kernels are compiled for in this process."""
    target = requested_target()
    assert target is not None, "kernels are compiled for one of the targets"
    return target


TARGET = compiled_for()
VECTORS = TARGET.vectors
VECTOR_BYTES = VECTORS.size


class Lanes:
    """Vectors of one type of numbers, for code of one module."""

    def __init__(self, module: ir.Module, number: ir.Type) -> None:
        self.number = number
        self.size = 8 if isinstance(number, ir.DoubleType) else 4
        self.count = VECTOR_BYTES // self.size
        self.vector = ir.VectorType(number, self.count)
        self.suffix = f"v{self.count}f{8 * self.size}"
        self._place = self.vector.as_pointer()
        mask = ir.VectorType(I1, self.count)
        void, vector, place = ir.VoidType(), self.vector, self._place
        self._load = declared(
            module, f"llvm.masked.load.{self.suffix}.p0", vector, [place, I32, mask, vector]
        )
        self._store = declared(
            module, f"llvm.masked.store.{self.suffix}.p0", void, [vector, place, I32, mask]
        )
        self.zeros = ir.Constant(vector, [number(0)] * self.count)

    def first(self, builder: ir.IRBuilder, count: Any) -> Any:
        """Return a mask of the first `count` lanes."""
        numbers = ir.Constant(
            ir.VectorType(I64, self.count), [I64(lane) for lane in range(self.count)]
        )
        return builder.icmp_signed("<", numbers, spread(builder, count, self.count))

    def load(self, builder: ir.IRBuilder, address: Any, index: int, mask: Any = None) -> Any:
        """Return vector number `index` from `address` on, zero where the mask is not set."""
        place = self._at(builder, address, index)
        if mask is None:
            return builder.load(place, align=self.size)
        return builder.call(self._load, [place, I32(self.size), mask, self.zeros])

    def store(
        self, builder: ir.IRBuilder, value: Any, address: Any, index: int, mask: Any = None
    ) -> None:
        """Write vector number `index` from `address` on, where the mask is set."""
        place = self._at(builder, address, index)
        if mask is None:
            builder.store(value, place, align=self.size)
        else:
            builder.call(self._store, [value, place, I32(self.size), mask])

    def fetch(self, builder: ir.IRBuilder, address: Any, index: int) -> None:
        """Ask for vector number `index` from `address` on; the place need not be a valid one."""
        fetch_line(builder, builder.bitcast(self._at(builder, address, index), I8_POINTER))

    def _at(self, builder: ir.IRBuilder, address: Any, index: int) -> Any:
        moved = builder.add(address, I64(index * VECTOR_BYTES))
        return builder.inttoptr(moved, self._place)


def declared(module: ir.Module, name: str, result: ir.Type, arguments: list[ir.Type]) -> Any:
    """Return one of LLVM's own functions."""
    return cgutils.get_or_insert_function(module, ir.FunctionType(result, arguments), name)


def fetch_line(builder: ir.IRBuilder, place: Any) -> None:
    """Ask for the cache line at a pointer to bytes, to be read soon."""
    parameters = [I8_POINTER, I32, I32, I32]
    function = declared(builder.module, "llvm.prefetch.p0", ir.VoidType(), parameters)
    builder.call(function, [place, I32(0), I32(2), I32(1)])  # to read, into L2, data


def spread(builder: ir.IRBuilder, value: Any, lanes: int) -> Any:
    """Return a vector of `value` in every lane."""
    kind = ir.VectorType(value.type, lanes)
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, value, I32(0))
    zeros = ir.Constant(ir.VectorType(I32, lanes), [I32(0)] * lanes)
    return builder.shuffle_vector(first, undefined, zeros)

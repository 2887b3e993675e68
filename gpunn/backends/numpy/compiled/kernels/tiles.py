"""The innermost loop of a matrix product, as LLVM instructions.

A tile is a few rows by a few vectors of the result, held in registers while the products of one
column of A and one row of B are added to it, again and again (Goto & van de Geijn 2008, "Anatomy of
High-Performance Matrix Multiplication", section 4). numba can't be told to keep an array in
registers, hence the instructions. They are the same for every processor but for the size of a
vector and the number of registers.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from gpunn.backends.numpy.compiled.interface import ROW_VECTORS, TILE_VECTORS
from gpunn.backends.numpy.compiled.kernels.vectors import I64, VECTORS, Lanes, declared, spread

__all__ = ["TILE_ROWS", "define_tables", "tile"]

TILE_ROWS = VECTORS.tile_rows


@intrinsic
def tile(
    context: Any,
    dtype: Any,
    rows: Any,
    vectors: Any,
    a: Any,
    a_row: Any,
    a_column: Any,
    b: Any,
    b_row: Any,
    ahead: Any,
    initial: Any,
    initial_row: Any,
    c: Any,
    c_row: Any,
    terms: Any,
    floor: Any,
    columns: Any,
) -> Any:
    """Set C = max(initial + A B, floor) for one tile; all matrices are row-major.

    `dtype` points to the type of the numbers. The tile has from 1 to TILE_ROWS rows, and from 1 to
    TILE_VECTORS vectors, or to ROW_VECTORS if it has one row. a, b, initial and c are addresses;
    a_row and the like are bytes from one row, or column, to the next; and `ahead` is bytes from a
    row of B to what to fetch into the cache meanwhile, as wide as the tile. `terms`, at least 1,
    counts columns of A. The floor is 0 for ReLU, minus infinity for none; NaN stays NaN. `columns`
    counts those of the last vector: the others are neither read nor written.
    """

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, rows, vectors, *rest = arguments
        table = declare_table(builder.module, target.get_data_type(dtype.dtype))
        place = [I64(0), builder.sub(vectors, I64(1)), builder.sub(rows, I64(1))]
        builder.call(builder.load(builder.gep(table, place)), rest)
        return target.get_dummy_value()

    word = types.int64
    return types.void(dtype, *[word] * 13, types.float64, word), generate


TILE = ir.FunctionType(ir.VoidType(), [I64] * 11 + [ir.DoubleType(), I64])
"""What the function of a tile takes: the arguments of `tile` after the first three."""


def declare_table(module: ir.Module, number: ir.Type) -> ir.GlobalVariable:
    """Return the table of all tiles' functions, by vectors and rows, for one type of numbers."""
    name = f"gpunn_tiles_{number}"
    if name not in module.globals:
        rows = ir.ArrayType(TILE.as_pointer(), TILE_ROWS)
        ir.GlobalVariable(module, ir.ArrayType(rows, ROW_VECTORS), name)
    return module.globals[name]


def define_tables(module: ir.Module) -> list[str]:
    """Define the tables of both types, with all functions, and return the tables' names."""
    tables = []
    for number in (ir.FloatType(), ir.DoubleType()):
        table = declare_table(module, number)
        rows = table.value_type.element
        functions = [
            [
                define_tile(module, height, width, number)
                if height == 1 or width <= TILE_VECTORS
                else ir.Constant(TILE.as_pointer(), None)
                for height in range(1, TILE_ROWS + 1)
            ]
            for width in range(1, ROW_VECTORS + 1)
        ]
        table.initializer = ir.Constant(
            table.value_type, [ir.Constant(rows, each) for each in functions]
        )
        table.global_constant = True
        tables.append(table.name)
    return tables


def define_tile(module: ir.Module, height: int, width: int, number: ir.Type) -> ir.Function:
    """Return the function of a tile of this size."""
    lanes = Lanes(module, number)
    vector = lanes.vector
    function = ir.Function(module, TILE, f"tile_{height}_{width}_{number}")
    a, a_row, a_column, b, b_row, ahead, initial, initial_row, c, c_row, terms, floor, columns = (
        function.args
    )
    fma = declared(module, f"llvm.fma.{lanes.suffix}", vector, [vector] * 3)
    entry = function.append_basic_block("entry")
    loop = function.append_basic_block("loop")
    done = function.append_basic_block("done")

    begin = ir.IRBuilder(entry)
    mask = lanes.first(begin, columns)

    def load(builder: ir.IRBuilder, address: Any, column: int) -> Any:
        return lanes.load(builder, address, column, mask if column == width - 1 else None)

    def store(builder: ir.IRBuilder, value: Any, address: Any, column: int) -> None:
        lanes.store(builder, value, address, column, mask if column == width - 1 else None)

    start, offsets = [], [I64(0)]
    for row in range(height):
        start.append([load(begin, initial, column) for column in range(width)])
        initial = begin.add(initial, initial_row)
        offsets.append(begin.add(offsets[row], a_row))
    begin.branch(loop)

    add = ir.IRBuilder(loop)
    term, a_place, b_place = add.phi(I64), add.phi(I64), add.phi(I64)
    sums = [[add.phi(vector) for _ in range(width)] for _ in range(height)]
    b_vectors = [load(add, b_place, column) for column in range(width)]
    if height > 1:
        far = add.add(b_place, ahead)
        for column in range(width):
            lanes.fetch(add, far, column)
    new_sums = []
    for row in range(height):
        address = add.inttoptr(add.add(a_place, offsets[row]), number.as_pointer())
        element = spread(add, add.load(address), lanes.count)
        new_sums.append(
            [add.call(fma, [element, b_vectors[j], sums[row][j]]) for j in range(width)]
        )
    next_term = add.add(term, I64(1))
    advanced = (
        (term, I64(0), next_term),
        (a_place, a, add.add(a_place, a_column)),
        (b_place, b, add.add(b_place, b_row)),
        *((sums[i][j], start[i][j], new_sums[i][j]) for i in range(height) for j in range(width)),
    )
    for phi, first, following in advanced:
        phi.add_incoming(first, entry)
        phi.add_incoming(following, loop)
    add.cbranch(add.icmp_signed("<", next_term, terms), loop, done)

    finish = ir.IRBuilder(done)
    single = isinstance(number, ir.FloatType)
    least = spread(finish, finish.fptrunc(floor, number) if single else floor, lanes.count)
    for row in range(height):
        for column, value in enumerate(new_sums[row]):
            # This way round NaN, which compares as false, stays.
            below = finish.fcmp_ordered("<", value, least)
            store(finish, finish.select(below, least, value), c, column)
        c = finish.add(c, c_row)
    finish.ret_void()
    return function

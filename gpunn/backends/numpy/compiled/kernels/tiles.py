"""The innermost loop of a matrix product, as LLVM instructions.

A tile is a part of the result: a few rows of a few vectors each. The tile stays in registers while
the loop adds, for each k, column k of A times row k of B. See Goto & van de Geijn 2008, "Anatomy of
High-Performance Matrix Multiplication", section 4. This module emits LLVM instructions, because
numba can't keep an array in registers.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from gpunn.backends.numpy.compiled.interface import ROW_VECTORS, TILE_VECTORS
from gpunn.backends.numpy.compiled.kernels.vectors import I64, VECTORS, Lanes, declared, spread

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
    runs: Any,
    a_gap: Any,
    b_gap: Any,
) -> Any:
    """Set C = max(initial + A B, floor) for one tile; all matrices are row-major.

    The tile has 1 to TILE_ROWS rows and 1 to TILE_VECTORS vectors. A tile of one row may have up to
    ROW_VECTORS vectors. Strides are in bytes. Memory `ahead` bytes after each row of B is
    prefetched. The floor is 0 for ReLU, otherwise minus infinity; NaN stays NaN. `columns` is the
    number of columns in the last vector. The columns of A are divided into `runs` runs of `terms`
    columns. After a run, a_gap bytes of A and b_gap bytes of B are skipped.
    """

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, rows, vectors, *rest = arguments
        table = declare_table(builder.module, target.get_data_type(dtype.dtype))
        index = [I64(0), builder.sub(vectors, I64(1)), builder.sub(rows, I64(1))]
        builder.call(builder.load(builder.gep(table, index)), rest)
        return target.get_dummy_value()

    word = types.int64
    return types.void(dtype, *[word] * 13, types.float64, *[word] * 4), generate


TILE = ir.FunctionType(ir.VoidType(), [I64] * 11 + [ir.DoubleType()] + [I64] * 4)
"""The type of a function that computes a tile, with the arguments of `tile` from `a` on."""


def declare_table(module: ir.Module, number: ir.Type) -> ir.GlobalVariable:
    name = f"gpunn_tiles_{number}"
    if name not in module.globals:
        rows = ir.ArrayType(TILE.as_pointer(), TILE_ROWS)
        ir.GlobalVariable(module, ir.ArrayType(rows, ROW_VECTORS), name)
    return module.globals[name]


def define_tables(module: ir.Module) -> list[str]:
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
    lanes = Lanes(module, number)
    vector = lanes.vector
    function = ir.Function(module, TILE, f"tile_{height}_{width}_{number}")
    a, a_row, a_column, b, b_row, ahead, initial, initial_row, c, c_row, *rest = function.args
    terms, floor, columns, runs, a_gap, b_gap = rest
    fma = declared(module, f"llvm.fma.{lanes.suffix}", vector, [vector] * 3)
    entry = function.append_basic_block("entry")
    loop = function.append_basic_block("loop")
    turn = function.append_basic_block("turn")
    done = function.append_basic_block("done")

    begin = ir.IRBuilder(entry)
    mask = lanes.first(begin, columns)

    def load(builder: ir.IRBuilder, address: Any, column: int) -> Any:
        return lanes.load(builder, address, column, mask if column == width - 1 else None)

    def store(builder: ir.IRBuilder, value: Any, address: Any, column: int) -> None:
        lanes.store(builder, value, address, column, mask if column == width - 1 else None)

    start = []
    for _ in range(height):
        start.append([load(begin, initial, column) for column in range(width)])
        initial = begin.add(initial, initial_row)
    # Every third row of A has its own address. The other rows are one or two strides away, which
    # costs no instruction.
    firsts = [begin.add(a, begin.mul(a_row, I64(row))) for row in range(0, height, 3)]
    begin.branch(loop)

    add = ir.IRBuilder(loop)
    run, term, b_address = (add.phi(I64) for _ in range(3))
    a_addresses = [add.phi(I64) for _ in firsts]
    sums = [[add.phi(vector) for _ in range(width)] for _ in range(height)]
    b_vectors = [load(add, b_address, column) for column in range(width)]
    if height > 1:
        far = add.add(b_address, ahead)
        for column in range(width):
            lanes.fetch(add, far, column)
    # If LLVM knew the differences of the addresses, it would compute each from the previous one.
    unknown = ir.FunctionType(I64, [I64])
    places = [add.asm(unknown, "", "=r,0", [each], False) for each in a_addresses]
    new_sums = []
    for row in range(height):
        step = [I64(0), a_row, add.shl(a_row, I64(1))][row % 3]
        address = add.inttoptr(add.add(places[row // 3], step), number.as_pointer())
        element = spread(add, add.load(address), lanes.count)
        new_sums.append(
            [add.call(fma, [element, b_vectors[j], sums[row][j]]) for j in range(width)]
        )
    next_term = add.add(term, I64(1))
    a_next = [add.add(each, a_column) for each in places]
    b_next = add.add(b_address, b_row)
    add.cbranch(add.icmp_signed("<", next_term, terms), loop, turn)

    jump = ir.IRBuilder(turn)
    next_run = jump.add(run, I64(1))
    advanced = (
        # a value at first, after a term, and after a run
        (run, I64(0), run, next_run),
        (term, I64(0), next_term, I64(0)),
        *(
            (a_addresses[i], firsts[i], a_next[i], jump.add(a_next[i], a_gap))
            for i in range(len(firsts))
        ),
        (b_address, b, b_next, jump.add(b_next, b_gap)),
        *(
            (sums[i][j], start[i][j], new_sums[i][j], new_sums[i][j])
            for i in range(height)
            for j in range(width)
        ),
    )
    for phi, first, following, jumped in advanced:
        phi.add_incoming(first, entry)
        phi.add_incoming(following, loop)
        phi.add_incoming(jumped, turn)
    jump.cbranch(jump.icmp_signed("<", next_run, runs), loop, done)

    finish = ir.IRBuilder(done)
    single = isinstance(number, ir.FloatType)
    floors = spread(finish, finish.fptrunc(floor, number) if single else floor, lanes.count)
    for row in range(height):
        for column, value in enumerate(new_sums[row]):
            # This comparison is false for NaN, which stays.
            below = finish.fcmp_ordered("<", value, floors)
            store(finish, finish.select(below, floors, value), c, column)
        c = finish.add(c, c_row)
    finish.ret_void()
    return function

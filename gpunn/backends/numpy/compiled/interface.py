"""Constants and arguments that kernels and programs share.

The kernels in `kernels/` are compiled in advance. Kernels and programs both import this module,
which needs neither numba nor machine code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

MAX_ARGS = 36
"""Maximum number of arguments of an instruction."""

FIRST_ARG = 4
"""Index of the first argument in an instruction's row of a program's table. Before the arguments,
the row has the kernel, whether a barrier follows, the number of pieces, and the number of
instructions in the group."""

ROW_SIZE = FIRST_ARG + MAX_ARGS
"""Number of integers in an instruction's row of a program's table."""

LINE = 8
"""64-bit integers in a cache line."""

FINISHED, DONE, ENTERED, GENERATION, SLEEPING, JOB, CLAIMS = range(0, 7 * LINE, LINE)
"""Offsets in a team's mailbox, in 64-bit integers. Each entry of the mailbox has a separate cache
line (see `kernels/team.py`):

* FINISHED: the number of shares of the program that are finished so far.
* DONE: the number of workers that have finished the program.
* ENTERED: twice the number of workers that have joined the program, plus 1 while others may join.
* GENERATION: the number of the newest program.
* SLEEPING: the number of sleeping threads.
* JOB: the newest program's table, length and repetitions.
* CLAIMS: from this index on, each share has a cache line, with the number of stretches whose share
  has been claimed.
"""

VALUES, GRADIENTS, FIRST_SLOT, SECOND_SLOT, COUNT = range(5)
"""Indices of the arguments of an optimizer's kernel that depend on which parameters it updates."""

ACTIVATIONS = (
    *("relu", "leaky_relu", "elu", "gelu", "exact_gelu", "silu"),
    *("mish", "sigmoid", "tanh", "softplus"),
)
"""The activations that kernels can compute; a kernel's argument is an index in this list."""

BLOCK_BYTES = 128
"""Bytes in a block: two of the longest vectors, so that two additions run in parallel."""

ROW_FUNCTIONS = (
    *("squared_error", "absolute_error", "huber", "quantile", "binary_cross_entropy", "poisson"),
)
"""Functions of a prediction and a target that kernels sum over a row's outputs."""

OF_LABELS, BY_THRESHOLD, BY_LARGEST = range(3)
"""The ways in which the kernel `classify` finds a row's class."""

CHUNK_BYTES = 4 * BLOCK_BYTES
"""Bytes in a chunk: numbers for which the kernel `expression` computes all operations of a chain
before the next numbers. The last chunk may be incomplete."""

BY_VECTORS = (
    *("exp", "expm1", "log", "log1p", "tanh", "sigmoid", "softplus", "tanh_softplus"),
    *("sin", "cos"),
)
"""Functions that the kernel `expression` computes one vector at a time, for many registers."""

LAST, ANY, ONE_NUMBER, KEPT, REPEATED, ONE_EACH = "rankpo"
"""Kinds of an operation's arguments: the result of the operation before, an array or one number in
memory, one number in memory, and an earlier result that other registers keep. A table finds the
numbers of REPEATED arguments, and one number for each vector of ONE_EACH."""

WORD_BYTES = 4
"""Bytes of the words that tables count."""

CHAINED: Mapping[str, Sequence[str]] = {
    "copy": ("r", "a", "k", "p", "o"),
    **dict.fromkeys(("negative", "abs", "sqrt", "floor", "round", "sign"), ("r", "a")),
    "square": ("r", "a"),
    "add": ("ra", "rn", "aa", "rk"),
    **dict.fromkeys(("maximum", "minimum"), ("ra", "rn", "aa")),
    "subtract": ("ra", "ar", "rn", "nr", "aa", "kr"),
    "multiply": ("ra", "rn", "an", "aa", "rk"),
    "divide": ("ra", "ar", "aa", "rk", "kr"),
    **dict.fromkeys(("greater", "at_least"), ("ra", "ar", "aa")),
    "equal": ("ra", "aa"),
    "where": ("raa", "ara", "aar"),
    "multiply_add": ("raa", "rna", "aar", "anr", "rka", "knr"),
    **dict.fromkeys(("multiply_subtract", "subtract_product"), ("raa", "rna", "aar", "anr")),
    **dict.fromkeys(("sum", *BY_VECTORS), ("r",)),
}
"""Functions that the kernel `expression` computes in chains, with kinds of arguments."""

SYMMETRIC = (
    *("add", "multiply", "maximum", "minimum", "equal"),
    *("multiply_add", "multiply_subtract", "subtract_product"),
)
"""Functions whose first two arguments can be exchanged."""

OPERATIONS = [(function, kinds) for function, each in CHAINED.items() for kinds in each]
"""The operations of chains. The kernel identifies an operation by its index in this list."""

ROW_SUM, ROW_MAXIMUM, ROW_MINIMUM, COLUMN_SUM, SUM, CONTRACTION, COPY, PUT = range(100, 108)
"""Codes of further functions of the kernel `expression`: reductions, COPY (copies rows, or
repeats one row), and PUT (copies a matrix into some columns of a wider matrix). CONTRACTION
sums products of two matrices' numbers, separately for each row."""

INVERSE, CHAIN = 98, 99
"""Codes of 1 / x for one number x, and of a chain of operations."""

STEP_BYTES, OPERATION_BYTES, INPUT_BYTES, PLACE_BYTES = 8 * 8, 8 * 5, 8 * 6, 8 * 2
"""Bytes of the records that the kernel `expression` reads. A record consists of 64-bit integers:

* A step has a function, a number of columns, the places of its result and its operand, and up to
  four arguments. COPY and PUT have the bytes of a row to read, and the offset of the first number
  to read. Then COPY has `integer`. PUT has the offset of the first column to write, and the bytes
  of a row of the result. CONTRACTION has the place of its other operand, the number of its
  first operation, and the place of temporary memory. The operations are the columns of both
  operands, and for each axis the length and both distances of adjacent numbers. SUM has the place
  of the block of sums that a chain has added up. CHAIN has no places, but the numbers of its
  first operation and of the next chain's first operation.
* An operation has an index in OPERATIONS, the place of its result, NOWHERE or REGISTERS, and the
  places of other arguments. The operation "sum" adds to a block of sums. After the place of an
  argument with a table, it has the table's distance from the operation, and the words in a row of
  the argument.
* An input has a flag (1 for an array by rows, 2 if it is only written), an address, the bytes of a
  row, `integer`, a place, and the offset of the place's memory.
* A place has an address, and a flag: 1 if each element has a number, 0 if all share one number.

`integer` is 0 for floating-point numbers, 1 for integers, k > 1 for the remainders of integers by
k, and -k for their quotients by k.
"""

NOWHERE, REGISTERS = -2, -1
"""Places of results that only the next operation reads, and of those that registers keep."""

COPY_ROWS, CLEAR, PRODUCT, FOLD, TRANSFORM, INVERT = range(1, 7)
"""Kinds of steps of the kernel `convolution`."""

IMAGE_STEP = 21
"""Number of 64-bit integers in a step of the kernel `convolution`."""

SCALAR, COLUMN_VECTOR, MATRIX, ROW_VECTOR = range(4)
"""Kinds of arguments: one number, or a number for each column, each element or each row."""

MEMBER_MEANS = ("identity", "softmax", "sigmoid")
"""Functions of a member's outputs: an ensemble predicts the mean of one of these functions."""

TILE_VECTORS = 2
"""Maximum number of vectors in a row of a product's tile."""

ROW_VECTORS = 8
"""Maximum number of vectors in a tile of one row. With fewer vectors, each addition would wait for
an earlier addition to the same vector."""

NUMBERS, UINT8, INT8, UINT16, INT16 = range(5)
"""Data types that the kernel `rescale` reads: the network's type and small integers."""


class Vectors(NamedTuple):
    """The vector registers of a kind of processor: their size in bytes, and their number."""

    size: int
    registers: int

    @property
    def tile_rows(self) -> int:
        # The registers must hold a product's tile, a row of B, and an element of A.
        return (self.registers - TILE_VECTORS - 1) // TILE_VECTORS

    @property
    def panel(self) -> int:
        """Number of bytes of each row of B that one tile of the product C = A B needs."""
        return TILE_VECTORS * self.size


TILES, PACKED, TRANSPOSED_PANELS, TRANSPOSED_PRODUCT, DOTS = range(5)
"""Methods of a matrix product:

* TILES: read A and B directly.
* PACKED: read B from panels, into which the kernel `pack` has copied B, and copy some rows of A at
  a time.
* TRANSPOSED_PANELS: read B.T; each thread transposes one panel (some columns of B) at a time.
* TRANSPOSED_PRODUCT: compute C.T = B.T A.T, for small A and C with panels of A.T. If C is the
  gradient of a dense layer's weights with few outputs, read A.T directly.
* DOTS: compute each number of C as a scalar product, for few columns.
"""


class ProductArgs(NamedTuple):
    """Arguments of the kernel `product`, in order.

    Address 0 stands for a missing array. Strides are in bytes. A has shape (m, k), B (k, n), and C
    (m, n).
    """

    method: Any  # TILES, PACKED, ...
    by_columns: Any  # whether threads divide the columns of C, rather than the rows
    by_terms: Any  # whether threads divide the terms, so that their separate C must be summed
    size: Any  # bytes per number
    m: Any
    n: Any
    k: Any
    a: Any
    a_row: Any
    a_column: Any
    b: Any
    b_row: Any
    b_column: Any
    b_panel: Any  # bytes from a panel of B to the next
    initial: Any  # the bias (n,), or zeros
    c: Any
    c_row: Any
    c_thread: Any = 0  # distance to the next thread's C, if each thread has a separate C
    floor: Any = -math.inf  # 0.0 for ReLU, minus infinity for no floor
    rows: Any = 0  # number of rows of C to compute together
    terms: Any = 0  # number of the k terms to add together
    buffer: Any = 0  # the first thread's temporary memory
    buffer_bytes: Any = 0  # distance to the next thread's temporary memory
    update: Any = 0  # an optimizer's kernel, which uses each thread's rows of C as gradients
    update_args: Any = 0  # the optimizer's arguments
    args_buffer: Any = 0  # memory for each thread's copy of the optimizer's arguments


P = ProductArgs(*range(len(ProductArgs._fields)))
"""The index of each argument of the kernel `product`."""

PERMUTATION_SEEDS = 12
"""Number of integers before the result of `permutation`: seeds and temporary memory."""

DTYPES = ("float32", "float64")
"""The data types that each kernel is compiled for."""


def symbol(name: str, dtype: str = "") -> str:
    return f"gpunn_{name}_{dtype}" if dtype else f"gpunn_{name}"

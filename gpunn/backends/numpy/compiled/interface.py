"""Constants and arguments that kernels and programs share.

The kernels in `kernels/` are compiled in advance. Kernels and programs both import this module,
which needs neither numba nor machine code.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

MAX_ARGS = 36
"""Maximum number of arguments of an instruction (a kernel with its arguments)."""

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
line:

* FINISHED: the number of shares (parts of stretches) of the program that are finished so far.
* DONE: the number of workers that have finished the program.
* ENTERED: twice the number of workers that have entered, plus 1 while workers may enter.
* GENERATION: the number of the newest program.
* SLEEPING: the number of sleeping threads.
* JOB: the newest program's table, length and repetitions.
* CLAIMS: from this index on, each share has a cache line. It contains the number of stretches in
  which a thread has claimed the share.
"""

VALUES, GRADIENTS, FIRST_SLOT, SECOND_SLOT, COUNT = range(5)
"""Which arguments of an optimizer's kernel select the parameters to update, as indices."""

ACTIVATIONS = (
    *("relu", "leaky_relu", "elu", "gelu", "exact_gelu", "silu"),
    *("mish", "sigmoid", "tanh", "softplus"),
)
"""The activations that kernels can compute; a kernel's argument is an index in this list."""

BLOCK_BYTES = 128
"""Bytes in a block of numbers: two of the longest vectors, so that two additions run in
parallel."""

ROW_FUNCTIONS = (
    *("squared_error", "absolute_error", "huber", "quantile", "binary_cross_entropy", "poisson"),
    *("brier_score", "binary_accuracy"),
)
"""Functions of a prediction and a target; kernels sum such a function over a row's outputs. A
kernel's argument is an index in this list."""

OF_LABELS, BY_THRESHOLD, BY_LARGEST = range(3)
"""The ways in which the kernel `classify` finds a row's class."""

EXPRESSION_FUNCTIONS = {
    **dict.fromkeys(("copy", "negative", "abs", "sqrt", "exp", "expm1", "log", "log1p"), 1),
    **dict.fromkeys(("tanh", "sigmoid", "softplus", "tanh_softplus", "sin", "cos"), 1),
    **dict.fromkeys(("floor", "round", "sign", "inverse"), 1),
    **dict.fromkeys(("add", "subtract", "multiply", "divide", "maximum", "minimum"), 2),
    **dict.fromkeys(("greater", "at_least", "equal"), 2),
    **dict.fromkeys(("where", "multiply_add", "multiply_subtract", "subtract_product"), 3),
    **dict.fromkeys(("multiply_product", "multiply_difference", "divide_by_sum", "clip"), 3),
    "add_to_root": 2,
    **dict.fromkeys(("add_products", "add_rounded_products", "add_scaled_difference"), 4),
    **dict.fromkeys(("where_greater", "where_at_least"), 4),
    "add_triple_product": 5,
    "divide_by_scaled_root": 6,
    "subtract_by_scaled_root": 7,
}
"""Elementwise functions of the kernel `expression`, with their numbers of arguments. The kernel
identifies a function by its index in this dictionary."""

ROW_SUM, ROW_MAXIMUM, ROW_MINIMUM, COLUMN_SUM, COPY, PUT = range(100, 106)
"""Codes of the reductions in the kernel `expression`, of a function that copies or repeats
elements, and of one that copies rows into some columns of longer rows."""

ATTACHING, MEANS = (
    ("divide_by_scaled_root", "subtract_by_scaled_root"),
    ("add_products", "add_triple_product"),
)
"""Functions that also compute other steps, and the functions of these steps: y c + x b, and
y c y + x b, for numbers b and c."""

ATTACHED = 99
"""Code of a step that an earlier step has computed."""

OPERANDS = max(EXPRESSION_FUNCTIONS.values())
"""Maximum number of operands of a step of the kernel `expression`."""

STEP_BYTES, INPUT_BYTES, PLACE_BYTES = 8 * (4 + OPERANDS), 8 * 6, 8 * 2
"""Bytes of records in the arguments of the kernel `expression`. The records consist of 64-bit
integers:

* A step: function, columns, places of the result and of OPERANDS operands, and which of MEANS
  are attached, as bits; their records follow. The function COPY
  has one operand. Then follow the bytes from a row to the next and from a column to the next, the
  offset of the first element, and `integer`. The function PUT has one
  operand, then the bytes of a row of the result, and the offset of its first column.
* An input: whether it is an array by rows, its address, bytes from a row to the next, `integer`,
  its place, and the offset of the place's memory.
* A place: address, and whether there is a number for each element.

`integer` is 0 for floating-point numbers, and 1 for integers. For the remainders of integers by k,
it is k > 1; for their quotients, it is -k.
"""

COPY_ROWS, CLEAR, PRODUCT, FOLD = range(1, 5)
"""Kinds of steps of the kernel `convolution`."""

IMAGE_STEP = 21
"""Number of 64-bit integers in a step of the kernel `convolution`."""

SCALAR, COLUMN_VECTOR, MATRIX, ROW_VECTOR = range(4)
"""Kinds of an argument of a function of matrices: one number for all elements, one for each column,
one for each element, or one for each row."""

MEMBER_MEANS = ("identity", "softmax", "sigmoid")
"""Functions of a member's outputs: an ensemble predicts the mean of one of these functions."""

TILE_VECTORS = 2
"""Maximum number of vectors in a row of a product's tile."""

ROW_VECTORS = 8
"""Maximum number of vectors in a tile of one row. With fewer vectors, each addition would wait for
an earlier addition to the same vector."""

NUMBERS, UINT8, INT8, UINT16, INT16 = range(5)
"""Data types of inputs that a kernel can rescale: the network's type and small integers."""


class Vectors(NamedTuple):
    """The vector registers of a kind of processor: their size in bytes, and their number."""

    size: int
    registers: int

    @property
    def tile_rows(self) -> int:
        """Maximum number of rows in a product's tile.

        The registers must hold the tile (a block of results), a row of B, and an element of A.
        """
        return (self.registers - TILE_VECTORS - 1) // TILE_VECTORS

    @property
    def panel(self) -> int:
        """Bytes of one row of a panel: the part of a row of B that a tile reads."""
        return TILE_VECTORS * self.size


TILES, PACKED, TRANSPOSED_PANELS, TRANSPOSED_PRODUCT, DOTS = range(5)
"""Methods of a matrix product:

* TILES: read A and B directly.
* PACKED: read B from the panels to which the kernel `pack` copied B, and copy some rows of A at a
  time.
* TRANSPOSED_PANELS: B.T is in memory; each thread transposes one panel (some columns) at a time.
* TRANSPOSED_PRODUCT: B.T is in memory, and A and C are small; C.T = B.T A.T is computed with panels
  of A.T. Or C is a gradient of weights to few outputs, and A.T is in memory.
* DOTS: C has few columns; compute each number of C as a scalar product.
"""


class ProductArgs(NamedTuple):
    """Arguments of the kernel `product`, in order.

    Address 0 stands for a missing array. Strides are in bytes. A is (m, k), B (k, n), C (m, n).
    """

    method: Any  # TILES, PACKED, ...
    by_columns: Any  # whether threads divide the columns of C, rather than the rows
    by_terms: Any  # whether threads divide the terms, and each has its own C, to be summed
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
    c_thread: Any = 0  # stride to the next thread's C, if each has its own
    floor: Any = -math.inf  # 0.0 for ReLU, minus infinity for none
    rows: Any = 0  # rows of C at a time
    terms: Any = 0  # terms, of k, at a time
    buffer: Any = 0  # the first thread's memory
    buffer_bytes: Any = 0  # stride to the next thread's memory
    update: Any = 0  # an optimizer's kernel, which uses each thread's rows of C as gradients
    update_args: Any = 0  # its arguments
    args_buffer: Any = 0  # memory for the update's arguments of each thread


P = ProductArgs(*range(len(ProductArgs._fields)))
"""The index of each argument of the kernel `product`."""

PERMUTATION_SEEDS = 12
"""Number of integers before the result in the memory of the function `permutation`: its seeds, and
temporary memory."""

DTYPES = ("float32", "float64")
"""The data types that each kernel is compiled for."""


def symbol(name: str, dtype: str = "") -> str:
    return f"gpunn_{name}_{dtype}" if dtype else f"gpunn_{name}"

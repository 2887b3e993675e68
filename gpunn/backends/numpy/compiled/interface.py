"""What the kernels and the programs that run them agree on.

The kernels in `kernels/` are compiled before anything runs. So this module, which both sides
import, knows neither numba nor machine code.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

MAX_ARGS = 36
"""Arguments of an instruction, at most."""

ROW_SIZE = MAX_ARGS + 2
"""Integers in a row of a program's table: kernel, whether a barrier follows, arguments."""

LINE = 8
"""Integers of 64 bits in a cache line."""

FINISHED, DONE, ENTERED, GENERATION, SLEEPING, JOB, CLAIMS = range(0, 7 * LINE, LINE)
"""Places in a team's mailbox, in integers of 64 bits; each has a cache line of its own.

They hold the shares of stretches that are finished; the workers that are done; twice the number of
workers that have entered the program, plus one while they may; the number of the newest program;
the threads that sleep; that program's table, length and repetitions; and for each share, from
CLAIMS on, a line with the number of stretches of which it has been claimed."""

VALUES, GRADIENTS, FIRST_SLOT, SECOND_SLOT, COUNT = range(5)
"""Numbers of the arguments of an optimizer's kernel that say which parameters it updates."""

ACTIVATIONS = (
    *("relu", "leaky_relu", "elu", "gelu", "exact_gelu", "silu"),
    *("mish", "sigmoid", "tanh", "softplus"),
)
"""The activations that there are formulas for in kernels, which know them by their places here."""

BLOCK_BYTES = 128
"""Of a block of numbers: two of the longest vectors there are, as an addition to one need not wait
for that to the other."""

ROW_FUNCTIONS = (
    *("squared_error", "absolute_error", "huber", "quantile", "binary_cross_entropy", "poisson"),
    *("brier_score", "binary_accuracy"),
)
"""Functions of a prediction and a target that kernels sum over the outputs of a row, and know by
their places here."""

OF_LABELS, BY_THRESHOLD, BY_LARGEST = range(3)
"""Rules for the class of a row, in the kernel `classify`."""

MEMBER_MEANS = ("identity", "softmax", "sigmoid")
"""What members' outputs are taken for, where a mean is taken of them."""

TILE_VECTORS = 2
"""Vectors in a row of a product's tile, at most."""

ROW_VECTORS = 8
"""Vectors in a tile of one row, at most: fewer would wait for each addition to end."""

NUMBERS, UINT8, INT8, UINT16, INT16 = range(5)
"""Types of what is rescaled: the network's, and small integers."""


class Vectors(NamedTuple):
    """The vector registers of a kind of processor: bytes in one, and how many there are."""

    size: int
    registers: int

    @property
    def tile_rows(self) -> int:
        """Rows in a product's tile, at most.

        Beside the tile, registers hold a row of B and an element of A.
        """
        return (self.registers - TILE_VECTORS - 1) // TILE_VECTORS

    @property
    def panel(self) -> int:
        """Bytes of a row of B that a tile takes."""
        return TILE_VECTORS * self.size


TILES, PACKED, TRANSPOSED_PANELS, TRANSPOSED_PRODUCT, DOTS = range(5)
"""How a product is done by tiles:

* TILES: from where A and B lie.
* PACKED: B lies in panels (kernel `pack`), and some rows of A at a time are copied together.
* TRANSPOSED_PANELS: B.T lies in memory; each thread transposes a panel of it at a time.
* TRANSPOSED_PRODUCT: B.T lies in memory; as C.T = B.T A.T, with A.T in panels, if A and C are
  small.
* DOTS: A lies in memory, and C has few columns; each number of C as a scalar product.
"""


class ProductArgs(NamedTuple):
    """Arguments of the kernel `product`, in order.

    Addresses are 0 where there is no array; strides are in bytes. A is (m, k), B (k, n), C (m, n).
    """

    method: Any  # how it is done
    by_columns: Any  # whether threads divide the columns of C, rather than the rows
    by_terms: Any  # whether threads divide the terms, and each has a C of its own, to be summed
    size: Any  # bytes of a number
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
    c_thread: Any = 0  # stride to the C of the next thread, if each has one: of its terms or rows
    floor: Any = -math.inf  # 0.0 for ReLU, minus infinity for none
    rows: Any = 0  # how many rows of C to do at a time
    terms: Any = 0  # how many of the k terms to do at a time
    buffer: Any = 0  # memory of the first thread
    buffer_bytes: Any = 0  # the stride to that of the next
    update: Any = 0  # an optimizer's kernel, which takes each thread's rows of C as gradients
    update_args: Any = 0  # its arguments
    args_buffer: Any = 0  # where each thread puts the arguments of its part of the update


P = ProductArgs(*range(len(ProductArgs._fields)))
"""The number of each argument."""

DTYPES = ("float32", "float64")
"""The types that each kernel is compiled for."""


def symbol(name: str, dtype: str = "") -> str:
    """Return what a library calls a kernel for numbers of a type, or a function without one."""
    return f"gpunn_{name}_{dtype}" if dtype else f"gpunn_{name}"

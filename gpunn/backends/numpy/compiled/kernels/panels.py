"""Panels: a copy of a matrix in the order in which a matrix product reads its elements.

For a tile of the result, a product reads a few columns of all rows of B. In a large matrix, each
row is on a separate page of memory. A panel stores these columns contiguously (Goto & van de Geijn
2008, "Anatomy of High-Performance Matrix Multiplication", section 5).
"""

from __future__ import annotations

from typing import Any

from gpunn.backends.numpy.compiled.kernels.columns import transpose_matrix
from gpunn.backends.numpy.compiled.kernels.kernel import kernel, partition, quotient
from gpunn.backends.numpy.compiled.kernels.pointers import copy_bytes, integers
from gpunn.backends.numpy.compiled.kernels.vectors import VECTORS

PANEL = VECTORS.panel

ROWS_AT_A_TIME = 16
"""Number of rows to read together: as many memory streams as a processor can prefetch."""


@kernel
def pack(dtype: Any, args: Any, thread: int, threads: int) -> None:
    """Copy B (rows, columns) into consecutive panels, whose rows have PANEL bytes."""
    size, rows, columns, first_b, b_row, b_column, panels, matrices, b_step = integers(args, 0, 9)
    panel = quotient(PANEL, size)
    first, last, left, right = 0, 1, 0, columns
    if matrices > 1:
        first, last = partition(matrices, 1, thread, threads)
    else:
        left, right = partition(columns, panel, thread, threads)
    for matrix in range(first, last):
        b = first_b + matrix * b_step
        target = panels + matrix * (quotient(columns + panel - 1, panel) * rows * PANEL)
        if b_column != size:
            for column in range(left, right, panel):
                count = min(panel, right - column)
                destination = target + column * size * rows
                transpose_matrix(
                    dtype, b + column * b_column, b_column, count, rows, destination, PANEL
                )
            continue
        whole = left + quotient(right - left, panel) * panel
        for row in range(0, rows, ROWS_AT_A_TIME):
            end = min(row + ROWS_AT_A_TIME, rows)
            for column in range(left, whole, panel):
                source = b + column * size
                destination = target + column * size * rows
                for each in range(row, end):
                    copy_bytes(destination + each * PANEL, source + each * b_row, PANEL)
        if whole < right:
            destination = target + whole * size * rows
            for row in range(rows):
                source = b + row * b_row + whole * size
                copy_bytes(destination + row * PANEL, source, (right - whole) * size)

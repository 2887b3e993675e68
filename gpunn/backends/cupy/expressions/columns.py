"""A kernel that computes traced arrays, and sums over rows of other traced arrays."""

from collections.abc import Sequence

import numpy as np

from gpunn.backends.cupy.expressions.statements import Statements, element_of_loop, function
from gpunn.backends.cupy.kernels.columns import COLUMN, COLUMNS, PARAMETERS, over_columns
from gpunn.backends.cupy.kernels.functions import FUNCTIONS
from gpunn.backends.cupy.kernels.raw import raw_kernel
from gpunn.backends.cupy.scratch import Scratch
from gpunn.backends.tracing import Write
from gpunn.expressions import Untraceable


class ColumnKernel:
    """A kernel that writes some matrices, and computes the column sums of other matrices."""

    def __init__(
        self, name: str, writes: Sequence[Write], sums: Sequence[Write], dtype: np.dtype
    ) -> None:
        body = Statements(writes, dtype, [each.node for each in sums])
        results, place = [array for array, _ in sums], element_of_loop(sums[0].array.size)
        matrices = {*body.places.values(), *(body.place(node.shape) for _, node in sums)}
        if any(body.levels.values()) or body.totals or matrices != {place}:
            raise Untraceable("one kernel can't compute sums over both rows and columns")
        names = list(map(body.name, results))
        ends = list[str]()
        for array, node in writes:
            ends.append(f"{body.name(array)}[{body.index(place)}] = {body.value(node, place)};")
        ends += [f"sum[{n}] += {body.value(node, place)};" for n, (_, node) in enumerate(sums)]
        statements = [
            *(*body.once.lines, COLUMN, f"T sum[{len(sums)}] = {{0}};", "#pragma unroll 4"),
            "for (long long row = top + threadIdx.y; inside && row < bottom; row += STACK) {",
            *("const long long j = column;", *body.row.lines, *ends, "}"),
            "if (column_sums(sum, partials, tickets) && threadIdx.y == 0 && inside) {",
            *(f"{name}[column] = sum[{n}];" for n, name in enumerate(names)),
            "}",
        ]
        written = [*(array for array, _ in writes), *results]
        parameters = [*body.pointers(written), *body.numbers, PARAMETERS]
        declaration = f"__launch_bounds__(STACK * LANES) void {name}"
        source = function(FUNCTIONS + COLUMNS, declaration, parameters, statements)
        self._kernel = raw_kernel(name, source, T=dtype)
        self.arrays, self._numbers = body.arrays, body.values_of_numbers
        self._shape, self._count = (body.rows, results[0].size), len(sums)

    def __call__(self, scratch: Scratch) -> None:
        arguments = *self.arrays, *self._numbers
        over_columns(self._kernel, self._shape, arguments, self._count, scratch)

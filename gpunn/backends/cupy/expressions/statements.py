"""The statements of a kernel, which compute elements of traced arrays."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from gpunn.backends.cupy.expressions.printer import C_NAMES, Printer
from gpunn.backends.cupy.kernels.raw import C_TYPES, LANES
from gpunn.backends.tracing import Write
from gpunn.expressions import (
    ARRAY,
    NUMBER,
    REDUCTIONS,
    SLICES,
    Node,
    Untraceable,
    base_of,
    in_order,
)
from gpunn.expressions.graph import SLOPE
from gpunn.typing import Array, Shape

WIDTH_TYPES = {"int": np.int32, "long long": np.int64}


class Overwritten(Untraceable):
    """Raised if a kernel would overwrite elements before it has read them."""


class Place(NamedTuple):
    """The index of the array element that a statement reads or writes.

    `column` is the column's index as a C expression, such as "j". If the array
    has no columns, `column` is "".
    """

    has_rows: bool
    columns: int = 1
    column: str = ""


ONCE, ROW = Place(False), Place(True)


def element_of_loop(columns: int) -> Place:
    return Place(True, columns, "j")


@dataclass
class Scope:
    lines: list[str] = field(default_factory=list)
    names: dict[tuple[int, Place], str] = field(default_factory=dict)


class Statements:
    """The statements of a kernel that writes the results of a trace to arrays.

    An array's new element may depend on the array's old element at the same position, but on no
    other old element. The kernel also adds up the rows of each matrix in `summed`.

    Variables are declared in four scopes. `once` is for numbers that all rows share, `row` for
    numbers of one row, and `loop` for elements in a loop over columns. `last` is for numbers that
    depend on the sum of all elements of an array.
    """

    def __init__(
        self, writes: Sequence[Write], dtype: np.dtype, summed: Sequence[Node] = ()
    ) -> None:
        self.dtype, self.printer = dtype, Printer()
        self.nodes = in_order([*(each.node for each in writes), *summed])
        shapes = [array.shape for array, _ in writes]
        self.rows = summed[0].shape[0] if summed else rows_of(shapes, self.nodes)
        self.places = {id(array): self.place(array.shape) for array, _ in writes}
        self.arrays: list[Array] = []
        self.widths: list[int] = []
        self.once, self.row, self.last = Scope(), Scope(), Scope()
        self.loop = self.row
        self.levels: dict[int, int] = {}
        self.late: set[int] = set()
        self.totals: list[Node] = []
        self._sort()
        read = {id(each.data) for each in self.nodes if each.op == ARRAY}
        self.early = {
            id(each.array): each
            for each in writes
            if not (self.levels[id(each.node)] or id(each.node) in self.late)
            and id(each.array) not in read
            and self.places[id(each.array)].columns > 1
        }
        """Writes that the loop of a sum over a row can do, by the ids of their arrays."""

    # ------------------------------------------------------------------ the kernel's parameters

    def pointers(self, written: Sequence[Array]) -> list[str]:
        # No two arrays share memory, so all pointers are `__restrict__`.
        changed = set(map(id, written))
        return [
            f"{'' if id(each) in changed else 'const '}{C_TYPES[each.dtype]}* __restrict__ {name}"
            for each, name in ((each, self.name(each)) for each in self.arrays)
        ]

    @property
    def numbers(self) -> list[str]:
        widths = [f"{index_type(each)} width{n}" for n, each in enumerate(self.widths)]
        return [*widths, *(f"T {constant}" for constant in self.printer.constants)]

    @property
    def values_of_numbers(self) -> list[Any]:
        widths = [WIDTH_TYPES[index_type(each)](each) for each in self.widths]
        return [*widths, *map(self.dtype.type, self.printer.numbers)]

    # -------------------------------------------------------------------- places in the graph

    def _sort(self) -> None:
        for node in self.nodes:
            level = max((self.levels[id(each)] for each in node.args), default=0)
            late = any(id(each) in self.late for each in node.args)
            if node.op in REDUCTIONS:
                if late or node.op == "column_sum":
                    raise Untraceable("this sum over rows is not supported")
                if self.is_total(node):
                    if node.op != "row_sum":
                        raise Untraceable("a maximum or minimum over all rows is not supported")
                    self.totals.append(node)
                    late = True
                elif node.args[0].shape[0] != self.rows:
                    raise Untraceable("sums over different axes are not supported")
                else:
                    level += 1
            self.levels[id(node)] = level
            if late:
                self.late.add(id(node))

    def is_total(self, node: Node) -> bool:
        return self.rows > 1 and math.prod(node.shape) == 1

    def place(self, shape: Shape) -> Place:
        size = math.prod(shape)
        if size == 1:
            return ONCE
        if size == self.rows > 1:
            return ROW
        if size % self.rows:
            raise Untraceable("arrays have different numbers of rows")
        return element_of_loop(size // self.rows)

    def _place_of(self, argument: Node, node: Node, place: Place) -> Place:
        size, whole = math.prod(argument.shape), node.shape
        if size == 1:
            return ONCE
        if size == math.prod(whole):
            return place
        padded = (1,) * (len(whole) - len(argument.shape)) + argument.shape
        for axis in range(1, len(whole)):  # rows and columns may have several axes
            if not (place.has_rows and math.prod(whole[axis:]) == place.columns):
                continue
            has_rows = padded[:axis] == whole[:axis]
            if has_rows or math.prod(padded[:axis]) == 1:
                columns = self._columns_of(padded[axis:], whole[axis:], place.column)
                return Place(has_rows, *columns)
        raise Untraceable(f"broadcasting {argument.shape} to {whole} is not supported")

    def _columns_of(self, own: Shape, whole: Shape, column: str) -> tuple[int, str]:
        size = math.prod(own)
        if size == 1:
            return 1, ""
        if own == whole:
            return size, column
        for axis in range(1, len(whole)):
            inner = math.prod(whole[axis:])
            if own[axis:] == whole[axis:] and math.prod(own[:axis]) == 1:
                return size, f"({column}) % {self.width(inner)}"
            if own[:axis] == whole[:axis] and math.prod(own[axis:]) == 1:
                return size, f"({column}) / {self.width(inner)}"
        raise Untraceable(f"broadcasting {own} to {whole} is not supported")

    # -------------------------------------------------------------------------- statements

    def _scope(self, node: Node, place: Place) -> Scope:
        if id(node) in self.late:
            if place != ONCE:
                raise Untraceable("the code combines a sum over all rows with single elements")
            return self.last
        if "j" in place.column:
            return self.loop
        of_row = place.has_rows or "v" in place.column  # a column with the number that `v...` holds
        return self.row if of_row or self.levels[id(node)] else self.once

    def value(self, node: Node, place: Place) -> str:
        if node.op == NUMBER:
            return self.printer.number(node.data)
        if node.op == "reshape":
            return self.value(node.args[0], place)
        scope, key = self._scope(node, place), (id(node), place)
        if key not in scope.names:
            if node.op in REDUCTIONS and id(node) not in self.late:
                if place != self.place(node.shape):
                    raise Untraceable("the code reshapes sums of rows to another axis")
                if is_taken(node):
                    scope.names[key] = self._taken(node)
                else:
                    self._reduce(node)
            else:
                text, name = self._text(node, place), self.printer.name()
                scope.lines.append(f"const {C_NAMES[node.kind]} {name} = {text};")
                scope.names[key] = name
        return scope.names[key]

    def _text(self, node: Node, place: Place) -> str:
        if node.op == ARRAY:
            written = self.places.get(id(node.data), ONCE)
            if written not in (ONCE, place):
                raise Overwritten("the code changes an array before it reads other elements")
            return f"{self.name(node.data)}[{self.index(place)}]"
        if node.op == "constants":
            name, text = self.printer.name(), self.printer.number if node.kind == "float" else int
            numbers = ", ".join(str(text(each)) for each in node.data)
            self.once.lines.append(f"const {C_NAMES[node.kind]} {name}[] = {{{numbers}}};")
            return f"{name}[{self.index(place)}]"
        if node.op == "range":
            first, _, step = node.data
            index = self.index(place)
            if (first, step) == (0, 1):
                return index if node.kind == "int" else f"(T)({index})"
            if node.kind == "int":
                return f"{first} + {step} * ({index})"
            start, by = self.printer.number(float(first)), self.printer.number(float(step))
            return f"{start} + {by} * (T)({index})"
        if node.op == "interval":
            if place.has_rows and self.rows > 1:
                raise Untraceable("reshaping concatenated columns into rows is not supported")
            (start, stop), column = node.data, place.column or "0"
            return f"{start} <= {column} && {column} < {stop}"
        if node.op in SLICES and node.shape[0] != (self.rows if place.has_rows else 1):
            raise Untraceable(
                "the code selects columns of an array with a different number of rows"
            )
        if node.op == "columns":
            (whole,), (start, _) = node.args, node.data
            column = f"{start} + {place.column}" if place.column else f"{start}"
            return self.value(whole, Place(place.has_rows, whole.shape[1], column))
        if node.op == "placed":  # in other columns, the value does not matter
            (part,), start = node.args, node.data
            column = f"min(max({place.column} - {start}ll, 0ll), {part.shape[1] - 1}ll)"
            return self.value(part, Place(place.has_rows, part.shape[1], column))
        if node.op in REDUCTIONS:
            return f"totals[{self.totals.index(node)}]"
        values = [self.value(each, self._place_of(each, node, place)) for each in node.args]
        return self.printer.text(node, values)

    def index(self, place: Place) -> str:
        if not (place.has_rows and place.column):
            return place.column or ("row" if place.has_rows else "0")
        return f"row * {self.width(place.columns)} + {place.column}"

    def name(self, array: Array) -> str:
        for number, each in enumerate(self.arrays):
            if each is array:
                return f"a{number}"
        if not hasattr(array, "__cuda_array_interface__"):
            raise Untraceable("an array is not on the device")
        self.arrays.append(array)
        return f"a{len(self.arrays) - 1}"

    def width(self, columns: int) -> str:
        if columns not in self.widths:
            self.widths.append(columns)
        return f"width{self.widths.index(columns)}"

    def _reduce(self, node: Node) -> None:
        columns = self._reduced(node)
        together = [
            each
            for each in self.nodes
            if each.op in REDUCTIONS
            and not (self.is_total(each) or is_taken(each))
            and self.levels[id(each)] == self.levels[id(node)]
            and self._reduced(each) == columns
        ]
        outer, self.loop = self.loop, Scope()
        starts, ends = list[str](), list[str]()
        for each in together:
            name, kind = self.printer.name(), each.op.removeprefix("row_")
            value = self.value(each.args[0], element_of_loop(columns))
            first = {"sum": 0.0, "maximum": -math.inf, "minimum": math.inf}[kind]
            joined = f"{name} + {value}" if kind == "sum" else f"{kind}({name}, {value})"
            starts.append(f"T {name} = {self.printer.number(first)};")
            self.loop.lines.append(f"{name} = {joined};")
            ends.append(f"{name} = warp_{kind}({name});")
            place = self.place(each.shape)
            self.row.names[id(each), place] = name
        for number in [n for n in self.early if self.places[n].columns == columns]:
            self.loop.lines.append(self.stored(self.early.pop(number)))
        self.row.lines += [*starts, *self.over_columns(columns, self.loop), *ends]
        self.loop = outer

    def _taken(self, node: Node) -> str:
        (numbers,) = node.args
        chosen = base_of(numbers)
        (first, second), x = chosen.args[0].args, chosen.args[1]
        index, columns = second if base_of(first).op == "range" else first, self._reduced(node)
        place = element_of_loop(columns)
        number = self.value(index, self._place_of(index, chosen, place))
        column = f"min(max({number}, 0ll), {columns - 1}ll)"
        return self.value(x, self._place_of(x, chosen, place._replace(column=column)))

    def stored(self, write: Write) -> str:
        place = self.places[id(write.array)]
        value = self.value(write.node, place)
        return f"{self.name(write.array)}[{self.index(place)}] = {value};"

    def _reduced(self, node: Node) -> int:
        return math.prod(node.args[0].shape) // self.rows

    def over_columns(self, columns: int, body: Scope) -> list[str]:
        start = f"for ({index_type(columns)} j = lane; j < {self.width(columns)}; j += LANES) {{"
        return [start, *body.lines, "}"]


def is_taken(node: Node) -> bool:
    """Return whether a node selects one number per row for `take_along_axis`."""
    return node.op == "row_maximum" and node.data == SLOPE


def index_type(columns: int) -> str:
    # 32-bit indices take half the registers. The last index of a loop may exceed its end by a warp.
    return "int" if columns < 2**31 - LANES else "long long"


def rows_of(results: Sequence[Shape], nodes: Sequence[Node]) -> int:
    for node in nodes:
        if node.op in (*REDUCTIONS, *SLICES) and node.args[0].shape[0] > 1:
            return node.args[0].shape[0]
    shapes = [*results, *(each.shape for each in nodes if each.op != ARRAY)]
    matrices = [each for each in shapes if len(each) > 1 and each[0] > 1]
    largest = max(matrices or shapes, key=lambda shape: (math.prod(shape), len(shape)))
    return largest[0] if largest else 1


def function(
    preamble: str, declaration: str, parameters: Sequence[str], statements: Sequence[str]
) -> str:
    body = "\n  ".join(statements)
    return f"""{preamble}
extern "C" __global__ {declaration}(
    {", ".join(parameters)}) {{
  {body}
}}
"""

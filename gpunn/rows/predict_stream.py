"""Predicting from a stream of rows, CSV or JSON lines, while they arrive.

A layout is a dictionary of JSON types that describes a network's inputs:

names : list of str or None
    Columns that the network uses, in the network's order; None if the columns have no names.
positions : list of int
    Positions of the network's columns in a row without names.
width : int or None
    Number of cells of a row without names, if the row also has columns that the network does not
    use; None for any number.
numeric : list of int
    Indices of the number columns, whose decimal mark may be a comma.
shape : list of int
    Shape of a row of numbers, which may be nested arrays in JSON; absent for a table.
header, delimiter, decimal
    Whether the first row has names, the delimiter, and the decimal mark; None detects them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from gpunn.rows.cells import number_of, with_point
from gpunn.rows.csv_rows import (
    Row,
    check_width,
    columns_of,
    detect_delimiter,
    is_header,
    known_name,
    located,
    missing_columns,
    rows_of_csv,
)
from gpunn.rows.lines import MAX_LINE, Lines, RowsError, wrong_text

OTHER_MARK = "expected the same decimal mark as in earlier numbers"


def features_of(layout: dict[str, Any], names: list[str] | None, width: int) -> list[int]:
    wanted, positions = layout["names"], layout["positions"]
    if wanted is None or names is None:
        if width == len(positions):
            return list(range(width))
        if layout["width"] not in (None, width) or not positions or max(positions) >= width:
            expected, every = f"{len(positions)} columns", layout["width"] or len(positions)
            if every > len(positions):
                expected += f" (inputs of the network) or {every} (as in the training data)"
            raise ValueError(f"expected {expected}; got {width}")
        return list(positions)
    wanted = [known_name(name, names) for name in wanted]
    missing = [name for name in wanted if name not in names]
    if missing:
        raise ValueError(missing_columns(missing, names))
    twice = [name for name in wanted if names.count(name) > 1]
    if twice:
        raise ValueError(f"two columns are called {twice[0]!r}; rename one of them")
    return [names.index(name) for name in wanted]


def cells_of_csv(
    lines: Lines, layout: dict[str, Any], refuse: Callable[[int, str], None]
) -> Iterator[Row]:
    names = None if layout["header"] is False else layout["names"]
    widths = len(layout["positions"]), layout["width"]

    def fits(row: list[str]) -> bool:
        named = names is not None and {*names} <= {cell.strip() for cell in row}
        return named or len(row) in widths

    delimiter = layout["delimiter"] or detect_delimiter(lines.ahead(), fits)
    rows = rows_of_csv(lines, delimiter, refuse)
    first = next(rows, None)
    if first is None:
        return
    check_width(first, delimiter)
    top = [cell.strip() for cell in first[1]]
    decimal = layout["decimal"] or ("." if delimiter == "," else ",")
    has_header = is_header(top, decimal == ",") if layout["header"] is None else layout["header"]
    present = columns_of(top, has_header)
    try:
        positions = features_of(layout | {"names": names}, present, len(top))
    except ValueError as error:
        bare = names and not {*names} & {*columns_of(top, True)}
        hint = "; if the rows have no header, add --no-header" if bare else ""
        raise RowsError(located(first[0], f"{error}{hint}")) from None
    commas, marks = layout["numeric"] if decimal == "," else [], dict[int, str]()
    for number, row in rows if has_header else itertools.chain([first], rows):
        cells = [row[position].strip() for position in positions]
        for position in commas:
            cell = cells[position]
            cells[position] = with_point(cell)
            if "." not in cells[position] or number_of(cells[position]) is None:
                continue  # no number with a decimal mark
            mark = "." if cells[position] == cell else ","
            if marks.setdefault(position, mark) != mark:
                name = present[positions[position]]
                refuse(number, f"column {name!r}: {OTHER_MARK}; got {cell!r:.80}")
                break
        else:
            yield number, cells


def cells_of_json(
    lines: Lines, layout: dict[str, Any], refuse: Callable[[int, str], None]
) -> Iterator[Row]:
    commas = layout["numeric"] if layout["decimal"] == "," else []
    for number, line in enumerate(lines, start=lines.skipped + 1):
        lines.left = MAX_LINE
        if not line.strip():
            continue
        try:
            if problem := wrong_text(line):
                raise ValueError(problem)
            cells = json_cells(json.loads(line), layout)
        except json.JSONDecodeError as error:
            problem = f"{error.msg} at character {error.pos + 1}"
            refuse(number, f"expected one row as JSON on each line; {problem}")
            continue
        except (ValueError, RecursionError) as error:
            refuse(number, str(error))
            continue
        for position in commas:
            cells[position] = with_point(cells[position])
        yield number, cells


def json_cells(value: Any, layout: dict[str, Any]) -> list[str]:
    if isinstance(value, dict):
        if layout["names"] is None:
            raise ValueError("expected an array, since the columns have no names; got an object")
        named = list(value.items())
        values = [named[position] for position in features_of(layout, list(value), len(value))]
    elif isinstance(value, list):
        value = flattened(value, layout.get("shape", []))
        values = [(position, value[position]) for position in features_of(layout, None, len(value))]
    else:
        raise ValueError(f"expected an object or an array; got {value!r:.80}")
    return [json_cell(name, each) for name, each in values]


def flattened(row: Sequence[Any], shape: Sequence[int]) -> Sequence[Any]:
    """Flatten a row of nested sequences of this shape; return a row of another shape unchanged."""
    items = [row]
    for size in shape:
        for part in items:
            if isinstance(part, (str, dict)) or not hasattr(part, "__len__") or len(part) != size:
                return row
        items = [each for part in items for each in part]
    return items if shape else row


def json_cell(name: str | int, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float):
        return str(int(value)) if abs(value) < 2**53 and value == int(value) else repr(value)
    if isinstance(value, int):  # also a Boolean
        return str(value)
    kind = "an array" if isinstance(value, list) else "an object"
    raise ValueError(f"column {name!r}: expected a number, text, true, false or null; got {kind}")


def predict_stream(
    chunks: Iterable[bytes],
    layout: dict[str, Any],
    form: str | None,
    predict_rows: Callable[[list[list[str]]], tuple[Any, dict[tuple[str, str | None], int]]],
    begin: Callable[[str], Callable[[Any], None]],
    notify: Callable[[str], None],
    skip: bool,
) -> None:
    """Predict blocks of rows as they arrive; predict all received rows before waiting for more.

    `form` is "csv", "jsonl" or None to detect the format. `predict_rows` accepts rows of cells, and
    returns predictions and a dict {(column, unknown category): number of rows}. The category None
    means a missing value in a column that had none in training.

    `begin(form)` returns a function `write`, which writes predictions. If there are no rows,
    `write` is called once, without predictions. If columns are wrong, `write` is never called.
    If `skip`, malformed rows are reported and counted. Otherwise, the first malformed row raises a
    ValueError, after the predictions for all earlier rows are written.
    """
    pending: list[Row] = []
    unseen: dict[tuple[str, bool], tuple[int, list[str]]] = {}
    rows, malformed = 0, 0

    def refuse(line: int, text: str) -> None:
        nonlocal malformed
        predict_pending()
        if not skip:
            raise RowsError(located(line, text))
        malformed += 1
        if malformed <= 10:
            notify(f"{located(line, text)}; skipped")

    def predict_block(part: list[Row]) -> None:
        nonlocal rows
        try:
            predictions, counts = predict_rows([cells for _, cells in part])
        except ValueError as error:
            if len(part) < 2:
                refuse(part[0][0] if part else 0, str(error))
                return
            predict_block(part[: len(part) // 2])
            predict_block(part[len(part) // 2 :])
            return
        rows += len(part)
        for (column, category), count in counts.items():
            before, shown = unseen.get((column, category is None), (0, []))
            if category is not None and category not in shown and len(shown) < 5:
                shown = [*shown, category]
            unseen[column, category is None] = before + count, shown
        write(predictions)

    def predict_pending() -> None:
        if pending:
            part, pending[:] = pending[:], []
            predict_block(part)

    def report() -> None:
        for (column, is_missing), (count, categories) in unseen.items():
            notify(unseen_text(column, is_missing, count, categories))
        if malformed:
            notify(f"skipped {malformed:,} malformed row{'s' if malformed > 1 else ''}")

    lines = Lines(chunks, predict_pending)
    first = "".join(lines.ahead()).lstrip()[:1]
    form = form or ("jsonl" if first in ("{", "[") else "csv")
    write = begin(form)
    cells_of = cells_of_json if form == "jsonl" else cells_of_csv
    try:
        for row in cells_of(lines, layout, refuse):
            pending.append(row)  # noqa: PERF402 - `pending` is emptied meanwhile
        predict_pending()
    except ValueError:
        report()
        raise
    report()
    if not rows:
        predict_block([])
        notify("there are no rows")


def unseen_text(column: str, is_missing: bool, count: int, categories: list[str]) -> str:
    have = f"column {column!r}: {count:,} row{'s have' if count > 1 else ' has'}"
    if is_missing:
        replacement = "the median (code 0 for a category) is used"
        return f"{have} a missing value, but no training row had one; {replacement}"
    listed = ", ".join(f"{category!r:.60}" for category in categories)
    return f"{have} a category or unit unseen in training, which counts as missing: {listed}"

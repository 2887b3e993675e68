"""Rows of a stream, CSV or JSON lines, answered as they come.

What has to be known of a network's inputs is a layout, in JSON types:

names : list of str or None
    Columns that the network takes, in its order; None if they have only places.
positions : list of int
    Their places in a row without names.
width : int or None
    Cells of such a row if it holds further columns; None if they may be any number.
numeric : list of int
    Which of the columns are of numbers, whose decimal mark may be a comma.
shape : list of int
    Of a row of numbers, which may be nested arrays in JSON; left out for a table.
header, delimiter, decimal
    Whether the first row has names, and the characters; None to find out.
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
    found_delimiter,
    is_header,
    known_name,
    located,
    missing_columns,
    rows_of_csv,
)
from gpunn.rows.lines import MAX_LINE, Lines, RowsError, wrong_text

__all__ = ["cells_of_csv", "flattened", "predict_stream"]

OTHER_MARK = "expected the decimal mark of the numbers above"


def features_of(layout: dict[str, Any], names: list[str] | None, width: int) -> list[int]:
    """Return the places of a network's columns in a row: by name, or by number or order."""
    wanted, positions = layout["names"], layout["positions"]
    if wanted is None or names is None:
        if width == len(positions):
            return list(range(width))
        if layout["width"] not in (None, width) or not positions or max(positions) >= width:
            expected, every = f"{len(positions)} columns", layout["width"] or len(positions)
            if every > len(positions):
                expected += f", those that the network uses, or {every}, all of the training data"
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
    """Yield the cells that a network takes, with the number of each row's last line."""
    names = None if layout["header"] is False else layout["names"]
    widths = len(layout["positions"]), layout["width"]

    def fits(row: list[str]) -> bool:
        named = names is not None and {*names} <= {cell.strip() for cell in row}
        return named or len(row) in widths

    delimiter = layout["delimiter"] or found_delimiter(lines.ahead(), fits)
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
        hint = "; if the rows come without their names, say --no-header" if bare else ""
        raise RowsError(located(first[0], f"{error}{hint}")) from None
    commas, marks = layout["numeric"] if decimal == "," else [], dict[int, str]()
    for number, row in rows if has_header else itertools.chain([first], rows):
        cells = [row[position].strip() for position in positions]
        for position in commas:
            cell = cells[position]
            cells[position] = with_point(cell)
            if "." not in cells[position] or number_of(cells[position]) is None:
                continue  # it has no decimal mark
            mark = "." if cells[position] == cell else ","
            if marks.setdefault(position, mark) != mark:
                refuse(
                    number,
                    f"column {present[positions[position]]!r}: {OTHER_MARK}; got {cell!r:.80}",
                )
                break
        else:
            yield number, cells


def cells_of_json(
    lines: Lines, layout: dict[str, Any], refuse: Callable[[int, str], None]
) -> Iterator[Row]:
    """Yield the cells that a network takes, as a CSV file would spell them, with their lines."""
    commas = layout["numeric"] if layout["decimal"] == "," else []
    for number, line in enumerate(lines, start=lines.skipped + 1):
        lines.left = MAX_LINE
        if not line.strip():
            continue
        try:
            if problem := wrong_text(line):
                raise ValueError(problem)
            cells = json_cells(json.loads(line), layout)
        except (ValueError, RecursionError) as error:
            refuse(number, str(error))
            continue
        for position in commas:
            cells[position] = with_point(cells[position])
        yield number, cells


def json_cells(value: Any, layout: dict[str, Any]) -> list[str]:
    """Return the cells that a network takes from a JSON value, as a CSV file would spell them."""
    if isinstance(value, dict):
        if layout["names"] is None:
            raise ValueError("expected an array, since the network knows no names; got an object")
        named = list(value.items())
        values = [named[position] for position in features_of(layout, list(value), len(value))]
    elif isinstance(value, list):
        value = flattened(value, layout.get("shape", []))
        values = [(position, value[position]) for position in features_of(layout, None, len(value))]
    else:
        raise ValueError(f"expected an object or an array; got {value!r:.80}")
    return [json_cell(name, each) for name, each in values]


def flattened(row: Sequence[Any], shape: Sequence[int]) -> Sequence[Any]:
    """Return what nested sequences of a shape hold, the last axis varying fastest; else the row."""
    found = [row]
    for size in shape:
        for part in found:
            if isinstance(part, (str, dict)) or not hasattr(part, "__len__") or len(part) != size:
                return row
        found = [each for part in found for each in part]
    return found if shape else row


def json_cell(name: str | int, value: Any) -> str:
    """Return a JSON value as a CSV file would spell it: null is an empty cell."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float):
        return str(int(value)) if abs(value) < 2**53 and value == int(value) else repr(value)
    if isinstance(value, int):  # and True and False
        return str(value)
    kind = "an array" if isinstance(value, list) else "an object"
    raise ValueError(f"column {name!r}: expected a number, text, true, false or null; got {kind}")


def predict_stream(
    chunks: Iterable[bytes],
    layout: dict[str, Any],
    form: str | None,
    answer: Callable[[list[list[str]]], tuple[Any, dict[tuple[str, str | None], int]]],
    begin: Callable[[str], Callable[[Any], None]],
    tell: Callable[[str], None],
    skip: bool,
) -> None:
    """Predict from rows as they come, in blocks: at the latest when more has to be waited for.

    `form` is "csv", "jsonl" or None to find out. `answer` takes rows of cells, and returns their
    predictions, and counts of rows by column and unknown category (None for a missing value in a
    column without any in training); it raises a ValueError if a row is broken. `begin` takes the
    form, and returns a function that writes predictions. Without rows it is called once with none,
    and not at all if the columns are wrong. `tell` takes messages. If `skip`, broken rows are
    reported and counted; else the first raises a ValueError, after the rows before it are written.
    """
    pending: list[Row] = []
    unusual: dict[tuple[str, bool], tuple[int, list[str]]] = {}
    rows, broken = 0, 0

    def refuse(line: int, text: str) -> None:
        nonlocal broken
        answer_pending()
        if not skip:
            raise RowsError(located(line, text))
        broken += 1
        if broken <= 10:
            tell(f"{located(line, text)}; left out")

    def answer_rows(part: list[Row]) -> None:
        nonlocal rows
        try:
            found, counts = answer([cells for _, cells in part])
        except ValueError as error:
            if len(part) < 2:
                refuse(part[0][0] if part else 0, str(error))
                return
            answer_rows(part[: len(part) // 2])
            answer_rows(part[len(part) // 2 :])
            return
        rows += len(part)
        for (column, text), count in counts.items():
            before, texts = unusual.get((column, text is None), (0, []))
            shown = [] if text is None or text in texts or len(texts) >= 5 else [text]
            unusual[column, text is None] = before + count, texts + shown
        write(found)

    def answer_pending() -> None:
        if pending:
            part, pending[:] = pending[:], []
            answer_rows(part)

    def report() -> None:
        for (column, is_missing), (count, texts) in unusual.items():
            tell(unusual_text(column, is_missing, count, texts))
        if broken:
            tell(f"{broken:,} broken row{'s were' if broken > 1 else ' was'} left out")

    lines = Lines(chunks, answer_pending)
    first = "".join(lines.ahead()).lstrip()[:1]
    form = form or ("jsonl" if first in ("{", "[") else "csv")
    write = begin(form)
    cells_of = cells_of_json if form == "jsonl" else cells_of_csv
    try:
        for row in cells_of(lines, layout, refuse):
            pending.append(row)  # noqa: PERF402 - `pending` is emptied meanwhile
        answer_pending()
    except ValueError:
        report()
        raise
    report()
    if not rows:
        answer_rows([])
        tell("there are no rows")


def unusual_text(column: str, is_missing: bool, count: int, texts: list[str]) -> str:
    """Return the closing message on categories, or missing values, unseen in training."""
    have = f"column {column!r}: {count:,} row{'s have' if count > 1 else ' has'}"
    if is_missing:
        lacking = "no value, where no training row lacked one"
        return f"{have} {lacking}; a median or no category stands in"
    listed = ", ".join(f"{text!r:.60}" for text in texts)
    return f"{have} a category that the training rows had not, taken as missing, such as {listed}"

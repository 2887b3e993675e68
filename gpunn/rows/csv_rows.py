"""Splitting lines of text into rows of cells: delimiters, quotation marks, column names."""

from __future__ import annotations

import csv
import difflib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from gpunn.rows.cells import Markers, number_of, with_point
from gpunn.rows.lines import MAX_LINE, Lines, RowsError, wrong_text

Row = tuple[int, list[str]]
"""The number of a row's last line, and its cells, not stripped."""

DELIMITERS = (",", ";", "\t", "|")

MAX_COLUMNS = 100_000
"""Maximum number of columns. Each column takes about 500 bytes, even if a file has only one row."""

SAMPLE_CHARACTERS = 2**16

SAMPLE_ROWS = 50

MAX_SHOWN = 5


def located(line: int, text: str) -> str:
    return f"line {line}{', ' if text.startswith('column ') else ': '}{text}"


def refused(line: int, text: str) -> NoReturn:
    raise RowsError(located(line, text))


def rows_of_csv(
    lines: Lines, delimiter: str, refuse: Callable[[int, str], None] = refused
) -> Iterator[Row]:
    """Yield the nonempty rows; `refuse` gets the line and the problem of each malformed row.

    A malformed first row raises a RowsError.
    """
    spaces = delimiter != " "
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=spaces, strict=True)
    width, last = 0, lines.skipped
    while True:
        problem = ""
        try:
            for row in reader:
                lines.left = MAX_LINE
                last = lines.skipped + reader.line_num
                if not row or (len(row) == 1 != width and not row[0].strip()):
                    continue
                if len(row) == width and not lines.is_damaged:
                    yield last, row
                    continue
                problem = wrong_text(delimiter.join(row))
                if not problem and width and len(row) != width:
                    problem = wrong_width(width, len(row), delimiter)
                if problem:
                    break
                width = len(row)
                yield last, row
            else:
                return
        except csv.Error as error:
            last, problem = wrong_quotes(error, last, lines.skipped + reader.line_num)
        (refuse if width else refused)(last, problem)


def wrong_width(width: int, actual: int, delimiter: str) -> str:
    expected = f"{width} cell" if width == 1 else f"{width} cells"
    doubt = f"is {delimiter!r} the right delimiter?"
    if width == 1:
        doubt = "if there is a title above the columns' names, remove it"
    return f"expected {expected}, as in the first row; got {actual}; {doubt}"


def wrong_quotes(error: csv.Error, last: int, line: int) -> tuple[int, str]:
    if "end of data" in str(error):
        return last + 1, (
            "the row that begins here has an unclosed quotation mark; close it, or write it twice "
            "if it is part of the text"
        )
    if "expected after" in str(error):
        return line, (
            f"text follows a closing quotation mark ({error}); write each quotation mark that is "
            "part of the text twice"
        )
    return line, str(error)


def wrong_delimiter(delimiter: Any) -> str:
    if isinstance(delimiter, str) and len(delimiter) == 1 and delimiter not in '\r\n"':
        return ""
    return f"expected one character other than a quote or line end; got {delimiter!r}"


def detect_delimiter(
    lines: Sequence[str], fits: Callable[[list[str]], bool] = lambda row: True
) -> str:
    """Return the delimiter that most plausibly divides the first rows into cells."""

    def fit(delimiter: str) -> tuple[bool, bool, bool, int]:
        try:
            every = csv.reader(lines, delimiter=delimiter)
            rows = list(itertools.islice(filter(None, every), SAMPLE_ROWS))
        except csv.Error:
            rows = []
        width = len(rows[0]) if rows else 0
        if not 0 < width <= MAX_COLUMNS:
            return False, False, False, width
        regular = width > 1 and all(len(row) == width for row in rows)
        numbers = all(number_of(with_point(cell)) is not None for row in rows for cell in row)
        return fits(rows[0]), regular, numbers, width

    return max(DELIMITERS, key=fit)


def is_header(top: Sequence[str], commas: bool) -> bool:
    cells = map(with_point, top) if commas else top
    return not all(number_of(cell) is not None for cell in cells)


def is_header_above(top: Sequence[str], second: Sequence[str] | None, markers: Markers) -> bool:
    # If there is one row, it is a header if all its cells are text.
    if second is None:
        return all(number_of(text) is None for text in top)
    return any(
        number_of(text) is None
        and text.casefold() not in markers.strings
        and number_of(cell) is not None
        for text, cell in zip(top, second, strict=True)
    )


def columns_of(top: Sequence[str], has_header: bool) -> list[str]:
    if not has_header:
        return [str(position) for position in range(len(top))]
    return [name or f"Unnamed: {position}" for position, name in enumerate(top)]


def known_name(name: str, names: Sequence[str]) -> str:
    """Return `name`; if it is "", return the name in `names` that begins with "Unnamed: ".

    Older networks store "" for a column without a name. If several or none of `names` begin with
    "Unnamed: ", the result is "".
    """
    nameless = [] if name else [each for each in names if each.startswith("Unnamed: ")]
    return nameless[0] if len(nameless) == 1 else name


def missing_columns(missing: Sequence[str], present: Sequence[str]) -> str:
    folded = {name.casefold(): name for name in present}
    named = [*missing]
    for position, name in enumerate(missing[:MAX_SHOWN]):
        near = difflib.get_close_matches(name.casefold(), folded, n=1)
        named[position] = f"{name!r}" + (f" (did you mean {folded[near[0]]!r}?)" if near else "")
    columns, are = ("the column", "is") if len(missing) == 1 else ("the columns", "are")
    existing = first_few([repr(name if len(name) <= 60 else f"{name[:57]}...") for name in present])
    return f"{columns} {first_few(named)} {are} missing; there are {existing}"


def first_few(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return ", ".join(names[:MAX_SHOWN]) + more


def check_width(row: Row, delimiter: str) -> None:
    line, cells = row
    if len(cells) > MAX_COLUMNS:
        refused(
            line,
            f"expected at most {MAX_COLUMNS:,} columns; got {len(cells):,}; is {delimiter!r} the "
            "right delimiter?",
        )

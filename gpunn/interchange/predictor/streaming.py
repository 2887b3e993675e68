"""Rows of a stream, CSV or JSON lines, predicted as they come: copied into predictors.

`gpunn predict` uses these functions, too, so both read a stream alike. They need the standard
library alone. What they have to know of a network's inputs is a layout, in JSON types:

names : list of str or None
    Columns that the network takes, in its order; None where they go by their places.
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

import codecs
import csv
import difflib
import io
import itertools
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from gpunn.rows.cells import number_of, with_point


def chunks_of(file: Any) -> Iterator[bytes]:
    """Yield what a file or pipe holds, as soon as something is there; gzip is decompressed.

    As for a file of training data, gzip may expand to 200 times its size, or to 16 MiB, and zero
    bytes may follow it. The size of a pipe is what has been read of it.
    """
    first = file.read1(2)
    first += file.read1(1) if len(first) == 1 else b""
    if first != b"\x1f\x8b":
        while first:
            yield first
            first = file.read1(65536)
        return
    compressed, expanded, size = len(first), 0, size_of_file(file)
    unpacked = zlib.decompressobj(31)
    while first:
        try:
            chunk = unpacked.decompress(first, 65536)
        except zlib.error as error:
            raise ValueError(f"the gzip stream is damaged ({error}); get it again") from None
        expanded += len(chunk)
        if expanded > max(2**24, 200 * max(compressed, size)):
            raise ValueError(
                f"the gzip stream expands to more than 200 times its size (and {2**24:,} bytes); "
                "if you trust it, decompress it first"
            )
        if chunk:
            yield chunk
        first = unpacked.unused_data.lstrip(b"\0") if unpacked.eof else unpacked.unconsumed_tail
        while not first and (more := file.read1(65536)):
            compressed += len(more)
            first = more.lstrip(b"\0") if unpacked.eof else more
        if first and unpacked.eof:  # another member follows, as after `cat a.gz b.gz`
            unpacked = zlib.decompressobj(31)
    if not unpacked.eof:
        raise ValueError("the gzip stream ends too early; get it again")


def size_of_file(file: Any) -> int:
    """Return a file's size in bytes; 0 for a pipe."""
    try:
        return os.fstat(file.fileno()).st_size
    except OSError:  # of what is no file of the system
        return 0


def lines_of(chunks: Iterable[bytes], waits: Callable[[], None]) -> Iterator[str]:
    """Yield lines of text with their ends; `waits` is called before more has to be waited for.

    A byte that is not UTF-8 becomes a surrogate, so that the row where it stands can be told.
    """
    utf8 = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
    decoder = io.IncrementalNewlineDecoder(utf8, translate=False)
    line_end = re.compile(r"\r\n?|\n")
    rest = ""
    for chunk in itertools.chain(chunks, [b""]):
        start, searched = 0, len(rest)
        rest += decoder.decode(chunk, not chunk)
        for end in line_end.finditer(rest, searched):
            yield rest[start : end.end()]
            start = end.end()
        rest = rest[start:]
        if len(rest) > 2**24:
            raise ValueError(f"not CSV or JSON lines: a row of more than {2**24:,} characters")
        waits()
    if rest:
        yield rest


def wrong_text(text: str) -> str:
    """Return what is wrong if text had a byte that is not UTF-8, else an empty text."""
    wrong = None if text.isascii() else re.search("[\udc80-\udcff]", text)
    if not wrong:
        return ""
    byte = ord(wrong[0]) - 0xDC00
    return f"expected text in UTF-8; got the byte 0x{byte:02x}; save it as UTF-8"


def found_delimiter(line: str, layout: dict[str, Any]) -> str:
    """Return the delimiter that gives a first row the columns that are looked for.

    If several do, one that leaves nothing but numbers, so that 1,5;2,5 is not taken for three
    cells; then the one that gives the most cells.
    """
    names, widths = layout["names"], (len(layout["positions"]), layout["width"])

    def fit(delimiter: str) -> tuple[bool, bool, int]:
        try:
            row = next(csv.reader([line], delimiter=delimiter), [])
        except csv.Error:
            return False, False, 0
        if len(row) > 100_000:
            return False, False, len(row)
        named = names is not None and {*names} <= {cell.strip() for cell in row}
        numbers = all(number_of(with_point(cell)) is not None for cell in row)
        return named or len(row) in widths, numbers, len(row)

    return max(",;\t|", key=fit)


def places_of(layout: dict[str, Any], names: list[str] | None, width: int) -> list[int]:
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
    missing = [name for name in wanted if name not in names]
    if missing:
        folded = {name.casefold(): name for name in names}
        near = difflib.get_close_matches(missing[0].casefold(), folded, n=1)
        nearest = f" (the nearest is {folded[near[0]]!r})" if near else ""
        listed = ", ".join([*names[:20], "..."] if len(names) > 20 else names)
        raise ValueError(f"the column {missing[0]!r}{nearest} is missing; there are {listed}")
    twice = [name for name in wanted if names.count(name) > 1]
    if twice:
        raise ValueError(f"two columns are called {twice[0]!r}; rename one of them")
    return [names.index(name) for name in wanted]


def rows_of_csv(
    lines: Iterable[str], layout: dict[str, Any], delimiter: str, before: int = 0
) -> Iterator[tuple[int, list[str] | ValueError]]:
    """Yield the cells that a network takes, with the number of each row's last line.

    A row that is broken is an error in place of its cells. `before` is the number of lines that
    were left out before these.
    """
    left = 2**24

    def bounded() -> Iterator[str]:
        nonlocal left
        for line in lines:
            left -= len(line)
            if left < 0:
                raise ValueError(f"not CSV, or damaged: a row of more than {2**24:,} characters")
            yield line

    spaces = delimiter != " "
    reader = csv.reader(bounded(), delimiter=delimiter, skipinitialspace=spaces, strict=True)
    decimal = layout["decimal"] or ("." if delimiter == "," else ",")
    commas = layout["numeric"] if decimal == "," else []
    places: list[int] | None = None
    width = 0
    while True:
        problem = ""
        try:
            row = next(reader, None)
        except csv.Error as error:
            row, problem = ["", ""], str(error)
            if problem == "unexpected end of data":
                problem = "a quote opens a cell and nothing closes it"
        if row is None:
            return
        left = 2**24
        line = before + reader.line_num
        if not row or (len(row) == 1 and width != 1 and not row[0].strip()):
            continue
        problem = problem or wrong_text("".join(row))
        if places is None:
            if problem:
                raise ValueError(f"line {line}: {problem}")
            width = len(row)
            if width > 100_000:
                raise ValueError(
                    f"line {line}: expected at most 100,000 columns; got {width:,}; is "
                    f"{delimiter!r} the right delimiter?"
                )
            top = [cell.strip() for cell in row]
            header = layout["header"]
            if header is None:
                header = not all(number_of(cell) is not None for cell in top)
            names = [name or f"Unnamed: {place}" for place, name in enumerate(top)]
            numbers = [str(place) for place in range(width)]
            try:
                places = places_of(layout, names if header else numbers, width)
            except ValueError as error:
                bare = layout["names"] and not {*layout["names"]} & {*names}
                hint = "; if the rows come without their names, say --no-header" if bare else ""
                raise ValueError(f"line {line}: {error}{hint}") from None
            if header:
                continue
        if not problem and len(row) != width:
            problem = f"expected {width} cells, as in the first row; got {len(row)}"
        if problem:
            yield line, ValueError(problem)
            continue
        cells = [row[place].strip() for place in places]
        for place in commas:
            cells[place] = with_point(cells[place])
        yield line, cells


def rows_of_json(
    lines: Iterable[str], layout: dict[str, Any], before: int = 0
) -> Iterator[tuple[int, list[str] | ValueError]]:
    """Yield the cells that a network takes, from an object or an array in each line.

    A row that is broken is an error in place of its cells. `before` is the number of lines that
    were left out before these.
    """
    commas = layout["numeric"] if layout["decimal"] == "," else []
    for number, line in enumerate(lines, start=before + 1):
        if not line.strip():
            continue
        problem = wrong_text(line)
        try:
            cells = [] if problem else json_cells(json.loads(line), layout)
        except (ValueError, RecursionError) as error:
            problem = str(error)
        if problem:
            yield number, ValueError(problem)
            continue
        for place in commas:
            cells[place] = with_point(cells[place])
        yield number, cells


def json_cells(value: Any, layout: dict[str, Any]) -> list[str]:
    """Return the cells that a network takes from a JSON value, as a CSV file would spell them."""
    if isinstance(value, dict):
        if layout["names"] is None:
            raise ValueError("expected an array, since the network knows no names; got an object")
        places_of(layout, list(value), len(value))
        values = [(name, value[name]) for name in layout["names"]]
    elif isinstance(value, list):
        value = flattened(value, layout.get("shape", []))
        values = [(place, value[place]) for place in places_of(layout, None, len(value))]
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
    predictions, and counts of rows by column and unknown category (None for a missing value where
    the training rows lacked none); it raises a ValueError if a row is broken. `begin` takes the
    form, and returns what writes predictions: those of no rows if there are none, and nothing where
    not even the columns are right. `tell` takes messages. If `skip`, broken rows are told and
    counted, else the first is a ValueError, after the rows before it have been written.
    """
    pending: list[tuple[int, list[str]]] = []
    unusual: dict[tuple[str, bool], tuple[int, list[str]]] = {}
    rows, broken = 0, 0

    def refuse(line: int, error: Exception) -> None:
        nonlocal broken
        text = str(error)
        message = f"line {line}{', ' if text.startswith('column ') else ': '}{text}"
        if not skip:
            raise ValueError(message)
        broken += 1
        if broken <= 10:
            tell(f"{message}; left out")

    def answer_rows(part: list[tuple[int, list[str]]]) -> None:
        nonlocal rows
        try:
            found, counts = answer([cells for _, cells in part])
        except ValueError as error:
            if len(part) < 2:
                refuse(part[0][0] if part else 0, error)
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

    lines = lines_of(chunks, answer_pending)
    before, first = 0, ""
    for first in lines:
        if first.strip():
            break
        before += 1  # and not kept: there may be any number of empty lines
    if form is None:
        form = "jsonl" if first.lstrip()[:1] in ("{", "[") else "csv"
    write = begin(form)
    every = itertools.chain([first], lines)
    if form == "jsonl":
        cells_of_rows = rows_of_json(every, layout, before)
    else:
        delimiter = layout["delimiter"] or found_delimiter(first, layout)
        cells_of_rows = rows_of_csv(every, layout, delimiter, before)
    try:
        for number, cells in cells_of_rows:
            if isinstance(cells, ValueError):
                answer_pending()
                refuse(number, cells)
            else:
                pending.append((number, cells))
        answer_pending()
    except ValueError:
        report()
        raise
    report()
    if not rows:
        answer_rows([])
        tell("there are no rows")


def unusual_text(column: str, is_missing: bool, count: int, texts: list[str]) -> str:
    """Return what is told at the end of categories, and gaps, that the training rows had not."""
    have = f"column {column!r}: {count:,} row{'s have' if count > 1 else ' has'}"
    if is_missing:
        lacking = "no value, where no training row lacked one"
        return f"{have} {lacking}; a median or no category stands in"
    listed = ", ".join(f"{text!r:.60}" for text in texts)
    return f"{have} a category that the training rows had not, taken as missing, such as {listed}"


def predictions_text(
    rows: Iterable[tuple[list[Any], list[float]]], names: list[str], form: str, digits: int
) -> str:
    """Return predictions and probabilities as lines of CSV or JSON."""
    text = io.StringIO()
    if form == "jsonl":
        for values, more in rows:
            cells = [*(shortened(value, digits) for value in values)]
            cells += [shortened(float(p), 9) for p in more]  # NumPy's float32 is none of JSON's
            text.write(json.dumps(dict(zip(names, cells, strict=True)), ensure_ascii=False) + "\n")
        return text.getvalue()
    csv.writer(text, lineterminator="\n").writerows(
        [*(cell_of(value, digits) for value in values), *(f"{p:.9g}" for p in more)]
        for values, more in rows
    )
    return text.getvalue()


def shortened(value: Any, digits: int) -> Any:
    """Return a number with so many digits; None if it is not finite, which JSON does not know."""
    if not isinstance(value, float):
        return value
    return None if value - value != 0 else float(f"{value:.{digits}g}")


def cell_of(value: Any, digits: int) -> str:
    """Return what is written to CSV; text that a spreadsheet runs as a formula is marked so."""
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    text = str(value)
    formula = re.match("'*[=@+\\-\\t\\r\\n\uff1d\uff20\uff0b\uff0d]", text)
    sign = r"[+-](\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|inf|nan)?"
    return f"'{text}" if formula and not re.fullmatch(sign, text, re.ASCII) else text

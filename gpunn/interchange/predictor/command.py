"""The command line of a predictor, of the standard library alone: copied as a whole."""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import re
import sys
from collections.abc import Sequence
from typing import Any

MODEL: dict[str, Any] = {}
"""The predictor's own stands in its place, as do its `predict`, `probabilities` and `encoded`."""


def predict(rows: Sequence[Sequence[float]]) -> Any:
    """Stand in for the predictor's own."""
    raise NotImplementedError


def probabilities(outputs: Any) -> Any:
    """Stand in for the predictor's own."""
    raise NotImplementedError


def number_of(cell: str) -> float | None:
    """Return the number that a cell spells; None if it spells none."""
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def found_delimiter(text: str) -> str:
    """Return the delimiter that gives the first rows equally many cells, and the most."""

    def columns(delimiter: str) -> tuple[int, int]:
        lines = itertools.islice(csv.reader(text.splitlines(True), delimiter=delimiter), 50)
        widths = [len(row) for row in lines if row] or [0]
        return widths[0] if len(set(widths)) == 1 and widths[0] > 1 else 0, widths[0]

    return max(",;\t|", key=columns)


def read_table(text: str, delimiter: str | None) -> tuple[list[str] | None, list[list[str]]]:
    """Return the names of a CSV file's columns, or None, and its rows of cells."""
    delimiter = delimiter or found_delimiter(text)
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    rows: list[list[str]] = []
    for row in reader:
        if not row or (len(row) == 1 and len(rows[:1] and rows[0]) != 1 and not row[0].strip()):
            continue
        if rows and len(row) != len(rows[0]):
            raise ValueError(
                f"line {reader.line_num}: expected {len(rows[0])} cells, got {len(row)}"
            )
        commas = delimiter != "," and MODEL["schema"] is not None
        rows.append([with_point(cell.strip()) if commas else cell.strip() for cell in row])
    if not rows:
        raise ValueError("the input is empty")
    header = MODEL["header"]
    if header is None:
        header = not all(number_of(cell) is not None for cell in rows[0])
    return (rows[0], rows[1:]) if header else (None, rows)


def with_point(cell: str) -> str:
    """Return a number that has a comma as its decimal mark with a point instead."""
    changed = cell.replace(",", ".")
    return changed if number_of(cell) is None and number_of(changed) is not None else cell


def chosen(names: list[str] | None, wanted: list[str], width: int) -> list[int]:
    """Return the places of the wanted columns: by name, or without names by number or order."""
    if names is None:
        by_number = width > len(wanted) and all(name.isdecimal() for name in wanted)
        places = [int(name) for name in wanted] if by_number else list(range(width))
        if len(places) != len(wanted) or max(places) >= width:
            raise ValueError(f"expected {len(wanted)} columns; got {width}")
        return places
    missing = [name for name in wanted if name not in names]
    if missing:
        raise ValueError(f"the column {missing[0]!r} is missing; there are {', '.join(names)}")
    return [names.index(name) for name in wanted]


def encoded(names: list[str] | None, rows: list[list[str]]) -> list[list[float]]:
    """Stand in for the predictor's own."""
    raise NotImplementedError


def decided(outputs: Sequence[float]) -> list[object]:
    """Return what is predicted: a class, yes (1) or no (0) of each label, or the numbers."""
    activation, classes = MODEL["output_activation"], MODEL["classes"]
    if activation == "sigmoid" and len(outputs) > 1:
        return [int(output > 0) for output in outputs]
    if activation not in ("softmax", "sigmoid"):
        return [float(output) for output in outputs]
    largest = max(range(len(outputs)), key=lambda place: outputs[place])
    code = largest if activation == "softmax" else int(outputs[0] > 0)
    return [classes[code] if classes else code]


def cell_of(value: object) -> str:
    """Return what is written to CSV; text that a spreadsheet runs as a formula is marked so."""
    if isinstance(value, float):
        return f"{value:.{9 if MODEL['dtype'] == 'float32' else 17}g}"
    text = str(value)
    formula = re.match("'*[=@+\\-\\t\\r\\n\uff1d\uff20\uff0b\uff0d]", text)
    sign = r"[+-](\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|inf|nan)?"
    return f"'{text}" if formula and not re.fullmatch(sign, text, re.ASCII) else text


def main() -> None:
    """Read rows from a CSV file, and write their predictions as CSV."""
    parser = argparse.ArgumentParser(description="Predict from the rows of a CSV file.")
    parser.add_argument("input", nargs="?", help="CSV file in UTF-8; by default standard input")
    parser.add_argument("--output", help="CSV file to write; by default standard output")
    parser.add_argument("--probabilities", action="store_true", help="add them beside the classes")
    parser.add_argument("--delimiter", help="character between cells; by default it is found")
    options = parser.parse_args()
    knows_probabilities = MODEL["output_activation"] in ("softmax", "sigmoid")
    if options.probabilities and not knows_probabilities:
        parser.error("--probabilities: this network gives no probabilities")
    try:
        if options.input is None:
            content = sys.stdin.buffer.read()
        else:
            with open(options.input, "rb") as file:
                content = file.read()
        names, rows = read_table(content.decode("utf-8-sig"), options.delimiter)
        outputs = predict(encoded(names, rows))
    except (OSError, ValueError, csv.Error) as error:
        parser.exit(2, f"Error: {options.input or 'standard input'}: {error}\n")
    count, targets = MODEL["outputs"], MODEL["targets"]
    single = count == 1 or MODEL["output_activation"] == "softmax"
    header = ["prediction"]
    if not single:
        header = [f"prediction_{name}" for name in targets or range(count)]
    table = [[cell_of(value) for value in decided(row)] for row in outputs]
    if options.probabilities:
        labels = MODEL["classes"] if single else targets
        header += [f"probability_{label}" for label in labels or range(max(count, 2))]
        for cells, row in zip(table, probabilities(outputs), strict=True):
            cells += [f"{p:.9g}" for p in row]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *table])
    if options.output is None:
        sys.stdout.buffer.write(text.getvalue().encode())
    else:
        with open(options.output, "wb") as file:
            file.write(text.getvalue().encode())

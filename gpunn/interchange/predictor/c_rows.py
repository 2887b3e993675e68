"""A schema as C: a struct for a row of a table, and a function from it to the network's input."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from gpunn.interchange.predictor.c_text import (
    Functions,
    names_in_c,
    text_source,
    texts_source,
)
from gpunn.interchange.predictor.description import described_schema
from gpunn.tables import Schema
from gpunn.tables.cells import Markers
from gpunn.tables.dates import CYCLES

__all__ = ["rows_source"]

FIELDS = {
    "number": "double ",
    "category": "const char *",
    "boolean": "int ",
    "datetime": "{prefix}_date ",
}
"""The type of a column's field, by its kind."""

MEANING = """\
/* A row of the table. Where a value is missing, a number is NAN, a text NULL, a boolean -1 (else 0
   or 1), and a date has the month 0. Texts are in UTF-8, spelt as in the training rows. */
"""

PARTS = {
    "year": "row->{field}.year",
    "month": "row->{field}.month",
    "day": "row->{field}.day",
    "day of week": "weekday(row->{field}.year, row->{field}.month, row->{field}.day)",
    "hour": "row->{field}.hour",
}


def rows_source(schema: Schema, prefix: str, real: str) -> list[str]:
    """Return the type of a row, and the functions that encode it."""
    described = described_schema(schema)
    columns = described["columns"]
    fields = names_in_c(column["name"] for column in columns)
    lines = [f"    for (int i = 0; i < {described['width']}; i++) input[i] = 0;"]
    markers = sorted(filter(math.isfinite, Markers.of(schema.missing_values).numbers))
    for column in columns:
        block = "".join(encoding(column, fields[column["name"]], described["scaling"], markers))
        lines.append(f"    {{\n{block}    }}")
    encode = (
        "/* From a table's row to what the network takes; unknown categories count as missing. */\n"
        f"static inline void {prefix}_encode(const {prefix}_row *row, {real} *input) {{\n"
        + "\n".join(lines)
        + "\n}\n"
    )
    functions = Functions("c_rows.h", prefix, "double")
    copied = functions.copied(encode)
    dates = any(column["kind"] == "datetime" for column in columns)
    types = [type_of_dates(prefix)] if dates else []
    return [*types, type_of_rows(columns, fields, prefix), *functions.used(), copied]


def type_of_dates(prefix: str) -> str:
    """Return the type of a date's field."""
    return (
        "/* A date: month and day count from 1, and half past one is the hour 1.5. */\n"
        f"typedef struct {{\n    int year, month, day;\n    double hour;\n}} {prefix}_date;\n"
    )


def type_of_rows(
    columns: Iterable[Mapping[str, Any]], fields: Mapping[str, str], prefix: str
) -> str:
    """Return the type of a row."""
    lines = []
    for column in columns:
        field = f"{FIELDS[column['kind']].format(prefix=prefix)}{fields[column['name']]};"
        # The name is written as a string is, so that nothing in it ends the comment.
        lines.append(f"    {field} /* {text_source(column['name'])} */\n")
    return f"{MEANING}typedef struct {{\n{''.join(lines)}}} {prefix}_row;\n"


def encoding(
    column: Mapping[str, Any], field: str, scaling: str, markers: Iterable[float]
) -> Iterable[str]:
    """Yield the lines that encode a column."""
    space = " " * 8
    if column["kind"] == "category":
        texts, place = column["categories"], column["place"]
        yield texts_source("categories", texts, 8)
        yield f"{space}input[{place}] = code_of(row->{field}, categories, {len(texts)});\n"
    elif column["kind"] == "boolean":
        codes = {text: code for code, text in enumerate(column["categories"], start=1)}
        yes, no = codes.get("True", 0), codes.get("False", 0)
        choice = f"row->{field} < 0 ? 0 : row->{field} ? {yes} : {no}"
        yield f"{space}input[{column['place']}] = {choice};\n"
    elif column["kind"] == "datetime":
        yield f"{space}int missing = row->{field}.month == 0;\n"
        yield from indicator(column)
        for part, scale in column["parts"].items():
            lines = [*scaled(PARTS[part].format(field=field), scale, scaling)]
            for curve, function in (("sine", "sin"), ("cosine", "cos")):
                if curve in scale:
                    angle = f"number * {2 * math.pi / CYCLES[part]!r}"
                    lines.append(
                        f"{space}input[{scale[curve]}] = missing ? 0 : {function}({angle});\n"
                    )
            yield f"{space}{{\n{textwrap.indent(''.join(lines), '    ')}{space}}}\n"
    else:
        same = "".join(f" || row->{field} == {marker!r}" for marker in markers)
        yield f"{space}int missing = row->{field} != row->{field}{same};\n"
        yield from indicator(column)
        if "number" in column:
            yield from scaled(f"row->{field}", column["number"], scaling)


def indicator(column: Mapping[str, Any]) -> Iterable[str]:
    """Yield the line that tells whether a value is missing, if the schema has a column for it."""
    if "missing" in column:
        yield f"        input[{column['missing']}] = missing;\n"


def scaled(source: str, scale: Mapping[str, Any], scaling: str) -> Iterable[str]:
    """Yield the lines that put a number on the scale of its column's training rows."""
    median = scale["median"]
    if scaling == "standard":
        factor = 1 / max(scale["deviation"], 2.0**-1022)
        value = f"bounded(number, {scale['mean']!r}, {factor!r})"
    elif scaling == "robust":
        value = f"robust(number, {median!r}, {scale['factor']!r})"
    elif scaling == "quantile":
        quantiles = scale["quantiles"]
        lines = textwrap.fill(
            ", ".join(map(repr, quantiles)),
            100,
            initial_indent=" " * 12,
            subsequent_indent=" " * 12,
        )
        yield f"        static const double quantiles[] = {{\n{lines}}};\n"
        value = f"normal_quantile(number, quantiles, {len(quantiles)})"
    else:
        value = "number"
    yield f"        double number = missing ? {median!r} : {source};\n"
    yield f"        input[{scale['place']}] = {value};\n"

"""A schema as C: a struct for a row of a table, and a function from it to the network's input."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from gpunn.interchange.predictor.c_text import (
    Functions,
    constant,
    names_in_c,
    text_source,
    texts_source,
    wrapped,
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

REFUSED = "valid = 0, missing = 1;"
"""What is done with a cell that `Schema.encode` would refuse."""

MEANING = """\
/* A row of the table. If a value is missing, set a number to NAN, a text to NULL, a boolean to -1
   (else to 0 or 1), and the month of a date to 0. Texts are in UTF-8, spelt as in the training
   rows, without spaces around them; 7.0 is 7. */
"""

ENCODE = """\
/* From a table's row to what the network takes. Unknown categories count as missing. Returns 1; or
   0 if a number is infinite or too large for the network, or a date does not exist in the years 1
   to 9999. Then every input is NAN, and so are the outputs. */
static inline int {prefix}_encode(const {prefix}_row *row, {real} *input) {{
    int valid = 1;
    for (int i = 0; i < {width}; i++) input[i] = 0;
{columns}    for (int i = 0; i < {width}; i++) valid = valid && input[i] - input[i] == 0;
    for (int i = 0; i < {width} && !valid; i++) input[i] = NAN;
    return valid;
}}
"""

PARTS = {
    "year": "row->{field}.year",
    "month": "row->{field}.month",
    "day": "row->{field}.day",
    "day of week": "{weekday}(row->{field}.year, row->{field}.month, row->{field}.day)",
    "hour": "row->{field}.hour",
}


def rows_source(schema: Schema, prefix: str, real: str) -> list[str]:
    """Return the type of a row, and the functions that encode it."""
    described = described_schema(schema)
    columns = described["columns"]
    fields = names_in_c((column["name"] for column in columns), "column")
    functions = Functions("c_rows.h", prefix, "double")
    markers = sorted(n for n in Markers.of(schema.missing_values).numbers if n == n)
    blocks = (
        "".join(encoding(column, fields[column["name"]], described["scaling"], markers, functions))
        for column in columns
    )
    encode = ENCODE.format(
        prefix=prefix,
        real=real,
        width=described["width"],
        columns="".join(f"    {{\n{block}    }}\n" for block in blocks),
    )
    dates = any(column["kind"] == "datetime" for column in columns)
    types = [type_of_dates(prefix)] if dates else []
    return [*types, type_of_rows(columns, fields, prefix), *functions.used(), encode]


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
    column: Mapping[str, Any],
    field: str,
    scaling: str,
    markers: Iterable[float],
    functions: Functions,
) -> Iterable[str]:
    """Yield the lines that encode a column."""
    space = " " * 8
    if column["kind"] == "category":
        texts, place = list(column["codes"]), column["place"]
        yield texts_source("texts", texts, 8, f"column {column['name']!r}")
        codes = ", ".join(map(str, column["codes"].values()))
        yield wrapped(f"{space}static const int codes[] = {{{codes}}};", 12) + "\n"
        code_of = functions.name("code_of")
        yield f"{space}input[{place}] = {code_of}(row->{field}, texts, codes, {len(texts)});\n"
    elif column["kind"] == "boolean":
        yes, no = (column["codes"].get(text, 0) for text in ("True", "False"))
        choice = f"row->{field} == 1 ? {yes} : row->{field} == 0 ? {no} : 0"
        yield f"{space}input[{column['place']}] = {choice};\n"
    elif column["kind"] == "datetime":
        parts = ", ".join(f"row->{field}.{part}" for part in ("year", "month", "day", "hour"))
        yield f"{space}int missing = row->{field}.month == 0;\n"
        yield f"{space}if (!missing && !{functions.name('is_date')}({parts})) {REFUSED}\n"
        yield from indicator(column)
        for part, scale in column["parts"].items():
            weekday = functions.name("weekday") if part == "day of week" else ""
            source = PARTS[part].format(field=field, weekday=weekday)
            lines = [*scaled(source, scale, scaling, functions)]
            for curve, function in (("sine", "sin"), ("cosine", "cos")):
                if curve in scale:
                    angle = f"number * {2 * math.pi / CYCLES[part]!r}"
                    lines.append(
                        f"{space}input[{scale[curve]}] = missing ? 0 : {function}({angle});\n"
                    )
            yield f"{space}{{\n{textwrap.indent(''.join(lines), '    ')}{space}}}\n"
    else:
        same = "".join(f" || row->{field} == {constant(marker, 8)}" for marker in markers)
        yield f"{space}int missing = row->{field} != row->{field}{same};\n"
        yield f"{space}if (!missing && row->{field} - row->{field} != 0) {REFUSED}\n"
        yield from indicator(column)
        if "number" in column:
            yield from scaled(f"row->{field}", column["number"], scaling, functions)


def indicator(column: Mapping[str, Any]) -> Iterable[str]:
    """Yield the line that tells whether a value is missing, if the schema has a column for it."""
    if "missing" in column:
        yield f"        input[{column['missing']}] = missing;\n"


def scaled(
    source: str, scale: Mapping[str, Any], scaling: str, functions: Functions
) -> Iterable[str]:
    """Yield the lines that put a number on the scale of its column's training rows."""
    median = scale["median"]
    if scaling == "standard":
        factor = 1 / max(scale["deviation"], 2.0**-1022)
        value = f"{functions.name('bounded')}(number, {scale['mean']!r}, {factor!r})"
    elif scaling == "robust":
        value = f"{functions.name('robust')}(number, {median!r}, {scale['factor']!r})"
    elif scaling == "quantile":
        quantiles = scale["quantiles"]
        lines = textwrap.fill(
            ", ".join(map(repr, quantiles)),
            100,
            initial_indent=" " * 12,
            subsequent_indent=" " * 12,
        )
        yield f"        static const double quantiles[] = {{\n{lines}}};\n"
        value = f"{functions.name('normal_quantile')}(number, quantiles, {len(quantiles)})"
    else:
        value = "number"
    yield f"        double number = missing ? {median!r} : {source};\n"
    yield f"        input[{scale['place']}] = {value};\n"

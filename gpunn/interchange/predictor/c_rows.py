"""A schema in C: a struct for a row of a table, and a function that encodes it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from gpunn.interchange.predictor.c_text import Functions, constant, names_in_c, string_source
from gpunn.interchange.predictor.description import described_schema
from gpunn.rows.cells import Markers
from gpunn.tables import Schema
from gpunn.tables.encoders import KINDS
from gpunn.tables.scaling import SCALINGS

DATE = """\
/* A date: month and day count from 1, and 1:30 is the hour 1.5. */
typedef struct {{
    int year, month, day;
    double hour;
}} {prefix}_date;
"""

MEANING = """\
/* A row of the table. A missing number is NAN, a missing string is NULL, a missing Boolean is -1
   (others are 0 or 1), and a missing date has the month 0. Strings are UTF-8, spelled as in the
   training rows, without spaces around them; write 7.0 as 7. */
"""

ENCODE = """\
/* Encode a table's row as the network's input. Unknown categories count as missing. Return 0 if a
   number is infinite or too large for the network, or if a date does not exist in the years 1 to
   9999; then every input is NAN, and so are the outputs. Otherwise return 1. */
static inline int {prefix}_encode(const {prefix}_row *row, {real} *input) {{
    int valid = 1;
    for (int i = 0; i < {width}; i++) input[i] = 0;
{columns}    for (int i = 0; i < {width}; i++) valid = valid && input[i] - input[i] == 0;
    for (int i = 0; i < {width} && !valid; i++) input[i] = NAN;
    return valid;
}}
"""


class RowFunctions(Functions):
    def __init__(self, schema: Schema, prefix: str) -> None:
        super().__init__("c_rows.h", prefix, "double")
        numbers = sorted(n for n in Markers.of(schema.missing_values).numbers if n == n)
        self.markers = [constant(number, 8) for number in numbers]

    def scaled(self, scale: Mapping[str, Any]) -> tuple[str, str]:
        constants, arguments = "", ["number"]
        for name, value in scale.items():
            if name == "scaling":
                continue
            if isinstance(value, list):
                constants += self.array(name, value, name)
                arguments += [name, str(len(value))]
            else:
                arguments.append(repr(value))
        function = self.name(SCALINGS[scale["scaling"]].number.__name__)
        return constants, f"{function}({', '.join(arguments)})"


def rows_source(schema: Schema, prefix: str, real: str) -> list[str]:
    described = described_schema(schema)
    columns = described["columns"]
    fields = names_in_c((column["name"] for column in columns), "column")
    functions = RowFunctions(schema, prefix)
    blocks = (
        KINDS[column["kind"]].c(column | encoding, f"row->{fields[column['name']]}", functions)
        for column in columns
        for encoding in column["encodings"]
    )
    encode = ENCODE.format(
        prefix=prefix,
        real=real,
        width=described["width"],
        columns="".join(f"    {{\n{textwrap.indent(block, ' ' * 8)}    }}\n" for block in blocks),
    )
    dates = any(column["kind"] == "datetime" for column in columns)
    types = [DATE.format(prefix=prefix)] if dates else []
    units = {column.name: column.unit for column in schema.columns}
    return [*types, type_of_rows(columns, fields, units, prefix), *functions.used(), encode]


def type_of_rows(
    columns: Iterable[Mapping[str, Any]],
    fields: Mapping[str, str],
    units: Mapping[str, str],
    prefix: str,
) -> str:
    lines = []
    for column in columns:
        field = f"{KINDS[column['kind']].field.format(prefix=prefix)}{fields[column['name']]};"
        # Texts are written like C strings, so that nothing in them can end the comment.
        unit = f", in {string_source(units[column['name']])}" if units[column["name"]] else ""
        lines.append(f"    {field} /* {string_source(column['name'])}{unit} */\n")
    return f"{MEANING}typedef struct {{\n{''.join(lines)}}} {prefix}_row;\n"

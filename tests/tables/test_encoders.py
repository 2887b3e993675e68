"""All encoders compute the same numbers: NumPy, streams, exported Python, ONNX and C."""

import math
import random
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_programs import compiled
from exported_networks import onnx_session, predictor_of

import gpunn
from gpunn.errors import DataError
from gpunn.experiment.predict_in_blocks import RowsOfCells
from gpunn.interchange import save_c, to_onnx
from gpunn.layers import Dropout
from gpunn.rows.cells import Markers, boolean_text, date_of, number_of
from gpunn.rows.formats import in_standard_form
from gpunn.tables import Schema, read_table
from gpunn.tables.joined_schema import JoinedSchema
from gpunn.tables.scaling import SCALINGS

pytestmark = pytest.mark.filterwarnings("ignore::gpunn.errors.GpunnWarning")

Rows = list[list[str]]
Encoded = list[list[float] | None]
"""The numbers of each row; None if it is refused."""


def network(schema: Schema) -> gpunn.Sequential:
    model = gpunn.Sequential([Dropout(0.1)], schema.width, "numpy", dtype="float64")
    model.schema = schema
    return model


def row_by_row(encode: Callable[[Rows], Any], rows: Rows) -> Encoded:
    found: Encoded = []
    problems = []
    for row in rows:
        try:
            found.append(list(encode([row])[0]))
        except (DataError, ValueError) as error:
            problems.append(str(error))
            found.append(None)
    assert all("column '" in problem for problem in problems)
    accepted = [row for row, numbers in zip(rows, found, strict=True) if numbers is not None]
    if accepted:
        expected = [numbers for numbers in found if numbers is not None]
        np.testing.assert_array_equal(encode(accepted), expected)
    return found


def used(schema: Schema) -> dict[str, str]:
    return {column.name: column.kind for column in schema.columns if not column.dropped}


def by_table(schema: Schema, rows: Rows, folder: Path) -> Encoded:
    def encode(rows: Rows) -> Any:
        columns = zip(used(schema), zip(*rows, strict=True), strict=True)
        return schema.encode({name: list(cells) for name, cells in columns}, "float64")

    return row_by_row(encode, rows)


def by_stream(schema: Schema, rows: Rows, folder: Path) -> Encoded:
    """Encode as `gpunn predict` does; exported Python counts the same unseen values."""
    predictor = predictor_of(network(schema))

    def encode(rows: Rows) -> Any:
        matrix, unseen = schema.encode_with_unseen(RowsOfCells(schema, rows), "float64")
        expected = {(name, None): count for name, count in unseen.missing.items()}
        for name, texts in unseen.unknown.items():
            expected |= {(name, text): count for text, count in texts.items()}
        counts: dict[tuple[str, str | None], int] = {}
        predictor["encoded"](rows, counts)
        assert counts == expected, rows
        return matrix

    return row_by_row(encode, rows)


def by_python(schema: Schema, rows: Rows, folder: Path) -> Encoded:
    return row_by_row(predictor_of(network(schema), pure=True)["encoded"], rows)


def standard(schema: Schema, rows: Rows) -> Rows:
    """Return rows in standard form, as callers of ONNX and C have to write them."""
    forms = [column.format for column in schema.columns if not column.dropped]
    markers = Markers.of(schema.missing_values)

    def cell_of(cell: str, form: str) -> str:
        plain = form and cell.strip() not in markers
        return (in_standard_form(cell.strip(), form) or "") if plain else cell

    return [[cell_of(*each) for each in zip(row, forms, strict=True)] for row in rows]


def meaning(kind: str, cell: str, markers: Markers) -> Any:
    """Return text as a caller of ONNX or C would pass it, or raise a ValueError."""
    text = cell.strip()
    if text in markers:
        return None
    if kind == "category":
        return text
    if kind == "boolean":
        return {"False": 0, "True": 1}.get(boolean_text(text))
    value = number_of(text) if kind == "number" else date_of(text)
    if value is None:
        raise ValueError(f"column '': got {cell!r}")
    return value


def in_onnx(kind: str, value: Any) -> Any:
    if kind == "category":
        return value or ""
    if isinstance(value, datetime):
        return (np.datetime64(value) - np.datetime64(0, "us")) / np.timedelta64(1, "s")
    return math.nan if value is None else float(value)


def by_onnx(schema: Schema, rows: Rows, folder: Path) -> Encoded:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    session = onnx_session(to_onnx(network(schema)))
    kinds, markers = used(schema), Markers.of(schema.missing_values)

    def encode(rows: Rows) -> Any:
        inputs = {}
        for (name, kind), cells in zip(kinds.items(), zip(*rows, strict=True), strict=True):
            values = [[in_onnx(kind, meaning(kind, cell, markers))] for cell in cells]
            inputs[name] = np.array(values, object if kind == "category" else float)
        (found,) = session.run(["output"], inputs)
        if np.isnan(found[0]).all():
            raise ValueError("a row whose column '' is refused")
        return found

    return row_by_row(encode, standard(schema, rows))


def in_c(kind: str, value: Any) -> str:
    if kind == "category":
        return "0" if value is None else '"' + "".join(f"\\{b:03o}" for b in value.encode()) + '"'
    if kind == "boolean":
        return "-1" if value is None else str(value)
    if kind == "datetime":
        moment = value or datetime.min
        seconds = (
            moment - moment.replace(hour=0, minute=0, second=0, microsecond=0)
        ).total_seconds()
        month = 0 if value is None else moment.month
        return f"{{{moment.year}, {month}, {moment.day}, {seconds / 3600!r}}}"
    return "NAN" if value is None else repr(value).replace("inf", "INFINITY").replace("nan", "NAN")


PROGRAM = """\
#include <stdio.h>
#include "a.h"

int main(void) {
    static const predictor_row rows[] = {ROWS};
    for (unsigned k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        double input[PREDICTOR_INPUTS];
        printf("%d", predictor_encode(&rows[k], input));
        for (int i = 0; i < PREDICTOR_INPUTS; i++) printf(" %.17g", input[i]);
        puts("");
    }
    return 0;
}
"""


def by_c(schema: Schema, rows: Rows, folder: Path) -> Encoded:
    kinds, markers = used(schema).values(), Markers.of(schema.missing_values)

    structs: list[str | None] = []
    for row in standard(schema, rows):
        cells = zip(kinds, row, strict=True)
        try:
            fields = [in_c(kind, meaning(kind, cell, markers)) for kind, cell in cells]
        except ValueError:
            structs.append(None)
        else:
            structs.append(f"{{{', '.join(fields)}}}")
    known = [each for each in structs if each is not None]
    save_c(network(schema), folder / "a.h")
    (folder / "main.c").write_text(PROGRAM.replace("ROWS", ",\n".join(known)))
    lines = iter(compiled("gcc", folder, "main.c", flags=("-O0",)).splitlines())
    found: Encoded = []
    for each in structs:
        valid, *numbers = [0] if each is None else map(float, next(lines).split())
        found.append(numbers if valid else None)
    return found


ENGINES = [
    by_table,
    by_stream,
    by_python,
    by_onnx,
    pytest.param(by_c, marks=pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is missing")),
]


def date(year: int, day: int, weekday: int, hour: float) -> tuple[float, ...]:
    """Return the numbers of a date in June: its parts, and the cycles of week and day."""
    angles = [2 * math.pi * weekday / 7, 2 * math.pi * hour / 24]
    waves = [wave(angle) for angle in angles for wave in (math.sin, math.cos)]
    return (year, day, weekday, hour, *waves, 0)


SIX = (6, *date(0, 0, 0, 6)[6:])

Case = tuple[str, list[str], dict[str, Any]]

CASES: dict[str, Case] = {
    "numbers": (
        "number",
        ["1", "2", "4", ""],
        {
            **dict.fromkeys(["", " ", "NA", "?", "nan", "-nan", "NULL", "-999", "-9.99e2"], (2, 1)),
            " 7 ": (7, 0),
            "+4": (4, 0),
            ".5": (0.5, 0),
            "5.": (5, 0),
            "1E2": (100, 0),
            "007": (7, 0),
            "1e-310": (1e-310, 0),
            "-0": (0, 0),
            "\uff17": (7, 0),
            "12345678901234567890": (12345678901234567890.0, 0),
            **dict.fromkeys(["x", "0x1", "1_0", "inf", "-inf", "1e400", "1,5", "2020-01-01"]),
        },
    ),
    "a constant number": ("number", ["3", "3", ""], {"3": (0,), "5": (0,), "": (1,), "x": None}),
    "dates": (
        "datetime",
        ["2019-06-05", "2021-06-06", "2021-06-07 12:00", ""],
        {
            **dict.fromkeys(["2020-06-10", "2020-W24-3"], date(2020, 10, 2, 0)),
            **dict.fromkeys(
                ["June 10th, 2020", "10-Jun-2020", "jun 10 2020"], date(2020, 10, 2, 0)
            ),
            "10 Jun. 2020 06:00": date(2020, 10, 2, 6),
            **dict.fromkeys(["2020-06", "2020/06", "Jun 2020", "june 2020"], date(2020, 1, 0, 0)),
            **dict.fromkeys(["2020-Q2", "2020Q2", "Q2 2020"], date(2020, 1, 2, 0)),
            "2020/06/10T06:00": date(2020, 10, 2, 6),
            " 2020-12-10 18:00:00.5": date(2020, 10, 3, 18 + 0.5 / 3600),
            **dict.fromkeys(
                ["2020-06-10 06:00+02:00", "2020-06-10T06:00:00Z"], date(2020, 10, 2, 6)
            ),
            "2020-06-10 12": date(2020, 10, 2, 12),
            **dict.fromkeys(["", "NaT", "na", "-999"], (2021, 6, 2, 0, 0, 0, 0, 0, 1)),
            **dict.fromkeys(["2020-02-30", "20200610", "10.6.2020", "2020-06-10 24:30", "7", "x"]),
            **dict.fromkeys(
                ["2020-13", "2020-6", "2020-Q5", "2020 Q0", "Q1", "Q12020", "2020-W7", "J 2020"]
            ),
            **dict.fromkeys(
                ["31 June 2020", "10 Juni 2020", "Jun 10", "June 2020 10", "10 Jun 20"]
            ),
        },
    ),
    "numbers with a unit": (
        "number",
        ["1 kg", "2kg", "4.0 kg", ""],
        {
            **dict.fromkeys(["", "?", "-999", "-999 kg", "3 lb", "3 KG", "$3", "3%"], (2, 1)),
            **dict.fromkeys(["7 kg", "7kg", " +7.0  kg ", "7"], (7, 0)),
            **dict.fromkeys(["1,200 kg", "1'200 kg", "1 200 kg", "1200.0kg", "1.2e3"], (1200, 0)),
            **dict.fromkeys([".5 kg", "0.5 kg", "00.5 kg"], (0.5, 0)),
            **dict.fromkeys(["x", "kg", "1,5 kg", "1,20 kg", "1 kg x", "1.2.3 kg", "1,200"]),
        },
    ),
    "hours and minutes": (
        "number",
        ["2h 50m", "19h", "25m", "7 hours, 5 min"],
        {
            **dict.fromkeys(["1h 5m", "1 hr 5 mins", "65 min", "65m", "65", "1H05M"], (65,)),
            **dict.fromkeys(["2 hours", "2h", "120 min", "0h 120m"], (120,)),
            **dict.fromkeys(["3 kg", "3 s", "1.5h", "9" * 5000 + "h"], (297.5,)),
            **dict.fromkeys(["x", "h", "5m 2h", "2h 50", "1h 2m 3s"]),
        },
    ),
    "amounts of money": (
        "number",
        ["-€1.200,50", "€ 3", "€-4"],
        {"€1.000.000": (1e6,), "-€,5": (-0.5,), "7": (7,), "$7": (-4,), "€1.5": None},
    ),
    "amounts with a currency code": (
        "number",
        ["USD 1,200.50", "-USD 3", "USD 4"],
        {"USD 1,000,000": (1e6,), "USD -.5": (-0.5,), "7": (7,), "EUR 7": (4,), "USD7": None},
    ),
    "dates with the month first": (
        "datetime",
        ["6/5/2019", "06/13/2021", "6-07-2021 12:00", ""],
        {
            **dict.fromkeys(["6/10/2020", "06.10.2020", "2020-06-10"], date(2020, 10, 2, 0)),
            **dict.fromkeys(["6/10/2020 6:00", "6/10/2020T06:00:00"], date(2020, 10, 2, 6)),
            **dict.fromkeys(["", "NaT", "-999"], (2021, 7, 2, 0, 0, 0, 0, 0, 1)),
            **dict.fromkeys(["13/6/2020", "6/31/2020", "6/10/20", "6/10-2020", "x", "7"]),
        },
    ),
    "times of day": (
        "datetime",
        ["0:00", "4:30 pm", "21:00:00", ""],
        {
            **dict.fromkeys(["6:00", "06:00:00", " 6 am ", "6:00 A.M.", "2020-06-10 06:00"], SIX),
            **dict.fromkeys(["", "NaT", "-999"], (16.5, 0, 0, 1)),
            **dict.fromkeys(["24:00", "6", "13 pm", "0 am", "6.30", "6:3", "x"]),
        },
    ),
    "booleans": (
        "boolean",
        ["true", "false", ""],
        {
            **dict.fromkeys(["True", "t", "YES", "y", "1", "1.0", " yes "], (2,)),
            **dict.fromkeys(["FALSE", "f", "no", "N", "0", "0.0"], (1,)),
            **dict.fromkeys(["", "NA", "-999", "01", "2", "maybe"], (0,)),
        },
    ),
}

KNOWN: dict[str, tuple[list[str], dict[str, int], list[str]]] = {
    "integers": (
        ["10", "7", "x"],
        {"10": 1, "10.0": 1, "7": 2, "7.0": 2, "x": 3, " x ": 3},
        [
            *("07", "007", "+7", "1e1", "1E1", "7.", "7.00", "7e0", "7.0.0", ".0", "7,0", "\uff17"),
            *("7_0", "inf", "07.0", "X", "70", "-7", "0x7", "NA", "", "-999.0"),
        ],
    ),
    "codes": (["07", "12", "000"], {"000": 1, "07": 2, "12": 3, "12.0": 3}, ["7", "7.0", "0"]),
    "both": (["07", "7", "7.0"], {"07": 1, "7": 2, "7.0": 3}, ["7.00", "007"]),
    "with a point": (["7.0", "8.0"], {"7.0": 1, "8.0": 2, "7": 1, "8": 2}, ["7.", "08"]),
    "zero and signs": (
        ["-1", "0", "00"],
        {"-1": 1, "-1.0": 1, "0": 2, "0.0": 2, "00": 3},
        ["-0", "000", "00.0", "+0", "1"],
    ),
    "other numbers": (
        ["+4", "0.50", "1e3", "2.5"],
        {"+4": 1, "0.50": 2, "1e3": 3, "2.5": 4},
        ["4", "+4.0", "0.5", "1000", "1e3.0", "2.50", "1E3"],
    ),
    "large": (
        ["9007199254740992", "9007199254740993"],
        {"9007199254740992": 1, "9007199254740993": 2, "9007199254740993.0": 2},
        ["9007199254740994", "9.007199254740992e15"],
    ),
    "a code that is no marker": (["0999", "12"], {"0999": 1, "12": 2}, ["-999", "999"]),
}
"""Categories of a column, the codes of cells, and cells that are unknown or missing."""

CASES |= {
    name: (
        "category",
        categories,
        {cell: (code,) for cell, code in {**known, **dict.fromkeys(others, 0)}.items()},
    )
    for name, (categories, known, others) in KNOWN.items()
}
"""The kind of a column, its training rows, and the numbers of cells; None if one is refused."""


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CASES)
def test_cells(tmp_path, name, engine):
    kind, training, cells = CASES[name]
    options = {"columns": {"c": kind}, "missing_values": ["-999"], "scaling": "none"}
    schema = Schema.fit({"c": training}, **options)
    found = engine(schema, [[cell] for cell in cells], tmp_path)
    for (cell, expected), numbers in zip(cells.items(), found, strict=True):
        if expected is None or numbers is None:
            assert numbers == expected, cell
        else:
            assert numbers == pytest.approx(expected, 1e-12, 1e-12), cell


POOLS = {
    "n": [
        *("1", "2.5", "-3", "1e3", "", "NA", "?", " 7 ", "+4", ".5", "5.", "nan", "NULL", "999"),
        *("1E2", "1e-310", "5e-324", "1e150", "-1e300", "1e308", "0x1", "1_0", "inf", "1234567890"),
    ],
    "t": [
        *("7", "07", "+7", "7.00", "-nan", "1.0", "a", "A", "", "NA", " b ", "2", "\u00e9", "'=1"),
        *("=1", "yes", "true", "1e400", "nan"),
    ],
    "c": ["0999", "+999", "007", "12", "0013", "", "?", "7.0", "3"],
    "b": ["1.0", "01", "yes", "no", "y", "N", "TRUE", "false", "1", "0", "", "NA", "T"],
    "d": [
        *("999", "2020-01-31", "2021/02/28", "2020-12-31 23:59:59", "2019-07-01T00:30", "", "NaT"),
        *("2020-02-30", "2020-W01-1", "20200101", "2020-05-05 10:00:00+02:00", "2020-01-01 01"),
        *("2020-06-07 01:02:03.5", "2021-11-11T11:11:11Z", "1969-12-31 05:45", "0001-01-01"),
    ],
    "u": ["1 kg", "2.5 kg", "-3kg", "1,200 kg", " 4 kg ", "", "999 kg", "NA", "5 kg"],
    "m": ["1/2/2020", "10/13/2020", "12/31/2021 23:59", "2/3/2021 4:30", "", "10-14-2020", "NaT"],
    "h": ["9:30", "9:30 pm", "23:59:59.5", "0:00", "12 a.m.", "08:15", "", "NA"],
}

ODD = {"u": ["6", "7 lb", "$8", "1,5 kg"], "m": ["2020-01-02", "13/1/2020", "999"], "h": ["24:00"]}
"""Further cells of rows that are not training rows."""


def drawn(seed: int) -> tuple[Schema, Rows]:
    """Return the schema of a random table, or several schemas of its rows; and other rows."""
    draw = random.Random(seed)
    while True:
        names = [f"{draw.choice('ntcbduumh')}{place}" for place in range(draw.randint(1, 4))]
        pools = {name: draw.sample(POOLS[name[0]], k=draw.randint(2, 6)) for name in names}
        every = {name: draw.choices(pool, k=48) for name, pool in pools.items()}
        options = {
            "columns": {name: "category" for name in names if name[0] == "c"},
            "missing_values": draw.choice([(), ("999",)]),
            "every": every,
        }
        scalings = sorted(SCALINGS)
        try:
            schemas = [
                Schema.fit(
                    {name: cells[rows] for name, cells in every.items()},
                    scaling=draw.choice(scalings),
                    **options,
                )
                for rows in draw.choice([(slice(24),), (slice(24), slice(24, 48), slice(12, 36))])
            ]
        except DataError:  # no column is left, or a number is infinite
            continue
        schema = schemas[0] if len(schemas) == 1 else JoinedSchema(schemas)
        wider = {name: pools[name] + POOLS[name[0]] + ODD.get(name[0], []) for name in names}
        cells = [draw.choices(wider[name], k=12) for name in used(schema)]
        return schema, [list(row) for row in zip(*cells, strict=True)]


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_random_rows(tmp_path, engine):
    """Cells of each kind in odd spellings give the same numbers, or an error, row by row."""
    for seed in range(4 if engine is by_c else 10):
        schema, rows = drawn(seed)
        found, expected = engine(schema, rows, tmp_path), by_table(schema, rows, tmp_path)
        for row, numbers, known in zip(rows, found, expected, strict=True):
            if known is None or numbers is None:
                assert numbers == known, (seed, row)
            else:
                np.testing.assert_allclose(numbers, known, 1e-9, 1e-9, err_msg=f"{seed}: {row}")


@pytest.mark.parametrize("name", KNOWN)
def test_unknown_categories(name):
    categories, known, others = KNOWN[name]
    schema = Schema.fit({"c": categories}, columns={"c": "category"}, missing_values=["-999"])
    unknown = {cell: 1 for cell in others if cell not in ("", "NA", "-999", "-999.0")}
    assert schema.unknown({"c": [*known, *others]}).get("c", {}) == unknown
    assert Schema.from_json(schema.to_json(), schema.arrays()) == schema


def test_cells_that_are_numbers_are_categories_that_spell_them():
    """A data frame has no spelling, but a number never matches a code that begins with 0."""
    schema = Schema.fit({"c": ["07", "1e3", "2.50", "8", "x"]}, columns={"c": "category"})
    assert schema.encode({"c": [7, 1000, 2.5, 8.0]})[:, 0].tolist() == [0, 2, 3, 4]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["07", "12"], "category"),
        (["7", "12", "00501"], "category"),
        (["7.5", " 07 "], "category"),
        (["00", "1"], "category"),
        (["0", "10", "0.5", "-07", "07.5", "0e1", "+7", "1e1"], "number"),
        (["7", "12", "0999"], "number"),
        (["True", "false"], "boolean"),
    ],
)
def test_a_column_with_a_code_is_a_category(tmp_path, cells, kind):
    """Unless a kind is chosen; even if the code is in the second block of a file."""
    missing = ["0999"]
    (tmp_path / "a.csv").write_text("c\n" + "".join(f"{cell}\n" for cell in cells))
    late = "c\n" + f"{cells[0] if kind != 'category' else 5}\n" * 3000
    (tmp_path / "b.csv").write_text(late + "".join(f"{cell}\n" for cell in cells))
    tables = [{"c": cells}, read_table(tmp_path / "a.csv", missing_values=missing)]
    tables.append(read_table(tmp_path / "b.csv", missing_values=missing))
    for table in tables:
        schema = Schema.fit(table, missing_values=missing)
        assert schema.columns[0].kind == kind
        if kind == "category":
            code = next(cell.strip() for cell in cells if cell.strip()[0] == "0")
            assert code in schema.columns[0].categories
            remark = f"c: {code!r} begins with 0, so the values are treated as codes; if they are"
            assert schema.problems[0].startswith(remark)
            chosen = Schema.fit(table, missing_values=missing, columns={"c": "category"})
            assert not chosen.problems
            numbers = Schema.fit(table, columns={"c": "number"}, scaling="none")
            assert numbers.encode({"c": [code]}).tolist() == [[float(code)]]


def test_only_a_column_of_codes_is_advised_to_be_a_number():
    problems = Schema.fit({"c": ["007", "A1", "007"]}).problems
    assert problems == ["c: numbers and text: 1 of 2 values are numbers, but 'A1' (row 1) is not"]

"""Categories that look like numbers: every engine takes a cell for the same one, or for none."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_programs import compiled

import gpunn
from gpunn.experiment.streams import RowsOfCells
from gpunn.interchange import save_c, to_onnx
from gpunn.interchange.predictor.python_source import python_source
from gpunn.layers import Dropout
from gpunn.tables import Schema, read_table

KNOWN: dict[str, tuple[list[str], dict[str, int], list[str]]] = {
    "integers": (
        ["10", "7", "x"],
        {"10": 1, "10.0": 1, "7": 2, "7.0": 2, "x": 3},
        [
            *("07", "007", "+7", "1e1", "1E1", "7.", "7.00", "7e0", "7.0.0", ".0", "7,0", "\uff17"),
            *("7_0", "inf", "07.0", "X", "70", "-7", "0x7"),
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
}
"""By name: the categories of a column, the codes of cells, and cells that are unknown."""

COLUMNS = {
    name: (categories, {**known, **dict.fromkeys(unknown, 0)})
    for name, (categories, known, unknown) in KNOWN.items()
}


def network(name: str) -> gpunn.Sequential:
    """Return a network whose output is the code."""
    schema = Schema.fit({"c": COLUMNS[name][0]}, columns={"c": "category"})
    model = gpunn.Sequential([Dropout(0.1)], schema.width, "numpy", dtype="float64")
    model.schema = schema
    return model


@pytest.fixture(params=COLUMNS)
def name(request) -> str:
    return request.param


@pytest.mark.filterwarnings("ignore::gpunn.errors.UnknownCategoryWarning")
def test_tables(name, tmp_path):
    schema, cells = network(name).schema, COLUMNS[name][1]
    assert schema.encode({"c": list(cells)})[:, 0].tolist() == list(cells.values())
    unknown = [cell for cell, code in cells.items() if code == 0]
    assert schema.unknown({"c": list(cells)}) == ({"c": dict.fromkeys(unknown, 1)})
    (tmp_path / "a.csv").write_text("c;d\n" + "".join(f"{cell};1\n" for cell in cells))
    table = read_table(tmp_path / "a.csv", text=["c"], delimiter=";", decimal=".")
    assert schema.encode(table)[:, 0].tolist() == list(cells.values())


def test_streams(name):
    schema, cells = network(name).schema, COLUMNS[name][1]
    for cell, code in cells.items():
        matrix, findings = schema.encode_and_find(RowsOfCells(schema, [[f" {cell} "]]))
        assert matrix.tolist() == [[code]], cell
        assert findings.unknown == ({} if code else {"c": {cell: 1}})


@pytest.mark.parametrize("pure", [False, True])
def test_python(name, pure):
    predictor: dict[str, Any] = {"__name__": "predictor"}
    exec(compile(python_source(network(name), pure), "predictor.py", "exec"), predictor)
    for cell, code in COLUMNS[name][1].items():
        counts: dict[tuple[str, str | None], int] = {}
        assert predictor["encoded"]([[cell]], counts) == [[code]], cell
        assert counts == ({} if code else {("c", cell): 1})


def test_onnx(name):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    made = to_onnx(network(name)).SerializeToString()
    session = onnxruntime.InferenceSession(made, providers=["CPUExecutionProvider"])
    cells = COLUMNS[name][1]
    (found,) = session.run(["output"], {"c": np.array([[cell] for cell in cells], object)})
    assert found[:, 0].tolist() == list(cells.values())


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is missing")
def test_c(tmp_path):
    program, body = "#include <stdio.h>\n", ""
    for place, (name, (_, cells)) in enumerate(COLUMNS.items()):
        save_c(network(name), tmp_path / f"c{place}.h", prefix=f"c{place}")
        program += f'#include "c{place}.h"\n'
        for cell in cells:
            body += f'    row{place}.column_c = "{cell}", c{place}_encode(&row{place}, &input);\n'
            body += '    printf("%g ", input);\n'
    rows = "".join(f"    c{place}_row row{place};\n" for place in range(len(COLUMNS)))
    text = f"{program}\nint main(void) {{\n    double input;\n{rows}{body}    return 0;\n}}\n"
    (tmp_path / "main.c").write_text(text, encoding="utf-8")
    found = compiled("gcc", tmp_path, "main.c").split()
    assert found == [f"{code}" for _, cells in COLUMNS.values() for code in cells.values()]


def test_cells_that_are_numbers_are_categories_that_spell_them():
    """In a data frame there is no spelling; but a number is no code that begins with 0."""
    schema = Schema.fit({"c": ["07", "1e3", "2.50", "8", "x"]}, columns={"c": "category"})
    with pytest.warns(gpunn.errors.UnknownCategoryWarning):
        found = schema.encode({"c": [7, 1000, 2.5, 8.0]})
    assert found[:, 0].tolist() == [0, 2, 3, 4]


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
    """Unless it is chosen; codes in the second block of a file, too. A marker is none."""
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
            remark = f"c: {code!r} begins with 0, so these are codes; if they are numbers, make"
            assert schema.problems[0].startswith(remark)
            chosen = Schema.fit(table, missing_values=missing, columns={"c": "category"})
            assert not chosen.problems
            numbers = Schema.fit(table, columns={"c": "number"}, scaling="none")
            assert numbers.encode({"c": [code]}).tolist() == [[float(code)]]


def test_only_a_column_of_codes_is_advised_to_be_a_number():
    problems = Schema.fit({"c": ["007", "A1", "007"]}).problems
    assert problems == ["c: numbers and text: 1 of 2 values are numbers, but not 'A1' (row 1)"]


def test_a_code_is_no_number_that_means_a_missing_value():
    schema = Schema.fit({"c": ["0999", "12", "999"]}, missing_values=["999"])
    assert schema.columns[0].categories == ("0999", "12")
    model = gpunn.Sequential([Dropout(0.1)], 1, "numpy")
    model.schema = schema
    predictor: dict[str, Any] = {"__name__": "predictor"}
    exec(compile(python_source(model, pure=True), "predictor.py", "exec"), predictor)
    counts: dict[tuple[str, str | None], int] = {}
    assert predictor["encoded"]([["0999"], ["999"], ["+999"]], counts) == [[1], [0], [0]]
    assert not counts
    assert schema.encode({"c": ["0999", "999", "+999"]}).tolist() == [[1], [0], [0]]


def test_a_file_of_an_earlier_release_has_its_categories(tmp_path):
    """What is in a model's file has not changed: the categories as they were spelt."""
    model = network("other numbers")
    model.save(tmp_path / "a.safetensors")
    again = gpunn.load_model(Path(tmp_path / "a.safetensors"), "numpy").schema
    assert again.encode({"c": COLUMNS["other numbers"][0]})[:, 0].tolist() == [1, 2, 3, 4]

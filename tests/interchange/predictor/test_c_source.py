"""Headers in C compute what the network predicts."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import exported_networks
import numpy as np
import pytest

import gpunn
from gpunn.errors import ArgumentError, ExportError
from gpunn.interchange import save_c
from gpunn.layers import Dense, Dropout
from gpunn.tables import Schema

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}

CASES = [(name, dtype) for name in exported_networks.NETWORKS for dtype in TOLERANCE]

COMPILERS = [
    pytest.param(
        name,
        marks=[pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is missing"), *more],
    )
    for name, more in (("gcc", []), ("clang", [pytest.mark.full]))
]

FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-ffp-contract=off"]

PART = """\
#include <stdio.h>
#include "{prefix}.h"

void {prefix}(void) {{
    static const {real} rows[][{guard}_INPUTS] = {{{rows}}};
    for (unsigned k = 0; k < sizeof rows / sizeof rows[0]; k++) {{
        {real} output[{guard}_OUTPUTS];
        {prefix}_predict(rows[k], output);
        for (int i = 0; i < {guard}_OUTPUTS; i++) printf("%.17g ", (double)output[i]);
    }}
    printf("\\n");
}}
"""


def compiled(compiler: str, folder: Path, *sources: str, flags: tuple[str, ...] = ()) -> str:
    """Compile, run, and return what is printed."""
    made = subprocess.run(
        [compiler, *FLAGS, *flags, *sources, "-o", "program", "-lm"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    ran = subprocess.run(
        ["./program"], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def rows_in_c(rows: np.ndarray) -> str:
    texts = (", ".join(f"{value!r}" for value in row.ravel().tolist()) for row in rows)
    return ", ".join(f"{{{text}}}" for text in texts)


@pytest.fixture(scope="module", params=COMPILERS)
def outputs(request, tmp_path_factory) -> dict[tuple[str, str], np.ndarray]:
    """What one program prints that consists of all networks."""
    folder = tmp_path_factory.mktemp(request.param)
    calls = []
    for number, (name, dtype) in enumerate(CASES):
        prefix = f"n{number}"
        save_c(exported_networks.made(name, dtype), folder / f"{prefix}.h", prefix=prefix)
        real = {"float32": "float", "float64": "double"}[dtype]
        rows = rows_in_c(exported_networks.rows_for(name, dtype))
        text = PART.format(prefix=prefix, guard=prefix.upper(), real=real, rows=rows)
        (folder / f"{prefix}.c").write_text(text)
        calls.append(prefix)
    includes = "".join(f'#include "{prefix}.c"\n' for prefix in calls)
    main = "".join(f"    {prefix}();\n" for prefix in calls)
    (folder / "main.c").write_text(f"{includes}\nint main(void) {{\n{main}    return 0;\n}}\n")
    sanitizers = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    lines = compiled(request.param, folder, "main.c", flags=sanitizers).splitlines()
    return {case: np.array(line.split(), float) for case, line in zip(CASES, lines, strict=True)}


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_networks(outputs, name, dtype):
    y = outputs[name, dtype].reshape(7, -1)
    exported_networks.assert_same_outputs(y, name, dtype, TOLERANCE[dtype])


MEANING = """\
#include <stdio.h>
#include "a.h"

int main(void) {
    const double input[] = {0.5, -2};
    double output[PREDICTOR_OUTPUTS], p[3];
    predictor_predict(input, output);
    predictor_probabilities(output, p);
    printf("%.17g %.17g %.17g\\n", p[0], p[1], COUNT > 2 ? p[2] : 0);
    NAMES
    return 0;
}
"""


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize(
    ("activation", "outputs", "classes"),
    [("softmax", 3, 3), ("sigmoid", 1, 2), ("sigmoid", 3, 3)],
)
def test_classes_and_probabilities(tmp_path, compiler, activation, outputs, classes):
    model = gpunn.Sequential([Dense(outputs)], 2, "numpy", dtype="float64")
    model.output_activation = activation
    odd = ['say "no"\n??/', "é\\0", "it's"][:classes]
    names = (
        ""
        if activation == "sigmoid" and outputs > 1
        else "puts(predictor_class_name(predictor_class(output)));"
    )
    if names:
        model.classes = odd
    save_c(model, tmp_path / "a.h")
    text = MEANING.replace("COUNT", str(classes)).replace("NAMES", names)
    (tmp_path / "main.c").write_text(text.replace("p[3]", "p[3] = {0}"))
    first, _, rest = compiled(compiler, tmp_path, "main.c").partition("\n")
    p = model.predict_proba([[0.5, -2.0]])[0]
    np.testing.assert_allclose(np.array(first.split(), float)[: len(p)], p, rtol=1e-12)
    assert rest == (f"{odd[int(p.argmax())]}\n" if names else "")


def test_names_of_arrays_differ(tmp_path):
    layers = [Dense(2, label="a-b"), Dense(2, label="a b"), Dense(2, label="*/ int x; /*")]
    save_c(gpunn.Sequential(layers, 2, "numpy"), tmp_path / "a.h")
    names = re.findall(r"^static const float (\w+)\[", (tmp_path / "a.h").read_text(), re.M)
    assert len(set(names)) == 6
    assert "int x" not in (tmp_path / "a.h").read_text()


def test_buffers_are_shared(tmp_path):
    """A chain of dense layers needs two buffers, whatever its length."""
    model = gpunn.Sequential([Dense(4, "relu"), Dense(3, "relu"), Dense(4)], 5, "numpy")
    save_c(model, tmp_path / "a.h")
    assert re.findall(r"float b\d\[(\d)\];", (tmp_path / "a.h").read_text()) == ["4", "3"]


class Twice(Dense):
    name = "twice_as_dense_in_c"


def test_what_has_no_form_is_refused_by_name(tmp_path):
    model = gpunn.Sequential([Dense(3), Twice(2)], 5, "numpy")
    with pytest.raises(ExportError, match=r"layer 'twice_as_dense_in_c_1': .* layer Twice"):
        save_c(model, tmp_path / "a.h")
    model = gpunn.Sequential([Dense(1)], 2, "numpy")
    with pytest.raises(ArgumentError, match=r"prefix: expected letters"):
        save_c(model, tmp_path / "a.h", prefix="a-b")
    model.parameters["dense_1.biases"] = np.array([np.nan])
    with pytest.raises(ExportError, match=r"dense_1.biases: holds numbers that are not finite"):
        save_c(model, tmp_path / "a.h")
    assert not list(tmp_path.iterdir())


TABLE: dict[str, list[Any]] = {
    "age": [31, 45.5, None, 28, -999, 31, 60, 1e9],
    "int": [1, 2, 3, 4, 5, 6, 7, 8],
    'what a "city" */': ["Oslo", "Rome", None, "Bern?", "Oslo", "Rome", "", "é"],
    "member": ["yes", "no", "no", None, "yes", "yes", "no", "no"],
    "since": [
        *(
            "2019-03-05",
            "2020-12-31 23:30",
            "2021-02-28",
            None,
            "2024-02-29 13:00:18",
            "1999-01-01",
        ),
        *("2000-03-01 01:00", "1969-12-31 05:45"),
    ],
}

ROWS = """\
#include <stdio.h>
#include "a.h"

int main(void) {
    const predictor_row rows[] = {ROWS};
    for (int k = 0; k < COUNT; k++) {
        REAL input[PREDICTOR_INPUTS], output[PREDICTOR_OUTPUTS];
        predictor_encode(&rows[k], input);
        predictor_predict(input, output);
        for (int i = 0; i < PREDICTOR_OUTPUTS; i++) printf("%.17g ", (double)output[i]);
    }
    return 0;
}
"""


def row_in_c(age: Any, number: Any, city: Any, member: Any, since: Any) -> str:
    """Return the struct of a row."""
    date, _, time = (since or "0000-00-00").partition(" ")
    year, month, day = map(int, date.split("-"))
    hour, minute, second = ([int(part) for part in time.split(":") if part] + [0, 0, 0])[:3]
    city = "NULL" if city is None else f'"{city}"'
    member = {"yes": 1, "no": 0, None: -1}[member]
    age = "NAN" if age is None else age
    clock = (hour * 3600 + minute * 60 + second) / 3600
    return f"{{{age}, {number}, {city}, {member}, {{{year}, {month}, {day}, {clock!r}}}}}"


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("scaling", ["robust", "quantile", "standard", "none"])
@pytest.mark.filterwarnings("ignore::gpunn.errors.GpunnWarning")
def test_rows_of_tables(tmp_path, compiler, dtype, scaling):
    """What the schema makes of text, dates and gaps, through a network that changes nothing."""
    kinds = {"member": "boolean"}
    schema = Schema.fit(TABLE, columns=kinds, missing_values=["-999"], scaling=scaling)
    model = gpunn.Sequential([Dropout(0.1)], schema.width, "numpy", dtype=dtype)
    model.schema = schema
    save_c(model, tmp_path / "a.h")
    new = {
        "age": [*TABLE["age"], 30],
        "int": [*TABLE["int"], 0],
        'what a "city" */': [*TABLE['what a "city" */'], "Paris"],
        "member": [*TABLE["member"], None],
        "since": [*TABLE["since"], "2026-11-26 23:59:59"],
    }
    rows = ", ".join(row_in_c(*row) for row in zip(*new.values(), strict=True))
    real = {"float32": "float", "float64": "double"}[dtype]
    text = ROWS.replace("ROWS", rows).replace("COUNT", "9").replace("REAL", real)
    (tmp_path / "main.c").write_text(text, encoding="utf-8")
    found = np.array(compiled(compiler, tmp_path, "main.c").split(), float)
    expected = schema.encode(new, dtype)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, 1e-9, 1e-12)

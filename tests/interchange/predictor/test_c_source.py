"""C headers give the predictions of the network."""

import re
import shutil

import exported_networks
import numpy as np
import pytest
from c_programs import SANITIZERS, compiled, rows_in_c
from layers.blocks import Features, Share

import gpunn
from gpunn.errors import ArgumentError, ArgumentTypeError, ExportError
from gpunn.interchange import save_c
from gpunn.layers import Dense, LayerNorm, MeanOverMembers, Members
from gpunn.tables import Schema

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}

CASES = exported_networks.in_turns()  # a number is the same text in both types

COMPILERS = [
    pytest.param(
        name,
        marks=[pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is missing"), *more],
    )
    for name, more in (("gcc", []), ("clang", [pytest.mark.full]))
]

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


@pytest.fixture(scope="module", params=COMPILERS)
def outputs(request, tmp_path_factory) -> dict[tuple[str, str], np.ndarray]:
    """Output of one program with all networks."""
    folder = tmp_path_factory.mktemp(request.param)
    calls = []
    for number, (name, dtype) in enumerate(CASES):
        prefix = f"n{number}"
        save_c(exported_networks.made(name, dtype), folder / f"{prefix}.h", prefix=prefix)
        real = {"float32": "float", "float64": "double"}[dtype]
        plain = exported_networks.rows_for(name, dtype)
        rows = rows_in_c(
            np.concatenate([plain.reshape(7, -1), exported_networks.special_rows(name, dtype)])
        )
        text = PART.format(prefix=prefix, guard=prefix.upper(), real=real, rows=rows)
        (folder / f"{prefix}.c").write_text(text)
        calls.append(prefix)
    includes = "".join(f'#include "{prefix}.c"\n' for prefix in calls)
    main = "".join(f"    {prefix}();\n" for prefix in calls)
    (folder / "main.c").write_text(f"{includes}\nint main(void) {{\n{main}    return 0;\n}}\n")
    # Optimizing takes GCC twice as long; Clang does it in the full run.
    flags = ("-O0", *SANITIZERS) if request.param == "gcc" else SANITIZERS
    lines = compiled(request.param, folder, "main.c", flags=flags).splitlines()
    return {case: np.array(line.split(), float) for case, line in zip(CASES, lines, strict=True)}


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_networks(outputs, name, dtype):
    y = outputs[name, dtype].reshape(7 + len(exported_networks.special_rows(name, dtype)), -1)
    exported_networks.assert_same_outputs(y[:7], name, dtype, TOLERANCE[dtype])


@pytest.mark.parametrize(("name", "dtype"), CASES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_numbers_that_are_not_finite(outputs, name, dtype):
    expected = exported_networks.outputs_of_special_rows(name, dtype)
    y = outputs[name, dtype].reshape(7 + len(expected), -1)[7:]
    np.testing.assert_allclose(y.astype(dtype), expected, 1e-3 if dtype == "float32" else 1e-9)


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
    ("activation", "outputs", "classes"), [("softmax", 3, 3), ("sigmoid", 1, 2), ("sigmoid", 3, 3)]
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


@pytest.mark.parametrize(
    ("layers", "expected", "stack"),
    [
        ([Dense(4, "relu"), Dense(3, "relu"), Dense(4)], ["4", "3"], 28),
        ([Members(2), LayerNorm(), MeanOverMembers()], ["10", "5"], 92),
        ([Dense(5), Features(), Dense(1)], ["5", "5"], 40),
        ([Dense(2), Share(), Dense(1)], ["7", "1"], 32),
    ],
    ids=["chain", "in place", "reads other elements", "in place, longer"],
)
def test_buffers_are_shared(tmp_path, layers, expected, stack):
    """A chain needs two buffers, whatever its length; the stack also has functions' arrays."""
    save_c(gpunn.Sequential(layers, 5, "numpy"), tmp_path / "a.h")
    text = (tmp_path / "a.h").read_text()
    assert re.findall(r"#define PREDICTOR_BUFFER_\d (\d+)", text) == expected
    assert f"a call takes about {stack} bytes of stack" in " ".join(text.split())


def test_what_c_cannot_hold_is_refused(tmp_path):
    model = gpunn.Sequential([Dense(1)], 2, "numpy")
    with pytest.raises(ArgumentError, match=r"prefix: expected a letter"):
        save_c(model, tmp_path / "a.h", prefix="a-b")
    model.parameters["dense_1.biases"] = np.array([np.nan])
    with pytest.raises(ExportError, match=r"dense_1.biases: expected finite numbers"):
        save_c(model, tmp_path / "a.h")
    assert not list(tmp_path.iterdir())


HEADERS = (
    *("assert", "complex", "ctype", "errno", "float", "inttypes", "iso646", "limits", "locale"),
    *("math", "signal", "stdbool", "stddef", "stdint", "stdio", "stdlib", "string", "time"),
)

MACROS = ("INFINITY", "NAN", "EOF", "HUGE_VAL", "M_PI", "I", "INT_MAX", "assert", "errno", "stdin")

WORDS = (
    *("_Bool", "_Generic", "alignas", "and", "and_eq", "asm", "auto", "bitand", "bool", "catch"),
    *("char", "class", "co_await", "concept", "const", "constexpr", "decltype", "default"),
    *("delete", "double", "export", "float", "for", "friend", "goto", "if", "import", "inline"),
    *("int", "linux", "module", "mutable", "namespace", "new", "noexcept", "not", "nullptr"),
    *("operator", "or", "private", "real", "register", "requires", "restrict", "return"),
    *("short", "signed", "static", "struct", "template", "this", "thread_local", "throw", "try"),
    *("typedef", "typename", "typeof", "union", "unix", "unsigned", "using", "virtual", "void"),
    *("wchar_t", "while", "xor", "__attribute__", "__typeof__", "i386"),
)

ODD = (
    *("a b", "a-b", "a_b", "a b_1", "a!b", "é", "è", "_", "9", "1e5", "", " ", "😀"),
    *("*/ int x; /*", "// \\", "\\", "line\nend\r\n", "??/", "??=", "<:", "%:", "%d %s %n"),
    *('"', "'", "\0", "\x7f", "real estate", "relu(1)", "exp(2)", "x" * 5000, "y" * 5000),
)

CPLUSPLUS = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is missing")

MOST_NAMES = [
    ("gcc", "-std=gnu17"),
    pytest.param("g++", "-std=gnu++17", marks=CPLUSPLUS),
]
"""Dialects with all macros and keywords of the others, and more."""

WITH_TRIGRAPHS = [("gcc", "-std=c99"), pytest.param("g++", "-std=c++98", marks=CPLUSPLUS)]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is missing")
@pytest.mark.parametrize(("compiler", "dialect"), MOST_NAMES)
def test_columns_and_layers_may_have_any_name(tmp_path, compiler, dialect):
    """Keywords, macros, and names that differ only in characters that an identifier can't have."""
    names = sorted({*MACROS, *WORDS, *(name for name in ODD if name.strip())})
    schema = Schema.fit({name: [1.0, 2.0] for name in names}, scaling="none")
    labels = ["log_of", "scale", "real", "x", "a b", "a-b", "class", "*/ int x; /*"]
    layers = [Dense(2, label=name) for name in labels]
    model = gpunn.Sequential(layers, schema.width, "numpy")
    model.schema = schema
    save_c(model, tmp_path / "a.h")
    text = (tmp_path / "a.h").read_text()
    fields = re.findall(r"^    double (column_\w+); /\*", text, re.MULTILINE)
    assert len(set(fields)) == len(fields) == len(names)
    assert max(map(len, fields)) < 140
    program = "".join(f"#include <{name}.h>\n" for name in HEADERS if name != "complex")
    program += '#include "a.h"\n\nint main(void) {\n    static predictor_row row;\n'
    program += "".join(f"    row.{field} = {k};\n" for k, field in enumerate(fields))
    program += "    float input[PREDICTOR_INPUTS];\n    predictor_encode(&row, input);\n"
    program += '    for (int i = 0; i < PREDICTOR_INPUTS; i++) printf("%g ", input[i]);\n'
    program += "    return 0;\n}\n"
    (tmp_path / "main.c").write_text(program)
    found = compiled(compiler, tmp_path, "main.c", dialect=dialect, flags=("-O0",)).split()
    assert found == [f"{k}" for k in range(len(names))]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is missing")
@pytest.mark.parametrize(("compiler", "dialect"), WITH_TRIGRAPHS)
def test_strings_are_not_changed(tmp_path, compiler, dialect):
    """Categories and class names that look like code, comments, formats or trigraphs."""
    texts = sorted({text.strip() for text in (*ODD, *WORDS) if "\0" not in text} - {"", "?"})
    schema = Schema.fit({"a": texts}, columns={"a": "category"})
    model = gpunn.Sequential([Dense(len(texts))], schema.width, "numpy")
    model.schema, model.output_activation, model.classes = schema, "softmax", texts
    save_c(model, tmp_path / "a.h")
    known = schema.columns[0].categories
    arrays = (", ".join([*(f"'\\{byte:03o}'" for byte in text.encode()), "0"]) for text in known)
    program = '#include <stdio.h>\n#include "a.h"\n\nint main(void) {\n'
    program += "    predictor_row row;\n    float input[1];\n"
    for k, array in enumerate(arrays):
        program += f"    static const char t{k}[] = {{{array}}};\n    row.column_a = t{k};\n"
        program += '    predictor_encode(&row, input), printf("%g ", input[0]);\n'
    program += f"    for (int i = -1; i <= {len(texts)}; i++) {{\n"
    program += "        const char *name = predictor_class_name(i);\n"
    program += "        for (putchar(' '); name && *name; name++) printf(\"%02x\", *name & 255);\n"
    program += "    }\n    return 0;\n}\n"
    (tmp_path / "main.c").write_text(program)
    numbers, _, names = compiled(compiler, tmp_path, "main.c", dialect=dialect).partition("  ")
    assert numbers.split() == [f"{code}" for code in range(1, len(texts) + 1)]
    assert [bytes.fromhex(name).decode() for name in names.split()] == texts


@pytest.mark.parametrize("where", ["column 'a'", "classes"])
def test_the_character_nul_is_refused(tmp_path, where):
    schema = Schema.fit({"a": ["x\0y" if where == "column 'a'" else "x", "z"]})
    model = gpunn.Sequential([Dense(2)], schema.width, "numpy")
    model.schema, model.output_activation = schema, "softmax"
    model.classes = ["p", "q" if where == "column 'a'" else "q\0r"]
    with pytest.raises(ExportError, match=rf"{where}: '.*\\x00.*' contains the character NUL"):
        save_c(model, tmp_path / "a.h")


CELLS = """\
#include <limits.h>
#include <stdio.h>
#include "a.h"

int main(void) {
    const predictor_row rows[] = {ROWS};
    for (unsigned k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        float input[PREDICTOR_INPUTS], output[PREDICTOR_OUTPUTS];
        int valid = predictor_encode(&rows[k], input), first = input[0] == input[0];
        predictor_predict(input, output);
        printf("%d%d%d ", valid, first, predictor_class(output));
    }
    return 0;
}
"""

REFUSED = {
    "a date": ("{1, {2024, 2, 29, 23.9999}}", True),
    "the first day": ("{1, {1, 1, 1, 0}}", True),
    "the last day": ("{1, {9999, 12, 31, 0}}", True),
    "no date": ("{1, {0, 0, 0, 0}}", True),
    "no date but a day": ("{1, {2024, 0, 99, -1}}", True),
    "a marker": ("{INFINITY, {2024, 1, 1, 0}}", True),
    "no number": ("{NAN, {2024, 1, 1, 0}}", True),
    "month 13": ("{1, {2024, 13, 1, 0}}", False),
    "month -1": ("{1, {2024, -1, 1, 0}}", False),
    "the largest month": ("{1, {2024, INT_MAX, 1, 0}}", False),
    "day 0": ("{1, {2024, 1, 0, 0}}", False),
    "day 32": ("{1, {2024, 1, 32, 0}}", False),
    "day 31 of June": ("{1, {2024, 6, 31, 0}}", False),
    "February 29": ("{1, {2023, 2, 29, 0}}", False),
    "February 29 of a century": ("{1, {1900, 2, 29, 0}}", False),
    "the least day": ("{1, {2024, 1, INT_MIN, 0}}", False),
    "year 0": ("{1, {0, 1, 1, 0}}", False),
    "year 10000": ("{1, {10000, 1, 1, 0}}", False),
    "the least year": ("{1, {INT_MIN, 1, 1, 0}}", False),
    "hour 24": ("{1, {2024, 1, 1, 24}}", False),
    "hour -1": ("{1, {2024, 1, 1, -0.001}}", False),
    "no hour": ("{1, {2024, 1, 1, NAN}}", False),
    "minus infinity": ("{-INFINITY, {2024, 1, 1, 0}}", False),
    "too large for float": ("{1e39, {2024, 1, 1, 0}}", False),
}


def test_cells_that_a_schema_refuses(tmp_path):
    """The function returns 0, reads nothing out of bounds, and the row's outputs are NAN."""
    rows = {
        "a": [1.0, 2.5, None, 4.0],
        "since": ["2019-03-05 01:00", "2020-12-31", None, "2021-07-01"],
    }
    schema = Schema.fit(rows, scaling="none", missing_values=["inf"])
    model = gpunn.Sequential([Dense(3, "relu"), Dense(2)], schema.width, "numpy")
    model.schema, model.output_activation = schema, "softmax"
    save_c(model, tmp_path / "a.h")
    every = ", ".join(row for row, _ in REFUSED.values())
    (tmp_path / "main.c").write_text(CELLS.replace("ROWS", every))
    found = compiled("gcc", tmp_path, "main.c", flags=SANITIZERS).split()
    for (name, (_, accepted)), each in zip(REFUSED.items(), found, strict=True):
        assert each in (("110", "111") if accepted else ("00-1",)), name


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize(("outputs", "activation"), [(1, "sigmoid"), (2, "softmax")])
def test_a_threshold_decides_between_two_classes(compiler, tmp_path, outputs, activation):
    model = gpunn.Sequential([gpunn.layers.Dense(outputs)], 2, backend="numpy", seed=1)
    model.output_activation, model.threshold = activation, 0.2
    rows = np.random.default_rng(0).normal(0, 3, (40, 2)).astype("f4")
    save_c(model, tmp_path / "a.h", prefix="a")
    main = (
        f'#include <stdio.h>\n#include "a.h"\nint main(void) {{\n'
        f"    static const float rows[][2] = {{{rows_in_c(rows)}}};\n"
        f"    for (int k = 0; k < 40; k++) {{\n        float output[{outputs}];\n"
        '        a_predict(rows[k], output);\n        printf("%d ", a_class(output));\n    }\n'
        "    float none[2] = {NAN, NAN};\n"
        '    printf("%d\\n", a_class(none));\n    return 0;\n}\n'
    )
    (tmp_path / "main.c").write_text(main)
    chance = model.predict_proba(rows)[:, -1]
    for flags, least in ((), 0.2), (("-DA_THRESHOLD=0.9",), 0.9), (("-DA_THRESHOLD=0",), 0):
        *found, none = compiled(compiler, tmp_path, "main.c", flags=flags).split()
        assert [int(code) for code in found] == (chance >= least).astype(int).tolist()
        assert none == "-1"


def test_wrong_arguments(tmp_path):
    model = gpunn.Sequential([Dense(2)], 3, backend="numpy")
    with pytest.raises(ArgumentTypeError, match="path: expected a file name; got None"):
        save_c(model, None)
    with pytest.raises(ArgumentError, match=r"prefix: expected a letter.*; got 3"):
        save_c(model, tmp_path / "a.h", prefix=3)

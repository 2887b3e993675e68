"""Python files give the predictions of the network, in a process without gpunn."""

import ast
import builtins
import functools
import json
import math
import re
from pathlib import Path

import exported_networks
import numpy as np
import pytest
from exported_networks import defined_by, predictor_of
from processes import run_python

import gpunn
from gpunn.errors import ArgumentTypeError
from gpunn.interchange import save_python
from gpunn.interchange.predictor.python_source import python_source
from gpunn.interchange.predictor.templates import constant_of, names_in
from gpunn.layers import Block, Dense, Flatten, Rescaling

# float32: NumPy adds in another order, and the standard library has only float64.
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}

ELSEWHERE = """\
import json, pathlib, runpy, sys
sys.modules["gpunn"] = None  # importing it raises an error
for path in sorted(pathlib.Path().glob("*.py")):
    predictor = runpy.run_path(str(path))
    rows = json.loads(path.with_suffix(".json").read_text())
    for some in (rows, rows[:1]):
        y = predictor["predict"](some)
        y = [[float(number) for number in row] for row in y]
        path.with_suffix(f".{len(some)}").write_text(json.dumps(y))
print("numpy" in sys.modules)
"""

TYPES = {flavor: dict(exported_networks.in_turns(flavor == "pure")) for flavor in ("numpy", "pure")}
"""The type of each network in each flavor of files, so that each network has both."""


@pytest.fixture(scope="module", params=TYPES)
def predicted(request, tmp_path_factory) -> tuple[Path, dict[str, str]]:
    found = tmp_path_factory.mktemp(request.param)
    for name, dtype in TYPES[request.param].items():
        path = found / f"{name}.py"
        path.write_text(exported_networks.source_of(name, dtype, request.param == "pure"))
        rows = exported_networks.rows_for(name, dtype)
        path.with_suffix(".json").write_text(json.dumps(rows.tolist()))
    # Without `site`, no packages can be imported.
    flags = ["-I", "-S"] if request.param == "pure" else ["-I"]
    ran = run_python(*flags, "-W", "error", "-c", ELSEWHERE, cwd=found)
    assert ran.stdout.split() == [str(request.param == "numpy")]
    return found, TYPES[request.param]


@pytest.mark.parametrize("name", exported_networks.NETWORKS)
def test_networks(predicted, name):
    folder, types = predicted
    dtype = types[name]
    for count in (7, 1):
        y = np.array(json.loads((folder / f"{name}.{count}").read_text()))
        exported_networks.assert_same_outputs(y, name, dtype, TOLERANCE[dtype])


@pytest.mark.parametrize("name", exported_networks.NETWORKS)
def test_numbers_that_are_not_finite(name):
    rows = exported_networks.special_rows(name, "float64")
    expected = exported_networks.outputs_of_special_rows(name, "float64")
    of_a_row = defined_by(exported_networks.source_of(name, "float64", True))["network"]
    found = [of_a_row(row) for row in rows.tolist()]
    np.testing.assert_allclose(found, expected, 1e-9)


@pytest.mark.parametrize("pure", [False, True])
def test_rows_of_images_may_be_nested_or_flat(pure):
    model = gpunn.Sequential([Rescaling(0.5), Flatten(), Dense(3)], (2, 3, 2), "numpy")
    images = np.random.default_rng(0).normal(size=(4, 2, 3, 2)).astype("float32")
    predict = predictor_of(model, pure)["predict"]
    expected = model.predict(images)
    for rows in (images.tolist(), images, images.reshape(4, -1).tolist(), images.reshape(4, -1)):
        np.testing.assert_allclose(predict(rows), expected, 1e-5, 1e-5)
    for wrong in (images[:, :, :2], images.transpose(0, 2, 1, 3), images[:, None]):
        for rows in (wrong, wrong.tolist()):
            with pytest.raises(ValueError, match=r"^rows: expected .*shape [\[(]2, 3, 2[\])]"):
                predict(rows)


def test_cells_must_be_numbers():
    predict = predictor_of(gpunn.Sequential([Dense(1)], 2, "numpy"), True)["predict"]
    for cell in ("1", None):
        with pytest.raises(ValueError, match=r"^rows: expected 2 numbers in each row"):
            predict([[cell, cell]])


def test_an_overflow_gives_no_warning_and_nan_is_the_largest():
    model = gpunn.Sequential([Dense(3, "mish")], 1, "numpy")
    model.parameters["dense_1.weights"] = np.array([[1e30, -1e30, 1.0]])
    model.output_activation = "softmax"
    for pure in (False, True):
        predictor = predictor_of(model, pure)
        predictor["predict"]([[1e30]])
        assert predictor["decided"]([1.0, math.nan, 3.0, math.nan]) == [1]


@pytest.mark.parametrize("pure", [False, True])
def test_names_are_text_and_not_code(tmp_path, pure):
    """Names of layers and classes with quotes and line ends are unchanged."""
    odd = "\"\"\"''')\nraise SystemExit(9) #\\"
    model = gpunn.Sequential([Dense(2, label=odd)], 1, "numpy")
    model.output_activation, model.classes = "softmax", [odd, "é"]
    save_python(model, tmp_path / "a.py", pure=pure)
    (tmp_path / "a.csv").write_text("1\n")
    code = "import runpy; print([runpy.run_path('a.py')['MODEL']['classes']])"
    flags = ["-I", "-S"] if pure else ["-I"]
    ran = run_python(*flags, "-c", code, cwd=tmp_path, text=False)
    assert ran.stdout.decode().strip() == repr([[odd, "é"]])


class Doubled(Block):
    name = "x"

    def forward(self, x):
        return 2 * x


@pytest.mark.parametrize("pure", [False, True])
def test_a_block_with_the_name_of_a_variable(pure):
    model = gpunn.Sequential([Dense(1, "tanh"), Doubled()], 1, "numpy")
    y = predictor_of(model, pure)["predict"]([[0.5]])
    np.testing.assert_allclose(y, model.predict([[0.5]]), 1e-5)


@functools.cache
def looked_at(part):
    """Return the names that a part of a file defines, imports and uses, and its words."""
    defined, used, imported = {}, set(), set()
    for node in ast.parse(part).body:
        if name := getattr(node, "name", "") or constant_of(node):
            defined[name] = node
            used |= names_in(node)
        if isinstance(node, ast.Import | ast.ImportFrom):
            imported |= {alias.asname or alias.name for alias in node.names}
    return set(defined), imported, used, set(re.findall(r"\w+", part))


SCHEMA = gpunn.tables.Schema.fit({"a": [1.0, 2.0], "b": ["x", "y"]})


@pytest.mark.parametrize("pure", [False, True])
@pytest.mark.parametrize("name", ["of a schema", *exported_networks.NETWORKS])
def test_a_file_has_exactly_the_definitions_that_it_uses(pure, name):
    if name == "of a schema":
        model = gpunn.Sequential([Dense(2)], SCHEMA.width, "numpy")
        model.schema = SCHEMA
        source = python_source(model, pure)
    else:
        dtype = TYPES["pure" if pure else "numpy"][name]
        source = exported_networks.source_of(name, dtype, pure)
    parts = source.split("\n\n\n")  # most of which other files have, too
    defined, imported, used, _ = map(set().union, *map(looked_at, parts))
    assert used <= {*defined, *imported, *dir(builtins), "__name__"}
    assert defined - used <= {"main", "ARRAYS"}  # some networks have no arrays
    words = set().union(*(looked_at(part)[3] for part in parts[1:] if "MODEL = " not in part))
    assert imported - words <= {"annotations", "json"}
    assert max(map(len, source.splitlines())) <= 100


def test_a_wrong_path():
    with pytest.raises(ArgumentTypeError, match="path: expected a file name; got None"):
        save_python(gpunn.Sequential([Dense(2)], 3, backend="numpy"), None)

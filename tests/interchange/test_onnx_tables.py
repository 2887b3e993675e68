"""ONNX files accept the columns of a table, and encode them as the schema does."""

import json
import math
import os
import re
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from exported_networks import onnx_session as session_of
from onnx.reference import ReferenceEvaluator

import gpunn
from gpunn.data import credit_risk_file
from gpunn.errors import ArgumentError, DataError, ExportError
from gpunn.interchange import to_onnx
from gpunn.layers import Dense, Dropout, Members
from gpunn.tables import Schema
from gpunn.tables.encoders.datetime import PARTS
from gpunn.tables.scaling import SCALINGS, RobustScaling
from gpunn.thresholds import decide, margins

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

EPOCH = np.datetime64(0, "us")

TABLES = Path(os.environ.get("GPUNN_DATA", "")) / "tables"


def encoder(schema: Schema, dtype: str = "float64") -> gpunn.Sequential:
    model = gpunn.Sequential([Dropout(0.1)], schema.width, "numpy", dtype=dtype)
    model.schema = schema
    return model


def number_of(kind: str, cell) -> float:
    if cell is None:
        return math.nan
    if kind == "datetime":
        return (np.datetime64(cell, "us") - EPOCH) / np.timedelta64(1, "s")
    return float(cell)


def fed(session, table) -> dict[str, np.ndarray]:
    kinds = json.loads(session.get_modelmeta().custom_metadata_map["columns"])
    inputs = {}
    for name, kind in kinds.items():
        if kind == "category":
            cells = np.array(["" if cell is None else cell for cell in table[name]], object)
        else:
            cells = np.array([number_of(kind, cell) for cell in table[name]], np.float64)
        inputs[name] = cells[:, np.newaxis]
    return inputs


NAMES = ["Oslo", "Rome", "Bérn", "7", "New York", None]
START = datetime(1999, 11, 3, 5, 7)
ROWS = 60


def people() -> dict[str, list]:
    random = np.random.default_rng(0)
    minutes = random.integers(-(10**7), 10**7, ROWS).tolist()
    ages = random.normal(40, 10, ROWS).round(1).tolist()
    return {
        "age": [None if row % 7 == 0 else age for row, age in enumerate(ages)],
        "always": ["same"] * ROWS,
        "id": (1e9 + random.normal(0, 3, ROWS)).tolist(),
        "city": [NAMES[row % 6] for row in range(ROWS)],
        "member": [[True, False, None][row % 3] for row in range(ROWS)],
        "since": [
            None if row % 5 == 0 else START + timedelta(minutes=m) for row, m in enumerate(minutes)
        ],
        "new": [row % 4 > 0 for row in range(ROWS)],
        "day": [datetime(2024, 2, 1) + timedelta(days=row) for row in range(ROWS)],
        "code": [None if row % 4 == 0 else 5.0 for row in range(ROWS)],
        "rooms": [float(row % 3) for row in range(ROWS)],
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_training_rows(scaling, dtype):
    schema = Schema.fit(people(), scaling=scaling, columns={"city": "category"})
    made = to_onnx(encoder(schema, dtype))
    session = session_of(made)
    rows = fed(session, people())
    (output,) = session.run(["output"], rows)
    expected = schema.encode(people(), dtype)
    if dtype == "float64":  # the reference implementation of ONNX's operators agrees
        (other,) = ReferenceEvaluator(made).run(["output"], rows)
        np.testing.assert_allclose(other, expected, 1e-10, 1e-10)
    assert output.dtype == dtype
    tolerance = 1e-6 if dtype == "float32" else 1e-10
    np.testing.assert_allclose(output, expected, tolerance, tolerance)
    for count in (0, 1):
        some = {name: cells[:count] for name, cells in rows.items()}
        np.testing.assert_array_equal(session.run(["output"], some)[0], output[:count])


def test_inputs_are_the_columns():
    schema = Schema.fit(people(), columns={"city": "category"})
    session = session_of(to_onnx(encoder(schema)))
    found = {each.name: (each.type, each.shape) for each in session.get_inputs()}
    number, text = ("tensor(double)", ["batch", 1]), ("tensor(string)", ["batch", 1])
    names = [name for name in people() if name != "always"]
    assert found == {**dict.fromkeys(names, number), "city": text}
    assert list(found) == names


def test_numbers_that_are_equal_in_float32():
    numbers = [1e9 + k / 8 for k in range(30)]
    schema = Schema.fit({"x": numbers})
    session = session_of(to_onnx(encoder(schema, "float32")))
    (output,) = session.run(["output"], fed(session, {"x": numbers}))
    assert len(np.unique(output)) == 30
    np.testing.assert_allclose(output, schema.encode({"x": numbers}), 1e-6, 1e-6)


def test_every_day_of_four_centuries_and_dates_far_away():
    days = np.arange(-73_100, 73_100, dtype="datetime64[D]")
    random = np.random.default_rng(0)
    far = random.integers(-72_000_000, 72_000_000, 5000).astype("datetime64[D]")
    moments = [datetime(1969, 12, 31, 23, 59, 59, 999_999), datetime(1582, 10, 4, 0, 0, 0, 1)]
    dates = np.concatenate([days.astype("datetime64[us]"), far, np.array(moments, "M8[us]")])
    schema = Schema.fit({"day": dates}, scaling="none")
    session = session_of(to_onnx(encoder(schema)))
    seconds = (dates - EPOCH) / np.timedelta64(1, "s")
    (output,) = session.run(["output"], {"day": seconds[:, np.newaxis]})
    for place, part in enumerate(PARTS):
        np.testing.assert_allclose(output[:, place], PARTS[part](dates), 0, 1e-9, err_msg=part)
    expected = schema.encode({"day": dates}, "float64")
    np.testing.assert_allclose(output, expected, 0, 1e-9)
    # The edge of a bin may be between the cosines of one quarter and three quarters of a year.
    curves = [
        place for place, name in enumerate(schema.names) if re.search("(mon|week).*sine", name)
    ]
    assert len(curves) == 4
    np.testing.assert_array_equal(output[:, curves], expected[:, curves])


@pytest.mark.parametrize("step", ["Y", "M", "D", "h"])
def test_parts_that_differ(step, capfd):
    """A graph has only these parts, and nothing that a runtime warns about."""
    dates = np.arange(30, 36).astype(f"datetime64[{step}]").astype("datetime64[us]")
    schema = Schema.fit({"day": dates})
    made = to_onnx(encoder(schema))
    used = {each for node in made.graph.node for each in node.input}
    assert {each.name for each in made.graph.initializer} <= used
    (output,) = session_of(made).run(["output"], fed(session_of(made), {"day": dates}))
    np.testing.assert_allclose(output, schema.encode({"day": dates}, "float64"), 0, 1e-12)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("seconds", [math.inf, -math.inf, 1e13, -1e300])
def test_dates_too_far_away_are_refused(seconds):
    schema = Schema.fit({"day": np.arange(0, 100).astype("datetime64[D]")})
    session = session_of(to_onnx(encoder(schema)))
    (output,) = session.run(["output"], {"day": np.array([[seconds], [86400.0]])})
    assert np.isnan(output[0]).all()
    assert np.isfinite(output[1]).all()


@pytest.mark.parametrize("ends", [{}, {"lowest": [0.2, 1e-3], "highest": [0.3, 0.9]}])
@pytest.mark.parametrize("count", [2, 3, 10, 101])
def test_numbers_that_equal_several_quantiles(count, ends):
    """They get the middle of the probabilities, including at the ends."""
    random = np.random.default_rng(count)
    schema = Schema.fit(
        {"a": random.normal(size=9), "b": random.normal(size=9)}, scaling="quantile"
    )
    quantiles = np.sort(random.integers(0, count // 2 + 1, (2, count)).astype(float), axis=1)
    arrays = {name: np.array(values) for name, values in ends.items()}
    arrays |= {"median": np.zeros(2), "quantiles": quantiles}
    schema = Schema.from_json(schema.to_json(), arrays)
    session = session_of(to_onnx(encoder(schema)))
    numbers = np.concatenate([np.arange(-1, count, 0.25), [-1e308, 1e308, 5e-324]])
    rows = {"a": numbers, "b": numbers[::-1]}
    (output,) = session.run(["output"], fed(session, rows))
    np.testing.assert_allclose(output, schema.encode(rows, "float64"), 0, 1e-9)


def test_columns_without_names_are_named_by_number():
    schema = Schema.fit([[1.0, 3.0, 5.0], [2.0, 3.0, 7.0], [4.0, 3.0, 8.0]])
    session = session_of(to_onnx(encoder(schema)))
    assert [each.name for each in session.get_inputs()] == ["0", "2"]
    (output,) = session.run(["output"], fed(session, {"0": [1.5], "2": [6.0]}))
    np.testing.assert_allclose(output, schema.encode([[1.5, 3.0, 6.0]], "float64"), 1e-12)


@pytest.mark.parametrize("scaling", ["none", "standard"])
def test_numbers_too_large_for_float32_are_refused(scaling):
    schema = Schema.fit({"x": [1.0, 2.0, 3.0]}, scaling=scaling)
    model = encoder(schema, "float32")
    session = session_of(to_onnx(model))
    (output,) = session.run(["output"], {"x": np.array([[1e60], [2.0]])})
    with pytest.raises(DataError, match="too large for float32"):
        schema.encode({"x": [1e60]})
    assert np.isnan(output[0])
    assert output[1] == schema.encode({"x": [2.0]})


def classifier(outputs: int, activation: str, classes: list[str] | None) -> gpunn.Sequential:
    schema = Schema.fit({"a": [1.0, 2.0, 3.0], "b": [4.0, 1.0, 7.0]})
    model = gpunn.Sequential([Dense(outputs)], schema.width, "numpy", seed=1)
    model.schema, model.output_activation, model.classes = schema, activation, classes
    return model


ROWS_OF_NUMBERS = {"a": [9.0, -4.0, None, math.inf, 1.0], "b": [-8.0, 5.0, 1.0, 2.0, 9.0]}


@pytest.mark.parametrize(
    ("outputs", "activation", "classes"),
    [
        (3, "softmax", ["a", "b", "ü"]),
        (3, "softmax", None),
        (1, "sigmoid", ["no", "yes"]),
        (1, "sigmoid", None),
    ],
)
@pytest.mark.filterwarnings("ignore::gpunn.errors.GpunnWarning")
def test_labels(outputs, activation, classes):
    model = classifier(outputs, activation, classes)
    session = session_of(to_onnx(model, probabilities=activation, labels=True))
    names = ["output", "probabilities", "label"]
    assert [each.name for each in session.get_outputs()] == names
    output, p, label = session.run(names, fed(session, ROWS_OF_NUMBERS))
    known = [0, 1, 2, 4]
    rows = {name: [cells[row] for row in known] for name, cells in ROWS_OF_NUMBERS.items()}
    expected = model.predict(rows)
    np.testing.assert_allclose(output[known], expected, 1e-6, 1e-6)
    np.testing.assert_allclose(p[known], model.predict_proba(rows)[:, -outputs:], 1e-6, 1e-6)
    numbers = expected.argmax(axis=1) if outputs > 1 else (expected[:, 0] > 0).astype(int)
    assert len(set(numbers)) > 1
    assert label.shape == (5,)
    assert label[known].tolist() == [classes[n] if classes else n for n in numbers]
    assert np.isnan(output[3]).all()
    assert np.isnan(p[3]).all()
    assert label[3] == ("" if classes else -1)


def test_outputs_that_are_not_vectors():
    schema = Schema.fit(people(), columns={"city": "category"})
    model = gpunn.Sequential([Members(3, "fixed")], schema.width, "numpy", dtype="float64")
    model.schema = schema
    session = session_of(to_onnx(model))
    rows = fed(session, people())
    rows["age"][4] = math.inf
    (output,) = session.run(["output"], rows)
    expected = model.predict(people())
    expected[4] = math.nan
    np.testing.assert_allclose(output, expected, 1e-10, 1e-10)


def test_labels_of_a_network_without_a_schema():
    model = gpunn.Sequential([Dense(3)], 2, "numpy")
    model.output_activation, model.classes = "softmax", ["a", "b", "c"]
    session = session_of(to_onnx(model, labels=True))
    X = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    label, output = session.run(["label", "output"], {"input": X})
    assert label.tolist() == [model.classes[k] for k in output.argmax(axis=1)]


@pytest.mark.parametrize(("outputs", "activation"), [(1, "sigmoid"), (2, "softmax")])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_labels_at_the_threshold_are_those_of_gpunn(outputs, activation, dtype):
    """A margin that rounds to the limit in float32 is still on the correct side."""
    model = gpunn.Sequential([Dense(outputs)], 2, "numpy", dtype=dtype)
    model.output_activation = activation
    X = np.random.default_rng(0).normal(size=(40, 2)).astype(dtype)
    chance = 1 / (1 + np.exp(-margins(model.predict(X))))
    for threshold in chance[:20] * (1 + np.linspace(-3e-8, 3e-8, 20)):
        model.threshold = threshold
        session = session_of(to_onnx(model, labels=True))
        label, output = session.run(["label", "output"], {"input": X})
        np.testing.assert_array_equal(label, decide(output, activation, threshold))


class OwnScaling(RobustScaling):
    name = "robust"


LABELS = {"labels": True}


@pytest.mark.parametrize(
    ("change", "options", "error", "problem"),
    [
        ({"output": [1.0, 2.0]}, {}, ExportError, "the ONNX graph already uses the name 'output'"),
        ({"label": [1.0, 2.0]}, LABELS, ExportError, "the ONNX graph already uses the name"),
        ({}, {"input_dtype": "float32"}, ArgumentError, "input_dtype: a network with a schema"),
        (None, {}, ExportError, "can't export the custom scaling OwnScaling to ONNX"),
        ({}, LABELS | {"activation": "identity"}, ArgumentError, "labels: a network with output"),
        ({}, LABELS | {"activation": "sigmoid"}, ArgumentError, "labels: .* does not predict one"),
    ],
)
def test_what_cannot_be_exported(change, options, error, problem):
    schema = Schema.fit({"x": [1.0, 2.0], **(change or {})})
    if change is None:
        schema.scaling = OwnScaling(**schema.arrays())
    model = gpunn.Sequential([Dense(3)], schema.width, "numpy")
    model.schema = schema
    model.output_activation = options.pop("activation", "softmax")
    with pytest.raises(error, match=problem):
        to_onnx(model, **options)
    options.pop("input_dtype", None)
    if error is ExportError:
        to_onnx(model, encoded=True, **options)


def test_columns_with_odd_names():
    """A column may have the name label if there is no such output."""
    names = ["label", "input", "größe (m²)", "a/b:0", "0", "dense_1.weights "]
    rows = {name: [float(place), 9.0] for place, name in enumerate(names)}
    rows |= {"yes?": [True, False], "yes?.none": ["a", "b"]}
    schema = Schema.fit(rows)
    session = session_of(to_onnx(encoder(schema)))
    assert [each.name for each in session.get_inputs()] == list(rows)
    (output,) = session.run(["output"], fed(session, rows))
    np.testing.assert_allclose(output, schema.encode(rows, "float64"), 1e-12, 1e-12)


def of_frame(session, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    kinds = json.loads(session.get_modelmeta().custom_metadata_map["columns"])
    inputs = {}
    for name, kind in kinds.items():
        column = frame[name]
        if kind == "category":
            cells = column.fillna("").astype(str).str.strip().to_numpy(object)
        elif kind == "datetime":
            cells = (pd.to_datetime(column) - pd.Timestamp(0)) / pd.Timedelta("1s")
            cells = cells.to_numpy(np.float64)
        else:
            cells = column.to_numpy(np.float64)
        inputs[name] = cells[:, np.newaxis]
    return inputs


SETS = [
    ("credit_risk.csv", "loan_status"),
    ("ames.tsv", "SalePrice"),
    ("bike_sharing.csv", "count"),
    ("diamonds.csv", "price"),
    ("dry_beans.csv", "Class"),
    ("electricity.csv", "class"),
    ("heart_2020.csv.gz", "HeartDisease"),
    ("mushroom.csv", "class"),
]


@pytest.mark.parametrize(("name", "target"), [("", "loan_status"), *SETS])
@pytest.mark.filterwarnings("ignore::gpunn.errors.GpunnWarning")
def test_real_tables(name, target):
    """A schema of half of the rows; the others have new categories and more missing values."""
    path = TABLES / name if name else credit_risk_file()
    if not path.is_file():
        pytest.skip(f"the variable GPUNN_DATA names no folder with tables/{name}")
    separator = "\t" if path.suffix == ".tsv" else ","
    options = {"keep_default_na": False, "na_values": ["", "NA", "?"]}
    frame = pd.read_csv(path, sep=separator, **options).sample(n=800, random_state=0)
    frame = frame.reset_index(drop=True)
    schema = Schema.fit(frame[:400], drop=[target], scaling="quantile" if name else "robust")
    layers = [Dense(16, "selu"), Dense(3)]
    model = gpunn.Sequential(layers, schema.width, "numpy")
    model.schema, model.output_activation = schema, "softmax"
    session = session_of(to_onnx(model, probabilities="softmax"))
    output, p = session.run(["output", "probabilities"], of_frame(session, frame))
    expected = model.predict(frame)
    size = max(1.0, float(np.abs(expected).max()))
    assert np.abs(output - expected).max() <= 1e-5 * size
    np.testing.assert_allclose(p, model.predict_proba(frame), 0, 1e-5)
    matrix = session_of(to_onnx(encoder(schema))).run(["output"], of_frame(session, frame))[0]
    np.testing.assert_allclose(matrix, schema.encode(frame, "float64"), 0, 1e-9)

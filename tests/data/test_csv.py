"""Loading CSV files: accepted files, and the location in every error."""

import csv

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from memory import peak_below

import gpunn.data.csv
from gpunn.data import CSVData, load_csv
from gpunn.errors import ArgumentError, ArgumentTypeError, DataError

FLOWERS = "width,length,species\n1.5,2,setosa\n3,4.25,virginica\n5,6,setosa\n"


@pytest.fixture
def load(tmp_path):
    def write_and_load(content, target=-1, **options):
        path = tmp_path / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_csv(path, target, **options)

    return write_and_load


@pytest.fixture(params=[1, 2**16], ids=["one row a block", "one block"])
def blocks(request, monkeypatch):
    monkeypatch.setattr(gpunn.data.csv, "_BLOCK_CELLS", request.param)


@pytest.mark.usefixtures("blocks")
def test_text_target_becomes_codes_of_sorted_classes(load):
    data = load(FLOWERS, "species")
    assert isinstance(data, CSVData)
    assert data.X.dtype == np.float32
    np.testing.assert_array_equal(data.X, [[1.5, 2], [3, 4.25], [5, 6]])
    assert data.y.dtype == np.int64
    assert data.y.tolist() == [0, 1, 0]
    assert data.classes == ("setosa", "virginica")
    assert data.feature_names == ("width", "length")
    assert data.target_name == "species"


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(
    ("cells", "dtype", "expected", "classes"),
    [
        (["3", " 1", "-2 ", "+4"], "int64", [3, 1, -2, 4], None),
        ([str(2**62 + 1), "0"], "int64", [2**62 + 1, 0], None),
        (["3", "1.5", "-2e3"], "float32", [3, 1.5, -2000], None),
        (["1.0", "2.0"], "float32", [1, 2], None),
        (["1", str(2**70)], "float32", [1, 2.0**70], None),
        (["7", "007", "a"], "int64", [1, 0, 2], ("007", "7", "a")),
        (["1.0", "1", "x y"], "int64", [1, 0, 2], ("1", "1.0", "x y")),
        (["1_0", "10"], "int64", [1, 0], ("10", "1_0")),
        (["True", "False", " True "], "int64", [1, 0, 1], ("False", "True")),
        (["é", "日本"], "int64", [0, 1], ("é", "日本")),
    ],
)
def test_type_of_the_target(load, cells, dtype, expected, classes):
    data = load("x,y\n" + "".join(f"0,{cell}\n" for cell in cells), "y")
    assert data.y.dtype == dtype
    assert data.y.tolist() == expected
    assert data.classes == classes


def test_float64(load):
    data = load("0.1,1e300\n0.2,0.5\n", dtype="float64")
    assert data.X.dtype == data.y.dtype == np.float64
    assert data.X.ravel().tolist() == [0.1, 0.2]
    assert data.y.tolist() == [1e300, 0.5]


def test_no_target(load):
    data = load("a,b\n1,2\n", None)
    assert data.X.tolist() == [[1, 2]]
    assert (data.y, data.target_name, data.classes) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "header", "names"),
    [
        ("a,b\n1,2\n", "auto", ("a", "b")),
        ("a,1\n1,2\n", "auto", ("a", "1")),
        ("1,2\n3,4\n", "auto", ("0", "1")),
        ("1,2\n", "auto", ("0", "1")),
        ("1,2\n3,4\n", True, ("1", "2")),
        ("1,2\n3,4\n", False, ("0", "1")),
    ],
)
def test_header(load, text, header, names):
    assert load(text, None, header=header).feature_names == names


@pytest.mark.parametrize("text", ["1,red\n2,blue\n", "1,red\n2,?x\n"])
def test_text_above_text_is_no_header(load, text):
    assert len(load(text).X) == 2


@pytest.mark.parametrize("columns", [{"target": "9"}, {"features": ["8"]}])
def test_naming_a_column_implies_a_header(load, columns):
    assert load("8,9\n1,2\n", **{"target": -1} | columns).feature_names == ("8",)


@pytest.mark.parametrize(
    ("target", "features", "X", "y"),
    [
        (0, None, [[2, 3]], [1]),
        (-2, None, [[1, 3]], [2]),
        ("c", ["b", "a"], [[2, 1]], [3]),
        ("c", [-2], [[2]], [3]),
        (np.int64(1), ["c", 0], [[3, 1]], [2]),
    ],
)
def test_columns_by_name_and_number(load, target, features, X, y):
    data = load("a,b,c\n1,2,3\n", target, features=features)
    assert data.X.tolist() == X
    assert data.y.tolist() == y


def test_columns_that_are_not_used_may_hold_anything(load):
    data = load("name,x,y\nBob,1,0\n,2,1\n", "y", features=["x"])
    assert data.X.tolist() == [[1], [2]]


@pytest.mark.parametrize("delimiter", [";", "\t", " "])
def test_delimiters(load, delimiter):
    data = load("a,b\n1,2\n3,4\n".replace(",", delimiter), "b", delimiter=delimiter)
    assert (data.X.tolist(), data.y.tolist()) == ([[1], [3]], [2, 4])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    X=npst.arrays(
        st.sampled_from([np.float32, np.float64]),
        npst.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements={"allow_nan": False, "allow_infinity": False},
    ),
    labels=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=6
    ),
    block_cells=st.integers(1, 40),
)
def test_round_trip(tmp_path, monkeypatch, X, labels, block_cells):
    monkeypatch.setattr(gpunn.data.csv, "_BLOCK_CELLS", block_cells)
    names = [f"class {label.strip()}".strip() for label in labels[: len(X)]]
    path = tmp_path / "table.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"x{column}" for column in range(X.shape[1])), "y"])
        writer.writerows(
            [*map(repr, row.tolist()), name] for row, name in zip(X, names, strict=True)
        )

    data = load_csv(path, "y", dtype=X.dtype)

    assert data.X.dtype == X.dtype
    np.testing.assert_array_equal(data.X, X)
    assert [data.classes[code] for code in data.y] == names
    assert list(data.classes) == sorted(set(names))


def test_memory_follows_the_numbers_not_the_text(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("1,2,3,4,5,6,7,8\n" * 50_000)
    with peak_below(8_000_000):  # the 400,000 cells would take over 20 MB as Python strings
        data = load_csv(path, -1)
    assert data.X.nbytes == 1_400_000


@pytest.mark.usefixtures("blocks")
def test_missing_values_are_counted_and_located(load):
    text = "a,b,y\n1,2,0\n,2,0\n1,NA,0\n1,n/a,0\n1,2,?\nNaN,nan,\n1,2,1\n"
    with pytest.raises(DataError) as raised:
        load(text, "y")
    assert ("7 missing values: line 3 column 'a', line 4 column 'b', line 5 column 'b', ") in str(
        raised.value
    )
    assert ", ...; fill in each value" in str(raised.value)
    assert str(raised.value).count(" column '") == 5


def test_missing_markers_are_the_callers(load):
    assert load("x,y\n1,NA\n2,EU\n", "y", missing=()).classes == ("EU", "NA")
    with pytest.raises(DataError, match="3 missing values: line 3 column 'x', line 4 column 'x'"):
        load("x,y\n1,0\n-999,1\n-999.0,-999\n", "y", missing=["-999"])


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "the file is empty"),
        ("\n \n\n", {}, "the file is empty"),
        ("a,b\n", {"header": True}, "no rows below the header"),
        ("a,b\n", {"target": "b"}, "no rows below the header"),
        ("a,b,a\n1,2,3\n", {}, "the header has more than one column 'a'"),
        ("a, a\n1,2\n", {}, "the header has more than one column 'a'"),
        ("?,1\n2,3\n", {}, "1 missing value: line 1 column '0'"),  # so this is not a header
        (
            *("x,y\n1,nan\n2,a\n3,\n4,b\n", {"target": "y"}),
            "2 missing values: line 2 column 'y', line 4 column 'y';",
        ),
        ("x,y\n1,0\nred,1\n", {}, "line 3, column 'x' is a feature .* numbers, got 'red'"),
        ("x,y\n1_000,1\n", {"target": "y"}, "line 2, column 'x' is a feature .*, got '1_000'"),
        ("x,y\n1,0\ninf,1\n", {}, "line 3, column 'x' must hold finite numbers .*, got 'inf'"),
        ("x,y\n1e39,1\n", {}, "line 2, column 'x' .* of type float32, got '1e39'"),
        ("x,y\n1,1e39\n", {}, "line 2, column 'y' .* of type float32, got '1e39'"),
        ("x,y\n1,-inf\n", {}, "line 2, column 'y' must hold finite numbers .*, got '-inf'"),
        ("x,y\n1,0\n", {"target": "Y"}, "target: .* has no column 'Y'.*valid: 'x', 'y'"),
        (FLOWERS, {"target": "specie"}, "target: .*did you mean 'species'"),
        (FLOWERS, {"features": ["with"]}, "features: .*did you mean 'width'"),
        ("x,y\n1,0\n", {"target": 2}, "target: .* has 2 columns, numbered from 0; got 2"),
        ("x,y\n1,0\n", {"target": -3}, "target: .* has 2 columns, numbered from 0; got -3"),
        ("y\n1\n", {}, "no column is left for the features; columns: .'y'."),
        ("x,y\n1,0\n", {"features": []}, "no column is left for the features"),
        (
            b"my flowers\nx,y\n1,2\n",
            {"header": True},
            "line 2: expected 1 cell, as in the first row; got 2; if there is a title above the",
        ),
    ],
)
def test_malformed_files(load, tmp_path, text, options, message):
    with pytest.raises(DataError, match=message) as raised:
        load(text, **options)
    assert str(tmp_path / "table.csv") in str(raised.value)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"header": "yes"}, ArgumentError, "header: expected True, False or \"auto\", got 'yes'"),
        ({"delimiter": ""}, ArgumentError, "delimiter: expected one character"),
        ({"delimiter": "::"}, ArgumentError, "delimiter: expected one character"),
        ({"delimiter": "\n"}, ArgumentError, "delimiter: expected one character"),
        ({"delimiter": None}, ArgumentError, "delimiter: expected one character"),
        ({"dtype": "int32"}, ArgumentError, 'dtype: expected "float32" or "float64"'),
        ({"dtype": "flout"}, ArgumentError, 'dtype: expected "float32" or "float64"'),
        ({"features": "width"}, ArgumentTypeError, "features: expected a list, got the string"),
        ({"missing": "NA"}, ArgumentTypeError, "missing: expected a list of strings; got"),
        ({"features": [0, "width"]}, ArgumentError, "column 'width' is listed more than once"),
        ({"features": [0, 2]}, ArgumentError, "features: column 'species' is the target"),
        ({"features": [0.0]}, ArgumentTypeError, r"features: expected a column's .* got 0\.0"),
        ({"target": True}, ArgumentTypeError, "target: expected a column's .* got True"),
        ({"target": "2", "header": False}, ArgumentError, "target: .*number, since header=False"),
    ],
)
def test_malformed_arguments(load, options, error, message):
    with pytest.raises(error, match=message):
        load(FLOWERS, **options)

"""What is to be predicted: classes or numbers, of tables, CSV files and arrays."""

import numpy as np
import pytest

from gpunn.config import TableFile
from gpunn.errors import DataError
from gpunn.experiment.targets import (
    TableTargets,
    label_names,
    label_values,
    positions,
    text_classes,
)
from gpunn.losses import (
    BinaryCrossEntropy,
    Huber,
    MeanAbsoluteError,
    MeanSquaredError,
    Poisson,
    Quantile,
    SoftmaxCrossEntropy,
)
from gpunn.tables import table_of
from gpunn.tables.inspection import inspect

SOFTMAX, BINARY = SoftmaxCrossEntropy(), BinaryCrossEntropy()


def of(*targets: str) -> TableFile:
    return TableFile(path="a.csv", target=targets[0] if len(targets) == 1 else list(targets))


@pytest.mark.parametrize(
    ("cells", "loss", "classes"),
    [
        (["b", "a", "b"], None, ["a", "b"]),
        ([" b", "a ", "b"], None, ["a", "b"]),
        (["'=1+1", "a", "a"], None, ["=1+1", "a"]),
        ([True, False, True], None, ["False", "True"]),
        (["true", "False", "TRUE"], None, ["False", "True"]),
        ([10, 9, 10], None, ["9", "10"]),
        ([10.0, 9.0, 10.0], None, ["9", "10"]),
        ([1.5, 2.0, 2.0], None, None),
        ([1.5, 2.0, 2.0], SOFTMAX, ["1.5", "2"]),
        ([0, 1, 0], BINARY, ["0", "1"]),
        ([0, 1, 0], Huber(), None),
        ([*range(21), 0], None, None),
        ([*range(20), 0], None, [str(number) for number in range(20)]),
        (["7", "007", "8", "7"], SOFTMAX, ["007", "7", "8"]),
        ([*range(21), 0], SOFTMAX, [str(number) for number in range(21)]),
        (["2 kg", "1 kg", "3 kg", "1 kg"], None, ["1 kg", "2 kg", "3 kg"]),
        (["18:00", "09:00", "18:00"], None, ["09:00", "18:00"]),
        (["2024-Q2", "2024-Q1", "2024-Q2"], None, ["2024-Q1", "2024-Q2"]),
        ([f"{k % 21}:30" for k in range(22)], SOFTMAX, sorted(f"{k}:30" for k in range(21))),
    ],
)
def test_classes(cells, loss, classes):
    targets = TableTargets(table_of({"y": cells}), of("y"))
    assert targets.classes(loss) == classes
    codes = targets.encoded(classes, loss)
    if classes is None:
        np.testing.assert_array_equal(codes, cells)
    else:
        assert codes.dtype == np.int64
        assert sorted(set(codes.tolist())) == list(range(len(classes)))


def test_classes_in_other_types():
    targets = TableTargets(table_of({"y": ["2.0", " 1", "1"]}), of("y"))
    assert targets.encoded(["1", "2"]).tolist() == [1, 0, 0]
    targets = TableTargets(table_of({"y": ["true", "FALSE"]}), of("y"))
    assert targets.encoded(["False", "True"]).tolist() == [1, 0]


def test_several_targets():
    table = table_of({"a": [1, 2], "b": [True, False], "c": ["1.5", "-2"]})
    targets = TableTargets(table, of("a", "b", "c"))
    assert targets.classes(None) is None
    assert targets.encoded(None).tolist() == [[1, 1, 1.5], [2, 0, -2]]


@pytest.mark.parametrize(
    ("cells", "classes", "problem"),
    [
        (["a", None], ["a", "b"], "row 1, column 'y': the target is missing"),
        ([1.0, np.nan, np.nan], None, "row 1, column 'y': the target is missing here, and in 1"),
        (["a", "c"], ["a", "b"], "row 1, column 'y': 'c' is not a class of the training data"),
        ([1, "x"], None, "row 1, column 'y': the target must be a number; got 'x'"),
        ([1, np.inf], None, "row 1, column 'y': expected a finite number"),
    ],
)
def test_what_is_no_target(cells, classes, problem):
    with pytest.raises(DataError) as error:
        TableTargets(table_of({"y": cells}), of("y")).encoded(classes)
    assert problem in str(error.value)


@pytest.mark.parametrize(
    ("spelled", "problem"),
    [
        ("${}", "separators or decimal commas; got '$1' (and 21"),
        (
            "{}.000,5",
            "row 0, column 'y': the target must be a number, without a unit, separators or",
        ),
        ("10/{}/2020", "the target 'y' contains dates or times"),
        ("{}:30", "the target 'y' contains dates or times"),
    ],
)
def test_many_classes_that_are_not(spelled, problem):
    table = table_of({"y": [spelled.format(k) for k in [*range(1, 22), 1]]})
    for refuse in (
        lambda: TableTargets(table, of("y")).classes(None),
        lambda: inspect(table, ["y"]),
    ):
        with pytest.raises(DataError) as error:
            refuse()
        assert problem in str(error.value)


def test_arrays_of_dates_are_no_classes():
    table = table_of({"y": np.array(["2026-05-31", "2026-06-01"] * 2, "M8[D]")})
    with pytest.raises(DataError, match="the target 'y' contains dates or times"):
        TableTargets(table, of("y")).classes(SOFTMAX)
    with pytest.raises(DataError, match="the target 'y' contains dates or times"):
        inspect(table, ["y"])


def test_few_times_are_classes():
    table = table_of({"y": ["18:00", "9:00"] * 20, "x": range(40)})
    assert "2 classes: '18:00' (20 rows), '9:00' (20 rows)" in str(inspect(table, ["y"]))


def test_a_dropped_category_of_some_rows_is_no_class():
    table = table_of({"y": ["a", "b", "c", "a", "b"]}).take(np.array([0, 1, 3, 4]))
    assert TableTargets(table, of("y")).classes(None) == ["a", "b"]


@pytest.mark.parametrize(
    ("y", "loss", "outputs", "names"),
    [
        ([0, 1, 0], SOFTMAX, 2, None),
        ([0, 2, 0], SOFTMAX, 3, None),
        ([0, 2, 0], SOFTMAX, 2, ["0", "2"]),
        ([3, 1, 2], SOFTMAX, 3, ["1", "2", "3"]),
        ([10, 9, 2], SOFTMAX, 3, ["2", "9", "10"]),
        ([1, -1], SOFTMAX, 2, ["-1", "1"]),
        ([2.0, 1.0], SOFTMAX, 2, ["1.0", "2.0"]),
        ([0.0, 1.0], SOFTMAX, 2, ["0.0", "1.0"]),
        ([0.1, 0.5], SOFTMAX, 2, ["0.1", "0.5"]),
        ([0, 1], BINARY, 1, None),
        ([0.0, 1.0], BINARY, 1, None),
        ([0.2, 0.7], BINARY, 1, None),
        ([1, -1], BINARY, 1, ["-1", "1"]),
        ([2, 1, 2], BINARY, 1, ["1", "2"]),
        ([2.0, 1.0], BINARY, 1, ["1.0", "2.0"]),
        ([1, 2, 3], BINARY, 1, None),  # which the loss refuses
        *(
            ([1, 2], loss, 1, None)
            for loss in (MeanSquaredError(), MeanAbsoluteError(), Huber(), Poisson(), Quantile())
        ),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_loss_decides_what_is_a_label(y, loss, outputs, names, dtype):
    y = np.array(y)
    y = y.astype(dtype) if y.dtype.kind == "f" else y
    values = label_values(y, loss, outputs)
    assert (None if values is None else label_names(values)) == names


def test_positions():
    classes = ["1.0", "2.0", "10.0"]
    assert positions(["2", "10.00", "1.0", "2"], classes, "a").tolist() == [1, 2, 0, 1]
    assert positions(["7", "007"], ["007", "7", "x"], "a").tolist() == [1, 0]
    assert positions(["7.0"], ["7", "x"], "a").tolist() == [0]
    for unknown in ("3", "x", "nan", "inf"):
        with pytest.raises(DataError, match=f"^a contains '{unknown}', which is not a class"):
            positions(["1.0", unknown], [*classes, "y"], "a")


@pytest.mark.parametrize(
    ("y", "names", "codes"),
    [
        (["b", "a", "b"], ["a", "b"], [1, 0, 1]),
        ([["b"], ["a"]], ["a", "b"], [1, 0]),
        ([b"b", "ü".encode()], ["b", "ü"], [0, 1]),
        (["10", "9", "9"], ["9", "10"], [1, 0, 0]),
        (["10", "9", "x"], ["10", "9", "x"], [0, 1, 2]),
        (["real estate", " a", "01"], ["01", "a", "real estate"], [2, 1, 0]),
        (["yes ", "yes", " no\t"], ["no", "yes"], [1, 1, 0]),
        ([b"a ", b"a"], ["a"], [0, 0]),
    ],
)
def test_classes_of_an_array_of_text(y, names, codes):
    found, places = text_classes(np.array(y), "y")
    assert (found, places.tolist(), places.dtype) == (names, codes, np.int64)


@pytest.mark.parametrize(
    ("y", "problem"),
    [
        ([["a", "b"]], "y: expected strings of shape (rows,), one class per row; got shape (1, 2)"),
        (["a", "b", ""], "y, row 2 (counted from 0): the class is missing"),
        (["a", "NaN"], "y, row 1 (counted from 0): the class is missing"),
        (["a", "b" * 257], "y, row 1 (counted from 0): expected a class name of at most 256"),
        (["a", "\ud800"], "y, row 1 (counted from 0): damaged text"),
        ([b"a", b"\xff"], "y, row 1 (counted from 0): damaged text"),
    ],
)
def test_text_that_is_no_class(y, problem):
    with pytest.raises(DataError) as raised:
        text_classes(np.array(y), "y")
    assert str(raised.value).startswith(problem)

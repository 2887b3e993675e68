"""Targets of tables: classes or numbers."""

import numpy as np
import pytest

from gpunn.config import TableFile
from gpunn.errors import DataError
from gpunn.experiment.targets import TableTargets
from gpunn.losses import BinaryCrossEntropy, Huber, SoftmaxCrossEntropy
from gpunn.tables import table_of

CROSS_ENTROPY = SoftmaxCrossEntropy()


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
        ([1.5, 2.0, 2.0], CROSS_ENTROPY, ["1.5", "2"]),
        ([0, 1, 0], BinaryCrossEntropy(), ["0", "1"]),
        ([0, 1, 0], Huber(), None),
        ([*range(21), 0], None, None),
        ([*range(20), 0], None, [str(number) for number in range(20)]),
        (["7", "007", "8", "7"], CROSS_ENTROPY, ["007", "7", "8"]),
        ([*range(21), 0], CROSS_ENTROPY, [str(number) for number in range(21)]),
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
        (["a", None], ["a", "b"], "column 'y', row 1: the target is missing"),
        (
            [1.0, np.nan, np.nan],
            None,
            "column 'y', row 1: the target is missing here, and in 1",
        ),
        (["a", "c"], ["a", "b"], "column 'y', row 1: 'c' is no class of the training data"),
        ([1, "x"], None, "column 'y', row 1: the target should be a number; got 'x'"),
        ([1, np.inf], None, "column 'y', row 1: expected a finite number"),
    ],
)
def test_what_is_no_target(cells, classes, problem):
    with pytest.raises(DataError) as error:
        TableTargets(table_of({"y": cells}), of("y")).encoded(classes)
    assert problem in str(error.value)


def test_a_dropped_category_of_some_rows_is_no_class():
    table = table_of({"y": ["a", "b", "c", "a", "b"]}).take(np.array([0, 1, 3, 4]))
    assert TableTargets(table, of("y")).classes(None) == ["a", "b"]

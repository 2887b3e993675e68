"""Columns by name: pandas' data frames, and stand-ins for other libraries'."""

import numpy as np
import pandas as pd
import pytest

from gpunn.data.frames import column_names, non_numeric_columns, order_of
from gpunn.errors import DataError


class Table:
    """A table like pyarrow's, whose `columns` are arrays."""

    def __init__(self, **arrays):
        self.column_names = list(arrays)
        self.columns = list(arrays.values())


@pytest.mark.parametrize(
    ("table", "names"),
    [
        (pd.DataFrame({"b": [1], "a": [2]}), ["b", "a"]),
        (Table(b=np.ones(2), a=np.ones(2)), ["b", "a"]),
        (pd.DataFrame([[1, 2]]), None),
        (pd.DataFrame([[1, 2]], columns=["a", 1]), None),
        (pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")])), None),
        (pd.Series([1, 2], name="a"), None),
        (np.ones((2, 2)), None),
        ([[1, 2]], None),
    ],
)
def test_names(table, names):
    assert column_names(table) == names


def test_order():
    assert order_of(["c", "a", "b"], ["a", "b", "c"], "X") == [1, 2, 0]
    assert order_of(["a", "b"], ["a", "b"], "X") is None
    assert order_of(None, ["a", "b"], "X") is None
    assert order_of(["a", "b"], None, "X") is None
    assert order_of(["a", "a"], ["a", "a"], "X") is None


@pytest.mark.parametrize(
    ("names", "known", "problem"),
    [
        (["a", "c"], ["a", "b"], "X: the network was .* other columns: missing: 'b'; unknown: 'c'"),
        (["a"], ["a", "b"], "missing: 'b'$"),
        (["a", "b", "c"], ["b", "a"], "unknown: 'c'$"),
        (["b", "a", "a"], ["a", "b", "a"], "several columns are named 'a', so all columns must"),
        (["z"], list("abcdefg"), "missing: 'a', 'b', 'c', 'd', 'e' and 2 more; unknown: 'z'$"),
    ],
)
def test_other_columns(names, known, problem):
    with pytest.raises(DataError, match=problem):
        order_of(names, known, "X")


def test_columns_that_hold_no_numbers():
    frame = pd.DataFrame({"city": ["Rome", "Oslo"], "size": [1, 2], "when": pd.to_datetime([0, 1])})
    city, when = non_numeric_columns(frame)
    assert city == "'city' (such as 'Rome')"
    assert when.startswith("'when' (such as ")
    mixed = pd.DataFrame({"a": pd.Series([1, 2, "x"], dtype=object)})
    assert non_numeric_columns(mixed) == ["'a' (such as 'x')"]
    assert non_numeric_columns(np.array([["a"]], dtype=object)) == []

"""An error has a key and a problem."""

import pytest

from gpunn.configurable import check_integer, make
from gpunn.errors import ArgumentError, ArgumentTypeError, DataError
from gpunn.layers import Dense


@pytest.mark.parametrize(
    ("error", "key", "problem"),
    [
        (ArgumentError("units: expected 1: got 0"), "units", "expected 1: got 0"),
        (ArgumentTypeError("model.layers[0].units: no"), "model.layers[0].units", "no"),
        (DataError("all rows belong to one group: no"), "", "all rows belong to one group: no"),
        (DataError("/tmp/x.csv: damaged"), "", "/tmp/x.csv: damaged"),
        (DataError(""), "", ""),
    ],
)
def test_key_and_problem(error: DataError, key: str, problem: str) -> None:
    assert (error.key, error.problem) == (key, problem)


def test_keys_of_checks() -> None:
    with pytest.raises(ArgumentError) as checked:
        check_integer("rows", 0)
    with pytest.raises(ArgumentError) as made:
        make(Dense, {"unit": 3}, "layers[1]")
    assert (checked.value.key, made.value.key) == ("rows", "layers[1].unit")

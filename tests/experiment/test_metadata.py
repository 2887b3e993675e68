from pathlib import Path

import pytest

from gpunn.config import CSV, Digits
from gpunn.errors import ModelFileError
from gpunn.experiment.metadata import check_metadata

PATH = Path("final.safetensors")
TABLE = CSV(path="a.csv", target="y")
GOOD = {"header": True, "features": ["a", "b"], "classes": ["x", "y"]}


def test_what_a_run_writes():
    for metadata in (GOOD, {**GOOD, "header": False, "features": ["0", "12"]}, {**GOOD, "own": 1}):
        check_metadata(PATH, metadata, TABLE)
    check_metadata(PATH, {}, Digits())
    check_metadata(PATH, {"header": 1, "features": None}, Digits())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("header", value) for value in (None, 1, "true", [])),
        *(("features", value) for value in (None, [], "ab", [0, 1], {"a": 1}, [["a"]])),
        *(("classes", value) for value in (3, [], "ab", [0, 1], ["a", "a"], ["x" * 257], [None])),
    ],
)
def test_what_it_does_not(key, value):
    with pytest.raises(
        ModelFileError, match=f"^final.safetensors: the metadata is damaged: {key}[:[]"
    ):
        check_metadata(PATH, {**GOOD, key: value}, TABLE)


@pytest.mark.parametrize("features", [["a"], ["-1"], ["1" * 5000], [""], ["٣x"]])
def test_columns_without_a_header_have_numbers(features):
    with pytest.raises(ModelFileError, match="features: expected column indices"):
        check_metadata(PATH, {"header": False, "features": features}, TABLE)

"""The names in `gpunn.data`, which are imported only at first use."""

import pytest
from processes import run_python

import gpunn.data


@pytest.mark.parametrize("name", gpunn.data.__all__)
def test_exported(name):
    assert name in dir(gpunn.data)
    assert getattr(gpunn.data, name).__name__ == name


def test_unknown_name():
    with pytest.raises(AttributeError, match=r"'gpunn\.data' has no attribute 'load_jpeg'"):
        gpunn.data.load_jpeg  # noqa: B018


def test_import_loads_no_loader():
    code = (
        "import sys, gpunn.data; "
        "loaders = {f'gpunn.data.{name}' for name in ('arrays', 'csv', 'digits', 'idx', 'mnist')}; "
        "print(sorted(loaders & set(sys.modules)))"
    )
    assert run_python("-c", code).stdout.strip() == "[]"

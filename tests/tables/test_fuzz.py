"""For any table or file, the result is a schema or one of gpunn's errors."""

import contextlib
import json
import warnings

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from people import PEOPLE

from gpunn.errors import ArgumentError, DataError, GpunnWarning
from gpunn.tables import Schema, read_table
from gpunn.tables.scaling import SCALINGS

TEXT = st.text(st.characters(codec=None), max_size=8)
CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    TEXT,
    st.sampled_from(
        ["", "NA", "?", "1", "2.0", "007", "1e400", "nan", "inf", "true", "2026-01-31"]
    ),
    st.datetimes(),
    st.dates(),
    st.decimals(),
    st.binary(max_size=4),
    st.just(pd.NA),
    st.just(pd.NaT),
)
KINDS = st.sampled_from([None, "number", "category", "boolean", "datetime"])


@st.composite
def frames(draw):
    rows = draw(st.integers(0, 6))
    names = draw(st.lists(TEXT, min_size=1, max_size=3))
    cells = draw(st.sampled_from([CELLS, st.floats(), st.integers(), TEXT, st.datetimes()]))
    return {name: draw(st.lists(cells, min_size=rows, max_size=rows)) for name in names}


@given(frames(), frames(), st.sampled_from(sorted(SCALINGS)), KINDS)
def test_any_table(frame, other, scaling, kind):
    kinds = {next(iter(frame)): kind} if kind else None
    try:
        schema = Schema.fit(frame, scaling=scaling, columns=kinds)
    except DataError:
        return
    again = Schema.from_json(json.loads(json.dumps(schema.to_json())), schema.arrays())
    assert again == schema
    matrix = schema.encode(frame, "float64")
    assert matrix.shape == (len(next(iter(frame.values()))), schema.width)
    assert np.isfinite(matrix).all()
    assert np.array_equal(again.encode(frame, "float64"), matrix)
    other = dict(zip(frame, other.values(), strict=False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GpunnWarning)
        with contextlib.suppress(DataError):
            assert np.isfinite(schema.encode(other)).all()


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=6,
)
ARRAYS = st.one_of(
    st.none(),
    st.tuples(
        st.sampled_from(["float64", "float32", "int64", "bool"]),
        st.lists(st.integers(0, 6), max_size=3),
        st.sampled_from([0, 1, -1, np.nan]),
    ),
)


def places(value, path=()):
    yield path
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


@given(
    st.sampled_from(sorted(SCALINGS)),
    st.integers(0, 200),
    JSON,
    st.sampled_from([None, "median", "factor", "quantiles", "lowest", "other"]),
    ARRAYS,
)
def test_a_changed_description(scaling, number, value, name, array):
    """The result is a schema that works, or an ArgumentError."""
    schema = Schema.fit(PEOPLE, scaling=scaling)
    description, arrays = schema.to_json(), dict(schema.arrays())
    every = list(places(description))[1:]
    *parents, last = every[number % len(every)]
    inner = description
    for key in parents:
        inner = inner[key]
    inner[last] = value
    if name is not None:
        arrays.pop(name, None)
        if array is not None:
            dtype, shape, number = array
            with np.errstate(invalid="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                arrays[name] = np.full(shape, number).astype(dtype)
    try:
        read = Schema.from_json(description, arrays)
    except ArgumentError:
        return
    assert Schema.from_json(read.to_json(), read.arrays()) == read
    read.describe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GpunnWarning)
        with contextlib.suppress(DataError):
            assert np.isfinite(read.encode(PEOPLE)).all()


@given(JSON)
def test_any_description(description):
    try:
        Schema.from_json(description, {})
    except ArgumentError:
        return


@given(st.one_of(st.binary(max_size=60), st.text("ab01.,;\t\"'\n\r -?", max_size=60)))
def test_any_file(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with contextlib.suppress(DataError):
        Schema.fit(read_table(path))

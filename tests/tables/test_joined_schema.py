"""Schemas of one table that were learned from different rows; test_encoders compares encodings."""

import copy
import json
import pickle

import numpy as np
import pytest

from gpunn.errors import ArgumentError
from gpunn.tables import Schema, Table, table_of
from gpunn.tables.joined_schema import JoinedSchema, schema_from_json
from gpunn.tables.schema_difference import schema_difference

TABLE = {
    "size": [1.0, 2.0, 4.0, 3.0, None, 5.0],
    "city": ["Oslo", "Oslo", "Rome", "Rome", "Bern", "Rome"],
    "always": ["x"] * 6,
    "late": ["a", "b", "a", "c", "c", "c"],
}


def some(rows, **options):
    part = {name: [cells[row] for row in rows] for name, cells in TABLE.items()}
    return Schema.fit(part, every=TABLE, **options)


PARTS = [some([0, 1, 2, 3]), some([2, 3, 4, 5]), some([3, 4, 5])]
JOINED = JoinedSchema(PARTS)


def test_matrices_are_side_by_side():
    matrix = JOINED.encode(TABLE)
    assert matrix.shape == (6, JOINED.width)
    parts = [part.encode_with_unseen(TABLE)[0] for part in PARTS]
    np.testing.assert_array_equal(matrix, np.hstack(parts))
    assert JOINED.names == [
        *("size", "city", "late", "size'", "size (missing)", "city'", "late'"),
        *("size''", "size (missing)'", "city''"),
    ]
    sizes = {each.name: each.size for each in JOINED.categories}
    assert sizes == {"city": 3, "late": 4, "city'": 3, "late'": 3, "city''": 3}


def test_schemas_that_differ_in_their_scaling_read_rows_once():
    scaled = [Schema.fit(TABLE, scaling=scaling) for scaling in ("robust", "quantile", "none")]
    joined, table, reads = JoinedSchema([*scaled, PARTS[0]]), table_of(TABLE), []
    counting = Table(
        table.names, len(table), lambda place: reads.append(place) or table.column(names[place])
    )
    names = table.names
    matrix, _ = joined.encode_with_unseen(counting, "float64")
    expected = [part.encode_with_unseen(TABLE, "float64")[0] for part in joined.parts]
    np.testing.assert_array_equal(matrix, np.hstack(expected))
    assert len(joined._alike) == 2


def test_columns_combine_what_the_schemas_learned():
    columns = {column.name: column for column in JOINED.columns}
    assert [column.dropped for column in columns.values()] == [False, False, True, False]
    assert PARTS[2].columns[3].dropped, "else there is nothing to combine"
    assert columns["city"].categories == ("Bern", "Oslo", "Rome")
    assert columns["size"].missing == 1
    assert JOINED.problems == ["always: dropped: the same in every row"]
    assert repr(JOINED) == "<JoinedSchema: 3 schemas of 4 columns>"


def test_only_what_no_schema_has_seen_is_unseen():
    rows = {name: [*cells, cells[0]] for name, cells in TABLE.items()}
    rows["city"][-1], rows["late"][-1] = "Kiel", None
    _, unseen = JOINED.encode_with_unseen(rows)
    assert unseen.unknown == {"city": {"Kiel": 1}}
    assert unseen.missing == {"late": 1}
    assert JOINED.unknown(rows) == {"city": {"Kiel": 1}}


def test_copies():
    read = schema_from_json(json.loads(json.dumps(JOINED.to_json())), JOINED.arrays())
    for again in (read, copy.deepcopy(JOINED), pickle.loads(pickle.dumps(JOINED))):
        assert again == JOINED
        assert again.names == JOINED.names
        assert not schema_difference(again, JOINED)
    assert PARTS[0] != JOINED
    assert JoinedSchema(PARTS[:2]) != JoinedSchema(PARTS[1::-1])
    difference = schema_difference(JOINED, PARTS[0])
    assert difference == "schemas joined: 1 in that schema, 3 in this schema"
    difference = schema_difference(JoinedSchema(PARTS[:2]), JoinedSchema(PARTS[1::-1]))
    assert difference == "column 'size' has a feature 'size (missing)' in that schema"


@pytest.mark.parametrize(
    ("change", "arrays", "problem"),
    [
        ({"schemas": []}, {}, "'0.median' belongs to none of 0 schemas"),
        ({"schemas": 3}, {}, "schemas: expected a list; got 3"),
        ({"schemas": [JOINED.to_json()] * 3}, {}, "schema.named: this key is needed"),
        ({}, {"9.median": np.zeros(1)}, "'9.median' belongs to none of 3 schemas"),
        ({}, {"1.median": np.zeros(3)}, r"'median': expected float64 of shape \(1,\)"),
    ],
)
def test_damaged_descriptions(change, arrays, problem):
    with pytest.raises(ArgumentError, match=problem):
        schema_from_json(JOINED.to_json() | change, JOINED.arrays() | arrays)


@pytest.mark.parametrize(
    "other",
    [
        some([0, 1, 2], missing_values=["x"], columns={"always": "category"}),
        some([0, 1, 2], columns={"size": "category"}),
        Schema.fit({"size": [1.0, 2.0]}),
    ],
)
def test_schemas_of_other_tables(other):
    with pytest.raises(ArgumentError, match="schemas with the same columns, kinds"):
        JoinedSchema([PARTS[0], other])

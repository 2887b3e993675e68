"""In what two schemas encode rows otherwise, by the first column in which they do."""

from __future__ import annotations

import numpy as np

from gpunn.tables.columns import Column
from gpunn.tables.encoders import features_of, scaled_features
from gpunn.tables.schema import Schema

__all__ = ["schema_difference"]


def schema_difference(ours: Schema, theirs: Schema) -> str:
    """Return in what another schema encodes rows otherwise than ours; empty if in nothing.

    Such as "column 'age' is a category there, and a number here".
    """
    here, there = used(ours), used(theirs)
    for name in [*here, *there]:
        if name not in there or name not in here:
            return f"there is {'no' if name in here else 'a'} column {name!r} there"
        if problem := column_difference(here[name], there[name]):
            return f"column {name!r} {problem}"
    if list(here) != list(there):
        return f"columns are in another order there: {', '.join(there)}"
    if ours.scaling.name != theirs.scaling.name:
        return f"numbers have the scaling {theirs.scaling.name!r} there"
    arrays, others = ours.arrays(), theirs.arrays()
    for index, feature in enumerate(scaled_features(ours.columns)):
        for name, array in arrays.items():
            if not np.array_equal(array[index], others[name][index]):
                return f"column {feature.name!r} is scaled by other rows there"
    if ours.missing_values != theirs.missing_values:
        return f"missing values are {', '.join(theirs.missing_values) or 'only blanks'} there"
    return ""


def used(schema: Schema) -> dict[str, Column]:
    """Return the columns that go into the matrix, by their names."""
    return {column.name: column for column in schema.columns if features_of([column])}


def column_difference(ours: Column, theirs: Column) -> str:
    """Return in what a column is another one there, but for its scaling; nothing if it isn't."""
    if ours.kind != theirs.kind:
        return f"is a {theirs.kind} there, and a {ours.kind} here"
    if ours.categories != theirs.categories:
        odd = min(set(ours.categories) ^ set(theirs.categories))
        return f"has {'no ' if odd in ours.categories else 'a '}category {odd!r:.60} there"
    here, there = features_of([ours]), features_of([theirs])
    if here != there:
        odd_feature = next(
            each for each in [*here, *there] if each not in here or each not in there
        )
        return f"has {'no ' if odd_feature in here else 'a '}{odd_feature.name!r} there"
    return ""
